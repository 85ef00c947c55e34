internal import Foundation
internal import GRDB
package import Primitives
package import Scheduling

/// Views of a store for status, story and export. Each call sees one committed state.
///
/// It reads on connections of its own (write-ahead log), so looking never blocks the writer; calls stay short, since a
/// long read keeps the log from being folded back. Many threads may call at once; up to eight read at the same time.
package struct StoreReader: Sendable {
    private let pool: DatabasePool
    private let place: String

    init(pool: DatabasePool, place: String) {
        self.pool = pool
        self.place = place
    }

    /// Opens a store that another process may own, for reading only.
    ///
    /// - Throws: `store.missing` when the folder holds none, `store.newer`.
    package init(folder: String) throws(AMAFError) {
        let path = folder + "/" + Store.databaseName
        guard fileSize(path) != nil else {
            throw AMAFError("store.missing", "There is no store in this folder", place: folder, remedy: "Name the coordinator's folder.")
        }
        let pool = try storing(at: path) {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.foreignKeysEnabled = false
            configuration.busyMode = .timeout(10)
            let pool = try DatabasePool(path: path, configuration: configuration)
            let newer = try pool.read { db in try migrator(schemaSteps).hasBeenSuperseded(db) }
            guard !newer else {
                throw AMAFError(
                    "store.newer", "The store was written by a newer build than this one", place: path, remedy: "Use the newer build.")
            }
            return pool
        }
        self.init(pool: pool, place: folder)
    }

    /// All runs in the order of their submission.
    package func runs() throws(AMAFError) -> [StoredRun] {
        try reading { db in
            try Row.fetchAll(db, sql: "SELECT name, state, numerics, submitted_at FROM runs ORDER BY id").map { row in
                StoredRun(
                    run: RunID(row[0] as String), state: try runState(row[1]),
                    numericsClasses: try decodeJSON([NumericsClass?].self, row[2], of: "run"), submittedAt: row[3])
            }
        }
    }

    /// The plan as submitted; nil for a run that the store does not know.
    package func plan(of run: RunID) throws(AMAFError) -> RunPlan? {
        try reading { db in
            guard let text = try String.fetchOne(db, sql: "SELECT plan FROM runs WHERE name = ?", arguments: [run.rawValue]) else {
                return nil
            }
            return try decodeJSON(RunPlan.self, text, of: "plan")
        }
    }

    /// Task rows in the order of stage and block. Tasks that never changed have no row: they are waiting.
    ///
    /// - Parameters:
    ///   - after: the last row of the page before.
    ///   - states: nil for all.
    package func tasks(
        run: RunID, stage: Int? = nil, states: [TaskRow.State]? = nil, after: TaskCursor? = nil, limit: Int = 1000
    ) throws(AMAFError) -> [TaskRow] {
        try reading { db in
            guard let number = try runNumber(run, db) else { return [] }
            var sql = taskColumns + " WHERE run = ?"
            var arguments: StatementArguments = [number]
            if let stage {
                sql += " AND stage = ?"
                arguments += [stage]
            }
            if let after {
                sql += " AND (stage, block) > (?, ?)"
                arguments += [after.stage, after.block]
            }
            // Numbers of our own enumeration, not text from outside.
            if let states { sql += " AND state IN (\(states.map { "\($0.rawValue)" }.joined(separator: ", ")))" }
            sql += " ORDER BY run, stage, block LIMIT ?"
            arguments += [limit]
            let workers = WorkerNames(db)
            var found: [TaskRow] = []
            let rows = try Row.fetchCursor(db, sql: sql, arguments: arguments)
            while let row = try rows.next() { found.append(try task(row, run: run, workers: workers)) }
            return found
        }
    }

    /// How many rows of each stage are in each state: position in the plan → state → count.
    package func taskCounts(run: RunID) throws(AMAFError) -> [Int: [TaskRow.State: Int]] {
        try reading { db in
            var counts: [Int: [TaskRow.State: Int]] = [:]
            guard let number = try runNumber(run, db) else { return counts }
            let rows = try Row.fetchCursor(
                db, sql: "SELECT stage, state, count(*) FROM tasks WHERE run = ? GROUP BY stage, state", arguments: [number])
            while let row = try rows.next() {
                guard let state = TaskRow.State(rawValue: row[1]) else { continue }
                counts[row[0], default: [:]][state] = row[2]
            }
            return counts
        }
    }

    package func history(_ filter: HistoryFilter = HistoryFilter()) throws(AMAFError) -> [StoredHistoryEntry] {
        try reading { db in try readHistory(filter, db) }
    }

    /// Every answer in the order it came. The last one by sample and person counts.
    package func reviews(run: RunID, stage: StageID? = nil) throws(AMAFError) -> [ReviewAnswer] {
        try reading { db in
            var sql = "SELECT run, stage, sample, label, who, seconds, at FROM reviews WHERE run = ?"
            var arguments: StatementArguments = [run.rawValue]
            if let stage {
                sql += " AND stage = ?"
                arguments += [stage.rawValue]
            }
            return try Row.fetchAll(db, sql: sql + " ORDER BY id", arguments: arguments).map { row in
                ReviewAnswer(
                    run: RunID(row[0] as String), stage: StageID(row[1] as String), sample: row[2], label: row[3], who: row[4],
                    seconds: row[5],
                    at: row[6])
            }
        }
    }

    /// Items that wait for delivery, over all targets.
    package func outboxCount() throws(AMAFError) -> Int {
        try reading { db in try Int.fetchOne(db, sql: "SELECT count(*) FROM outbox") ?? 0 }
    }

    /// The epoch of the head that owns or last owned the store.
    package func epoch() throws(AMAFError) -> UInt64 {
        try reading { db in UInt64(try Int64.fetchOne(db, sql: "SELECT value FROM meta WHERE key = 'epoch'") ?? 0) }
    }

    /// The number of the last schema step that was applied.
    package func schemaVersion() throws(AMAFError) -> Int {
        try reading { db in try migrator(schemaSteps).appliedIdentifiers(db).compactMap { Int($0) }.max() ?? 0 }
    }

    private func reading<T>(_ body: (Database) throws -> T) throws(AMAFError) -> T {
        try storing(at: place) { try pool.read(body) }
    }
}

