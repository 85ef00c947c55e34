import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Storage
import WireProtocol

/// The store as the pump sees it.
struct StoreJournal: SchedulerJournal, Sendable {
    let store: Store
    func apply(_ changes: StateChanges, artifacts: [Storage.InlineArtifact]) throws(AMAFError) {
        try store.apply(changes, artifacts: artifacts)
    }
}

/// The body of the head: who speaks on which connection, what they may ask, and how they are answered. What is decided, when it is
/// durable and what may leave then is `SchedulerPump`'s, which the simulator turns as well.
///
/// A synchronous struct, turned by the coordinator's thread.
struct CoordinatorLoop {
    /// A request that waits for its reply.
    private struct Pending {
        var request: IncomingRequest
        var id: RequestID
        /// Written into the reply's header; WELCOME brings a new one.
        var session: UInt64
    }

    private var pump: SchedulerPump<StoreJournal, Pending, Response>
    private let store: Store
    private let sessions: SessionTable
    private let joinKey: JoinKey
    private let logger: Logger
    private let views: Views
    private var generator = SystemRandomNumberGenerator()
    /// The last nonce given on a connection. One each is enough: a client joins in one go.
    private var nonces: [PipeID: [UInt8]] = [:]
    private var workerOfPipe: [PipeID: WorkerID] = [:]
    private var pipeOfWorker: [WorkerID: PipeID] = [:]
    private var refusals = Refusals()
    /// Whether the store refused something at the end of the last turn.
    private var storeRefuses = false
    /// Asked on the views' queue: counting takes time where there are many connections.
    private let turnedAway: @Sendable () -> DoorRefusals
    /// Operators who wait for a run's end.
    private var waitingForEnd: [RunID: [Pending]] = [:]
    private var waitCount = 0
    /// WAIT requests held open at most; others are told the state of now.
    private static var waitLimit: Int { 64 }
    private var vitals: [WorkerID: ReportedVitals] = [:]

    typealias InlineArtifactToStore = Storage.InlineArtifact

    /// What was refused at the door lately, so that a wrong join key is seen on the head.
    struct Refusals {
        var count = 0
        var last = ""
    }

    init(
        scheduler: Scheduler, store: Store, sessions: SessionTable, joinKey: JoinKey, views: Views, logger: Logger,
        turnedAway: @escaping @Sendable () -> DoorRefusals
    ) {
        self.turnedAway = turnedAway
        pump = SchedulerPump(scheduler, journal: StoreJournal(store: store))
        self.store = store
        self.sessions = sessions
        self.joinKey = joinKey
        self.views = views
        self.logger = logger
    }

    var nextDeadline: Instant? { pump.scheduler.nextDeadline }

    // MARK: One turn

    enum Arrival: Sendable {
        case message(IncomingRequest)
        case pipeLost(PipeID)
    }

    /// Takes a batch to its end: decided, stored, answered.
    ///
    /// - Returns: what the owner must know of: ended runs and blocks to merge into live views.
    mutating func turn(_ arrivals: [Arrival], at now: Instant) -> [Scheduler.Effect] {
        for arrival in arrivals {
            switch arrival {
            case .message(let message): receive(message, at: now)
            case .pipeLost(let pipe):
                nonces[pipe] = nil
                if let worker = workerOfPipe.removeValue(forKey: pipe), pipeOfWorker[worker] == pipe {
                    pipeOfWorker[worker] = nil
                    pump.handle(.pipeLost(worker), at: now)
                }
            }
        }
        var outward: [Scheduler.Effect] = []
        var waiters = waitingForEnd
        waitingForEnd = [:]
        pump.settle(at: now) { outgoing in
            switch outgoing {
            case .reply(let waiting, let reply, let commands): Self.send(.worker(reply, commands: commands), to: waiting)
            case .answer(let waiting, let response): Self.send(response, to: waiting)
            case .outward(let effect):
                outward.append(effect)
                guard case .runEnded(let run, let state) = effect else { return }
                for waiting in waiters.removeValue(forKey: run) ?? [] { Self.send(Self.told(state), to: waiting) }
            }
        }
        waitCount = waiters.values.reduce(0) { $0 + $1.count }
        waitingForEnd = waiters
        noteStoreError()
        return outward
    }

