import ArgumentParser
import CoordinatorService
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol

/// What idle workers cost the head: thousands of real connections that only beat.
struct ConnectionsBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "connections", abstract: "CPU and memory of a head with thousands of idle workers on real connections.",
        discussion: "The workers are connections of child processes of this program: each joins, asks for work and beats.")

    @Option(help: "Idle workers.") var workers = 3000
    @Option(help: "Processes that hold their connections.") var processes = 3
    @Option(help: "Seconds between two beats of a worker.") var beat = 30.0
    @Option(help: "Seconds of measurement once all have joined.") var seconds = 60.0
    @Option(help: "Where the store is made and removed.") var folder = "."

    func run() throws {
        LogBootstrap.start(level: .error)
        var limit = rlimit(rlim_cur: 65_536, rlim_max: 65_536)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        let root = folder + "/amaf-connections-\(getpid())"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
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
        var children: [Process] = []
        defer { for child in children { child.terminate() } }
        for part in 0..<processes {
            let child = Process()
            child.executableURL = URL(fileURLWithPath: try ProgramPath.own())
            let count = workers * (part + 1) / processes - workers * part / processes
            child.arguments = ["idle-workers", "--coordinator", head.controlURL, "--name", "idle-\(part)", "--count", "\(count)"]
            var environment = ProcessInfo.processInfo.environment
            environment["AMAF_JOIN_KEY"] = secret
            child.environment = environment
            try child.run()
            children.append(child)
        }
        var alive = 0
        while alive < workers {
            guard (SystemClock.now() - start).seconds < 300 else {
                throw ValidationError("only \(alive) of \(workers) joined in 5 minutes")
            }
            usleep(500_000)
            alive = try count(connection)
        }
        print(
            "\(workers) workers joined in \(decimal((SystemClock.now() - start).seconds)) s, \(processes) processes, beat every \(decimal(beat, 0)) s"
        )
        // The burst of joining is over once every worker has beaten once more.
        sleep(3)
        let (cpu, begun, syncs) = (processorSeconds(), SystemClock.now(), SyncCounter.value)
        usleep(UInt32(seconds * 1e6))
        let used = (processorSeconds() - cpu) / (SystemClock.now() - begun).seconds
        alive = try count(connection)
        let usage = ProcessUsage.current()
        print(
            "head: \(decimal(used * 100)) % of a core over \(decimal(seconds, 0)) s, \(SyncCounter.value - syncs) fsyncs, \(alive) still alive, "
                + "\((usage?.residentBytes ?? 0) >> 20) MiB resident (\(empty >> 20) before), "
                + "\(decimal(Double((usage?.residentBytes ?? 0) - empty) / Double(workers) / 1024, 1)) KiB a worker")
    }

    private func count(_ connection: CoordinatorConnection) throws -> Int {
        guard case .json(let bytes) = try connection.ask(.workers) else { return 0 }
        return try JSONText.decode(WorkersDocument.self, from: bytes, what: "workers").workers.count { $0.life == .alive }
    }
}

/// Connections that behave as idle workers do.
struct IdleWorkers: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle-workers", abstract: "Idle workers for 'connections'.", shouldDisplay: false)
    @Option var coordinator: String
    @Option var name: String
    @Option var count: Int

    /// What a reply means for one worker.
    private enum News: Sendable {
        case joined(Int, beat: Duration)
        case beaten(Int)
        /// No work: ask again after a while.
        case idle(Int, after: Duration)
        case failed(Int, AMAFError)
    }

    func run() throws {
        LogBootstrap.start(level: .error)
        var limit = rlimit(rlim_cur: 65_536, rlim_max: 65_536)
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard let secret = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else { throw ValidationError("AMAF_JOIN_KEY is not set") }
        let key = try JoinKey(secret)
        let inbox = Inbox<News>()
        var connections: [CoordinatorConnection] = []
        // Nothing is ever asked of the artifact door: all share one.
        let artifacts = try ClientDoor(.artifacts(url: coordinator))
        var due: [(at: Instant, worker: Int, isBeat: Bool)] = []
        for worker in 0..<count {
            var settings = ClientDoorSettings.control(url: coordinator)
            settings.contexts = 2
            connections.append(
                CoordinatorConnection(control: try ClientDoor(settings), artifacts: artifacts, joinKey: key, build: AMAFVersion.current))
            join(worker, connections[worker], inbox)
            // A box that is dialled by all at once refuses some.
            if worker % 50 == 49 { usleep(50_000) }
        }
        var beats = [Duration](repeating: .seconds(30), count: count)
        var random = SystemRandomNumberGenerator()
        while getppid() != 1 {
            let next = due.map(\.at).min() ?? SystemClock.now() + .seconds(1)
            for news in inbox.take(until: min(next, SystemClock.now() + .seconds(1))) ?? [] {
                let now = SystemClock.now()
                switch news {
                case .joined(let worker, let beat):
                    beats[worker] = beat
                    // Beats of a thousand boxes do not come in step.
                    due.append((now + beat * Double.random(in: 0..<1, using: &random), worker, true))
                    lease(worker, connections[worker], inbox)
                case .beaten(let worker): due.append((now + beats[worker], worker, true))
                case .idle(let worker, let pause): due.append((now + pause, worker, false))
                case .failed(let worker, let error):
                    FileHandle.standardError.write(Data("\(name)-\(worker): \(error)\n".utf8))
                    join(worker, connections[worker], inbox)
                }
            }
            let now = SystemClock.now()
            let ready = due.filter { $0.at <= now }
            due.removeAll { $0.at <= now }
            for entry in ready {
                if entry.isBeat {
                    beat(entry.worker, connections[entry.worker], inbox)
                } else {
                    lease(entry.worker, connections[entry.worker], inbox)
                }
            }
        }
    }

    private func join(_ worker: Int, _ connection: CoordinatorConnection, _ inbox: Inbox<News>) {
        let hello = WorkerHello(
            worker: WorkerID("\(name)-\(worker)"), bootNonce: 1, tags: ["cpu"], slots: 1, memoryBytes: 1 << 30,
            numericsClass: NumericsClass("idle"), build: AMAFVersion.current, host: "localhost", heldFences: [])
        connection.hello(hello, deadline: .seconds(60)) { result in
            switch result {
            case .success(.worker(.welcome(_, let interval, _, _), _)): inbox.put(.joined(worker, beat: interval))
            case .success: inbox.put(.failed(worker, AMAFError("benchmark.reply", "no welcome")))
            case .failure(let error): inbox.put(.failed(worker, error))
            }
        }
    }

    private func beat(_ worker: Int, _ connection: CoordinatorConnection, _ inbox: Inbox<News>) {
        let vitals = WorkerVitals(
            wallClockMilliseconds: Int64(Date().timeIntervalSince1970 * 1000), diskFreeBytes: 1, memoryAvailableBytes: 1, slotDeaths: 0,
            lastError: "")
        connection.send(.beat([], vitals), deadline: .seconds(60)) { result in
            switch result {
            case .success: inbox.put(.beaten(worker))
            case .failure(let error): inbox.put(.failed(worker, error))
            }
        }
    }

    private func lease(_ worker: Int, _ connection: CoordinatorConnection, _ inbox: Inbox<News>) {
        connection.send(.lease(freeSlots: 1), deadline: .seconds(60)) { result in
            switch result {
            case .success(.worker(.grants(_, let pause), _)): inbox.put(.idle(worker, after: pause))
            case .success: inbox.put(.idle(worker, after: .seconds(5)))
            case .failure: inbox.put(.idle(worker, after: .seconds(5)))
            }
        }
    }
}
