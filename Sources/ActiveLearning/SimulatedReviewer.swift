internal import Primitives

/// A stand-in for people in experiments: answers with the gold label but for a stated share of errors. Numbers made with it must be
/// called simulated wherever they appear.
///
/// An answer depends on the seed and the sample alone, not on when or in which batch it is asked.
package struct SimulatedReviewer: Hashable, Sendable, Codable {
    /// 0...1; a wrong answer is any other class with the same chance.
    package var errorRate: Double
    package var secondsPerItem: Double
    package var seed: UInt64

    /// - Precondition: 0 ≤ errorRate ≤ 1.
    package init(errorRate: Double, secondsPerItem: Double, seed: UInt64) {
        precondition(errorRate >= 0 && errorRate <= 1, "an error rate of \(errorRate)")
        self.errorRate = errorRate
        self.secondsPerItem = secondsPerItem
        self.seed = seed
    }

    package func answer(position: Int, gold: Int, classes: Int) -> Int {
        var generator = SeededGenerator(seed: seed, stream: "simulated-reviewer", "\(position)")
        guard classes > 1, generator.uniform() < errorRate else { return gold }
        let other = generator.index(below: classes - 1)
        return other < gold ? other : other + 1
    }
}
