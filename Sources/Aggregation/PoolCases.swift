/// Reviewed samples laid out flat for fitting: the supports of all samples one after the other.
///
/// An entry is one class of one sample, or the shared entry that stands for `multiplicity` other classes. A source
/// without an opinion on a sample has logarithm 0 in all its entries, which cancels in every quotient.
struct PoolCases {
    private let sourceCount: Int
    /// Entries of sample i: `starts[i]..<starts[i + 1]`.
    private var starts: [Int] = [0]
    /// Entry-major: the logarithms of entry e are at e · sourceCount.
    private var logs: [Double] = []
    private var multiplicities: [Double] = []
    /// The entry of the reviewed label, the sample's weight, and which sources speak.
    private var labels: [Int] = []
    private var sampleWeights: [Double] = []
    private var present: [[Bool]] = []

    init(_ reviewed: [ReviewedSample], classCount: Int, sourceCount: Int) {
        self.sourceCount = sourceCount
        for sample in reviewed {
            precondition(
                sample.opinions.count == sourceCount, "\(sample.opinions.count) opinions of \(sourceCount) sources at \(sample.position)")
            precondition(sample.weight > 0, "a reviewed sample with weight \(sample.weight)")
            let support = OpinionSupport(sample.opinions, classCount: classCount, including: [sample.label])
            for i in 0..<(support.classes.count + (support.others > 0 ? 1 : 0)) {
                if i < support.classes.count && support.classes[i] == sample.label { labels.append(multiplicities.count) }
                multiplicities.append(i < support.classes.count ? 1 : Double(support.others))
                for values in support.logs { logs.append(values.isEmpty ? 0 : values[i]) }
            }
            starts.append(multiplicities.count)
            sampleWeights.append(sample.weight)
            present.append(support.logs.map { !$0.isEmpty })
        }
    }

    /// w · L of every entry of the rows; other entries stay 0.
    private func scores(_ rows: [Int], weights: [Double]) -> [Double] {
        var out = [Double](repeating: 0, count: multiplicities.count)
        for row in rows {
            for e in starts[row]..<starts[row + 1] {
                var sum = 0.0
                for s in 0..<sourceCount { sum += weights[s] * logs[e * sourceCount + s] }
                out[e] = sum
            }
        }
        return out
    }

    /// ln Σ m exp(β score) over the entries of one sample.
    private func logNorm(_ row: Int, _ scores: [Double], inverseTemperature beta: Double) -> Double {
        let range = starts[row]..<starts[row + 1]
        var top = -Double.infinity
        for e in range { top = max(top, scores[e]) }
        var sum = 0.0
        for e in range { sum += multiplicities[e] * exponential(beta * (scores[e] - top)) }
        return beta * top + naturalLog(sum)
    }

    /// Σ ω · −ln m(label).
    private func loss(_ rows: [Int], _ scores: [Double], inverseTemperature beta: Double) -> Double {
        rows.reduce(0) { $0 + sampleWeights[$1] * (logNorm($1, scores, inverseTemperature: beta) - beta * scores[labels[$1]]) }
    }

    /// Weighted hits and weighted loss; a sample on which no weighted source speaks is an abstain, never a hit.
    func score(_ rows: [Int], weights: [Double], temperature: Double) -> (hits: Double, loss: Double) {
        let scores = scores(rows, weights: weights)
        var hits = 0.0
        for row in rows where (0..<sourceCount).contains(where: { weights[$0] > 0 && present[row][$0] }) {
            // As in `OpinionPool`: the lowest class among the best; the shared entry cannot win.
            var best = starts[row]
            for e in starts[row]..<starts[row + 1] where scores[e] > scores[best] && multiplicities[e] == 1 { best = e }
            if best == labels[row] { hits += sampleWeights[row] }
        }
        return (hits, loss(rows, scores, inverseTemperature: 1 / temperature))
    }

    /// T in [0.05, 20] that minimises the loss, by golden section on ln T. The loss is convex in 1/T, so it has one valley.
    func fittedTemperature(_ rows: [Int], weights: [Double]) -> Double {
        let scores = scores(rows, weights: weights)
        let ratio = (5.0.squareRoot() - 1) / 2
        var low = naturalLog(0.05)
        var high = naturalLog(20)
        func loss(_ logT: Double) -> Double { self.loss(rows, scores, inverseTemperature: exponential(-logT)) }
        var left = high - ratio * (high - low)
        var right = low + ratio * (high - low)
        var leftLoss = loss(left)
        var rightLoss = loss(right)
        // 0.618²² of ln 400 leaves T to within 10⁻⁴ of itself, far below what a few thousand samples can tell.
        for _ in 0..<22 {
            if leftLoss <= rightLoss {
                (high, right, rightLoss) = (right, left, leftLoss)
                left = high - ratio * (high - low)
                leftLoss = loss(left)
            } else {
                (low, left, leftLoss) = (left, right, rightLoss)
                right = low + ratio * (high - low)
                rightLoss = loss(right)
            }
        }
        return exponential(0.5 * (low + high))
    }

