import Primitives
import Scheduling

/// Where one write of a seed goes wrong on purpose, so that every write can be tried.
package enum WriteFault: String, CaseIterable, Sendable {
    /// The store refuses the transaction; the head tries again.
    case fails
    /// Power fails in the middle: the transaction's checksum drops it whole.
    case tears
    /// Power fails when the transaction had reached the disk, but before anybody was told.
    case isKept = "kept"
}

/// The store of a simulated head, seen by the real pump: writes take virtual time, fail, and are cut short by a crash.
///
/// A turn of the head is computed at once, but its thread is blocked for as long as its writes take: what it sends after a write
/// leaves that much later, and a crash before that moment finds the write under way. A class, because the pump owns one end and the
/// world the other; both on the one thread of the seed.
final class SimulatedJournal: SchedulerJournal {
    private struct Write {
        var transaction: SimulatedStore.Transaction
        /// Since the start of the turn.
        var finishedAt: Duration
    }
    private(set) var store = SimulatedStore()
    /// SQLite beside the model, if this seed runs on it.
    private let real: RealStore?
    /// SQLite takes a refused transaction back for good; other stores may not.
    private let hasGhosts: Bool
    private var random: SeededGenerator
    private let failureRate: Double
    private let fault: (write: Int, what: WriteFault)?
    private var writes: [Write] = []
    /// A refused transaction whose bytes may have reached the log all the same; the next write overwrites them.
    private var ghost: SimulatedStore.Transaction?
    private var outage = 0

    /// How long the head's thread has been blocked in this turn.
    private(set) var elapsed = Duration.zero
    /// Writes since the start of the seed, over all heads.
    private(set) var count = 0
    /// The head must die in the middle of the write that was just begun.
    private(set) var deadly: WriteFault?
    private var armed: WriteFault?
    var isCalm = false
    var failures = 0
    /// What was decided since the world last looked.
    private(set) var history: [HistoryEntry] = []
    /// Something that a store must never see, or SQLite does otherwise than the model.
    private(set) var complaint: String?
    /// The model and SQLite went apart on purpose: a log that was folded back cannot be torn.
    private(set) var couldNotTear = false

    init(seed: UInt64, failureRate: Double, fault: (write: Int, what: WriteFault)?, hasGhosts: Bool, real: RealStore?) {
        self.hasGhosts = hasGhosts
        random = SeededGenerator(seed: seed, stream: "journal")
        self.failureRate = failureRate
        self.fault = fault
        self.real = real
    }

    // MARK: The pump's end

    func decided(_ changes: StateChanges) { history += changes.history }

    func apply(_ changes: StateChanges, artifacts: [Digest]) throws(AMAFError) {
        count += 1
        let transaction = SimulatedStore.Transaction(changes: changes, artifacts: artifacts)
        if refuses() {
            failures += 1
            elapsed += .microseconds(300)
            ghost = transaction
            real?.refuse(changes, existing: store.runs.first)
            throw AMAFError("store.io", "The simulated disk refused write \(count)", isTransient: true)
        }
        ghost = nil
        if let real {
            do throws(AMAFError) {
                try real.apply(changes, artifacts: artifacts)
            } catch {
                complain("SQLite refused what the model took: \(error)")
            }
        }
        let seconds = random.uniform() < 0.05 ? random.uniform() * 0.2 : 0.0005 + random.uniform() * 0.0035
        elapsed += .nanoseconds(Int64(seconds * 1e9))
        writes.append(Write(transaction: transaction, finishedAt: elapsed))
        if let fault, fault.write == count, fault.what != .fails { deadly = fault.what }
        if let armed { deadly = armed }
        armed = nil
    }

    private func refuses() -> Bool {
        if let fault, fault.write == count { return fault.what == .fails }
        if isCalm { return false }
        if outage > 0 {
            outage -= 1
            return true
        }
        guard failureRate > 0, random.uniform() < failureRate else { return false }
        // Now and then the disk stays full for a while.
        if random.uniform() < 0.3 { outage = 1 + random.index(below: 12) }
        return true
    }

    // MARK: The world's end

    func beginTurn() {
        precondition(writes.isEmpty, "a turn began while \(writes.count) writes were under way")
        elapsed = .zero
        real?.beginTurn()
    }

    func dieAtNextWrite(_ what: WriteFault) { armed = what }

    func takeHistory() -> [HistoryEntry] {
        defer { history = [] }
        return history
    }

    private func complain(_ what: String) { if complaint == nil { complaint = what } }

    private func keep(_ transaction: SimulatedStore.Transaction) {
        if let wrong = store.apply(transaction) { complain(wrong) }
    }

    /// All writes of the turn reached the disk.
    func finishTurn() {
        for write in writes { keep(write.transaction) }
        writes = []
    }

    /// Power fails so long after the turn began. Returns whether everything that was decided is durable.
    ///
    /// - Parameter tearing: what becomes of the one write that is under way; those behind it were never begun.
    func crash(after spent: Duration, tearing: Bool) -> Bool {
        let durable = writes.prefix { $0.finishedAt <= spent }.count
        var kept = durable
        if durable < writes.count, !tearing || real?.canTear(durable) == false {
            if tearing { couldNotTear = true }
            kept += 1
        }
        for write in writes.prefix(kept) { keep(write.transaction) }
        let isWhole = kept == writes.count && ghost == nil
        // Drawn in any case, so that a seed is the same history on SQLite and on the model.
        let (cut, chance) = (random.uniform(), random.uniform())
        real?.die(keeping: kept, of: writes.count, cut: cut)
        // A refused transaction may lie whole in the log, where the next head finds it.
        if let ghost, hasGhosts, kept == writes.count, chance < 0.25 { keep(ghost) }
        ghost = nil
        writes = []
        deadly = nil
        return isWhole
    }

    /// A new head opens the store.
    func open() -> (epoch: UInt64, state: StoredState) {
        let epoch = store.raiseEpoch()
        if let real, let wrong = real.open(expecting: store) { complain(wrong) }
        return (epoch, store.state)
    }

    func close() { real?.remove() }
}
