import Primitives

/// What became of one seed.
package struct SeedOutcome: Sendable {
    package var seed: UInt64
    package var events: Int
    /// Transactions that the heads began.
    package var writes: Int
    package var violations: [String]
    package var coverage: Coverage
    package var trace: UInt64
    /// SQLite and the model went apart on purpose.
    package var couldNotTear: Bool

    /// What runs this seed again.
    package func command(_ options: SimulationOptions) -> String {
        var command = "amaf-simulator --first-seed \(seed) --seeds 1"
        if let bug = options.bug { command += " --planted \(bug.rawValue)" }
        if options.storeFolder != nil { command += " --real-store" }
        if let fault = options.writeFault { command += " --write-fault \(fault.write):\(fault.what.rawValue)" }
        return command + " --narrate"
    }
}

package enum Simulation {
    /// Runs one seed to its end. A broken invariant of the scheduler traps; what checkers see is returned.
    package static func run(seed: UInt64, _ options: SimulationOptions = SimulationOptions(), narrator: ((String) -> Void)? = nil)
        -> SeedOutcome
    {
        run(seed: seed, options, hasGhosts: options.storeFolder == nil, narrator: narrator)
    }

    private static func run(seed: UInt64, _ options: SimulationOptions, hasGhosts: Bool, narrator: ((String) -> Void)? = nil) -> SeedOutcome
    {
        var world = World(seed: seed, options, hasGhosts: hasGhosts)
        world.narrator = narrator
        world.run()
        return SeedOutcome(
            seed: seed, events: world.events, writes: world.journal.count, violations: world.checker.violations,
            coverage: world.coverage.named(), trace: world.trace, couldNotTear: world.journal.couldNotTear)
    }

    /// As `run`, twice: the same seed must be the same history. A seed on SQLite is compared with itself on the model.
    package static func runTwice(seed: UInt64, _ options: SimulationOptions = SimulationOptions()) -> SeedOutcome {
        var first = run(seed: seed, options)
        if first.couldNotTear { return first }
        var model = options
        model.storeFolder = nil
        let second = run(seed: seed, model, hasGhosts: options.storeFolder == nil)
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
        /// Every seed must have enough of both.
        package var fewestTasks = Int.max
        package var fewestFaults = Int.max
    }

    /// Runs seeds on several threads. Every `twiceEvery`-th runs twice; on SQLite, or with dictionary order planted, all of them do.
    ///
    /// - Parameter stopAtFirst: ends after the first violation, for planted bugs.
    package static func campaign(
        seeds: Range<UInt64>, threads: Int, _ options: SimulationOptions = SimulationOptions(), twiceEvery: UInt64 = 16,
        stopAtFirst: Bool = false, announce: @escaping @Sendable (UInt64) -> Void = { _ in }
    ) async -> Report {
        await withTaskGroup(of: Report.self) { group in
            for thread in 0..<UInt64(max(1, threads)) {
                group.addTask {
                    var report = Report()
                    var seed = seeds.lowerBound + thread
                    while seed < seeds.upperBound {
                        announce(seed)
                        let isTwice = options.bug == .hashOrder || options.storeFolder != nil || seed % max(1, twiceEvery) == 0
                        let outcome = isTwice ? runTwice(seed: seed, options) : run(seed: seed, options)
                        report.seeds += 1
                        report.events += outcome.events
                        report.coverage.add(outcome.coverage)
                        report.fewestTasks = min(report.fewestTasks, outcome.coverage.counts["tasks", default: 0])
                        report.fewestFaults = min(report.fewestFaults, outcome.coverage.faults)
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
                all.fewestTasks = min(all.fewestTasks, report.fewestTasks)
                all.fewestFaults = min(all.fewestFaults, report.fewestFaults)
            }
            all.failed.sort { $0.seed < $1.seed }
            return all
        }
    }

    /// Lets every write of a seed fail, tear and be kept by a crash, one after the other.
    ///
    /// - Parameter stride: every so many writes only.
    package static func everyWrite(of seed: UInt64, stride step: Int = 1, storeFolder: String? = nil) -> [(SimulationOptions, SeedOutcome)]
    {
        let writes = run(seed: seed, SimulationOptions(storeFolder: nil)).writes
        var outcomes: [(SimulationOptions, SeedOutcome)] = []
        for write in stride(from: 1, through: writes, by: step) {
            for what in WriteFault.allCases {
                let options = SimulationOptions(storeFolder: storeFolder, writeFault: .init(write: write, what: what))
                outcomes.append((options, run(seed: seed, options)))
            }
        }
        return outcomes
    }
}
