package import Primitives

/// The worker agent's brain: which lease runs in which slot, what must be told to the coordinator, and when to say it again.
/// Pure, like `Scheduler`: time is an argument, chance is seeded, nothing is read or sent.
///
/// Owner: the agent's loop, one thread. One request of each kind is open at a time, but several commits when results pile up
/// (`+Commits`). A result stays here until its verdict came, so a lost reply is asked for again and a head that is away loses nothing: work goes on, results wait,
/// and HELLO presents the fences that are held.
package struct WorkerState: Sendable {
    package let settings: WorkerSettings
    package let hello: WorkerHello

    enum Session: Hashable, Sendable {
        case notStarted
        /// HELLO must be sent or is on its way.
        case joining
        case joined
        case left
    }
    enum Slot: Hashable, Sendable {
        /// Its child has not said yet that it waits for work.
        case starting
        case idle
        case running(Fence)
        case cancelling(killAt: Instant)
    }
    /// A lease from its grant until all its results met their verdicts.
    struct Held: Hashable, Sendable {
        enum Phase: Hashable, Sendable {
            case queued
            case running(slot: Int)
            /// The child is done with it; `results` still wait for verdicts.
            case finished
            case failed(FailureReport)
            case returning
        }
        var grant: LeaseGrant
        var phase: Phase
        /// The worker's own deadline, earlier than the coordinator's because it is counted from when the request left.
        var deadline: Instant
        /// Finished blocks without a verdict, oldest first.
        var results: [Parked] = []
        var finishedBlocks = 0
        /// Blocks whose verdicts came.
        var settledBlocks = 0
        /// Open commits that carry results of this lease, or the word that nothing follows.
        var openCommits = 0
        var ending = Ending.unsaid

        /// Nothing is left to do or to say.
        var isSettled: Bool { phase == .finished && results.isEmpty && (ending == .said || settledBlocks >= grant.blocks.count) }
    }
    enum Kind: Int, CaseIterable, Sendable { case hello, lease, beat, commit, fail, release, bye }
    /// The one open request of a kind, and when the next may leave.
    struct Channel: Hashable, Sendable {
        var token: RequestToken?
        var sentAt = Instant.origin
        var deadline = Instant.distantFuture
        var failures = 0
        var notBefore = Instant.origin
    }

    var openCommits: [OpenCommit] = []
    var session = Session.notStarted
    package private(set) var isDraining = false
    var drainDeadline: Instant?
    package private(set) var epoch: UInt64 = 0
    var beatInterval: Duration
    var nextBeat = Instant.origin
    var slots: [Slot]
    /// In the order of their grants.
    var held: [Held] = []
    var channels: [Channel]
    var beatFences: [Fence] = []
    var releasing: [Fence] = []
    var failing: Fence?
    var nextToken: UInt64 = 1
    var random: SeededGenerator
    /// For status lines and tests.
    package internal(set) var counters = Counters()

    package struct Counters: Hashable, Sendable {
        package var accepted = 0
        package var duplicates = 0
        package var conflicts = 0
        package var fenced = 0
        package var requestsFailed = 0
        package var leasesDropped = 0
    }

    /// - Parameters:
    ///   - hello: what the agent says of itself; `heldFences` is filled in here.
    ///   - seed: of the jitter.
    package init(hello: WorkerHello, settings: WorkerSettings = WorkerSettings(), seed: UInt64) {
        precondition(hello.slots > 0, "worker \(hello.worker) has \(hello.slots) slots")
        self.hello = hello
        self.settings = settings
        beatInterval = settings.beatInterval
        slots = Array(repeating: .starting, count: hello.slots)
        channels = Array(repeating: Channel(), count: Kind.allCases.count)
        random = SeededGenerator(seed: seed)
    }

    package var heldFences: [Fence] { held.map(\.grant.fence) }
    package var hasLeft: Bool { session == .left }
    /// Results that no verdict has come for.
    package var parkedResults: Int { held.reduce(0) { $0 + $1.results.count } }

    package mutating func handle(_ event: Event, at now: Instant) -> [Effect] {
        guard session != .left else { return [] }
        var effects: [Effect] = []
        switch event {
        case .started:
            if session == .notStarted { session = .joining }
        case .slotReady(let slot):
            if slots.indices.contains(slot) { slotBecameReady(slot) }
        case .blockFinished(let fence, let result):
            if let i = index(of: fence) {
                held[i].results.append(Parked(result: result))
                held[i].finishedBlocks += 1
            }
        case .leaseFinished(let slot, let fence):
            free(slot, from: fence)
            if let i = index(of: fence) { held[i].phase = .finished }
            forgetSettled(&effects)
        case .leaseFailed(let slot, let fence, let report):
            free(slot, from: fence)
            if let i = index(of: fence) { held[i].phase = .failed(report) }
        case .slotDied(let slot, let failureClass, let error):
            if slots.indices.contains(slot) { slotDied(slot, failureClass, error) }
        case .replied(let token, let reply, let commands):
            if let open = closeCommit(token) {
                commitAnswered(open, reply, at: now, &effects)
            } else {
                guard let kind = Kind.allCases.first(where: { channels[$0.rawValue].token == token }) else { return [] }
                replied(kind, reply, at: now, &effects)
            }
            for command in commands { obey(command, at: now, &effects) }
        case .requestFailed(let token):
            if let open = closeCommit(token) {
                commitFailed(open, at: now)
            } else {
                guard let kind = Kind.allCases.first(where: { channels[$0.rawValue].token == token }) else { return [] }
                requestFailed(kind, at: now)
            }
        case .outputsLost(let fence):
            giveUpResults(of: fence, at: now, &effects)
        case .connectionLost:
            // HELLO is tried again with backoff even if nobody ever says that the connection is back.
            abandonAll(&effects)
            if session == .joined { session = .joining }
            if session == .joining { requestFailed(.hello, at: now) }
        case .connectionRestored:
            for kind in Kind.allCases { channels[kind.rawValue].notBefore = now }
        case .drainRequested(let within):
            isDraining = true
            if let within {
                let deadline = now + within
                drainDeadline = drainDeadline.map { min($0, deadline) } ?? deadline
            }
        case .tick:
            break
        }
        expire(at: now, &effects)
        pump(at: now, &effects)
        return effects
    }

    // MARK: Slots

    private mutating func slotBecameReady(_ slot: Int) {
        // A ready child that should be running has lost its lease on the way (a respawn that nobody reported): run it again.
        if case .running(let fence) = slots[slot], let i = index(of: fence) { held[i].phase = .queued }
        slots[slot] = .idle
    }

    private mutating func free(_ slot: Int, from fence: Fence) {
        guard slots.indices.contains(slot) else { return }
        if slots[slot] == .running(fence) { slots[slot] = .idle }
    }

    private mutating func slotDied(_ slot: Int, _ failureClass: FailureClass, _ error: AMAFError) {
        defer { slots[slot] = .starting }
        guard case .running(let fence) = slots[slot], let i = index(of: fence) else { return }
        let block = held[i].grant.blocks.lowerBound + held[i].finishedBlocks
        held[i].phase = .failed(FailureReport(failureClass, error, block: min(block, held[i].grant.blocks.upperBound - 1)))
    }

    // MARK: Leases

    func index(of fence: Fence) -> Int? { held.firstIndex { $0.grant.fence == fence } }

    /// Forgets a lease whose fence is dead, and stops its child.
    mutating func drop(_ fence: Fence, at now: Instant, _ effects: inout [Effect]) {
        guard let i = index(of: fence) else { return }
        if case .running(let slot) = held[i].phase { cancel(slot, at: now, &effects) }
        held.remove(at: i)
        counters.leasesDropped += 1
        effects.append(.leaseSettled(fence))
    }

    mutating func cancel(_ slot: Int, at now: Instant, _ effects: inout [Effect]) {
        slots[slot] = .cancelling(killAt: now + settings.cancelGrace)
        effects.append(.cancelSlot(slot))
    }

    private mutating func obey(_ command: WorkerCommand, at now: Instant, _ effects: inout [Effect]) {
        switch command {
        case .drain: isDraining = true
        case .drop(let fence): drop(fence, at: now, &effects)
        case .rejoin: if session == .joined { session = .joining }
        case .ask: channels[Kind.lease.rawValue].notBefore = now
        }
    }

    // MARK: Replies

    private mutating func replied(_ kind: Kind, _ reply: WorkerReply, at now: Instant, _ effects: inout [Effect]) {
        let sentAt = channels[kind.rawValue].sentAt
        channels[kind.rawValue].token = nil
        channels[kind.rawValue].failures = 0
        channels[kind.rawValue].notBefore = now
        switch (kind, reply) {
        case (.hello, .welcome(let epoch, let interval, let keep, let drop)):
            session = .joined
            self.epoch = epoch
            beatInterval = interval
            nextBeat = now + interval
            for fence in drop { self.drop(fence, at: now, &effects) }
            for fence in keep { renew(fence, from: sentAt, for: nil) }
        case (.lease, .grants(let grants, let retryAfter)):
            if grants.isEmpty { channels[kind.rawValue].notBefore = now + retryAfter }
            for grant in grants where index(of: grant.fence) == nil {
                held.append(Held(grant: grant, phase: .queued, deadline: now))
                renew(grant.fence, from: now, for: grant.timeToLive)
            }
        case (.beat, .beat(let timeToLive, let next)):
            if let next { nextBeat = now + next }
            for fence in beatFences { renew(fence, from: sentAt, for: timeToLive) }
        case (.fail, _):
            if let fence = failing { forget(fence, &effects) }
            failing = nil
        case (.release, _):
            for fence in releasing { forget(fence, &effects) }
            releasing = []
        case (.bye, _):
            session = .left
            effects.append(.exit)
        case (.hello, _), (.lease, _), (.beat, _), (.commit, _):
            break
        }
    }

    mutating func forget(_ fence: Fence, _ effects: inout [Effect]) {
        guard let i = index(of: fence) else { return }
        held.remove(at: i)
        effects.append(.leaseSettled(fence))
    }

    /// A tenth of the time to live is kept in hand for the way of the reply and for clocks that run apart.
    private mutating func renew(_ fence: Fence, from sentAt: Instant, for timeToLive: Duration?) {
        guard let i = index(of: fence) else { return }
        let lifetime = timeToLive ?? held[i].grant.timeToLive
        held[i].deadline = max(held[i].deadline, sentAt + lifetime * 9 / 10)
    }

    private mutating func requestFailed(_ kind: Kind, at now: Instant) {
        channels[kind.rawValue].token = nil
        backOff(kind, at: now)
        undo(kind)
    }

    /// Full jitter below a ceiling that doubles with each failure in a row.
    mutating func backOff(_ kind: Kind, at now: Instant) {
        counters.requestsFailed += 1
        let k = kind.rawValue
        channels[k].failures += 1
        let ceiling = min(settings.retryCap.nanoseconds, settings.retryBase.nanoseconds << Int64(min(channels[k].failures - 1, 20)))
        channels[k].notBefore = now + .nanoseconds(Int64(Double(ceiling) * random.uniform()))
    }

    /// What an unanswered request leaves behind.
    private mutating func undo(_ kind: Kind) {
        switch kind {
        case .fail: failing = nil
        case .release: releasing = []
        case .hello, .lease, .beat, .bye, .commit: break
        }
    }

    private mutating func abandonAll(_ effects: inout [Effect]) {
        for kind in Kind.allCases {
            guard let token = channels[kind.rawValue].token else { continue }
            channels[kind.rawValue].token = nil
            undo(kind)
            effects.append(.abandon(token))
        }
        for open in openCommits {
            unmark(open)
            effects.append(.abandon(open.token))
        }
        openCommits = []
    }

    // MARK: Time

    private mutating func expire(at now: Instant, _ effects: inout [Effect]) {
        for kind in Kind.allCases {
            guard let token = channels[kind.rawValue].token, channels[kind.rawValue].deadline <= now else { continue }
            effects.append(.abandon(token))
            requestFailed(kind, at: now)
        }
        while let late = openCommits.first(where: { $0.deadline <= now }), let open = closeCommit(late.token) {
            effects.append(.abandon(open.token))
            commitFailed(open, at: now)
        }
        for slot in slots.indices {
            if case .cancelling(let killAt) = slots[slot], killAt <= now {
                slots[slot] = .starting
                effects.append(.killSlot(slot))
            }
        }
        if let deadline = drainDeadline, deadline <= now {
            for i in held.indices {
                if case .running(let slot) = held[i].phase {
                    cancel(slot, at: now, &effects)
                    held[i].phase = .returning
                }
            }
        }
    }

    /// When `tick` is due; nil when only an event from outside can change anything.
    package var nextDeadline: Instant? {
        guard session != .left, session != .notStarted else { return nil }
        var earliest = Instant.distantFuture
        for channel in channels where channel.token != nil { earliest = min(earliest, channel.deadline) }
        for open in openCommits { earliest = min(earliest, open.deadline) }
        for case .cancelling(let killAt) in slots { earliest = min(earliest, killAt) }
        if let drainDeadline, held.contains(where: { if case .running = $0.phase { true } else { false } }) {
            earliest = min(earliest, drainDeadline)
        }
        if session == .joining {
            if isDraining, let drainDeadline { earliest = min(earliest, drainDeadline) }
            if channels[Kind.hello.rawValue].token == nil { earliest = min(earliest, channels[Kind.hello.rawValue].notBefore) }
        } else {
            if channels[Kind.beat.rawValue].token == nil { earliest = min(earliest, max(nextBeat, channels[Kind.beat.rawValue].notBefore)) }
            // The others come into it only when they have something to say; what is past due was tried by the last event.
            if wantedLeases > 0, channels[Kind.lease.rawValue].token == nil {
                earliest = min(earliest, channels[Kind.lease.rawValue].notBefore)
            }
            for kind in [Kind.commit, .fail, .release, .bye]
            where channels[kind.rawValue].token == nil && hasSomethingToSay(kind) {
                earliest = min(earliest, channels[kind.rawValue].notBefore)
            }
        }
        return earliest == .distantFuture ? nil : earliest
    }

    // MARK: What to say next

    private func hasSomethingToSay(_ kind: Kind) -> Bool {
        switch kind {
        case .commit: mayCommit
        case .fail: held.contains { if case .failed = $0.phase { $0.results.isEmpty } else { false } }
        case .release: held.contains { $0.phase == .returning && $0.results.isEmpty }
        // An open lease request may still bring leases, which must be given back first.
        case .bye: isDraining && held.isEmpty && channels[Kind.lease.rawValue].token == nil
        case .hello, .lease, .beat: true
        }
    }

    /// How many more leases this worker can use.
    var wantedLeases: Int {
        guard !isDraining else { return 0 }
        // Results that nobody takes must not pile up without end.
        guard held.count < slots.count + settings.maximumUnsettledLeases else { return 0 }
        let waiting = held.count { $0.phase == .queued }
        let idle = slots.count { $0 == .idle }
        let usable = slots.count { if case .starting = $0 { false } else { true } }
        return usable == 0 ? 0 : idle + settings.prefetchedLeases - waiting
    }

    private func mayOpen(_ kind: Kind, at now: Instant) -> Bool {
        channels[kind.rawValue].token == nil && channels[kind.rawValue].notBefore <= now
    }

    mutating func newToken() -> RequestToken {
        defer { nextToken += 1 }
        return RequestToken(rawValue: nextToken)
    }

    private mutating func send(_ kind: Kind, _ request: WorkerRequest, at now: Instant, _ effects: inout [Effect]) {
        let token = newToken()
        let timeout = kind == .lease ? settings.leaseRequestTimeout : settings.requestTimeout
        channels[kind.rawValue].token = token
        channels[kind.rawValue].sentAt = now
        channels[kind.rawValue].deadline = now + timeout
        effects.append(.send(token, request))
    }

    private mutating func pump(at now: Instant, _ effects: inout [Effect]) {
        guard session == .joining || session == .joined else { return }
        startQueued(at: now, &effects)
        if session == .joining {
            // A head that is away or turns this worker down must not keep a drained box alive.
            if isDraining, held.isEmpty || drainDeadline.map({ $0 <= now }) ?? false {
                session = .left
                return effects.append(.exit)
            }
            guard mayOpen(.hello, at: now) else { return }
            // The answers to older requests belong to a session that is over.
            abandonAll(&effects)
            var hello = hello
            hello.heldFences = heldFences.sorted()
            hello.heldLeases = held.map(\.grant).sorted { $0.fence < $1.fence }.map {
                HeldLease(fence: $0.fence, run: $0.run, stage: $0.stage, blocks: $0.blocks, isMasked: !$0.maskedSamples.isEmpty)
            }
            return send(.hello, .hello(hello), at: now, &effects)
        }
        if mayOpen(.beat, at: now), nextBeat <= now {
            beatFences = heldFences
            nextBeat = now + beatInterval
            send(.beat, .beat(beatFences), at: now, &effects)
        }
        if channels[Kind.commit.rawValue].notBefore <= now { sendCommits(at: now, &effects) }
        if mayOpen(.fail, at: now) { sendFailure(at: now, &effects) }
        if mayOpen(.release, at: now) { sendRelease(at: now, &effects) }
        if wantedLeases > 0, mayOpen(.lease, at: now) { send(.lease, .lease(freeSlots: wantedLeases), at: now, &effects) }
        if hasSomethingToSay(.bye), mayOpen(.bye, at: now) {
            if channels[Kind.bye.rawValue].failures >= settings.byeAttempts {
                session = .left
                effects.append(.exit)
            } else {
                send(.bye, .bye, at: now, &effects)
            }
        }
    }

    private mutating func startQueued(at now: Instant, _ effects: inout [Effect]) {
        for i in held.indices where held[i].phase == .queued {
            if isDraining {
                held[i].phase = .returning
                continue
            }
            // Nothing is begun on a lease that may be dead already; running work goes on, since its fence may be adopted.
            guard now < held[i].deadline, let slot = slots.firstIndex(of: .idle) else { continue }
            slots[slot] = .running(held[i].grant.fence)
            held[i].phase = .running(slot: slot)
            effects.append(.startLease(slot: slot, held[i].grant))
        }
    }

    /// A failure ends the lease, so it waits until the blocks finished before it have their verdicts.
    private mutating func sendFailure(at now: Instant, _ effects: inout [Effect]) {
        for entry in held where entry.results.isEmpty {
            guard case .failed(let report) = entry.phase else { continue }
            failing = entry.grant.fence
            return send(.fail, .fail(entry.grant.fence, report), at: now, &effects)
        }
    }

    private mutating func sendRelease(at now: Instant, _ effects: inout [Effect]) {
        let fences = held.filter { $0.phase == .returning && $0.results.isEmpty }.map(\.grant.fence)
        guard !fences.isEmpty else { return }
        releasing = fences
        send(.release, .release(fences), at: now, &effects)
    }
}
