package import Primitives

/// What one pass over a data set found: its digest, its classes and where each block lies. Small; the rows stay in the source.
///
/// Made by `DatasetSource.index`, sent to workers as an artifact (`encode`), and enough to read any block from the source's
/// bytes or from the block's own byte ranges.
package struct DatasetIndex: Hashable, Sendable, Codable {
    /// A run of rows inside the source.
    package struct Segment: Hashable, Sendable, Codable {
        package var bytes: Range<Int>
        /// Of the first row, counted from 1.
        package var line: Int
        /// Number of the first row, counted from 0, in its split (`clinc150`) or file; ids are made from it.
        package var row: Int
        /// Key of the list in a `clinc150` file; empty otherwise.
        package var split: String

        package init(bytes: Range<Int>, line: Int, row: Int, split: String = "") {
            self.bytes = bytes
            self.line = line
            self.row = row
            self.split = split
        }
    }

    /// How many rows were quarantined for one reason.
    package struct QuarantineCount: Hashable, Sendable, Codable {
        package var code: String
        package var rows: Int

        package init(code: String, rows: Int) {
            self.code = code
            self.rows = rows
        }
    }

    package var format: DatasetFormat
    /// The file's name, for places in messages.
    package var name: String
    /// SHA-256 of the source's plain (decompressed) bytes.
    package var sourceDigest: Digest
    package var sourceByteCount: Int
    /// Rows, quarantined ones included, and how they fall into blocks.
    package var plan: BlockPlan
    /// For each block the parts of the source that hold it; one, except where a block crosses from one split into the next.
    package var blocks: [[Segment]]
    /// SHA-256 of each block's segments, end to end: what a worker that reads ranges, or a copy of its own, checks them with.
    /// Nil in indexes made by releases before 0.2.
    package var blockDigests: [Digest]?
    /// Gold labels index into this list. By value when every name is a whole number, by UTF-8 bytes otherwise.
    package var classNames: [String]
    /// Rows with a gold label among the classes.
    package var labelledRows: Int
    /// Names of the CSV columns; empty otherwise.
    package var columns: [String]
    /// Positions of rows whose id came before; sorted. Their blocks cannot know this by themselves.
    package var duplicates: [Int]
    /// Sorted by code.
    package var quarantine: [QuarantineCount]
    /// The first few quarantined rows, for printing.
    package var quarantineExamples: [QuarantinedRow]

    package var quarantinedRows: Int { quarantine.reduce(0) { $0 + $1.rows } }
    package var samples: Int { plan.samples }

    /// Whether these are the bytes that were indexed as this block; true where the index holds no digest of it.
    package func verifies(_ segments: [[UInt8]], asBlock block: Int) -> Bool {
        guard let blockDigests, blockDigests.indices.contains(block) else { return true }
        var hasher = DigestHasher()
        for segment in segments { hasher.update(segment) }
        return hasher.finish() == blockDigests[block]
    }
}

extension DatasetIndex {
    /// Canonical JSON: the form in which the index is an artifact and part of identities.
    package func encode() -> [UInt8] { Array(CanonicalJSON.encode(self).utf8) }

    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try CanonicalJSON.decode(Self.self, from: bytes, what: "data set index")
    }
}

/// Both halves of a block as read from its source.
package struct BlockContents: Hashable, Sendable {
    package var samples: SampleBlock
    package var gold: GoldBlock
    /// The picture of each sample as the source has it, nil for quarantined rows; empty where the data set holds none.
    package var pictures: [ImagePayload?]
    /// Where samples have several labels each; `gold` is unknown everywhere then.
    package var labelSets: LabelSetBlock?

    package init(samples: SampleBlock, gold: GoldBlock, pictures: [ImagePayload?] = [], labelSets: LabelSetBlock? = nil) {
        self.labelSets = labelSets
        self.samples = samples
        self.gold = gold
        self.pictures = pictures
    }
}
