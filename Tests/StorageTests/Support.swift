import Foundation
import GRDB
import Glibc
import Primitives
import Scheduling
import Storage
import Synchronization

/// A folder that goes away with the value.
final class TemporaryFolder: Sendable {
    let path: String

    init() {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-store-\(UUID().uuidString)").path
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    static func / (folder: TemporaryFolder, name: String) -> String { folder.path + "/" + name }
}

/// Options with a clock that tests can predict.
func testOptions(clock: Int64 = 1_700_000_000_000) -> StoreOptions {
    var options = StoreOptions()
    options.wallClock = { clock }
    return options
}

/// A second, independent connection to a store's file.
func withDatabase<T>(_ folder: String, _ body: (Database) throws -> T) throws -> T {
    let queue = try DatabaseQueue(path: folder + "/state.sqlite")
    defer { try? queue.close() }
    return try queue.writeWithoutTransaction(body)
}

let exampleError = AMAFError("stage.bad-input", "Row 7 is no JSON", place: "rows.jsonl:7", remedy: "Repair the row.", isTransient: true)

func examplePlan(_ name: String, stages: Int = 2, blocks: Int = 8) -> RunPlan {
    RunPlan(
        id: RunID(name), name: "Example \(name)", priority: 3, weight: 1.5,
        stages: (0..<stages).map { stage in
            StageSpec(
                id: StageID("stage-\(stage)"), kind: "no-op", codeVersion: 2, parameters: "{\"k\":\"ü/\"}", blocks: blocks,
                inputs: stage == 0
                    ? [StageInput("data", from: .artifacts([Digest.of(Array("data".utf8))]), reach: .allBlocks)]
                    : [StageInput("rows", from: .stage(StageID("stage-\(stage - 1)"), output: "rows"), reach: .sameBlock)],
                placement: StagePlacement(requires: ["cpu"], prefers: "gpu"), costsMoney: stage == 1, leaseLimit: 4)
        }, allowsMixedNumerics: true, annotation: "pipeline: text\n")
}

func exampleResult(_ block: Int, salt: String = "") -> BlockResult {
    BlockResult(
        block: block,
        outputs: [
            TaskOutput(name: "rows", digest: Digest.of(Array("rows \(block) \(salt)".utf8)), byteCount: 10 + block),
            TaskOutput(name: "a rather long output name", digest: Digest.of(Array("long \(block)".utf8)), byteCount: 1 << 40),
        ], metrics: ["rows": 256, "cpu-ms": 0.5, "nan-free": -1e300])
}

/// One batch with a row of every type and every task state.
func exampleChanges(run: String = "run-a") -> StateChanges {
    var changes = StateChanges()
    let id = RunID(run)
    changes.newRuns = [.init(plan: examplePlan(run), state: .running, numericsClasses: [nil, nil])]
    changes.runStates = [(id, .waitingForPeople, [NumericsClass("cpu-avx512"), nil])]
    changes.tasks = [
        TaskRow(run: id, stage: 0, block: 0, state: .waiting, fence: Fence(rawValue: 0)),
        TaskRow(run: id, stage: 0, block: 1, state: .ready, fence: Fence(rawValue: 0), attempts: 1),
        TaskRow(
            run: id, stage: 0, block: 2, state: .leased, fence: Fence(epoch: 1 << 23, counter: 5), worker: WorkerID("w-ü"), attempts: 2),
        TaskRow(run: id, stage: 0, block: 3, state: .done, fence: Fence(rawValue: .max), worker: WorkerID("w-2"), result: exampleResult(3)),
        TaskRow(run: id, stage: 1, block: 0, state: .failed, fence: Fence(rawValue: 9), attempts: 5, error: exampleError),
        TaskRow(
            run: id, stage: 1, block: 1, state: .quarantined, fence: Fence(rawValue: 9), result: BlockResult(block: 1, outputs: []),
            error: exampleError),
        TaskRow(run: id, stage: 1, block: 7, state: .cancelled, fence: Fence(rawValue: 0)),
    ]
    changes.cached = [.init(identity: Digest.of(Array("identity".utf8)), result: exampleResult(3))]
    changes.history = [
        HistoryEntry(
            cause: .max, what: "leased", run: id, stage: StageID("stage-0"), blocks: 2..<4, fence: Fence(rawValue: 7),
            worker: WorkerID("w-2"),
            detail: "two blocks"),
        HistoryEntry(cause: 8, what: "head-started"),
    ]
    return changes
}

/// `count` finished tasks of the run, as one batch.
func finished(_ run: String, blocks: Range<Int>, epoch: UInt64 = 1) -> StateChanges {
    var changes = StateChanges()
    for block in blocks {
        changes.tasks.append(
            TaskRow(
                run: RunID(run), stage: 0, block: block, state: .done, fence: Fence(epoch: epoch, counter: UInt64(block)),
                worker: WorkerID("w"),
                result: exampleResult(block)))
        changes.cached.append(.init(identity: Digest.of(Array("\(run) \(block)".utf8)), result: exampleResult(block)))
    }
    changes.history = [
        HistoryEntry(cause: UInt64(blocks.lowerBound), what: "committed", run: RunID(run), stage: StageID("stage-0"), blocks: blocks)
    ]
    return changes
}

func bytes(_ count: Int, seed: UInt64) -> [UInt8] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in UInt8(truncatingIfNeeded: generator.next()) }
}

private final class Failures: Sendable {
    private let errors = Mutex<[any Error]>([])
    func add(_ error: any Error) { errors.withLock { $0.append(error) } }
    var first: (any Error)? { errors.withLock { $0.first } }
}

/// Runs each body on a thread of its own and waits for all. Store calls block, and blocked tasks would starve the pool that
/// tests run on.
func onThreads(_ bodies: [@Sendable () throws -> Void]) throws {
    let failures = Failures()
    let done = DispatchGroup()
    for body in bodies {
        done.enter()
        Thread {
            do { try body() } catch { failures.add(error) }
            done.leave()
        }.start()
    }
    done.wait()
    if let first = failures.first { throw first }
}

/// The code of the error that `body` throws, or nil when it throws none.
func errorCode(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch let error as AMAFError {
        return error.code
    } catch {
        return "not an AMAFError: \(error)"
    }
}
