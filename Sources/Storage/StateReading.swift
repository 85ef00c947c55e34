internal import Foundation
internal import GRDB
internal import Primitives
internal import Scheduling

// Rows become values by position, through a cursor: nothing is decoded by name and nothing but the result is held.

func loadState(_ db: Database) throws -> StoredState {
    var state = StoredState()
    try scanState(
        db, expect: { tasks, _ in state.tasks.reserveCapacity(tasks) }, cached: { state.cached.append($0) }, run: { state.runs.append($0) },
        task: { state.tasks.append($0) })
    return state
}

/// Hands over every row that the scheduler needs: counts, cached results, runs in the order of their submission, tasks by run.
func scanState(
    _ db: Database, expect: (_ tasks: Int, _ cached: Int) -> Void, cached: (StateChanges.CachedResult) -> Void,
    run: (StateChanges.RunRow) -> Void, task take: (TaskRow) -> Void
) throws {
    expect(
        try Int.fetchOne(db, sql: "SELECT count(*) FROM tasks") ?? 0, try Int.fetchOne(db, sql: "SELECT count(*) FROM cached") ?? 0)
    let cachedRows = try Row.fetchCursor(db, sql: "SELECT identity, result FROM cached ORDER BY id")
    while let row = try cachedRows.next() {
        let identity = try row.withUnsafeData(atIndex: 0) { data in
            guard let data, data.count == Digest.byteCount else {
                throw AMAFError("store.corrupt", "A cached result has no digest for a name", remedy: "Restore a backup.")
            }
            return Digest(bytes: data)
        }
        cached(StateChanges.CachedResult(identity: identity, result: try result(row, 1)))
    }
    var runs: [Int64: RunID] = [:]
    let runRows = try Row.fetchCursor(db, sql: "SELECT id, plan, state, numerics FROM runs ORDER BY id")
    while let row = try runRows.next() {
        let plan = try decodeJSON(RunPlan.self, row[1], of: "plan")
        runs[row[0]] = plan.id
        run(
            StateChanges.RunRow(
                plan: plan, state: try runState(row[2]), numericsClasses: try decodeJSON([NumericsClass?].self, row[3], of: "run")))
    }
    let workers = WorkerNames(db)
    let taskRows = try Row.fetchCursor(db, sql: "\(taskColumns) ORDER BY run, stage, block")
    while let row = try taskRows.next() {
        guard let run = runs[row[0]] else {
            throw AMAFError("store.corrupt", "Task rows name run \(row[0] as Int64), which is not stored", remedy: "Restore a backup.")
        }
        take(try task(row, run: run, workers: workers))
    }
}

let taskColumns = "SELECT run, stage, block, state, fence, worker, attempts, result, error, masked FROM tasks"

/// Names of workers by number, each looked up once.
final class WorkerNames {
    private let db: Database
    private var names: [Int64: WorkerID] = [:]
    init(_ db: Database) { self.db = db }

    func worker(_ number: Int64) throws -> WorkerID {
        if let name = names[number] { return name }
        let text = try String.fetchOne(db.cachedStatement(sql: "SELECT name FROM names WHERE id = ?"), arguments: [number])
        guard let text else {
            throw AMAFError("store.corrupt", "Rows name worker \(number), which is not stored", remedy: "Restore a backup.")
        }
        names[number] = WorkerID(text)
        return WorkerID(text)
    }
}

/// One row of `taskColumns`.
func task(_ row: Row, run: RunID, workers: WorkerNames) throws -> TaskRow {
    let stateNumber: Int64 = row[3]
    guard let state = TaskRow.State(rawValue: UInt8(truncatingIfNeeded: stateNumber)) else {
        throw AMAFError(
            "store.newer", "A task row has the unknown state \(stateNumber)", remedy: "Open the store with the newer build that wrote it.")
    }
    var worker: WorkerID?
    if let number = row[5] as Int64? { worker = try workers.worker(number) }
    return TaskRow(
        run: run, stage: row[1], block: row[2], state: state, fence: Fence(rawValue: UInt64(bitPattern: row[4])), worker: worker,
        attempts: row[6],
        result: row.hasNull(atIndex: 7) ? nil : try result(row, 7),
        error: row.hasNull(atIndex: 8) ? nil : try row.withUnsafeData(atIndex: 8) { try decodeError($0 ?? Data()) },
        maskedSamples: row.hasNull(atIndex: 9) ? [] : try row.withUnsafeData(atIndex: 9) { try decodeSamples($0 ?? Data()) })
}

private func result(_ row: Row, _ column: Int) throws -> BlockResult {
    try row.withUnsafeData(atIndex: column) { try decodeResult($0 ?? Data()) }
}

func runState(_ text: String) throws -> RunState {
    guard let state = RunState(rawValue: text) else {
        throw AMAFError(
            "store.newer", "A run has the unknown state '\(text)'", remedy: "Open the store with the newer build that wrote it.")
    }
    return state
}

func readOutbox(target: String, limit: Int, _ db: Database) throws -> [StoredOutboxItem] {
    let rows = try Row.fetchAll(
        db, sql: "SELECT id, key, body, attempts, last_error, created_at FROM outbox WHERE target = ? ORDER BY id LIMIT ?",
        arguments: [target, limit])
    return rows.map { row in
        StoredOutboxItem(
            id: row[0], item: OutboxItem(target: target, key: row[1], body: [UInt8](row[2] as Data)), attempts: row[3], lastError: row[4],
            createdAt: row[5])
    }
}
