import Datasets
import Foundation
import Primitives
import Stages

/// The filled questions file of a run whose samples have several labels, checked as a whole: a column a label with 1, 0, or nothing.
enum LabelAnswerFile {
    struct Row {
        var id: String
        var values: [Bool?]
        var line: Int
    }

    static func read(_ path: String, labels: [String]) throws -> [Row] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("review.no-file", "The answers cannot be read", place: path, remedy: "Check the path.")
        }
        let table = try CSVTable.parse([UInt8](data), place: path)
        let header = table.first?.fields ?? []
        guard let id = header.firstIndex(of: "id") else {
            throw AMAFError(
                "review.no-column", "The first line names no column 'id'", place: "\(path):1",
                remedy: "Keep the header of the questions file.")
        }
        let columns = try labels.map { label in
            guard let column = header.lastIndex(of: label) else {
                throw AMAFError(
                    "review.no-column", "The first line names no column '\(label)'", place: "\(path):1",
                    remedy: "Keep the header of the questions file.")
            }
            return column
        }
        var seen: [String: Int] = [:]
        return try table.dropFirst().map { row in
            let place = "\(path):\(row.line)"
            guard row.fields.count == header.count else {
                throw AMAFError(
                    "review.bad-row", "The row has \(row.fields.count) fields where the header has \(header.count)", place: place,
                    remedy: "Quote texts that hold commas or line breaks.")
            }
            if let first = seen.updateValue(row.line, forKey: row.fields[id]) {
                throw AMAFError(
                    "review.duplicate", "Sample '\(row.fields[id])' is answered twice, first in line \(first)", place: place,
                    remedy: "Keep one line for each sample.")
            }
            let values = try zip(labels, columns).map { label, column -> Bool? in
                switch row.fields[column].trimmingCharacters(in: .whitespaces) {
                case "": return nil
                case "1": return true
                case "0": return false
                case let other:
                    throw AMAFError(
                        "review.bad-value", "'\(other)' of '\(label)' is neither 1 nor 0", place: place,
                        remedy: "Write 1 for present, 0 for absent, nothing where you cannot say.")
                }
            }
            return Row(id: row.fields[id], values: values, line: row.line)
        }
    }
}

extension AnswerImport {
    func hand(in rows: [LabelAnswerFile.Row]) throws {
        let open = try openQuestions()
        var answers: [LabelAnswerBlock.Answer] = []
        var left = Set(open.positions.values)
        for row in rows {
            let position = try open.position(of: row.id, place: "\(file):\(row.line)")
            guard row.values.contains(where: { $0 != nil }) else { continue }
            answers.append(LabelAnswerBlock.Answer(position: position, values: row.values, seconds: 0))
            left.remove(position)
        }
        guard !answers.isEmpty else {
            throw AMAFError("review.empty", "No row has a value", place: file, remedy: "Fill in a label's column in at least one row.")
        }
        let block = LabelAnswerBlock(labels: preparation.index.classNames.count, answers, skipped: Array(left))
        try store(block.encode(), of: open.stage, answers: answers.count, left: left.count)
    }
}
