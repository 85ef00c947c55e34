import CoordinatorService
import Datasets
import Foundation
import Messaging
import Primitives
import Scheduling
import Telemetry
import WireProtocol

/// One augmentation run on an embedded cluster, from its artifacts to the bytes that it made.
struct AugmentRun {
    var plan: RunPlan
    var uploads: [[UInt8]]
    var folder: String
    var workers: Int
    var tags: String
    var quiet: Bool

    /// What is known when it is over.
    struct Finished {
        var run: SchedulerSnapshot.Run
        var wallSeconds: Double
        /// From a group's first lease until its last block, as seen from outside.
        var groupWalls: [String: Double]
        /// Bytes that the coordinator's process held, at even steps of the run's blocks.
        var coordinatorBytes: [Int]
        var leasesTakenBack: Int
        var blocksRedone: Int
        fileprivate var connection: CoordinatorConnection
        fileprivate var results: [StageID: StageResults]

        /// An output of a stage's block.
        func bytes(_ name: String, of stage: StageID, block: Int = 0) throws -> [UInt8] {
            guard let result = results[stage]?.results.first(where: { $0.block == block }),
                let output = result.outputs.first(where: { $0.name == name })
            else {
                throw AMAFError(
                    "cli.no-output", "Stage \(stage) made no '\(name)' in block \(block)",
                    remedy: "See 'amaf status' for what happened to the stage.")
            }
            return try connection.fetch(output.digest)
        }

        func document<T: Decodable>(_ type: T.Type, _ name: String, of stage: StageID) throws -> T {
            try CanonicalJSON.decode(type, from: try bytes(name, of: stage), what: name)
        }
    }

    /// - Parameter finish: called while the cluster still stands.
    func carryOut(results wanted: [StageID], finish: (Finished) throws -> Void) throws {
        try FileManager.default.createDirectory(atPath: "\(folder)/state", withIntermediateDirectories: true)
        let started = SystemClock.now()
        let cluster = try LocalCluster(store: "\(folder)/state/store", settings: SchedulerSettings())
        defer { cluster.stop() }
        let flag = InterruptFlag()
        let signals = SignalWatch([SIGINT, SIGTERM]) { _ in flag.raise() }
        defer { signals.stop() }
        for bytes in uploads { try cluster.connection.store(Digest.of(bytes), bytes: bytes) }
        try Submission.submit(plan, artifacts: uploads.map { Digest.of($0) }, over: cluster.connection)
        try cluster.startWorkers(workers, root: "\(folder)/state/workers", tags: tags)

        let display = ProgressDisplay(quiet: quiet)
        var groups: [String: (first: Instant, last: Instant)] = [:]
        var memory: [Int] = []
        while true {
            let status = try Submission.status(of: plan.id, over: cluster.connection)
            guard let view = status.snapshot.runs.first else {
                throw AMAFError(
                    "cli.run-vanished", "Run \(plan.id) is no longer known", remedy: "Somebody removed it; run the command again.")
            }
            display.show(status.snapshot, run: view)
            let now = SystemClock.now()
            for group in StageGroup.all(of: view) where group.leased > 0 || group.done > 0 {
                let known = groups[group.name]
                // A group's clock stops with its last block.
                let isOver = group.done == group.blocks
                groups[group.name] = (known?.first ?? now, isOver ? (known.map { $0.last } ?? now) : now)
            }
            let (done, blocks) = view.stages.reduce((0, 0)) { ($0.0 + $1.done, $0.1 + $1.blocks) }
            if done * 10 >= memory.count * blocks, let usage = ProcessUsage.current() { memory.append(usage.residentBytes) }
            if view.state.isTerminal || flag.isRaised {
                guard view.state == .succeeded else {
                    for error in view.errors { Console.note("  \(error)") }
                    if flag.isRaised { throw AMAFExit.interrupted }
                    throw AMAFError("cli.run-failed", "Run \(plan.id) \(view.state.rawValue)", remedy: "The errors above say why.")
                }
                var found: [StageID: StageResults] = [:]
                for start in stride(from: 0, to: wanted.count, by: 32) {
                    let some = Array(wanted[start..<min(wanted.count, start + 32)])
                    guard case .results(let page) = try cluster.connection.ask(.result(plan.id, some)) else {
                        throw AMAFError.unexpectedReply("sent no results")
                    }
                    for result in page { found[result.stage] = result }
                }
                try finish(
                    Finished(
                        run: view, wallSeconds: (SystemClock.now() - started).seconds,
                        groupWalls: groups.mapValues { ($0.last - $0.first).seconds }, coordinatorBytes: memory,
                        leasesTakenBack: status.snapshot.totals.leasesTakenBack, blocksRedone: status.snapshot.totals.blocksRedone,
                        connection: cluster.connection, results: found))
                return
            }
            if cluster.hasLostWorkers && status.snapshot.workers.allSatisfy({ $0.life == .lost }) {
                throw AMAFError(
                    "cli.workers-died", "All workers have ended", place: "\(folder)/state/workers", remedy: "See worker.log there.")
            }
            flag.wait(milliseconds: 200)
        }
    }

