import ArgumentParser
import CoordinatorService
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WireProtocol
import WorkerService

/// A head in this process and worker processes beside it.
///
/// `@unchecked Sendable`: everything is set before the first use and used from one thread; the head and the connection are safe by themselves.
final class BenchmarkCluster: @unchecked Sendable {
    private let coordinator: Coordinator
    private let connection: CoordinatorConnection
    /// A worker process, from its start to its end.
    final class Worker {
        let process: Process
        let startedAt: Instant
        init(_ process: Process) {
            self.process = process
            startedAt = SystemClock.now()
        }
        /// Waits for its end and returns when that was, to a few milliseconds.
        func wait() -> Instant {
            process.waitUntilExit()
            return SystemClock.now()
        }
    }
    private(set) var workers: [Worker] = []
    private let folder: String
    private let secret: String
    private let slots: Int
    private let commitResults: Int?

    /// - Parameter commitResults: results of one COMMIT at most; nil for the worker's own choice.
    init(folder: String, settings: SchedulerSettings, workers: Int, slots: Int, commitResults: Int?) throws {
        var random = SystemRandomNumberGenerator()
        secret = (0..<4).map { _ in String(random.next() as UInt64, radix: 16) }.joined(separator: "-")
        (self.folder, self.slots, self.commitResults) = (folder, slots, commitResults)
        let key = try JoinKey(secret)
        coordinator = try Coordinator(
            CoordinatorConfiguration(
                storeFolder: folder + "/store", control: "tcp://127.0.0.1:0", artifacts: "tcp://127.0.0.1:0", joinKey: key,
                settings: settings), logger: Logger(label: "head"))
        connection = CoordinatorConnection(
            control: try ClientDoor(.control(url: coordinator.controlURL)),
            artifacts: try ClientDoor(.artifacts(url: coordinator.artifactsURL)),
            joinKey: key, build: AMAFVersion.current)
        try connection.joinAsOperator(name: "benchmark")
        for worker in 0..<workers { try start("worker-\(worker)") }
        try waitForSlots(workers * slots)
    }

    @discardableResult func start(_ name: String) throws -> Worker {
        let process = Process()
        // `single` needs an agent with a knob that the program does not offer; its slots are the same program's.
        let program = commitResults == nil ? try ProgramPath.sister("amaf-worker") : try ProgramPath.own()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments =
            [
                commitResults == nil ? "serve" : "agent", "--coordinator", coordinator.controlURL, "--artifacts", coordinator.artifactsURL,
                "--root", "\(folder)/\(name)", "--id", name, "--slots", "\(slots)",
            ] + (commitResults.map { ["--commit-results", "\($0)"] } ?? ["--log-level", "error", "--orphan-seconds", "20"])
        var environment = ProcessInfo.processInfo.environment
        environment["AMAF_JOIN_KEY"] = secret
        process.environment = environment
        try process.run()
        let worker = Worker(process)
        workers.append(worker)
        return worker
    }

    /// Until so many slots are there to work.
    func waitForSlots(_ count: Int) throws {
        let limit = SystemClock.now() + .seconds(60)
        while try joined() < count {
            guard SystemClock.now() < limit else { throw ValidationError("the workers did not join within a minute") }
            usleep(20_000)
        }
    }

    private func joined() throws -> Int {
        guard case .json(let bytes) = try connection.ask(.workers) else { return 0 }
        return try JSONText.decode(WorkersDocument.self, from: bytes, what: "workers").workers.filter { $0.life == .alive }.map(\.slots)
            .reduce(0, +)
    }

    /// Seconds from the submission until the client knows that every result is durable.
    func perform(_ plan: RunPlan) throws -> Double {
        let start = SystemClock.now()
        try submit(plan)
        try wait(plan)
        return (SystemClock.now() - start).seconds
    }

    func submit(_ plan: RunPlan) throws {
        guard case .submitted = try connection.ask(.submit(.inline(try JSONText.encode(plan)), artifacts: [])) else {
            throw ValidationError("the submission was not taken")
        }
    }

    func wait(_ plan: RunPlan) throws {
        guard case .json(let bytes) = try connection.ask(.wait(plan.id), deadline: .seconds(300)) else {
            throw ValidationError("the run's end was not told")
        }
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.contains("succeeded") else { throw ValidationError("the run ended otherwise: \(text)") }
    }

    /// CPU time of agents and slots so far.
    func workerSeconds() -> Double {
        var total = 0.0
        for worker in workers {
            let agent = worker.process.processIdentifier
            total += ProcessUsage.current(of: agent)?.cpuSeconds ?? 0
            let children = (try? String(contentsOfFile: "/proc/\(agent)/task/\(agent)/children", encoding: .utf8)) ?? ""
            for child in children.split(separator: " ") { total += Int32(child).flatMap { ProcessUsage.current(of: $0)?.cpuSeconds } ?? 0 }
        }
        return total
    }

    func stop() {
        for worker in workers where worker.process.isRunning { worker.process.terminate() }
        for worker in workers { worker.process.waitUntilExit() }
        coordinator.stop()
    }
}

/// The agent of `amaf-worker` with a knob for measurements.
struct BenchmarkAgent: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "agent", abstract: "A worker for 'cluster'.", shouldDisplay: false)
    @Option var coordinator: String
    @Option var artifacts: String
    @Option var root: String
    @Option var id: String
    @Option var slots: Int
    @Option var commitResults: Int

    func run() throws {
        LogBootstrap.start(level: .error)
        guard let secret = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else { throw ValidationError("AMAF_JOIN_KEY is not set") }
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        let connection = CoordinatorConnection(
            control: try ClientDoor(.control(url: coordinator)), artifacts: try ClientDoor(.artifacts(url: artifacts)),
            joinKey: try JoinKey(secret), build: AMAFVersion.current)
        var settings = WorkerSettings()
        settings.maximumCommitResults = commitResults
        let configuration = WorkerConfiguration(
            worker: WorkerID(id), root: URL(fileURLWithPath: root).path, tags: ["cpu"], slots: slots, cacheLimitBytes: 1 << 30,
            objectCacheBytes: 16 << 20, memoryBytes: 1 << 30, numericsClass: NumericsClass("benchmark"), host: "localhost",
            slotProgram: try ProgramPath.sister("amaf-worker"), settings: settings)
        var random = SystemRandomNumberGenerator()
        let agent = try WorkerAgent(configuration, connection: connection, logger: Logger(label: id), bootNonce: random.next())
        let drain = agent.drainer
        let signals = SignalWatch([SIGTERM, SIGINT]) { _ in drain(.seconds(5)) }
        defer { signals.stop() }
        throw ExitCode(agent.run())
    }
}
