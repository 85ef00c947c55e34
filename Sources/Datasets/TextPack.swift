internal import Foundation
internal import Primitives

/// A folder of texts in one file, so that a worker anywhere can be sent a block of it: magic, then for each file its path
/// length, byte count (both 32-bit little-endian), path and bytes, sorted by path.
enum TextPack {
    static let magic: [UInt8] = Array("AMAFTXT".utf8) + [1]
    static let headerByteCount = 8

    /// Files that hold a text. Hidden files and folders are left out.
    static let suffixes = ["txt", "text", "md"]

    /// Relative paths below the folder, sorted by UTF-8 bytes.
    static func files(in folder: String) throws(AMAFError) -> [String] {
        guard let walker = FileManager.default.enumerator(atPath: folder) else {
            throw AMAFError("dataset.missing-file", "The folder '\(folder)' cannot be read", remedy: "Check the path and its permissions.")
        }
        var paths: [String] = []
        while let path = walker.nextObject() as? String {
            let isHidden = path.split(separator: "/").contains { $0.hasPrefix(".") }
            if !isHidden, suffixes.contains((path as NSString).pathExtension.lowercased()) { paths.append(path) }
        }
        return paths.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    static func write(folder: String, to path: String) throws(AMAFError) {
        let files = try files(in: folder)
        guard !files.isEmpty else {
            throw AMAFError(
                "dataset.empty", "The folder '\(folder)' holds no text",
                remedy: "Texts are files that end with \(suffixes.map { ".\($0)" }.joined(separator: ", ")).")
        }
        let out = try FileWriter(path)
        try out.write(magic)
        for file in files {
            try MappedFile(folder + "/" + file).withBytes { (content) throws(AMAFError) in
                // A file beyond the limit keeps its place without its bytes, and is quarantined when read.
                let bytes = content.count > RowLimits.bytes ? UnsafeRawBufferPointer(rebasing: content[0..<0]) : content
                var header = ByteWriter()
                header.write(UInt32(file.utf8.count))
                header.write(UInt32(bytes.count))
                header.append(raw: file.utf8)
                try out.write(header.bytes)
                try out.write(bytes)
            }
        }
        try out.close()
    }
}

/// The files of a pack.
struct TextPackCursor: RowCursor {
    private let bytes: UnsafeRawBufferPointer
    private var at: Int
    private let offset: Int
    private var row: Int

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, row: Int) {
        self.bytes = bytes
        self.offset = offset
        self.row = row
        at = offset == 0 ? TextPack.headerByteCount : 0
    }

    mutating func next() -> LocatedRow? {
        guard at < bytes.count else { return nil }
        let start = at
        guard bytes.count - at >= 8 else { return broken(start) }
        let pathCount = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self)))
        let textCount = Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at + 4, as: UInt32.self)))
        guard bytes.count - at - 8 >= pathCount + textCount else { return broken(start) }
        let path = String(decoding: bytes[at + 8..<at + 8 + pathCount], as: UTF8.self)
        let text = UnsafeRawBufferPointer(rebasing: bytes[at + 8 + pathCount..<at + 8 + pathCount + textCount])
        at += 8 + pathCount + textCount
        defer { row += 1 }
        let content: Result<Row, RowFault> = validated(text).map { Row(id: path, text: $0).checked() } ?? .failure(.notUTF8)
        return LocatedRow(bytes: start + offset..<at + offset, line: 1, row: row, place: path, content: content)
    }

    private mutating func broken(_ start: Int) -> LocatedRow {
        at = bytes.count
        return LocatedRow(
            bytes: start + offset..<bytes.count + offset, line: 1, row: row,
            content: .failure(RowFault("dataset.bad-row", "The packed folder is cut off")))
    }
}
