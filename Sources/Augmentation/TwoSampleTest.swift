internal import Evaluation
internal import Primitives

/// Can a classifier tell real from synthetic (Lopez-Paz and Oquab 2017)? One half of the rows trains a logistic regression, the
/// other half judges: 0.5 is ideal, and p is the chance of its hits under coin tosses.
package struct TwoSampleTest: Sendable, Hashable, Codable {
    package var accuracy: Double
    package var trials: Int
    /// One-sided binomial.
    package var p: Double

    /// As many rows of one side as of the other take part, drawn by `seed`.
    ///
    /// - Precondition: at least four rows on both sides.
    package init(real: FeatureRows, synthetic: FeatureRows, seed: UInt64) {
        precondition(real.width == synthetic.width && min(real.count, synthetic.count) >= 4, "too few rows to tell apart")
        let each = min(real.count, synthetic.count)
        func drawn(_ rows: FeatureRows, _ name: String) -> [Int] {
            var order = Array(0..<rows.count)
            var generator = SeededGenerator(seed: seed, stream: "two-sample", name)
            generator.shuffle(&order)
            return Array(order.prefix(each))
        }
        let half = each / 2
        let (a, b) = (drawn(real, "real"), drawn(synthetic, "synthetic"))
        let model = LogisticRegression(
            positive: synthetic.rows(b.prefix(half)), negative: real.rows(a.prefix(half)), ridge: 1e-2)
        let (realTest, syntheticTest) = (real.rows(a.dropFirst(half)), synthetic.rows(b.dropFirst(half)))
        let hits =
            (0..<realTest.count).count { model.score(realTest, $0) < 0 }
            + (0..<syntheticTest.count).count { model.score(syntheticTest, $0) >= 0 }
        trials = realTest.count + syntheticTest.count
        accuracy = Double(hits) / Double(trials)
        p = Self.upperTail(hits, of: trials)
    }

    /// P(X ≥ k), X ~ Binomial(n, ½): I_½(k, n − k + 1).
    static func upperTail(_ k: Int, of n: Int) -> Double {
        k <= 0 ? 1 : SpecialFunctions.regularizedIncompleteBeta(0.5, Double(k), Double(n - k + 1))
    }
}

/// Two classes by Newton's method on standardised features; ridge in units of one row's weight.
struct LogisticRegression: Sendable {
    private let mean: [Double]
    private let scale: [Double]
    private var weights: [Double]

    init(positive: FeatureRows, negative: FeatureRows, ridge: Double) {
        let d = positive.width
        let all = FeatureRows(width: d, values: positive.values + negative.values)
        let n = all.count
        var sum = [Double](repeating: 0, count: d)
        var square = [Double](repeating: 0, count: d)
        for row in 0..<n {
            for i in 0..<d {
                let x = Double(all.values[row * d + i])
                sum[i] += x
                square[i] += x * x
            }
        }
        let mean = sum.map { $0 / Double(n) }
        let scale = zip(square, mean).map { 1 / max(($0 / Double(n) - $1 * $1), 1e-12).squareRoot() }
        self.mean = mean
        self.scale = scale
        weights = [Double](repeating: 0, count: d + 1)
        var x = [Double](repeating: 1, count: n * (d + 1))
        for row in 0..<n { for i in 0..<d { x[row * (d + 1) + i] = (Double(all.values[row * d + i]) - mean[i]) * scale[i] } }
        for _ in 0..<12 {
            var gradient = weights.map { $0 * ridge * Double(n) }
            var hessian = [Double](repeating: 0, count: (d + 1) * (d + 1))
            for i in 0...d { hessian[i * (d + 1) + i] = ridge * Double(n) + 1e-9 }
            for row in 0..<n {
                let at = row * (d + 1)
                var z = 0.0
                for i in 0...d { z += weights[i] * x[at + i] }
                let p = 1 / (1 + exponential(-z))
                let error = p - (row < positive.count ? 1 : 0)
                let weight = max(p * (1 - p), 1e-6)
                for i in 0...d {
                    gradient[i] += error * x[at + i]
                    let scaled = weight * x[at + i]
                    for j in 0...i { hessian[i * (d + 1) + j] += scaled * x[at + j] }
                }
            }
            let step = Symmetric.solve(hessian, gradient)
            for i in 0...d { weights[i] -= step[i] }
            if step.allSatisfy({ abs($0) < 1e-8 }) { break }
        }
    }

    /// Positive where the row looks like the positive class.
    func score(_ rows: FeatureRows, _ row: Int) -> Double {
        var z = weights[rows.width]
        for i in 0..<rows.width { z += weights[i] * (Double(rows.values[row * rows.width + i]) - mean[i]) * scale[i] }
        return z
    }
}
