import Datasets
import Foundation
import Primitives
import Scheduling
import Stages
import Testing
import WeakSupervision

/// A label model fitted in rounds of block tasks, by the executors that workers run.
@Suite struct DistributedFitTests {
    @Test(arguments: [LabelModelKind.logLinear, .oneCoin, .mapEM, .damped, .weighted], [2, 4])
    func roundsGiveTheBitsOfOneTask(kind: LabelModelKind, classes: Int) throws {
        let bench = try ExecutorBench()
        let (matrix, _) = try SyntheticLabelMatrix(
            samples: 3000, classCount: classes, accuracies: [0.9, 0.6, 0.75, 0.8, 0.65], coverage: 0.5, seed: 11, blockSize: 256
        ).make()
        let broken = FunctionID(name: "broken", digest: Digest.of([1]))
        let votes = try matrix.blocks.map { block in
            var columns = block.columns.compactMap { $0 }
            // One more function, which fails on two samples of three and so must not vote.
            let cells = (0..<block.rowCount).map { $0 % 3 == 0 ? Int16(1) : VoteCode.fault }
            let faults = FaultSummary(
                count: cells.count { $0 < 0 }, firstSample: block.firstSample + 1, firstError: AMAFError("test.broken", "It is broken"))
            columns.append(VoteColumn(function: broken, votes: PackedVotes(cells: cells), faults: faults))
            return try bench.put(
                VoteBlock(firstSample: block.firstSample, rowCount: block.rowCount, classCount: classes, columns: columns).encoded())
        }
        var options = LabelModelOptions(kind: kind)
        options.maximumIterations = 8
        let local = try bench.run(
            FitLabelModelStage(), parameters: CanonicalJSON.encode(options), blocks: 0..<1, [("votes", .allBlocks, votes)])[0]

        let parameters = CanonicalJSON.encode(DistributedFitParameters(options: options, classes: classes))
        let all = votes.indices
        let counts = try bench.run(CountVotesStage(), blocks: all, [("votes", .sameBlock, votes)]).compactMap { $0["statistics"] }
        let start = try bench.run(StartLabelModelStage(), parameters: parameters, blocks: 0..<1, [("counts", .allBlocks, counts)])[0]
        var rounds = try #require(start["rounds"])
        for _ in 0..<8 {
            // Two leases, the later blocks first: whose sums they are, and when they came, is not seen.
            let middle = all.count / 2
            let late = try bench.run(
                LabelModelExpectationStage(), blocks: middle..<all.count,
                [("votes", .sameBlock, Array(votes[middle...])), ("rounds", .allBlocks, [rounds])])
            let early = try bench.run(
                LabelModelExpectationStage(), blocks: 0..<middle,
                [("votes", .sameBlock, Array(votes[..<middle])), ("rounds", .allBlocks, [rounds])])
            rounds = try #require(
                try bench.run(
                    StepLabelModelStage(), blocks: 0..<1,
                    [("sums", .allBlocks, (early + late).compactMap { $0["sums"] }), ("rounds", .allBlocks, [rounds])])[0]["rounds"])
        }
        let finished = try bench.run(
            FinishLabelModelStage(), blocks: 0..<1,
            [("rounds", .allBlocks, [rounds]), ("statistics", .allBlocks, [try #require(start["statistics"])])])[0]
        #expect(finished["model"] == local["model"])
        #expect(finished["statistics"] == local["statistics"])
        let model = try FittedLabelModel(decoding: try bench.bytes(try #require(finished["model"])))
        #expect(model.functions == matrix.functions && model.iterations > 0)
    }
}

/// Runs executors as a slot does, with its artifacts in a folder that is gone after the test.
final class ExecutorBench {
    private let folder: String
    private let cache = ObjectCache(limit: 1 << 20)

    init() throws {
        folder = FileManager.default.temporaryDirectory.appending(path: "amaf-bench-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    func put(_ bytes: [UInt8]) throws -> Digest {
        let digest = Digest.of(bytes)
        try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(digest.hex)"))
        return digest
    }

    func bytes(_ digest: Digest) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(digest.hex)"))) }

    /// The outputs of each block, in order.
    func run(
        _ stage: some StageExecutor, parameters: String = "{}", blocks: Range<Int>,
        _ inputs: [(name: String, reach: StageInput.Reach, digests: [Digest])]
    ) throws -> [[String: Digest]] {
        var outputs: [[String: Digest]] = []
        let task = StageTask(
            parameters: parameters, blocks: blocks, maskedSamples: [], batchShift: 0,
            inputs: StageInputs(
                inputs.map { LeaseGrant.Input(name: $0.name, reach: $0.reach, digests: $0.digests) }, firstBlock: blocks.lowerBound,
                open: { [folder] digest in try Artifact(digest: digest, path: "\(folder)/\(digest.hex)") }),
            cache: cache, isCancelled: { false },
            emit: { [self] _, parts, _ in
                outputs.append(try Dictionary(uniqueKeysWithValues: parts.map { ($0.name, try put($0.bytes)) }))
            })
        try stage.run(task)
        return outputs
    }
}
