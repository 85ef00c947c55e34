package import Primitives

/// Comma-separated text as RFC 4180 has it: quoted fields, doubled quotes, line breaks inside quotes; blank lines are skipped.
///
/// Small and in memory, for dictionaries and vote lists; data sets have their own streaming reader.
package enum CSVText {
    /// Rows with the number of the line on which each begins, counted from 1.
    package static func rows(_ text: String, place: String) throws(AMAFError) -> [(line: Int, fields: [String])] {
        var rows: [(line: Int, fields: [String])] = []
        var field: [UInt8] = []
        var fields: [String] = []
        var line = 1
        var firstLine = 1
        var quoted = false
        var wasQuoted = false
        let bytes = Array(text.utf8)

        func endField() {
            fields.append(String(decoding: field, as: UTF8.self))
            field.removeAll(keepingCapacity: true)
            wasQuoted = false
        }
        func endRow() {
            let blank = fields.isEmpty && field.isEmpty && !wasQuoted
            if !blank {
                endField()
                rows.append((firstLine, fields))
            }
            fields.removeAll(keepingCapacity: true)
        }

        var i = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        while i < bytes.count {
            let byte = bytes[i]
            i += 1
            if quoted {
                if byte != UInt8(ascii: "\"") {
                    if byte == UInt8(ascii: "\n") { line += 1 }
                    field.append(byte)
                } else if i < bytes.count, bytes[i] == UInt8(ascii: "\"") {
                    field.append(byte)
                    i += 1
                } else {
                    quoted = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\"") where field.isEmpty:
                quoted = true
                wasQuoted = true
            case UInt8(ascii: ","): endField()
            case UInt8(ascii: "\r") where i < bytes.count && bytes[i] == UInt8(ascii: "\n"): break
            case UInt8(ascii: "\n"):
                endRow()
                line += 1
                firstLine = line
            default: field.append(byte)
            }
        }
        guard !quoted else {
            throw AMAFError("csv.open-quote", "A quoted field is never closed", place: "\(place):\(firstLine)", remedy: "Close the quote.")
        }
        endRow()
        return rows
    }

    /// The field as it has to be written: in quotes where it holds a comma, a quote or a line break.
    static func quoted(_ field: String) -> String {
        guard field.utf8.contains(where: { $0 == 34 || $0 == 44 || $0 == 10 || $0 == 13 }) else { return field }
        return "\"" + field.replacing("\"", with: "\"\"") + "\""
    }
}
