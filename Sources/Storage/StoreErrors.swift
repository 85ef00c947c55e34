internal import Glibc
internal import GRDB
internal import Primitives

/// Runs `body` and turns whatever SQLite reports into an error that names the store and says what to do.
///
/// - Parameter place: the file or folder that the reader must look at.
func storing<T>(at place: String, _ body: () throws -> T) throws(AMAFError) -> T {
    do {
        return try body()
    } catch let error as AMAFError {
        throw error
    } catch let error as DatabaseError {
        throw storeError(error, place: place)
    } catch {
        throw AMAFError("store.unexpected", "The store failed: \(error)", place: place)
    }
}

private func storeError(_ error: DatabaseError, place: String) -> AMAFError {
    let said = error.message ?? "no message"
    switch error.resultCode {
    case .SQLITE_FULL:
        return AMAFError(
            "store.disk-full", "The store cannot grow: \(said). Nothing of this batch was stored", place: place,
            remedy: "Free space on that volume or raise the store's limit; the head goes on when the same batch is stored again.",
            isTransient: true)
    case .SQLITE_BUSY, .SQLITE_LOCKED:
        return AMAFError(
            "store.busy", "Another program holds the store's write lock: \(said)", place: place,
            remedy: "Close the program that has the file open for writing.", isTransient: true)
    case .SQLITE_CORRUPT, .SQLITE_NOTADB:
        return AMAFError(
            "store.corrupt", "The store is damaged: \(said)", place: place,
            remedy: "Move the folder away and restore a backup.")
    case .SQLITE_IOERR:
        return AMAFError(
            "store.io", "Reading or writing the store failed: \(said) (SQLite code \(error.extendedResultCode.rawValue))", place: place,
            remedy: "Look at the system log for disk errors.", isTransient: true)
    case .SQLITE_CANTOPEN, .SQLITE_READONLY, .SQLITE_PERM, .SQLITE_AUTH:
        return AMAFError(
            "store.permission", "The store cannot be opened for this: \(said)", place: place,
            remedy: "Give the user who runs the coordinator read and write rights to the folder.")
    default:
        return AMAFError("store.sqlite", "SQLite refused: \(said) (code \(error.extendedResultCode.rawValue))", place: place)
    }
}

/// The error of a system call that just failed.
func systemError(_ code: String, _ what: String, place: String, number: Int32 = errno) -> AMAFError {
    let reason = String(cString: strerror(number))
    if number == ENOSPC || number == EDQUOT {
        return AMAFError(
            "store.disk-full", "\(what): \(reason)", place: place, remedy: "Free space on that volume.", isTransient: true)
    }
    return AMAFError(
        code, "\(what): \(reason)", place: place, isTransient: number == EINTR || number == EAGAIN || number == EMFILE || number == ENFILE)
}
