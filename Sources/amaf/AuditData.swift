import Datasets
import Foundation
import Primitives
import Stages

/// Labels to audit, with what is known of their samples: from a run's folder or from CSV files.
struct AuditData {
    /// One label of all samples.
    struct Label {
        var name: String
        var classes: [String]
        /// Of two classes the one that parity and opportunity are about.
        var positive: Int?
        /// By sample; nil where the truth is not known, or nobody gave a label.
        var gold: [Int?]
        var predicted: [Int?]
        /// Whether a person answered.
        var isSeen: [Bool]
    }
    var ids: [String]
    var metadata: [[String: String]]
    var labels: [Label]

    static let absent = "absent"
    static let present = "present"

    // MARK: A run

    /// - Parameter wanted: labels to audit where samples have several; empty for all.
    init(run folder: String, wanted: [String]) throws {
        guard let pipeline = try? String(contentsOfFile: "\(folder)/state/pipeline.path", encoding: .utf8) else {
            throw AMAFError(
                "audit.no-run", "There is no run in this folder", place: folder,
                remedy: "Give the folder that `amaf run --output` wrote, or a CSV file of labels.")
        }
        let lines = "\(folder)/labels.jsonl"
        guard let data = FileManager.default.contents(atPath: lines) else {
            throw AMAFError(
                "audit.no-labels", "The run has written no labels.jsonl", place: folder,
                remedy: "Let it finish, with jsonl among its 'export' formats.")
        }
        let preparation = try Preparation(pipeline: pipeline, scratch: "\(folder)/state/data")
        let index = preparation.index
        let names = index.classNames
        let chosen = index.labelSet == nil ? [] : try Self.chosen(wanted, of: names)
        ids = []
        metadata = []
        labels =
            index.labelSet == nil
            ? [Label(name: "label", classes: names, positive: nil, gold: [], predicted: [], isSeen: [])]
            : chosen.map { Label(name: names[$0], classes: [Self.absent, Self.present], positive: 1, gold: [], predicted: [], isSeen: []) }
        let source = try MappedFile(preparation.source.path)
        for block in 0..<index.plan.blockCount {
            let contents = try index.readBlock(block, from: source)
            for (row, sample) in contents.samples.samples.enumerated() {
                ids.append(sample.id)
                metadata.append(Dictionary(sample.metadata.map { ($0.key, $0.value) }, uniquingKeysWith: { first, _ in first }))
                if let sets = contents.labelSets {
                    let cells = Array(sets[row: row])
                    for (place, label) in chosen.enumerated() { labels[place].gold.append(cells[label].truth.map { $0 ? 1 : 0 }) }
                } else {
                    let gold = Int(contents.gold.labels[row])
                    labels[0].gold.append(gold < 0 ? nil : gold)
                }
            }
        }
        try readLines(data, place: lines, names: names, isSet: index.labelSet != nil)
    }

    private static func chosen(_ wanted: [String], of names: [String]) throws -> [Int] {
        guard !wanted.isEmpty else { return Array(names.indices) }
        return try wanted.map { name in
            guard let index = names.firstIndex(of: name) else {
                throw AMAFError(
                    "audit.unknown-label", "The run has no label '\(name)'", remedy: "Choose among \(names.joined(separator: ", ")).")
            }
            return index
        }
    }

    /// labels.jsonl has a line for each sample, in their order.
    private mutating func readLines(_ data: Data, place: String, names: [String], isSet: Bool) throws {
        struct Cell: Decodable {
            var value: Bool?
            var sources: [String]
        }
        struct Line: Decodable {
            var id: String
            var label: String?
            var sources: [String]?
            var labels: [String: Cell]?
        }
        let classes = Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        let decoder = JSONDecoder()
        var number = 0
        for text in data.split(separator: 10) {
            number += 1
            guard let line = try? decoder.decode(Line.self, from: Data(text)), number <= ids.count, line.id == ids[number - 1] else {
                throw AMAFError(
                    "audit.other-data", "Line \(number) is not about the sample that the data set has there", place: "\(place):\(number)",
                    remedy: "The data set changed since the run; run it again.")
            }
            for place in labels.indices {
                let cell = line.labels?[labels[place].name]
                let human = isSet ? cell?.sources : line.sources
                labels[place].isSeen.append(human?.contains("human") ?? false)
                labels[place].predicted.append(isSet ? cell?.value.map { $0 ? 1 : 0 } : line.label.flatMap { classes[$0] })
            }
        }
        guard number == ids.count else {
            throw AMAFError(
                "audit.other-data", "labels.jsonl has \(number) lines for \(ids.count) samples", place: place,
                remedy: "The data set changed since the run; run it again.")
        }
    }

