internal import Glibc
internal import Primitives
internal import Synchronization

/// A file's bytes, mapped for reading until the value is gone.
struct MappedFile: ~Copyable {
    let bytes: UnsafeRawBufferPointer

    init(_ path: String) throws(AMAFError) {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            // Removed between the look and the opening: torn, or swept.
            if errno == ENOENT { throw AMAFError("artifact.missing", "The file is gone", place: path, isTransient: true) }
            throw systemError("artifact.io", "Cannot open the file", place: path)
        }
        defer { close(file) }
        var facts = stat()
        guard fstat(file, &facts) == 0 else { throw systemError("artifact.io", "Cannot examine the file", place: path) }
        let size = Int(facts.st_size)
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, file, 0), base != MAP_FAILED else {
            throw systemError("artifact.io", "Cannot map the file", place: path)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
    }

    borrowing func copied() -> [UInt8] { [UInt8](bytes) }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }
}

/// Writes all of `bytes` at `offset`.
func writeAll(_ file: Int32, _ bytes: UnsafeRawBufferPointer, at offset: Int, place: String) throws(AMAFError) {
    var done = 0
    while done < bytes.count {
        let count = pwrite(file, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { throw systemError("artifact.io", "Cannot write \(bytes.count) bytes", place: place) }
        done += count
    }
}

/// A new file with these bytes; nothing is left behind when it fails.
func writeFile(_ path: String, _ bytes: UnsafeRawBufferPointer, durable: Bool, mode: mode_t) throws(AMAFError) {
    unlink(path)
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard file >= 0 else { throw systemError("artifact.io", "Cannot make the file", place: path) }
    defer { close(file) }
    do throws(AMAFError) {
        try writeAll(file, bytes, at: 0, place: path)
        if durable, fsync(file) != 0 { throw systemError("artifact.io", "Cannot make the file durable", place: path) }
    } catch {
        unlink(path)
        throw error
    }
}

/// Copies in pieces and hashes exactly what was written, whatever happens to the source meanwhile.
func copyHashing(from source: String, to target: String, durable: Bool) throws(AMAFError) -> (digest: Digest, byteCount: Int) {
    let input = open(source, O_RDONLY | O_CLOEXEC)
    guard input >= 0 else { throw systemError("artifact.io", "Cannot open the file", place: source) }
    defer { close(input) }
    let output = open(target, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o400)
    guard output >= 0 else { throw systemError("artifact.io", "Cannot make the file", place: target) }
    defer { close(output) }
    var hasher = DigestHasher()
    var piece = [UInt8](repeating: 0, count: 1 << 20)
    var total = 0
    while true {
        let count = piece.withUnsafeMutableBytes { Glibc.read(input, $0.baseAddress, $0.count) }
        if count < 0, errno == EINTR { continue }
        guard count >= 0 else { throw systemError("artifact.io", "Cannot read the file", place: source) }
        if count == 0 { break }
        hasher.update(piece[..<count])
        let result: Result<Void, AMAFError> = piece.withUnsafeBytes { buffer in
            do throws(AMAFError) {
                return .success(try writeAll(output, UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: total, place: target))
            } catch { return .failure(error) }
        }
        try result.get()
        total += count
    }
    if durable, fsync(output) != 0 { throw systemError("artifact.io", "Cannot make the file durable", place: target) }
    return (hasher.finish(), total)
}

/// An artifact that arrives in pieces. Owner: its mutex, held while its file grows or is checked.
final class Upload: Sendable {
    let digest: Digest
    let byteCount: Int
    private let path: String
    private let progress = Mutex(Progress())

    private struct Progress: ~Copyable {
        /// Opened on first use, so that making an upload is cheap enough to do under the store's own mutex.
        var file: Int32 = -1
        var received = 0
        var isFinished = false
        deinit { if file >= 0 { close(file) } }
    }

    init(digest: Digest, byteCount: Int, path: String) {
        self.digest = digest
        self.byteCount = byteCount
        self.path = path
    }

    func received() throws(AMAFError) -> Int {
        try locked { (progress) throws(AMAFError) in
            try open(&progress)
            return progress.received
        }
    }

    func append(at offset: Int, _ bytes: UnsafeRawBufferPointer) throws(AMAFError) -> Int {
        guard offset >= 0, bytes.count <= byteCount, offset <= byteCount - bytes.count else {
            throw AMAFError(
                "artifact.range", "A piece of \(bytes.count) bytes at \(offset) exceeds the announced \(byteCount)", place: digest.hex)
        }
        return try locked { (progress) throws(AMAFError) in
            try open(&progress)
            guard offset <= progress.received else {
                throw AMAFError(
                    "artifact.upload-gap", "A piece starts at \(offset), but only \(progress.received) bytes are there", place: digest.hex,
                    remedy: "Send from \(progress.received) on.", isTransient: true)
            }
            let end = offset + bytes.count
            guard end > progress.received, !progress.isFinished else { return progress.received }
            let fresh = UnsafeRawBufferPointer(rebasing: bytes[(progress.received - offset)...])
            try writeAll(progress.file, fresh, at: progress.received, place: path)
            progress.received = end
            return end
        }
    }

    /// Hands the complete file to `keep` once.
    func finish(_ keep: (String) throws(AMAFError) -> Void) throws(AMAFError) {
        try locked { (progress) throws(AMAFError) in
            if progress.isFinished { return }
            try open(&progress)
            guard progress.received == byteCount else {
                throw AMAFError(
                    "artifact.incomplete", "\(progress.received) of \(byteCount) bytes have arrived", place: digest.hex,
                    remedy: "Send from \(progress.received) on.", isTransient: true)
            }
            try keep(path)
            progress.isFinished = true
        }
    }

    /// What an earlier head received is taken up again; whether it is intact shows at the end.
    private func open(_ progress: inout Progress) throws(AMAFError) {
        if progress.file >= 0 { return }
        let file = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw systemError("artifact.io", "Cannot make the file of an upload", place: path) }
        progress.file = file
        var size = fileSize(path) ?? 0
        if size > byteCount {
            _ = ftruncate(file, 0)
            size = 0
        }
        progress.received = size
    }

    private func locked<T>(_ body: (inout Progress) throws(AMAFError) -> T) throws(AMAFError) -> T {
        let result: Result<T, AMAFError> = progress.withLock { progress in
            do throws(AMAFError) { return .success(try body(&progress)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
