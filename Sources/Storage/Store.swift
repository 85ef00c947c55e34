internal import Foundation
internal import GRDB
internal import Glibc
package import Primitives
package import Scheduling
internal import Synchronization

/// How a store is opened.
package struct StoreOptions: Sendable {
    /// Milliseconds since 1970, stamped on rows for people to read. Time is an argument so that simulated runs repeat.
    package var wallClock: @Sendable () -> Int64 = wallClockMilliseconds
    /// Runs SQLite's quick_check before anything is read: about a second for each million task rows.
    package var checksIntegrity = true
    /// The database file may not grow beyond this many bytes; nil leaves it to the disk.
    package var maximumBytes: Int?
    /// Overridden only where migrations themselves are tested.
    package var schema: [SchemaStep] = schemaSteps

    package init() {}
}

/// Wall-clock time in milliseconds since 1970.
package func wallClockMilliseconds() -> Int64 {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec) * 1000 + Int64(now.tv_nsec) / 1_000_000
}

/// The state that survives the head: one folder with `state.sqlite` and `artifacts/`, owned by one process.
///
/// Every `apply` is one transaction and one fsync (WAL, synchronous = FULL). Calls block the calling thread; the
/// coordinator's loop calls from its own.
///
/// Owner: writes are serialised by the pool's one writer connection; the tables of known names live under a mutex that
/// only code inside that writer takes. Readers use their own connections and see the last committed state.
package final class Store: Sendable {
    package let folder: String
    /// Raised durably at every opening, so fences made under it were never given out before.
    package let epoch: UInt64
    /// Names this store for good; a backup keeps it.
    package let identity: String
    package let artifacts: ArtifactStore

    let pool: DatabasePool
    private let options: StoreOptions
    private let lock: LockHolder
    private let known = Mutex(KnownNames())

    /// The file inside the folder that holds all rows.
    package static let databaseName = "state.sqlite"

    /// Opens the store in `folder`, making it when there is none.
    ///
    /// - Throws: `store.locked`, `store.network-filesystem`, `store.newer`, `store.foreign`, `store.corrupt`,
    ///   `store.permission`, `store.disk-full`.
    package init(folder: String, options: StoreOptions = StoreOptions()) throws(AMAFError) {
        try makeFolder(folder)
        try refuseNetworkFileSystem(folder: folder)
        let lock = LockHolder(try FolderLock(folder: folder))
        let path = folder + "/" + Self.databaseName
        try prepareExisting(path: path, folder: folder, schema: options.schema)
        let opened = try storing(at: path) { () throws in
            let pool = try openPool(path: path, options: options)
            try migrator(options.schema).migrate(pool)
            return (pool, try raiseEpoch(pool, wallClock: options.wallClock))
        }
        // The file's name, and the folder's, must outlive a power cut as well as its rows.
        try synchronise(folder: folder)
        try synchronise(folder: folder + "/..")
        self.folder = folder
        self.lock = lock
        self.options = options
        pool = opened.0
        epoch = opened.1.epoch
        identity = opened.1.identity
        artifacts = try ArtifactStore(folder: folder + "/artifacts", pool: opened.0)
    }

    /// Writes what is still in memory, folds the log into the database file and gives up the lock. The store is of no
    /// further use.
    package func close() throws(AMAFError) {
        try artifacts.flush()
        try storing(at: folder) { try pool.close() }
        lock.release()
    }

    /// Reads everything that the scheduler needs to go on.
    package func load() throws(AMAFError) -> StoredState {
        try storing(at: folder) { try pool.read { db in try loadState(db) } }
    }

    /// As `load`, a row at a time: what a new head does, for which a million rows at once would be half a gigabyte.
    package func load(into recovery: inout SchedulerRecovery) throws(AMAFError) {
        var taken = recovery
        try storing(at: folder) {
            try pool.read { db in
                try scanState(
                    db, expect: { taken.expect(tasks: $0, cached: $1) }, cached: { taken.add($0) }, run: { taken.add($0) },
                    task: { taken.add($0) })
            }
        }
        recovery = taken
    }

    /// Stores all of it or, when it throws, nothing of it: one transaction, durable when the call returns.
    ///
    /// Artifacts that were put without `durable` since the last call ride along. The same batch may be applied again
    /// after a failure.
    ///
    /// - Throws: `store.disk-full`, `store.io`, `store.busy` (all transient).
    package func apply(_ changes: StateChanges, artifacts inline: [InlineArtifact] = [], outbox: [OutboxItem] = []) throws(AMAFError) {
        let waiting = artifacts.waiting()
        if changes.isEmpty && inline.isEmpty && outbox.isEmpty && waiting.isEmpty { return }
        let at = options.wallClock()
        try storing(at: folder) {
            try pool.writeWithoutTransaction { db in
                try known.withLock { known in
                    do {
                        try db.inTransaction(.immediate) {
                            try insertArtifacts(waiting, db)
                            try insertArtifacts(inline, db)
                            try StateWriter(db: db, at: at).write(changes, known: &known)
                            try insertOutbox(outbox, at: at, db)
                            return .commit
                        }
                    } catch {
                        // What was learnt inside the transaction was rolled back with it.
                        known = KnownNames()
                        throw error
                    }
                }
            }
        }
        artifacts.stored(waiting)
    }

    /// Keeps answers of people, durably.
    package func record(_ answers: [ReviewAnswer]) throws(AMAFError) {
        guard !answers.isEmpty else { return }
        try storing(at: folder) {
            try pool.writeWithoutTransaction { db in
                try db.inTransaction(.immediate) {
                    let insert = try db.cachedStatement(
                        sql: "INSERT INTO reviews (run, stage, sample, label, who, seconds, at) VALUES (?, ?, ?, ?, ?, ?, ?)")
                    for answer in answers {
                        insert.setUncheckedArguments([
                            answer.run.rawValue, answer.stage.rawValue, answer.sample, answer.label, answer.who, answer.seconds, answer.at,
                        ])
                        try insert.execute()
                    }
                    return .commit
                }
            }
        }
    }

    /// Milliseconds since 1970, by the store's own clock.
    func wallClock() -> Int64 { options.wallClock() }

    /// Rows were removed: numbers known before may not stand for anything now.
    func forgetNames() { known.withLock { $0 = KnownNames() } }

    /// Items not yet delivered, oldest first.
    package func pendingOutbox(target: String, limit: Int = 100) throws(AMAFError) -> [StoredOutboxItem] {
        try storing(at: folder) { try pool.read { db in try readOutbox(target: target, limit: limit, db) } }
    }

    /// The item reached its target and leaves the outbox.
    package func delivered(outboxItem id: Int64) throws(AMAFError) {
        try storing(at: folder) { try pool.write { db in try db.execute(sql: "DELETE FROM outbox WHERE id = ?", arguments: [id]) } }
    }

    /// The item could not be delivered; it stays, with the reason.
    package func undelivered(outboxItem id: Int64, error: AMAFError) throws(AMAFError) {
        try storing(at: folder) {
            try pool.write { db in
                try db.execute(
                    sql: "UPDATE outbox SET attempts = attempts + 1, last_error = ? WHERE id = ?", arguments: [error.description, id])
            }
        }
    }

    /// Views of the last committed state, on connections of their own: looking never blocks the writer.
    package func reader() -> StoreReader { StoreReader(pool: pool, place: folder) }

    /// The settings that the promise of durability rests on, read back from the writer.
    package func durability() throws(AMAFError) -> (journal: String, synchronous: Int) {
        try storing(at: folder) { try pool.writeWithoutTransaction { db in try readDurability(db) } }
    }
}

