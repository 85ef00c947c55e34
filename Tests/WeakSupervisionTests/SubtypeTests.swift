import Foundation
import Primitives
import Testing
import WeakSupervision

@Suite struct SubtypeTests {
    /// Two classes, each with easy and misleading samples: on the misleading ones most functions err together.
    static func correlated(_ n: Int, seed: UInt64 = 3) throws -> (matrix: LabelMatrix, truth: [Int]) {
        var chance = SeededGenerator(seed: seed)
        let ids = (0..<12).map { Sketch.id("f\($0)") }
        var cells = [[Int16]](repeating: [], count: 12)
        var truth: [Int] = []
        for _ in 0..<n {
            let y = chance.uniform() < 0.7 ? 0 : 1
            let isMisleading = y == 0 && chance.uniform() < 0.35
            truth.append(y)
            for j in 0..<12 {
                guard chance.uniform() < 0.6 else {
                    cells[j].append(-1)
                    continue
                }
                // The first four functions are not misled.
                let right = j < 4 ? 0.85 : isMisleading ? 0.2 : 0.85
                cells[j].append(Int16(chance.uniform() < right ? y : 1 - y))
            }
        }
        var matrix = LabelMatrix(classCount: 2, functions: ids)
        try matrix.insert(
            VoteBlock(
                firstSample: 0, rowCount: n, classCount: 2,
                columns: zip(ids, cells).map { VoteColumn(function: $0, votes: PackedVotes(cells: $1)) }))
        return (matrix, truth)
    }

    static func accuracy(_ model: FittedLabelModel, _ fit: LabelModelFit, _ truth: [Int]) -> Double {
        LabelModelScore(fit.blocks.map { model.posteriors(of: $0) }, balance: model.classBalance) { truth[$0] }.covered.accuracy
    }

    @Test func correlatedVotesAreSeenInTheEvidence() throws {
        let (matrix, truth) = try Self.correlated(4000)
        let fit = LabelModelFit(matrix)
        let (model, evidence) = try LabelModelSelection.choose(fit)
        #expect([.subtypes, .subtypesPooled].contains(model.kind), "\(evidence.markdown)")
        // Where the votes are correlated the subtypes are not worse than one table a class.
        let tables = try fit.fit(LabelModelOptions(kind: .dawidSkene))
        #expect(Self.accuracy(model, fit, truth) > Self.accuracy(tables, fit, truth) - 0.01, "\(evidence.markdown)")
        // Independent votes give no such evidence.
        let (plain, _) = try SyntheticLabelMatrix(
            samples: 4000, classCount: 2, accuracies: [0.9, 0.6, 0.75, 0.8, 0.55, 0.7], coverage: 0.6, seed: 4
        ).make()
        let other = try LabelModelSelection.choose(LabelModelFit(plain))
        #expect(![.subtypes, .subtypesPooled].contains(other.model.kind), "\(other.evidence.markdown)")
    }
}
