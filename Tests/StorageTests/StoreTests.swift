import Foundation
import GRDB
import Primitives
import Scheduling
import Storage
import Testing

@Suite struct RoundTrip {
    @Test func everyRowComesBack() throws {
        let folder = TemporaryFolder()
        let changes = exampleChanges()
        let store = try Store(folder: folder.path, options: testOptions())
        try store.apply(changes)
        try store.close()

        let again = try Store(folder: folder.path, options: testOptions())
        let state = try again.load()
        #expect(
            state.runs == [
                .init(plan: changes.newRuns[0].plan, state: .waitingForPeople, numericsClasses: [NumericsClass("cpu-avx512"), nil])
            ])
        #expect(state.tasks == changes.tasks)
        #expect(state.cached == changes.cached)
        let history = try again.reader().history()
        #expect(history.map(\.entry) == changes.history)
        #expect(history.map(\.id) == [1, 2])
        #expect(history.allSatisfy { $0.at == 1_700_000_000_000 })
        #expect(try again.reader().plan(of: RunID("run-a")) == changes.newRuns[0].plan)
        #expect(try again.reader().plan(of: RunID("none")) == nil)
        try again.close()
    }

    @Test func laterRowsReplaceEarlierOnes() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges())
        var later = StateChanges()
        let row = TaskRow(run: RunID("run-a"), stage: 0, block: 2, state: .done, fence: Fence(rawValue: 11), result: exampleResult(2))
        later.tasks = [row]
        later.runStates = [(RunID("run-a"), .succeeded, [nil, nil])]
        try store.apply(later)
        let state = try store.load()
        #expect(state.tasks.count == exampleChanges().tasks.count)
        #expect(state.tasks.first { $0.stage == 0 && $0.block == 2 } == row)
        #expect(state.runs[0].state == .succeeded && state.runs[0].numericsClasses == [nil, nil])
        try store.close()
    }

    @Test func reviewsAndOutbox() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let answers = ["cat", "dog"].map {
            ReviewAnswer(run: RunID("r"), stage: StageID("review"), sample: "s/1", label: $0, who: "ann", seconds: 2.5, at: 77)
        }
        try store.record(answers)
        let item = OutboxItem(target: "mlflow", key: "r/1", body: [0, 1, 255])
        try store.apply(StateChanges(), outbox: [item, OutboxItem(target: "webhook", key: "r/1", body: [])])
        try store.apply(StateChanges(), outbox: [item])
        #expect(try store.reader().reviews(run: RunID("r")) == answers)
        #expect(try store.reader().reviews(run: RunID("r"), stage: StageID("other")).isEmpty)
        let pending = try store.pendingOutbox(target: "mlflow")
        #expect(pending.map(\.item) == [item])
        try store.undelivered(outboxItem: pending[0].id, error: exampleError)
        let failed = try store.pendingOutbox(target: "mlflow")
        #expect(failed[0].attempts == 1 && failed[0].lastError == exampleError.description)
        try store.delivered(outboxItem: pending[0].id)
        #expect(try store.pendingOutbox(target: "mlflow").isEmpty)
        #expect(try store.reader().outboxCount() == 1)
        try store.close()
    }

    /// The same batch makes the same file: nothing in a row depends on hashing or on the clock of the machine.
    @Test func sameBatchesMakeSameRows() throws {
        func dump() throws -> [String] {
            let folder = TemporaryFolder()
            let store = try Store(folder: folder.path, options: testOptions())
            try store.apply(exampleChanges(), artifacts: (0..<20).map { InlineArtifact(bytes(100, seed: $0)) })
            try store.close()
            return try withDatabase(folder.path) { db in
                try ["names", "runs", "tasks", "cached", "history", "artifacts"].flatMap { table in
                    try Row.fetchAll(db, sql: "SELECT * FROM \(table)").map { "\(table) \($0.databaseValues)" }
                }
            }
        }
        #expect(try dump() == dump())
    }
}