/// Owns the folder's lock until it is released or forgotten.
private final class LockHolder: Sendable {
    private let held: Mutex<FolderLock?>
    init(_ lock: consuming FolderLock) { held = Mutex(lock) }
    func release() { held.withLock { $0 = nil } }
}

/// Looks at a file that is already there without changing it: refuses what this build must not touch and keeps a copy of
/// what it is about to migrate.
private func prepareExisting(path: String, folder: String, schema: [SchemaStep]) throws(AMAFError) {
    guard let size = fileSize(path), size > 0 else { return }
    let migrator = migrator(schema)
    try storing(at: path) {
        var configuration = Configuration()
        configuration.readonly = true
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        let (application, applied, newer) = try queue.read { db in
            (
                try Int64.fetchOne(db, sql: "PRAGMA application_id") ?? 0, try migrator.appliedIdentifiers(db).count,
                try migrator.hasBeenSuperseded(db)
            )
        }
        guard application == applicationID || (application == 0 && applied == 0) else {
            throw AMAFError("store.foreign", "The file is the database of another program", place: path, remedy: "Name another folder.")
        }
        if newer {
            throw AMAFError(
                "store.newer", "The store was written by a newer build than this one, whose schema ends at \(schema.count)", place: path,
                remedy: "Start the newer build, or restore the backup that it made before it migrated.")
        }
        guard applied > 0, applied < schema.count else { return try queue.close() }
        let copies = folder + "/backups"
        try makeFolder(copies)
        let copy = copies + "/before-schema-\(schema.count)-from-\(applied).sqlite"
        unlink(copy)
        let target = try DatabaseQueue(path: copy)
        try queue.backup(to: target)
        try target.close()
        try queue.close()
        try synchronise(file: copy)
        try synchronise(folder: copies)
    }
}

