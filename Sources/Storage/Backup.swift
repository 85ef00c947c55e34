internal import GRDB
internal import Glibc
package import Primitives

/// What a backup or a restore copied.
package struct StoreCopy: Hashable, Sendable, Codable {
    /// The epoch in the copy: a head that opens it has the next one.
    package var epoch: UInt64
    package var artifactFiles: Int
    package var bytes: Int
    /// Artifact files whose bytes are not those of their name; they are left out, as a head would remove them on their first read.
    package var damagedFiles: [String]
}

extension Store {
    /// Added to the epoch of a copy: heads on the copy and on the original then give out different fences as long as the
    /// original is not started this often after the copy was made.
    package static let backupEpochStride: UInt64 = 1024

    /// Copies the store into a new folder that can be opened as one, while this one goes on working.
    ///
    /// The rows are one committed state; every artifact file that they name was complete before them, and is copied
    /// after. The copy is durable when the call returns.
    ///
    /// - Throws: `store.backup-exists` when the folder is not empty; `store.disk-full`.
    @discardableResult
    package func backup(to target: String) throws(AMAFError) -> StoreCopy {
        try artifacts.flush()
        return try Self.backup(of: folder, to: target)
    }

    /// The same for a store that a head in another process may own: it goes on working, and what it answered before this call is in the
    /// copy. Neither is slowed down but by the disk.
    ///
    /// - Throws: `store.missing`, `store.newer`, `store.foreign`, `store.backup-exists`, `store.disk-full`; `store.collecting` while
    ///   artifacts are being removed.
    @discardableResult
    package static func backup(of folder: String, to target: String) throws(AMAFError) -> StoreCopy {
        let hold = try CollectionLock(folder: folder, exclusive: false)
        defer { hold.keep() }
        return try copy(from: folder, to: target, raisingEpochBy: backupEpochStride, checksIntegrity: false)
    }

    /// Makes a store out of a backup, in a new folder: the rows are checked whole, every artifact file against its name.
    ///
    /// The epoch rises again, by a random amount, so that fences of heads on two restored copies hardly ever meet; still only one of them
    /// may be served. Work that was leased from the original and finishes now is fenced off and done again.
    ///
    /// - Throws: as `backup`, and `store.corrupt` for a damaged backup.
    @discardableResult
    package static func restore(from backup: String, to folder: String) throws(AMAFError) -> StoreCopy {
        var chance = SystemRandomNumberGenerator()
        return try copy(
            from: backup, to: folder, raisingEpochBy: UInt64.random(in: 1...backupEpochStride, using: &chance), checksIntegrity: true)
    }

    private static func copy(
        from source: String, to target: String, raisingEpochBy stride: UInt64, checksIntegrity: Bool
    ) throws(AMAFError) -> StoreCopy {
        let from = source + "/" + databaseName
        guard let size = fileSize(from), size > 0 else {
            throw AMAFError("store.missing", "There is no store in this folder", place: source, remedy: "Name the coordinator's folder.")
        }
        try makeFolder(target)
        guard names(inFolder: target).isEmpty else {
            throw AMAFError("store.backup-exists", "The folder for the copy is not empty", place: target, remedy: "Name a new folder.")
        }
        let path = target + "/" + databaseName
        var copied = StoreCopy(
            epoch: try copyRows(from: from, to: path, raisingEpochBy: stride, checksIntegrity: checksIntegrity), artifactFiles: 0,
            bytes: fileSize(path) ?? 0, damagedFiles: [])
        try makeFolder(target + "/artifacts")
        for parent in names(inFolder: source + "/artifacts") where parent.utf8.count == 2 {
            try makeFolder(target + "/artifacts/" + parent)
            for name in names(inFolder: source + "/artifacts/" + parent) {
                try copyFile("\(parent)/\(name)", from: source, to: target, &copied)
            }
            try synchronise(folder: target + "/artifacts/" + parent)
        }
        try synchronise(file: path)
        try synchronise(folder: target + "/artifacts")
        try synchronise(folder: target)
        return copied
    }

    private static func copyFile(_ name: String, from source: String, to target: String, _ copied: inout StoreCopy) throws(AMAFError) {
        let made = target + "/artifacts/" + name
        let (digest, count): (Digest, Int)
        do throws(AMAFError) {
            (digest, count) = try copyHashing(from: source + "/artifacts/" + name, to: made, durable: true)
        } catch {
            // The head found it torn and removed it between the look and the copy.
            if fileSize(source + "/artifacts/" + name) == nil { return }
            throw error
        }
        guard digest.hex == name.filter({ $0 != "/" }) else {
            unlink(made)
            copied.damagedFiles.append(name)
            return
        }
        copied.artifactFiles += 1
        copied.bytes += count
    }

    /// One committed state of the rows, whoever writes meanwhile.
    private static func copyRows(
        from source: String, to target: String, raisingEpochBy stride: UInt64, checksIntegrity: Bool
    ) throws(AMAFError) -> UInt64 {
        try storing(at: source) {
            var configuration = Configuration()
            configuration.readonly = true
            configuration.busyMode = .timeout(10)
            let original = try DatabaseQueue(path: source, configuration: configuration)
            let (application, newer) = try original.read { db in
                (try Int64.fetchOne(db, sql: "PRAGMA application_id") ?? 0, try migrator(schemaSteps).hasBeenSuperseded(db))
            }
            guard application == applicationID else {
                throw AMAFError("store.foreign", "The file is no store of this program", place: source, remedy: "Name another folder.")
            }
            guard !newer else {
                throw AMAFError(
                    "store.newer", "The store was written by a newer build than this one", place: source, remedy: "Use the newer build.")
            }
            let copy = try DatabaseQueue(path: target)
            try original.backup(to: copy)
            try original.close()
            let epoch = try copy.writeWithoutTransaction { db in
                if checksIntegrity {
                    let complaints = try String.fetchAll(db, sql: "PRAGMA integrity_check(5)")
                    guard complaints == ["ok"] else {
                        throw AMAFError(
                            "store.corrupt", "The backup is damaged: \(complaints.joined(separator: "; "))", place: source,
                            remedy: "Restore another backup.")
                    }
                }
                try db.execute(sql: "PRAGMA synchronous = FULL")
                try db.execute(sql: "UPDATE meta SET value = value + ? WHERE key = 'epoch'", arguments: [Int64(stride)])
                return UInt64(try Int64.fetchOne(db, sql: "SELECT value FROM meta WHERE key = 'epoch'") ?? 0)
            }
            try copy.close()
            return epoch
        }
    }
}

/// Keeps copies and the removal of artifacts apart: many copies at once, or one removal. It goes with the process.
struct CollectionLock: ~Copyable {
    private let file: Int32

    init(folder: String, exclusive: Bool) throws(AMAFError) {
        let path = folder + "/collect.lock"
        let file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw systemError("store.permission", "Cannot open the lock file", place: path) }
        guard flock(file, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 else {
            close(file)
            throw AMAFError(
                "store.collecting", exclusive ? "The store is being copied" : "Artifacts are being removed from the store", place: folder,
                remedy: "Try again when that has ended.", isTransient: true)
        }
        self.file = file
    }

    /// Says that the lock was still needed here.
    borrowing func keep() {}

    // As with the store's own lock: a child that is being started must not keep it.
    deinit {
        flock(file, LOCK_UN)
        close(file)
    }
}
