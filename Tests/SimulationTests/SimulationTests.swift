import Foundation
import Primitives
import SimulationKit
import Testing

/// A folder for stores that goes away with the value.
private final class StoreFolder: Sendable {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-simulation-\(UUID().uuidString)").path
    deinit { try? FileManager.default.removeItem(atPath: path) }
}

@Suite struct SimulationTests {
    @Test func oldFaultsStayMended() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("failing-seeds.txt")
        let lines = try ReplayLine.parse(String(decoding: try Data(contentsOf: file), as: UTF8.self))
        #expect(lines.count >= 7)
        let folder = StoreFolder()
        for line in lines {
            let outcome = Simulation.runTwice(seed: line.seed, line.options(storeFolder: folder.path))
            #expect(outcome.violations.isEmpty, "seed \(line.seed), kept because \(line.why): \(outcome.violations)")
        }
    }

    @Test func seedsAreClean() async {
        let report = await Simulation.campaign(seeds: 1..<81, threads: 2)
        #expect(report.failed.isEmpty, "\(report.failed.map { "seed \($0.seed): \($0.violations)" })")
        #expect(report.fewestTasks >= 50 && report.fewestFaults >= 5)
    }

    /// SQLite and the model of it are one history, and every new head loads what the model says.
    @Test func seedsAreCleanOnSQLite() async {
        let folder = StoreFolder()
        let report = await Simulation.campaign(seeds: 1..<5, threads: 2, SimulationOptions(storeFolder: folder.path))
        #expect(report.failed.isEmpty, "\(report.failed.map { "seed \($0.seed): \($0.violations)" })")
    }

    /// Some writes of a seed fail, tear, and are kept by a crash before anybody was told.
    @Test(arguments: WriteFault.allCases) func writesGoWrong(_ what: WriteFault) {
        let folder = StoreFolder()
        for write in [1, 2, 3, 40] {
            let options = SimulationOptions(storeFolder: folder.path, writeFault: .init(write: write, what: what))
            let outcome = Simulation.runTwice(seed: 3, options)
            #expect(outcome.violations.isEmpty, "write \(write) \(what): \(outcome.violations)")
        }
    }

    /// The checkers are checked: each planted mistake is found within the first few hundred of the 5,000 seeds that CI runs.
    @Test(arguments: PlantedBug.allCases) func plantedMistakesAreCaught(_ bug: PlantedBug) async {
        let report = await Simulation.campaign(seeds: 1..<1001, threads: 2, SimulationOptions(bug: bug), stopAtFirst: true)
        #expect(!report.failed.isEmpty, "\(bug.rawValue) was planted and nobody saw it")
    }

    @Test func replayFilesSayWhatIsWrongAndWhere() throws {
        let lines = try ReplayLine.parse("# a comment\n\n7 real-store write=3:tears # because\n")
        #expect(
            lines.count == 1 && lines[0].onRealStore && lines[0].writeFault == .init(write: 3, what: .tears) && lines[0].why == "because")
        for (text, place) in [("7", "line 1"), ("\nx # why", "line 2"), ("7 write=0:tears # why", "line 1"), ("7 fast # why", "line 1")] {
            let error = #expect(throws: AMAFError.self) { try ReplayLine.parse(text) }
            #expect(error?.place == place)
        }
    }
}