    /// What the store last refused: a transaction, or an artifact that would have come before one.
    private var storeError: AMAFError? { pump.journalError ?? store.artifacts.refusal() }

    private mutating func noteStoreError() {
        let error = storeError
        defer { storeRefuses = error != nil }
        switch (storeRefuses, error) {
        case (false, let error?): logger.error("the store refuses to write; work waits", metadata: ["error": "\(error)"])
        case (true, nil): logger.notice("the store works again")
        case (false, nil), (true, _?): break
        }
    }

    /// When the owner must turn the loop although nothing arrived: a timer is due, or a store that refused a batch is asked again.
    func nextTurn(at now: Instant) -> Instant? { pump.nextTurn(at: now) }

    private static func send(_ response: Response, to waiting: Pending) {
        waiting.request.reply(response.encoded(requestID: waiting.id, session: waiting.session))
    }

    // MARK: Messages

    private mutating func receive(_ message: IncomingRequest, at now: Instant) {
        switch ReceivedRequest.decode(message.bytes) {
        case .refused(let error, let reply):
            refuse(error, pipe: message.pipe)
            message.reply(reply)
        case .request(let request, let header):
            let waiting = Pending(request: message, id: header.requestID, session: header.session)
            do throws(AMAFError) {
                try carry(request, waiting, at: now)
            } catch {
                Self.send(.failed(error), to: waiting)
            }
        }
    }

    private mutating func refuse(_ error: AMAFError, pipe: PipeID) {
        refusals.count += 1
        refusals.last = error.description
        logger.warning("refused a message", metadata: ["error": "\(error)", "pipe": "\(pipe)", "count": "\(refusals.count)"])
    }

    private mutating func carry(_ request: Request, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        switch request {
        case .challenge(let versions, _):
            let version: ProtocolVersion
            do throws(AMAFError) {
                version = try ProtocolVersionRange.supported.negotiated(with: versions)
            } catch {
                refuse(error, pipe: waiting.request.pipe)
                throw error
            }
            let nonce = JoinKey.nonce(using: &generator)
            nonces[waiting.request.pipe] = nonce
            Self.send(.challenge(nonce: nonce, version: version), to: waiting)
        case .hello(let hello, let proof):
            guard let nonce = nonces.removeValue(forKey: waiting.request.pipe), joinKey.verifies(proof, of: hello, challenge: nonce) else {
                throw wrongKey("Worker \(hello.worker) on \(hello.host)", pipe: waiting.request.pipe)
            }
            var waiting = waiting
            waiting.session = sessions.open(.worker(hello.worker), using: &generator)
            workerOfPipe[waiting.request.pipe] = hello.worker
            pipeOfWorker[hello.worker] = waiting.request.pipe
            pump.handle(.hello(hello, pump.expect(waiting)), at: now)
        case .operatorHello(let name, let proof):
            guard let nonce = nonces.removeValue(forKey: waiting.request.pipe), joinKey.verifies(proof, operator: name, challenge: nonce)
            else { throw wrongKey("Operator \(name)", pipe: waiting.request.pipe) }
            var waiting = waiting
            waiting.session = sessions.open(.operatorNamed(name), using: &generator)
            Self.send(.operatorWelcome, to: waiting)
        default:
            switch sessions.holder(of: waiting.session) {
            case .worker(let worker): try work(request, of: worker, waiting, at: now)
            case .operatorNamed(let name): try operate(request, by: name, waiting, at: now)
            case nil: Self.send(.worker(.noted, commands: [.rejoin]), to: waiting)
            }
        }
    }

    private mutating func wrongKey(_ who: String, pipe: PipeID) -> AMAFError {
        let error = AMAFError(
            "coordinator.join-refused", "\(who) does not know the join key", remedy: "Give it the key file of this cluster.")
        refuse(error, pipe: pipe)
        return error
    }