private func runNumber(_ run: RunID, _ db: Database) throws -> Int64? {
    try Int64.fetchOne(db.cachedStatement(sql: "SELECT id FROM runs WHERE name = ?"), arguments: [run.rawValue])
}

private func readHistory(_ filter: HistoryFilter, _ db: Database) throws -> [StoredHistoryEntry] {
    var conditions: [String] = []
    var arguments: StatementArguments = []
    func require(_ condition: String, _ values: StatementArguments) {
        conditions.append(condition)
        arguments += values
    }
    // A name without a number was never stored: nothing can match.
    func requireName(_ column: String, _ name: String?) throws -> Bool {
        guard let name else { return true }
        guard let number = try Int64.fetchOne(db, sql: "SELECT id FROM names WHERE name = ?", arguments: [name]) else { return false }
        require("h.\(column) = ?", [number])
        return true
    }
    guard try requireName("run", filter.run?.rawValue), try requireName("stage", filter.stage?.rawValue),
        try requireName("worker", filter.worker?.rawValue), try requireName("what", filter.what)
    else { return [] }
    if let block = filter.block { require("h.first_block <= ? AND h.end_block > ?", [block, block]) }
    if let fence = filter.fence { require("h.fence = ?", [Int64(bitPattern: fence.rawValue)]) }
    if let cause = filter.cause { require("h.cause = ?", [Int64(bitPattern: cause)]) }
    if filter.after > 0 { require("h.id > ?", [filter.after]) }
    let rows = try Row.fetchAll(
        db,
        sql: """
            SELECT h.id, h.at, h.cause, what.name, run.name, stage.name, h.first_block, h.end_block, h.fence, worker.name, h.detail
            FROM history h JOIN names what ON what.id = h.what LEFT JOIN names run ON run.id = h.run
            LEFT JOIN names stage ON stage.id = h.stage LEFT JOIN names worker ON worker.id = h.worker
            \(conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND "))
            ORDER BY h.id \(filter.newestFirst ? "DESC" : "ASC") LIMIT ?
            """, arguments: arguments + [filter.limit])
    return rows.map { row in
        var blocks: Range<Int>?
        if let first = row[6] as Int?, let end = row[7] as Int?, first <= end { blocks = first..<end }
        return StoredHistoryEntry(
            id: row[0], at: row[1],
            entry: HistoryEntry(
                cause: UInt64(bitPattern: row[2]), what: row[3], run: (row[4] as String?).map { RunID($0) },
                stage: (row[5] as String?).map { StageID($0) }, blocks: blocks,
                fence: (row[8] as Int64?).map { Fence(rawValue: UInt64(bitPattern: $0)) },
                worker: (row[9] as String?).map { WorkerID($0) }, detail: (row[10] as String?) ?? ""))
    }
}