private func openPool(path: String, options: StoreOptions) throws -> DatabasePool {
    var configuration = Configuration()
    configuration.foreignKeysEnabled = false
    configuration.busyMode = .timeout(10)
    configuration.maximumReaderCount = 8
    configuration.label = "amaf.store"
    configuration.prepareDatabase { db in try db.execute(sql: "PRAGMA cache_size = -8192") }
    let pool = try DatabasePool(path: path, configuration: configuration)
    try pool.writeWithoutTransaction { db in
        // The pool opens with NORMAL, under which a commit may be lost with the power; results that a worker was told
        // are safe must not be.
        try db.execute(sql: "PRAGMA synchronous = FULL")
        let durability = try readDurability(db)
        guard durability == ("wal", 2) else {
            throw AMAFError(
                "store.not-durable", "SQLite answers journal_mode = \(durability.journal), synchronous = \(durability.synchronous)",
                place: path,
                remedy: "The store needs WAL and FULL: check that the volume allows shared memory and locks.")
        }
        // A longer log before it is folded back: fewer pauses of the writer, still only 16 MiB to scan at start.
        try db.execute(sql: "PRAGMA wal_autocheckpoint = 4000")
        try db.execute(sql: "PRAGMA application_id = \(applicationID)")
        if let limit = options.maximumBytes {
            let page = try Int.fetchOne(db, sql: "PRAGMA page_size") ?? 4096
            try db.execute(sql: "PRAGMA max_page_count = \(max(1, limit / page))")
        }
        if options.checksIntegrity {
            let complaints = try String.fetchAll(db, sql: "PRAGMA quick_check(5)")
            if complaints != ["ok"] {
                throw AMAFError(
                    "store.corrupt", "The store is damaged: \(complaints.joined(separator: "; "))", place: path,
                    remedy: "Move the folder away and restore a backup.")
            }
        }
    }
    return pool
}

private func readDurability(_ db: Database) throws -> (journal: String, synchronous: Int) {
    (try String.fetchOne(db, sql: "PRAGMA journal_mode") ?? "", try Int.fetchOne(db, sql: "PRAGMA synchronous") ?? -1)
}

private func raiseEpoch(_ pool: DatabasePool, wallClock: () -> Int64) throws -> (epoch: UInt64, identity: String) {
    try pool.writeWithoutTransaction { db in
        var found: (UInt64, String) = (0, "")
        try db.inTransaction(.immediate) {
            if let identity = try String.fetchOne(db, sql: "SELECT value FROM meta WHERE key = 'identity'") {
                found.1 = identity
            } else {
                var chance = SystemRandomNumberGenerator()
                let name = String(chance.next(), radix: 16)
                found.1 = String(repeating: "0", count: 16 - name.count) + name
                try db.execute(
                    sql: "INSERT INTO meta (key, value) VALUES ('identity', ?), ('created_at', ?), ('epoch', 0)",
                    arguments: [found.1, wallClock()])
            }
            try db.execute(sql: "UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
            found.0 = UInt64(try Int64.fetchOne(db, sql: "SELECT value FROM meta WHERE key = 'epoch'") ?? 0)
            return .commit
        }
        precondition(found.0 > 0, "the store lost its epoch")
        return found
    }
}
