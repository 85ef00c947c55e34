/// What became of one seed.
package struct SeedOutcome: Sendable {
    package var seed: UInt64
    package var events: Int
    package var violations: [String]
    package var coverage: Coverage
    package var trace: UInt64
}

package enum Simulation {
    /// Runs one seed to its end. A broken invariant of the scheduler traps; what checkers see is returned.
    package static func run(seed: UInt64, bug: PlantedBug? = nil, narrator: ((String) -> Void)? = nil) -> SeedOutcome {
        var world = World(seed: seed, bug: bug)
        world.narrator = narrator
        world.run()
        return SeedOutcome(
            seed: seed, events: world.events, violations: world.checker.violations, coverage: world.coverage, trace: world.trace)
    }

    /// As `run`, twice: the same seed must be the same history.
    package static func runTwice(seed: UInt64, bug: PlantedBug? = nil) -> SeedOutcome {
        var first = run(seed: seed, bug: bug)
        let second = run(seed: seed, bug: bug)
        if first.trace != second.trace || first.events != second.events {
            first.violations.append(
                "the seed has two histories: \(first.events) events \(first.trace), \(second.events) events \(second.trace)")
        }
        return first
    }

    /// Sums over many seeds.
    package struct Report: Sendable {
        package var seeds = 0
        package var events = 0
        package var failed: [SeedOutcome] = []
        package var coverage = Coverage()
    }

    /// Runs seeds on several threads. Every `twiceEvery`-th runs twice; with `bug`, all of them do.
    ///
    /// - Parameter stopAtFirst: ends after the first violation, for planted bugs.
    package static func campaign(
        seeds: Range<UInt64>, threads: Int, bug: PlantedBug? = nil, twiceEvery: UInt64 = 16, stopAtFirst: Bool = false,
        announce: @escaping @Sendable (UInt64) -> Void = { _ in }
    ) async -> Report {
        await withTaskGroup(of: Report.self) { group in
            for thread in 0..<UInt64(max(1, threads)) {
                group.addTask {
                    var report = Report()
                    var seed = seeds.lowerBound + thread
                    while seed < seeds.upperBound {
                        announce(seed)
                        let isTwice = bug == .hashOrder || seed % max(1, twiceEvery) == 0
                        let outcome = isTwice ? runTwice(seed: seed, bug: bug) : run(seed: seed, bug: bug)
                        report.seeds += 1
                        report.events += outcome.events
                        report.coverage.add(outcome.coverage)
                        if !outcome.violations.isEmpty {
                            report.failed.append(outcome)
                            if stopAtFirst { break }
                        }
                        seed += UInt64(max(1, threads))
                    }
                    return report
                }
            }
            var all = Report()
            for await report in group {
                all.seeds += report.seeds
                all.events += report.events
                all.failed += report.failed
                all.coverage.add(report.coverage)
            }
            all.failed.sort { $0.seed < $1.seed }
            return all
        }
    }
}
