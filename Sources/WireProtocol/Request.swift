package import Primitives
package import Scheduling

/// How a worker's machine is at a beat. Only shown to operators: no decision hangs on it.
package struct WorkerVitals: Hashable, Sendable, Codable {
    /// The machine's own idea of the time, in milliseconds since 1970; the difference to the head's is its clock skew.
    package var wallClockMilliseconds: Int64
    /// On the disk of the worker's folder.
    package var diskFreeBytes: UInt64
    package var memoryAvailableBytes: UInt64
    /// Slot processes that ended by themselves since the agent started.
    package var slotDeaths: Int
    /// What went wrong last on the worker's own side; empty when nothing did.
    package var lastError: String

    package init(
        wallClockMilliseconds: Int64, diskFreeBytes: UInt64, memoryAvailableBytes: UInt64, slotDeaths: Int, lastError: String
    ) {
        self.wallClockMilliseconds = wallClockMilliseconds
        self.diskFreeBytes = diskFreeBytes
        self.memoryAvailableBytes = memoryAvailableBytes
        self.slotDeaths = slotDeaths
        self.lastError = lastError
    }
}

/// What a worker, an artifact client or an operator asks of the coordinator.
///
/// Each is idempotent by its request id: one that got no reply is sent again with the same id. Who sends it is told by
/// the session in the frame header, which the coordinator gave with WELCOME.
package enum Request: Hashable, Sendable {
    // MARK: Joining

    /// Asks for the nonce over which HELLO proves that its sender knows the join key. Needs no session.
    case challenge(versions: ProtocolVersionRange, build: String)
    /// A worker joins, or comes back. `proof` is `JoinKey.proof(of:challenge:)`. Needs no session.
    case hello(WorkerHello, proof: Digest)
    /// A person or program at the command line joins. `proof` is `JoinKey.proof(operator:challenge:)`. Needs no session.
    case operatorHello(name: String, proof: Digest)

    // MARK: Work

    /// May be parked by the coordinator until there is work.
    case lease(freeSlots: Int)
    /// All leases the worker holds, and how its machine is.
    case beat([Fence], WorkerVitals?)
    /// Finished blocks of leases; `inline` brings the bytes of artifacts of at most `WireLimits.inlineArtifact`. PROGRESS
    /// is the same with `isLast` false.
    case commit([LeaseCommit], inline: [InlineArtifact])
    case fail(Fence, FailureReport)
    /// Unfinished leases given back.
    case release([Fence])
    case bye

    // MARK: Artifacts (on the artifact door)

    case have([Digest])
    /// The bytes of an artifact from `offset`; at most `WireLimits.artifactChunk` of them.
    case put(Digest, offset: Int, total: Int, chunk: ArraySlice<UInt8>)
    case get(Digest, offset: Int, length: Int)

    // MARK: Operators

    /// `artifacts` are those that the plan refers to; they must be stored before.
    case submit(PlanSource, artifacts: [Digest])
    /// All runs without a run.
    case status(RunID?)
    case workers
    case cancel(RunID)
    case pause(RunID)
    case resume(RunID)
    case retry(RunID)
    case drain(WorkerID)
    case undrain(WorkerID)
    /// What people answered, as artifacts that are stored already.
    case answer(RunID, StageID, [BlockResult])
    case story(TaskName)
    /// Why it is not running.
    case explain(TaskName)
    case tasks(TaskQuery)
    /// The results of these stages, as far as they are done.
    case result(RunID, [StageID])
    /// Events of the whole cluster as a JSON array; asked again with the last one's number it follows what happens.
    case history(HistoryQuery)
    /// Held open until the run has ended; answered with a JSON object `{"state": …}`. Nobody polls.
    case wait(RunID)
}

/// A small artifact that rides inside COMMIT.
package struct InlineArtifact: Hashable, Sendable {
    package var digest: Digest
    package var bytes: [UInt8]

    /// The receiver must check that `bytes` have this digest before it believes so.
    package init(digest: Digest, bytes: [UInt8]) {
        self.digest = digest
        self.bytes = bytes
    }
}

/// A `RunPlan` as JSON: itself, or as a stored artifact when it does not fit into a control request.
package enum PlanSource: Hashable, Sendable {
    case inline([UInt8])
    case artifact(Digest)
}

/// One block task, or all tasks of a stage when `block` is nil.
package struct TaskName: Hashable, Sendable {
    package var run: RunID
    package var stage: StageID
    package var block: Int?

    package init(run: RunID, stage: StageID, block: Int? = nil) {
        self.run = run
        self.stage = stage
        self.block = block
    }
}

/// A page of the task list of a run.
package struct TaskQuery: Hashable, Sendable {
    package var run: RunID
    package var stage: StageID?
    package var state: TaskRow.State?
    package var offset: Int
    package var limit: Int

    package init(run: RunID, stage: StageID? = nil, state: TaskRow.State? = nil, offset: Int = 0, limit: Int = 100) {
        self.run = run
        self.stage = stage
        self.state = state
        self.offset = offset
        self.limit = limit
    }
}

/// Which events HISTORY wants: all conditions that are set must hold.
package struct HistoryQuery: Hashable, Sendable {
    package var run: RunID?
    package var stage: StageID?
    package var worker: WorkerID?
    /// Only events after the one of this number.
    package var after: Int
    package var limit: Int
    /// The last `limit` events, newest first, instead of the first in their order.
    package var newestFirst: Bool

    package init(
        run: RunID? = nil, stage: StageID? = nil, worker: WorkerID? = nil, after: Int = 0, limit: Int = 1000, newestFirst: Bool = false
    ) {
        self.run = run
        self.stage = stage
        self.worker = worker
        self.after = after
        self.limit = limit
        self.newestFirst = newestFirst
    }
}
