internal import Datasets
internal import Foundation
internal import Primitives

/// Guesses which column is what from names and the first rows.
enum FieldGuess {
    private static let textNames = [
        "text", "sentence", "query", "utterance", "review", "message", "body", "content", "comment", "description", "title",
    ]
    private static let idNames = ["id", "uid", "uuid", "_id", "key", "sample_id", "row_id"]
    private static let labelNames = ["label", "class", "category", "intent", "gold", "target", "sentiment", "y"]
    private static let headByteCount = 256 << 10

    /// The first bytes of a file, up to the last whole line.
    static func head(of path: String) throws(AMAFError) -> String {
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw AMAFError("dataset.unreadable-file", "'\(path)' cannot be read", remedy: "Check the file's permissions.")
        }
        defer { try? handle.close() }
        var data: Data
        do {
            data = try handle.read(upToCount: headByteCount) ?? Data()
        } catch {
            throw AMAFError("dataset.unreadable-file", "'\(path)' cannot be read: \(error.localizedDescription)", remedy: "Check the file.")
        }
        if data.starts(with: [0x1F, 0x8B]) {
            throw AMAFError(
                "init.unknown-format", "'\(path)' is compressed", remedy: "Unpack it for 'amaf init'; runs read compressed files too.")
        }
        if data.count == headByteCount, let last = data.lastIndex(of: 0x0A) { data = data[..<last] }
        guard !data.isEmpty else {
            throw AMAFError("dataset.empty", "The file is empty", place: path, remedy: "Check that it was written.")
        }
        return String(decoding: data, as: UTF8.self)
    }

    static func csv(_ head: String, name: String) throws(AMAFError) -> (DatasetFormat, [String]) {
        let plain = head.unicodeScalars.first?.value == 0xFEFF ? String(head.unicodeScalars.dropFirst()) : head
        let header = String(plain.prefix { !$0.isNewline })
        let delimiters: [(String, Character)] = [(",", ","), (";", ";"), ("\\t", "\t"), ("|", "|")]
        let delimiter = delimiters.max { a, b in header.count { $0 == a.1 } < header.count { $0 == b.1 } } ?? delimiters[0]
        let columns = split(header, delimiter.1)
        let rows = plain.split(whereSeparator: \.isNewline).dropFirst().prefix(200).map { split(String($0), delimiter.1) }
        var lengths = [Int](repeating: 0, count: columns.count)
        for row in rows where row.count == columns.count { for (i, value) in row.enumerated() { lengths[i] += value.count } }
        let fields = try guess(columns, lengths, place: name)
        return (.csv(fields, delimiter: delimiter.0), columns)
    }

    /// One line at its delimiters outside of quotes. Good enough for guessing; the data are read by their own reader.
    private static func split(_ line: String, _ delimiter: Character) -> [String] {
        var fields = [""]
        var isQuoted = false
        for character in line {
            if character == "\"" {
                isQuoted.toggle()
            } else if character == delimiter, !isQuoted {
                fields.append("")
            } else {
                fields[fields.count - 1].append(character)
            }
        }
        return fields
    }

    static func jsonl(_ head: String, name: String) throws(AMAFError) -> (DatasetFormat, [String]) {
        var lengths: [String: Int] = [:]
        for line in head.split(whereSeparator: \.isNewline).prefix(200) {
            guard let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else { continue }
            for (key, value) in object { lengths[key, default: 0] += (value as? String)?.count ?? 0 }
        }
        let keys = lengths.keys.sorted()
        guard !keys.isEmpty else {
            throw AMAFError("init.unknown-format", "No line of the file is a JSON object", place: name, remedy: "Write one object a line.")
        }
        return (.jsonl(try guess(keys, keys.map { lengths[$0] ?? 0 }, place: name)), keys)
    }

    /// Known names first; the text is otherwise the column with the most letters.
    private static func guess(_ columns: [String], _ lengths: [Int], place: String) throws(AMAFError) -> DatasetFormat.Fields {
        func known(_ names: [String]) -> String? {
            for name in names {
                if let column = columns.first(where: { $0.lowercased() == name }) { return column }
            }
            return nil
        }
        let id = known(idNames)
        let label = known(labelNames)
        var text = known(textNames)
        if text == nil || lengths[columns.firstIndex(of: text ?? "") ?? 0] == 0 {
            text = zip(columns, lengths).filter { $0.0 != id && $0.0 != label && $0.1 > 0 }.max { $0.1 < $1.1 }?.0
        }
        guard let text else {
            throw AMAFError(
                "init.no-text", "No column of \(columns.joined(separator: ", ")) holds texts", place: place,
                remedy: "Name one in the pipeline: 'fields: {text: …}'.")
        }
        return DatasetFormat.Fields(id: id, text: text, label: label)
    }
}
