import ActiveLearning
import Foundation
import Primitives
import Testing

@Suite struct AcquisitionTests {
    /// Scores with many ties, in blocks of 50.
    static func blocks(_ count: Int, classes: Int = 10, seed: UInt64 = 1) -> [ScoreBlock] {
        var generator = SeededGenerator(seed: seed)
        let scores = (0..<count).map { _ in
            let first = 0.4 + Float(generator.index(below: 30)) / 60
            let top = generator.index(below: classes)
            return SampleScore(
                top: top, second: (top + 1) % classes, topProbability: first, secondProbability: (1 - first) / 2,
                entropy: Float(generator.index(below: 20)) / 10)
        }
        return stride(from: 0, to: count, by: 50).map {
            ScoreBlock(firstPosition: $0, classes: classes, scores: Array(scores[$0..<min($0 + 50, count)]))
        }
    }

    static let policies: [any AcquisitionPolicy] =
        Acquisition.allCases.map(\.policy) + [
            UncertaintyAcquisition(.margin, spread: 3), ClassNameColdStart(), ClassNameColdStart(share: 0.01),
        ]

    @Test func batchesAreUniqueSeededAndOutsideWhatWasAsked() throws {
        let asked = Array(stride(from: 0, to: 400, by: 3))
        let pool = try CandidatePool(Self.blocks(400), asked: asked.reversed(), excluding: [1, 2])
        // The order in which blocks arrive is nobody's business.
        let shuffled = try CandidatePool(Self.blocks(400).reversed(), asked: asked, excluding: [2, 1])
        for policy in Self.policies {
            let batch = selectForReview(60, from: pool, policy: policy, seed: 5, round: 2)
            #expect(batch.count == 60 && Set(batch.map(\.position)).count == 60)
            #expect(batch.allSatisfy { !asked.contains($0.position) && $0.position > 2 && $0.position < 400 })
            #expect(batch == selectForReview(60, from: shuffled, policy: policy, seed: 5, round: 2))
        }
        let random = RandomAcquisition()
        #expect(
            selectForReview(60, from: pool, policy: random, seed: 5, round: 2)
                != selectForReview(60, from: pool, policy: random, seed: 6, round: 2))
        #expect(
            selectForReview(60, from: pool, policy: random, seed: 5, round: 2)
                != selectForReview(60, from: pool, policy: random, seed: 5, round: 3))
    }

    @Test func smallPoolsGiveWhatTheyHave() throws {
        let pool = try CandidatePool(Self.blocks(7), asked: [3])
        let empty = try CandidatePool(Self.blocks(7), asked: 0..<7)
        let none = try CandidatePool([], asked: [])
        for policy in Self.policies {
            #expect(selectForReview(60, from: pool, policy: policy, seed: 5, round: 1).map(\.position).sorted() == [0, 1, 2, 4, 5, 6])
            #expect(selectForReview(60, from: empty, policy: policy, seed: 5, round: 1).isEmpty)
            #expect(selectForReview(60, from: none, policy: policy, seed: 5, round: 1).isEmpty)
            #expect(selectForReview(0, from: pool, policy: policy, seed: 5, round: 1).isEmpty)
        }
    }

    @Test func uncertaintyRanksByItsFormulaAndTiesByPosition() throws {
        let pool = try CandidatePool(Self.blocks(300), asked: [])
        for (name, key) in [
            (Acquisition.margin, { Double($0.topProbability - $0.secondProbability) }), (.leastConfidence, { Double($0.topProbability) }),
            (.entropy, { -Double($0.entropy) }),
        ] as [(Acquisition, (SampleScore) -> Double)] {
            let expected = pool.candidates.sorted {
                (key($0.score), $0.position) < (key($1.score), $1.position)
            }.prefix(100).map(\.position)
            let batch = selectForReview(100, from: pool, policy: name.policy, seed: 1, round: 1)
            // Float sums may merge values that differ in Double; the keys must still ascend.
            let keys = batch.map { selection in key(pool.candidates[selection.position].score) }
            #expect(zip(keys, keys.dropFirst()).allSatisfy { $0 <= $1 + 1e-6 })
            if name == .leastConfidence || name == .entropy { #expect(batch.map(\.position) == expected) }
        }
    }

    @Test func spreadDealsOverPredictedClasses() throws {
        // Class 0 holds the 40 smallest margins, classes 1...4 the next.
        let scores = (0..<80).map { i in
            let first = 0.5 + Float(i) / 1000
            return SampleScore(top: i < 40 ? 0 : 1 + i % 4, second: 9, topProbability: first, secondProbability: 0.2, entropy: 1)
        }
        let pool = try CandidatePool([ScoreBlock(firstPosition: 0, classes: 10, scores: scores)], asked: [])
        func classes(_ spread: Double) -> Set<UInt16> {
            let batch = selectForReview(20, from: pool, policy: UncertaintyAcquisition(.margin, spread: spread), seed: 1, round: 1)
            return Set(batch.map { scores[$0.position].top })
        }
        #expect(classes(1) == [0])
        #expect(classes(3) == [0, 1, 2, 3, 4])
    }

    @Test func coldStartTakesTheNearestToEachName() throws {
        // Three samples of each of five classes, then samples that resemble no name.
        let scores = (0..<30).map { i in
            i < 15
                ? SampleScore(top: i % 5, second: 9, topProbability: 0.3 + Float(i) / 100, secondProbability: 0.1, entropy: 1)
                : SampleScore(top: 0, second: 1, topProbability: 0.1, secondProbability: 0.1, entropy: 2.3)
        }
        let pool = try CandidatePool([ScoreBlock(firstPosition: 0, classes: 10, scores: scores)], asked: [])
        let batch = selectForReview(20, from: pool, policy: ClassNameColdStart(share: 1), seed: 1, round: 0)
        #expect(batch.prefix(5).map(\.position).sorted() == [10, 11, 12, 13, 14])
        #expect(Set(batch.prefix(15).map(\.position)) == Set(0..<15))
        #expect(batch.suffix(5).allSatisfy { $0.reason == "random" && $0.position >= 15 })
    }

    @Test func randomIsUniform() throws {
        let pool = CandidatePool(positions: 0..<20, classes: 2, asked: [])
        var counts = [Double](repeating: 0, count: 20)
        for seed in 0..<2000 {
            for selection in selectForReview(5, from: pool, policy: RandomAcquisition(), seed: UInt64(seed), round: 0) {
                counts[selection.position] += 1
            }
        }
        // χ² with 19 degrees of freedom; draws without replacement make it smaller. 0.1 % point: 43.8.
        #expect(counts.reduce(0) { $0 + ($1 - 500) * ($1 - 500) / 500 } < 43.8)
    }

    @Test func overlappingAndMixedBlocksAreRefused() {
        let blocks = Self.blocks(100)
        #expect(throws: AMAFError.self) { try CandidatePool(blocks + [blocks[1]], asked: []) }
        var other = blocks[1]
        other.classes = 11
        #expect(throws: AMAFError.self) { try CandidatePool([blocks[0], other], asked: []) }
    }

    @Test func scoresSurviveTheWire() throws {
        let block = Self.blocks(120)[1]
        let bytes = block.encode()
        #expect(bytes.count == 20 + 16 * 50)
        #expect(try ScoreBlock(decoding: bytes) == block)
        for length in stride(from: 0, to: bytes.count, by: 9) {
            #expect(throws: AMAFError.self) { try ScoreBlock(decoding: Array(bytes[..<length])) }
        }
        var damaged = bytes
        damaged[20] = 200  // top = 200 of 10 classes
        #expect(throws: AMAFError.self) { try ScoreBlock(decoding: damaged) }
    }

    @Test func measuresFollowTheirFormulas() {
        let score = SampleScore(top: 1, second: 0, topProbability: 0.7, secondProbability: 0.2, entropy: 0.8018186)
        #expect(Uncertainty.entropy.value(score, classes: 3) == 0.8018186)
        #expect(abs(Uncertainty.normalizedEntropy.value(score, classes: 3) - 0.8018186 / 1.0986123) < 1e-6)
        #expect(abs(Uncertainty.margin.value(score, classes: 3) - 0.5) < 1e-6)
        #expect(abs(Uncertainty.leastConfidence.value(score, classes: 3) - 0.3) < 1e-6)
        #expect(Uncertainty.normalizedEntropy.value(score, classes: 1) == 0)
    }

    @Test func auditIsDrawnFromWhatNobodySaw() throws {
        let pool = try CandidatePool(Self.blocks(200), asked: 0..<100)
        let audit = auditSample(30, from: pool, seed: 4)
        #expect(audit.count == 30 && audit == audit.sorted() && Set(audit).count == 30 && audit.allSatisfy { $0 >= 100 })
        #expect(audit == auditSample(30, from: pool, seed: 4) && audit != auditSample(30, from: pool, seed: 5))
    }

    @Test func largePoolsAreQuick() throws {
        let blocks = Self.blocks(100_000, classes: 150)
        let clock = ContinuousClock()
        let elapsed = try clock.measure {
            let pool = try CandidatePool(blocks, asked: stride(from: 0, to: 100_000, by: 7))
            #expect(selectForReview(1000, from: pool, policy: UncertaintyAcquisition(.margin, spread: 2), seed: 1, round: 1).count == 1000)
        }
        #expect(elapsed < .seconds(20))  // about 0.1 s in release; generous for a busy machine
    }
}

