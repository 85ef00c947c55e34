package import Primitives

/// What a stage reads: one named output of an earlier stage, or artifacts that were there before the run.
package struct StageInput: Hashable, Sendable, Codable {
    package enum Source: Hashable, Sendable, Codable {
        /// The named output of another stage of this run.
        case stage(StageID, output: String)
        /// Artifacts given at submission, for example the data set's source file. The same for every block.
        case artifacts([Digest])
    }
    package enum Reach: String, Hashable, Sendable, Codable {
        /// Block b reads what the other stage made for block b, and may start as soon as that is committed.
        case sameBlock
        /// Every block reads all blocks of the other stage: a true reduction waits for all of them.
        case allBlocks
    }
    /// The name under which the executor asks for it.
    package var name: String
    package var source: Source
    package var reach: Reach

    package init(_ name: String, from source: Source, reach: Reach) {
        self.name = name
        self.source = source
        self.reach = reach
    }
}

/// Where a stage may run. Tags are what workers were started with: `cpu`, `gpu`, or any word.
package struct StagePlacement: Hashable, Sendable, Codable {
    /// A worker must carry every one of these tags.
    package var requires: [String]
    /// A worker with this tag is taken first; after `preferenceDelay` without one any allowed worker will do.
    package var prefers: String?
    package var preferenceDelay: Duration

    package init(requires: [String] = [], prefers: String? = nil, preferenceDelay: Duration = .seconds(30)) {
        self.requires = requires
        self.prefers = prefers
        self.preferenceDelay = preferenceDelay
    }
}

/// One stage of a run: the same work on each of its blocks.
package struct StageSpec: Hashable, Sendable, Codable {
    package enum Performer: String, Hashable, Sendable, Codable {
        case workers
        /// The stage waits, durably, for an answer from outside (`Scheduler.Event.answered`).
        case people
    }
    package var id: StageID
    /// Which executor runs it, for example `extract-features`.
    package var kind: String
    /// Raised whenever the executor's output changes for the same input; part of the identity.
    package var codeVersion: Int
    /// Canonical JSON (sorted keys); part of the identity.
    package var parameters: String
    /// 1 for a reduction.
    package var blocks: Int
    package var inputs: [StageInput]
    package var placement: StagePlacement
    package var performer: Performer
    /// Never speculated, and re-leased only after the deadline.
    package var costsMoney: Bool
    /// Blocks per lease at most; nil leaves it to the scheduler.
    package var leaseLimit: Int?
    /// Stages of one group are shown as one bar (`score-uncertainty` of all rounds and arms).
    package var group: String
    /// Samples of the data set behind the blocks, and samples in one block: what bisection down to a poison sample needs to know.
    /// 0 where blocks are not ranges of samples; a block that kills its process is then quarantined whole.
    package var samples: Int
    package var blockSize: Int

    package init(
        id: StageID, kind: String, codeVersion: Int = 1, parameters: String = "{}", blocks: Int, inputs: [StageInput],
        placement: StagePlacement = StagePlacement(), performer: Performer = .workers, costsMoney: Bool = false, leaseLimit: Int? = nil,
        group: String? = nil, samples: Int = 0, blockSize: Int = 0
    ) {
        self.id = id
        self.kind = kind
        self.codeVersion = codeVersion
        self.parameters = parameters
        self.blocks = blocks
        self.inputs = inputs
        self.placement = placement
        self.performer = performer
        self.costsMoney = costsMoney
        self.leaseLimit = leaseLimit
        self.group = group ?? kind
        self.samples = samples
        self.blockSize = blockSize
    }
}

extension StageSpec {
    /// A plan is stored once and read by every later release: fields that came after 0.1.0's first schema have defaults.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            id: try fields.decode(StageID.self, forKey: .id), kind: try fields.decode(String.self, forKey: .kind),
            codeVersion: try fields.decode(Int.self, forKey: .codeVersion), parameters: try fields.decode(String.self, forKey: .parameters),
            blocks: try fields.decode(Int.self, forKey: .blocks), inputs: try fields.decode([StageInput].self, forKey: .inputs),
            placement: try fields.decode(StagePlacement.self, forKey: .placement),
            performer: try fields.decode(Performer.self, forKey: .performer),
            costsMoney: try fields.decode(Bool.self, forKey: .costsMoney),
            leaseLimit: try fields.decodeIfPresent(Int.self, forKey: .leaseLimit),
            group: try fields.decode(String.self, forKey: .group), samples: try fields.decodeIfPresent(Int.self, forKey: .samples) ?? 0,
            blockSize: try fields.decodeIfPresent(Int.self, forKey: .blockSize) ?? 0)
    }
}

/// A run as submitted: its stages in an order in which every input comes before its reader.
package struct RunPlan: Hashable, Sendable, Codable {
    package var id: RunID
    package var name: String
    /// Higher first; equal priorities share by `weight`.
    package var priority: Int
    package var weight: Double
    package var stages: [StageSpec]
    /// Lets workers of several numerics classes work on one stage; `status` and the report then say so.
    package var allowsMixedNumerics: Bool
    /// What the submitter wants back with the run (pipeline text, paths); opaque to the scheduler.
    package var annotation: String

    package init(
        id: RunID, name: String, priority: Int = 0, weight: Double = 1, stages: [StageSpec], allowsMixedNumerics: Bool = false,
        annotation: String = ""
    ) {
        self.id = id
        self.name = name
        self.priority = priority
        self.weight = weight
        self.stages = stages
        self.allowsMixedNumerics = allowsMixedNumerics
        self.annotation = annotation
    }
}

