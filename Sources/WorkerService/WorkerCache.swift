import Foundation
package import Primitives
import Stages

/// The worker's own folder of artifacts by digest. The agent fetches into it and slots write large outputs into it; a
/// file appears under its digest only when it is complete (write aside, then rename).
///
/// Owner of the index: the agent's loop thread. Slots only read files and add new ones, which the agent then notes.
package struct WorkerCache {
    package let folder: String
    /// Bytes kept at most; artifacts that a running lease reads stay regardless.
    private let limit: Int
    private var entries: [Digest: (byteCount: Int, lastUse: UInt64)] = [:]
    private var pins: [Digest: Int] = [:]
    private var used = 0
    private var clock: UInt64 = 0

    package static func path(of digest: Digest, in folder: String) -> String {
        let hex = digest.hex
        return "\(folder)/\(hex.prefix(2))/\(hex.dropFirst(2))"
    }

    /// Takes over what an earlier process left; unfinished files are removed.
    package init(folder: String, limit: Int) throws {
        self.folder = folder
        self.limit = limit
        let manager = FileManager.default
        try manager.createDirectory(atPath: folder, withIntermediateDirectories: true)
        for prefix in try manager.contentsOfDirectory(atPath: folder).sorted() {
            for name in try manager.contentsOfDirectory(atPath: "\(folder)/\(prefix)").sorted() {
                let path = "\(folder)/\(prefix)/\(name)"
                guard let digest = Digest(hex: prefix + name), let size = try manager.attributesOfItem(atPath: path)[.size] as? Int else {
                    try manager.removeItem(atPath: path)
                    continue
                }
                entries[digest] = (size, 0)
                used += size
            }
        }
    }

    package func contains(_ digest: Digest) -> Bool { entries[digest] != nil }

    package mutating func touch(_ digest: Digest) {
        clock += 1
        entries[digest]?.lastUse = clock
    }

    package mutating func pin(_ digests: some Sequence<Digest>) {
        for digest in digests { pins[digest, default: 0] += 1 }
    }
    package mutating func unpin(_ digests: some Sequence<Digest>) {
        for digest in digests {
            guard let count = pins[digest] else { continue }
            pins[digest] = count > 1 ? count - 1 : nil
        }
    }

    /// Notes a file that is there already, and makes room.
    package mutating func note(_ digest: Digest, byteCount: Int) {
        clock += 1
        if let old = entries.updateValue((byteCount, clock), forKey: digest) { used -= old.byteCount }
        used += byteCount
        guard used > limit else { return }
        // Oldest first; digests break ties so that the choice never hangs on dictionary order.
        let candidates = entries.filter { pins[$0.key] == nil && $0.key != digest }
            .sorted { ($0.value.lastUse, $0.key) < ($1.value.lastUse, $1.key) }
        for (victim, entry) in candidates where used > limit * 9 / 10 {
            unlink(Self.path(of: victim, in: folder))
            entries[victim] = nil
            used -= entry.byteCount
        }
    }

    /// Writes a complete artifact under its digest.
    package static func write(_ bytes: [UInt8], digest: Digest, in folder: String) throws(AMAFError) {
        let path = path(of: digest, in: folder)
        if access(path, F_OK) == 0 { return }
        let parent = String(path[..<path.lastIndex(of: "/")!])
        mkdir(parent, 0o755)
        let aside = "\(path).\(getpid()).tmp"
        let descriptor = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        func fail(_ doing: String) -> AMAFError {
            let reason = String(cString: strerror(errno))
            unlink(aside)
            return AMAFError(
                "worker.cache-full", "Cannot \(doing) artifact \(digest) of \(bytes.count) bytes in the cache: \(reason)", place: path,
                remedy: "Free disk space or give the worker another --root.", isTransient: true)
        }
        guard descriptor >= 0 else { throw fail("create") }
        let written = bytes.withUnsafeBytes { buffer in
            var offset = 0
            while offset < buffer.count {
                let count = Foundation.write(descriptor, buffer.baseAddress.map { $0 + offset }, buffer.count - offset)
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { return false }
                offset += count
            }
            return true
        }
        close(descriptor)
        guard written else { throw fail("write") }
        guard rename(aside, path) == 0 else { throw fail("name") }
    }
}