    private mutating func work(_ request: Request, of worker: WorkerID, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        let event: Scheduler.Event
        switch request {
        case .lease(let freeSlots): event = .leaseRequested(worker, freeSlots: freeSlots, token: pump.expect(waiting))
        case .beat(let fences, let reported):
            if let reported {
                let clock = Int64(Date().timeIntervalSince1970 * 1000)
                vitals[worker] = ReportedVitals(reported, of: worker, headClockMilliseconds: clock)
            }
            event = .beat(worker, leases: fences, token: pump.expect(waiting))
        case .commit(let commits, let riding):
            try take(riding, of: commits)
            event = .committed(worker, commits, token: pump.expect(waiting))
        case .fail(let fence, let report): event = .failed(worker, fence, report, token: pump.expect(waiting))
        case .release(let fences): event = .released(worker, fences, token: pump.expect(waiting))
        case .bye:
            event = .bye(worker, pump.expect(waiting))
            sessions.close(worker)
            vitals[worker] = nil
        default:
            throw AMAFError(
                "coordinator.not-allowed", "Worker \(worker) sent an operator's message",
                remedy: "Send it with 'amaf'; a worker's session carries a worker's messages only.")
        }
        pump.handle(event, at: now)
    }

    /// Every output of a commit must be here before the commit may count.
    private mutating func take(_ riding: [WireProtocol.InlineArtifact], of commits: [LeaseCommit]) throws(AMAFError) {
        var brought: Set<Digest> = []
        var checked: [InlineArtifactToStore] = []
        for artifact in riding where brought.insert(artifact.digest).inserted {
            // An artifact on the boundary of the two size limits is a file for the store.
            if artifact.bytes.count < ArtifactStore.inlineThreshold {
                checked.append(try InlineArtifactToStore(artifact.bytes, claimed: artifact.digest))
            } else {
                _ = try store.artifacts.put(artifact.bytes, durable: false)
            }
        }
        let others = commits.flatMap(\.results).flatMap(\.outputs).map(\.digest).filter { !brought.contains($0) }
        if let missing = try store.artifacts.missing(among: others).first {
            throw AMAFError(
                "coordinator.missing-artifact", "Output \(missing) was not stored before its commit", remedy: "The worker sends it again.",
                isTransient: true)
        }
        pump.bring(checked)
    }

    // MARK: Operators

