import Primitives

/// The state of one block task in 32 bytes; a million of them take 32 MB.
struct TaskCell: Hashable, Sendable {
    var state = TaskRow.State.waiting
    /// Attempts that ended in a failure which counts.
    var attempts: UInt8 = 0
    /// Child processes that died on this block.
    var deaths: UInt8 = 0
    /// Leases that ended because their worker vanished; they only back off.
    var losses: UInt8 = 0
    /// Live leases that cover this block while it is uncommitted: 0, 1, or 2 with a second fence.
    var live: UInt8 = 0
    /// Same-block inputs that are not committed yet.
    var unmet: UInt8 = 0
    /// Runs in a lease of its own, so that a death names it.
    var isIsolated = false
    /// Waits for a backoff timer: ready, but not in the ready set.
    var isBackingOff = false
    /// The live or last fence; 0 when never leased.
    var fence: UInt64 = 0
    /// Index of the worker that held the last fence or committed; -1 for none.
    var worker: Int32 = -1
    /// Handle in the result archive; -1 until done.
    var result: Int32 = -1
}

/// Who reads a stage, seen from the stage that is read.
struct Dependent: Hashable, Sendable {
    var stage: Int
    var reach: StageInput.Reach
}

/// One stage of a run: its blocks, which of them are ready, and what is known of their speed.
struct StageTable: Hashable, Sendable {
    let blocks: Int
    let byPeople: Bool
    let costsMoney: Bool
    let leaseLimit: Int
    /// Interned names, see `Scheduler.names`.
    let kind: Int
    let requires: [Int]
    let prefers: Int?
    let preferenceDelay: Duration
    let dependents: [Dependent]
    /// Names of outputs that later stages read.
    let wantedOutputs: [String]
    /// What every identity of this stage begins with.
    let identityPrefix: [UInt8]
    /// Whether there are inputs that all blocks share.
    let hasReductionInput: Bool

    var cells: [TaskCell]
    /// Blocks that may be leased now; those leased already are there for a second fence.
    var ready: BlockSet
    /// Blocks whose row must be written.
    var dirty: BlockSet
    var isListedDirty = false
    /// Number of blocks by `TaskRow.State`.
    var counts: [Int]
    /// All-block inputs whose stage is not complete.
    var unmetReductions: Int
    var numericsClass: Int?
    /// Live fences of this stage, in the order of their grants.
    var leases: [UInt64] = []
    /// Raised after a slot ran out of memory: the next executions halve their batch so many times.
    var batchShift = 0
    var errors: [Int: AMAFError] = [:]
    var masks: [Int: [Int]] = [:]
    var bisections: [Int: Bisection] = [:]
    /// Workers that a block must avoid, because its last child died there and others can tell whether it is the block or the box.
    var avoided: [Int: [Int]] = [:]
    var isAsked = false
    /// Set by the circuit breaker: nothing of the stage is given out until an operator's `retry`.
    var stop: AMAFError?
    /// Tasks that failed for good since the last success, and where.
    var failedInRow = 0
    var failedOn: [Int] = []
    /// Bytes of all outputs of a block, as a moving average.
    var bytesPerBlock: Double?
    /// Refused for its uncommitted bytes, so that the next commit must wake those who wait.
    var isThrottled = false

    /// When its first block became ready, or a preferred worker last took one.
    var preferenceSince: Instant?
    var placementTimer: Instant?
    var readySince: Instant?
    /// Bytes that every lease must have because all blocks read them, and who has them.
    var sharedBytes = 0
    var sharedHolders: [Int] = []
    /// The combined digest of all blocks' outputs by output name, made when a reduction first asks.
    var reductionDigests: [String: Digest] = [:]

    /// Seconds of one block: of the stage, and by worker.
    var secondsPerBlock: Double?
    var secondsPerBlockOn: [Int: Double] = [:]
    /// Worker seconds spent on committed blocks.
    var seconds = 0.0
    var retries = 0
    var conflicts = 0
    var cached = 0
    var eligibleSlots = 0
    var eligibleSlotsVersion: UInt64 = .max

    var uncommitted: Int { blocks - counts[Int(TaskRow.State.done.rawValue)] }
    func count(_ state: TaskRow.State) -> Int { counts[Int(state.rawValue)] }
    var isComplete: Bool { count(.done) == blocks }

    mutating func move(_ block: Int, to state: TaskRow.State) {
        counts[Int(cells[block].state.rawValue)] -= 1
        counts[Int(state.rawValue)] += 1
        cells[block].state = state
    }
}

/// The search for the sample that kills its process, inside one convicted block.
///
/// `suspects` always holds at least one poison sample as far as is known. A probe runs the lower half of it alone: if the
/// child dies, the poison is there; if it survives, the upper half is left. A single suspect is convicted by its own death.
struct Bisection: Hashable, Sendable {
    var suspects: Range<Int>
    var probe: Range<Int>
    /// Probes may be lost with their worker; this counts those that told something.
    var steps = 0
}

/// One submitted run.
struct RunTable: Hashable, Sendable {
    let plan: RunPlan
    let stageIndex: [StageID: Int]
    /// Positions of the stages by urgency: the longest chain of stages that waits for them, then their place in the plan.
    let order: [Int]
    let position: [Int]
    var state: RunState = .running
    var stages: [StageTable]
    /// Positions of stages with a ready block.
    var readyStages: BlockSet
    /// Positions of stages with a live lease, for the tail.
    var leasedStages: BlockSet
    /// Worker-performed blocks that are ready or leased.
    var active = 0
    /// People's stages that were asked and not yet answered.
    var asked = 0
    var incompleteStages: Int
    /// Weighted worker seconds it was given: the measure of fair share.
    var served = 0.0
    var isPaused = false
    var isListedDirty = false
    var isNew = false
    /// Preferred tags that one of its stages waited for in vain: the next does not wait again while no worker has them.
    var vainPreferences: [Int] = []
}

/// A grant that is alive.
struct Lease: Hashable, Sendable {
    var fence: Fence
    var run: Int
    var stage: Int
    /// Shrinks at its end when a part is split off.
    var blocks: Range<Int>
    var worker: Int
    var grantedAt: Instant
    var deadline: Instant
    var lastProgress: Instant
    /// Blocks of it that nobody has committed.
    var open: Int
    /// Its worker's connection broke: the blocks may be given to another as well.
    var isOrphaned = false
    /// Restored after a restart and not yet presented by its worker.
    var awaitsAdoption = false
    /// Runs only some samples, to find the one that kills; its result is not wanted.
    var isProbe = false
    var isSpeculative = false
    /// A part of what its worker was told to do went to another.
    var wasSplit = false
    var batchShift = 0
    /// Charged to the run at the grant, replaced by the true time at the end.
    var charge = 0.0
    /// Blocks finished as of the last beat or commit, for the tail.
    var finished = 0
}
