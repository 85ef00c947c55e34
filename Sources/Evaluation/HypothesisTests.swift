/// Student's t-test on paired differences.
package struct PairedTTest: Hashable, Sendable {
    package var meanDifference: Double
    package var standardDeviation: Double
    package var degreesOfFreedom: Int
    /// Infinite when all differences are equal and not zero; zero when all are zero.
    package var t: Double
    package var p: Double
    /// All differences were equal: p is 1 (all zero) or 0 by convention, which a report must say.
    package var zeroVariance: Bool
    /// d_z = mean / standard deviation; nil without variance.
    package var effectSize: Double? { zeroVariance ? nil : meanDifference / standardDeviation }

    /// t = mean(d) / (sd(d)/√n), n − 1 degrees of freedom; nil for fewer than two pairs.
    package init?(differences: [Double]) {
        guard differences.count >= 2 else { return nil }
        let n = Double(differences.count)
        let mean = differences.reduce(0, +) / n
        let squares = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        let deviation = (squares / (n - 1)).squareRoot()
        meanDifference = mean
        degreesOfFreedom = differences.count - 1
        // Equal differences may leave rounding dust in the variance; it is not evidence.
        let scale = differences.map(abs).max() ?? 0
        if deviation <= 1e-13 * scale {
            standardDeviation = 0
            zeroVariance = true
            let isZero = scale == 0
            t = isZero ? 0 : (mean < 0 ? -Double.infinity : .infinity)
            p = isZero ? 1 : 0
        } else {
            standardDeviation = deviation
            zeroVariance = false
            t = mean / (deviation / n.squareRoot())
            p = SpecialFunctions.studentTwoSidedP(t: t, degreesOfFreedom: differences.count - 1)
        }
    }

    package init?(_ a: [Double], _ b: [Double]) {
        precondition(a.count == b.count, "\(a.count) values cannot be paired with \(b.count)")
        self.init(differences: zip(a, b).map { $0 - $1 })
    }
}

package enum MultipleTesting {
    /// Holm's step-down adjustment (1979), in the order given: p₍ᵢ₎ becomes max over j ≤ i of (m − j + 1) p₍ⱼ₎, at most 1.
    package static func holm(_ p: [Double]) -> [Double] {
        let order = p.indices.sorted { (p[$0], $0) < (p[$1], $1) }
        var adjusted = p
        var running = 0.0
        for (rank, index) in order.enumerated() {
            running = max(running, min(1, Double(p.count - rank) * p[index]))
            adjusted[index] = running
        }
        return adjusted
    }
}

/// McNemar's test in its exact form: of the samples on which exactly one of two labelings is right, who has how many.
package struct McNemar: Hashable, Sendable {
    package var onlyFirstCorrect: Int
    package var onlySecondCorrect: Int
    package var p: Double

    /// p = 2 · P(X ≤ min(b, c)), X ~ Binomial(b + c, ½), at most 1; and 1 without discordant samples.
    package init(onlyFirstCorrect b: Int, onlySecondCorrect c: Int) {
        onlyFirstCorrect = b
        onlySecondCorrect = c
        let n = b + c
        let k = min(b, c)
        // P(X ≤ k) = I_{1/2}(n − k, k + 1).
        p = n == 0 ? 1 : min(1, 2 * SpecialFunctions.regularizedIncompleteBeta(0.5, Double(n - k), Double(k + 1)))
    }

    package init(firstCorrect: [Bool], secondCorrect: [Bool]) {
        precondition(firstCorrect.count == secondCorrect.count, "\(firstCorrect.count) against \(secondCorrect.count) samples")
        var b = 0
        var c = 0
        for (first, second) in zip(firstCorrect, secondCorrect) where first != second { if first { b += 1 } else { c += 1 } }
        self.init(onlyFirstCorrect: b, onlySecondCorrect: c)
    }
}

extension RunReport.Spread {
    /// Mean ± sample standard deviation with a 95 % t interval; nil for no values.
    package init?(_ values: [Double], level: Double = 0.95) {
        guard let minimum = values.min(), let maximum = values.max() else { return nil }
        let n = Double(values.count)
        mean = values.reduce(0, +) / n
        count = values.count
        self.minimum = minimum
        self.maximum = maximum
        if values.count >= 2 {
            let average = mean
            let deviation = (values.reduce(0) { $0 + ($1 - average) * ($1 - average) } / (n - 1)).squareRoot()
            let half =
                SpecialFunctions.studentQuantile(twoSidedP: 1 - level, degreesOfFreedom: values.count - 1) * deviation / n.squareRoot()
            standardDeviation = deviation
            low = average - half
            high = average + half
        }
    }
}
