/// How often each thing happened, over all seeds: a fault that was never reached proves nothing.
package struct Coverage: Sendable {
    package private(set) var counts: [String: Int] = [:]

    mutating func note(_ what: String, _ count: Int = 1) { counts[what, default: 0] += count }

    package mutating func add(_ other: Coverage) { counts.merge(other.counts) { $0 + $1 } }

    /// What a campaign of a thousand seeds must have met at least once.
    package static let required: [String] =
        FaultKind.allCases.map { "fault: \($0.rawValue)" }
        + [
            "fault: message dropped", "fault: message duplicated", "fault: message delayed", "fault: transaction torn",
            "fault: transaction kept by a crash",
            "fault: write failed", "fault: child crashed", "fault: child killed by a sample", "fault: child out of memory",
            "fault: transient error",
            "fault: permanent error", "fault: straggler", "fault: child deaf to cancel",
        ]
        + ["accepted", "duplicate", "conflict", "fenced"].map { "verdict: \($0)" }
        + [
            "leased", "committed", "expired", "revoked", "released", "failed", "cancelled", "adopted", "split", "batch-halved", "convicted",
            "sample-quarantined",
            "task-quarantined", "task-failed", "worker-joined", "worker-lost", "worker-suspect", "worker-left", "worker-draining",
            "pipe-lost", "asked",
            "answered", "paused", "resumed", "retried", "run-ended", "head-started", "fenced", "conflict",
        ].map { "history: \($0)" }
        + ["speculations", "second fences", "cached blocks", "adopted leases", "blocks redone"].map { "total: \($0)" }
        + ["succeeded", "failed", "cancelled"].map { "run: \($0)" }

    package var missing: [String] { Self.required.filter { counts[$0, default: 0] == 0 } }
}
