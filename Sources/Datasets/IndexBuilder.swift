internal import Primitives

/// Collects what the index needs while the rows go by.
struct IndexBuilder {
    private let format: DatasetFormat
    private let name: String
    private let blockSize: Int
    private let declaredClasses: Set<String>?

    private var samples = 0
    private var blocks: [[DatasetIndex.Segment]] = []
    private var idHashes: Set<UInt64> = []
    private var labels: [String: Int] = [:]
    /// Rows with several labels, of which one is known at least.
    private var labelledSets = 0
    private var duplicates: [Int] = []
    private var quarantine: [String: Int] = [:]
    private var examples: [QuarantinedRow] = []
    private static let exampleLimit = 20

    init(format: DatasetFormat, name: String, blockSize: Int, classNames: [String]?) {
        self.format = format
        self.name = name
        self.blockSize = blockSize
        declaredClasses = classNames.map(Set.init)
    }

    mutating func add(_ located: LocatedRow, split: String = "") {
        if case .success(let row) = located.content, !format.selects(row) { return }
        let position = samples
        samples += 1
        place(located, split: split, startsBlock: position.isMultiple(of: blockSize))
        switch located.content {
        case .failure(let fault): setAside(position, located, fault)
        case .success(let row):
            if let id = row.id, !idHashes.insert(stableHash(id)).inserted {
                duplicates.append(position)
                setAside(position, located, .duplicateID(id))
            } else if let set = format.images?.labels {
                let cells = LabelCell.cells(code: row.label ?? "", count: set.names.count)
                if cells?.contains(where: { $0.taught != nil }) ?? false { labelledSets += 1 }
            } else if let label = row.label, label != format.outOfScopeLabel {
                if let declaredClasses, !declaredClasses.contains(label) {
                    setAside(position, located, .unknownLabel(label))
                } else {
                    labels[label, default: 0] += 1
                }
            }
        }
    }

    /// Extends the block's last segment, or begins another where a block or a split begins.
    private mutating func place(_ located: LocatedRow, split: String, startsBlock: Bool) {
        let last = blocks.count - 1
        if !startsBlock, let segment = blocks[last].last, segment.split == split, segment.bytes.upperBound <= located.bytes.lowerBound {
            blocks[last][blocks[last].count - 1].bytes = segment.bytes.lowerBound..<located.bytes.upperBound
            return
        }
        let segment = DatasetIndex.Segment(bytes: located.bytes, line: located.line, row: located.row, split: split)
        if startsBlock { blocks.append([segment]) } else { blocks[last].append(segment) }
    }

    private mutating func setAside(_ position: Int, _ located: LocatedRow, _ fault: RowFault) {
        quarantine[fault.code, default: 0] += 1
        guard examples.count < Self.exampleLimit else { return }
        let place = located.place ?? "\(name):\(located.line)"
        examples.append(QuarantinedRow(position: position, place: place, code: fault.code, reason: fault.reason))
    }

    func finish(digest: Digest, byteCount: Int, columns: [String], classNames: [String]?) throws(AMAFError) -> DatasetIndex {
        guard samples > 0 else {
            throw AMAFError(
                "dataset.empty",
                "The data set has no rows\(format.splits.isEmpty ? "" : " of the splits \(format.splits.joined(separator: ", "))")",
                place: name, remedy: "Check the file, its format and the chosen splits.")
        }
        let bad = quarantine.values.reduce(0, +)
        guard bad < samples else {
            let first = examples.first.map { "; the first is \($0.place): \($0.reason) [\($0.code)]" } ?? ""
            throw AMAFError(
                "dataset.no-usable-row", "None of the \(samples) rows can be used\(first)", place: name,
                remedy: "Check the format and the field names in the data set's manifest.")
        }
        let names = format.images?.labels?.names ?? classNames ?? DatasetIndex.sortedClassNames(Array(labels.keys))
        guard names.count <= DatasetIndex.classLimit else {
            throw AMAFError(
                "dataset.too-many-classes", "The labels take \(names.count) different values", place: name,
                remedy: "Check that 'label' names the column of classes, not one of ids or texts.")
        }
        return DatasetIndex(
            format: format, name: name, sourceDigest: digest, sourceByteCount: byteCount,
            plan: BlockPlan(samples: samples, blockSize: blockSize), blocks: blocks, blockDigests: nil, classNames: names,
            labelledRows: labels.values.reduce(labelledSets, +), columns: columns, duplicates: duplicates,
            quarantine: quarantine.sorted { $0.key < $1.key }.map { DatasetIndex.QuarantineCount(code: $0.key, rows: $0.value) },
            quarantineExamples: examples)
    }
}

extension DatasetIndex {
    /// Class indexes fit in 16 bits.
    package static let classLimit = 32_767

    /// By value when every name is a whole number, so that 10 follows 9; by UTF-8 bytes otherwise.
    package static func sortedClassNames(_ names: [String]) -> [String] {
        let numbers = names.compactMap(Int.init)
        if numbers.count == names.count {
            return zip(numbers, names).sorted { ($0.0, $0.1) < ($1.0, $1.1) }.map(\.1)
        }
        return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
}

extension DatasetFormat {
    /// Whether a row belongs to the chosen splits. Rows that cannot be read belong to every choice, so that they are seen.
    func selects(_ row: Row) -> Bool {
        // Packs of images hold the rows of the chosen splits only.
        guard kind != .clinc150, !kind.holdsImages, fields.split != nil, !splits.isEmpty else { return true }
        return row.split.map { splits.contains($0) } ?? false
    }
}

extension RowFault {
    static func duplicateID(_ id: String) -> RowFault {
        RowFault("dataset.duplicate-id", "The id '\(id)' was there before; the first row is kept")
    }
    static func unknownLabel(_ label: String) -> RowFault {
        RowFault("dataset.unknown-label", "The label '\(label)' is none of the data set's classes")
    }
}

/// FNV-1a with a final mix: two of a million different ids agree with probability 3·10⁻⁸.
func stableHash(_ text: String) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    hash ^= hash >> 33
    hash = hash &* 0xFF51_AFD7_ED55_8CCD
    return hash ^ (hash >> 33)
}
