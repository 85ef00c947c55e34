import Foundation
import Logging
import Messaging
import Primitives
import Scheduling
import Storage
import WireProtocol

/// The body of the head: takes a batch of messages, lets the scheduler decide, stores what changed in one transaction, then answers.
///
/// A synchronous struct so that whoever owns it turns it by hand: the coordinator's thread here, a simulator elsewhere. Nothing is
/// answered before it is durable; the next batch is what arrived during the last fsync, so group commit needs no timer.
struct CoordinatorLoop {
    /// A request that waits for its reply.
    private struct Pending {
        var request: IncomingRequest
        var id: RequestID
        /// Written into the reply's header; WELCOME brings a new one.
        var session: UInt64
    }

    private(set) var scheduler: Scheduler
    private let store: Store
    private let sessions: SessionTable
    private let joinKey: JoinKey
    private let logger: Logger
    private let views: Views
    private var generator = SystemRandomNumberGenerator()
    private var pending: [RequestToken: Pending] = [:]
    private var nextToken: UInt64 = 1
    /// The last nonce given on a connection. One each is enough: a client joins in one go.
    private var nonces: [PipeID: [UInt8]] = [:]
    private var workerOfPipe: [PipeID: WorkerID] = [:]
    private var pipeOfWorker: [WorkerID: PipeID] = [:]
    /// Runs whose SUBMIT is answered once they are stored.
    private var effects: [Scheduler.Effect] = []
    private var answers: [(Pending, Response)] = []
    private var inline: [InlineArtifactToStore] = []
    private var unsaved: [(StateChanges, [InlineArtifactToStore])] = []
    /// Why the store does not take anything at present; shown by `status`.
    private(set) var storeError: AMAFError?
    private var refusals = Refusals()
    private var vitals: [WorkerID: ReportedVitals] = [:]

    typealias InlineArtifactToStore = Storage.InlineArtifact

    /// What was refused at the door lately, so that a wrong join key is seen on the head.
    struct Refusals {
        var count = 0
        var last = ""
    }

    init(
        scheduler: Scheduler, store: Store, sessions: SessionTable, joinKey: JoinKey, views: Views, logger: Logger
    ) {
        self.scheduler = scheduler
        self.store = store
        self.sessions = sessions
        self.joinKey = joinKey
        self.views = views
        self.logger = logger
    }

