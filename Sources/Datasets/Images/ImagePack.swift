internal import Foundation
internal import Primitives

/// An image data set in one file: every row with its picture behind it, so that a block is one range of bytes that a worker anywhere
/// can be sent, whatever folders and archives the pictures came from.
///
/// Magic; then for each row its byte count (64-bit little-endian, itself not counted) and: id, label, split, reference, text, metadata,
/// kind of payload, payload. Strings have 32-bit lengths; an absent label is told by a flag.
enum ImagePack {
    static let magic: [UInt8] = Array("AMAFIMG".utf8) + [1]
    static let headerByteCount = 8

    enum PayloadKind: UInt8 {
        case file = 0
        /// Width, height (32 bits), channels (8 bits), then the bytes.
        case raw = 1
        /// No picture: code and reason.
        case missing = 2
    }

    struct Entry {
        enum Payload {
            case file(UnsafeRawBufferPointer)
            case raw(width: Int, height: Int, channels: Int, UnsafeRawBufferPointer)
            case missing(RowFault)
        }
        var id: String
        var label: String?
        var split: String = ""
        var reference: String
        var text = ""
        var metadata: [MetadataEntry] = []
    }

    /// A larger file is no picture that anybody labels.
    static let fileLimit = 256 << 20

    struct Writer {
        private let out: FileWriter
        private(set) var rows = 0
        /// How many rows of a class may still come.
        private var left: [String: Int]

        /// - Parameter limits: rows of a class at most; those after it are passed over.
        init(_ path: String, limits: [String: Int] = [:]) throws(AMAFError) {
            left = limits
            out = try FileWriter(path)
            try out.write(ImagePack.magic)
        }

        mutating func append(_ entry: Entry, _ payload: Entry.Payload) throws(AMAFError) {
            if let label = entry.label, let more = left[label] {
                guard more > 0 else { return }
                left[label] = more - 1
            }
            var row = ByteWriter()
            row.write(entry.id)
            row.write(UInt8(entry.label == nil ? 0 : 1))
            row.write(entry.label ?? "")
            row.write(entry.split)
            row.write(entry.reference)
            row.write(entry.text)
            row.write(UInt16(entry.metadata.count))
            for item in entry.metadata {
                row.write(item.key)
                row.write(item.value)
            }
            var pixels = UnsafeRawBufferPointer(start: nil, count: 0)
            switch payload {
            case .file(let bytes):
                row.write(PayloadKind.file.rawValue)
                pixels = bytes
            case .raw(let width, let height, let channels, let bytes):
                precondition(bytes.count == width * height * channels, "\(bytes.count) bytes for \(height)×\(width)×\(channels)")
                row.write(PayloadKind.raw.rawValue)
                row.write(UInt32(width))
                row.write(UInt32(height))
                row.write(UInt8(channels))
                pixels = bytes
            case .missing(let fault):
                row.write(PayloadKind.missing.rawValue)
                row.write(fault.code)
                row.write(fault.reason)
            }
            var count = ByteWriter()
            count.write(UInt64(row.bytes.count + pixels.count))
            try out.write(count.bytes)
            try out.write(row.bytes)
            try out.write(pixels)
            rows += 1
        }

        /// Puts a file of the user's into the pack; what is wrong with it is written in its place.
        mutating func append(_ entry: Entry, file path: String) throws(AMAFError) {
            let file: MappedFile
            do throws(AMAFError) {
                file = try MappedFile(path)
            } catch {
                let what = error.code == "dataset.missing-file" ? "There is no file '\(entry.reference)'" : error.message
                return try append(entry, .missing(RowFault("image.missing-file", what)))
            }
            guard file.byteCount <= ImagePack.fileLimit else {
                return try append(
                    entry,
                    .missing(RowFault("image.too-large", "'\(entry.reference)' has \(file.byteCount) bytes: too many for one picture")))
            }
            try file.withBytes { (bytes) throws(AMAFError) in try append(entry, .file(bytes)) }
        }

        func close() throws(AMAFError) { try out.close() }
    }
}

/// The rows of a pack.
struct ImagePackCursor: RowCursor {
    private let bytes: UnsafeRawBufferPointer
    private var at: Int
    private let offset: Int
    private var row: Int

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, row: Int) {
        self.bytes = bytes
        self.offset = offset
        self.row = row
        at = offset == 0 ? ImagePack.headerByteCount : 0
    }

    mutating func next() -> LocatedRow? {
        guard at < bytes.count else { return nil }
        let start = at
        guard bytes.count - at >= 8 else { return broken(start) }
        let promised = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
        guard promised <= UInt64(bytes.count - at - 8) else { return broken(start) }
        at += 8 + Int(promised)
        let place = start + offset..<at + offset
        do throws(AMAFError) {
            let (row, fault) = try Self.parse(UnsafeRawBufferPointer(rebasing: bytes[start + 8..<at]))
            defer { self.row += 1 }
            let content = fault.map { .failure($0) } ?? row.checked()
            return LocatedRow(bytes: place, line: 1, row: self.row, place: row.image, content: content)
        } catch {
            return broken(start)
        }
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer) throws(AMAFError) -> (Row, RowFault?) {
        var reader = ByteReader(bytes, of: "packed image")
        var row = Row(id: try reader.readString())
        let hasLabel = try reader.read(UInt8.self) != 0
        let label = try reader.readString()
        row.label = hasLabel ? label : nil
        row.split = try reader.readString()
        row.image = try reader.readString()
        row.text = try reader.readString()
        for _ in 0..<(try reader.read(UInt16.self)) { row.metadata.append(MetadataEntry(try reader.readString(), try reader.readString())) }
        switch ImagePack.PayloadKind(rawValue: try reader.read(UInt8.self)) {
        case .file: row.picture = .file(try reader.readRaw(reader.remaining))
        case .raw:
            let (width, height) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let channels = Int(try reader.read(UInt8.self))
            guard width > 0, height > 0, (1...4).contains(channels), reader.remaining == width * height * channels else {
                throw AMAFError(
                    "artifact.damaged", "A packed image contradicts itself",
                    remedy: "The file was written by another version or is damaged; submit the run again.")
            }
            row.picture = .raw(width: width, height: height, channels: channels, try reader.readRaw(reader.remaining))
        case .missing: return (row, RowFault(try reader.readString(), try reader.readString()))
        case nil:
            throw AMAFError(
                "artifact.damaged", "A packed image is of no known kind",
                remedy: "The file was written by another version or is damaged; submit the run again.")
        }
        return (row, nil)
    }

    private mutating func broken(_ start: Int) -> LocatedRow {
        at = bytes.count
        return LocatedRow(
            bytes: start + offset..<bytes.count + offset, line: 1, row: row,
            content: .failure(RowFault("dataset.bad-row", "The packed images are cut off")))
    }
}

extension ImagePack.Entry.Payload {
    var owned: ImagePayload? {
        switch self {
        case .file(let bytes): .file([UInt8](bytes))
        case .raw(let width, let height, let channels, let bytes):
            .raw(width: width, height: height, channels: channels, pixels: [UInt8](bytes))
        case .missing: nil
        }
    }
}
