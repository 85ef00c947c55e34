internal import Primitives

/// One sample whose label a person gave, with what the machines thought of it.
package struct ReviewedSample: Hashable, Sendable {
    package var position: Int
    /// The reviewer's answer; noise in it is the caller's to state.
    package var label: Int
    /// One per source.
    package var opinions: [Opinion]
    /// Whether the opinions were formed without this answer: predictions of the round that chose the sample, or
    /// cross-fitted ones. Others make a trained classifier look better than it is.
    package var isHeldOut: Bool
    /// How many samples of the pool it stands for; 1 when the sample was drawn uniformly or nothing is known.
    package var weight: Double

    package init(position: Int, label: Int, opinions: [Opinion], isHeldOut: Bool, weight: Double = 1) {
        self.position = position
        self.label = label
        self.opinions = opinions
        self.isHeldOut = isHeldOut
        self.weight = weight
    }
}

/// Why a combination was taken: every candidate on reviewed samples that its fit did not see.
package struct PoolEvidence: Hashable, Sendable, Codable {
    package struct Row: Hashable, Sendable, Codable {
        package var name: String
        /// Cross-validated share of reviewed samples labelled as the reviewer did; an abstain counts as wrong.
        package var accuracy: Double
        /// Cross-validated mean of −ln m(answer).
        package var negativeLogLikelihood: Double
        /// Parameters fitted on all reviewed samples.
        package var weights: [Double]
        package var temperature: Double
    }
    package var rows: [Row]
    package var chosen: String
    package var criterion: String
    package var heldOutSamples: Int
    package var folds: Int
    package var warnings: [String]
}

