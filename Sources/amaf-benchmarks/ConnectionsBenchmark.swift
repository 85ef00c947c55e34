import ArgumentParser
import CoordinatorService
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol

/// What idle workers cost the head: thousands of real connections that only beat. Beside it what as many messages cost without a head.
struct ConnectionsBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connections", abstract: "CPU and memory of a head with thousands of idle workers on real connections.",
        discussion:
            "The workers are connections of child processes of this program, each with the state machine of a real worker. An echo of as many messages shows what is NNG's."
    )

    @Option(help: "Idle workers.") var workers = 3000
    @Option(help: "Processes that hold their connections.") var processes = 3
    @Option(help: "Seconds between two beats of a worker.") var beat = 30.0
    @Option(help: "Seconds of measurement once all have joined.") var seconds = 60.0
    @Option(help: "Where the store is made and removed.") var folder = "."

    func run() throws {
        LogBootstrap.start(level: .error)
        raiseFileLimit()
        let root = folder + "/amaf-connections-\(getpid())"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        try measureHead(root)
        // The floor: the same messages without a head, through the same doors.
        try measureEcho(inGroups: true)
        try measureEcho(inGroups: false)
    }

    private func measureHead(_ root: String) throws {
        var random = SystemRandomNumberGenerator()
        let secret = (0..<4).map { _ in String(random.next() as UInt64, radix: 16) }.joined(separator: "-")
        var settings = SchedulerSettings()
        settings.beatInterval = .seconds(beat)
        settings.leaseTimeToLive = .seconds(beat * 5)
        settings.suspectAfter = .seconds(beat * 3)
        let head = try Coordinator(
            CoordinatorConfiguration(
                storeFolder: root + "/store", control: "tcp://127.0.0.1:0", artifacts: "tcp://127.0.0.1:0", joinKey: try JoinKey(secret),
                settings: settings), logger: Logger(label: "head"))
        defer { head.stop() }
        let empty = ProcessUsage.current()?.residentBytes ?? 0
        let connection = CoordinatorConnection(
            control: try ClientDoor(.control(url: head.controlURL)), artifacts: try ClientDoor(.artifacts(url: head.artifactsURL)),
            joinKey: try JoinKey(secret), build: AMAFVersion.current)
        try connection.joinAsOperator(name: "benchmark")
        let start = SystemClock.now()
        let children = try startChildren(["--coordinator", head.controlURL], secret: secret)
        defer { stop(children) }
        try wait { try count(connection) }
        print(
            "\(workers) workers joined in \(decimal((SystemClock.now() - start).seconds)) s, \(processes) processes, beat every \(decimal(beat, 0)) s"
        )
        // Everybody's first beat comes an interval after it joined, and its answer puts it into its group.
        Thread.sleep(forTimeInterval: beat * 1.1 + 3)
        let syncs = SyncCounter.value
        let used = load()
        let alive = try count(connection)
        let usage = ProcessUsage.current()
        print(
            "head: \(decimal(used * 100)) % of a core over \(decimal(seconds, 0)) s, \(SyncCounter.value - syncs) fsyncs, \(alive) still alive, "
                + "\((usage?.residentBytes ?? 0) >> 20) MiB resident (\(empty >> 20) before), "
                + "\(decimal(Double((usage?.residentBytes ?? 0) - empty) / Double(workers) / 1024, 1)) KiB a worker")
    }

    /// What NNG and the kernel cost alone: a door that answers every request with a reply of a beat's size on the thread that brings it.
    private func measureEcho(inGroups: Bool) throws {
        let reply = [UInt8](repeating: 1, count: 64)
        let door = try ServerDoor(.control(url: "tcp://127.0.0.1:0"), onRequest: { $0.reply(reply) })
        defer { door.close() }
        let children = try startChildren(
            ["--coordinator", door.url, "--echo-seconds", "\(beat)"] + (inGroups ? ["--in-groups"] : []), secret: "")
        defer { stop(children) }
        try wait { door.counters.pipesAdded }
        Thread.sleep(forTimeInterval: beat * 1.1 + 3)
        let before = door.counters.requests
        let used = load()
        let rate = Double(door.counters.requests - before) / seconds
        print(
            "echo of \(decimal(rate, 0)) messages a second, \(inGroups ? "in groups" : "each alone"): \(decimal(used * 100)) % of a core, "
                + "\(decimal(used / rate * 1e6, 0)) us a message")
    }

    /// Processor seconds of this process a second.
    private func load() -> Double {
        let (cpu, begun) = (processorSeconds(), SystemClock.now())
        Thread.sleep(forTimeInterval: seconds)
        return (processorSeconds() - cpu) / (SystemClock.now() - begun).seconds
    }

    private func wait(_ joined: () throws -> Int) throws {
        let start = SystemClock.now()
        var alive = 0
        while alive < workers {
            guard (SystemClock.now() - start).seconds < 300 else {
                throw ValidationError("only \(alive) of \(workers) joined in 5 minutes")
            }
            usleep(500_000)
            alive = try joined()
        }
    }

    private func startChildren(_ arguments: [String], secret: String) throws -> [Process] {
        try (0..<processes).map { part in
            let child = Process()
            child.executableURL = URL(fileURLWithPath: try ProgramPath.own())
            let count = workers * (part + 1) / processes - workers * part / processes
            child.arguments = ["idle-workers", "--name", "idle-\(part)", "--count", "\(count)"] + arguments
            var environment = ProcessInfo.processInfo.environment
            environment["AMAF_JOIN_KEY"] = secret
            child.environment = environment
            try child.run()
            return child
        }
    }

    private func stop(_ children: [Process]) {
        for child in children { child.terminate() }
        for child in children { child.waitUntilExit() }
    }

    private func count(_ connection: CoordinatorConnection) throws -> Int {
        guard case .json(let bytes) = try connection.ask(.workers) else { return 0 }
        return try JSONText.decode(WorkersDocument.self, from: bytes, what: "workers").workers.count { $0.life == .alive }
    }
}

func raiseFileLimit() {
    var limit = rlimit(rlim_cur: 65_536, rlim_max: 65_536)
    _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
}
