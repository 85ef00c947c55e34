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

/// Tasks per second of a whole cluster on this box, every result durable: a head in this process, real worker processes, real sockets.
struct ClusterBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cluster",
        abstract: "No-op tasks per second through a durable head and real workers, submit-to-result latency, and scaling.",
        discussion: """
            The head runs in this process, so that its fsyncs, CPU time and memory are counted; amaf-worker must lie beside this program. \
            'lists' leases and commits lists of blocks; 'single' commits one block a message; 'latency' submits one task at a time and waits for \
            its result; 'scaling' spins for a second of work with 1 worker and with 2.
            """)

    enum Mode: String, CaseIterable, ExpressibleByArgument { case lists, single, latency, scaling }

    @Option(help: "What to measure.") var mode: [Mode] = Mode.allCases
    @Option(help: "Tasks of one run.") var tasks = 10_000
    @Option(help: "Worker processes.") var workers = 2
    @Option(help: "Slots of each worker.") var slots = 1
    @Option(help: "Runs of each measurement; the median is printed.") var runs = 5
    @Option(help: "Blocks of one lease at most; 0 leaves it to the scheduler.") var leaseBlocks = 0
    @Option(help: "Where the stores are made and removed. Use the disk that the coordinator will use.") var folder = "."
    @Option(help: "Million steps of one task of 'scaling'.") var spin = 20
    @Flag(help: "One JSON object instead of text.") var json = false

    /// What is printed, by the name of the measurement.
    private struct Figures: Encodable {
        var diskSyncMilliseconds: Double
        var listsPerSecond: Double?
        var singlePerSecond: Double?
        var latencyMicroseconds: Double?
        var latencyP99Microseconds: Double?
        var scalingRatio: Double?
        var boxRatio: Double?
        var headMebibytes: Double?
    }

    func run() throws {
        LogBootstrap.start(level: .error)
        let root = folder + "/amaf-cluster-\(getpid())"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        let disk = try diskSync(root + "/own", bytes: 4096, times: 300)
        var figures = Figures(diskSyncMilliseconds: median(disk) * 1000)
        say(
            "disk: pwrite of 4 KiB + fdatasync p50 \(decimal(median(disk) * 1000, 3)) ms, p99 \(decimal(quantile(disk, 0.99) * 1000, 3)) ms"
        )
        for mode in mode {
            switch mode {
            case .lists:
                let found = try throughput(root + "/lists", single: false)
                figures.listsPerSecond = found.rate
                figures.headMebibytes = found.headMebibytes
            case .single: figures.singlePerSecond = try throughput(root + "/single", single: true).rate
            case .latency:
                let times = try latency(root + "/latency")
                (figures.latencyMicroseconds, figures.latencyP99Microseconds) = (median(times) * 1e6, quantile(times, 0.99) * 1e6)
            case .scaling: (figures.scalingRatio, figures.boxRatio) = try scaling(root + "/scaling")
            }
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            print(String(decoding: try encoder.encode(figures), as: UTF8.self))
        }
    }

    private func say(_ line: String) {
        if json { FileHandle.standardError.write(Data((line + "\n").utf8)) } else { print(line) }
    }

    // MARK: Measurements

    private func throughput(_ folder: String, single: Bool) throws -> (rate: Double, headMebibytes: Double) {
        var settings = SchedulerSettings()
        if leaseBlocks > 0 { settings.forcedLeaseBlocks = leaseBlocks }
        let cluster = try BenchmarkCluster(
            folder: folder, settings: settings, workers: workers, slots: slots, commitResults: single ? 1 : nil)
        defer { cluster.stop() }
        // The first run is for caches, connections and the branch predictors.
        _ = try cluster.perform(diagnostic(blocks: tasks))
        var rates: [Double] = []
        let (syncs, cpu, start) = (SyncCounter.value, processorSeconds(), SystemClock.now())
        let before = cluster.workerSeconds()
        for _ in 0..<runs { rates.append(Double(tasks) / (try cluster.perform(diagnostic(blocks: tasks)))) }
        let wall = (SystemClock.now() - start).seconds
        let counted = Double(SyncCounter.value - syncs)
        let used = processorSeconds() - cpu
        let total = Double(tasks * runs)
        let resident = Double(ProcessUsage.current()?.peakResidentBytes ?? 0) / 1_048_576
        say(
            "\(single ? "single" : "lists"): \(tasks) no-op tasks, \(workers) workers: \(decimal(median(rates), 0)) tasks/s "
                + "(\(decimal(rates.min() ?? 0, 0)) to \(decimal(rates.max() ?? 0, 0))), \(decimal(counted / Double(runs), 0)) fsyncs a run, "
                + "head \(decimal(used / wall * 100, 0)) % of a core and \(decimal(used / total * 1e6, 1)) us/task, "
                + "workers \(decimal((cluster.workerSeconds() - before) / total * 1e6, 1)) us/task, head peak \(decimal(resident, 0)) MiB")
        return (median(rates), resident)
    }

    private func latency(_ folder: String) throws -> [Double] {
        let cluster = try BenchmarkCluster(
            folder: folder, settings: SchedulerSettings(), workers: workers, slots: slots, commitResults: nil)
        defer { cluster.stop() }
        var times: [Double] = []
        for i in 0..<550 {
            let time = try cluster.perform(diagnostic(blocks: 1))
            if i >= 50 { times.append(time) }
        }
        say(
            "latency: one durable task, submit to result: p50 \(decimal(median(times) * 1000, 3)) ms, p99 \(decimal(quantile(times, 0.99) * 1000, 3)) ms, "
                + "least \(decimal((times.min() ?? 0) * 1000, 3)) ms")
        return times
    }

    private func scaling(_ folder: String) throws -> (Double, Double) {
        var parameters = DiagnosticParameters()
        parameters.spinMillions = spin
        func rate(_ workers: Int) throws -> (Double, Double) {
            let cluster = try BenchmarkCluster(
                folder: folder + "-\(workers)", settings: SchedulerSettings(), workers: workers, slots: 1, commitResults: nil)
            defer { cluster.stop() }
            _ = try cluster.perform(diagnostic(blocks: 20, parameters))
            let (cpu, start) = (processorSeconds(), SystemClock.now())
            var rates: [Double] = []
            for _ in 0..<max(3, runs / 2) { rates.append(200 / (try cluster.perform(diagnostic(blocks: 200, parameters)))) }
            return (median(rates), (processorSeconds() - cpu) / (SystemClock.now() - start).seconds)
        }
        func box(_ threads: Int) -> Double {
            let start = SystemClock.now()
            DispatchQueue.concurrentPerform(iterations: threads) { lane in
                var state = UInt64(lane) | 1
                for _ in 0..<(spin * 100 * 1_000_000) { state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 }
                precondition(state != 0)
            }
            return Double(threads) / (SystemClock.now() - start).seconds
        }
        let ratio = box(2) / box(1)
        let (one, _) = try rate(1)
        let (two, head) = try rate(2)
        say(
            "scaling: \(decimal(one, 1)) tasks/s with 1 worker, \(decimal(two, 1)) with 2: ratio \(decimal(two / one)), the box's own two-core ratio "
                + "\(decimal(ratio)), efficiency \(decimal(two / one / ratio)); head \(decimal(head * 100, 1)) % of a core")
        return (two / one, ratio)
    }

    private func diagnostic(blocks: Int, _ given: DiagnosticParameters = DiagnosticParameters()) throws -> RunPlan {
        var parameters = given
        var random = SystemRandomNumberGenerator()
        // Never the same identity twice: what the cache answers is no measurement.
        parameters.seed = random.next()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let stage = StageSpec(
            id: StageID("no-op"), kind: DiagnosticStage.kind, codeVersion: DiagnosticStage.codeVersion,
            parameters: String(decoding: try encoder.encode(parameters), as: UTF8.self), blocks: blocks, inputs: [])
        return RunPlan(id: RunID("bench-\(String(parameters.seed, radix: 16))"), name: "bench", stages: [stage])
    }
}

