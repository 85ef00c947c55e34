import ArgumentParser
import Foundation
import Glibc
import Primitives
import Scheduling
import Storage
import Telemetry

/// Durable rows per second of the store, beside what the disk itself needs for one durable write.
struct StoreBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "store",
        abstract: "Durable task rows per second by batch size, fsyncs counted, and the time to open and load them again.")

    @Option(help: "Where the stores are made and removed. Use the disk that the coordinator will use.") var folder = "."
    @Option(help: "Seconds for each batch size.") var seconds = 2.0
    @Option(help: "Batch sizes.") var batch: [Int] = [1, 10, 100, 1000]
    @Option(help: "Only these loads: task, commit.") var load: [Load] = Load.allCases
    @Option(help: "Rows of the store that is opened and loaded again; 0 leaves that out.") var loadRows = 200_000

    func run() throws {
        let root = folder + "/amaf-benchmark-\(getpid())"
        try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: root) }
        let own = try diskSync(root + "/own", bytes: 4096, times: 300)
        print(
            "disk: pwrite of 4 KiB + fdatasync p50 \(decimal(median(own) * 1000, 3)) ms, p99 \(decimal(quantile(own, 0.99) * 1000, 3)) ms\n"
        )
        var table = Table(["rows", "batch", "rows/s", "batches", "fsyncs", "fsyncs/batch", "p50 ms", "p99 ms", "CPU us/row"])
        for kind in load {
            for size in batch { table.add(try measure(kind, batch: size, folder: "\(root)/\(kind.rawValue)-\(size)")) }
        }
        table.print()
        if loadRows > 0 { try measureLoad(root + "/load") }
    }

    enum Load: String, CaseIterable, ExpressibleByArgument {
        /// Only the row of a task that is done, with its result.
        case task
        /// What a commit stores: the task, its cached identity, 200 inline bytes, and a line of history for each 8 tasks.
        case commit
    }

    private func measure(_ kind: Load, batch size: Int, folder: String) throws -> [String] {
        let store = try Store(folder: folder)
        try store.apply(newRun())
        let batches = (0..<64).map { changes(kind, first: $0 * size, count: size) }
        let syncs = SyncCounter.value
        let start = SystemClock.now()
        var times: [Double] = []
        var used = 0.0
        var next = 0
        while (SystemClock.now() - start).seconds < seconds {
            // Made outside the measured time, with blocks never used before: rows are inserted, not replaced.
            let (rows, artifacts) = next < batches.count ? batches[next] : changes(kind, first: next * size, count: size)
            let (before, cpu) = (SystemClock.now(), processorSeconds())
            try store.apply(rows, artifacts: artifacts)
            times.append((SystemClock.now() - before).seconds)
            used += processorSeconds() - cpu
            next += 1
        }
        let counted = SyncCounter.value - syncs
        guard counted >= next else { throw ValidationError("\(next) durable batches, but only \(counted) fsyncs were seen") }
        try store.close()
        let rows = Double(next * size)
        return [
            kind.rawValue, "\(size)", decimal(rows / times.reduce(0, +), 0), "\(next)", "\(counted)",
            decimal(Double(counted) / Double(next)),
            decimal(median(times) * 1000, 3), decimal(quantile(times, 0.99) * 1000, 3), decimal(used / rows * 1e6, 1),
        ]
    }

    private func measureLoad(_ folder: String) throws {
        let first = try Store(folder: folder)
        try first.apply(newRun())
        for start in stride(from: 0, to: loadRows, by: 1000) {
            let (rows, artifacts) = changes(.commit, first: start, count: min(1000, loadRows - start))
            try first.apply(rows, artifacts: artifacts)
        }
        try first.close()
        let before = SystemClock.now()
        let second = try Store(folder: folder)
        let (opened, cpu) = (SystemClock.now(), processorSeconds())
        let state = try second.load()
        let (loaded, used) = (SystemClock.now(), processorSeconds() - cpu)
        precondition(state.tasks.count == loadRows && state.cached.count == loadRows, "\(state.tasks.count) rows of \(loadRows) came back")
        try second.close()
        print(
            "\n\(loadRows) tasks and cached results: open \(decimal((opened - before).seconds)) s (integrity checked), "
                + "load \(decimal((loaded - opened).seconds)) s (CPU \(decimal(used)) s), peak memory \((ProcessUsage.current()?.peakResidentBytes ?? 0) >> 20) MiB"
        )
    }

    private func newRun() -> StateChanges {
        let stages = [StageSpec(id: StageID("no-op"), kind: "no-op", blocks: 1 << 30, inputs: [])]
        var changes = StateChanges()
        changes.newRuns = [.init(plan: RunPlan(id: RunID("bench"), name: "bench", stages: stages), state: .running, numericsClasses: [nil])]
        return changes
    }

    private func changes(_ kind: Load, first: Int, count: Int) -> (StateChanges, [InlineArtifact]) {
        var changes = StateChanges()
        var artifacts: [InlineArtifact] = []
        for block in first..<first + count {
            var bytes = [UInt8](repeating: 7, count: 200)
            withUnsafeBytes(of: block.littleEndian) { bytes.replaceSubrange(0..<8, with: $0) }
            let artifact = InlineArtifact(bytes)
            let result = BlockResult(
                block: block, outputs: [TaskOutput(name: "rows", digest: artifact.digest, byteCount: 200)],
                metrics: ["rows": 256, "cpu-ms": 1.5])
            let fence = Fence(epoch: 1, counter: UInt64(block))
            changes.tasks.append(
                TaskRow(
                    run: RunID("bench"), stage: 0, block: block, state: .done, fence: fence, worker: WorkerID("worker-\(block % 40)"),
                    attempts: 1,
                    result: result))
            guard kind == .commit else { continue }
            artifacts.append(artifact)
            changes.cached.append(.init(identity: artifact.digest, result: result))
            if block % 8 == 0 {
                changes.history.append(
                    HistoryEntry(
                        cause: UInt64(block), what: "committed", run: RunID("bench"), stage: StageID("no-op"), blocks: block..<block + 8,
                        fence: fence,
                        worker: WorkerID("worker-\(block % 40)")))
            }
        }
        return (changes, artifacts)
    }
}