/// Fits an `OpinionPool` on reviewed samples and proves it against each source alone.
package struct PoolFitter: Hashable, Sendable {
    package var classCount: Int
    /// Machine sources; the first is the baseline that the pool must not lose to, by custom the classifier.
    package var sources: [OpinionSource]
    package var folds = 5
    /// Below this many usable samples nothing is fitted: the baseline is taken as it is.
    package var minimumSamples = 50
    package var humanPolicy: HumanPolicy = .answersStand
    package var reviewerAccuracy = 1.0
    package var seed: UInt64

    package init(classCount: Int, sources: [OpinionSource], seed: UInt64) {
        precondition(!sources.isEmpty, "a pool needs a source")
        self.classCount = classCount
        self.sources = sources
        self.seed = seed
    }

    /// The pool to use and the table that says why. The result depends on the samples' positions, not on their order.
    ///
    /// Candidates: each source alone and all sources with equal weights, both with a fitted temperature, and all with
    /// fitted weights. Of those whose cross-validated accuracy is no worse than the baseline's, the one with the
    /// lowest cross-validated negative log-likelihood is taken.
    package func fit(_ reviewed: [ReviewedSample]) -> (pool: OpinionPool, evidence: PoolEvidence) {
        var warnings: [String] = []
        var usable = reviewed.filter(\.isHeldOut).sorted { $0.position < $1.position }
        if usable.count < minimumSamples && reviewed.count >= minimumSamples {
            usable = reviewed.sorted { $0.position < $1.position }
            warnings.append(
                "Too few held-out predictions; weights and temperature were fitted on samples the classifier was trained on, so confidence may be too high."
            )
        }
        guard usable.count >= minimumSamples else {
            warnings.append(
                "Only \(usable.count) reviewed samples; \(minimumSamples) are needed to fit weights, so \(sources[0].name) is used as it is."
            )
            let weights = sources.indices.map { $0 == 0 ? 1.0 : 0.0 }
            let evidence = PoolEvidence(
                rows: [], chosen: sources[0].name, criterion: "too few reviewed samples to compare", heldOutSamples: usable.count, folds: 0,
                warnings: warnings)
            return (pool(weights: weights, temperature: 1), evidence)
        }

        let cases = usable.map {
            Case(support: OpinionSupport($0.opinions, classCount: classCount, including: [$0.label]), label: $0.label, weight: $0.weight)
        }
        var fold = usable.indices.map { $0 % folds }
        var generator = SeededGenerator(seed: seed, stream: "aggregate", "folds")
        generator.shuffle(&fold)

        let candidates = self.candidates()
        var rows: [PoolEvidence.Row] = []
        for candidate in candidates {
            var hits = 0.0
            var loss = 0.0
            for held in 0..<folds {
                let parameters = parameters(of: candidate, on: cases.indices.filter { fold[$0] != held }.map { cases[$0] })
                for i in cases.indices where fold[i] == held {
                    let score = Self.score(cases[i], weights: parameters.weights, temperature: parameters.temperature)
                    hits += score.isCorrect ? cases[i].weight : 0
                    loss += cases[i].weight * score.loss
                }
            }
            let total = cases.reduce(0) { $0 + $1.weight }
            let final = parameters(of: candidate, on: cases)
            rows.append(
                PoolEvidence.Row(
                    name: candidate.name, accuracy: hits / total, negativeLogLikelihood: loss / total, weights: final.weights,
                    temperature: final.temperature))
        }
        var best = 0
        for i in rows.indices
        where rows[i].accuracy >= rows[0].accuracy - 1e-12 && rows[i].negativeLogLikelihood < rows[best].negativeLogLikelihood {
            best = i
        }
        let evidence = PoolEvidence(
            rows: rows, chosen: rows[best].name,
            criterion:
                "lowest negative log-likelihood in \(folds)-fold cross-validation on \(usable.count) reviewed samples, among candidates no less accurate than \(sources[0].name) alone",
            heldOutSamples: usable.count, folds: folds, warnings: warnings)
        return (pool(weights: rows[best].weights, temperature: rows[best].temperature), evidence)
    }

    private func pool(weights: [Double], temperature: Double) -> OpinionPool {
        OpinionPool(
            classCount: classCount, sources: sources, weights: weights, temperature: temperature, humanPolicy: humanPolicy,
            reviewerAccuracy: reviewerAccuracy)
    }

    // MARK: Candidates

    struct Case {
        var support: OpinionSupport
        var label: Int
        var weight: Double
        var labelIndex: Int

        init(support: OpinionSupport, label: Int, weight: Double) {
            precondition(weight > 0, "a reviewed sample with weight \(weight)")
            self.support = support
            self.label = label
            self.weight = weight
            // The support was made to include the label.
            labelIndex = support.classes.firstIndex(of: label) ?? support.classes.count
        }
    }

    private struct Candidate {
        var name: String
        /// Fixed weights, or nil for fitted ones.
        var weights: [Double]?
    }

    private func candidates() -> [Candidate] {
        var list = sources.indices.map { s in Candidate(name: sources[s].name, weights: sources.indices.map { $0 == s ? 1 : 0 }) }
        if sources.count > 1 {
            list.append(Candidate(name: "equal pool", weights: sources.map { _ in 1 }))
            list.append(Candidate(name: "learned pool", weights: nil))
        }
        return list
    }

    private func parameters(of candidate: Candidate, on cases: [Case]) -> (weights: [Double], temperature: Double) {
        let weights = candidate.weights ?? Self.fittedWeights(cases, sourceCount: sources.count)
        return (weights, Self.fittedTemperature(cases, weights: weights))
    }

    // MARK: Mathematics

    private static func score(_ item: Case, weights: [Double], temperature: Double) -> (isCorrect: Bool, loss: Double) {
        let logs = OpinionPool.logProbabilities(item.support, weights: weights, temperature: temperature)
        let speaks = item.support.logs.indices.contains { weights[$0] > 0 && !item.support.logs[$0].isEmpty }
        var best = 0
        for i in item.support.classes.indices where logs[i] > logs[best] { best = i }
        return (speaks && best == item.labelIndex, -logs[item.labelIndex])
    }

    static func meanLoss(_ cases: [Case], weights: [Double], temperature: Double) -> Double {
        var loss = 0.0
        var total = 0.0
        for item in cases {
            loss -= item.weight * OpinionPool.logProbabilities(item.support, weights: weights, temperature: temperature)[item.labelIndex]
            total += item.weight
        }
        return loss / total
    }

    /// T in [0.05, 20] that minimises the loss, by golden section on ln T. The loss is convex in 1/T, so it has one valley.
    static func fittedTemperature(_ cases: [Case], weights: [Double]) -> Double {
        let ratio = (5.0.squareRoot() - 1) / 2
        var low = naturalLog(0.05)
        var high = naturalLog(20)
        func loss(_ logT: Double) -> Double { meanLoss(cases, weights: weights, temperature: exponential(logT)) }
        var left = high - ratio * (high - low)
        var right = low + ratio * (high - low)
        var leftLoss = loss(left)
        var rightLoss = loss(right)
        // 0.618^28 of ln 400 is a relative error in T below 10⁻⁵.
        for _ in 0..<28 {
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
    static func fittedWeights(_ cases: [Case], sourceCount n: Int) -> [Double] {
        let prior = (0..<n).map { $0 == 0 ? 1.0 : 0.0 }
        let lambda = 1.0
        var w = prior
        func objective(_ w: [Double]) -> Double {
            let data = meanLoss(cases, weights: w, temperature: 1) * cases.reduce(0) { $0 + $1.weight }
            return data + 0.5 * lambda * zip(w, prior).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        }
        var value = objective(w)
        for _ in 0..<50 {
            var gradient = (0..<n).map { lambda * (w[$0] - prior[$0]) }
            var hessian = (0..<n).map { row in (0..<n).map { $0 == row ? lambda : 0.0 } }
            for item in cases { accumulate(item, weights: w, gradient: &gradient, hessian: &hessian) }
            let free = (0..<n).filter { w[$0] > 0 || gradient[$0] < 0 }
            guard !free.isEmpty else { break }
            let step = solve(free.map { row in free.map { hessian[row][$0] } }, free.map { -gradient[$0] })
            var scale = 1.0
            var moved = 0.0
            for _ in 0..<40 {
                var next = w
                for (i, s) in free.enumerated() { next[s] = max(0, w[s] + scale * step[i]) }
                let nextValue = objective(next)
                let descent = (0..<n).reduce(0) { $0 + gradient[$1] * (next[$1] - w[$1]) }
                if nextValue <= value + 1e-4 * descent || scale < 1e-10 {
                    moved = nextValue < value ? zip(w, next).map { abs($0 - $1) }.max() ?? 0 : 0
                    if nextValue < value { (w, value) = (next, nextValue) }
                    break
                }
                scale /= 2
            }
            if moved < 1e-8 { break }
        }
        return w
    }

    private static func accumulate(_ item: Case, weights w: [Double], gradient: inout [Double], hessian: inout [[Double]]) {
        let support = item.support
        let m = OpinionPool.logProbabilities(support, weights: w, temperature: 1).map(exponential)
        func mass(_ i: Int) -> Double { i < support.classes.count ? m[i] : m[i] * Double(support.others) }
        // An absent opinion is flat: its logs are the same for every class and cancel.
        let present = w.indices.filter { !support.logs[$0].isEmpty }
        var means = [Double](repeating: 0, count: w.count)
        for s in present {
            for i in m.indices { means[s] += mass(i) * support.logs[s][i] }
            gradient[s] += item.weight * (means[s] - support.logs[s][item.labelIndex])
        }
        for s in present {
            for t in present where t >= s {
                var covariance = 0.0
                for i in m.indices { covariance += mass(i) * (support.logs[s][i] - means[s]) * (support.logs[t][i] - means[t]) }
                hessian[s][t] += item.weight * covariance
                if t != s { hessian[t][s] += item.weight * covariance }
            }
        }
    }

    /// Gaussian elimination of a small positive definite system.
    private static func solve(_ matrix: [[Double]], _ right: [Double]) -> [Double] {
        var a = matrix
        var b = right
        let n = b.count
        for k in 0..<n {
            for row in (k + 1)..<max(n, k + 1) {
                let factor = a[row][k] / a[k][k]
                for column in k..<n { a[row][column] -= factor * a[k][column] }
                b[row] -= factor * b[k]
            }
        }
        for k in stride(from: n - 1, through: 0, by: -1) {
            for column in (k + 1)..<max(n, k + 1) { b[k] -= a[k][column] * b[column] }
            b[k] /= a[k][k]
        }
        return b
    }
}
