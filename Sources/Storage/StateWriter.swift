internal import Foundation
internal import GRDB
internal import Primitives
internal import Scheduling

/// Numbers of names and runs that the store has seen, so that a row costs no look-up.
struct KnownNames: Sendable {
    private var names: [String: Int64] = [:]
    private var runs: [RunID: Int64] = [:]

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
        if let number = runs[run] { return number }
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
        try write(newRuns: changes.newRuns)
        for change in changes.runStates {
            let number = try known.number(of: change.run, db)
            try db.cachedStatement(sql: "UPDATE runs SET state = ?, numerics = ? WHERE id = ?")
                .execute(arguments: [change.state.rawValue, try encodeJSON(change.numericsClasses), number])
        }
        try write(tasks: changes.tasks, known: &known)
        try write(cached: changes.cached)
        try write(history: changes.history, known: &known)
    }

    private func write(newRuns: [StateChanges.RunRow]) throws {
        for run in newRuns {
            try db.cachedStatement(sql: "INSERT INTO runs (name, plan, state, numerics, submitted_at) VALUES (?, ?, ?, ?, ?)")
                .execute(arguments: [
                    run.plan.id.rawValue, try encodeJSON(run.plan), run.state.rawValue, try encodeJSON(run.numericsClasses), at,
                ])
        }
    }

    private func write(tasks: [TaskRow], known: inout KnownNames) throws {
        guard !tasks.isEmpty else { return }
        let insert = try db.cachedStatement(
            sql: """
                INSERT INTO tasks (run, stage, block, state, fence, worker, attempts, result, error, masked)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ON CONFLICT (run, stage, block) DO UPDATE SET state = excluded.state, fence = excluded.fence, worker = excluded.worker,
                attempts = excluded.attempts, result = excluded.result, error = excluded.error, masked = excluded.masked
                """)
        for task in tasks {
            var worker: Int64?
            if let id = task.worker { worker = try known.number(of: id.rawValue, db) }
            insert.setUncheckedArguments([
                try known.number(of: task.run, db), task.stage, task.block, Int64(task.state.rawValue),
                Int64(bitPattern: task.fence.rawValue),
                worker, task.attempts, task.result.map(encode), task.error.map(encode),
                task.maskedSamples.isEmpty ? nil : encode(samples: task.maskedSamples),
            ])
            try insert.execute()
        }
    }

    private func write(cached: [StateChanges.CachedResult]) throws {
        guard !cached.isEmpty else { return }
        let insert = try db.cachedStatement(sql: "INSERT INTO cached (identity, result) VALUES (?, ?)")
        for entry in cached {
            insert.setUncheckedArguments([Data(entry.identity.bytes), encode(entry.result)])
            try insert.execute()
        }
    }

    private func write(history: [HistoryEntry], known: inout KnownNames) throws {
        guard !history.isEmpty else { return }
        let insert = try db.cachedStatement(
            sql: """
                INSERT INTO history (at, cause, what, run, stage, first_block, end_block, fence, worker, detail)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """)
        for entry in history {
            var run: Int64?
            var stage: Int64?
            var worker: Int64?
            if let id = entry.run { run = try known.number(of: id.rawValue, db) }
            if let id = entry.stage { stage = try known.number(of: id.rawValue, db) }
            if let id = entry.worker { worker = try known.number(of: id.rawValue, db) }
            insert.setUncheckedArguments([
                at, Int64(bitPattern: entry.cause), try known.number(of: entry.what, db), run, stage, entry.blocks?.lowerBound,
                entry.blocks?.upperBound, entry.fence.map { Int64(bitPattern: $0.rawValue) }, worker,
                entry.detail.isEmpty ? nil : entry.detail,
            ])
            try insert.execute()
        }
    }
}

/// A digest that is already there names the same bytes, so a second insert is nothing.
func insertArtifacts(_ artifacts: [InlineArtifact], _ db: Database) throws {
    guard !artifacts.isEmpty else { return }
    let insert = try db.cachedStatement(
        sql: """
            INSERT INTO artifacts (key, digest, bytes) SELECT ?1, ?2, ?3
            WHERE NOT EXISTS (SELECT 1 FROM artifacts WHERE key = ?1 AND digest = ?2)
            """)
    for artifact in artifacts {
        insert.setUncheckedArguments([artifactKey(artifact.digest), Data(artifact.digest.bytes), Data(artifact.bytes)])
        try insert.execute()
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
