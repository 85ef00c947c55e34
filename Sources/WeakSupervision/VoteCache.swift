internal import Datasets
internal import Foundation
package import Primitives

/// Votes on disk, by what the samples of a block are: an edited function or a new block computes what is missing and nothing else.
///
/// One file a block holds the columns of all functions that were applied to it lately, another the block's texts, so that a text rule is
/// tried again without parsing the data. A file that is torn or damaged counts as missing. Two processes may share a folder: files appear
/// whole, by renaming, and what one of them did not see it computes again. Nothing is flushed: what a power cut takes is computed again.
package struct VoteCache: Sendable {
    /// Columns kept beside those that are in use: the last versions of functions that are being written.
    private static let spareColumns = 64

    private let folder: String
    private let classes: Digest

    /// - Parameter folder: made when it is missing.
    package init(folder: String, classNames: [String]) throws(AMAFError) {
        self.folder = folder
        var hasher = DigestHasher()
        hasher.update(field: "classes")
        for name in classNames { hasher.update(field: name) }
        classes = hasher.finish()
        do { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) } catch {
            throw AMAFError(
                "vote-cache.unwritable", "The cache folder cannot be made: \(error.localizedDescription)", place: folder,
                remedy: "Name a folder that can be written.")
        }
    }

    // MARK: Votes

    private func votesPath(_ block: Digest) -> String {
        var hasher = DigestHasher()
        hasher.update(field: "vote-block")
        for part in [block, classes] { hasher.update(digest: part) }
        return "\(folder)/\(hasher.finish().hex).votes"
    }

    /// All columns known of a block, the latest first.
    package func columns(block: Digest, rows: Int, classCount: Int) -> [VoteColumn] {
        guard let bytes = read(votesPath(block)), let found = try? VoteBlock(decoding: bytes), found.rowCount == rows,
            found.classCount == classCount
        else { return [] }
        return found.columns
    }

    /// Keeps the columns in use, and of the `others` the latest few.
    ///
    /// Columns with faults are not kept: they may be the machine's and not the function's.
    package func store(_ used: [VoteColumn], others: [VoteColumn], block: Digest, firstSample: Int, classCount: Int) throws(AMAFError) {
        let kept = used.filter { $0.faults == nil }
        let ids = Set(kept.map(\.function))
        let columns = kept + others.filter { !ids.contains($0.function) }.prefix(Self.spareColumns)
        guard let rows = columns.first?.votes.rowCount else { return }
        try write(
            VoteBlock(firstSample: firstSample, rowCount: rows, classCount: classCount, columns: columns).encoded(), to: votesPath(block))
    }

    // MARK: Texts

    private func textsPath(_ block: Digest) -> String { "\(folder)/\(block.hex).texts" }
    private static let textsMagic: UInt32 = 0x5458_4D41

    /// The block's texts, nil where a sample is left out; nil when they are not here.
    package func texts(block: Digest, rows: Int) -> [String?]? {
        read(textsPath(block)).flatMap { bytes in
            bytes.withUnsafeBytes { buffer -> [String?]? in
                var reader = ByteReader(buffer, of: "texts")
                guard let magic = try? reader.read(UInt32.self), magic == Self.textsMagic, let count = try? reader.read(UInt32.self),
                    count == rows, let lengths = try? reader.readArray(Int32.self, count: rows)
                else { return nil }
                var texts: [String?] = []
                texts.reserveCapacity(rows)
                for length in lengths {
                    guard length >= 0 else {
                        texts.append(nil)
                        continue
                    }
                    guard let raw = try? reader.readRaw(Int(length)) else { return nil }
                    texts.append(String(decoding: raw, as: UTF8.self))
                }
                return reader.remaining == 0 ? texts : nil
            }
        }
    }

    package func store(texts: [String?], block: Digest) throws(AMAFError) {
        var writer = ByteWriter(reserving: 8 + texts.reduce(0) { $0 + 4 + ($1?.utf8.count ?? 0) })
        writer.write(Self.textsMagic)
        writer.write(UInt32(texts.count))
        writer.write(array: texts.map { $0.map { Int32(clamping: $0.utf8.count) } ?? -1 })
        for text in texts { if let text { writer.append(raw: text.utf8) } }
        try write(writer.bytes, to: textsPath(block))
    }

    // MARK: Other documents

    /// Something small and derived that goes with the cache, for example a data set's index.
    package func document(_ name: Digest) -> [UInt8]? { read("\(folder)/\(name.hex).json") }
    package func store(document: [UInt8], _ name: Digest) throws(AMAFError) { try write(document, to: "\(folder)/\(name.hex).json") }

    // MARK: Files

    /// The bytes behind a checksum that fits.
    private func read(_ path: String) -> [UInt8]? {
        guard let data = FileManager.default.contents(atPath: path), data.count >= 4 else { return nil }
        let bytes = [UInt8](data)
        let checksum = bytes.suffix(4).enumerated().reduce(UInt32(0)) { $0 | UInt32($1.element) << (8 * UInt32($1.offset)) }
        let body = Array(bytes.dropLast(4))
        return CRC32C.of(body) == checksum ? body : nil
    }

    private func write(_ body: [UInt8], to path: String) throws(AMAFError) {
        var bytes = body
        let checksum = CRC32C.of(body)
        for shift in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: checksum >> (8 * UInt32(shift)))) }
        let file = try FileWriter(path)
        try file.write(bytes)
        try file.close()
    }
}
