import ArgumentParser
import SimulationKit

/// Runs the whole cluster on one thread from one seed after another and says which seed went wrong.
@main struct Simulator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-simulator", abstract: "Simulate coordinator and workers under faults, seed by seed.",
        discussion: "Exits with 1 when a checker saw a violation, and with 2 when a fault or transition that must be met was not.")

    @Option(name: .long, help: "The first seed.") var firstSeed: UInt64 = 1
    @Option(name: .long, help: "How many seeds.") var seeds: UInt64 = 1000
    @Option(name: .long, help: "Threads.") var threads: Int = 2
    @Option(name: .long, help: "Plant a mistake: \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")).") var plant: String?
    @Option(name: .long, help: "Every so many seeds one runs twice, to see that it is one history.") var twiceEvery: UInt64 = 16
    @Flag(name: .long, help: "Print every seed before it runs: the last line names the seed of a trap.") var announceSeeds = false
    @Flag(name: .long, help: "Print how often each fault and transition was met.") var coverage = false
    @Flag(name: .long, help: "Stop at the first violation.") var stopAtFirst = false

    func run() async throws {
        var bug: PlantedBug?
        if let plant {
            guard let named = PlantedBug(rawValue: plant) else { throw ValidationError("There is no mistake called \(plant) to plant.") }
            bug = named
        }
        let announces = announceSeeds
        let clock = ContinuousClock()
        let start = clock.now
        let report = await Simulation.campaign(
            seeds: firstSeed..<firstSeed + seeds, threads: threads, bug: bug, twiceEvery: twiceEvery, stopAtFirst: stopAtFirst,
            announce: { if announces { print("seed \($0)") } })
        let seconds = (clock.now - start) / .seconds(1)
        for outcome in report.failed.prefix(20) {
            print("seed \(outcome.seed): \(outcome.violations.first ?? "")")
        }
        if coverage {
            for (what, count) in report.coverage.counts.sorted(by: { $0.key < $1.key }) { print("\(count)\t\(what)") }
        }
        let rate = Int(Double(report.seeds) / max(seconds, 1e-9))
        print(
            "\(report.seeds) seeds, \(report.events) events (\(report.events / max(1, report.seeds)) a seed), \(report.failed.count) failed, "
                + "\(Int(seconds)) s, \(rate) seeds/s")
        if !report.failed.isEmpty { throw ExitCode(1) }
        let missing = report.coverage.missing
        if bug == nil, seeds >= 1000, !missing.isEmpty {
            print("never met: \(missing.joined(separator: "; "))")
            throw ExitCode(2)
        }
    }
}
