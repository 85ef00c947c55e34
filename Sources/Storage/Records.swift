package import Primitives
package import Scheduling

/// A small result that travels with the rows that name it, in the same transaction.
package struct InlineArtifact: Hashable, Sendable {
    package let digest: Digest
    package let bytes: [UInt8]

    package init(_ bytes: [UInt8]) {
        self.bytes = bytes
        digest = Digest.of(bytes)
    }

    /// Bytes whose digest this room computed or checked before.
    init(_ bytes: [UInt8], known digest: Digest) {
        self.bytes = bytes
        self.digest = digest
    }

    /// Bytes that somebody else named.
    ///
    /// - Throws: `artifact.digest-mismatch` when the name is not theirs; `artifact.too-large` from 64 KiB on.
    package init(_ bytes: [UInt8], claimed: Digest) throws(AMAFError) {
        guard bytes.count < ArtifactStore.inlineThreshold else {
            throw AMAFError(
                "artifact.too-large", "An inline artifact of \(bytes.count) bytes exceeds \(ArtifactStore.inlineThreshold - 1)",
                place: claimed.hex,
                remedy: "Upload it through the artifact door.")
        }
        let found = Digest.of(bytes)
        guard found == claimed else { throw digestMismatch(claimed: claimed, found: found) }
        self.bytes = bytes
        digest = found
    }
}

func digestMismatch(claimed: Digest, found: Digest) -> AMAFError {
    AMAFError(
        "artifact.digest-mismatch", "Bytes announced as \(claimed.hex) hash to \(found.hex)", place: claimed.hex,
        remedy: "They were damaged on the way or on disk: send them again.", isTransient: true)
}

/// One answer of a person (or of a reviewer that stands in for one, named so in `who`).
package struct ReviewAnswer: Hashable, Sendable, Codable {
    package var run: RunID
    package var stage: StageID
    package var sample: String
    package var label: String
    package var who: String
    /// Time that the person spent on it.
    package var seconds: Double
    /// Wall clock, milliseconds since 1970.
    package var at: Int64

    package init(run: RunID, stage: StageID, sample: String, label: String, who: String, seconds: Double, at: Int64) {
        self.run = run
        self.stage = stage
        self.sample = sample
        self.label = label
        self.who = who
        self.seconds = seconds
        self.at = at
    }
}

/// An effect on a party that cannot ask again (an MLflow call, a web hook), kept until it was delivered.
package struct OutboxItem: Hashable, Sendable {
    /// Who delivers it: `mlflow`, `webhook`.
    package var target: String
    /// The same key is stored once for a target, so storing again after a crash changes nothing.
    package var key: String
    package var body: [UInt8]

    package init(target: String, key: String, body: [UInt8]) {
        self.target = target
        self.key = key
        self.body = body
    }
}

package struct StoredOutboxItem: Hashable, Sendable {
    package var id: Int64
    package var item: OutboxItem
    package var attempts: Int
    package var lastError: String?
    /// Wall clock, milliseconds since 1970.
    package var createdAt: Int64
}

/// A run as views list it; the plan is read by itself because it can be large.
package struct StoredRun: Hashable, Sendable {
    package var run: RunID
    package var state: RunState
    package var numericsClasses: [NumericsClass?]
    /// Wall clock, milliseconds since 1970.
    package var submittedAt: Int64
}

package struct StoredHistoryEntry: Hashable, Sendable, Codable {
    /// Rises with every entry; the cursor of a view that follows.
    package var id: Int64
    /// Wall clock when it was stored, milliseconds since 1970: for people, never for decisions.
    package var at: Int64
    package var entry: HistoryEntry
}

/// Which entries of the history a view wants: all conditions that are set must hold.
///
/// Run with stage, and cause, are found by index; the other conditions are tested entry by entry.
package struct HistoryFilter: Hashable, Sendable {
    package var run: RunID?
    package var stage: StageID?
    /// Entries whose range holds this block.
    package var block: Int?
    package var fence: Fence?
    package var worker: WorkerID?
    package var cause: UInt64?
    package var what: String?
    /// Only entries after this one.
    package var after: Int64 = 0
    package var limit: Int = 1000
    /// Newest first instead of in the order of events.
    package var newestFirst: Bool = false

    package init(
        run: RunID? = nil, stage: StageID? = nil, block: Int? = nil, fence: Fence? = nil, worker: WorkerID? = nil, cause: UInt64? = nil,
        what: String? = nil, after: Int64 = 0, limit: Int = 1000, newestFirst: Bool = false
    ) {
        self.run = run
        self.stage = stage
        self.block = block
        self.fence = fence
        self.worker = worker
        self.cause = cause
        self.what = what
        self.after = after
        self.limit = limit
        self.newestFirst = newestFirst
    }
}

/// Where a page of task rows starts: after this task.
package struct TaskCursor: Hashable, Sendable, Comparable {
    package var stage: Int
    package var block: Int

    package init(stage: Int, block: Int) {
        self.stage = stage
        self.block = block
    }

    package static func < (a: TaskCursor, b: TaskCursor) -> Bool { (a.stage, a.block) < (b.stage, b.block) }
}
