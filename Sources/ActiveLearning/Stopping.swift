/// What one round shows about whether another is worth asking for.
package struct RoundStatistics: Hashable, Sendable, Codable {
    /// Answers so far.
    package var asked: Int
    /// Cohen's κ between this round's predictions and the last one's; nil in the first round.
    package var kappa: Double?
    /// Mean of H / ln K over the samples not asked; 0 when there are none.
    package var meanNormalizedEntropy: Double

    package init(asked: Int, kappa: Double?, meanNormalizedEntropy: Double) {
        self.asked = asked
        self.kappa = kappa
        self.meanNormalizedEntropy = meanNormalizedEntropy
    }

    /// - Parameter previous: the last round's pool; positions in both are compared.
    package init(asked: Int, pool: CandidatePool, previous: CandidatePool?) {
        let total = pool.candidates.reduce(0.0) { $0 + Double(Uncertainty.normalizedEntropy.value($1.score, classes: pool.classes)) }
        self.init(
            asked: asked, kappa: previous.map { cohensKappa(pool, $0) },
            meanNormalizedEntropy: pool.candidates.isEmpty ? 0 : total / Double(pool.candidates.count))
    }
}

/// When to stop before the budget is spent. Without any rule only the budget ends the loop.
package struct StoppingRule: Hashable, Sendable, Codable {
    package enum Reason: String, Hashable, Sendable, Codable {
        case budget
        /// Predictions no longer change.
        case stable
        /// The classifier is sure of all that is left.
        case certain
        /// Nothing is left to ask.
        case exhausted
    }
    /// κ of each of the last `window` rounds must reach this (0.99 is usual); nil for no such rule.
    package var minimumKappa: Double?
    package var window: Int
    /// Mean normalised entropy below this (0.05 is usual); nil for no such rule.
    package var maximumMeanEntropy: Double?

    package init(minimumKappa: Double? = nil, window: Int = 3, maximumMeanEntropy: Double? = nil) {
        self.minimumKappa = minimumKappa
        self.window = window
        self.maximumMeanEntropy = maximumMeanEntropy
    }

    /// Why the loop should end after these rounds, or nil to go on.
    /// - Parameter remaining: candidates not asked yet.
    package func decide(_ rounds: [RoundStatistics], budget: Int, remaining: Int) -> Reason? {
        guard let last = rounds.last else { return remaining == 0 ? .exhausted : nil }
        if remaining == 0 { return .exhausted }
        if last.asked >= budget { return .budget }
        if let minimumKappa, window > 0, rounds.count >= window,
            rounds.suffix(window).allSatisfy({ ($0.kappa ?? -1) >= minimumKappa })
        {
            return .stable
        }
        if let maximumMeanEntropy, last.meanNormalizedEntropy < maximumMeanEntropy { return .certain }
        return nil
    }
}

/// κ = (p_o − p_e) / (1 − p_e) over the positions in both pools (Cohen 1960); 1 where both predict one and the same class everywhere,
/// and where they share nothing.
func cohensKappa(_ a: CandidatePool, _ b: CandidatePool) -> Double {
    let classes = max(a.classes, b.classes)
    var (inA, inB) = ([Double](repeating: 0, count: classes), [Double](repeating: 0, count: classes))
    var (same, shared) = (0.0, 0.0)
    var j = 0
    for x in a.candidates {
        while j < b.candidates.count && b.candidates[j].position < x.position { j += 1 }
        guard j < b.candidates.count else { break }
        let y = b.candidates[j]
        guard y.position == x.position else { continue }
        shared += 1
        inA[Int(x.score.top)] += 1
        inB[Int(y.score.top)] += 1
        if x.score.top == y.score.top { same += 1 }
    }
    guard shared > 0 else { return 1 }
    let expected = zip(inA, inB).reduce(0.0) { $0 + $1.0 * $1.1 } / (shared * shared)
    return expected < 1 ? (same / shared - expected) / (1 - expected) : 1
}
