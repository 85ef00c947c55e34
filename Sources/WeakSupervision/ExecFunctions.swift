internal import Datasets
internal import Foundation
internal import Primitives
internal import Synchronization

// Functions that start programs. Whatever such a program does is a fault of the samples it did not answer, and of nothing else.

/// One sample as a JSON line for a program.
struct SampleLine: Encodable {
    var sample: Sample

    private struct Key: CodingKey {
        var stringValue: String
        var intValue: Int? { nil }
        init(_ key: String) { stringValue = key }
        init?(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Key.self)
        // Fields first: the sample's own id and text win over fields of these names.
        for entry in sample.metadata where entry.key != "id" && entry.key != "text" {
            if entry.isJSON {
                try fields.encode(JSONText(entry.value), forKey: Key(entry.key))
            } else {
                try fields.encode(entry.value, forKey: Key(entry.key))
            }
        }
        try fields.encode(sample.id, forKey: Key("id"))
        try fields.encode(sample.text, forKey: Key("text"))
    }

    static func bytes(_ sample: Sample) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(SampleLine(sample: sample)) else { return Array("{}\n".utf8) }
        return [UInt8](data) + [0x0A]
    }
}

/// JSON that is text already, as a value of its own.
private enum JSONText: Codable {
    case null
    case bool(Bool)
    case number(Double)
    case text(String)
    case list([JSONText])
    case object([String: JSONText])

    init(_ text: String) { self = (try? JSONDecoder().decode(JSONText.self, from: Data(text.utf8))) ?? .text(text) }

    init(from decoder: any Decoder) throws {
        let value = try decoder.singleValueContainer()
        if value.decodeNil() {
            self = .null
        } else if let bool = try? value.decode(Bool.self) {
            self = .bool(bool)
        } else if let number = try? value.decode(Double.self) {
            self = .number(number)
        } else if let text = try? value.decode(String.self) {
            self = .text(text)
        } else if let list = try? value.decode([JSONText].self) {
            self = .list(list)
        } else {
            self = .object(try value.decode([String: JSONText].self))
        }
    }

    func encode(to encoder: any Encoder) throws {
        var value = encoder.singleValueContainer()
        switch self {
        case .null: try value.encodeNil()
        case .bool(let bool): try value.encode(bool)
        case .number(let number):
            if let whole = Int(exactly: number) { try value.encode(whole) } else { try value.encode(number) }
        case .text(let text): try value.encode(text)
        case .list(let list): try value.encode(list)
        case .object(let object): try value.encode(object)
        }
    }
}

/// How often a function's program had to be stopped; shared by the blocks that one process works on.
///
/// After `limit` times the function is quarantined here: its further samples are faults at once, so a function that always
/// hangs costs a bounded time.
final class ExecHealth: Sendable {
    static let limit = 3
    private let deaths = Mutex<(count: Int, first: AMAFError?)>((0, nil))

    func died(_ error: AMAFError) {
        deaths.withLock { state in
            state.count += 1
            if state.first == nil { state.first = error }
        }
    }

    /// Why the function is not run any more; nil while it is.
    var quarantine: AMAFError? {
        deaths.withLock { state in
            guard state.count >= Self.limit, let first = state.first else { return nil }
            return AMAFError(
                "labeling-function.quarantined",
                "The function is not run any more after \(state.count) failures, the first: \(first.message)",
                place: first.place, remedy: first.remedy)
        }
    }
}

/// What a program may say of a sample.
struct ExecAnswer: Decodable {
    enum Vote {
        case abstain
        case index(Int)
        case name(String)
    }
    var vote: Vote
    var score: Float?
    var error: String?

    private enum CodingKeys: String, CodingKey { case vote, score, error }

    init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        error = try fields.decodeIfPresent(String.self, forKey: .error)
        score = try fields.decodeIfPresent(Float.self, forKey: .score)
        if error != nil {
            vote = .abstain
        } else if try !fields.contains(.vote) || fields.decodeNil(forKey: .vote) {
            guard fields.contains(.vote) else {
                throw DecodingError.keyNotFound(CodingKeys.vote, .init(codingPath: [], debugDescription: "no vote"))
            }
            vote = .abstain
        } else if let index = try? fields.decode(Int.self, forKey: .vote) {
            vote = index == -1 ? .abstain : .index(index)
        } else {
            vote = .name(try fields.decode(String.self, forKey: .vote))
        }
    }
}

/// Runs samples past a program in batches, and puts blame where it belongs.
struct ExecFunction: LabelingFunction {
    enum Program: Sendable {
        case command(CommandRule)
        case snorkel(SnorkelRule, SnorkelModule)
    }
    let id: FunctionID
    let program: Program
    let limits: ExecLimits
    /// The class of each number or name that the program may answer with.
    let classOfIndex: [Int]
    let classOfName: [String: Int]
    let classCount: Int
    let health = ExecHealth()

