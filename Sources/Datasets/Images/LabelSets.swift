package import Primitives

/// How a table says several yes-or-no labels of each image at once.
package struct LabelSetFormat: Hashable, Sendable, Codable {
    package enum Source: Hashable, Sendable, Codable {
        /// A column for each label: 1, 0, −1 (uncertain) or blank.
        case columns
        /// One column that lists the labels that are present, `Edema|Effusion`; what is not listed is absent. `none` is the word for an
        /// empty list: an empty cell says nothing of any label.
        case list(column: String, separator: String, none: String)
    }
    /// What a blank cell counts as where labels have columns.
    package enum Blank: String, Hashable, Sendable, Codable, CaseIterable {
        case zeros
        /// Nothing is known.
        case ignore
    }
    /// In the order of reports and exports.
    package var names: [String]
    package var source: Source
    package var blank: Blank

    package init(names: [String], source: Source, blank: Blank = .ignore) {
        self.names = names
        self.source = source
        self.blank = blank
    }

    /// The states of the cells, or what is wrong with the row.
    ///
    /// - Parameter value: of a column.
    func cells(_ value: (String) -> String, uncertain: ImageRows.Uncertain) -> Result<[LabelCell], RowFault> {
        switch source {
        case .columns:
            var cells: [LabelCell] = []
            for name in names {
                let text = value(name)
                guard let cell = ChexpertObservations.value(text) else {
                    return .failure(RowFault("dataset.unknown-label", "'\(text)' of '\(name)' is none of 1, 0, -1 and blank"))
                }
                cells.append(LabelCell(cell, uncertain: uncertain, blank: blank))
            }
            return .success(cells)
        case .list(let column, let separator, let none):
            let text = value(column)
            guard !text.isEmpty else { return .success(names.map { _ in .unknown }) }
            let listed = text.split(separator: separator, omittingEmptySubsequences: false).map(String.init)
            if let strange = listed.first(where: { $0 != none && !names.contains($0) }) {
                return .failure(.unknownLabel(strange))
            }
            return .success(names.map { listed.contains($0) ? .present : .absent })
        }
    }
}

/// What is known of one label of one sample. An uncertain or blank cell may teach by the data set's policy; it is never the truth that
/// labels are judged by.
package enum LabelCell: UInt8, Hashable, Sendable, CaseIterable {
    case absent = 0, present, unknown
    /// Uncertain or blank, and taken as … by the policy.
    case takenAsAbsent, takenAsPresent

    init(_ value: ChexpertObservations.Value, uncertain: ImageRows.Uncertain, blank: LabelSetFormat.Blank) {
        self =
            switch (value, uncertain, blank) {
            case (.present, _, _): .present
            case (.absent, _, _): .absent
            case (.uncertain, .zeros, _): .takenAsAbsent
            case (.uncertain, .ones, _): .takenAsPresent
            case (.uncertain, .ignore, _): .unknown
            case (.blank, _, .zeros): .takenAsAbsent
            case (.blank, _, .ignore): .unknown
            }
    }

    /// For measuring; nil for anything but a plain yes or no.
    package var truth: Bool? {
        switch self {
        case .present: true
        case .absent: false
        case .unknown, .takenAsAbsent, .takenAsPresent: nil
        }
    }

    /// For teaching: what a reader under the data set's policy would say.
    package var taught: Bool? {
        switch self {
        case .present, .takenAsPresent: true
        case .absent, .takenAsAbsent: false
        case .unknown: nil
        }
    }

    /// One character each: how a row of cells travels in a pack of images.
    static func code(_ cells: [LabelCell]) -> String { String(decoding: cells.map { 0x30 + $0.rawValue }, as: UTF8.self) }

    static func cells(code: String, count: Int) -> [LabelCell]? {
        let cells = code.utf8.compactMap { $0 >= 0x30 ? LabelCell(rawValue: $0 - 0x30) : nil }
        return cells.count == count && code.utf8.count == count ? cells : nil
    }
}

/// The known labels of one block, (rows, labels), shipped apart from its samples as `GoldBlock` is.
package struct LabelSetBlock: Hashable, Sendable {
    package var firstPosition: Int
    package var labels: Int
    /// Row by row.
    package var cells: [LabelCell]

    package init(firstPosition: Int, labels: Int, cells: [LabelCell]) {
        precondition(labels > 0 && cells.count.isMultiple(of: labels), "\(cells.count) cells in rows of \(labels)")
        self.firstPosition = firstPosition
        self.labels = labels
        self.cells = cells
    }

    package var rows: Int { cells.count / labels }
    package subscript(row row: Int) -> ArraySlice<LabelCell> { cells[row * labels..<(row + 1) * labels] }

    /// Nothing is known of this row any more: its picture cannot be read.
    package mutating func forget(row: Int) {
        for i in row * labels..<(row + 1) * labels { cells[i] = .unknown }
    }

    private static let magic: UInt32 = 0x3153_4C41  // "ALS1"

    /// Little-endian: magic, labels, first position, rows; then a byte for each cell.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 20 + cells.count)
        writer.write(Self.magic)
        writer.write(UInt32(labels))
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(rows))
        writer.append(raw: cells.map(\.rawValue))
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "block of label sets") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let labels = Int(try reader.read(UInt32.self))
            let first = try reader.read(UInt64.self)
            let rows = Int(try reader.read(UInt32.self))
            guard magic == Self.magic, labels > 0, labels <= LabelSetFormat.limit, first <= UInt64(Int.max / 2),
                reader.remaining == rows * labels
            else { throw AMAFError.damaged("block of label sets") }
            let cells = try reader.readRaw(rows * labels).compactMap { LabelCell(rawValue: $0) }
            guard cells.count == rows * labels else { throw AMAFError.damaged("block of label sets") }
            return LabelSetBlock(firstPosition: Int(first), labels: labels, cells: cells)
        }
    }
}

extension LabelSetFormat {
    /// Labels of one data set at most: a person answers all of them for one image.
    package static let limit = 1024
}

extension DatasetIndex {
    /// Where samples have several labels at once: their names are `classNames` then, and gold labels lie in label sets.
    package var labelSet: LabelSetFormat? { format.images?.labels }
}
