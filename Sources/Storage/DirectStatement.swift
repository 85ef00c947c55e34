internal import GRDB
internal import GRDBSQLite
internal import Primitives

/// A statement of the writer that is bound by position and stepped without boxing a value: a row of ten columns costs about a
/// microsecond of binding instead of ten.
///
/// Owner: the writer's connection, inside one call of its queue.
struct DirectStatement {
    private let statement: Statement
    private let pointer: OpaquePointer
    private let connection: OpaquePointer?

    init(_ db: Database, _ sql: String) throws {
        statement = try db.cachedStatement(sql: sql)
        pointer = statement.sqliteStatement
        connection = db.sqliteConnection
    }

    // Binding fails only for a wrong position, which is our own mistake and shows as SQLITE_RANGE at the step.

    func bind(_ position: Int32, _ value: Int64) { sqlite3_bind_int64(pointer, position, value) }
    func bind(_ position: Int32, _ value: Int) { sqlite3_bind_int64(pointer, position, Int64(value)) }
    func bind(_ position: Int32, _ value: Int64?) {
        if let value { sqlite3_bind_int64(pointer, position, value) } else { sqlite3_bind_null(pointer, position) }
    }
    func bindNull(_ position: Int32) { sqlite3_bind_null(pointer, position) }

    /// The bytes are copied: they need not outlive the call.
    func bind(_ position: Int32, _ bytes: UnsafeRawBufferPointer) {
        // A null pointer would bind NULL, and an empty blob is not NULL.
        if let start = bytes.baseAddress, !bytes.isEmpty {
            sqlite3_bind_blob(pointer, position, start, Int32(bytes.count), transient)
        } else {
            sqlite3_bind_zeroblob(pointer, position, 0)
        }
    }
    func bind(_ position: Int32, _ bytes: [UInt8]) { bytes.withUnsafeBytes { bind(position, $0) } }
    func bind(_ position: Int32, _ digest: Digest) { bind(position, digest.bytes) }
    func bind(_ position: Int32, _ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            _ = utf8.withMemoryRebound(to: CChar.self) { sqlite3_bind_text(pointer, position, $0.baseAddress, Int32($0.count), transient) }
        }
    }

    /// Steps once; the statement is ready for the next row after it, whatever happened.
    ///
    /// - Returns: whether there was a row.
    @discardableResult
    func run() throws -> Bool {
        let code = sqlite3_step(pointer)
        if code == SQLITE_DONE || code == SQLITE_ROW {
            sqlite3_reset(pointer)
            return code == SQLITE_ROW
        }
        let message = sqlite3_errmsg(connection).map { String(cString: $0) }
        sqlite3_reset(pointer)
        throw DatabaseError(resultCode: ResultCode(rawValue: code), message: message, sql: statement.sql)
    }
}

/// SQLite's mark for "copy what I point to".
private var transient: sqlite3_destructor_type { unsafeBitCast(-1, to: sqlite3_destructor_type.self) }