    private static let batch = 1024

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var out = LabelingAnswers(rowCount: samples.count, classCount: classCount)
        let rows = samples.indices.filter { samples[$0] != nil }
        var next = 0
        while next < rows.count {
            if let quarantine = health.quarantine {
                for row in rows[next...] { out.fault(row, quarantine) }
                break
            }
            let batch = rows[next..<min(rows.count, next + Self.batch)]
            let lines = batch.map { SampleLine.bytes(samples[$0] ?? Sample(id: "", text: "")) }
            var answered = 0
            let failure = run(lines) { line in
                take(line, row: rows[next + answered], into: &out)
                answered += 1
            }
            next += answered
            if answered < batch.count {
                // Who has not been answered when the program went is to blame; the others get another chance.
                let error = failure ?? Self.error("ended without answering", code: "bad-answer")
                health.died(error)
                out.fault(rows[next], error)
                next += 1
            } else if let failure {
                // All were answered, but it did not end well: the next batch shows whether it can go on.
                health.died(failure)
            }
        }
        return out
    }

    private func run(_ lines: [[UInt8]], answer: ([UInt8]) -> Void) -> AMAFError? {
        switch program {
        case .command(let rule):
            do throws(AMAFError) {
                let child = try ChildProcess(rule.command, memoryMiB: limits.memoryMiB, folder: rule.folder)
                let failure = child.exchange(
                    lines.flatMap { $0 }, lineCount: lines.count, closesInput: true, silentSeconds: limits.silentSeconds,
                    outputLimit: limits.outputBytes * lines.count + 65_536, line: answer)
                return failure.map { Self.error(of: $0, limits) }
            } catch { return error }
        case .snorkel(let rule, let module): return module.run(rule.function, lines, limits, answer: answer)
        }
    }

    private func take(_ line: [UInt8], row: Int, into out: inout LabelingAnswers) {
        guard let answer = try? JSONDecoder().decode(ExecAnswer.self, from: Data(line)) else {
            let text = String(decoding: line.prefix(80), as: UTF8.self)
            return out.fault(row, Self.error("answered '\(text)', which is no JSON object with a 'vote'", code: "bad-answer"))
        }
        if let error = answer.error { return out.fault(row, Self.error("failed: \(error.prefix(300))", code: "failed")) }
        switch answer.vote {
        case .abstain: break
        case .index(let index):
            guard classOfIndex.indices.contains(index) else {
                return out.fault(row, Self.error("voted for class \(index) of \(classOfIndex.count)", code: "unknown-class"))
            }
            out.vote(row, classOfIndex[index], score: answer.score)
        case .name(let name):
            guard let index = classOfName[name] else {
                return out.fault(row, Self.error("voted for '\(name.prefix(80))', which is no class", code: "unknown-class"))
            }
            out.vote(row, index, score: answer.score)
        }
    }

    static func error(_ what: String, code: String, remedy: String = "Run the function alone: amaf lf test FILE NAME --data DATA.")
        -> AMAFError
    {
        AMAFError("labeling-function.\(code)", "The function \(what)", remedy: remedy)
    }

    static func error(of failure: ChildProcess.Failure, _ limits: ExecLimits) -> AMAFError {
        switch failure {
        case .silent(let seconds):
            return error(
                "said nothing for \(seconds) s and was stopped", code: "time-out", remedy: "Make it faster, or raise 'silent-seconds'.")
        case .flooded(let bytes):
            return error(
                "wrote \(bytes) bytes and was stopped", code: "flooded", remedy: "Write one short line a sample, or raise 'output-bytes'.")
        case .ended(let status, let signal, let complaint):
            let how = signal > 0 ? "was killed by signal \(signal)" : "ended with status \(status)"
            return error(complaint.isEmpty ? how : "\(how): \(complaint)", code: "crashed", remedy: "Run it alone, or raise 'memory'.")
        }
    }
}

/// A Python process that holds one module of Snorkel functions; restarted whenever it had to be stopped.
///
/// Owner: whoever holds the lock; functions of one module take turns.
final class SnorkelModule: Sendable {
    private struct Slot: ~Copyable { var child: ChildProcess? }
    private let module: FileReference
    private let python: String
    private let slot = Mutex(Slot())

    init(_ module: FileReference, python: String) {
        self.module = module
        self.python = python
    }

    func run(_ function: String, _ lines: [[UInt8]], _ limits: ExecLimits, answer: ([UInt8]) -> Void) -> AMAFError? {
        slot.withLock { slot in
            do throws(AMAFError) {
                if slot.child == nil { slot.child = try start(limits) }
            } catch { return error }
            guard let child = slot.child else { return nil }
            let head = "{\"function\": \(Self.quoted(function)), \"count\": \(lines.count), \"seconds\": \(limits.silentSeconds * 0.8)}\n"
            let failure = child.exchange(
                Array(head.utf8) + lines.flatMap { $0 }, lineCount: lines.count, closesInput: false, silentSeconds: limits.silentSeconds,
                outputLimit: limits.outputBytes * lines.count + 65_536, line: answer)
            if failure != nil {
                child.stop()
                slot.child = nil
            }
            return failure.map { ExecFunction.error(of: $0, limits) }
        }
    }

    private func start(_ limits: ExecLimits) throws(AMAFError) -> ChildProcess {
        // The module must be the one that the function was defined with.
        _ = try module.load()
        let folder = URL(fileURLWithPath: module.path).deletingLastPathComponent().path
        let child = try ChildProcess([python, "-u", "-c", SnorkelRunner.source, module.path], memoryMiB: limits.memoryMiB, folder: folder)
        var greeting: [UInt8] = []
        // Importing snorkel, pandas or torch takes seconds on a cold disk.
        let failure = child.exchange(
            [], lineCount: 1, closesInput: false, silentSeconds: max(120, limits.silentSeconds), outputLimit: 1 << 20
        ) { greeting = $0 }
        struct Greeting: Decodable { var error: String? }
        if let failure { throw ExecFunction.error(of: failure, limits) }
        guard let hello = try? JSONDecoder().decode(Greeting.self, from: Data(greeting)) else {
            throw ExecFunction.error("module did not start: \(String(decoding: greeting.prefix(200), as: UTF8.self))", code: "crashed")
        }
        if let error = hello.error {
            throw AMAFError(
                "labeling-function.bad-module", "The Python module cannot be imported: \(error.prefix(400))", place: module.path,
                remedy: "Try 'python3 \(module.path)'; set AMAF_PYTHON to the interpreter that has its packages.")
        }
        return child
    }

    private static func quoted(_ text: String) -> String {
        (try? JSONEncoder().encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
    }
}
