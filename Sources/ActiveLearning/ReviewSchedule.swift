package import Primitives

/// How many answers exist after each round of active learning.
package struct ReviewSchedule: Hashable, Sendable, Codable {
    /// Ascending; the last is the budget.
    package let totals: [Int]

    /// Batches that grow with the round: total(r) = first + (budget − first) · (r / rounds)^1.3 for r = 0...rounds. Small batches pay
    /// early, where each answer changes the classifier most; 11 totals lose nothing against 18 on CLINC150.
    /// - Parameters:
    ///   - first: answers of the cold start; one for each class is a good number.
    ///   - rounds: after the cold start.
    ///   - checkpoints: totals that must occur because something is reported there; the nearest total moves to each.
    /// Throws `review.schedule` when the numbers do not fit one another.
    package init(budget: Int, first: Int, rounds: Int, checkpoints: [Int] = []) throws(AMAFError) {
        guard budget >= 1, first >= 1, rounds >= 0 else {
            throw AMAFError(
                "review.schedule", "No review of \(budget) answers starts with \(first) and goes on for \(rounds) rounds",
                remedy: "Budget and first batch are at least 1, rounds at least 0.")
        }
        let start = rounds == 0 ? budget : min(first, budget)
        var totals = (0...rounds).map { round in
            round == rounds ? budget : start + Int((Double(budget - start) * power(Double(round) / Double(max(rounds, 1)))).rounded())
        }
        for checkpoint in checkpoints.sorted() {
            guard checkpoint >= 1, checkpoint <= budget else {
                throw AMAFError(
                    "review.schedule", "The checkpoint at \(checkpoint) answers lies outside the budget of \(budget)",
                    remedy: "Give checkpoints below the budget.")
            }
            // The last total stays: it is the budget.
            let free = totals.indices.dropLast()
            if totals.contains(checkpoint) { continue }
            if let nearest = free.min(by: { (abs(totals[$0] - checkpoint), $0) < (abs(totals[$1] - checkpoint), $1) }),
                !checkpoints.contains(totals[nearest])
            {
                totals[nearest] = checkpoint
            } else {
                totals.append(checkpoint)
            }
            totals.sort()
        }
        self.totals = totals.enumerated().filter { $0.offset == 0 || totals[$0.offset - 1] < $0.element }.map(\.element)
    }

    package var budget: Int { totals.last ?? 0 }

    /// How many to ask in round r (0 is the cold start).
    package func batch(ofRound round: Int) -> Int { totals[round] - (round == 0 ? 0 : totals[round - 1]) }
}

/// x^1.3 for x in 0...1 from square roots alone, which IEEE 754 rounds the same everywhere: 1.3 = 1 + 1/4 + 1/32 + 1/64 + 1/512 + …
private func power(_ x: Double) -> Double {
    var result = x
    var root = x
    // Binary digits of 0.3 after the point.
    for digit in [0, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1] {
        root = root.squareRoot()
        if digit == 1 { result *= root }
    }
    return result
}
