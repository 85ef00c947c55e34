internal import Foundation
package import Primitives

/// Writes a new file in large pieces and gives it its name only when it is whole, so no reader ever meets half of it.
package final class FileWriter {
    private let path: String
    private let partial: String
    private var descriptor: Int32
    private var buffer: [UInt8] = []
    private static let bufferByteCount = 1 << 20

    package init(_ path: String) throws(AMAFError) {
        self.path = path
        partial = path + ".tmp-\(getpid())"
        descriptor = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.failure("cannot be written", path) }
        buffer.reserveCapacity(Self.bufferByteCount + 4096)
    }

    deinit {
        if descriptor >= 0 {
            Foundation.close(descriptor)
            unlink(partial)
        }
    }

    package func write(_ bytes: [UInt8]) throws(AMAFError) {
        buffer.append(contentsOf: bytes)
        if buffer.count >= Self.bufferByteCount { try flush() }
    }

    package func write(_ bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        if bytes.count < 4096 {
            buffer.append(contentsOf: bytes)
            if buffer.count >= Self.bufferByteCount { try flush() }
        } else {
            try flush()
            try put(bytes)
        }
    }

    /// Renames the file into place.
    package func close() throws(AMAFError) {
        try flush()
        let isClosed = Foundation.close(descriptor) == 0
        descriptor = -1
        guard isClosed, rename(partial, path) == 0 else {
            let error = Self.failure("cannot be written", path)
            unlink(partial)
            throw error
        }
    }

    private func flush() throws(AMAFError) {
        guard !buffer.isEmpty else { return }
        let result: Result<Void, AMAFError> = buffer.withUnsafeBytes { bytes in
            do throws(AMAFError) { return .success(try put(bytes)) } catch { return .failure(error) }
        }
        try result.get()
        buffer.removeAll(keepingCapacity: true)
    }

    private func put(_ bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        var rest = bytes
        while let base = rest.baseAddress, !rest.isEmpty {
            let count = Foundation.write(descriptor, base, rest.count)
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw Self.failure("cannot be written", path) }
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
        }
    }

    private static func failure(_ what: String, _ path: String) -> AMAFError {
        let code = errno
        return AMAFError(
            code == ENOSPC ? "dataset.disk-full" : "dataset.unwritable-file", "'\(path)' \(what): \(String(cString: strerror(code)))",
            remedy: code == ENOSPC ? "Free some space and run again." : "Check that the folder exists and may be written to.")
    }
}
