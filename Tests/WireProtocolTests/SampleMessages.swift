import Primitives
import Scheduling
import WireProtocol

/// One or more of every message, with the ends of every range in them.
enum SampleMessages {
    static func digest(_ seed: UInt8) -> Digest { Digest(bytes: (0..<32).map { seed &+ UInt8($0) }) }

    static let id = RequestID(high: 0x0102_0304_0506_0708, low: 0x1112_1314_1516_1718)

    static let result = BlockResult(
        block: 7,
        outputs: [TaskOutput(name: "votes", digest: digest(1), byteCount: 1234), TaskOutput(name: "log", digest: digest(2), byteCount: 0)],
        metrics: ["rows": 256, "cpu-ms": 12.5, "quarantined": 0])

    static let hello = WorkerHello(
        worker: WorkerID("box-3"), bootNonce: .max, tags: ["cpu", "gpu"], slots: 8, memoryBytes: 1 << 40,
        numericsClass: NumericsClass("cpu-v4-1"),
        build: "0.1.0", host: "büro.example.org",
        heldFences: [Fence(epoch: 3, counter: 9), Fence(epoch: 1 << 24 - 1, counter: 1 << 40 - 1)],
        heldLeases: [
            HeldLease(fence: Fence(epoch: 3, counter: 9), run: RunID("run-1"), stage: StageID("ingest"), blocks: 4..<9),
            HeldLease(
                fence: Fence(epoch: 1 << 24 - 1, counter: 1 << 40 - 1), run: RunID("run-2"), stage: StageID("größer"), blocks: 0..<1,
                isMasked: true),
        ])

    static let grant = LeaseGrant(
        fence: Fence(epoch: 3, counter: 10), run: RunID("run-1"), stage: StageID("seed-1/margin/round-03/score"), kind: "score-uncertainty",
        codeVersion: 2, parameters: "{\"measure\":\"margin\"}", blocks: 4..<9, maskedSamples: [1030, 1031], batchShift: 2,
        inputs: [
            LeaseGrant.Input(name: "features", reach: .sameBlock, digests: (0..<5).map { digest($0) }),
            LeaseGrant.Input(name: "weights", reach: .allBlocks, digests: [digest(99)]),
            LeaseGrant.Input(name: "none", reach: .allBlocks, digests: []),
        ], timeToLive: .milliseconds(15_001))

    static let error = AMAFError(
        "stage.no-memory", "The slot ran out of memory", place: "run-1/score/4", remedy: "Give the slot more memory", isTransient: true)

