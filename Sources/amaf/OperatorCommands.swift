import ArgumentParser
import CoordinatorService
import Foundation
import Messaging
import Primitives
import Scheduling
import WireProtocol

extension AMAFError {
    /// - Parameter what: what the coordinator did, as in "sent no results".
    static func unexpectedReply(_ what: String) -> AMAFError {
        AMAFError("cli.unexpected-reply", "The coordinator \(what)", remedy: "Use 'amaf' and 'amaf-coordinator' of one release.")
    }
}

extension CoordinatorConnection {
    func document<T: Decodable>(_ type: T.Type, _ request: Request) throws -> T {
        guard case .json(let bytes) = try ask(request) else { throw AMAFError.unexpectedReply("sent no document") }
        return try JSONText.decode(type, from: bytes, what: "coordinator's answer")
    }
}

/// A command that asks one thing and prints the answer; JSON passes through as the coordinator sent it.
protocol ClusterQuestion: ParsableCommand {
    var cluster: ClusterOptions { get }
    var output: OutputOptions { get }
    func request() throws -> Request
    func show(_ document: [UInt8]) throws
}

extension ClusterQuestion {
    func ask() throws {
        try reporting(json: output.json) {
            let connection = try cluster.connect()
            switch try connection.ask(try request()) {
            case .json(let document):
                if output.json { Console.out(String(decoding: document, as: UTF8.self)) } else { try show(document) }
            case .done:
                if output.json { Console.out("{\"done\":true}") } else { Console.out("done") }
            default: throw AMAFError.unexpectedReply("sent an answer of another kind")
            }
        }
    }
    func show(_ document: [UInt8]) throws { Console.out(String(decoding: document, as: UTF8.self)) }
}

struct Status: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Show the runs, their stages and the workers of a cluster.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument(help: "Only this run.")
    var runID: String?
    @Flag(help: "Repeat every second until stopped.")
    var watch = false

    func request() -> Request { .status(runID.map { RunID($0) }) }

    func show(_ document: [UInt8]) throws {
        Console.out(StatusText.render(try JSONText.decode(StatusDocument.self, from: document, what: "status")))
    }

    func run() throws {
        guard watch else { return try ask() }
        try reporting(json: output.json) {
            let connection = try cluster.connect()
            while true {
                guard case .json(let document) = try connection.ask(request()) else { return }
                if Console.isTerminal && !output.json { Console.out("\u{1B}[H\u{1B}[2J") }
                if output.json { Console.out(String(decoding: document, as: UTF8.self)) } else { try show(document) }
                sleep(1)
            }
        }
    }
}

struct Workers: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "List the workers: tags, slots, state, leases, numerics class.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions

    func request() -> Request { .workers }
    func run() throws { try ask() }
    func show(_ document: [UInt8]) throws {
        let list = try JSONText.decode(WorkersDocument.self, from: document, what: "list of workers")
        Console.out(list.workers.isEmpty ? "no workers" : StatusText.workers(list.workers, list.vitals))
    }
}

struct Tasks: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "List the block tasks of a run.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    @Option(help: "Only this stage.")
    var stage: String?
    @Option(help: "At most so many.")
    var limit: Int = 100
    @Option(help: "Leave out so many first.")
    var offset: Int = 0

    func request() -> Request { .tasks(TaskQuery(run: RunID(runID), stage: stage.map { StageID($0) }, offset: offset, limit: limit)) }
    func run() throws { try ask() }
    func show(_ document: [UInt8]) throws {
        let rows = try JSONText.decode([TaskLine].self, from: document, what: "list of tasks").map { task in
            [
                task.stage, "\(task.block)", task.state, "\(task.attempts)", task.worker ?? "", task.fence == "0.0" ? "" : task.fence,
                task.error ?? "",
            ]
        }
        // Tasks that nothing happened to yet have no row.
        guard !rows.isEmpty else { return Console.out("no task was leased yet; `amaf explain-task \(runID) STAGE BLOCK` says why") }
        Console.out(Text.table(["stage", "block", "state", "failures", "worker", "fence", "error"], rows, rightAligned: [1, 3]))
        if rows.count == limit { Console.note("the first \(limit); more with --offset \(offset + limit)") }
    }
}

struct Story: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Tell what happened to a task: every event that touched it, with its cause.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    @Argument var stage: String
    @Argument(help: "Block number; all blocks without it.")
    var block: Int?

    func request() -> Request { .story(TaskName(run: RunID(runID), stage: StageID(stage), block: block)) }
    func run() throws { try ask() }
    func show(_ document: [UInt8]) throws {
        let rows = try JSONText.decode([StoryLine].self, from: document, what: "story").map { line in
            let blocks = line.firstBlock.map { first in
                line.endBlock == first + 1 ? "\(first)" : "\(first)..<\(line.endBlock ?? first)"
            }
            return [Logs.time(line.at), "\(line.cause)", line.what, blocks ?? "", line.worker ?? "", line.fence ?? "", line.detail]
        }
        guard !rows.isEmpty else {
            return Console.out("nothing happened to it yet; `amaf explain-task \(runID) \(stage) \(block ?? 0)` says why")
        }
        Console.out(Text.table(["time", "cause", "what", "blocks", "worker", "fence", "detail"], rows, rightAligned: [1]))
    }
}

struct ExplainTask: ClusterQuestion {
    static let configuration = CommandConfiguration(commandName: "explain-task", abstract: "Say why a task is not running.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    @Argument var stage: String
    @Argument(help: "Block number.")
    var block: Int = 0

    func request() -> Request { .explain(TaskName(run: RunID(runID), stage: StageID(stage), block: block)) }
    func run() throws { try ask() }
    func show(_ document: [UInt8]) throws {
        for line in try JSONText.decode(ExplanationDocument.self, from: document, what: "explanation").lines { Console.out(line) }
    }
}

struct Drain: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Let a worker finish what it has and give it nothing new.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var worker: String
    func request() -> Request { .drain(WorkerID(worker)) }
    func run() throws { try ask() }
}

struct Undrain: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Give a drained worker work again.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var worker: String
    func request() -> Request { .undrain(WorkerID(worker)) }
    func run() throws { try ask() }
}

struct Pause: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Start no new tasks of a run.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    func request() -> Request { .pause(RunID(runID)) }
    func run() throws { try ask() }
}

struct Resume: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Go on with a paused run.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    func request() -> Request { .resume(RunID(runID)) }
    func run() throws { try ask() }
}

struct Cancel: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "End a run; what it committed stays cached.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    func request() -> Request { .cancel(RunID(runID)) }
    func run() throws { try ask() }
}

struct Retry: ClusterQuestion {
    static let configuration = CommandConfiguration(abstract: "Try the failed tasks of a run again.")
    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Argument var runID: String
    func request() -> Request { .retry(RunID(runID)) }
    func run() throws { try ask() }
}
