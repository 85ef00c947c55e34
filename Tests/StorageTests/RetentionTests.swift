import Foundation
import Primitives
import Scheduling
import Storage
import Testing

@Suite struct Retention {
    /// A store with runs `run-0` … that ended one after another, each with two results of its own and one that all share, every result
    /// of `size` bytes; each plan names a source file and an index that holds the source's digest and one more in its bytes.
    private final class Example {
        let folder = TemporaryFolder()
        let size: Int
        static let day: Int64 = 86_400_000
        var clock: Int64 = 1_700_000_000_000

        init(size: Int) { self.size = size }

        func open() throws -> Store { try Store(folder: folder.path, options: testOptions(clock: clock)) }
        func output(_ run: Int, _ block: Int) -> [UInt8] { bytes(size, seed: UInt64(block == 2 ? 2 : 1000 + run * 10 + block)) }
        func source(_ run: Int) -> [UInt8] { bytes(90_000, seed: UInt64(5000 + run)) }
        func hidden(_ run: Int) -> [UInt8] { bytes(500, seed: UInt64(6000 + run)) }
        func index(_ run: Int) -> [UInt8] {
            [9, 9, 9] + Digest.of(source(run)).bytes + Array("x\(Digest.of(hidden(run)).hex)y".utf8)
                + bytes(70_000, seed: UInt64(7000 + run))
        }

        func add(_ run: Int, state: RunState = .succeeded) throws {
            clock += Self.day
            let store = try open()
            let id = RunID("run-\(run)")
            let hidden = try store.artifacts.put(hidden(run))
            _ = try store.artifacts.put(source(run))
            let index = try store.artifacts.put(index(run))
            var changes = StateChanges()
            let stage = StageSpec(
                id: StageID("s"), kind: "no-op", blocks: 3, inputs: [StageInput("index", from: .artifacts([index]), reach: .allBlocks)])
            changes.newRuns = [.init(plan: RunPlan(id: id, name: "r", stages: [stage]), state: .running, numericsClasses: [nil])]
            changes.runStates = [(id, state, [nil])]
            for block in 0..<3 {
                let digest = try store.artifacts.put(output(run, block))
                let result = BlockResult(block: block, outputs: [TaskOutput(name: "o", digest: digest, byteCount: size)])
                changes.tasks.append(
                    TaskRow(run: id, stage: 0, block: block, state: .done, fence: Fence(epoch: 1, counter: 1), result: result))
                changes.cached.append(.init(identity: Digest.of(Array("\(run).\(block)".utf8)), result: result))
            }
            changes.history = [HistoryEntry(cause: 1, what: "submitted", run: id)]
            try store.apply(changes)
            try store.record([ReviewAnswer(run: id, stage: StageID("s"), sample: "a", label: "b", who: "c", seconds: 1, at: 1)])
            try store.close()
            #expect(hidden == Digest.of(self.hidden(run)))
        }

        /// Files that nothing names are only removed when they are old: written days ago, as far as the store knows.
        func age(_ days: Double) throws {
            for parent in ["artifacts", "artifacts/uploads"] {
                let found = try FileManager.default.subpathsOfDirectory(atPath: folder / parent)
                for name in found {
                    let date = Date(timeIntervalSince1970: Double(clock) / 1000 - days * 86_400)
                    try FileManager.default.setAttributes([.modificationDate: date], ofItemAtPath: folder / "\(parent)/\(name)")
                }
            }
        }

        func expect(_ store: Store, run: Int, isThere: Bool) throws {
            for bytes in [output(run, 0), output(run, 1), source(run), index(run), hidden(run)] {
                #expect(try store.artifacts.contains(Digest.of(bytes)) == isThere, "run \(run)")
            }
        }
    }

