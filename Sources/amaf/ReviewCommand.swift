import ArgumentParser
import CoordinatorService
import Datasets
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WireProtocol

struct Review: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "review", abstract: "Answers of people.", subcommands: [Import.self])

    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "import", abstract: "Hand in a filled questions file and go on with the run.",
            discussion: """
                Rows with an empty label are skipped and not asked again. Where samples have several labels, each has a column: 1, 0, or empty \
                where the reader cannot say. A row that names an unknown id or class refuses the whole file, so nothing \
                is half imported. Afterwards the run goes on until it is done or asks again (exit code 3).
                """)
        @Argument(help: "The questions file with its column 'label' filled in.")
        var file: String
        @Option(name: .shortAndLong, help: "The run's folder.")
        var output: String
        @Option(help: "The pipeline file; by default the one that the run was started with.")
        var pipeline: String?
        @Option(help: "Worker processes to start.")
        var workers: Int = 2
        @Flag(help: "No progress display.")
        var quiet = false
        @OptionGroup var format: OutputOptions

        func run() throws {
            try reporting(json: format.json) {
                LogBootstrap.start(level: .warning)
                let started = Date()
                let remembered = "\(output)/state/pipeline.path"
                guard let path = pipeline ?? (try? String(contentsOfFile: remembered, encoding: .utf8)) else {
                    throw AMAFError(
                        "review.no-run", "There is no run in this folder", place: output, remedy: "Give --output as at `amaf run`.")
                }
                let preparation = try Preparation(pipeline: path, scratch: "\(output)/state/data")
                let names = preparation.index.classNames
                // Checked before anything is started.
                let labelRows = preparation.index.labelSet == nil ? nil : try LabelAnswerFile.read(file, labels: names)
                let rows = labelRows == nil ? try AnswerFile.read(file, classNames: names) : []
                let local = LocalRun(folder: output, workers: workers, tags: "cpu", quiet: quiet)
                let outcome = try local.carryOut(preparation, started: started) { connection in
                    let answers = AnswerImport(connection: connection, preparation: preparation, file: file)
                    if let labelRows { try answers.hand(in: labelRows) } else { try answers.hand(in: rows) }
                }
                try outcome.announce(json: format.json)
            }
        }
    }
}

/// The filled questions file, checked as a whole.
enum AnswerFile {
    struct Row {
        var id: String
        var label: Int?
        var line: Int
    }

    static func read(_ path: String, classNames: [String]) throws -> [Row] {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("review.no-file", "The answers cannot be read", place: path, remedy: "Check the path.")
        }
        let table = try CSVTable.parse([UInt8](data), place: path)
        guard let header = table.first, let id = header.fields.firstIndex(of: "id"), let label = header.fields.firstIndex(of: "label")
        else {
            throw AMAFError(
                "review.no-column", "The first line names no columns 'id' and 'label'", place: "\(path):1",
                remedy: "Keep the header of the questions file.")
        }
        let classes = Dictionary(uniqueKeysWithValues: classNames.enumerated().map { ($0.element, $0.offset) })
        var seen: [String: Int] = [:]
        return try table.dropFirst().map { row in
            guard row.fields.count == header.fields.count else {
                throw AMAFError(
                    "review.bad-row", "The row has \(row.fields.count) fields where the header has \(header.fields.count)",
                    place: "\(path):\(row.line)",
                    remedy: "Quote texts that hold commas or line breaks.")
            }
            let name = row.fields[id]
            if let first = seen.updateValue(row.line, forKey: name) {
                throw AMAFError(
                    "review.duplicate", "Sample '\(name)' is answered twice, first in line \(first)", place: "\(path):\(row.line)",
                    remedy: "Keep one line for each sample.")
            }
            let answer = row.fields[label].trimmingCharacters(in: .whitespaces)
            if answer.isEmpty { return Row(id: name, label: nil, line: row.line) }
            guard let index = classes[answer] else {
                let near = classNames.min { Nearness.distance($0, answer) < Nearness.distance($1, answer) } ?? ""
                throw AMAFError(
                    "review.unknown-class", "'\(answer)' is no class of this run", place: "\(path):\(row.line)",
                    remedy: "Did you mean '\(near)'?")
            }
            return Row(id: name, label: index, line: row.line)
        }
    }
}

/// Turns rows into the answers of the stage that waits.
struct AnswerImport {
    let connection: CoordinatorConnection
    let preparation: Preparation
    let file: String

    func hand(in rows: [AnswerFile.Row]) throws {
        let open = try openQuestions()
        var answers: [AnswerBlock.Answer] = []
        var left = Set(open.positions.values)
        for row in rows {
            let position = try open.position(of: row.id, place: "\(file):\(row.line)")
            guard let label = row.label else { continue }
            answers.append(AnswerBlock.Answer(position: position, label: label, seconds: 0))
            left.remove(position)
        }
        guard !answers.isEmpty else {
            throw AMAFError("review.empty", "No row has a label", place: file, remedy: "Fill in the column 'label' of at least one row.")
        }
        try store(AnswerBlock(answers, skipped: Array(left)).encode(), of: open.stage, answers: answers.count, left: left.count)
    }