@Suite struct Views {
    private func filledStore(_ folder: TemporaryFolder) throws -> Store {
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges(run: "run-a"))
        try store.apply(exampleChanges(run: "run-b"))
        var more = StateChanges()
        more.history = (0..<30).map { i in
            HistoryEntry(
                cause: UInt64(100 + i % 3), what: i % 2 == 0 ? "leased" : "committed", run: RunID(i < 15 ? "run-a" : "run-b"),
                stage: StageID("stage-\(i % 2)"), blocks: i..<i + 2, fence: Fence(epoch: 1, counter: UInt64(i)),
                worker: WorkerID("w-\(i % 4)"))
        }
        try store.apply(more)
        return store
    }

    @Test func historyByEveryCondition() throws {
        let folder = TemporaryFolder()
        let store = try filledStore(folder)
        let reader = store.reader()
        let all = try reader.history()
        #expect(all.count == 34)
        let filters: [(HistoryFilter, (HistoryEntry) -> Bool)] = [
            (HistoryFilter(run: RunID("run-a")), { $0.run == RunID("run-a") }),
            (HistoryFilter(run: RunID("run-b"), stage: StageID("stage-1")), { $0.run == RunID("run-b") && $0.stage == StageID("stage-1") }),
            (HistoryFilter(block: 7), { $0.blocks?.contains(7) == true }),
            (HistoryFilter(fence: Fence(epoch: 1, counter: 9)), { $0.fence == Fence(epoch: 1, counter: 9) }),
            (HistoryFilter(worker: WorkerID("w-3")), { $0.worker == WorkerID("w-3") }),
            (HistoryFilter(cause: .max), { $0.cause == .max }), (HistoryFilter(cause: 101), { $0.cause == 101 }),
            (HistoryFilter(what: "committed"), { $0.what == "committed" }),
            (HistoryFilter(run: RunID("run-a"), worker: WorkerID("never seen")), { _ in false }),
        ]
        for (filter, holds) in filters { #expect(try reader.history(filter) == all.filter { holds($0.entry) }, "\(filter)") }
        #expect(try reader.history(HistoryFilter(limit: 3, newestFirst: true)).map(\.id) == [34, 33, 32])
        var paged: [StoredHistoryEntry] = []
        while true {
            let page = try reader.history(HistoryFilter(after: paged.last?.id ?? 0, limit: 7))
            if page.isEmpty { break }
            paged += page
        }
        #expect(paged == all)
        try store.close()
    }

    @Test func tasksByStageStateAndPage() throws {
        let folder = TemporaryFolder()
        let store = try filledStore(folder)
        let reader = store.reader()
        let all = exampleChanges(run: "run-b").tasks
        #expect(try reader.tasks(run: RunID("run-b")) == all)
        #expect(try reader.tasks(run: RunID("run-b"), stage: 1) == all.filter { $0.stage == 1 })
        #expect(try reader.tasks(run: RunID("run-b"), states: [.done, .failed]) == all.filter { $0.state == .done || $0.state == .failed })
        #expect(try reader.tasks(run: RunID("nobody")).isEmpty)
        var paged: [TaskRow] = []
        while let page = Optional(
            try reader.tasks(run: RunID("run-b"), after: paged.last.map { TaskCursor(stage: $0.stage, block: $0.block) }, limit: 2)),
            !page.isEmpty
        {
            paged += page
        }
        #expect(paged == all)
        let counts = try reader.taskCounts(run: RunID("run-b"))
        #expect(counts == [0: [.waiting: 1, .ready: 1, .leased: 1, .done: 1], 1: [.failed: 1, .quarantined: 1, .cancelled: 1]])
        #expect(try reader.runs().map(\.run) == [RunID("run-a"), RunID("run-b")])
        #expect(try reader.runs().allSatisfy { $0.state == .waitingForPeople })
        try store.close()
    }

    /// Each page of a reader is one committed state, and a reader in the middle of a long read does not hold up a commit.
    @Test func readersSeeWholeBatchesWhileTheWriterGoesOn() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        var first = StateChanges()
        first.newRuns = [.init(plan: examplePlan("run-a", blocks: 100_000), state: .running, numericsClasses: [nil, nil])]
        try store.apply(first)
        let batch = 50
        let reading: @Sendable () throws -> Void = {
            let reader = try StoreReader(folder: folder.path)
            var seen = 0
            while seen < 40 * batch {
                let count = try reader.taskCounts(run: RunID("run-a"))[0]?[.done] ?? 0
                #expect(count % batch == 0 && count >= seen, "\(count) rows after \(seen): a part of a batch was seen, or one was lost")
                let rows = try reader.tasks(run: RunID("run-a"), limit: .max)
                #expect(rows.count % batch == 0 && rows.count >= count)
                seen = count
            }
        }
        let writing: @Sendable () throws -> Void = {
            for i in 0..<40 { try store.apply(finished("run-a", blocks: i * batch..<(i + 1) * batch)) }
        }
        try onThreads([reading, reading, reading, writing])
        try store.close()
    }

    @Test func readerOfNothing() {
        let folder = TemporaryFolder()
        #expect(errorCode { _ = try StoreReader(folder: folder / "none") } == "store.missing")
    }
}