    @Test(arguments: [100, 80_000]) func theNewestRunsStayWithAllTheyNeed(size: Int) throws {
        let example = Example(size: size)
        for run in 0..<4 { try example.add(run) }
        try example.age(10)
        let store = try example.open()
        let planned = try store.collect(RetentionPolicy(keptRuns: 2), dryRun: true)
        for run in 0..<4 { try example.expect(store, run: run, isThere: true) }
        #expect(try store.load().runs.count == 4)
        let report = try store.collect(RetentionPolicy(keptRuns: 2))
        #expect(planned == report, "a dry run says what would go")
        #expect(report.removedRuns == ["run-0", "run-1"] && report.keptRuns == 2 && report.removedTasks == 6)
        #expect(report.removedRows + report.removedFiles == 10)
        for run in 0..<4 { try example.expect(store, run: run, isThere: run >= 2) }
        // The result that all runs share lives, and with it every cached result that is nothing but it.
        #expect(try store.artifacts.contains(Digest.of(example.output(0, 2))))
        let state = try store.load()
        #expect(state.runs.map(\.plan.id.rawValue) == ["run-2", "run-3"] && state.tasks.count == 6)
        #expect(report.keptCachedResults == 8 && state.cached.count == 8)
        for cached in state.cached { #expect(try store.artifacts.missing(among: cached.result.outputs.map(\.digest)) == []) }
        #expect(try store.reader().history().compactMap(\.entry.run?.rawValue) == ["run-2", "run-3"])
        #expect(try store.reader().reviews(run: RunID("run-0")).count == 1, "what people answered is kept")
        // A second time there is nothing left to do, and the store works on.
        let again = try store.collect(RetentionPolicy(keptRuns: 2))
        #expect(again.removedRuns.isEmpty && again.removedRows == 0 && again.removedFiles == 0)
        try store.close()
        try example.add(9)
        let later = try example.open()
        #expect(try later.load().runs.map(\.plan.id.rawValue) == ["run-2", "run-3", "run-9"])
        try later.close()
    }

    @Test func runsThatHaveNotEndedAreNeverTouched() throws {
        let example = Example(size: 100)
        try example.add(0, state: .waitingForPeople)
        for run in 1..<3 { try example.add(run) }
        try example.age(10)
        let store = try example.open()
        // Under way into a result of the live run: nothing names it yet.
        let small = try store.artifacts.put(bytes(50, seed: 77))
        let large = try store.artifacts.put(bytes(90_000, seed: 78))
        try store.artifacts.flush()
        let report = try store.collect(RetentionPolicy(keptRuns: 0))
        #expect(report.removedRuns == ["run-1", "run-2"] && report.keptRuns == 1)
        try example.expect(store, run: 0, isThere: true)
        try example.expect(store, run: 1, isThere: false)
        #expect(try store.artifacts.missing(among: [small, large]) == [])
        try store.close()
    }

    @Test func ageCountsFromTheSubmission() throws {
        let example = Example(size: 100)
        for run in 0..<5 { try example.add(run) }
        let store = try example.open()
        let report = try store.collect(RetentionPolicy(keptAge: 2 * Example.day + 1), dryRun: true)
        #expect(report.removedRuns == ["run-0", "run-1"])
        // With both rules a run goes when neither keeps it.
        #expect(try store.collect(RetentionPolicy(keptRuns: 4, keptAge: 2 * Example.day + 1), dryRun: true).removedRuns == ["run-0"])
        #expect(try store.collect(RetentionPolicy(keptRuns: 1, keptAge: 2 * Example.day + 1), dryRun: true).removedRuns.count == 2)
        try store.close()
    }

    @Test func youngOrphansAndUnfinishedUploadsStay() throws {
        let example = Example(size: 100)
        try example.add(0)
        var store = try example.open()
        let orphan = try store.artifacts.put(bytes(90_000, seed: 80))
        let arriving = bytes(300_000, seed: 81)
        #expect(try store.artifacts.beginUpload(of: Digest.of(arriving), byteCount: arriving.count) == .accepting(from: 0))
        _ = try store.artifacts.append(to: Digest.of(arriving), at: 0, Array(arriving[..<100_000]))
        for days in [0.5, 2, 8] {
            try store.close()
            try example.age(days)
            store = try example.open()
            let report = try store.collect(RetentionPolicy(keptRuns: 1))
            #expect(try store.artifacts.contains(orphan) == (days < 1), "\(days) days")
            #expect(report.removedUploads == (days > 7 ? 1 : 0), "\(days) days")
            let progress = try store.artifacts.beginUpload(of: Digest.of(arriving), byteCount: arriving.count)
            #expect(progress == .accepting(from: days > 7 ? 0 : 100_000), "\(days) days")
        }
        try store.close()
    }

    /// A copy taken while artifacts go would name some that are gone.
    @Test func copiesAndRemovalsWaitForEachOther() throws {
        let example = Example(size: 100)
        try example.add(0)
        let store = try example.open()
        let handle = open(example.folder / "collect.lock", O_RDWR | O_CREAT, 0o600)
        defer { close(handle) }
        #expect(flock(handle, LOCK_SH) == 0)
        #expect(errorCode { _ = try store.collect(RetentionPolicy(keptRuns: 0)) } == "store.collecting")
        #expect(flock(handle, LOCK_EX) == 0)
        #expect(errorCode { try Store.backup(of: example.folder.path, to: example.folder / "copy") } == "store.collecting")
        #expect(flock(handle, LOCK_UN) == 0)
        #expect(errorCode { _ = try store.collect(RetentionPolicy(keptRuns: 0)) } == nil)
        try store.close()
    }

    /// The space comes back to the disk, and a head of a restarted store finds everything in order.
    @Test func theFileShrinks() throws {
        let example = Example(size: 30_000)
        for run in 0..<40 { try example.add(run) }
        let store = try example.open()
        func size() throws -> Int {
            try FileManager.default.attributesOfItem(atPath: example.folder / "state.sqlite")[.size] as? Int ?? 0
        }
        let before = try size()
        let report = try store.collect(RetentionPolicy(keptRuns: 1))
        try store.close()
        #expect(report.removedRuns.count == 39 && report.removedBytes > 2_000_000)
        #expect(try size() < before / 2)
        let again = try example.open()
        try example.expect(again, run: 39, isThere: true)
        try again.close()
    }
}