    func store(_ bytes: [UInt8], of stage: StageID, answers: Int, left: Int) throws {
        let digest = Digest.of(bytes)
        try connection.store(digest, bytes: bytes)
        let result = BlockResult(
            block: 0, outputs: [TaskOutput(name: "answers", digest: digest, byteCount: bytes.count)], metrics: ["rows": Double(answers)])
        _ = try connection.ask(.answer(preparation.plan.id, stage, [result]))
        Console.note("imported \(answers) answers, \(left) left empty")
    }

    /// The samples that the waiting stage asks about, by id.
    struct OpenQuestions {
        var stage: StageID
        var positions: [String: Int]

        func position(of id: String, place: String) throws -> Int {
            guard let position = positions[id] else {
                throw AMAFError(
                    "review.unknown-sample", "Sample '\(id)' was not asked in this round (\(stage))", place: place,
                    remedy: "Import the file that the run wrote last.")
            }
            return position
        }
    }

    func openQuestions() throws -> OpenQuestions {
        let waiting = try waitingStage()
        guard let spec = preparation.plan.stages.first(where: { $0.id == waiting }), case .stage(let select, _)? = spec.inputs.first?.source
        else {
            throw AMAFError(
                "review.not-waiting", "The run asks nobody at present", remedy: "See 'amaf status': it is still computing, or has ended.")
        }
        guard case .results(let results) = try connection.ask(.result(preparation.plan.id, [select])),
            let output = results.first?.results.first?.outputs.first(where: { $0.name == "questions" }),
            let selection = results.first?.results.first?.outputs.first(where: { $0.name == "selection" })
        else { throw AMAFError("review.not-waiting", "The questions of stage \(select) are gone", remedy: "Run the pipeline again.") }
        let questions = try CSVTable.parse(try connection.fetch(output.digest), place: "questions of \(select)")
        struct Asked: Decodable { var position: Int }
        let positions = try CanonicalJSON.decode([Asked].self, from: try connection.fetch(selection.digest), what: "selection").map(
            \.position)
        let ids = questions.dropFirst().map { $0.fields[0] }
        guard ids.count == positions.count else {
            throw AMAFError(
                "review.damaged", "Questions and selection of \(select) do not fit together",
                remedy: "Export the questions again with 'amaf run' or 'amaf export'.")
        }
        return OpenQuestions(stage: waiting, positions: Dictionary(zip(ids, positions), uniquingKeysWith: { first, _ in first }))
    }

    private func waitingStage() throws -> StageID {
        let status = try Submission.status(of: preparation.plan.id, over: connection)
        guard let stage = status.snapshot.runs.first?.stages.first(where: { $0.byPeople && $0.ready > 0 }) else {
            throw AMAFError(
                "review.not-waiting", "Run \(preparation.plan.id) asks nobody at present", remedy: "See where it stands with `amaf run`.")
        }
        return stage.id
    }
}

/// RFC 4180, for files that people edited: quoted fields, both line ends, a byte order mark.
enum CSVTable {
    struct Row {
        var fields: [String]
        var line: Int
    }

    static func parse(_ bytes: [UInt8], place: String) throws -> [Row] {
        var rows: [Row] = []
        var fields: [String] = []
        var field: [UInt8] = []
        var (line, rowLine) = (1, 1)
        var (quoted, wasQuoted) = (false, false)
        var i = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
        func text(_ bytes: [UInt8]) throws -> String {
            guard let text = String(validating: bytes, as: UTF8.self) else {
                throw AMAFError("csv.not-utf8", "The field is not UTF-8", place: "\(place):\(line)", remedy: "Save the file as UTF-8.")
            }
            return text
        }
        func endField() throws {
            fields.append(try text(field))
            field = []
            wasQuoted = false
        }
        func endRow() throws {
            try endField()
            if fields != [""] { rows.append(Row(fields: fields, line: rowLine)) }
            fields = []
        }
        while i < bytes.count {
            let byte = bytes[i]
            if quoted {
                if byte == 34, i + 1 < bytes.count, bytes[i + 1] == 34 {
                    field.append(34)
                    i += 1
                } else if byte == 34 {
                    quoted = false
                } else {
                    if byte == 10 { line += 1 }
                    field.append(byte)
                }
            } else if byte == 34, field.isEmpty, !wasQuoted {
                quoted = true
                wasQuoted = true
            } else if byte == 44 {
                try endField()
            } else if byte == 10 {
                try endRow()
                line += 1
                rowLine = line
            } else if byte != 13 || (i + 1 < bytes.count && bytes[i + 1] != 10) {
                field.append(byte)
            }
            i += 1
        }
        guard !quoted else {
            throw AMAFError(
                "csv.open-quote", "A quoted field does not end", place: "\(place):\(rowLine)", remedy: "Close the quotation mark.")
        }
        if !field.isEmpty || !fields.isEmpty || wasQuoted { try endRow() }
        return rows
    }
}

/// Edits between two words (Levenshtein), for suggestions.
enum Nearness {
    static func distance(_ a: String, _ b: String) -> Int {
        let (x, y) = (Array(a.utf8), Array(b.utf8))
        var row = Array(0...y.count)
        for i in 1...max(1, x.count) where !x.isEmpty {
            var diagonal = row[0]
            row[0] = i
            for j in 1...max(1, y.count) where !y.isEmpty {
                let cost = x[i - 1] == y[j - 1] ? diagonal : min(diagonal, row[j], row[j - 1]) + 1
                diagonal = row[j]
                row[j] = cost
            }
        }
        return row[y.count]
    }
}