    /// Weights w ≥ 0 that minimise Σᵢ ωᵢ [ln Σ_c exp(w·Lᵢ(c)) − w·Lᵢ(yᵢ)] + λ/2 |w − w⁰|², by Newton steps on the free weights.
    ///
    /// L are the sources' log-probabilities; gradient E_m[L] − L(y), Hessian Cov_m(L), both under the pool m. The
    /// problem is convex. λ = 1, one pseudo-sample, pulls towards the baseline alone (w⁰ = 1, 0, …).
    func fittedWeights(_ rows: [Int]) -> [Double] {
        let n = sourceCount
        let prior = (0..<n).map { $0 == 0 ? 1.0 : 0.0 }
        let lambda = 1.0
        var w = prior
        func objective(_ w: [Double]) -> Double {
            loss(rows, scores(rows, weights: w), inverseTemperature: 1)
                + 0.5 * lambda * zip(w, prior).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        var value = objective(w)
        for _ in 0..<50 {
            var (gradient, hessian) = derivatives(rows, weights: w)
            for s in 0..<n {
                gradient[s] += lambda * (w[s] - prior[s])
                hessian[s][s] += lambda
            }
            let free = (0..<n).filter { w[$0] > 0 || gradient[$0] < 0 }
            guard !free.isEmpty else { break }
            let step = Self.solve(free.map { row in free.map { hessian[row][$0] } }, free.map { -gradient[$0] })
            // Armijo's rule along the projected step; a step that cannot improve ends the search.
            var moved = 0.0
            var scale = 1.0
            while scale > 1e-10 {
                var next = w
                for (i, s) in free.enumerated() { next[s] = max(0, w[s] + scale * step[i]) }
                let nextValue = objective(next)
                let descent = (0..<n).reduce(0) { $0 + gradient[$1] * (next[$1] - w[$1]) }
                if nextValue < value && nextValue <= value + 1e-4 * descent {
                    moved = zip(w, next).map { abs($0 - $1) }.max() ?? 0
                    (w, value) = (next, nextValue)
                    break
                }
                scale /= 2
            }
            if moved < 1e-7 { break }
        }
        return w
    }

    private func derivatives(_ rows: [Int], weights w: [Double]) -> (gradient: [Double], hessian: [[Double]]) {
        let n = sourceCount
        let scores = scores(rows, weights: w)
        var gradient = [Double](repeating: 0, count: n)
        var hessian = [[Double]](repeating: gradient, count: n)
        var means = gradient
        for row in rows {
            let norm = logNorm(row, scores, inverseTemperature: 1)
            let range = starts[row]..<starts[row + 1]
            let masses = range.map { multiplicities[$0] * exponential(scores[$0] - norm) }
            for s in 0..<n {
                means[s] = 0
                for (i, e) in range.enumerated() { means[s] += masses[i] * logs[e * n + s] }
                gradient[s] += sampleWeights[row] * (means[s] - logs[labels[row] * n + s])
            }
            for s in 0..<n {
                for t in s..<n {
                    var covariance = 0.0
                    for (i, e) in range.enumerated() {
                        covariance += masses[i] * (logs[e * n + s] - means[s]) * (logs[e * n + t] - means[t])
                    }
                    hessian[s][t] += sampleWeights[row] * covariance
                    if t != s { hessian[t][s] += sampleWeights[row] * covariance }
                }
            }
        }
        return (gradient, hessian)
    }

    /// Gaussian elimination of a small positive definite system.
    private static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
        var a = matrix
        var b = right
        let n = b.count
        for k in 0..<n {
            for row in k + 1..<max(n, k + 1) {
                let factor = a[row][k] / a[k][k]
                for column in k..<n { a[row][column] -= factor * a[k][column] }
                b[row] -= factor * b[k]
            }
        }
        for k in stride(from: n - 1, through: 0, by: -1) {
            for column in k + 1..<max(n, k + 1) { b[k] -= a[k][column] * b[column] }
            b[k] /= a[k][k]
        }
        return b
    }
}
