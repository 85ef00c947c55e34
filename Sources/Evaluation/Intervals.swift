internal import Glibc
internal import Primitives

package struct Interval: Hashable, Sendable, Codable {
    package var low: Double
    package var high: Double

    package init(low: Double, high: Double) {
        self.low = low
        self.high = high
    }
    package func contains(_ value: Double) -> Bool { low <= value && value <= high }
}

/// Intervals for a share `successes / trials`.
package enum Proportion {
    /// Wilson's score interval (1927), two-sided. With no trials it is [0, 1].
    package static func wilson(successes: Int, trials: Int, level: Double = 0.95) -> Interval {
        precondition(successes >= 0 && successes <= trials, "\(successes) of \(trials)")
        guard trials > 0 else { return Interval(low: 0, high: 1) }
        let z = -SpecialFunctions.normalQuantile((1 - level) / 2)
        let n = Double(trials)
        let share = Double(successes) / n
        let scale = 1 / (1 + z * z / n)
        let centre = scale * (share + z * z / (2 * n))
        let half = scale * z * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
        // At 0 and n the exact ends are 0 and 1; rounding may miss them.
        return Interval(low: successes == 0 ? 0 : max(0, centre - half), high: successes == trials ? 1 : min(1, centre + half))
    }

    /// Clopper and Pearson's interval (1934), two-sided: never covers less than its level.
    package static func clopperPearson(successes: Int, trials: Int, level: Double = 0.95) -> Interval {
        let tail = (1 - level) / 2
        return Interval(
            low: clopperPearsonLower(successes: successes, trials: trials, delta: tail),
            high: clopperPearsonUpper(successes: successes, trials: trials, delta: tail))
    }

    /// One-sided upper bound BetaInv(1 − δ; k + 1, n − k); 1 when every trial succeeded or there was none.
    package static func clopperPearsonUpper(successes k: Int, trials n: Int, delta: Double) -> Double {
        precondition(k >= 0 && k <= n, "\(k) of \(n)")
        return k == n ? 1 : SpecialFunctions.inverseIncompleteBeta(1 - delta, Double(k + 1), Double(n - k))
    }

    /// One-sided lower bound BetaInv(δ; k, n − k + 1); 0 when no trial succeeded.
    package static func clopperPearsonLower(successes k: Int, trials n: Int, delta: Double) -> Double {
        precondition(k >= 0 && k <= n, "\(k) of \(n)")
        return k == 0 ? 0 : SpecialFunctions.inverseIncompleteBeta(delta, Double(k), Double(n - k + 1))
    }
}

/// The bootstrap of a mean of paired differences, seeded.
package struct PairedBootstrap: Hashable, Sendable {
    package var mean: Double
    /// Standard deviation of the resampled means.
    package var standardError: Double
    /// mean ± z · standard error.
    package var normal: Interval
    /// Bias-corrected and accelerated (Efron 1987).
    package var bca: Interval

    /// - Parameter differences: one per sample, for example (A correct) − (B correct); at least one.
    package init(_ differences: [Double], resamples: Int = 10_000, level: Double = 0.95, seed: UInt64) {
        precondition(!differences.isEmpty && resamples > 1, "\(differences.count) differences, \(resamples) resamples")
        let n = differences.count
        let average = differences.reduce(0, +) / Double(n)
        var generator = SeededGenerator(seed: seed, stream: "paired-bootstrap")
        var means: [Double] = []
        means.reserveCapacity(resamples)
        for _ in 0..<resamples {
            var sum = 0.0
            for _ in 0..<n { sum += differences[generator.index(below: n)] }
            means.append(sum / Double(n))
        }
        let centre = means.reduce(0, +) / Double(resamples)
        let variance = means.reduce(0) { $0 + ($1 - centre) * ($1 - centre) } / Double(resamples - 1)
        means.sort()
        let z = -SpecialFunctions.normalQuantile((1 - level) / 2)
        self.mean = average
        self.standardError = variance.squareRoot()
        self.normal = Interval(low: average - z * variance.squareRoot(), high: average + z * variance.squareRoot())

        // z₀ from the share of resampled means below the observed one, ties by half; the acceleration from the jackknife,
        // whose deviations for a mean are (xᵢ − x̄)/(n − 1), so the n − 1 cancels.
        let tolerance = 1e-12 * max(1, abs(average))
        let below = means.reduce(0.0) { $0 + ($1 < average - tolerance ? 1 : ($1 <= average + tolerance ? 0.5 : 0)) }
        let share = min(max(below / Double(resamples), 0.5 / Double(resamples)), 1 - 0.5 / Double(resamples))
        let bias = SpecialFunctions.normalQuantile(share)
        let squares = differences.reduce(0) { $0 + ($1 - average) * ($1 - average) }
        let cubes = differences.reduce(0) { $0 + ($1 - average) * ($1 - average) * ($1 - average) }
        let acceleration = squares > 0 ? cubes / (6 * pow(squares, 1.5)) : 0
        func quantile(_ z: Double) -> Double {
            let shifted = bias + (bias + z) / (1 - acceleration * (bias + z))
            let position = SpecialFunctions.normalCDF(shifted) * Double(resamples - 1)
            let lower = min(max(Int(position), 0), resamples - 1)
            let upper = min(lower + 1, resamples - 1)
            return means[lower] + (position - Double(lower)) * (means[upper] - means[lower])
        }
        self.bca = squares > 0 ? Interval(low: quantile(-z), high: quantile(z)) : Interval(low: average, high: average)
    }
}
