internal import Foundation
package import Primitives

/// A file's bytes mapped into memory, read-only: reading a block touches its pages only.
///
/// The bytes are lent for the length of a closure, because the mapping ends with the object's last use and not with its scope.
///
/// `@unchecked Sendable`: the mapping never changes after `init`, and nobody writes through it. The file must not be shortened
/// while it is mapped; sources are artifacts or scratch files of our own, which are only ever replaced by renaming.
package final class MappedFile: @unchecked Sendable {
    package let path: String
    private let bytes: UnsafeRawBufferPointer

    package init(_ path: String) throws(AMAFError) {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .file("cannot be opened", path, errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .file("cannot be examined", path, errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw AMAFError("dataset.not-a-file", "'\(path)' is not a file", remedy: "Name a file, or choose the format 'text-folder'.")
        }
        let size = Int(status.st_size)
        guard size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw .file("cannot be mapped", path, errno)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
    }

    package var byteCount: Int { bytes.count }

    package func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try withExtendedLifetime(self) { () throws(E) -> R in try body(bytes) }
    }

    deinit {
        if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) }
    }
}

extension AMAFError {
    /// A file that the system refuses.
    static func file(_ what: String, _ path: String, _ code: Int32) -> AMAFError {
        AMAFError(
            code == ENOENT ? "dataset.missing-file" : "dataset.unreadable-file", "'\(path)' \(what): \(String(cString: strerror(code)))",
            remedy: code == ENOENT ? "Check the path; relative paths start at the file that names them." : "Check the file's permissions.")
    }
}

extension MappedFile: ContiguousBytesLike {
    package func withContiguousBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(bytes) }
    }
}
