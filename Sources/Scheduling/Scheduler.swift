package import Primitives

/// The coordinator's brain: which task runs where, when, and again. Pure: time is an argument, chance is seeded, nothing is read or sent.
///
/// Owner: the coordinator's loop, one thread. Call `handle` for each event of a batch, store `takeChanges()` in one
/// transaction, then carry out the effects. Send `.tick` after the messages of a batch and never before them: deadlines
/// fall only in ticks, so beats that wait in the inbox of a head that was held up still renew their leases.
///
/// State lives in arrays by index (runs, stages, blocks, workers); dictionaries are looked up and never walked, so no
/// hash order reaches a decision. `+Readiness` says what may run, `+Placement` where, `+Leases` who holds what,
/// `+Commit` whose result counts, `+Failures` what is tried again, `+Recovery` how a new head takes over.
package struct Scheduler: Sendable {
    package let settings: SchedulerSettings
    package let epoch: UInt64
    /// Mistakes planted on purpose, so that the simulator can prove that it would see them. Empty outside of it.
    package var defects: Defects = []

    var random: SeededGenerator
    var nextFence: UInt64 = 1
    var cause: UInt64 = 0
    var timers = TimerHeap()

    var runs: [RunTable] = []
    var runIndex: [RunID: Int] = [:]
    /// Runs that are not over, in the order of their submission.
    var liveRuns: [Int] = []
    var workers: [WorkerRecord] = []
    var workerIndex: [WorkerID: Int] = [:]
    /// Raised when slots, tags or lives of workers change, so that what was derived from them is made anew.
    var registryVersion: UInt64 = 0
    var leases: [Fence: Lease] = [:]
    /// Where each fence of this epoch was granted, by counter - 1; it outlives the lease, so that a late duplicate is known as one.
    var grantLog: [GrantedAt] = []
    /// The same for fences of earlier epochs found in the store, sorted by fence.
    var oldGrants: [OldGrant] = []
    /// The lease whose results are being arbitrated.
    var committing: Fence?
    var parked: [ParkedRequest] = []

    var archive = ResultArchive()
    var cache = IdentityCache()
    var names = NameTable()
    /// Seconds per block by interned kind: the first guess for a new stage.
    var kindSeconds: [Int: Double] = [:]

    /// Blocks whose inputs are all there, still to be looked up in the cache or put into their ready set.
    var arriving: [BlockAddress] = []
    /// Whether a parked request might be served now and was not tried since.
    var workAppeared = false
    /// Cache hits that one call may still resolve.
    var resolveBudget = 0
    var isTailDue = false
    var isTailTimerArmed = false
    var touchedRuns: [Int] = []
    var dirtyStages: [StageAddress] = []
    var dirtyRuns: [Int] = []
    var changes = StateChanges()
    /// Effects decided outside of `handle`, by recovery.
    var pendingEffects: [Effect] = []
    var effects: [Effect] = []
    package internal(set) var totals = Totals()

    struct BlockAddress: Hashable, Sendable {
        var run: Int
        var stage: Int
        var block: Int
    }
    struct GrantedAt: Hashable, Sendable {
        var run: Int32
        var stage: Int32
    }
    struct OldGrant: Hashable, Sendable {
        var fence: UInt64
        var granted: GrantedAt
    }
    struct StageAddress: Hashable, Sendable {
        var run: Int
        var stage: Int
    }

    /// - Parameters:
    ///   - epoch: raised durably by the store at every start of a head.
    ///   - seed: of the generator behind jitter and tie-breaks.
    package init(settings: SchedulerSettings, epoch: UInt64, seed: UInt64, recovering stored: StoredState, at now: Instant) {
        var recovery = SchedulerRecovery(settings: settings, epoch: epoch, seed: seed, at: now)
        recovery.expect(tasks: stored.tasks.count, cached: stored.cached.count)
        for entry in stored.cached { recovery.add(entry) }
        for row in stored.runs { recovery.add(row) }
        for row in stored.tasks { recovery.add(row) }
        self = recovery.finish()
    }

    /// Without any state; recovery fills it in.
    init(settings: SchedulerSettings, epoch: UInt64, seed: UInt64) {
        precondition(settings.maximumAttempts > 0 && settings.maximumBlocksPerLease > 0, "settings without attempts or blocks: \(settings)")
        self.settings = settings
        self.epoch = epoch
        random = SeededGenerator(seed: seed ^ epoch &* 0x9E37_79B9_7F4A_7C15)
    }

    package mutating func handle(_ event: Event, at now: Instant) -> [Effect] {
        cause += 1
        resolveBudget = Self.resolvedBlocksPerCall
        switch event {
        case .submitted(let plan): submit(plan, at: now)
        case .hello(let hello, let token): greet(hello, token, at: now)
        case .leaseRequested(let worker, let freeSlots, let token): requestLeases(worker, freeSlots, token, at: now)
        case .beat(let worker, let fences, let token): beat(worker, fences, token, at: now)
        case .committed(let worker, let commits, let token): commit(worker, commits, token, at: now)
        case .failed(let worker, let fence, let report, let token): fail(worker, fence, report, token, at: now)
        case .released(let worker, let fences, let token): release(worker, fences, token, at: now)
        case .bye(let worker, let token): sayBye(worker, token, at: now)
        case .pipeLost(let worker): losePipe(worker, at: now)
        case .answered(let run, let stage, let results): answer(run, stage, results, at: now)
        case .drain(let worker): setDraining(worker, true, reason: nil)
        case .undrain(let worker): setDraining(worker, false, reason: nil)
        case .cancel(let run): cancel(run, at: now)
        case .pause(let run): setPaused(run, true)
        case .resume(let run): setPaused(run, false)
        case .retry(let run): retry(run, at: now)
        case .tick: fireTimers(at: now)
        }
        settle(at: now)
        if !pendingEffects.isEmpty {
            effects.insert(contentsOf: pendingEffects, at: 0)
            pendingEffects = []
        }
        defer { effects = [] }
        return effects
    }

    /// Brings what the event set in motion to rest: arrivals, parked requests, ends of runs.
    private mutating func settle(at now: Instant) {
        resolveArrivals(at: now)
        while workAppeared, !parked.isEmpty {
            workAppeared = false
            serveParked(at: now)
            resolveArrivals(at: now)
        }
        if !touchedRuns.isEmpty { reviewRuns(at: now) }
    }

    /// When `tick` must be sent at the latest; nil when nothing is timed.
    package var nextDeadline: Instant? { pendingEffects.isEmpty ? timers.first?.at : .origin }

    /// Identities looked up in one call at most: a rerun of a million finished blocks must not hold up the beats.
    static let resolvedBlocksPerCall = 8192

    private mutating func fireTimers(at now: Instant) {
        while let timer = timers.popDue(at: now) {
            switch timer.purpose {
            case .lease(let fence): leaseTimer(fence, at: now)
            case .worker(let w): workerTimer(w, at: now)
            case .backoff(let r, let s, let b): backoffEnds(r, s, b, at: now)
            case .park(let token): parkEnds(token)
            case .placement, .resume: workAppeared = true
            case .tail:
                isTailTimerArmed = false
                isTailDue = true
                workAppeared = true
            }
        }
    }

    mutating func tell(
        _ what: String, run: Int? = nil, stage: Int? = nil, blocks: Range<Int>? = nil, fence: Fence? = nil, worker: Int? = nil,
        _ detail: String = ""
    ) {
        changes.history.append(
            HistoryEntry(
                cause: cause, what: what, run: run.map { runs[$0].plan.id },
                stage: run.flatMap { r in stage.map { runs[r].plan.stages[$0].id } },
                blocks: blocks, fence: fence, worker: worker.map { workers[$0].id }, detail: detail))
    }

    mutating func reply(_ token: RequestToken, _ reply: WorkerReply, to w: Int, alsoSaying more: [WorkerCommand] = []) {
        var commands = more
        if workers[w].isDraining { commands.append(.drain) }
        if !workers[w].drops.isEmpty {
            commands += workers[w].drops.map { .drop($0) }
            workers[w].drops = []
        }
        effects.append(.reply(token, reply, commands: commands))
    }
}

