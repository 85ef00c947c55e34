import ArgumentParser
import CoordinatorService
import Datasets
import Foundation
import Logging
import Manifests
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WireProtocol

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Annotate a data set on this box: embedded coordinator, worker processes, report.",
        discussion: """
            Everything goes into the --output folder: labels.jsonl, labels.csv, label-matrix.npz, report.html, report.md, run.json. Its folder \
            'state' holds finished work: the same command again goes on where a stopped one was, and redoes only what changed. With \
            'review: {mode: file}' the run stops with exit code 3 when people are asked; 'amaf review import FILE --output FOLDER' goes on.
            """)

    @Argument(help: "The pipeline file.")
    var pipeline: String
    @Option(help: "Worker processes to start.")
    var workers: Int = 2
    @Option(name: .shortAndLong, help: "Folder for results; by default amaf-output/NAME.")
    var output: String?
    @Option(help: "Tags of the workers.")
    var tags: String = "cpu"
    @Flag(help: "No progress display.")
    var quiet = false
    @OptionGroup var format: OutputOptions
    @Option(help: "Log level of the embedded coordinator.")
    var logLevel: String = "warning"

    func run() throws {
        try reporting(json: format.json) {
            guard workers >= 1 else {
                throw AMAFError("cli.workers", "\(workers) workers cannot do anything", remedy: "Give --workers 1 or more.")
            }
            LogBootstrap.start(level: try LogBootstrap.level(named: logLevel))
            let started = Date()
            let name = URL(fileURLWithPath: pipeline).deletingPathExtension().lastPathComponent
            let folder = output ?? "amaf-output/\(name)"
            let preparation = try Preparation(pipeline: pipeline, scratch: "\(folder)/state/data")
            if !quiet {
                let rows = "\(Text.count(preparation.index.samples)) samples, \(preparation.index.classNames.count) classes"
                Console.note(
                    "\(preparation.manifest.name): \(rows), \(Text.count(preparation.plan.stages.count)) stages, run \(preparation.plan.id)"
                )
                if preparation.index.quarantinedRows > 0 {
                    Console.note("\(preparation.index.quarantinedRows) rows are quarantined; the report lists them")
                }
            }
            let outcome = try LocalRun(folder: folder, workers: workers, tags: tags, quiet: quiet).carryOut(preparation, started: started)
            try outcome.announce(json: format.json)
        }
    }
}

/// One run on an embedded cluster, from submission to the files in its folder.
struct LocalRun {
    var folder: String
    var workers: Int
    var tags: String
    var quiet: Bool

    struct Outcome {
        var state: RunState
        var folder: String
        var run: RunID
        var questions: String?
        var summary: [String]

        func announce(json: Bool) throws {
            if json {
                struct Announcement: Encodable {
                    var run: String
                    var state: String
                    var output: String
                    var questions: String?
                }
                try Console.json(Announcement(run: run.rawValue, state: state.rawValue, output: folder, questions: questions))
            } else {
                for line in summary { Console.out(line) }
            }
            switch state {
            case .succeeded: return
            case .waitingForPeople: throw AMAFExit.waitingForPeople
            case .cancelled, .running, .paused: throw AMAFExit.interrupted
            case .failed: throw AMAFExit.failed
            }
        }
    }

    func carryOut(_ preparation: Preparation, started: Date, answer: ((CoordinatorConnection) throws -> Void)? = nil) throws -> Outcome {
        let cluster = try LocalCluster(
            store: "\(folder)/state/store", settings: try Preparation.defaults(besides: preparation.manifest.path).scheduler)
        var isStopped = false
        defer { if !isStopped { cluster.stop() } }
        let flag = InterruptFlag()
        let signals = SignalWatch([SIGINT, SIGTERM]) { _ in flag.raise() }
        defer { signals.stop() }

        let connection = cluster.connection
        for upload in preparation.uploads {
            if let path = upload.path {
                try connection.store(upload.digest, file: path)
            } else {
                try connection.store(upload.digest, bytes: upload.bytes)
            }
        }
        try Data(URL(fileURLWithPath: preparation.manifest.path).path.utf8).write(to: URL(fileURLWithPath: "\(folder)/state/pipeline.path"))
        let run = preparation.plan.id
        try Submission.submit(preparation.plan, artifacts: preparation.uploads.map(\.digest), over: connection)
        try answer?(connection)
        try cluster.startWorkers(workers, root: "\(folder)/state/workers", tags: tags)

        let display = ProgressDisplay(quiet: quiet)
        var status = try Submission.status(of: run, over: connection)
        let watch = ProcessWatch(cluster.processIDs)
        while true {
            status = try Submission.status(of: run, over: connection)
            watch.sample()
            guard let view = status.snapshot.runs.first else { throw AMAFError("cli.run-vanished", "Run \(run) is no longer known") }
            display.show(status.snapshot, run: view)
            if view.state.isTerminal || view.state == .waitingForPeople || flag.isRaised { break }
            if cluster.hasLostWorkers && status.snapshot.workers.allSatisfy({ $0.life == .lost }) {
                throw AMAFError(
                    "cli.workers-died", "All workers have ended", place: "\(folder)/state/workers", remedy: "See worker.log there.")
            }
            flag.wait(milliseconds: 400)
        }
        guard let view = status.snapshot.runs.first else { preconditionFailure("a run without a view") }
        let results = RunResults(connection: connection, plan: preparation.plan, annotation: preparation.annotation)
        var outcome = Outcome(state: view.state, folder: folder, run: run, summary: [])
        switch view.state {
        case .succeeded:
            let report = try results.report(
                status: status.snapshot, run: view, started: started, processes: watch.report(), functions: preparation.functions)
            try results.write(to: folder, report: report)
            outcome.summary = results.summary(report, folder: folder)
        case .waitingForPeople:
            let asked = try results.writeQuestions(view, to: folder)
            outcome.questions = asked.path
            outcome.summary = [
                "\(Text.count(asked.count)) questions for people: \(asked.path)",
                "Fill in the column 'label', then: amaf review import \(asked.path) --output \(folder)",
            ]
        case .failed:
            outcome.summary = ["run \(run) failed:"] + view.errors.map { "  \($0)" }
        default:
            outcome.summary = ["stopped; the same command again goes on from here"]
        }
        cluster.stop()
        isStopped = true
        return outcome
    }
}

/// Raised by signals, awaited by the progress loop.
final class InterruptFlag: @unchecked Sendable {
    private let condition = NSCondition()
    private var raised = false

    func raise() {
        condition.lock()
        raised = true
        condition.broadcast()
        condition.unlock()
    }
    var isRaised: Bool {
        condition.lock()
        defer { condition.unlock() }
        return raised
    }
    func wait(milliseconds: Int) {
        condition.lock()
        if !raised { _ = condition.wait(until: Date(timeIntervalSinceNow: Double(milliseconds) / 1000)) }
        condition.unlock()
    }
}
