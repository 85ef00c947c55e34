import ArgumentParser
import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol

/// Connections that behave as idle workers do: each is decided by a worker's own state machine, with a slot that waits for work.
struct IdleWorkers: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle-workers", abstract: "Idle workers for 'connections'.", shouldDisplay: false)
    @Option var coordinator: String
    @Option var name: String
    @Option var count: Int
    @Option(help: "Send messages of a beat's size to an echo instead, so far apart.") var echoSeconds: Double?
    @Flag(help: "The echo's messages come in groups, as beats do.") var inGroups = false

    private struct News: Sendable {
        var worker: Int
        var token: RequestToken
        var result: Result<Response, AMAFError>
    }

    func run() throws {
        LogBootstrap.start(level: .error)
        raiseFileLimit()
        if let echoSeconds { try echo(every: .seconds(echoSeconds)) } else { try work() }
    }

    // MARK: Workers

    private func work() throws {
        guard let secret = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else { throw ValidationError("AMAF_JOIN_KEY is not set") }
        let key = try JoinKey(secret)
        let inbox = Inbox<News>()
        // Nothing is ever asked of the artifact door: all share one.
        let artifacts = try ClientDoor(.artifacts(url: coordinator))
        var connections: [CoordinatorConnection] = []
        var states: [WorkerState] = []
        var due: [Instant] = []
        func tell(_ worker: Int, _ event: WorkerState.Event) {
            for case .send(let token, let request) in states[worker].handle(event, at: SystemClock.now()) {
                send(request, by: connections[worker]) { inbox.put(News(worker: worker, token: token, result: $0)) }
            }
            due[worker] = states[worker].nextDeadline ?? .distantFuture
        }
        for worker in 0..<count {
            connections.append(
                CoordinatorConnection(control: try door(), artifacts: artifacts, joinKey: key, build: AMAFVersion.current))
            var settings = WorkerSettings()
            settings.requestTimeout = .seconds(60)
            let hello = WorkerHello(
                worker: WorkerID("\(name)-\(worker)"), bootNonce: 1, tags: ["cpu"], slots: 1, memoryBytes: 1 << 30,
                numericsClass: NumericsClass("idle"), build: AMAFVersion.current, host: "localhost", heldFences: [])
            states.append(WorkerState(hello: hello, settings: settings, seed: UInt64(worker)))
            due.append(.distantFuture)
            tell(worker, .started)
            tell(worker, .slotReady(0))
            // A box that is dialled by all at once refuses some.
            if worker % 50 == 49 { usleep(50_000) }
        }
        while getppid() != 1 {
            for news in inbox.take(until: min(due.min() ?? .distantFuture, SystemClock.now() + .seconds(1))) ?? [] {
                switch news.result {
                case .success(.worker(let reply, let commands)): tell(news.worker, .replied(news.token, reply, commands: commands))
                case .success: tell(news.worker, .requestFailed(news.token))
                case .failure(let error):
                    FileHandle.standardError.write(Data("\(name)-\(news.worker): \(error)\n".utf8))
                    tell(news.worker, .requestFailed(news.token))
                }
            }
            let now = SystemClock.now()
            for worker in due.indices where due[worker] <= now { tell(worker, .tick) }
        }
    }

    private func send(
        _ request: WorkerRequest, by connection: CoordinatorConnection, _ completion: @escaping CoordinatorConnection.Completion
    ) {
        let deadline = Duration.seconds(60)
        switch request {
        case .hello(let hello): connection.hello(hello, deadline: deadline, completion: completion)
        case .lease(let freeSlots): connection.send(.lease(freeSlots: freeSlots), deadline: deadline, completion: completion)
        case .beat(let fences):
            let vitals = WorkerVitals(
                wallClockMilliseconds: WallClock.milliseconds(), diskFreeBytes: 1, memoryAvailableBytes: 1, slotDeaths: 0, lastError: "")
            connection.send(.beat(fences, vitals), deadline: deadline, completion: completion)
        case .commit, .fail, .release, .bye: preconditionFailure("an idle worker has nothing to say of work")
        }
    }

    private func door() throws -> ClientDoor {
        var settings = ClientDoorSettings.control(url: coordinator)
        settings.contexts = 2
        return try ClientDoor(settings)
    }

    // MARK: Echo

    private func echo(every interval: Duration) throws {
        let request = [UInt8](repeating: 1, count: 110)
        var doors: [ClientDoor] = []
        for i in 0..<count {
            doors.append(try door())
            if i % 50 == 49 { usleep(50_000) }
        }
        let (length, groups) = (interval.nanoseconds, inGroups ? Int64(30) : Int64(count))
        var due: [(at: Instant, door: Int)] = []
        let start = SystemClock.now().nanoseconds / length * length
        for door in doors.indices { due.append((Instant(nanoseconds: start + length + Int64(door) % groups * (length / groups)), door)) }
        due.sort { $0.at < $1.at }
        var next = 0
        while getppid() != 1 {
            let pause = (due[next].at - SystemClock.now()).nanoseconds
            if pause > 0 { usleep(useconds_t(min(pause, 1_000_000_000) / 1000 + 1)) }
            guard due[next].at <= SystemClock.now() else { continue }
            doors[due[next].door].call(request, deadline: .seconds(60)) { _ in }
            due[next].at = due[next].at + interval
            next = (next + 1) % due.count
        }
    }
}
