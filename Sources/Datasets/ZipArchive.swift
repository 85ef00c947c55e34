internal import CZlib
package import Primitives

/// A ZIP archive read entry by entry (PKWARE APPNOTE 4.3): stored and deflated entries below 4 GiB, as Python wheels have them.
///
/// Nothing that the archive says is believed: every extent is checked against the file before it is read, an entry that
/// inflates to another size than it promised is refused as soon as it does, and its CRC-32 is checked. The caller names the
/// file to write, so an entry's name never becomes a path.
package struct ZipArchive {
    package struct Entry: Hashable, Sendable {
        package var name: String
        /// Bytes once it is unpacked.
        package var byteCount: Int
        fileprivate var method: UInt16
        fileprivate var isEncrypted: Bool
        fileprivate var crc: UInt32
        fileprivate var packedByteCount: Int
        fileprivate var offset: Int
    }

    package let entries: [Entry]
    private let file: MappedFile
    /// Where the directory begins: entries lie before it.
    private let directoryStart: Int

    private static let pieceByteCount = 256 << 10

    /// - Throws: `archive.damaged`, `archive.unsupported`, and what a file can throw.
    package init(_ path: String) throws(AMAFError) {
        let file = try MappedFile(path)
        let (entries, start) = try file.withBytes { (bytes) throws(AMAFError) in try Self.directory(bytes, path) }
        (self.entries, directoryStart, self.file) = (entries, start, file)
    }

    private static func damaged(_ sentence: String, _ path: String) -> AMAFError {
        AMAFError("archive.damaged", sentence, place: path, remedy: "Delete the file and get it again.")
    }
    private static func unsupported(_ sentence: String, _ path: String) -> AMAFError {
        AMAFError("archive.unsupported", sentence, place: path, remedy: "Unpack it with another tool and name the folder.")
    }

    private static func directory(_ bytes: UnsafeRawBufferPointer, _ path: String) throws(AMAFError) -> ([Entry], Int) {
        func u16(_ at: Int) -> Int { Int(bytes[at]) | Int(bytes[at + 1]) << 8 }
        func u32(_ at: Int) -> Int { u16(at) | u16(at + 2) << 16 }
        // The end record stands last, before a comment of at most 65,535 bytes.
        guard bytes.count >= 22 else { throw damaged("The file has \(bytes.count) bytes, fewer than an empty archive", path) }
        let lowest = max(0, bytes.count - 22 - 0xFFFF)
        guard
            let end = stride(from: bytes.count - 22, through: lowest, by: -1).first(where: {
                u32($0) == 0x0605_4B50 && $0 + 22 + u16($0 + 20) == bytes.count
            })
        else { throw damaged("The file has no archive directory at its end", path) }
        guard u16(end + 4) == 0, u16(end + 6) == 0, u16(end + 8) == u16(end + 10) else {
            throw unsupported("The archive is one part of several", path)
        }
        let (count, size, start) = (u16(end + 10), u32(end + 12), u32(end + 16))
        guard count != 0xFFFF, size != 0xFFFF_FFFF, start != 0xFFFF_FFFF else { throw unsupported("The archive is a ZIP64 one", path) }
        guard start + size <= end else { throw damaged("The archive's directory lies outside the file", path) }
        var entries: [Entry] = []
        var names: Set<String> = []
        var at = start
        for number in 0..<count {
            guard at + 46 <= start + size, u32(at) == 0x0201_4B50 else {
                throw damaged("Entry \(number) of \(count) is missing in the archive's directory", path)
            }
            let (nameLength, extra, comment) = (u16(at + 28), u16(at + 30), u16(at + 32))
            guard at + 46 + nameLength + extra + comment <= start + size else {
                throw damaged("Entry \(number) of \(count) leaves the archive's directory", path)
            }
            let name = String(decoding: bytes[at + 46..<at + 46 + nameLength], as: UTF8.self)
            guard names.insert(name).inserted else { throw damaged("The archive holds '\(name)' twice", path) }
            let (packed, plain, offset) = (u32(at + 20), u32(at + 24), u32(at + 42))
            guard packed != 0xFFFF_FFFF, plain != 0xFFFF_FFFF, offset != 0xFFFF_FFFF else {
                throw unsupported("'\(name)' is a ZIP64 entry", path)
            }
            entries.append(
                Entry(
                    name: name, byteCount: plain, method: UInt16(u16(at + 10)), isEncrypted: u16(at + 8) & 1 != 0,
                    crc: UInt32(u32(at + 16)), packedByteCount: packed, offset: offset))
            at += 46 + nameLength + extra + comment
        }
        return (entries, start)
    }

    /// Unpacks one entry into a file, which appears only when it is whole.
    ///
    /// - Throws: `archive.missing-entry`, `archive.damaged`, `archive.unsupported`.
    package func extract(_ name: String, to target: String) throws(AMAFError) {
        guard let entry = entries.first(where: { $0.name == name }) else {
            throw AMAFError(
                "archive.missing-entry", "The archive holds no '\(name)' among \(entries.count) entries", place: file.path,
                remedy: "It is another version than expected.")
        }
        guard !entry.isEncrypted else { throw Self.unsupported("'\(name)' is encrypted", file.path) }
        try file.withBytes { (bytes) throws(AMAFError) in
            let packed = try range(entry, bytes)
            let out = try FileWriter(target)
            let crc =
                switch entry.method {
                case 0: try store(packed, entry, out)
                case 8: try inflate(packed, entry, out)
                default: throw Self.unsupported("'\(name)' is packed by the unknown method \(entry.method)", file.path)
                }
            guard crc == entry.crc else { throw Self.damaged("The checksum of '\(name)' is wrong", file.path) }
            try out.close()
        }
    }

    /// The entry's packed bytes, behind a header of their own.
    private func range(_ entry: Entry, _ bytes: UnsafeRawBufferPointer) throws(AMAFError) -> UnsafeRawBufferPointer {
        let at = entry.offset
        guard at + 30 <= directoryStart, bytes[at..<at + 4].elementsEqual([0x50, 0x4B, 3, 4]) else {
            throw Self.damaged("'\(entry.name)' is not where the directory says", file.path)
        }
        let (name, extra) = (Int(bytes[at + 26]) | Int(bytes[at + 27]) << 8, Int(bytes[at + 28]) | Int(bytes[at + 29]) << 8)
        let start = at + 30 + name + extra
        guard start + entry.packedByteCount <= directoryStart else { throw Self.damaged("'\(entry.name)' leaves the file", file.path) }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<start + entry.packedByteCount])
    }

    private func store(_ packed: UnsafeRawBufferPointer, _ entry: Entry, _ out: FileWriter) throws(AMAFError) -> UInt32 {
        guard packed.count == entry.byteCount else { throw Self.damaged("'\(entry.name)' has two sizes", file.path) }
        try out.write(packed)
        return Self.checksum(0, packed)
    }

    private static func checksum(_ crc: UInt, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        UInt32(truncatingIfNeeded: crc32_z(crc, bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count))
    }

    private func inflate(_ packed: UnsafeRawBufferPointer, _ entry: Entry, _ out: FileWriter) throws(AMAFError) -> UInt32 {
        guard let base = packed.baseAddress else { throw Self.damaged("'\(entry.name)' has no data", file.path) }
        var stream = z_stream()
        // Negative: deflated data without zlib's frame.
        guard inflateInit2_(&stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            preconditionFailure("zlib \(String(cString: zlibVersion())) does not fit its header")
        }
        defer { inflateEnd(&stream) }
        stream.next_in = UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
        // Entries below 4 GiB only, so the count fits.
        stream.avail_in = UInt32(packed.count)
        var piece = [UInt8](repeating: 0, count: Self.pieceByteCount)
        var (total, crc) = (0, UInt32(0))
        while true {
            let (status, made) = piece.withUnsafeMutableBufferPointer { buffer -> (Int32, Int) in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(buffer.count)
                let status = CZlib.inflate(&stream, Z_NO_FLUSH)
                return (status, buffer.count - Int(stream.avail_out))
            }
            total += made
            guard total <= entry.byteCount else {
                throw Self.damaged("'\(entry.name)' unpacks to more than the \(entry.byteCount) bytes it promised", file.path)
            }
            crc = piece.withUnsafeBytes { Self.checksum(UInt(crc), UnsafeRawBufferPointer(rebasing: $0[..<made])) }
            try out.write(Array(piece[..<made]))
            if status == Z_STREAM_END { break }
            guard status == Z_OK, made > 0 || stream.avail_in > 0 else {
                throw Self.damaged("The packed data of '\(entry.name)' are damaged after \(total) bytes", file.path)
            }
        }
        guard total == entry.byteCount else {
            throw Self.damaged("'\(entry.name)' unpacks to \(total) bytes where it promised \(entry.byteCount)", file.path)
        }
        return crc
    }
}
