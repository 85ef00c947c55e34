internal import Foundation
internal import GRDB
internal import Primitives
internal import Scheduling

/// Numbers of names and runs that the store has seen, so that a row costs no look-up.
struct KnownNames: Sendable {
    private var names: [String: Int64] = [:]
    private var runs: [RunID: Int64] = [:]
    /// Rows of one batch mostly are of one run.
    private var lastRun: (run: RunID, number: Int64)?
    /// The last numerics classes written and their JSON: a run's row is written at least twice with the same ones.
    private var lastNumerics: (classes: [NumericsClass?], json: String)?

    mutating func json(of classes: [NumericsClass?]) throws -> String {
        if let lastNumerics, lastNumerics.classes == classes { return lastNumerics.json }
        let json = try encodeJSON(classes)
        lastNumerics = (classes, json)
        return json
    }

    /// The run's row was written just now.
    mutating func add(_ run: RunID, number: Int64) {
        runs[run] = number
        lastRun = (run, number)
    }

    /// The number of a name, given on its first use.
    mutating func number(of name: String, _ db: Database) throws -> Int64 {
        if let number = names[name] { return number }
        let number: Int64
        if let found = try Int64.fetchOne(db.cachedStatement(sql: "SELECT id FROM names WHERE name = ?"), arguments: [name]) {
            number = found
        } else {
            try db.cachedStatement(sql: "INSERT INTO names (name) VALUES (?)").execute(arguments: [name])
            number = db.lastInsertedRowID
        }
        names[name] = number
        return number
    }

    mutating func number(of run: RunID, _ db: Database) throws -> Int64 {
        if let lastRun, lastRun.run == run { return lastRun.number }
        if let number = runs[run] {
            lastRun = (run, number)
            return number
        }
        guard let number = try Int64.fetchOne(db.cachedStatement(sql: "SELECT id FROM runs WHERE name = ?"), arguments: [run.rawValue])
        else {
            preconditionFailure("rows of the run \(run) are stored before the run itself")
        }
        runs[run] = number
        return number
    }
}

/// Writes the changes of one batch inside the caller's transaction. Statements are prepared once for the connection and
/// bound by position.
struct StateWriter {
    let db: Database
    /// Wall clock, milliseconds since 1970.
    let at: Int64

    func write(_ changes: StateChanges, known: inout KnownNames) throws {
        try write(newRuns: changes.newRuns, known: &known)
        for change in changes.runStates {
            let number = try known.number(of: change.run, db)
            try db.cachedStatement(sql: "UPDATE runs SET state = ?, numerics = ? WHERE id = ?")
                .execute(arguments: [change.state.rawValue, try known.json(of: change.numericsClasses), number])
        }
        try write(tasks: changes.tasks, known: &known)
        try write(cached: changes.cached)
        try write(history: changes.history, known: &known)
    }

    private func write(newRuns: [StateChanges.RunRow], known: inout KnownNames) throws {
        for run in newRuns {
            try db.cachedStatement(sql: "INSERT INTO runs (name, plan, state, numerics, submitted_at) VALUES (?, ?, ?, ?, ?)")
                .execute(arguments: [
                    run.plan.id.rawValue, try encodeJSON(run.plan), run.state.rawValue, try known.json(of: run.numericsClasses), at,
                ])
            known.add(run.plan.id, number: db.lastInsertedRowID)
        }
    }

    private func write(tasks: [TaskRow], known: inout KnownNames) throws {
        guard !tasks.isEmpty else { return }
        let insert = try DirectStatement(
            db,
            """
            INSERT INTO tasks (run, stage, block, state, fence, worker, attempts, result, error, masked)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (run, stage, block) DO UPDATE SET state = excluded.state, fence = excluded.fence, worker = excluded.worker,
            attempts = excluded.attempts, result = excluded.result, error = excluded.error, masked = excluded.masked
            """)
        var blob = RowBuffer()
        for task in tasks {
            insert.bind(1, try known.number(of: task.run, db))
            insert.bind(2, task.stage)
            insert.bind(3, task.block)
            insert.bind(4, Int64(task.state.rawValue))
            insert.bind(5, Int64(bitPattern: task.fence.rawValue))
            insert.bind(6, try task.worker.map { try known.number(of: $0.rawValue, db) })
            insert.bind(7, task.attempts)
            if let result = task.result { blob.encode(result).withUnsafeBytes { insert.bind(8, $0) } } else { insert.bindNull(8) }
            if let error = task.error { insert.bind(9, encode(error)) } else { insert.bindNull(9) }
            if task.maskedSamples.isEmpty { insert.bindNull(10) } else { insert.bind(10, encode(samples: task.maskedSamples)) }
            try insert.run()
        }
    }

    private func write(cached: [StateChanges.CachedResult]) throws {
        guard !cached.isEmpty else { return }
        let insert = try DirectStatement(db, "INSERT INTO cached (identity, result) VALUES (?, ?)")
        var blob = RowBuffer()
        for entry in cached {
            insert.bind(1, entry.identity)
            blob.encode(entry.result).withUnsafeBytes { insert.bind(2, $0) }
            try insert.run()
        }
    }

    private func write(history: [HistoryEntry], known: inout KnownNames) throws {
        guard !history.isEmpty else { return }
        let insert = try DirectStatement(
            db,
            """
            INSERT INTO history (at, cause, what, run, stage, first_block, end_block, fence, worker, detail)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            """)
        for entry in history {
            insert.bind(1, at)
            insert.bind(2, Int64(bitPattern: entry.cause))
            insert.bind(3, try known.number(of: entry.what, db))
            insert.bind(4, try entry.run.map { try known.number(of: $0.rawValue, db) })
            insert.bind(5, try entry.stage.map { try known.number(of: $0.rawValue, db) })
            insert.bind(6, entry.blocks.map { Int64($0.lowerBound) })
            insert.bind(7, entry.blocks.map { Int64($0.upperBound) })
            insert.bind(8, entry.fence.map { Int64(bitPattern: $0.rawValue) })
            insert.bind(9, try entry.worker.map { try known.number(of: $0.rawValue, db) })
            if entry.detail.isEmpty { insert.bindNull(10) } else { insert.bind(10, entry.detail) }
            try insert.run()
        }
    }
}

/// A digest that is already there names the same bytes, so a second insert is nothing.
func insertArtifacts(_ artifacts: [InlineArtifact], _ db: Database) throws {
    guard !artifacts.isEmpty else { return }
    let find = try DirectStatement(db, "SELECT 1 FROM artifacts WHERE key = ? AND digest = ?")
    let insert = try DirectStatement(db, "INSERT INTO artifacts (key, digest, bytes) VALUES (?, ?, ?)")
    for artifact in artifacts {
        let key = artifactKey(artifact.digest)
        let digest = artifact.digest.bytes
        find.bind(1, key)
        find.bind(2, digest)
        if try find.run() { continue }
        insert.bind(1, key)
        insert.bind(2, digest)
        insert.bind(3, artifact.bytes)
        try insert.run()
    }
}

/// The first six bytes of the digest: SQLite keeps that in six bytes, and two of a million digests hardly ever share it.
func artifactKey(_ digest: Digest) -> Int64 { Int64(digest.leadingBits >> 16) }

func insertOutbox(_ items: [OutboxItem], at: Int64, _ db: Database) throws {
    guard !items.isEmpty else { return }
    let insert = try db.cachedStatement(sql: "INSERT OR IGNORE INTO outbox (target, key, body, created_at) VALUES (?, ?, ?, ?)")
    for item in items {
        insert.setUncheckedArguments([item.target, item.key, Data(item.body), at])
        try insert.execute()
    }
}