/// One artifact that a block task made.
package struct TaskOutput: Hashable, Sendable, Codable {
    package var name: String
    package var digest: Digest
    package var byteCount: Int

    package init(name: String, digest: Digest, byteCount: Int) {
        self.name = name
        self.digest = digest
        self.byteCount = byteCount
    }
}

/// The result of one block task as a worker reports it.
package struct BlockResult: Hashable, Sendable, Codable {
    package var block: Int
    /// In the order of the executor's declaration.
    package var outputs: [TaskOutput]
    /// Counters for the report (rows, quarantined samples, CPU milliseconds); not part of the result digest.
    package var metrics: [String: Double]

    package init(block: Int, outputs: [TaskOutput], metrics: [String: Double] = [:]) {
        self.block = block
        self.outputs = outputs
        self.metrics = metrics
    }

    /// What decides whether two results are the same: names and digests of all outputs.
    package var digest: Digest {
        var hasher = DigestHasher()
        for output in outputs {
            hasher.update(field: output.name)
            hasher.update(digest: output.digest)
        }
        return hasher.finish()
    }
}

/// What a worker is given: whole blocks of one stage, and the artifacts to read.
package struct LeaseGrant: Hashable, Sendable, Codable {
    package struct Input: Hashable, Sendable, Codable {
        package var name: String
        package var reach: StageInput.Reach
        /// `.sameBlock`: one digest for each block of the lease, in order. `.allBlocks`: one for each block of the other stage.
        package var digests: [Digest]

        package init(name: String, reach: StageInput.Reach, digests: [Digest]) {
            self.name = name
            self.reach = reach
            self.digests = digests
        }
    }
    package var fence: Fence
    package var run: RunID
    package var stage: StageID
    package var kind: String
    package var codeVersion: Int
    package var parameters: String
    package var blocks: Range<Int>
    /// Samples to leave out in place, because they killed a process before. Sorted positions inside the data set.
    package var maskedSamples: [Int]
    /// Halved by the scheduler after the slot ran out of memory; executors that batch divide their batch by 2^shift.
    package var batchShift: Int
    package var inputs: [Input]
    /// How long the lease lives without a beat, counted from when the worker receives it.
    package var timeToLive: Duration

    package init(
        fence: Fence, run: RunID, stage: StageID, kind: String, codeVersion: Int, parameters: String, blocks: Range<Int>,
        maskedSamples: [Int] = [], batchShift: Int = 0, inputs: [Input], timeToLive: Duration
    ) {
        self.fence = fence
        self.run = run
        self.stage = stage
        self.kind = kind
        self.codeVersion = codeVersion
        self.parameters = parameters
        self.blocks = blocks
        self.maskedSamples = maskedSamples
        self.batchShift = batchShift
        self.inputs = inputs
        self.timeToLive = timeToLive
    }
}

/// Why an attempt ended without a result; it decides what happens next (DESIGN, scheduling contract).
package enum FailureClass: String, Hashable, Sendable, Codable {
    /// May succeed later by itself: retried with exponential backoff and seeded full jitter.
    case transient
    /// Will fail every time: the task fails at once.
    case permanent
    /// Out of memory: retried with half the batch.
    case resource
    /// The slot's process died by a signal: evidence against the task.
    case crash
}

package struct FailureReport: Hashable, Sendable, Codable {
    package var failureClass: FailureClass
    package var error: AMAFError
    /// The block at work when it happened, if known.
    package var block: Int?

    package init(_ failureClass: FailureClass, _ error: AMAFError, block: Int? = nil) {
        self.failureClass = failureClass
        self.error = error
        self.block = block
    }
}

/// The arbitration of one committed block (DESIGN section 6).
package enum CommitVerdict: String, Hashable, Sendable, Codable {
    case accepted, duplicate, conflict, fenced
}

/// A lease as its worker remembers it.
package struct HeldLease: Hashable, Sendable, Codable {
    package var fence: Fence
    package var run: RunID
    package var stage: StageID
    package var blocks: Range<Int>
    /// Whether samples were masked: a new head does not know the masks and does not adopt it.
    package var isMasked: Bool

    package init(fence: Fence, run: RunID, stage: StageID, blocks: Range<Int>, isMasked: Bool = false) {
        self.fence = fence
        self.run = run
        self.stage = stage
        self.blocks = blocks
        self.isMasked = isMasked
    }
}

/// What a worker says of itself in HELLO.
package struct WorkerHello: Hashable, Sendable, Codable {
    package var worker: WorkerID
    /// New for each start of the agent process: a changed nonce means that all it held before is gone.
    package var bootNonce: UInt64
    /// Sorted.
    package var tags: [String]
    package var slots: Int
    package var memoryBytes: UInt64
    package var numericsClass: NumericsClass
    package var build: String
    package var host: String
    /// Leases it still works on or whose results it holds.
    package var heldFences: [Fence]
    /// The same leases with what they cover, so that a grant which the store lost in a crash can be adopted. May be left empty.
    package var heldLeases: [HeldLease]

    package init(
        worker: WorkerID, bootNonce: UInt64, tags: [String], slots: Int, memoryBytes: UInt64, numericsClass: NumericsClass, build: String,
        host: String, heldFences: [Fence], heldLeases: [HeldLease] = []
    ) {
        self.worker = worker
        self.bootNonce = bootNonce
        self.tags = tags
        self.slots = slots
        self.memoryBytes = memoryBytes
        self.numericsClass = numericsClass
        self.build = build
        self.host = host
        self.heldFences = heldFences
        self.heldLeases = heldLeases
    }
}