    static func write(_ bytes: [UInt8], _ path: String) throws {
        do {
            try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic)
        } catch {
            throw AMAFError(
                "cli.cannot-write", "Cannot write \(bytes.count) bytes: \(error.localizedDescription)", place: path,
                remedy: "Check the folder's permissions and the space on the disk.")
        }
    }

    /// Blocks, seconds of work and seconds from first to last, by group of stages.
    static func timings(_ finished: Finished) -> String {
        let rows = StageGroup.all(of: finished.run).map { group in
            [
                group.name, Text.count(group.blocks), Text.fixed(group.seconds, 1), Text.fixed(finished.groupWalls[group.name] ?? 0, 1),
                "\(group.retries)",
            ]
        }
        let memory = finished.coordinatorBytes.map { Text.bytes($0) }.joined(separator: ", ")
        return Text.table(["stage", "blocks", "work s", "wall s", "retries"], rows, rightAligned: [1, 2, 3, 4])
            + "\nwhole run \(Text.fixed(finished.wallSeconds, 1)) s; leases taken back \(finished.leasesTakenBack), blocks redone \(finished.blocksRedone)"
            + "\ncoordinator memory at tenths of the run: \(memory)"
    }
}

/// The loss curve of a training, from what its rounds measured.
enum LossCurve {
    struct Point {
        var step: Int
        var epoch: Int
        var loss: Double
        var reconstruction: Double
        var divergence: Double
        var testLoss: Double?
    }

    /// By step; stages that measured no loss are none of it.
    static func points(_ run: SchedulerSnapshot.Run) -> [Point] {
        run.stages.compactMap { stage in
            guard let measures = stage.measures, let loss = measures["loss"], let step = measures["step"] else { return nil }
            return Point(
                step: Int(step), epoch: Int(measures["epoch"] ?? 0), loss: loss, reconstruction: measures["reconstruction"] ?? 0,
                divergence: measures["divergence"] ?? 0, testLoss: measures["test_loss"])
        }.sorted { $0.step < $1.step }
    }

    /// `loss 263.1 → 239.7 after 1,175 steps ▇▃▂▁, test 239.9`; nil before the first round.
    static func line(_ run: SchedulerSnapshot.Run) -> String? {
        let points = points(run)
        guard let first = points.first, let last = points.last else { return nil }
        var text =
            "loss \(Text.fixed(first.loss, 1)) → \(Text.fixed(last.loss, 1)) after \(Text.count(last.step)) steps \(spark(points.map(\.loss)))"
        if let test = points.compactMap(\.testLoss).last { text += ", test \(Text.fixed(test, 1))" }
        return text
    }

    /// At most 24 columns, low to high.
    static func spark(_ values: [Double]) -> String {
        guard let low = values.min(), let high = values.max(), high > low else { return "" }
        let bars = Array("▁▂▃▄▅▆▇█")
        let columns = min(24, values.count)
        return String(
            (0..<columns).map { column in
                let value = values[column * (values.count - 1) / max(columns - 1, 1)]
                return bars[min(7, Int((value - low) / (high - low) * 8))]
            })
    }

    static func csv(_ points: [Point]) -> String {
        "step,epoch,loss,reconstruction,divergence,test_loss\r\n"
            + points.map { point in
                let numbers = [point.loss, point.reconstruction, point.divergence].map { Text.fixed($0, 4) }.joined(separator: ",")
                return "\(point.step),\(point.epoch),\(numbers),\(point.testLoss.map { Text.fixed($0, 4) } ?? "")\r\n"
            }.joined()
    }
}
