import Foundation
import Primitives
import Scheduling
import Storage

/// The real store of a seed, in a folder of its own, killed by copying what lies on the disk at that moment.
///
/// Every transaction goes to SQLite as well as to the model, and what a new head loads from it must be what the model says.
final class RealStore {
    private let root: String
    private var generation = 0
    private var store: Store?
    /// Length of the log before and after each write of the turn.
    private var log: [(before: Int, after: Int)] = []

    init(root: String) { self.root = root }

    private var folder: String { "\(root)/\(generation)" }
    private var logFile: String { folder + "/" + Store.databaseName + "-wal" }
    private var logLength: Int { (try? FileManager.default.attributesOfItem(atPath: logFile)[.size] as? Int) ?? 0 }

    /// The bytes behind an output: the simulated executors make digests only.
    private static func artifact(_ digest: Digest) -> InlineArtifact { InlineArtifact(Array(digest.bytes)) }

    func beginTurn() { log = [] }

    func apply(_ changes: StateChanges, artifacts: [Digest]) throws(AMAFError) {
        guard let store else { throw AMAFError("simulation.no-store", "A head without a store writes") }
        let before = logLength
        try store.apply(changes, artifacts: artifacts.map(Self.artifact))
        log.append((before, logLength))
    }

    /// A transaction that SQLite rolls back half-way: it ends with a run whose name is taken.
    func refuse(_ changes: StateChanges, existing: StateChanges.RunRow?) {
        guard let store, let existing else { return }
        var broken = changes
        broken.newRuns.append(existing)
        do throws(AMAFError) {
            try store.apply(broken, artifacts: [Self.artifact(Digest.of(Array("never stored".utf8)))])
            preconditionFailure("SQLite stored two runs of one name")
        } catch {}
    }

    /// Whether the log grew by this write; when it was folded back meanwhile, its new frames lie over old ones.
    func canTear(_ write: Int) -> Bool { log[write].after > log[write].before }

    /// The process dies: the next head finds the files as they are, the log cut inside the first write that is not kept.
    ///
    /// - Parameter cut: where, from 0 to 1.
    func die(keeping kept: Int, of total: Int, cut: Double) {
        guard let store else { return }
        var end = Int.max
        if kept < total {
            let (before, after) = log[kept]
            // A write that was never begun leaves nothing; one that was leaves a part.
            end = after > before ? before + Int(Double(after - before - 1) * cut) : before
        }
        let source = folder
        generation += 1
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try FileManager.default.copyItem(atPath: source + "/" + Store.databaseName, toPath: folder + "/" + Store.databaseName)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: source + "/" + Store.databaseName + "-wal"))
            try bytes.prefix(end).write(to: URL(fileURLWithPath: logFile))
            try store.close()
            try FileManager.default.removeItem(atPath: source)
        } catch {
            preconditionFailure("the files of a killed head cannot be copied in \(root): \(error)")
        }
        self.store = nil
    }

    /// Opens what is there as a new head does. Returns where it says otherwise than the model.
    func open(expecting model: SimulatedStore) -> String? {
        do throws(AMAFError) {
            var options = StoreOptions()
            options.wallClock = { 0 }
            let store = try Store(folder: folder, options: options)
            self.store = store
            guard store.epoch == model.epoch else { return "SQLite is at epoch \(store.epoch), the model at \(model.epoch)" }
            let (found, wanted) = (try store.load(), model.state)
            guard found.runs == wanted.runs else { return "SQLite holds other runs than the model" }
            let tasks = found.tasks.sorted { a, b in (a.run, a.stage, a.block) < (b.run, b.stage, b.block) }
            guard tasks == wanted.tasks else {
                let odd = zip(tasks, wanted.tasks).first { $0 != $1 }
                return
                    "SQLite holds \(tasks.count) tasks, the model \(wanted.tasks.count); first difference: \(odd.map { "\($0)" } ?? "none")"
            }
            guard found.cached == wanted.cached else { return "SQLite holds other cached results than the model" }
            let missing = try store.artifacts.missing(among: model.artifacts.map { Self.artifact($0).digest })
            guard missing.isEmpty else { return "SQLite lost \(missing.count) inline artifacts" }
            let ghost = Self.artifact(Digest.of(Array("never stored".utf8))).digest
            guard try !store.artifacts.contains(ghost) else { return "SQLite kept a part of a transaction that it refused" }
            return nil
        } catch {
            return "a new head cannot open the store: \(error)"
        }
    }

    func remove() {
        do throws(AMAFError) { try store?.close() } catch { preconditionFailure("the store does not close: \(error)") }
        store = nil
        try? FileManager.default.removeItem(atPath: root)
    }
}
