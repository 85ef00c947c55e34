internal import Glibc

/// Confidences and whether they were right, sample by sample: what calibration errors are computed from.
///
/// Merge in block order (`BlockFold`): equal confidences keep sample order, so equal-mass bins are always cut alike.
package struct CalibrationCounts: Hashable, Sendable, Mergeable {
    private var confidences: [Float] = []
    private var correct: [Bool] = []

    package init() {}

    /// - Parameter confidence: in [0, 1].
    package mutating func add(confidence: Float, isCorrect: Bool) {
        precondition(confidence >= 0 && confidence <= 1, "a confidence of \(confidence)")
        confidences.append(confidence)
        correct.append(isCorrect)
    }

    package mutating func merge(_ other: CalibrationCounts) {
        confidences += other.confidences
        correct += other.correct
    }

    package var count: Int { confidences.count }

    /// Equal-width bins [m/M, (m+1)/M) that hold samples; a confidence of 1 falls in the last.
    package func equalWidthBins(_ bins: Int = 15) -> [RunReport.Calibration.Bin] {
        var members = [[Int]](repeating: [], count: bins)
        for i in confidences.indices { members[min(bins - 1, Int(Double(confidences[i]) * Double(bins)))].append(i) }
        return members.enumerated().compactMap { m, rows in
            bin(rows, low: Double(m) / Double(bins), high: Double(m + 1) / Double(bins))
        }
    }

    /// Bins of as nearly equal counts as possible, in order of confidence.
    package func equalMassBins(_ bins: Int = 15) -> [RunReport.Calibration.Bin] {
        let order = confidences.indices.sorted { (confidences[$0], $0) < (confidences[$1], $1) }
        return (0..<bins).compactMap { m in
            let rows = Array(order[order.count * m / bins..<order.count * (m + 1) / bins])
            guard let first = rows.first, let last = rows.last else { return nil }
            return bin(rows, low: Double(confidences[first]), high: Double(confidences[last]))
        }
    }

    private func bin(_ rows: [Int], low: Double, high: Double) -> RunReport.Calibration.Bin? {
        guard !rows.isEmpty else { return nil }
        let n = Double(rows.count)
        return RunReport.Calibration.Bin(
            low: low, high: high, count: rows.count, confidence: rows.reduce(0) { $0 + Double(confidences[$1]) } / n,
            accuracy: Double(rows.count { correct[$0] }) / n)
    }

    /// Expected calibration error Σ_m |B_m|/n · |acc_m − conf_m|; nil without samples.
    package static func expectedError(_ bins: [RunReport.Calibration.Bin]) -> Double? {
        let n = bins.reduce(0) { $0 + $1.count }
        guard n > 0 else { return nil }
        return bins.reduce(0) { $0 + Double($1.count) * abs($1.accuracy - $1.confidence) } / Double(n)
    }

    package func equalWidthECE(bins: Int = 15) -> Double? { Self.expectedError(equalWidthBins(bins)) }
    package func equalMassECE(bins: Int = 15) -> Double? { Self.expectedError(equalMassBins(bins)) }
}

/// Sums of the proper scores of full distributions; merge in block order.
package struct ProbabilityScores: Hashable, Sendable, Mergeable {
    package private(set) var count = 0
    private var brierSum = 0.0
    private var lossSum = 0.0

    package init() {}

    /// - Parameters:
    ///   - probabilities: K values.
    ///   - gold: class in 0..<K. A probability below 10⁻¹² counts as 10⁻¹² in the log-likelihood.
    package mutating func add(probabilities: [Double], gold: Int) {
        precondition(probabilities.indices.contains(gold), "gold class \(gold) of \(probabilities.count)")
        count += 1
        for (index, p) in probabilities.enumerated() { brierSum += (p - (index == gold ? 1 : 0)) * (p - (index == gold ? 1 : 0)) }
        lossSum -= log(max(probabilities[gold], 1e-12))
    }

    package mutating func merge(_ other: ProbabilityScores) {
        count += other.count
        brierSum += other.brierSum
        lossSum += other.lossSum
    }

    /// Mean Σ_k (p_k − y_k)².
    package var brier: Double? { count > 0 ? brierSum / Double(count) : nil }
    /// Mean −ln p(gold).
    package var negativeLogLikelihood: Double? { count > 0 ? lossSum / Double(count) : nil }
}

extension RunReport.Calibration.Measure {
    /// Both calibration errors with 15 bins, and proper scores where full distributions were kept; nil without samples.
    package init?(_ counts: CalibrationCounts, scores: ProbabilityScores? = nil) {
        guard let width = counts.equalWidthECE(), let mass = counts.equalMassECE() else { return nil }
        self.init(
            equalWidthECE: width, equalMassECE: mass, brier: scores?.brier, negativeLogLikelihood: scores?.negativeLogLikelihood,
            bins: counts.equalWidthBins())
    }
}
