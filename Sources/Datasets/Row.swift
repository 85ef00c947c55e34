/// A row as it stands in the source, taken apart.
struct Row {
    var id: String?
    var text = ""
    var label: String?
    var split: String?
    var image: String?
    var sensor: String?
    var metadata: [MetadataEntry] = []
    /// The picture itself, where the source holds it; valid as long as the source's bytes are.
    var picture: ImagePack.Entry.Payload? = nil
}

/// Why a row cannot be used.
struct RowFault: Error, Hashable {
    var code: String
    var reason: String

    init(_ code: String, _ reason: String) {
        self.code = code
        self.reason = reason
    }

    static let notUTF8 = RowFault("dataset.not-utf8", "The row is not UTF-8")
    static let emptyText = RowFault("dataset.empty-text", "The text is empty")
    static func tooLong(_ count: Int) -> RowFault {
        RowFault("dataset.row-too-long", "The row has \(count) bytes, more than the \(RowLimits.bytes) allowed")
    }
    static func badJSON(_ fault: JSONFault, from start: Int) -> RowFault {
        fault.what == JSONScanner.notUTF8 ? .notUTF8 : RowFault("dataset.bad-row", "\(fault.what) (column \(fault.offset - start + 1))")
    }
}

enum RowLimits {
    /// A longer row is damage, most often a quote or line break that went missing.
    static let bytes = 16 << 20
    /// The same for CSV, where one stray quote would otherwise swallow the rest of the file.
    static let csvBytes = 1 << 20
}

/// A row with its place in the source.
struct LocatedRow {
    /// Absolute, without the line break.
    var bytes: Range<Int>
    /// Counted from 1.
    var line: Int
    /// Counted from 0, rows of other splits included.
    var row: Int
    /// Where the row is, when that is not `file:line`.
    var place: String? = nil
    var content: Result<Row, RowFault>
}

/// Gives the rows of a part of the source, one after the other, in its order.
///
/// The index walks the whole source with it and a block read its own segment, so both see the same rows.
protocol RowCursor {
    mutating func next() -> LocatedRow?
}

extension Row {
    /// Checks that hold for all formats.
    func checked() -> Result<Row, RowFault> {
        let isBlank = text.utf8.allSatisfy { $0 == 0x20 || ($0 >= 0x09 && $0 <= 0x0D) }
        if isBlank && image == nil && sensor == nil { return .failure(.emptyText) }
        if let id, id.isEmpty { return .failure(RowFault("dataset.bad-row", "The id is empty")) }
        return .success(self)
    }
}

/// Orders metadata the same way whatever order the source had.
func sorted(_ metadata: [MetadataEntry]) -> [MetadataEntry] {
    metadata.count < 2 ? metadata : metadata.sorted { ($0.key, $0.value) < ($1.key, $1.value) }
}
