import SimulationKit
import Testing

@Suite struct SimulationTests {
    /// Seeds that once broke something, with what they found; they stay here for ever.
    static let seedsOfOldFaults: [UInt64] = [
        9,  // a worker that lost its connection while stopped never came back
        14,  // HELLO waited for a word that the connection was restored
        46,  // a worker that had nothing to say asked to be woken all the time
        913,  // a fence that was revoked is adopted again by the next head
        1053,  // overtaken ticks multiplied
        2193,  // the row of a task with two fences named the dead one
        953,  // (checker) a commit in the batch of the HELLO that adopted its fence
    ]

    @Test func oldFaultsStayMended() async {
        for seed in Self.seedsOfOldFaults {
            let outcome = Simulation.runTwice(seed: seed)
            #expect(outcome.violations.isEmpty, "seed \(seed): \(outcome.violations)")
        }
    }

    @Test func seedsAreClean() async {
        let report = await Simulation.campaign(seeds: 1..<81, threads: 2)
        #expect(report.failed.isEmpty, "\(report.failed.map { "seed \($0.seed): \($0.violations)" })")
        #expect(report.coverage.counts["tasks", default: 0] / report.seeds >= 50)
    }

    /// The checkers are checked: each planted mistake is found within the first few hundred of the 5,000 seeds that CI runs.
    @Test(arguments: PlantedBug.allCases) func plantedMistakesAreCaught(_ bug: PlantedBug) async {
        let report = await Simulation.campaign(seeds: 1..<1001, threads: 2, bug: bug, stopAtFirst: true)
        #expect(!report.failed.isEmpty, "\(bug.rawValue) was planted and nobody saw it")
    }
}
