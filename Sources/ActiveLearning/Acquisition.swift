package import Primitives

/// One sample that people should be asked about, and why.
package struct Selection: Hashable, Sendable, Codable {
    package var position: Int
    /// What the policy ranked by; comparable only inside one batch.
    package var utility: Float
    /// `random`, `margin`, `class-name` …
    package var reason: String

    package init(position: Int, utility: Float, reason: String) {
        self.position = position
        self.utility = utility
        self.reason = reason
    }
}

/// Chooses the next batch. Policies are pure: the same pool, count and generator give the same batch, and no position comes twice.
package protocol AcquisitionPolicy: Sendable {
    /// At most `count` selections, the most wanted first.
    func select(_ count: Int, from pool: CandidatePool, using generator: inout SeededGenerator) -> [Selection]
}

/// The policies that a pipeline file can name.
package enum Acquisition: String, Hashable, Sendable, Codable, CaseIterable {
    /// The control that every other policy is reported beside.
    case random
    /// Entropy normalised by ln K (the paper's rule; ranks as plain entropy does). Loses to random while classes are many and answers few.
    case entropy
    /// Smallest p₁ − p₂ first: the default.
    case margin
    /// Margin, dealt over the predicted classes from the 2 · count smallest margins: a little better than `margin` with many
    /// classes and large batches.
    case balancedMargin = "balanced-margin"
    case leastConfidence = "least-confidence"

    package var policy: any AcquisitionPolicy {
        switch self {
        case .random: RandomAcquisition()
        case .entropy: UncertaintyAcquisition(.normalizedEntropy)
        case .margin: UncertaintyAcquisition(.margin)
        case .balancedMargin: UncertaintyAcquisition(.margin, spread: 2)
        case .leastConfidence: UncertaintyAcquisition(.leastConfidence)
        }
    }

    /// Whether the policy looks at scores at all; where it does not, a round needs no classifier.
    package var needsScores: Bool { self != .random }
}

/// The batch of one round: the work of `select-for-review`. The stream of chance is named by round, so a repeated round asks the
/// same samples.
package func selectForReview(
    _ count: Int, from pool: CandidatePool, policy: any AcquisitionPolicy, seed: UInt64, round: Int
) -> [Selection] {
    precondition(count >= 0, "a batch of \(count)")
    var generator = SeededGenerator(seed: seed, stream: "select-for-review", "\(round)")
    let batch = policy.select(count, from: pool, using: &generator)
    precondition(
        batch.count <= count && Set(batch.map(\.position)).count == batch.count, "a policy chose \(batch.count) of \(count), or one twice")
    return batch
}

/// Every candidate with the same chance.
package struct RandomAcquisition: AcquisitionPolicy {
    package init() {}

    package func select(_ count: Int, from pool: CandidatePool, using generator: inout SeededGenerator) -> [Selection] {
        draw(count, from: pool.candidates.map(\.position), using: &generator)
            .map { Selection(position: $0, utility: 0, reason: "random") }
    }
}

/// The most uncertain candidates first; equal ones by position.
package struct UncertaintyAcquisition: AcquisitionPolicy {
    package var measure: Uncertainty
    /// With a spread above 1 the batch is dealt from the spread · count most uncertain candidates, one for each predicted class in
    /// turn, so that a batch does not ask one question many times.
    package var spread: Double

    /// - Precondition: spread ≥ 1.
    package init(_ measure: Uncertainty, spread: Double = 1) {
        precondition(spread >= 1, "a spread of \(spread)")
        self.measure = measure
        self.spread = spread
    }

    package func select(_ count: Int, from pool: CandidatePool, using generator: inout SeededGenerator) -> [Selection] {
        let ranked = ranking(pool.candidates.map { (measure.value($0.score, classes: pool.classes), $0.position) })
        let head = ranked.prefix(Int((Double(count) * spread).rounded(.up)))
        let chosen = spread > 1 ? dealt(head.map { (pool.candidates[$0], $0) }, count: count).map(\.1) : Array(head.prefix(count))
        return chosen.map {
            let candidate = pool.candidates[$0]
            return Selection(
                position: candidate.position, utility: measure.value(candidate.score, classes: pool.classes), reason: measure.rawValue)
        }
    }
}

/// A start without answers, for scores of a classifier made of class names (`SoftmaxRegression(classNames:)`): for each predicted
/// class in turn the candidate that resembles the name most.
///
/// Only a random share of the candidates is looked at, so that seeds differ in what they start from. Candidates that resemble no
/// name (p₁ = p₂) come last, in random order; where names say nothing this is random acquisition.
package struct ClassNameColdStart: AcquisitionPolicy {
    package var share: Double

    /// - Precondition: 0 < share ≤ 1.
    package init(share: Double = 0.5) {
        precondition(share > 0 && share <= 1, "a share of \(share)")
        self.share = share
    }

    package func select(_ count: Int, from pool: CandidatePool, using generator: inout SeededGenerator) -> [Selection] {
        var order = Array(pool.candidates.indices)
        generator.shuffle(&order)
        // The share grows where it could not fill the batch otherwise.
        let looked = order.prefix(max(Int((Double(order.count) * share).rounded(.up)), min(count, order.count)))
        let telling = looked.filter { pool.candidates[$0].score.margin > 0 }
        let ranked = ranking(telling.map { (pool.candidates[$0].score.topProbability, pool.candidates[$0].position) }).map { telling[$0] }
        var batch = dealt(ranked.map { (pool.candidates[$0], $0) }, count: count).map {
            Selection(position: $0.0.position, utility: $0.0.score.topProbability, reason: "class-name")
        }
        let silent = looked.filter { pool.candidates[$0].score.margin <= 0 }
        batch += silent.prefix(count - batch.count).map {
            Selection(position: pool.candidates[$0].position, utility: 0, reason: "random")
        }
        return batch
    }
}

/// Indices by value, largest first, equal ones by position.
private func ranking(_ items: [(value: Float, position: Int)]) -> [Int] {
    items.indices.sorted {
        let (a, b) = (items[$0], items[$1])
        return a.value != b.value ? a.value > b.value : a.position < b.position
    }
}

/// The first of every predicted class, then the second of each, and so on, inside a turn in the order given.
private func dealt(
    _ ranked: [(CandidatePool.Candidate, Int)], count: Int
) -> [(CandidatePool.Candidate, Int)] {
    var seen: [UInt16: Int] = [:]
    var turns: [(turn: Int, index: Int)] = []
    for (index, item) in ranked.enumerated() {
        let turn = seen[item.0.score.top, default: 0]
        seen[item.0.score.top] = turn + 1
        turns.append((turn, index))
    }
    return turns.sorted { ($0.turn, $0.index) < ($1.turn, $1.index) }.prefix(count).map { ranked[$0.index] }
}

/// `count` distinct positions drawn uniformly, in the order of the draw.
private func draw(_ count: Int, from positions: [Int], using generator: inout SeededGenerator) -> [Int] {
    var positions = positions
    let n = min(count, positions.count)
    for i in 0..<n { positions.swapAt(i, i + generator.index(below: positions.count - i)) }
    return Array(positions.prefix(n))
}

/// A uniform sample of what no person has seen, drawn after the last round: its answers estimate the accuracy of the machine's
/// labels without bias, which answers that a policy chose cannot.
package func auditSample(_ count: Int, from pool: CandidatePool, seed: UInt64) -> [Int] {
    var generator = SeededGenerator(seed: seed, stream: "audit")
    return draw(count, from: pool.candidates.map(\.position), using: &generator).sorted()
}
