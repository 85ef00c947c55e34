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
            its result; 'scaling' spins for a second of work with 1 worker and with 2; 'elastic' lets 40 workers sleep one-second tasks while \
            some join and some leave; 'kill' kills a worker in the middle of a job of 5 seconds and starts another.
            """)

    enum Mode: String, CaseIterable, ExpressibleByArgument { case lists, single, latency, scaling, elastic, kill }

    @Option(help: "What to measure.") var mode: [Mode] = Mode.allCases
    @Option(help: "Tasks of one run.") var tasks = 10_000
    @Option(help: "Worker processes.") var workers = 2
    @Option(help: "Slots of each worker.") var slots = 1
    @Option(help: "Runs of each measurement; the median is printed.") var runs = 5
    @Option(help: "Blocks of one lease at most; 0 leaves it to the scheduler.") var leaseBlocks = 0
    @Option(help: "Where the stores are made and removed. Use the disk that the coordinator will use.") var folder = "."
    @Option(help: "Million steps of one task of 'scaling'.") var spin = 20
    @Option(help: "Worker processes of 'elastic'.") var elasticWorkers = 40
    @Option(help: "One-second tasks of 'elastic' for each worker.") var elasticTasks = 30
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
        var elasticEfficiency: Double?
        var killAddsSeconds: Double?
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
            case .elastic: figures.elasticEfficiency = try elastic(root + "/elastic")
            case .kill: figures.killAddsSeconds = try killing(root + "/kill")
            case .scaling: (figures.scalingRatio, figures.boxRatio) = try scaling(root + "/scaling")
            }
        }
        if json {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys]
            print(String(decoding: try encoder.encode(figures), as: UTF8.self))
        }
    }

    func say(_ line: String) {
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

    func diagnostic(blocks: Int, _ given: DiagnosticParameters = DiagnosticParameters()) throws -> RunPlan {
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
