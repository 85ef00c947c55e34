/// Where to cut p(second class) of a two-class problem: chosen on validation samples, applied to others.
package struct BinaryCut: Hashable, Sendable {
    /// p above it is the second class.
    package let threshold: Double

    /// The cut of highest balanced accuracy, (sensitivity + specificity) / 2: it does not hang on how common the classes are, which is
    /// what differs first between hospitals. Of equally good cuts the middle one.
    ///
    /// - Parameter scored: p and truth of validation samples. Nil when one class is missing.
    package init?(_ scored: [(p: Double, isSecond: Bool)]) {
        let positives = scored.count { $0.isSecond }
        guard positives > 0, positives < scored.count else { return nil }
        let sorted = scored.sorted { ($0.p, $0.isSecond ? 1 : 0) < ($1.p, $1.isSecond ? 1 : 0) }
        // With the cut below everything, all are taken for the second class.
        var (truePositives, trueNegatives) = (positives, 0)
        var (best, cuts) = (-1.0, [Double]())
        var i = 0
        while true {
            let balanced =
                Double(truePositives) / Double(positives) / 2 + Double(trueNegatives) / Double(scored.count - positives) / 2
            let below = i == 0 ? 0 : sorted[i - 1].p
            let above = i < sorted.count ? sorted[i].p : 1
            if balanced > best + 1e-12 { (best, cuts) = (balanced, []) }
            if balanced > best - 1e-12 { cuts.append((below + above) / 2) }
            guard i < sorted.count else { break }
            let p = sorted[i].p
            while i < sorted.count, sorted[i].p == p {
                if sorted[i].isSecond { truePositives -= 1 } else { trueNegatives += 1 }
                i += 1
            }
        }
        threshold = cuts[cuts.count / 2]
    }

    /// Correct ones, and F1 of the second class.
    package static func judged(_ scored: [(p: Double, isSecond: Bool)], at threshold: Double) -> (right: Int, f1: Double?) {
        let truePositives = scored.count { $0.isSecond && $0.p > threshold }
        let falsePositives = scored.count { !$0.isSecond && $0.p > threshold }
        let misses = scored.count { $0.isSecond && $0.p <= threshold }
        let right = scored.count - falsePositives - misses
        let denominator = 2 * truePositives + falsePositives + misses
        return (right, denominator > 0 ? Double(2 * truePositives) / Double(denominator) : nil)
    }
}