    var nextDeadline: Instant? { scheduler.nextDeadline }

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
                    effects += scheduler.handle(.pipeLost(worker), at: now)
                }
            }
        }
        if let due = scheduler.nextDeadline, due <= now { effects += scheduler.handle(.tick, at: now) }
        let changes = scheduler.takeChanges()
        if !changes.isEmpty || !inline.isEmpty {
            unsaved.append((changes, inline))
            inline = []
        }
        guard save() else { return [] }
        return carryOut()
    }

    /// Whether a batch waits for a store that refused it; the owner then turns the loop again after a while.
    var isBlocked: Bool { !unsaved.isEmpty }

    private mutating func save() -> Bool {
        while let (changes, artifacts) = unsaved.first {
            do throws(AMAFError) {
                try store.apply(changes, artifacts: artifacts)
            } catch {
                // What was decided stands; nothing is answered until the disk takes it.
                if storeError == nil { logger.error("the store refuses a transaction; work waits", metadata: ["error": "\(error)"]) }
                storeError = error
                return false
            }
            unsaved.removeFirst()
        }
        if storeError != nil { logger.notice("the store works again") }
        storeError = nil
        return true
    }

    private mutating func carryOut() -> [Scheduler.Effect] {
        var outward: [Scheduler.Effect] = []
        for effect in effects {
            switch effect {
            case .reply(let token, let reply, let commands):
                guard let waiting = pending.removeValue(forKey: token) else { continue }
                send(.worker(reply, commands: commands), to: waiting)
            case .runEnded, .ask, .blockCommitted:
                outward.append(effect)
            }
        }
        effects = []
        for (waiting, response) in answers { send(response, to: waiting) }
        answers = []
        return outward
    }

    private func send(_ response: Response, to waiting: Pending) {
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
                send(.failed(error), to: waiting)
            }
        }
    }

    private mutating func refuse(_ error: AMAFError, pipe: PipeID) {
        refusals.count += 1
        refusals.last = error.description
        logger.warning("refused a message", metadata: ["error": "\(error)", "pipe": "\(pipe)", "count": "\(refusals.count)"])
    }

    private mutating func token(for waiting: Pending) -> RequestToken {
        defer { nextToken += 1 }
        let token = RequestToken(rawValue: nextToken)
        pending[token] = waiting
        return token
    }

    private mutating func carry(_ request: Request, _ waiting: Pending, at now: Instant) throws(AMAFError) {
        switch request {
        case .challenge(let versions, _):
            let version = try ProtocolVersionRange.supported.negotiated(with: versions)
            let nonce = JoinKey.nonce(using: &generator)
            nonces[waiting.request.pipe] = nonce
            send(.challenge(nonce: nonce, version: version), to: waiting)
        case .hello(let hello, let proof):
            guard let nonce = nonces.removeValue(forKey: waiting.request.pipe), joinKey.verifies(proof, of: hello, challenge: nonce) else {
                throw wrongKey("Worker \(hello.worker) on \(hello.host)", pipe: waiting.request.pipe)
            }
            var waiting = waiting
            waiting.session = sessions.open(.worker(hello.worker), using: &generator)
            workerOfPipe[waiting.request.pipe] = hello.worker
            pipeOfWorker[hello.worker] = waiting.request.pipe
            effects += scheduler.handle(.hello(hello, token(for: waiting)), at: now)
        case .operatorHello(let name, let proof):
            guard let nonce = nonces.removeValue(forKey: waiting.request.pipe), joinKey.verifies(proof, operator: name, challenge: nonce)
            else { throw wrongKey("Operator \(name)", pipe: waiting.request.pipe) }
            var waiting = waiting
            waiting.session = sessions.open(.operatorNamed(name), using: &generator)
            send(.operatorWelcome, to: waiting)
        default:
            switch sessions.holder(of: waiting.session) {
            case .worker(let worker): try work(request, of: worker, waiting, at: now)
            case .operatorNamed(let name): try operate(request, by: name, waiting, at: now)
            case nil: send(.worker(.noted, commands: [.rejoin]), to: waiting)
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
        case .lease(let freeSlots): event = .leaseRequested(worker, freeSlots: freeSlots, token: token(for: waiting))
        case .beat(let fences, let reported):
            if let reported {
                let clock = Int64(Date().timeIntervalSince1970 * 1000)
                vitals[worker] = ReportedVitals(reported, of: worker, headClockMilliseconds: clock)
            }
            event = .beat(worker, leases: fences, token: token(for: waiting))
        case .commit(let commits, let riding):
            try take(riding, of: commits)
            event = .committed(worker, commits, token: token(for: waiting))
        case .fail(let fence, let report): event = .failed(worker, fence, report, token: token(for: waiting))
        case .release(let fences): event = .released(worker, fences, token: token(for: waiting))
        case .bye:
            event = .bye(worker, token(for: waiting))
            sessions.close(worker)
            vitals[worker] = nil
        default:
            throw AMAFError("coordinator.not-allowed", "Worker \(worker) sent an operator's message")
        }
        effects += scheduler.handle(event, at: now)
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
        inline += checked
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
            effects += scheduler.handle(.submitted(plan), at: now)
            answers.append((waiting, .submitted(plan.id)))
        case .status(let run):
            var snapshot = scheduler.snapshot(at: now)
            if let run {
                snapshot.runs.removeAll { $0.id != run }
                guard !snapshot.runs.isEmpty else {
                    throw AMAFError("coordinator.no-run", "There is no run '\(run)'", remedy: "See `amaf status`.")
                }
            }
            show(StatusDocument(snapshot, vitals: sortedVitals, head: headStatus(at: now)), to: waiting)
        case .workers:
            show(WorkersDocument(scheduler.snapshot(at: now), vitals: sortedVitals), to: waiting)
        case .cancel(let run): change(.cancel(run), waiting, at: now)
        case .pause(let run): change(.pause(run), waiting, at: now)
        case .resume(let run): change(.resume(run), waiting, at: now)
        case .retry(let run): change(.retry(run), waiting, at: now)
        case .drain(let worker): change(.drain(worker), waiting, at: now)
        case .undrain(let worker): change(.undrain(worker), waiting, at: now)
        case .answer(let run, let stage, let results):
            if let missing = try store.artifacts.missing(among: results.flatMap(\.outputs).map(\.digest)).first {
                throw AMAFError("coordinator.missing-artifact", "The answers \(missing) are not stored", remedy: "Upload them first.")
            }
            change(.answered(run, stage, results), waiting, at: now)
        case .explain(let task):
            guard let plan = scheduler.plan(of: task.run) else {
                throw AMAFError("coordinator.no-run", "There is no run '\(task.run)'", remedy: "See `amaf status`.")
            }
            show(
                ExplanationDocument(
                    lines: TaskExplanation.lines(for: task.stage, of: task.run, plan: plan, snapshot: scheduler.snapshot(at: now))),
                to: waiting)
        case .story, .tasks, .result:
            let (request, id, session, incoming) = (request, waiting.id, waiting.session, waiting.request)
            views.answer(request) { incoming.reply($0.encoded(requestID: id, session: session)) }
        default:
            throw AMAFError("coordinator.not-allowed", "Operator \(name) sent a worker's message")
        }
    }

    private mutating func change(_ event: Scheduler.Event, _ waiting: Pending, at now: Instant) {
        effects += scheduler.handle(event, at: now)
        answers.append((waiting, .done))
    }

    private var sortedVitals: [ReportedVitals] { vitals.values.sorted { $0.worker < $1.worker } }

    private func headStatus(at now: Instant) -> StatusDocument.Head {
        StatusDocument.Head(
            version: AMAFVersion.current, epoch: scheduler.epoch, storeError: storeError?.description, refusedMessages: refusals.count,
            lastRefusal: refusals.last.isEmpty ? nil : refusals.last)
    }

    /// Turning a document into JSON takes milliseconds, which the loop does not have: the views' queue does it.
    private func show(_ document: some Encodable & Sendable, to waiting: Pending) {
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