/// A head in this process and worker processes beside it.
///
/// `@unchecked Sendable`: everything is set before the first use and used from one thread; the head and the connection are safe by themselves.
final class BenchmarkCluster: @unchecked Sendable {
    private let coordinator: Coordinator
    private let connection: CoordinatorConnection
    private var processes: [Process] = []

    /// - Parameter commitResults: results of one COMMIT at most; nil for the worker's own choice.
    init(folder: String, settings: SchedulerSettings, workers: Int, slots: Int, commitResults: Int?) throws {
        var random = SystemRandomNumberGenerator()
        let secret = (0..<4).map { _ in String(random.next() as UInt64, radix: 16) }.joined(separator: "-")
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
        for worker in 0..<workers {
            let process = Process()
            // `single` needs an agent with a knob that the program does not offer; its slots are the same program's.
            let program = commitResults == nil ? try ProgramPath.sister("amaf-worker") : try ProgramPath.own()
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments =
                [
                    commitResults == nil ? "serve" : "agent", "--coordinator", coordinator.controlURL, "--artifacts",
                    coordinator.artifactsURL,
                    "--root", "\(folder)/worker-\(worker)", "--id", "worker-\(worker)", "--slots", "\(slots)",
                ] + (commitResults.map { ["--commit-results", "\($0)"] } ?? ["--log-level", "error"])
            var environment = ProcessInfo.processInfo.environment
            environment["AMAF_JOIN_KEY"] = secret
            process.environment = environment
            try process.run()
            processes.append(process)
        }
        // Each worker is there once it does a task of its own: runs as wide as the cluster until all have joined.
        let limit = SystemClock.now() + .seconds(60)
        while try joined() < workers * slots {
            guard SystemClock.now() < limit else { throw ValidationError("the workers did not join within a minute") }
            usleep(50_000)
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
        guard case .submitted = try connection.ask(.submit(.inline(try JSONText.encode(plan)), artifacts: [])) else {
            throw ValidationError("the submission was not taken")
        }
        guard case .json(let bytes) = try connection.ask(.wait(plan.id), deadline: .seconds(300)) else {
            throw ValidationError("the run's end was not told")
        }
        let end = SystemClock.now()
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.contains("succeeded") else { throw ValidationError("the run ended otherwise: \(text)") }
        return (end - start).seconds
    }

    /// CPU time of agents and slots so far.
    func workerSeconds() -> Double {
        var total = 0.0
        for process in processes {
            let agent = process.processIdentifier
            total += ProcessUsage.current(of: agent)?.cpuSeconds ?? 0
            let children = (try? String(contentsOfFile: "/proc/\(agent)/task/\(agent)/children", encoding: .utf8)) ?? ""
            for child in children.split(separator: " ") { total += Int32(child).flatMap { ProcessUsage.current(of: $0)?.cpuSeconds } ?? 0 }
        }
        return total
    }

    func stop() {
        for process in processes { process.terminate() }
        for process in processes { process.waitUntilExit() }
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