    private mutating func operate(_ request: Request, by name: String, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        switch request {
        case .submit(let source, let artifacts):
            let plan = try plan(from: source)
            try Scheduler.validate(plan)
            let missing = try store.artifacts.missing(among: artifacts)
            guard missing.isEmpty else {
                throw AMAFError(
                    "coordinator.missing-artifact",
                    "The plan refers to \(missing.count) artifacts that are not stored, first \(missing[0])",
                    remedy: "Upload them, then submit again.")
            }
            logger.notice("run submitted", metadata: ["run": "\(plan.id)", "by": "\(name)", "stages": "\(plan.stages.count)"])
            pump.handle(.submitted(plan), at: now)
            pump.answer(waiting, with: .submitted(plan.id))
        case .wait(let run):
            guard let state = pump.scheduler.state(of: run) else {
                throw AMAFError("coordinator.no-run", "There is no run '\(run)'", remedy: "See `amaf status`.")
            }
            // What was decided in this very turn is told when it is durable.
            guard !state.isTerminal, waitCount < Self.waitLimit else { return pump.answer(waiting, with: Self.told(state)) }
            waitingForEnd[run, default: []].append(waiting)
            waitCount += 1
        case .status(let run):
            var snapshot = pump.scheduler.snapshot(at: now)
            if let run {
                snapshot.runs.removeAll { $0.id != run }
                guard !snapshot.runs.isEmpty else {
                    throw AMAFError("coordinator.no-run", "There is no run '\(run)'", remedy: "See `amaf status`.")
                }
            }
            let document = StatusDocument(snapshot, vitals: sortedVitals, head: headStatus(at: now))
            let (id, session, incoming) = (waiting.id, waiting.session, waiting.request)
            views.status(document, turnedAway: turnedAway, isNamed: run != nil) {
                incoming.reply($0.encoded(requestID: id, session: session))
            }
        case .workers:
            let document = WorkersDocument(pump.scheduler.snapshot(at: now), vitals: sortedVitals)
            show(to: waiting) { document }
        case .cancel(let run): try change(.cancel(run), of: run, waiting, at: now)
        case .pause(let run): try change(.pause(run), of: run, waiting, at: now)
        case .resume(let run): try change(.resume(run), of: run, waiting, at: now)
        case .retry(let run): try change(.retry(run), of: run, waiting, at: now)
        case .drain(let worker): try change(.drain(worker), of: worker, waiting, at: now)
        case .undrain(let worker): try change(.undrain(worker), of: worker, waiting, at: now)
        case .answer(let run, let stage, let results):
            if let missing = try store.artifacts.missing(among: results.flatMap(\.outputs).map(\.digest)).first {
                throw AMAFError("coordinator.missing-artifact", "The answers \(missing) are not stored", remedy: "Upload them first.")
            }
            try change(.answered(run, stage, results), of: run, waiting, at: now)
        case .explain(let task):
            let lines = pump.explain(task.run, task.stage, block: task.block, at: now)
            guard !lines.isEmpty else {
                throw AMAFError(
                    "coordinator.no-task",
                    "There is no \(task.block.map { "block \($0)" } ?? "block") of stage '\(task.stage)' in run '\(task.run)'",
                    remedy: "See `amaf status` for the runs and `amaf tasks RUN` for their tasks.")
            }
            show(to: waiting) { ExplanationDocument(lines: lines) }
        case .story, .tasks, .result, .history:
            let (request, id, session, incoming) = (request, waiting.id, waiting.session, waiting.request)
            views.answer(request) { incoming.reply($0.encoded(requestID: id, session: session)) }
        default:
            throw AMAFError(
                "coordinator.not-allowed", "Operator \(name) sent a worker's message",
                remedy: "Run 'amaf-worker'; an operator's session carries an operator's messages only.")
        }
    }

    /// WAIT's answer: nothing but letters, so it needs no encoder.
    private static func told(_ state: RunState) -> Response { .json(Array("{\"state\":\"\(state.rawValue)\"}".utf8)) }

    private mutating func change(_ event: Scheduler.Event, of run: RunID, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        guard pump.scheduler.state(of: run) != nil else {
            throw AMAFError("coordinator.no-run", "There is no run '\(run)'", remedy: "See `amaf status`.")
        }
        change(event, waiting, at: now)
    }

    private mutating func change(_ event: Scheduler.Event, of worker: WorkerID, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        guard pump.scheduler.knows(worker) else {
            throw AMAFError("coordinator.no-worker", "There is no worker '\(worker)'", remedy: "See `amaf workers`.")
        }
        change(event, waiting, at: now)
    }

    private mutating func change(_ event: Scheduler.Event, _ waiting: Pending, at now: Instant) {
        pump.handle(event, at: now)
        pump.answer(waiting, with: .done)
    }

    private var sortedVitals: [ReportedVitals] { vitals.values.sorted { $0.worker < $1.worker } }

    private func headStatus(at now: Instant) -> StatusDocument.Head {
        StatusDocument.Head(
            version: AMAFVersion.current, epoch: pump.scheduler.epoch, storeError: storeError?.description,
            refusedMessages: refusals.count,
            lastRefusal: refusals.last.isEmpty ? nil : refusals.last)
    }

    /// Turning a document into JSON takes milliseconds, which the loop does not have: the views' queue does it.
    private func show(to waiting: Pending, _ document: @escaping @Sendable () -> some Encodable & Sendable) {
        let (id, session, incoming) = (waiting.id, waiting.session, waiting.request)
        views.encode(document) { incoming.reply($0.encoded(requestID: id, session: session)) }
    }

    private func plan(from source: PlanSource) throws(AMAFError) -> RunPlan {
        let bytes: [UInt8] =
            switch source {
            case .inline(let bytes): bytes
            case .artifact(let digest): try store.artifacts.read(digest)
            }
        return try JSONText.decode(RunPlan.self, from: bytes, what: "plan")
    }
}
