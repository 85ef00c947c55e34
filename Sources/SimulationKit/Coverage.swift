import Scheduling

/// How often each thing happened, over all seeds: a fault that was never reached proves nothing.
package struct Coverage: Sendable {
    package private(set) var counts: [String: Int] = [:]
    /// By the verb of the history, kept apart so that an event costs no string.
    private var history: [String: Int] = [:]

    mutating func note(_ what: String, _ count: Int = 1) { counts[what, default: 0] += count }
    mutating func noteHistory(_ what: String) { history[what, default: 0] += 1 }

    /// Transitions of stored rows, see `SimulatedStore.transitions`.
    mutating func note(transitions: [Int]) {
        for (i, count) in transitions.enumerated() where count > 0 {
            let from = TaskRow.State(rawValue: UInt8(truncatingIfNeeded: i / 8 - 1)).map { "\($0)" } ?? "none"
            guard let to = TaskRow.State(rawValue: UInt8(i % 8)) else { continue }
            note("task: \(from) to \(to)", count)
        }
    }

    /// With everything under its name.
    func named() -> Coverage {
        var all = Coverage()
        all.counts = counts
        for (what, count) in history { all.note("history: \(what)", count) }
        return all
    }

    package mutating func add(_ other: Coverage) { counts.merge(other.counts) { $0 + $1 } }

    /// Faults that struck, of all kinds.
    var faults: Int { counts.reduce(0) { $0 + ($1.key.hasPrefix("fault: ") ? $1.value : 0) } }

    /// What a campaign of five thousand seeds must have met at least once.
    package static let required: [String] =
        FaultKind.allCases.map { "fault: \($0.rawValue)" }
        + [
            "message dropped", "message duplicated", "message delayed", "transaction torn", "transaction kept by a crash", "write refused",
            "child crashed", "child killed by a sample", "child out of memory", "transient error", "permanent error", "straggler",
            "child deaf to cancel",
        ].map { "fault: \($0)" }
        + ["accepted", "duplicate", "conflict", "fenced"].map { "verdict: \($0)" }
        + ["transient", "permanent", "resource", "crash"].map { "failure: \($0)" }
        + [
            "leased", "committed", "expired", "revoked", "released", "failed", "cancelled", "adopted", "split", "batch-halved", "convicted",
            "acquitted", "sample-quarantined", "task-quarantined", "task-failed", "stage-stopped", "stage-reopened", "worker-joined",
            "worker-lost", "worker-suspect", "worker-left", "worker-draining", "worker-undrained", "worker-drained", "pipe-lost", "asked",
            "answered", "paused", "resumed", "retried", "run-ended", "head-started", "fenced", "conflict", "submitted",
        ].map { "history: \($0)" }
        + [
            "none to leased", "none to ready", "none to done", "none to cancelled", "ready to leased", "ready to ready", "ready to done",
            "ready to cancelled", "leased to leased", "leased to ready", "leased to done", "leased to failed", "leased to quarantined",
            "leased to cancelled", "failed to leased", "failed to ready", "quarantined to leased",
        ].map { "task: \($0)" }
        + ["speculations", "second fences", "cached blocks", "adopted leases", "blocks redone", "throttled stages"].map { "total: \($0)" }
        + ["succeeded", "failed", "cancelled"].map { "run: \($0)" }
        + [
            "results parked while the head was away", "worker left by itself", "masks known to a new head", "turns while the store refused",
            "commits to a head whose store refused", "workers told of work with a beat",
        ]

    package var missing: [String] { Self.required.filter { counts[$0, default: 0] == 0 } }
}
