import CoordinatorService
import Foundation
import Logging
import Messaging
import Primitives
import ProgramOptions
import Scheduling
import Telemetry
import WireProtocol

/// A whole cluster on one box: an embedded coordinator and worker processes on loopback, each with its own folder and the same binaries as
/// on any other cluster.
final class LocalCluster {
    let coordinator: Coordinator
    let connection: CoordinatorConnection
    private var workers: [pid_t] = []
    private var usage: [(name: String, peakMemoryBytes: UInt64, cpuSeconds: Double)] = []

    init(store: String, settings: SchedulerSettings) throws {
        var generator = SystemRandomNumberGenerator()
        // The key lives as long as this command: 256 random bits in hexadecimal.
        let secret = (0..<4).map { _ in String(generator.next() as UInt64, radix: 16) }.joined(separator: "-")
        setenv("AMAF_JOIN_KEY", secret, 1)
        let key = try JoinKey(secret)
        coordinator = try Coordinator(
            CoordinatorConfiguration(
                storeFolder: store, control: "tcp://127.0.0.1:0", artifacts: "tcp://127.0.0.1:0", joinKey: key, settings: settings),
            logger: Logger(label: "coordinator"))
        connection = try Operator.connect(
            ClusterAccess(
                control: coordinator.controlURL, artifacts: coordinator.artifactsURL, joinKey: key))
    }

    /// Starts workers `name-1`, `name-2` … Their log goes to `worker.log` in their folders.
    func startWorkers(_ count: Int, root: String, tags: String) throws {
        let program = try ProgramPath.sister("amaf-worker")
        for number in 1...max(1, count) where count > 0 {
            let folder = "\(root)/worker-\(number)"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let arguments = [
                program, "--coordinator", coordinator.controlURL, "--artifacts", coordinator.artifactsURL, "--root", folder, "--id",
                "worker-\(number)", "--tags", tags, "--slots", "1", "--orphan-seconds", "60",
            ]
            // The workers share this box: each may use its part of the processors for kernels.
            let lanes = max(1, ProcessInfo.processInfo.activeProcessorCount / max(1, count))
            workers.append(
                try ChildProcess.start(arguments, errorLog: "\(folder)/worker.log", adding: ["AMAF_LANES": String(lanes)]))
        }
    }

    /// Workers drain, then the coordinator stops.
    func stop() {
        // Told by the coordinator first: that answers the lease requests it holds open, and idle workers leave at once.
        for number in workers.indices { _ = try? connection.ask(.drain(WorkerID("worker-\(number + 1)")), deadline: .seconds(2)) }
        for worker in workers { kill(worker, SIGTERM) }
        for (number, worker) in workers.enumerated() {
            if let ended = ChildProcess.wait(worker, patience: 5) {
                usage.append(("worker-\(number + 1) agent", ended.peakMemoryBytes, ended.cpuSeconds))
            }
        }
        workers = []
        coordinator.stop()
    }

    /// Whether any worker process has ended by itself.
    var hasLostWorkers: Bool {
        workers.contains { worker in
            var info = siginfo_t()
            return waitid(P_PID, id_t(worker), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_signo == SIGCHLD
        }
    }

    var processIDs: [pid_t] { workers }
}

/// Starting and reaping programs without a shell.
enum ChildProcess {
    static func start(_ arguments: [String], errorLog: String, adding variables: [String: String] = [:]) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, errorLog, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Ctrl-C on the terminal is for this command alone; it drains the workers itself.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        let argv = arguments.map { strdup($0) } + [nil]
        let merged = ProcessInfo.processInfo.environment.merging(variables) { $1 }
        let environment = merged.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (argv + environment).forEach { free($0) } }
        var child: pid_t = 0
        let status = posix_spawn(&child, arguments[0], &actions, &attributes, argv, environment)
        guard status == 0 else {
            throw AMAFError(
                "cli.cannot-start", "Cannot start \(arguments[0]): \(String(cString: strerror(status)))",
                remedy: "Build amaf-worker beside amaf, and check the limit of processes.")
        }
        return child
    }

    /// Waits for the end, and kills after `patience` seconds.
    static func wait(_ child: pid_t, patience: Double) -> (status: Int32, peakMemoryBytes: UInt64, cpuSeconds: Double)? {
        let deadline = SystemClock.now() + .seconds(patience)
        var status: Int32 = 0
        var usage = rusage()
        while true {
            let ended = wait4(child, &status, WNOHANG, &usage)
            if ended == child { break }
            if ended < 0 && errno != EINTR { return nil }
            if SystemClock.now() > deadline { kill(child, SIGKILL) }
            usleep(10_000)
        }
        let cpu =
            Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6
        return (status, UInt64(usage.ru_maxrss) << 10, cpu)
    }
}
