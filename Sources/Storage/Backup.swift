internal import GRDB
internal import Glibc
package import Primitives

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
    package func backup(to target: String) throws(AMAFError) {
        try makeFolder(target)
        guard names(inFolder: target).isEmpty else {
            throw AMAFError("store.backup-exists", "The folder for the backup is not empty", place: target, remedy: "Name a new folder.")
        }
        try artifacts.flush()
        let path = target + "/" + Self.databaseName
        try storing(at: target) {
            let copy = try DatabaseQueue(path: path)
            try pool.backup(to: copy)
            try copy.writeWithoutTransaction { db in
                try db.execute(sql: "PRAGMA synchronous = FULL")
                try db.execute(sql: "UPDATE meta SET value = value + ? WHERE key = 'epoch'", arguments: [Int64(Self.backupEpochStride)])
            }
            try copy.close()
        }
        try makeFolder(target + "/artifacts")
        for parent in names(inFolder: artifacts.folder) where parent.utf8.count == 2 {
            try makeFolder(target + "/artifacts/" + parent)
            for name in names(inFolder: artifacts.folder + "/" + parent) {
                let file = "/\(parent)/\(name)"
                // The digest is not compared: the copy's own first read does that.
                _ = try copyHashing(from: artifacts.folder + file, to: target + "/artifacts" + file, durable: true)
            }
            try synchronise(folder: target + "/artifacts/" + parent)
        }
        try synchronise(file: path)
        try synchronise(folder: target + "/artifacts")
        try synchronise(folder: target)
    }
}
