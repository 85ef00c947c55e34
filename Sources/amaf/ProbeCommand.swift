import ArgumentParser
import CoordinatorService
import Foundation
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WireProtocol

/// Tries a cluster with tasks that only sleep, compute or break: how it places them, how fast it is, what it does when they die.
struct Probe: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run diagnostic tasks on a cluster, to see its placement, speed and recovery.",
        discussion: "For example: amaf probe --tasks 1000 --sleep 0.1; amaf probe --tasks 8 --requires gpu --no-wait.")

    @OptionGroup var cluster: ClusterOptions
    @OptionGroup var output: OutputOptions
    @Option(help: "Tasks, each one block.")
    var tasks: Int = 100
    @Option(help: "Seconds that each task sleeps.")
    var sleep: Double = 0
    @Option(help: "Millions of steps that each task computes on one core.")
    var spin: Int = 0
    @Option(help: "Bytes of each task's output.")
    var outputBytes: Int = 8
    @Option(help: "Memory that each task touches, for example 1GiB.")
    var touch: String?
    @Option(help: "A tag that a worker must carry; may be given several times.")
    var requires: [String] = []
    @Option(help: "A tag that is preferred.")
    var prefers: String?
    @Option(help: "Seconds without a worker of the preferred tag after which any other takes the tasks.")
    var preferenceDelay: Double = 30
    @Option(help: "Tasks in one lease at most.")
    var leaseLimit: Int?
    @Option(help: "The process dies in this task.")
    var crashTask: Int?
    @Option(help: "The sample (0 to 15 in each task) that makes --crash-task die; without it the task always dies.")
    var crashSample: Int?
    @Option(help: "This task fails with an error.")
    var failTask: Int?
    @Option(help: "This task never ends.")
    var hangTask: Int?
    @Option(help: "Higher goes first.")
    var priority: Int = 0
    @Option(help: "Share beside other runs of the same priority.")
    var weight: Double = 1
    @Flag(help: "Workers of different numerics classes may share the stage.")
    var anyNumerics = false
    @Flag(help: "Print the run and return at once.")
    var noWait = false

    func validate() throws {
        guard tasks >= 1 else { throw ValidationError("--tasks must be at least 1") }
        guard sleep >= 0, spin >= 0, outputBytes >= 0 else { throw ValidationError("sizes and times cannot be negative") }
    }

    private func plan() throws -> RunPlan {
        var parameters = DiagnosticParameters()
        var random = SystemRandomNumberGenerator()
        parameters.sleepSeconds = sleep
        parameters.spinMillions = spin
        parameters.outputBytes = outputBytes
        parameters.touchBytes = try touch.map { try ByteCount.parse($0) } ?? 0
        parameters.crashBlock = crashTask
        parameters.crashSample = crashSample.map { (crashTask ?? 0) * 16 + $0 }
        parameters.failBlock = failTask
        parameters.hangBlock = hangTask
        // Never the same identity twice: a probe that the cache answers shows nothing.
        parameters.seed = random.next()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let stage = StageSpec(
            id: StageID("probe"), kind: DiagnosticStage.kind, codeVersion: DiagnosticStage.codeVersion,
            parameters: String(decoding: try encoder.encode(parameters), as: UTF8.self), blocks: tasks, inputs: [],
            placement: StagePlacement(requires: requires, prefers: prefers, preferenceDelay: .seconds(preferenceDelay)),
            leaseLimit: leaseLimit, samples: tasks * 16, blockSize: 16)
        return RunPlan(
            id: RunID("probe-\(String(parameters.seed, radix: 16))"), name: "probe", priority: priority, weight: weight, stages: [stage],
            allowsMixedNumerics: anyNumerics)
    }

    func run() throws {
        try reporting(json: output.json) {
            let plan = try plan()
            let connection = try cluster.connect()
            let started = SystemClock.now()
            try Submission.submit(plan, artifacts: [], over: connection)
            if noWait {
                return Console.out(output.json ? "{\"run\":\"\(plan.id)\"}" : "\(plan.id)")
            }
            var pause: UInt32 = 1000
            while true {
                let status = try Submission.status(of: plan.id, over: connection)
                guard let run = status.snapshot.runs.first else { throw AMAFError("cli.no-run", "The probe \(plan.id) is gone") }
                if run.state.isTerminal {
                    return try report(run, seconds: (SystemClock.now() - started).seconds)
                }
                usleep(pause)
                pause = min(pause * 2, 50_000)
            }
        }
    }

    private func report(_ run: SchedulerSnapshot.Run, seconds: Double) throws {
        struct Report: Encodable {
            var run: String
            var state: String
            var done: Int
            var tasks: Int
            var retries: Int
            var seconds: Double
            var tasksPerSecond: Double
        }
        let stage = run.stages[0]
        let report = Report(
            run: run.id.rawValue, state: run.state.rawValue, done: stage.done, tasks: stage.blocks, retries: stage.retries,
            seconds: seconds,
            tasksPerSecond: Double(stage.done) / seconds)
        if output.json {
            try Console.json(report)
        } else {
            Console.out(
                "\(run.id) \(run.state.rawValue): \(Text.count(stage.done)) of \(Text.count(stage.blocks)) tasks in \(Text.fixed(seconds, 3)) s, "
                    + "\(Text.count(Int(report.tasksPerSecond))) tasks/s, \(stage.retries) retries")
            for error in run.errors { Console.out("  \(error)") }
        }
        if run.state != .succeeded { throw AMAFExit.failed }
    }
}