/// Sums since the start of this head.
package struct Totals: Hashable, Sendable, Codable {
    package var leasesGranted = 0
    /// Ended by their deadline.
    package var leasesExpired = 0
    /// Ended because their worker vanished, restarted or was told to stop.
    package var leasesRevoked = 0
    /// Blocks that were leased, not committed, and leased again.
    package var blocksRedone = 0
    package var accepted = 0
    package var duplicates = 0
    package var conflicts = 0
    package var fenced = 0
    package var cached = 0
    package var retries = 0
    package var splits = 0
    package var speculations = 0
    package var secondFences = 0
    package var adopted = 0
    package var quarantinedSamples = 0
    package var quarantinedBlocks = 0
    package var workersLost = 0
    package var workersDrainedForFailures = 0
    /// By the circuit breaker.
    package var stagesStopped = 0
    /// Times that a stage began to wait for its uncommitted bytes.
    package var throttled = 0

    package init() {}
}

/// Mistakes that the simulator plants to prove that its checkers see them.
package struct Defects: OptionSet, Hashable, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }
    /// Any result for an uncommitted block is taken, whatever its fence.
    package static let fenceIgnored = Defects(rawValue: 1)
    /// A committed block is overwritten by the next result.
    package static let lastResultWins = Defects(rawValue: 2)
    /// Parked requests are served in the order of a hash table.
    package static let hashOrder = Defects(rawValue: 4)
    /// The pump answers before what it answers is stored.
    package static let answersBeforeJournal = Defects(rawValue: 8)
}
