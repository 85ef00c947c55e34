import ArgumentParser
import Foundation
import Primitives
import SimulationKit

/// Runs the whole cluster on one thread from one seed after another and says which seed went wrong.
@main struct Simulator: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf-simulator", abstract: "Simulate coordinator and workers under faults, seed by seed.",
        discussion: """
            Exits with 1 when a checker saw a violation (also one that was planted), and with 2 when a fault, a transition or a failure \
            class that five thousand seeds must meet was never met.
            """)

    @Option(name: .long, help: "The first seed.") var firstSeed: UInt64 = 1
    @Option(name: .long, help: "How many seeds.") var seeds: UInt64 = 1000
    @Option(name: .long, help: "Threads.") var threads: Int = 2
    @Option(
        name: .long,
        help: "Plant a mistake: \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", ")). Ends with the first seed that shows it.")
    var planted: String?
    @Option(name: .long, help: "Every so many seeds one runs twice, to see that it is one history.") var twiceEvery: UInt64 = 16
    @Flag(name: .long, help: "Run on SQLite too, and compare what each new head loads with the model.") var realStore = false
    @Option(name: .long, help: "Where --real-store makes its stores: memory by default, since crashes are simulated.") var storeFolder:
        String?
    @Option(name: .long, help: "One write of each seed goes wrong: N:fails, N:tears or N:kept.") var writeFault: String?
    @Flag(name: .long, help: "Let every write of every seed fail, tear and be kept by a crash, one after the other.") var everyWrite = false
    @Option(name: .long, help: "Run the seeds of a file, each with its options.") var replay: String?
    @Flag(name: .long, help: "Print everything that happens.") var narrate = false
    @Flag(name: .long, help: "Print every seed before it runs: the last line names the seed of a trap.") var announceSeeds = false
    @Flag(name: .long, help: "Print how often each fault and transition was met.") var coverage = false
    @Flag(name: .long, help: "Stop at the first violation.") var stopAtFirst = false

    func run() async throws {
        let folder = storeFolder ?? Self.memoryFolder + "/amaf-simulator-\(ProcessInfo.processInfo.processIdentifier)"
        defer { if storeFolder == nil { try? FileManager.default.removeItem(atPath: folder) } }
        if let replay { return try runFile(replay, folder: folder) }
        var options = SimulationOptions(storeFolder: realStore ? folder : nil)
        if let planted {
            guard let bug = PlantedBug(rawValue: planted) else { throw ValidationError("There is no mistake called \(planted) to plant.") }
            options.bug = bug
        }
        if let writeFault {
            guard let fault = try ReplayLine.parse("1 write=\(writeFault) # option").first?.writeFault else { return }
            options.writeFault = fault
        }
        if narrate { return try tell(options) }
        if everyWrite { return try tryEveryWrite(folder: folder) }
        let clock = ContinuousClock()
        let start = clock.now
        let announces = announceSeeds
        let report = await Simulation.campaign(
            seeds: firstSeed..<firstSeed + seeds, threads: threads, options, twiceEvery: twiceEvery,
            stopAtFirst: stopAtFirst || options.bug != nil, announce: { if announces { print("seed \($0)") } })
        let seconds = (clock.now - start) / .seconds(1)
        for outcome in report.failed.prefix(20) { show(outcome, options) }
        if coverage {
            for (what, count) in report.coverage.counts.sorted(by: { $0.key < $1.key }) { print("\(count)\t\(what)") }
        }
        print(
            "\(report.seeds) seeds\(realStore ? " on SQLite" : ""), \(report.events) events (\(report.events / max(1, report.seeds)) a seed), "
                + "at least \(report.fewestTasks) tasks and \(report.fewestFaults) faults each, \(report.failed.count) failed, "
                + "\(Int(seconds)) s, \(Int(Double(report.seeds) / max(seconds, 1e-9))) seeds/s")
        if !report.failed.isEmpty { throw ExitCode(1) }
        let missing = report.coverage.missing
        if options.bug == nil, seeds >= 5000, !missing.isEmpty {
            print("never met: \(missing.joined(separator: "; "))")
            throw ExitCode(2)
        }
    }

    /// A file system in memory where there is one.
    private static var memoryFolder: String {
        FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : FileManager.default.temporaryDirectory.path
    }

    private func show(_ outcome: SeedOutcome, _ options: SimulationOptions) {
        print("seed \(outcome.seed): \(outcome.violations.first ?? "")\n  again: \(outcome.command(options))")
    }

    private func tell(_ options: SimulationOptions) throws {
        for seed in firstSeed..<firstSeed + seeds {
            let outcome = Simulation.run(seed: seed, options) { print($0) }
            for violation in outcome.violations { print("VIOLATION \(violation)") }
            print("seed \(seed): \(outcome.events) events, \(outcome.writes) writes")
            if !outcome.violations.isEmpty { throw ExitCode(1) }
        }
    }

    private func runFile(_ path: String, folder: String) throws {
        let lines = try ReplayLine.parse(String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self))
        var failed = 0
        for line in lines {
            let options = line.options(storeFolder: folder)
            let outcome = Simulation.runTwice(seed: line.seed, options)
            guard !outcome.violations.isEmpty else { continue }
            failed += 1
            show(outcome, options)
            print("  kept because: \(line.why)")
        }
        print("\(lines.count) seeds of \(path), \(failed) failed")
        if failed > 0 { throw ExitCode(1) }
    }

    private func tryEveryWrite(folder: String) throws {
        var (tried, failed) = (0, 0)
        for seed in firstSeed..<firstSeed + seeds {
            for (options, outcome) in Simulation.everyWrite(of: seed, storeFolder: realStore ? folder : nil) {
                tried += 1
                guard !outcome.violations.isEmpty else { continue }
                failed += 1
                show(outcome, options)
            }
        }
        print("\(tried) histories, each with one write that fails, tears or is kept, \(failed) failed")
        if failed > 0 { throw ExitCode(1) }
    }
}
