import Evaluation
import Primitives
import Testing

@Suite struct RankedScoresTests {
    /// Every pair compared, the slow way.
    private func pairs(_ scored: [(score: Double, isPositive: Bool)], _ weights: [Int]) -> Double? {
        var (sum, count) = (0.0, 0)
        for (i, a) in scored.enumerated() where a.isPositive {
            for (j, b) in scored.enumerated() where !b.isPositive {
                count += weights[i] * weights[j]
                sum += Double(weights[i] * weights[j]) * (a.score > b.score ? 1 : a.score == b.score ? 0.5 : 0)
            }
        }
        return count > 0 ? sum / Double(count) : nil
    }

    @Test func areaIsTheShareOfPairsInOrder() {
        var generator = SeededGenerator(seed: 5)
        for round in 0..<40 {
            let scored = (0..<(round + 1)).map { _ in
                (score: Double(generator.index(below: 6)) / 6, isPositive: generator.index(below: 3) == 0)
            }
            let weights = scored.map { _ in generator.index(below: 4) }
            let ranked = RankedScores(scored)
            let all = scored.map { _ in 1 }
            for (area, expected) in [(ranked.area, pairs(scored, all)), (ranked.area(weights: weights), pairs(scored, weights))] {
                #expect((area == nil) == (expected == nil))
                #expect(abs((area ?? 0) - (expected ?? 0)) < 1e-12)
            }
        }
        #expect(RankedScores([(0.1, true), (0.9, true)]).area == nil)
        #expect(!RankedScores([(0.4, true), (0.4, false)]).ranks && RankedScores([(0.4, true), (0.5, false)]).ranks)
    }
}

@Suite struct GroupBootstrapTests {
    private func mean(_ values: [Double]) -> ([Int]) -> Double? {
        { weights in
            let total = weights.reduce(0, +)
            return total > 0 ? zip(weights, values).reduce(0) { $0 + Double($1.0) * $1.1 } / Double(total) : nil
        }
    }

    /// Ten copies of each of forty values carry no more than forty: drawn sample by sample the interval would be √10 times too narrow.
    @Test func groupsAreDrawnWhole() throws {
        var generator = SeededGenerator(seed: 11)
        let distinct = (0..<40).map { _ in generator.uniform() }
        let values = distinct.flatMap { [Double](repeating: $0, count: 10) }
        let whole = try #require(
            GroupBootstrap(groups: (0..<400).map { "p\($0 / 10)" }, resamples: 600, seed: 1).interval(mean(values)))
        let single = try #require(GroupBootstrap(groups: (0..<400).map { "s\($0)" }, resamples: 600, seed: 1).interval(mean(values)))
        let ratio = (whole.high - whole.low) / (single.high - single.low)
        #expect(ratio > 2.4 && ratio < 4.2, "\(ratio) where √10 is expected")
        let centre = values.reduce(0, +) / 400
        #expect(whole.contains(centre) && single.contains(centre))
        let again = GroupBootstrap(groups: (0..<400).map { "p\($0 / 10)" }, resamples: 600, seed: 1).interval(mean(values))
        #expect(again == whole)
    }

    @Test func whatHasNoValueHasNoInterval() {
        let one = GroupBootstrap(groups: ["a", "a"], resamples: 50, seed: 1)
        #expect(one.interval(mean([0, 1])) == nil, "one group alone does not vary")
        let rare = GroupBootstrap(groups: (0..<30).map(String.init), resamples: 200, seed: 1)
        #expect(rare.interval { $0[0] > 0 ? 1 : nil } == nil, "a third of the resamples miss the only positive")
    }
}