    // MARK: CSV files

    struct Files {
        var labels: String
        var gold: String?
        var metadata: String?
        /// Column of ids; a file without it must have `id`.
        var id: String
        /// Columns to audit, in the file of labels and in that of gold.
        var columns: [String]
        /// Column of the truth where it has another name; only with one column to audit.
        var goldColumn: String?
        var positive: String?
    }

    init(_ files: Files) throws {
        let predicted = try KeyedTable(files.labels, id: files.id)
        let gold = try files.gold.map { try KeyedTable($0, id: files.id) } ?? predicted
        let extra = try files.metadata.map { try KeyedTable($0, id: files.id) }
        if files.goldColumn == nil, files.gold == nil {
            throw AMAFError(
                "audit.no-gold", "No file and no column of true labels is given", remedy: "Give --gold FILE, --gold-column NAME, or both.")
        }
        let ids = predicted.ids
        self.ids = ids
        metadata = ids.map { id in
            var entries = predicted.row(id)
            for table in [files.gold == nil ? nil : gold, extra].compactMap({ $0 }) { entries.merge(table.row(id)) { _, new in new } }
            return entries
        }
        labels = try files.columns.map { column in
            let said = try predicted.values(column, of: predicted.ids).map(Self.value)
            let truth = try gold.values(files.goldColumn ?? column, of: predicted.ids).map(Self.value)
            let classes = DatasetIndex.sortedClassNames(Array(Set((said + truth).compactMap { $0 })))
            // Columns of zeros and ones are about the ones.
            let positive = files.positive ?? (classes == ["0", "1"] ? "1" : nil)
            guard positive == nil || classes.contains(positive ?? "") else {
                throw AMAFError(
                    "audit.unknown-label", "No label is '\(positive ?? "")' in column '\(column)'",
                    remedy: "Choose among \(classes.prefix(20).joined(separator: ", ")).")
            }
            let numbers = Dictionary(classes.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
            return Label(
                name: column, classes: classes, positive: positive.flatMap { numbers[$0] }, gold: truth.map { $0.flatMap { numbers[$0] } },
                predicted: said.map { $0.flatMap { numbers[$0] } }, isSeen: ids.map { _ in false })
        }
    }

    /// Blank and −1 (uncertain) are no label; yes and no have one spelling.
    private static func value(_ text: String?) -> String? {
        switch text?.trimmingCharacters(in: .whitespaces) {
        case nil, "", "-1", "-1.0": nil
        case "1.0", "true": "1"
        case "0.0", "false": "0"
        case let other: other
        }
    }
}

/// A CSV file whose rows are found by id.
private struct KeyedTable {
    let ids: [String]
    private let path: String
    private let columns: [String: Int]
    private let rows: [String: [String]]

    init(_ path: String, id wanted: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("audit.no-file", "The file cannot be read", place: path, remedy: "Check the path.")
        }
        let table = try CSVTable.parse([UInt8](data), place: path)
        let header = table.first?.fields ?? []
        guard let key = header.firstIndex(of: wanted) ?? header.firstIndex(of: "id") else {
            throw AMAFError(
                "audit.no-column", "The first line names no column '\(wanted)'", place: "\(path):1",
                remedy: "Name the column of ids with --id.")
        }
        var rows: [String: [String]] = [:]
        var ids: [String] = []
        for row in table.dropFirst() {
            guard row.fields.count == header.count else {
                throw AMAFError(
                    "audit.bad-row", "The row has \(row.fields.count) fields where the header has \(header.count)",
                    place: "\(path):\(row.line)", remedy: "Quote texts that hold commas or line breaks.")
            }
            ids.append(row.fields[key])
            if rows.updateValue(row.fields, forKey: row.fields[key]) != nil {
                throw AMAFError(
                    "audit.duplicate", "The id '\(row.fields[key])' is there twice", place: "\(path):\(row.line)",
                    remedy: "Keep one line for each sample.")
            }
        }
        self.path = path
        self.ids = ids
        self.rows = rows
        columns = Dictionary(header.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    }

    func row(_ id: String) -> [String: String] {
        guard let fields = rows[id] else { return [:] }
        return columns.mapValues { fields[$0] }
    }

    /// Nil where the file has no row of this id.
    func values(_ column: String, of ids: [String]) throws -> [String?] {
        guard let place = columns[column] else {
            throw AMAFError(
                "audit.no-column", "There is no column '\(column)'", place: "\(path):1",
                remedy: "There are \(columns.keys.sorted().joined(separator: ", ")).")
        }
        return ids.map { rows[$0]?[place] }
    }
}
