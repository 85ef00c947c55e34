/// The rows of a part of one list of a CLINC150 file: `["text", "intent"], ["text", "intent"]`.
struct ClincCursor: RowCursor {
    private var scanner: JSONScanner
    private let offset: Int
    private let firstLine: Int
    private var row: Int
    private let split: String
    private var isOver = false

    init(_ bytes: UnsafeRawBufferPointer, offset: Int, line: Int, row: Int, split: String) {
        scanner = JSONScanner(bytes, in: 0..<bytes.count)
        self.offset = offset
        firstLine = line
        self.row = row
        self.split = split
    }

    mutating func next() -> LocatedRow? {
        guard !isOver, scanner.peek() != nil else { return nil }
        defer { row += 1 }
        let start = scanner.at
        let line = firstLine + scanner.lineBreaks
        do throws(JSONFault) {
            let content = try Self.row(&scanner, split: split)
            let stop = scanner.at
            _ = scanner.take(UInt8(ascii: ","))
            return LocatedRow(bytes: start + offset..<stop + offset, line: line, row: row, content: content)
        } catch {
            // The index has walked over these bytes before, so they have changed since.
            isOver = true
            return LocatedRow(
                bytes: start + offset..<scanner.end + offset, line: line, row: row, content: .failure(.badJSON(error, from: start)))
        }
    }

    /// Reads one element of a list. A throw means that the file is no JSON from here on; a failure concerns this row alone.
    static func row(_ scanner: inout JSONScanner, split: String) throws(JSONFault) -> Result<Row, RowFault> {
        guard scanner.peek() == UInt8(ascii: "[") else {
            try scanner.skipValue()
            return .failure(RowFault("dataset.bad-row", "An entry is not a list of a text and an intent"))
        }
        var texts: [String] = []
        var isRegular = true
        try scanner.expect(UInt8(ascii: "["))
        if !scanner.take(UInt8(ascii: "]")) {
            repeat {
                if scanner.peek() == UInt8(ascii: "\"") {
                    let start = scanner.at
                    do throws(JSONFault) {
                        texts.append(try scanner.string())
                    } catch {
                        // Bytes that are not UTF-8 spoil the text, not the structure around it.
                        guard error.what == JSONScanner.notUTF8, scanner.at > start + 1 else { throw error }
                        isRegular = false
                    }
                } else {
                    try scanner.skipValue()
                    isRegular = false
                }
            } while scanner.take(UInt8(ascii: ","))
            try scanner.expect(UInt8(ascii: "]"))
        }
        guard isRegular, texts.count == 2 else {
            return .failure(RowFault("dataset.bad-row", "An entry is not a list of a text and an intent"))
        }
        guard !texts[1].isEmpty else { return .failure(RowFault("dataset.bad-row", "The intent is empty")) }
        return Row(text: texts[0], label: texts[1], metadata: [MetadataEntry("split", split)]).checked()
    }
}
