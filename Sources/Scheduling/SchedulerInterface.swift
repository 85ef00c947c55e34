package import Primitives

/// Names one request that waits for a reply; the shell that received it knows how to answer.
package struct RequestToken: Hashable, Sendable {
    package var rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// The results of one lease, or the part of it that is finished.
package struct LeaseCommit: Hashable, Sendable, Codable {
    package var fence: Fence
    package var results: [BlockResult]
    /// False for PROGRESS: the worker goes on with the remaining blocks of the lease.
    package var isLast: Bool

    package init(fence: Fence, results: [BlockResult], isLast: Bool) {
        self.fence = fence
        self.results = results
        self.isLast = isLast
    }
}

/// Orders that ride on any reply.
package enum WorkerCommand: Hashable, Sendable, Codable {
    /// Take no new work, finish or return what is there, then say BYE.
    case drain
    /// Stop working on this lease: its fence is dead or its run is cancelled.
    case drop(Fence)
    /// The coordinator does not know this session: send HELLO again.
    case rejoin
    /// There is work: ask for leases now, whatever pause the last answer named.
    case ask
}

/// What the coordinator answers to a worker.
package enum WorkerReply: Hashable, Sendable {
    case welcome(epoch: UInt64, beatInterval: Duration, keep: [Fence], drop: [Fence])
    /// No grants: ask again after `retryAfter`.
    case grants([LeaseGrant], retryAfter: Duration)
    /// `next`: the following beat is due after so long; nil for the interval of WELCOME.
    case beat(timeToLive: Duration, next: Duration?)
    /// One verdict for each result, in the order of the commit's lists.
    case committed([[CommitVerdict]])
    case noted
}

extension Scheduler {
    package enum Event: Hashable, Sendable {
        case submitted(RunPlan)
        case hello(WorkerHello, RequestToken)
        /// The worker has this many free slots and takes at most so many leases. May be parked until there is work.
        case leaseRequested(WorkerID, freeSlots: Int, token: RequestToken)
        /// All leases it works on; `finishedBlocks` only feeds the progress display and the tail policy.
        case beat(WorkerID, leases: [Fence], token: RequestToken)
        case committed(WorkerID, [LeaseCommit], token: RequestToken)
        case failed(WorkerID, Fence, FailureReport, token: RequestToken)
        /// Unfinished leases given back (drain).
        case released(WorkerID, [Fence], token: RequestToken)
        case bye(WorkerID, RequestToken)
        /// The connection broke; the worker may come back.
        case pipeLost(WorkerID)
        /// People answered a stage: its outputs are durable artifacts already.
        case answered(RunID, StageID, [BlockResult])
        case drain(WorkerID), undrain(WorkerID)
        case cancel(RunID), pause(RunID), resume(RunID)
        /// Puts failed and quarantined tasks of a run back to waiting.
        case retry(RunID)
        case tick
    }

    /// What the shell must do after it has stored `takeChanges()`.
    package enum Effect: Hashable, Sendable {
        case reply(RequestToken, WorkerReply, commands: [WorkerCommand])
        /// Every stage of the run is done, failed or cancelled.
        case runEnded(RunID, RunState)
        /// A stage performed by people has all its inputs: present it.
        case ask(RunID, StageID)
        /// A block was committed for the first time: merge it into the views that follow it.
        case blockCommitted(RunID, StageID, BlockResult)
    }
}

package enum RunState: String, Hashable, Sendable, Codable {
    case running, paused, waitingForPeople, succeeded, failed, cancelled
    package var isTerminal: Bool { self == .succeeded || self == .failed || self == .cancelled }
}

/// The state of one block task as stored. Rows are written and read by position; this is the truth that survives the head.
package struct TaskRow: Hashable, Sendable {
    package enum State: UInt8, Hashable, Sendable { case waiting = 0, ready, leased, done, failed, quarantined, cancelled }
    package var run: RunID
    /// Position of the stage in the plan.
    package var stage: Int
    package var block: Int
    package var state: State
    /// The live or last fence; 0 when never leased.
    package var fence: Fence
    package var worker: WorkerID?
    package var attempts: Int
    /// Set when done.
    package var result: BlockResult?
    /// The last error when failed or quarantined.
    package var error: AMAFError?
    /// Samples convicted of killing their process, left out in place by every later attempt. Sorted positions in the data set; they only grow.
    package var maskedSamples: [Int]

    package init(
        run: RunID, stage: Int, block: Int, state: State, fence: Fence, worker: WorkerID? = nil, attempts: Int = 0,
        result: BlockResult? = nil, error: AMAFError? = nil, maskedSamples: [Int] = []
    ) {
        self.run = run
        self.stage = stage
        self.block = block
        self.state = state
        self.fence = fence
        self.worker = worker
        self.attempts = attempts
        self.result = result
        self.error = error
        self.maskedSamples = maskedSamples
    }
}

/// One line of the append-only history behind `amaf story`. Never replayed.
package struct HistoryEntry: Hashable, Sendable, Codable {
    /// Chains an event to its effects and log lines.
    package var cause: UInt64
    /// `leased`, `committed`, `fenced`, `worker-lost` …
    package var what: String
    package var run: RunID?
    package var stage: StageID?
    package var blocks: Range<Int>?
    package var fence: Fence?
    package var worker: WorkerID?
    package var detail: String

    package init(
        cause: UInt64, what: String, run: RunID? = nil, stage: StageID? = nil, blocks: Range<Int>? = nil, fence: Fence? = nil,
        worker: WorkerID? = nil, detail: String = ""
    ) {
        self.cause = cause
        self.what = what
        self.run = run
        self.stage = stage
        self.blocks = blocks
        self.fence = fence
        self.worker = worker
        self.detail = detail
    }
}

/// Everything that one batch of events changed and that must be durable before an effect is carried out.
package struct StateChanges: Hashable, Sendable {
    package struct RunRow: Hashable, Sendable {
        package var plan: RunPlan
        package var state: RunState
        /// Fixed per stage when its first task is leased; same length as the stages.
        package var numericsClasses: [NumericsClass?]

        package init(plan: RunPlan, state: RunState, numericsClasses: [NumericsClass?]) {
            self.plan = plan
            self.state = state
            self.numericsClasses = numericsClasses
        }
    }
    /// A finished identity: the cache that makes a rerun free. Output digests by identity, kept across runs.
    package struct CachedResult: Hashable, Sendable {
        package var identity: Digest
        package var result: BlockResult

        package init(identity: Digest, result: BlockResult) {
            self.identity = identity
            self.result = result
        }
    }
    /// Runs whose row changed; plans only when new (`newPlans`), since a plan never changes.
    package var newRuns: [RunRow] = []
    package var runStates: [(run: RunID, state: RunState, numericsClasses: [NumericsClass?])] = []
    package var tasks: [TaskRow] = []
    package var cached: [CachedResult] = []
    package var history: [HistoryEntry] = []

    package init() {}
    package var isEmpty: Bool { newRuns.isEmpty && runStates.isEmpty && tasks.isEmpty && cached.isEmpty && history.isEmpty }

    package static func == (a: Self, b: Self) -> Bool {
        a.newRuns == b.newRuns && a.tasks == b.tasks && a.cached == b.cached && a.history == b.history
            && a.runStates.elementsEqual(b.runStates) {
                $0.run == $1.run && $0.state == $1.state && $0.numericsClasses == $1.numericsClasses
            }
    }
    package func hash(into hasher: inout Hasher) {
        hasher.combine(tasks)
        hasher.combine(history)
    }
}

/// What the store holds at start, as the scheduler needs it for recovery.
package struct StoredState: Sendable {
    package var runs: [StateChanges.RunRow]
    /// Every task row that was ever written, in any order; tasks without a row are waiting.
    package var tasks: [TaskRow]
    package var cached: [StateChanges.CachedResult]

    package init(runs: [StateChanges.RunRow] = [], tasks: [TaskRow] = [], cached: [StateChanges.CachedResult] = []) {
        self.runs = runs
        self.tasks = tasks
        self.cached = cached
    }
}

/// The knobs of the scheduler, all of them in `configs/defaults.yaml`.
package struct SchedulerSettings: Hashable, Sendable, Codable {
    /// A lease without a beat lives this long.
    package var leaseTimeToLive: Duration = .seconds(15)
    package var beatInterval: Duration = .seconds(3)
    /// After a head restart, previously leased tasks wait this long for their workers to come back.
    package var recoveryGrace: Duration = .seconds(15)
    /// A worker silent for so long is suspect, and after `leaseTimeToLive` lost.
    package var suspectAfter: Duration = .seconds(8)
    package var maximumAttempts: Int = 5
    package var backoffBase: Duration = .seconds(1)
    package var backoffCap: Duration = .seconds(60)
    /// Adaptive lease size aims at this much work in one lease.
    package var leaseTarget: Duration = .seconds(10)
    package var tasksPerSlot: Int = 8
    package var maximumBlocksPerLease: Int = 1024
    /// Lease requests held open at most; others are told when to ask again.
    package var maximumParkedRequests: Int = 64
    package var parkTimeout: Duration = .seconds(10)
    /// Those others together ask so often. Where one of them would wait for more than a quarter of a beat, they hear of work with their beats.
    package var unparkedRequestsPerSecond: Int = 100
    package var forcedLeaseBlocks: Int? = nil
    package var splitsTail: Bool = true
    package var speculates: Bool = true
    /// So many tasks of a stage that fail for good in a row, on two workers or on all there are, stop the stage until a `retry`.
    package var circuitBreakerFailures: Int = 8
    /// Leases of a stage are held back while its results under way are more than this, by the mean size so far.
    package var maximumUncommittedBytes: Int = 1 << 30

    package init() {}
}
