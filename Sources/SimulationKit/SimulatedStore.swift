import Primitives
import Scheduling

/// A model of a database with a write-ahead log: a transaction is there as a whole or not at all, and once it was
/// acknowledged it stays. It refuses what a store must never see: a committed result that changes.
struct SimulatedStore {
    struct Key: Hashable {
        var run: RunID
        var stage: Int
        var block: Int
    }
    private(set) var epoch: UInt64 = 0
    private(set) var runs: [StateChanges.RunRow] = []
    private(set) var tasks: [Key: TaskRow] = [:]
    private(set) var cached: [StateChanges.CachedResult] = []
    private var identities: Set<Digest> = []
    /// Written, not yet known to be durable.
    private var inFlight: StateChanges?

    mutating func raiseEpoch() -> UInt64 {
        epoch += 1
        return epoch
    }

    mutating func begin(_ changes: StateChanges) {
        precondition(inFlight == nil, "two transactions at once")
        inFlight = changes
    }

    /// The log reached the disk. Returns what is wrong with the transaction, if anything.
    mutating func finish() -> String? {
        guard let changes = inFlight else { return nil }
        inFlight = nil
        return apply(changes)
    }

    /// Power fails: the open transaction was complete in the log or it is torn, and then its checksum drops it whole.
    mutating func crash(tearing: Bool) -> String? {
        guard let changes = inFlight else { return nil }
        inFlight = nil
        return tearing ? nil : apply(changes)
    }

    private mutating func apply(_ changes: StateChanges) -> String? {
        for row in changes.newRuns {
            if runs.contains(where: { $0.plan.id == row.plan.id }) { return "run \(row.plan.id) was stored twice" }
            runs.append(row)
        }
        for change in changes.runStates {
            guard let i = runs.firstIndex(where: { $0.plan.id == change.run }) else {
                return "run \(change.run) changed before it was stored"
            }
            for (old, new) in zip(runs[i].numericsClasses, change.numericsClasses) where old != nil && old != new {
                return "the numerics class of a stage of \(change.run) changed"
            }
            runs[i].state = change.state
            runs[i].numericsClasses = change.numericsClasses
        }
        for row in changes.tasks {
            let key = Key(run: row.run, stage: row.stage, block: row.block)
            if let old = tasks[key] {
                if old.state == .done {
                    guard row.state == .done, old.result?.outputs == row.result?.outputs else {
                        return "the committed result of \(key) changed from fence \(old.fence) to \(row.state) of \(row.fence)"
                    }
                }
            }
            tasks[key] = row
        }
        for entry in changes.cached where identities.insert(entry.identity).inserted { cached.append(entry) }
        return nil
    }

    var state: StoredState {
        StoredState(
            runs: runs,
            tasks: tasks.values.sorted { a, b in
                (a.run, a.stage, a.block) < (b.run, b.stage, b.block)
            }, cached: cached)
    }
}