@Suite struct ScheduleTests {
    @Test func totalsGrowToTheBudgetThroughTheCheckpoints() throws {
        let schedule = try ReviewSchedule(budget: 3000, first: 150, rounds: 10, checkpoints: [1950])
        #expect(schedule.totals == [150, 293, 502, 746, 1016, 1308, 1617, 1950, 2282, 2635, 3000])
        #expect((0..<11).map { schedule.batch(ofRound: $0) }.reduce(0, +) == 3000)
        #expect(try ReviewSchedule(budget: 3000, first: 150, rounds: 10, checkpoints: [1950, 3000]) == schedule)
        #expect(try ReviewSchedule(budget: 100, first: 150, rounds: 10).totals == [100])
        #expect(try ReviewSchedule(budget: 100, first: 20, rounds: 0).totals == [100])
        #expect(try ReviewSchedule(budget: 100, first: 20, rounds: 0, checkpoints: [10, 50]).totals == [10, 50, 100])
        #expect(try ReviewSchedule(budget: 5, first: 1, rounds: 20).totals == [1, 2, 3, 4, 5])
        for checkpoints in [[0], [101]] {
            #expect(throws: AMAFError.self) { try ReviewSchedule(budget: 100, first: 20, rounds: 5, checkpoints: checkpoints) }
        }
        #expect(throws: AMAFError.self) { try ReviewSchedule(budget: 0, first: 1, rounds: 1) }
        // Every schedule ascends, ends at the budget and holds its checkpoints.
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<500 {
            let budget = 1 + generator.index(below: 2000)
            let checkpoints = (0..<generator.index(below: 4)).map { _ in 1 + generator.index(below: budget) }
            let totals = try ReviewSchedule(
                budget: budget, first: 1 + generator.index(below: 300), rounds: generator.index(below: 15), checkpoints: checkpoints
            ).totals
            #expect(totals.last == budget && zip(totals, totals.dropFirst()).allSatisfy { $0 < $1 })
            #expect(checkpoints.allSatisfy { totals.contains($0) }, "\(totals) \(checkpoints)")
        }
    }

