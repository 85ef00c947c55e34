internal import Foundation

/// Records of RFC 4180: fields in quotes may hold delimiters, doubled quotes and line breaks. LF and CRLF both end a record.
///
/// A record whose quotes make no sense is given up at its first line, and reading goes on with the next line, so that a stray
/// quote costs the rows that it garbles and no others.
struct CSVScanner {
    struct Field {
        var range: Range<Int>
        var hasDoubledQuotes: Bool
    }

    let bytes: UnsafeRawBufferPointer
    private(set) var at: Int
    /// Of the next record.
    private(set) var line: Int
    private let delimiter: UInt8
    /// Of the last record; reused.
    private(set) var fields: [Field] = []

    init(_ bytes: UnsafeRawBufferPointer, line: Int, delimiter: UInt8) {
        self.bytes = bytes
        self.line = line
        self.delimiter = delimiter
        at = line == 1 && bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    }

    /// The next record that is not a blank line. The fault speaks of its quoting or length; counting columns is the caller's.
    mutating func next() -> (range: Range<Int>, line: Int, fault: RowFault?)? {
        while at < bytes.count {
            if bytes[at] == 0x0A {
                at += 1
                line += 1
                continue
            }
            if bytes[at] == 0x0D, at + 1 < bytes.count, bytes[at + 1] == 0x0A {
                at += 2
                line += 1
                continue
            }
            let start = at
            let firstLine = line
            if let fault = record() {
                let stop = endOfLine(start)
                at = min(stop + 1, bytes.count)
                line = firstLine + 1
                return (start..<stop, firstLine, fault)
            }
            return (start..<stopOfRecord, firstLine, nil)
        }
        return nil
    }

    private var stopOfRecord = 0

    private func endOfLine(_ start: Int) -> Int {
        let base = bytes.baseAddress.unsafelyUnwrapped
        return memchr(base + start, 0x0A, bytes.count - start).map { base.distance(to: UnsafeRawPointer($0)) } ?? bytes.count
    }

    /// Splits the record at `at` into `fields`.
    private mutating func record() -> RowFault? {
        fields.removeAll(keepingCapacity: true)
        let start = at
        while true {
            if at < bytes.count, bytes[at] == UInt8(ascii: "\"") {
                if let fault = quotedField(start) { return fault }
            } else {
                let begin = at
                while at < bytes.count, bytes[at] != delimiter, bytes[at] != 0x0A { at += 1 }
                var stop = at
                if at == bytes.count || bytes[at] == 0x0A, stop > begin, bytes[stop - 1] == 0x0D { stop -= 1 }
                fields.append(Field(range: begin..<stop, hasDoubledQuotes: false))
            }
            if at - start > RowLimits.csvBytes { return .tooLong(at - start) }
            guard at < bytes.count else {
                stopOfRecord = at
                return nil
            }
            let byte = bytes[at]
            if byte == delimiter {
                at += 1
                continue
            }
            // Only a line break is left: `quotedField` has checked what follows it.
            stopOfRecord = at
            at += byte == 0x0D ? 2 : 1
            line += 1
            return nil
        }
    }

    private mutating func quotedField(_ start: Int) -> RowFault? {
        at += 1
        let begin = at
        var hasDoubledQuotes = false
        while at < bytes.count {
            let byte = bytes[at]
            if byte == UInt8(ascii: "\"") {
                if at + 1 < bytes.count, bytes[at + 1] == UInt8(ascii: "\"") {
                    hasDoubledQuotes = true
                    at += 2
                    continue
                }
                fields.append(Field(range: begin..<at, hasDoubledQuotes: hasDoubledQuotes))
                at += 1
                let follows = at < bytes.count ? bytes[at] : 0x0A
                if follows == delimiter || follows == 0x0A { return nil }
                if follows == 0x0D, at + 1 < bytes.count, bytes[at + 1] == 0x0A { return nil }
                if follows == 0x0D, at + 1 == bytes.count {
                    at += 1
                    return nil
                }
                return RowFault("dataset.bad-row", "Something follows the closing quote of column \(fields.count)")
            }
            if byte == 0x0A { line += 1 }
            at += 1
            if at - start > RowLimits.csvBytes { return .tooLong(at - start) }
        }
        return RowFault("dataset.bad-row", "The quote of column \(fields.count + 1) is never closed")
    }

    /// A field of the last record; nil when it is not UTF-8.
    func text(_ field: Field) -> String? {
        guard let text = validated(UnsafeRawBufferPointer(rebasing: bytes[field.range])) else { return nil }
        return field.hasDoubledQuotes ? text.replacing("\"\"", with: "\"") : text
    }

    /// The record's fields as texts; nil when one is not UTF-8.
    func texts() -> [String]? {
        var texts: [String] = []
        texts.reserveCapacity(fields.count)
        for field in fields {
            guard let text = text(field) else { return nil }
            texts.append(text)
        }
        return texts
    }
}

/// The rows of a CSV file below its header.
struct CSVCursor: RowCursor {
    private var scanner: CSVScanner
    private let offset: Int
    private var row: Int
    private let columns: [String]
    private let roles: [FieldRoles.Role?]

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, line: Int, row: Int, delimiter: UInt8, columns: [String], fields: FieldRoles) {
        scanner = CSVScanner(bytes, line: line, delimiter: delimiter)
        self.offset = offset
        self.row = row
        self.columns = columns
        roles = columns.map { fields.role($0) }
    }

    mutating func next() -> LocatedRow? {
        guard let (range, line, fault) = scanner.next() else { return nil }
        defer { row += 1 }
        let content: Result<Row, RowFault> = fault.map { .failure($0) } ?? parse()
        return LocatedRow(bytes: range.lowerBound + offset..<range.upperBound + offset, line: line, row: row, content: content)
    }

    private func parse() -> Result<Row, RowFault> {
        guard scanner.fields.count == columns.count else {
            return .failure(
                RowFault("dataset.column-count", "The row has \(scanner.fields.count) columns where the header has \(columns.count)"))
        }
        guard let texts = scanner.texts() else { return .failure(.notUTF8) }
        var row = Row()
        for (i, value) in texts.enumerated() {
            switch roles[i] {
            case .id: row.id = value
            case .text: row.text = value
            case .label: row.label = value.isEmpty ? nil : value
            case .split: row.split = value
            case .image: row.image = value.isEmpty ? nil : value
            case .sensor: row.sensor = value.isEmpty ? nil : value
            case nil: row.metadata.append(MetadataEntry(columns[i], value))
            }
        }
        row.metadata = sorted(row.metadata)
        return row.checked()
    }
}
