internal import Foundation
internal import GRDB
internal import Glibc
package import Primitives
internal import Synchronization

/// Artifacts by digest: small ones as rows of the store, larger ones as files `artifacts/ab/cdef…`.
///
/// A file is written under another name, then renamed, and never changed after. Without `durable` nothing is fsynced: an
/// artifact that can be computed again may be torn by a power cut, so each file's digest is checked on its first read
/// after the start, and a torn file counts as missing. Small ones that were put without `durable` wait in memory, readable
/// at once, and become durable with the next transaction, which is the one that stores the result naming them.
///
/// All calls block and may come from any thread, many at once. The proof: mutable state is `state`, a mutex held for
/// table operations only and never during input or output, and each upload's own mutex, held while its file grows; files
/// under their final name are immutable; rows are read on the pool's reader connections and written by its one writer.
package final class ArtifactStore: Sendable {
    /// Artifacts below this many bytes are rows, from there on files.
    package static let inlineThreshold = 64 * 1024
    /// Rows that may wait in memory before `put` stores them itself.
    package static let waitingLimit = 8 << 20
    /// An announced size beyond this is refused.
    package static let maximumBytes = 1 << 40

    let folder: String
    private let pool: DatabasePool
    private let state = Mutex(State())

    private struct State: Sendable {
        var waiting: [Digest: [UInt8]] = [:]
        var waitingBytes = 0
        /// Files whose digest was seen to be right since the start.
        var verified: Set<Digest> = []
        var uploads: [Digest: Upload] = [:]
        var temporaryFiles = 0
        var refusal: AMAFError?
    }

    init(folder: String, pool: DatabasePool) throws(AMAFError) {
        self.folder = folder
        self.pool = pool
        try makeFolder(folder + "/incoming")
        try makeFolder(folder + "/uploads")
        // Whatever a head that died was writing has no name yet. Uploads stay: their senders resume them.
        for name in names(inFolder: folder + "/incoming") { unlink(folder + "/incoming/" + name) }
    }

    // MARK: Looking

    /// Whether the artifact is there. A file that was not read since the start may still turn out to be torn.
    package func contains(_ digest: Digest) throws(AMAFError) -> Bool { try missing(among: [digest]).isEmpty }

    /// Those of `digests` that are not there, in the order given.
    package func missing(among digests: [Digest]) throws(AMAFError) -> [Digest] {
        let waiting = state.withLock { state in digests.map { state.waiting[$0] != nil } }
        let unknown = zip(digests, waiting).filter { !$0.1 && usableFile($0.0) == nil }.map(\.0)
        if unknown.isEmpty { return [] }
        return try storing(at: folder) {
            try pool.read { db in
                let find = try db.cachedStatement(sql: "SELECT 1 FROM artifacts WHERE key = ? AND digest = ?")
                return try unknown.filter { try Int.fetchOne(find, arguments: [artifactKey($0), Data($0.bytes)]) == nil }
            }
        }
    }

    /// - Throws: `artifact.missing`.
    package func byteCount(of digest: Digest) throws(AMAFError) -> Int {
        if let bytes = state.withLock({ $0.waiting[digest] }) { return bytes.count }
        if let size = usableFile(digest) { return size }
        let found = try storing(at: folder) {
            try pool.read { db in
                try Int.fetchOne(
                    db.cachedStatement(sql: "SELECT length(bytes) FROM artifacts WHERE key = ? AND digest = ?"),
                    arguments: [artifactKey(digest), Data(digest.bytes)])
            }
        }
        guard let found else { throw missingArtifact(digest) }
        return found
    }

    // MARK: Reading

    /// Bytes from `offset`, at most `length` of them and fewer at the end; all by default.
    ///
    /// - Throws: `artifact.missing`, also for a torn file; `artifact.range` when `offset` lies beyond the end.
    package func read(_ digest: Digest, offset: Int = 0, length: Int = .max) throws(AMAFError) -> [UInt8] {
        let result: Result<[UInt8], AMAFError> = try withBytes(of: digest) { bytes in
            guard offset >= 0, length >= 0, offset <= bytes.count else {
                return .failure(
                    AMAFError(
                        "artifact.range", "An artifact of \(bytes.count) bytes has none from \(offset) on", place: digest.hex,
                        remedy: "Ask for a range inside the artifact; HAVE and the first chunk tell its size."))
            }
            return .success([UInt8](bytes[offset..<offset + min(length, bytes.count - offset)]))
        }
        return try result.get()
    }

    /// Hands over the bytes in place, files by mmap; they are valid inside `body` only.
    ///
    /// - Throws: `artifact.missing`, also for a torn file.
    package func withBytes<R>(of digest: Digest, _ body: (UnsafeRawBufferPointer) -> R) throws(AMAFError) -> R {
        if let bytes = state.withLock({ $0.waiting[digest] }) { return bytes.withUnsafeBytes(body) }
        if usableFile(digest) != nil {
            let file = try MappedFile(path(digest))
            try verify(digest, file)
            return body(file.bytes)
        }
        let row = try storing(at: folder) {
            try pool.read { db in
                try Data.fetchOne(
                    db.cachedStatement(sql: "SELECT bytes FROM artifacts WHERE key = ? AND digest = ?"),
                    arguments: [artifactKey(digest), Data(digest.bytes)])
            }
        }
        if let row { return row.withUnsafeBytes(body) }
        throw missingArtifact(digest)
    }

    /// Writes the artifact to a file of the user's, whole or not at all.
    package func copy(_ digest: Digest, toFile target: String) throws(AMAFError) {
        let result: Result<Void, AMAFError> = try withBytes(of: digest) { bytes in
            do throws(AMAFError) {
                try writeFile(target + ".partial", bytes, durable: false, mode: 0o644)
                guard rename(target + ".partial", target) == 0 else {
                    throw systemError("artifact.io", "Cannot name the copy", place: target)
                }
                return .success(())
            } catch {
                unlink(target + ".partial")
                return .failure(error)
            }
        }
        try result.get()
    }

    // MARK: Writing

    /// Keeps the bytes under their digest. With `durable` they are safe when the call returns: for what cannot be
    /// computed again (paid answers, people's answers, sources).
    @discardableResult
    package func put(_ bytes: [UInt8], durable: Bool = false) throws(AMAFError) -> Digest {
        try noting { () throws(AMAFError) in try keep(bytes, durable: durable) }
    }

    private func keep(_ bytes: [UInt8], durable: Bool) throws(AMAFError) -> Digest {
        let digest = Digest.of(bytes)
        if bytes.count < Self.inlineThreshold {
            try keepRow(bytes, digest, durable: durable)
        } else if try !confirm(digest, durable: durable) {
            let result: Result<Void, AMAFError> = bytes.withUnsafeBytes { buffer in
                do throws(AMAFError) {
                    let temporary = temporaryPath()
                    try writeFile(temporary, buffer, durable: durable, mode: 0o400)
                    return .success(try publish(temporary, as: digest, durable: durable))
                } catch { return .failure(error) }
            }
            try result.get()
        }
        return digest
    }

    /// Takes in a file of any size without holding it in memory.
    ///
    /// - Parameter linking: the caller promises that nobody changes the file any more, so a hard link may serve; else it
    ///   is copied, and hashed as it is copied.
    package func adopt(file source: String, durable: Bool = false, linking: Bool = false) throws(AMAFError) -> (
        digest: Digest, byteCount: Int
    ) {
        guard let size = fileSize(source) else {
            throw AMAFError("artifact.no-file", "There is no such file", place: source, remedy: "Check the path.")
        }
        if size < Self.inlineThreshold {
            let bytes = try MappedFile(source).copied()
            return (try put(bytes, durable: durable), bytes.count)
        }
        let temporary = temporaryPath()
        do throws(AMAFError) {
            let digest: Digest
            let count: Int
            if linking, link(source, temporary) == 0 {
                let file = try MappedFile(temporary)
                (digest, count) = (Digest.of(file.bytes), file.bytes.count)
                if durable { try synchronise(file: temporary) }
            } else {
                (digest, count) = try copyHashing(from: source, to: temporary, durable: durable)
            }
            if try confirm(digest, durable: durable) { unlink(temporary) } else { try publish(temporary, as: digest, durable: durable) }
            return (digest, count)
        } catch {
            unlink(temporary)
            throw error
        }
    }

    /// Stores the small artifacts that still wait in memory.
    package func flush() throws(AMAFError) {
        let batch = waiting()
        guard !batch.isEmpty else { return }
        try storing(at: folder) { try pool.write { db in try insertArtifacts(batch, db) } }
        stored(batch)
    }

    // MARK: Uploads

    package enum UploadProgress: Hashable, Sendable {
        /// The artifact is there: nothing needs to be sent.
        case stored
        /// Send the bytes from here on.
        case accepting(from: Int)
    }

    /// Announces an artifact that arrives in pieces. Several senders of the same digest share one upload, and an upload
    /// outlives the head: what had arrived is kept and checked at the end.
    ///
    /// - Throws: `artifact.too-large`; `artifact.upload-conflict` when another sender announced another size.
    package func beginUpload(of digest: Digest, byteCount: Int) throws(AMAFError) -> UploadProgress {
        guard byteCount >= 0, byteCount <= Self.maximumBytes else {
            throw AMAFError(
                "artifact.too-large", "An artifact of \(byteCount) bytes was announced", place: digest.hex,
                remedy: "Divide it: no artifact holds more than \(Self.maximumBytes) bytes.")
        }
        if try contains(digest) { return .stored }
        let path = uploadPath(digest)
        let upload = state.withLock { state in
            if let upload = state.uploads[digest] { return upload }
            let upload = Upload(digest: digest, byteCount: byteCount, path: path)
            state.uploads[digest] = upload
            return upload
        }
        guard upload.byteCount == byteCount else {
            throw AMAFError(
                "artifact.upload-conflict", "Another sender announced \(upload.byteCount) bytes under this digest, this one \(byteCount)",
                place: digest.hex, remedy: "One of the two is damaged: compute the artifact again.", isTransient: true)
        }
        return .accepting(from: try upload.received())
    }

    /// Adds a piece. A piece that was already received changes nothing, one that overlaps adds its new part.
    ///
    /// - Returns: how many bytes are there now, from the beginning on.
    /// - Throws: `artifact.no-upload` (transient: begin again), `artifact.upload-gap`, `artifact.range`.
    package func append(to digest: Digest, at offset: Int, _ bytes: some ContiguousBytesLike) throws(AMAFError) -> Int {
        guard let upload = state.withLock({ $0.uploads[digest] }) else {
            // A sender whose last piece crossed the end of another's upload.
            if let size = usableFile(digest) { return size }
            throw AMAFError(
                "artifact.no-upload", "No upload of this digest was begun since the head started", place: digest.hex,
                remedy: "Begin it again.",
                isTransient: true)
        }
        let result: Result<Int, AMAFError> = bytes.withContiguousBytes { buffer in
            do throws(AMAFError) { return .success(try upload.append(at: offset, buffer)) } catch { return .failure(error) }
        }
        return try noting(keeps: false) { () throws(AMAFError) in try result.get() }
    }

    /// Checks what was sent and keeps it. Finishing twice is the same as once.
    ///
    /// - Throws: `artifact.incomplete`; `artifact.digest-mismatch`, after which the upload is gone; `artifact.no-upload`.
    package func finishUpload(of digest: Digest, durable: Bool = false) throws(AMAFError) {
        guard let upload = state.withLock({ $0.uploads[digest] }) else {
            if try contains(digest) {
                if durable { try makeDurable(digest) }
                return
            }
            throw AMAFError(
                "artifact.no-upload", "No upload of this digest was begun", place: digest.hex, remedy: "Begin it again.", isTransient: true)
        }
        do throws(AMAFError) {
            try noting { () throws(AMAFError) in
                try upload.finish { (path) throws(AMAFError) in
                    let file = try MappedFile(path)
                    let found = Digest.of(file.bytes)
                    guard found == digest else { throw digestMismatch(claimed: digest, found: found) }
                    if file.bytes.count < Self.inlineThreshold {
                        try keepRow(file.copied(), digest, durable: durable)
                        unlink(path)
                    } else {
                        if durable { try synchronise(file: path) }
                        try publish(path, as: digest, durable: durable)
                    }
                }
            }
        } catch {
            if error.code == "artifact.digest-mismatch" { discardUpload(of: digest) }
            throw error
        }
        forget(upload)
    }

    /// Gives up an upload and what was received of it.
    package func discardUpload(of digest: Digest) {
        if let upload = state.withLock({ $0.uploads[digest] }) { forget(upload) }
        unlink(uploadPath(digest))
    }

    private func forget(_ upload: Upload) {
        state.withLock { state in
            if state.uploads[upload.digest] === upload { state.uploads[upload.digest] = nil }
        }
    }

    // MARK: Refusals

    /// Why the last artifact could not be kept; nil once one was kept again. A full disk shows here first when outputs are large, for then
    /// nothing is left to commit.
    package func refusal() -> AMAFError? { state.withLock { $0.refusal } }

    /// - Parameter keeps: whether success means that a whole artifact was kept.
    private func noting<T>(keeps: Bool = true, _ write: () throws(AMAFError) -> T) throws(AMAFError) -> T {
        do throws(AMAFError) {
            let kept = try write()
            if keeps { state.withLock { $0.refusal = nil } }
            return kept
        } catch {
            if error.code.hasPrefix("store.") { state.withLock { $0.refusal = error } }
            throw error
        }
    }

    // MARK: What waits for the next transaction

    /// Sorted by digest, so that the same rows are written in the same order.
    func waiting() -> [InlineArtifact] {
        state.withLock { state in state.waiting.map { InlineArtifact($0.value, known: $0.key) } }.sorted { $0.digest < $1.digest }
    }

    /// These are rows now.
    func stored(_ batch: [InlineArtifact]) {
        guard !batch.isEmpty else { return }
        state.withLock { state in
            for artifact in batch where state.waiting.removeValue(forKey: artifact.digest) != nil {
                state.waitingBytes -= artifact.bytes.count
            }
        }
    }

    private func keepRow(_ bytes: [UInt8], _ digest: Digest, durable: Bool) throws(AMAFError) {
        let full = state.withLock { state in
            if state.waiting.updateValue(bytes, forKey: digest) == nil { state.waitingBytes += bytes.count }
            return state.waitingBytes > Self.waitingLimit
        }
        if durable || full { try flush() }
    }

    // MARK: Files

    /// All artifacts that are files, in the order of their digests.
    func fileDigests() -> [Digest] {
        names(inFolder: folder).filter { $0.utf8.count == 2 }.flatMap { parent in
            names(inFolder: folder + "/" + parent).compactMap { Digest(hex: parent + $0) }
        }
    }

    /// Removes the file of an artifact that nothing needs.
    func forget(_ digest: Digest) {
        unlink(path(digest))
        state.withLock { _ = $0.verified.remove(digest) }
    }

    func path(_ digest: Digest) -> String {
        let hex = digest.hex
        return "\(folder)/\(hex.prefix(2))/\(hex.dropFirst(2))"
    }

    private func uploadPath(_ digest: Digest) -> String { folder + "/uploads/" + digest.hex }

    private func temporaryPath() -> String {
        let number = state.withLock { state in
            state.temporaryFiles += 1
            return state.temporaryFiles
        }
        return "\(folder)/incoming/\(number)"
    }

    /// The size of the artifact's file, or nil when there is none. A file below the threshold was torn: none is written so.
    private func usableFile(_ digest: Digest) -> Int? {
        guard let size = fileSize(path(digest)), size >= Self.inlineThreshold else { return nil }
        return size
    }

    /// Hashes a file once after the start. A torn one is removed, so that it can be made again.
    private func verify(_ digest: Digest, _ file: borrowing MappedFile) throws(AMAFError) {
        if state.withLock({ $0.verified.contains(digest) }) { return }
        guard Digest.of(file.bytes) == digest else {
            unlink(path(digest))
            throw AMAFError(
                "artifact.missing", "The file of artifact \(digest.hex) was damaged and has been removed", place: path(digest),
                remedy: "The task that makes it runs again.", isTransient: true)
        }
        state.withLock { _ = $0.verified.insert(digest) }
    }

    /// Whether an intact file is there already; a torn one is removed.
    private func confirm(_ digest: Digest, durable: Bool) throws(AMAFError) -> Bool {
        guard usableFile(digest) != nil else { return false }
        do throws(AMAFError) { try verify(digest, try MappedFile(path(digest))) } catch {
            if error.code == "artifact.missing" { return false }
            throw error
        }
        if durable { try makeDurable(digest) }
        return true
    }

    private func makeDurable(_ digest: Digest) throws(AMAFError) {
        guard usableFile(digest) != nil else { return try flush() }
        let path = path(digest)
        try synchronise(file: path)
        try synchronise(folder: String(path.prefix(folder.count + 3)))
        try synchronise(folder: folder)
    }

    /// Gives a complete file its name.
    private func publish(_ temporary: String, as digest: Digest, durable: Bool) throws(AMAFError) {
        let path = path(digest)
        let parent = String(path.prefix(folder.count + 3))
        try makeFolder(parent)
        guard rename(temporary, path) == 0 else { throw systemError("artifact.io", "Cannot name an artifact", place: path) }
        if durable {
            try synchronise(folder: parent)
            try synchronise(folder: folder)
        }
        state.withLock { _ = $0.verified.insert(digest) }
    }
}

func missingArtifact(_ digest: Digest) -> AMAFError {
    AMAFError(
        "artifact.missing", "Artifact \(digest.hex) is not stored", place: digest.hex, remedy: "The task that makes it runs again.",
        isTransient: true)
}