    static func pool(_ tops: [Int]) throws -> CandidatePool {
        let scores = tops.map { SampleScore(top: $0, second: 1 - $0, topProbability: 0.9, secondProbability: 0.1, entropy: 0.325083) }
        return try CandidatePool([ScoreBlock(firstPosition: 0, classes: 2, scores: scores)], asked: [])
    }

    @Test func kappaAndMeanEntropy() throws {
        // 20 both 0, 15 both 1, 5 and 10 apart: p_o 0.7, p_e 0.5, κ 0.4.
        let a = try Self.pool([Int](repeating: 0, count: 25) + [Int](repeating: 1, count: 25))
        let b = try Self.pool(
            [Int](repeating: 0, count: 20) + [Int](repeating: 1, count: 5) + [Int](repeating: 0, count: 10) + [Int](repeating: 1, count: 15)
        )
        let statistics = RoundStatistics(asked: 10, pool: a, previous: b)
        #expect(abs(statistics.kappa! - 0.4) < 1e-12)
        #expect(abs(statistics.meanNormalizedEntropy - 0.325083 / 0.693147) < 1e-5)
        #expect(RoundStatistics(asked: 10, pool: a, previous: a).kappa == 1)
        #expect(RoundStatistics(asked: 10, pool: try Self.pool([0, 0]), previous: try Self.pool([0, 0])).kappa == 1)
        #expect(RoundStatistics(asked: 10, pool: a, previous: nil).kappa == nil)
    }

    @Test func rulesEndTheLoop() {
        func round(_ asked: Int, _ kappa: Double?, _ entropy: Double = 0.5) -> RoundStatistics {
            RoundStatistics(asked: asked, kappa: kappa, meanNormalizedEntropy: entropy)
        }
        let rule = StoppingRule(minimumKappa: 0.99, window: 3, maximumMeanEntropy: 0.05)
        #expect(rule.decide([], budget: 100, remaining: 5) == nil)
        #expect(rule.decide([round(10, nil)], budget: 100, remaining: 0) == .exhausted)
        #expect(rule.decide([round(100, 0.5)], budget: 100, remaining: 5) == .budget)
        #expect(rule.decide([round(10, nil), round(20, 0.995), round(30, 0.995)], budget: 100, remaining: 5) == nil)
        #expect(rule.decide([round(20, 0.995), round(30, 0.98), round(40, 0.995)], budget: 100, remaining: 5) == nil)
        #expect(rule.decide([round(20, 0.99), round(30, 0.995), round(40, 1)], budget: 100, remaining: 5) == .stable)
        #expect(rule.decide([round(20, 0.5, 0.04)], budget: 100, remaining: 5) == .certain)
        #expect(StoppingRule().decide([round(20, 1, 0), round(30, 1, 0), round(40, 1, 0)], budget: 100, remaining: 5) == nil)
    }

    @Test func simulatedReviewersErrAsOftenAsStated() {
        let reviewer = SimulatedReviewer(errorRate: 0.05, secondsPerItem: 3, seed: 1)
        let answers = (0..<20_000).map { reviewer.answer(position: $0, gold: $0 % 7, classes: 7) }
        let wrong = answers.enumerated().filter { $0.element != $0.offset % 7 }
        #expect(abs(Double(wrong.count) / 20_000 - 0.05) < 0.006)
        #expect(answers.allSatisfy { (0..<7).contains($0) })
        #expect(Set(wrong.map { ($0.element - $0.offset % 7 + 7) % 7 }) == Set(1...6))
        #expect(answers == (0..<20_000).map { reviewer.answer(position: $0, gold: $0 % 7, classes: 7) })
        #expect(SimulatedReviewer(errorRate: 1, secondsPerItem: 3, seed: 1).answer(position: 1, gold: 0, classes: 1) == 0)
    }
}