    static let requests: [Request] = [
        .challenge(versions: .supported, build: "0.1.0"),
        .challenge(versions: ProtocolVersionRange(ProtocolVersion(1, 0), ProtocolVersion(2, 255)), build: ""),
        .hello(hello, proof: digest(5)),
        .hello(
            WorkerHello(
                worker: WorkerID("w"), bootNonce: 0, tags: [], slots: 0, memoryBytes: 0, numericsClass: NumericsClass("c"), build: "",
                host: "",
                heldFences: []), proof: digest(6)),
        .operatorHello(name: "ada", proof: digest(7)),
        .lease(freeSlots: 0), .lease(freeSlots: 64),
        .beat([], nil), .beat([Fence(epoch: 1, counter: 1), Fence(rawValue: .max)], nil),
        .beat(
            [Fence(epoch: 1, counter: 1)],
            WorkerVitals(
                wallClockMilliseconds: -1, diskFreeBytes: .max, memoryAvailableBytes: 1 << 40, slotDeaths: 3, lastError: "slot 0: größer")),
        .commit([], inline: []),
        .commit(
            [
                LeaseCommit(fence: Fence(epoch: 3, counter: 10), results: [result, BlockResult(block: 8, outputs: [])], isLast: false),
                LeaseCommit(fence: Fence(epoch: 3, counter: 11), results: [], isLast: true),
                LeaseCommit(fence: Fence(epoch: 3, counter: 12), results: [result], isLast: true),
            ],
            inline: [
                InlineArtifact(digest: digest(1), bytes: [1, 2, 3]), InlineArtifact(digest: digest(2), bytes: []),
                InlineArtifact(digest: digest(3), bytes: [UInt8](repeating: 9, count: WireLimits.inlineArtifact)),
            ]),
        .fail(Fence(epoch: 3, counter: 10), FailureReport(.transient, error, block: 4)),
        .fail(Fence(epoch: 3, counter: 10), FailureReport(.permanent, AMAFError("stage.bad-input", ""), block: 0)),
        .fail(Fence(epoch: 3, counter: 10), FailureReport(.resource, error)),
        .fail(Fence(epoch: 3, counter: 10), FailureReport(.crash, error)),
        .release([Fence(epoch: 3, counter: 10)]),
        .bye,
        .have([]), .have([digest(1), digest(2)]),
        .put(digest(1), offset: 0, total: 0, chunk: []), .put(digest(1), offset: 5, total: 8, chunk: [6, 7, 8]),
        .get(digest(1), offset: 1 << 40, length: WireLimits.artifactChunk),
        .submit(.inline(Array("{\"id\":\"run-1\"}".utf8)), artifacts: [digest(1)]), .submit(.inline([]), artifacts: []),
        .submit(.artifact(digest(4)), artifacts: [digest(1), digest(2)]),
        .status(nil), .status(RunID("run-1")),
        .workers,
        .cancel(RunID("run-1")), .pause(RunID("run-2")), .resume(RunID("run-3")), .retry(RunID("run-4")),
        .drain(WorkerID("box-3")), .undrain(WorkerID("box-3")),
        .answer(RunID("run-1"), StageID("review"), [result]),
        .story(TaskName(run: RunID("run-1"), stage: StageID("ingest"), block: 0)),
        .explain(TaskName(run: RunID("run-1"), stage: StageID("ingest"))),
        .tasks(TaskQuery(run: RunID("run-1"))),
        .tasks(TaskQuery(run: RunID("run-1"), stage: StageID("ingest"), state: .waiting, offset: 100, limit: 1000)),
        .tasks(TaskQuery(run: RunID("run-1"), state: .cancelled)),
        .result(RunID("run-1"), [StageID("report"), StageID("export")]), .result(RunID("run-1"), []),
        .wait(RunID("run-1")),
        .history(HistoryQuery()),
        .history(
            HistoryQuery(
                run: RunID("run-1"), stage: StageID("ingest"), worker: WorkerID("box-3"), after: 1 << 40, limit: WireLimits.historyPage,
                newestFirst: true)),
    ]

    static let responses: [Response] = [
        .challenge(nonce: Array(0..<32), version: .current),
        .worker(
            .welcome(epoch: 3, beatInterval: .seconds(3), keep: [Fence(epoch: 2, counter: 1)], drop: [Fence(epoch: 2, counter: 2)]),
            commands: []),
        .worker(.welcome(epoch: 0, beatInterval: .zero, keep: [], drop: []), commands: [.drain]),
        .worker(.grants([], retryAfter: .milliseconds(50)), commands: []),
        .worker(.grants([grant, grant], retryAfter: .nanoseconds(1)), commands: [.drop(Fence(epoch: 3, counter: 4)), .rejoin, .drain]),
        .worker(.beat(timeToLive: .seconds(15), next: nil), commands: [.rejoin]),
        .worker(.beat(timeToLive: .seconds(15), next: .milliseconds(2990)), commands: [.ask]),
        .worker(.committed([]), commands: []),
        .worker(.committed([[.accepted, .duplicate], [], [.conflict, .fenced]]), commands: [.drop(Fence(rawValue: 0))]),
        .worker(.noted, commands: []), .worker(.noted, commands: [.drain]),
        .operatorWelcome,
        .held([]), .held([true]), .held([false, true, true, false, false, false, false, false, true]),
        .stored(upTo: 0), .stored(upTo: 1 << 40),
        .chunk(offset: 0, total: 0, bytes: []), .chunk(offset: 2, total: 5, bytes: [3, 4, 5]),
        .submitted(RunID("run-1")),
        .json(Array("[]".utf8)), .json([]),
        .results([
            StageResults(stage: StageID("report"), isComplete: true, results: [result]),
            StageResults(stage: StageID("export"), isComplete: false, results: []),
        ]), .results([]),
        .done,
        .failed(error), .failed(AMAFError("a.b", "")),
        .unsupported(type: 0x7777, versions: .supported),
    ]
}
