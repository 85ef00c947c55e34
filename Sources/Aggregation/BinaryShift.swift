/// What a yes-or-no source's probability is worth on samples that were drawn uniformly: logit p′ = slope · logit p + intercept (Platt 1999).
///
/// A classifier taught by answers that a policy chose believes in the classes' shares among those answers. Where they are not the pool's,
/// it ranks well and cuts at the wrong place; the intercept moves the cut. Fitted on samples that it had not seen, taken only where it
/// lowers the cross-validated log loss.
package struct BinaryShift: Hashable, Sendable, Codable {
    package struct Evidence: Hashable, Sendable, Codable {
        /// `none`, `intercept`, `slope and intercept`.
        package var name: String
        /// Cross-validated mean of −ln p(answer).
        package var logLoss: Double
    }
    package let slope: Double
    package let intercept: Double

    package static let identity = BinaryShift(slope: 1, intercept: 0)
    /// Fewer reviewed samples, or fewer of either answer, cannot tell a shift from luck.
    package static let leastReviewed = 50
    package static let leastOfEach = 5
    private static let folds = 5

    package init(slope: Double, intercept: Double) {
        precondition(slope > 0 && slope.isFinite && intercept.isFinite, "a slope of \(slope) and an intercept of \(intercept)")
        self.slope = slope
        self.intercept = intercept
    }

    private static func logit(_ p: Double) -> Double {
        let q = min(max(p, 1e-6), 1 - 1e-6)
        return naturalLog(q / (1 - q))
    }
    private static func sigmoid(_ x: Double) -> Double { 1 / (1 + exponential(-x)) }

    package func apply(_ p: Double) -> Double { self == .identity ? p : Self.sigmoid(slope * Self.logit(p) + intercept) }

    /// - Parameter reviewed: P(yes) before the answer, and the answer; the order decides the folds.
    /// - Returns: the shift to use, and each candidate's loss; no candidates with too few answers.
    package static func fit(_ reviewed: [(p: Double, isYes: Bool)]) -> (shift: BinaryShift, evidence: [Evidence]) {
        let yes = reviewed.count { $0.isYes }
        guard reviewed.count >= leastReviewed, min(yes, reviewed.count - yes) >= leastOfEach else { return (.identity, []) }
        let points = reviewed.map { (x: logit($0.p), isYes: $0.isYes) }
        let candidates: [(name: String, fit: ([(x: Double, isYes: Bool)]) -> BinaryShift)] = [
            ("none", { _ in .identity }), ("intercept", { newton($0, fixesSlope: true) }),
            ("slope and intercept", { newton($0, fixesSlope: false) }),
        ]
        var evidence: [Evidence] = []
        for candidate in candidates {
            var loss = 0.0
            for fold in 0..<folds {
                let shift = candidate.fit(points.enumerated().filter { $0.offset % folds != fold }.map(\.element))
                for (i, point) in points.enumerated() where i % folds == fold {
                    let q = sigmoid(shift.slope * point.x + shift.intercept)
                    loss -= naturalLog(max(1e-9, point.isYes ? q : 1 - q))
                }
            }
            evidence.append(Evidence(name: candidate.name, logLoss: loss / Double(points.count)))
        }
        // Ties go to the simpler one.
        var best = 0
        for i in evidence.indices where evidence[i].logLoss < evidence[best].logLoss - 1e-6 { best = i }
        return (candidates[best].fit(points), evidence)
    }

    /// Maximum likelihood with Platt's targets, as if one more of each answer had been seen; a fixed number of damped Newton steps.
    private static func newton(_ points: [(x: Double, isYes: Bool)], fixesSlope: Bool) -> BinaryShift {
        let yes = Double(points.count { $0.isYes })
        let (high, low) = ((yes + 1) / (yes + 2), 1 / (Double(points.count) - yes + 2))
        var (a, b) = (1.0, 0.0)
        for _ in 0..<40 {
            var (ga, gb, haa, hab, hbb) = (0.0, 0.0, 1e-6, 0.0, 1e-6)
            for point in points {
                let q = sigmoid(a * point.x + b)
                let error = q - (point.isYes ? high : low)
                let weight = max(1e-9, q * (1 - q))
                ga += error * point.x
                gb += error
                haa += weight * point.x * point.x
                hab += weight * point.x
                hbb += weight
            }
            var (da, db) = (0.0, gb / hbb)
            let determinant = haa * hbb - hab * hab
            if !fixesSlope, determinant > 1e-12 { (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant) }
            let scale = min(1, 2 / max(1e-9, abs(da) + abs(db)))
            a -= scale * da
            b -= scale * db
        }
        // The order of samples is the classifier's to say.
        return BinaryShift(slope: min(max(a, 0.05), 20), intercept: min(max(b, -20), 20))
    }
}
