import ActiveLearning
import Primitives
import Testing

@Suite struct LabelScoreTests {
    private func block(_ rows: [[Float?]]) -> LabelScoreBlock {
        LabelScoreBlock(firstPosition: 40, labels: rows[0].count, probabilities: rows.flatMap { $0 })
    }

    @Test func anImageIsAskedAboutForItsHardestLabel() throws {
        let scores = block([[0.01, 0.9, 0.02], [0.01, 0.55, 0.3], [nil, nil, nil], [0.4, nil, 0.99]])
        let combined = scores.combined { p in p * (1 - p) }
        #expect(combined.firstPosition == 40 && combined.classes == 3)
        #expect(combined.scores[0].top == 1 && combined.scores[1].top == 1 && combined.scores[1].second == 2)
        #expect(abs(combined.scores[1].margin - 0.1) < 1e-6 && abs(combined.scores[0].margin - 0.8) < 1e-6)
        #expect(abs(combined.scores[3].margin - 0.2) < 1e-6, "a label without an opinion is passed over")
        #expect(abs(combined.scores[3].entropy - (0.24 + 0.0099) / 2) < 1e-6)
        #expect(combined.scores[2].margin == 1 && combined.scores[2].entropy == 0, "where nothing is known nothing is preferred")
        let pool = try CandidatePool([combined], asked: [Int]())
        let chosen = selectForReview(2, from: pool, policy: Acquisition.margin.policy, seed: 1, round: 1)
        #expect(chosen.map(\.position) == [41, 43])
    }

    @Test func blocksTravel() throws {
        let scores = block([[0.25, nil], [nil, 1]])
        let read = try LabelScoreBlock(decoding: scores.encode())
        #expect(read == scores && read[row: 0, 1] == nil && read[row: 1, 1] == 1 && read.positions == 40..<42)
        #expect(throws: AMAFError.self) { try LabelScoreBlock(decoding: Array(scores.encode().dropLast())) }
        #expect(throws: AMAFError.self) { try LabelScoreBlock(decoding: [1, 2, 3]) }
    }
}