@Suite struct Transactions {
    /// The second run of the batch is refused by the schema; rows before and after it must be gone too.
    @Test func aRefusedRowTakesItsBatchWithIt() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        try store.apply(exampleChanges(run: "run-a"))
        let before = try store.load()
        var bad = exampleChanges(run: "run-b")
        bad.newRuns.append(.init(plan: examplePlan("run-a"), state: .running, numericsClasses: [nil, nil]))
        let artifact = InlineArtifact([1, 2, 3])
        let waiting = try store.artifacts.put([4, 5, 6])
        #expect(
            errorCode { try store.apply(bad, artifacts: [artifact], outbox: [OutboxItem(target: "t", key: "k", body: [])]) }
                == "store.sqlite")
        let after = try store.load()
        #expect(after.runs == before.runs && after.tasks == before.tasks && after.cached == before.cached)
        #expect(try store.reader().history().count == 2)
        #expect(try store.reader().outboxCount() == 0)
        #expect(try !store.artifacts.contains(artifact.digest))
        #expect(try store.artifacts.contains(waiting), "it still waits for the next transaction")
        // The numbers given to names inside the failed transaction are forgotten: the same batch, repaired, works.
        bad.newRuns.removeLast()
        try store.apply(bad, artifacts: [artifact])
        #expect(try store.load().tasks.count == 2 * before.tasks.count)
        #expect(try store.reader().history(HistoryFilter(run: RunID("run-b"), worker: WorkerID("w-2"))).count == 1)
        #expect(try store.artifacts.read(artifact.digest) == [1, 2, 3])
        try store.close()
    }

    @Test func aFullDiskLosesNothingAndIsSurvived() throws {
        let folder = TemporaryFolder()
        var options = testOptions()
        options.maximumBytes = 400 << 10
        let store = try Store(folder: folder.path, options: options)
        try store.apply(exampleChanges())
        var stored = 0
        var refused: AMAFError?
        for i in 0..<200 where refused == nil {
            do throws(AMAFError) {
                try store.apply(finished("run-a", blocks: 100 + i * 20..<120 + i * 20))
                stored += 1
            } catch { refused = error }
        }
        #expect(refused?.code == "store.disk-full" && refused?.isTransient == true)
        #expect(stored > 2)
        // Reading goes on, and exactly the batches that were acknowledged are there.
        let done = try store.load().tasks.filter { $0.block >= 100 }
        #expect(done.map(\.block) == Array(100..<100 + stored * 20))
        try store.close()
        // With room again the same batch is stored.
        let roomy = try Store(folder: folder.path, options: testOptions())
        try roomy.apply(finished("run-a", blocks: 100 + stored * 20..<120 + stored * 20))
        #expect(try roomy.load().tasks.filter { $0.block >= 100 }.count == (stored + 1) * 20)
        try roomy.close()
    }

    @Test func emptyBatchesCostNothing() throws {
        let folder = TemporaryFolder()
        let store = try Store(folder: folder.path)
        let size = try FileManager.default.attributesOfItem(atPath: folder / "state.sqlite-wal")[.size] as? Int
        for _ in 0..<100 { try store.apply(StateChanges()) }
        #expect(try FileManager.default.attributesOfItem(atPath: folder / "state.sqlite-wal")[.size] as? Int == size)
        try store.close()
    }
}
