import Primitives
import Scheduling

/// A model of a database with a write-ahead log: a transaction is there as a whole or not at all, and once it was
/// acknowledged it stays. It refuses what a store must never see: a committed result that changes, a row whose bytes are not there.
struct SimulatedStore {
    struct Key: Hashable {
        var run: RunID
        var stage: Int
        var block: Int
    }
    struct Transaction {
        var changes: StateChanges
        var artifacts: [Digest]
    }
    private(set) var epoch: UInt64 = 0
    private(set) var runs: [StateChanges.RunRow] = []
    private(set) var tasks: [Key: TaskRow] = [:]
    private(set) var cached: [StateChanges.CachedResult] = []
    private(set) var artifacts: Set<Digest> = []
    private var identities: Set<Digest> = []
    /// How often a row went from one state to another: (from + 1) · 8 + to, where a row that was not there comes from −1.
    private(set) var transitions = Array(repeating: 0, count: 64)

    mutating func raiseEpoch() -> UInt64 {
        epoch += 1
        return epoch
    }

    func row(_ run: RunID, _ stage: Int, _ block: Int) -> TaskRow? { tasks[Key(run: run, stage: stage, block: block)] }

    /// Makes a transaction durable. Returns what is wrong with it, if anything.
    mutating func apply(_ transaction: Transaction) -> String? {
        artifacts.formUnion(transaction.artifacts)
        let changes = transaction.changes
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
            if let wrong = store(row) { return wrong }
        }
        for entry in changes.cached where identities.insert(entry.identity).inserted { cached.append(entry) }
        return nil
    }

    private mutating func store(_ row: TaskRow) -> String? {
        let key = Key(run: row.run, stage: row.stage, block: row.block)
        let old = tasks.updateValue(row, forKey: key)
        transitions[(old.map { Int($0.state.rawValue) + 1 } ?? 0) * 8 + Int(row.state.rawValue)] += 1
        if let old {
            if old.state == .done, row.state != .done || old.result?.outputs != row.result?.outputs {
                return "the committed result of \(key) changed from fence \(old.fence) to \(row.state) of \(row.fence)"
            }
            if !old.maskedSamples.allSatisfy(row.maskedSamples.contains) {
                return "the masked samples of \(key) went from \(old.maskedSamples) to \(row.maskedSamples)"
            }
        }
        if row.state == .done, let missing = row.result?.outputs.first(where: { !artifacts.contains($0.digest) }) {
            return "the output \(missing.name) of \(key) is named before its bytes are stored"
        }
        return nil
    }

    var state: StoredState {
        StoredState(
            runs: runs, tasks: tasks.values.sorted { a, b in (a.run, a.stage, a.block) < (b.run, b.stage, b.block) }, cached: cached)
    }
}
