internal import Foundation

/// The lines of a buffer with numbers; blank lines are passed over.
struct LineScanner {
    let bytes: UnsafeRawBufferPointer
    var at: Int
    var line: Int

    init(_ bytes: UnsafeRawBufferPointer, line: Int) {
        self.bytes = bytes
        self.line = line
        // A byte order mark can only stand at the very start of a file, where line 1 is.
        at = line == 1 && bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    }

    mutating func next() -> (range: Range<Int>, line: Int)? {
        while at < bytes.count {
            let start = at
            let base = bytes.baseAddress.unsafelyUnwrapped
            let found = memchr(base + start, 0x0A, bytes.count - start)
            var stop = found.map { base.distance(to: UnsafeRawPointer($0)) } ?? bytes.count
            at = stop + 1
            line += 1
            if stop > start, bytes[stop - 1] == 0x0D { stop -= 1 }
            let range = start..<stop
            if !bytes[range].allSatisfy({ $0 == 0x20 || $0 == 0x09 }) { return (range, line - 1) }
        }
        return nil
    }
}

/// One JSON object a line.
struct JSONLinesCursor: RowCursor {
    private var lines: LineScanner
    private let offset: Int
    private var row: Int
    private let fields: FieldRoles

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, line: Int, row: Int, fields: FieldRoles) {
        lines = LineScanner(bytes, line: line)
        self.offset = offset
        self.row = row
        self.fields = fields
    }

    mutating func next() -> LocatedRow? {
        guard let (range, line) = lines.next() else { return nil }
        defer { row += 1 }
        let content: Result<Row, RowFault>
        if range.count > RowLimits.bytes {
            content = .failure(.tooLong(range.count))
        } else {
            content = parse(range)
        }
        return LocatedRow(bytes: range.lowerBound + offset..<range.upperBound + offset, line: line, row: row, content: content)
    }

    private func parse(_ range: Range<Int>) -> Result<Row, RowFault> {
        var scanner = JSONScanner(lines.bytes, in: range)
        var reader = JSONRowReader(fields: fields)
        do throws(JSONFault) {
            guard scanner.peek() == UInt8(ascii: "{") else { throw scanner.fault("The line is not a JSON object") }
            try reader.readObject(&scanner, prefix: "", depth: 0)
            guard scanner.peek() == nil else { throw scanner.fault("Something follows the object") }
        } catch {
            return .failure(.badJSON(error, from: range.lowerBound))
        }
        return reader.finish()
    }
}

/// Which path of a row plays which part.
struct FieldRoles {
    enum Role { case id, text, label, split, image, sensor }

    private var roles: [String: Role] = [:]
    /// Objects that must be entered because a role lies inside: `meta` for `meta.label`.
    private var entered: Set<String> = []
    let names: DatasetFormat.Fields

    init(_ fields: DatasetFormat.Fields) {
        names = fields
        let pairs: [(String?, Role)] = [
            (fields.split, .split), (fields.image, .image), (fields.sensor, .sensor), (fields.label, .label), (fields.id, .id),
            (fields.text, .text),
        ]
        for (path, role) in pairs {
            guard let path else { continue }
            roles[path] = role
            var parent = path[...]
            while let dot = parent.lastIndex(of: ".") {
                parent = parent[..<dot]
                entered.insert(String(parent))
            }
        }
    }

    func role(_ path: String) -> Role? { roles[path] }
    func isEntered(_ path: String) -> Bool { !entered.isEmpty && entered.contains(path) }
}

/// Fills a row from a JSON object.
private struct JSONRowReader {
    let fields: FieldRoles
    private var row = Row()
    private var hasText = false
    private var hasID = false
    private var fault: RowFault?

    init(fields: FieldRoles) { self.fields = fields }

    mutating func readObject(_ scanner: inout JSONScanner, prefix: String, depth: Int) throws(JSONFault) {
        guard depth < JSONScanner.depthLimit else {
            throw scanner.fault("Lists and objects are nested deeper than \(JSONScanner.depthLimit)")
        }
        try scanner.expect(UInt8(ascii: "{"))
        if scanner.take(UInt8(ascii: "}")) { return }
        repeat {
            let key = try scanner.string()
            try scanner.expect(UInt8(ascii: ":"))
            let path = prefix.isEmpty ? key : prefix + key
            if let role = fields.role(path) {
                try take(role, path, &scanner)
            } else if scanner.peek() == UInt8(ascii: "{"), fields.isEntered(path) {
                try readObject(&scanner, prefix: path + ".", depth: depth + 1)
            } else if scanner.peek() == UInt8(ascii: "\"") {
                row.metadata.append(MetadataEntry(path, try scanner.string()))
            } else {
                row.metadata.append(MetadataEntry(path, scanner.text(try scanner.skipValue(depth: depth)), isJSON: true))
            }
        } while scanner.take(UInt8(ascii: ","))
        try scanner.expect(UInt8(ascii: "}"))
    }

    private mutating func take(_ role: FieldRoles.Role, _ path: String, _ scanner: inout JSONScanner) throws(JSONFault) {
        let value: String?
        switch scanner.peek() {
        case UInt8(ascii: "\""): value = try scanner.string()
        case UInt8(ascii: "{"), UInt8(ascii: "["):
            try scanner.skipValue()
            fault = fault ?? RowFault("dataset.bad-row", "The field '\(path)' is a list or an object where a text is needed")
            return
        default:
            // A class or id may well be written as a number.
            let written = scanner.text(try scanner.skipValue())
            value = written == "null" ? nil : written
            if value != nil, role == .text {
                fault = fault ?? RowFault("dataset.bad-row", "The field '\(path)' is \(written) where a text is needed")
            }
        }
        switch role {
        case .text:
            if hasText { fault = fault ?? RowFault("dataset.bad-row", "The field '\(path)' is there twice") }
            row.text = value ?? ""
            hasText = true
        case .id:
            row.id = value
            hasID = value != nil
        // An empty label is what many tools write for none.
        case .label: row.label = value.flatMap { $0.isEmpty ? nil : $0 }
        case .split: row.split = value
        case .image: row.image = value
        case .sensor: row.sensor = value
        }
    }

    func finish() -> Result<Row, RowFault> {
        if let fault { return .failure(fault) }
        if !hasText && row.image == nil && row.sensor == nil {
            return .failure(RowFault("dataset.bad-row", "The field '\(fields.names.text)' is missing"))
        }
        if let id = fields.names.id, !hasID { return .failure(RowFault("dataset.bad-row", "The field '\(id)' is missing")) }
        var row = row
        row.metadata = sorted(row.metadata)
        return row.checked()
    }
}

/// One text a line.
struct TextLinesCursor: RowCursor {
    private var lines: LineScanner
    private let offset: Int
    private var row: Int

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, line: Int, row: Int) {
        lines = LineScanner(bytes, line: line)
        self.offset = offset
        self.row = row
    }

    mutating func next() -> LocatedRow? {
        guard let (range, line) = lines.next() else { return nil }
        defer { row += 1 }
        let content: Result<Row, RowFault>
        if range.count > RowLimits.bytes {
            content = .failure(.tooLong(range.count))
        } else if let text = validated(UnsafeRawBufferPointer(rebasing: lines.bytes[range])) {
            content = Row(text: text).checked()
        } else {
            content = .failure(.notUTF8)
        }
        return LocatedRow(bytes: range.lowerBound + offset..<range.upperBound + offset, line: line, row: row, content: content)
    }
}
