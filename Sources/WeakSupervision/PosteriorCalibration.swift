internal import Foundation
internal import Primitives

/// Makes confidence mean what it says, from samples that people reviewed: one of three maps of a posterior, or none, whichever had the
/// lowest log loss on reviewed samples that it had not seen.
package struct PosteriorCalibration: Hashable, Sendable, Codable {
    package enum Method: Hashable, Sendable, Codable {
        case identity
        /// p(y)^(1/T), normalised (Guo et al., 2017).
        case temperature(Double)
        /// Of the likeliest class: 1/(1 + exp(−(a·logit(p) + b))) (Platt, 1999); the others share the rest as before.
        case platt(slope: Double, intercept: Double)
        /// Of the likeliest class: the step function that rises with p and fits best (Zadrozny and Elkan, 2002), drawn to its neighbours by
        /// one right and one wrong pseudo-answer over all steps; the others share the rest as before.
        case isotonic(confidence: [Double], probability: [Double])

        package var name: String {
            switch self {
            case .identity: "none"
            case .temperature: "temperature"
            case .platt: "platt"
            case .isotonic: "isotonic"
            }
        }
    }
    package var method: Method
    /// Mean −ln p(true class) of each method on the folds that it had not seen, by name; none first.
    package var evidence: [Evidence]
    package var reviewed: Int

    package struct Evidence: Hashable, Sendable, Codable {
        package var method: String
        package var logLoss: Double
        package var calibrationError: Double
    }

    private static let folds = 5
    /// Fewer reviewed samples cannot tell a better map from luck.
    package static let leastReviewed = 30

    /// - Parameters:
    ///   - posteriors: of covered reviewed samples.
    ///   - truth: the reviewed class of each.
    package init(_ posteriors: [Posterior], truth: [Int]) {
        precondition(posteriors.count == truth.count, "\(posteriors.count) posteriors with \(truth.count) answers")
        reviewed = posteriors.count
        let fitted: [([Posterior], [Int]) -> Method] = [{ _, _ in .identity }, Self.temperature, Self.platt, Self.isotonic]
        evidence = []
        guard posteriors.count >= Self.leastReviewed else {
            method = .identity
            return
        }
        for fit in fitted {
            var loss = 0.0
            var bins = [(right: Double, confidence: Double)](repeating: (0, 0), count: 10)
            for fold in 0..<Self.folds {
                let kept = posteriors.indices.filter { $0 % Self.folds != fold }
                let map = fit(kept.map { posteriors[$0] }, kept.map { truth[$0] })
                for i in posteriors.indices where i % Self.folds == fold {
                    let p = Self.apply(map, posteriors[i])
                    loss -= log(max(1e-9, Double(p.probability(of: truth[i]))))
                    let top = p.entries.first
                    let confidence = Double(top?.probability ?? 0)
                    let bin = min(9, Int(confidence * 10))
                    bins[bin].confidence += confidence
                    if top?.classIndex == truth[i] { bins[bin].right += 1 }
                }
            }
            let n = Double(posteriors.count)
            let name = fit(posteriors, truth).name
            evidence.append(
                Evidence(
                    method: name, logLoss: loss / n, calibrationError: bins.reduce(0) { $0 + abs($1.right - $1.confidence) } / n))
        }
        // Ties go to the simpler map.
        var best = 0
        for i in evidence.indices where evidence[i].logLoss < evidence[best].logLoss - 1e-6 { best = i }
        method = fitted[best](posteriors, truth)
    }

    package func apply(_ posterior: Posterior) -> Posterior { Self.apply(method, posterior) }

    package func apply(_ block: PosteriorBlock) -> PosteriorBlock {
        if method == .identity { return block }
        var out = PosteriorBlock(firstSample: block.firstSample, classCount: block.classCount)
        for row in 0..<block.rowCount { out.append(apply(block[row])) }
        return out
    }

    private static func apply(_ method: Method, _ posterior: Posterior) -> Posterior {
        guard posterior.isCovered, let first = posterior.entries.first else { return posterior }
        let p = min(max(Double(first.probability), 1e-7), 1 - 1e-7)
        switch method {
        case .identity: return posterior
        case .temperature(let t):
            // Classes outside the entries share the remainder evenly.
            let others = posterior.classCount - posterior.entries.count
            let rest = others > 0 ? Double(posterior.remainder) / Double(others) : 0
            let powers = posterior.entries.map { pow(max(1e-12, Double($0.probability)), 1 / t) }
            let total = powers.reduce(0, +) + Double(others) * (rest > 0 ? pow(rest, 1 / t) : 0)
            var out = posterior
            for i in out.entries.indices { out.entries[i].probability = Float(powers[i] / total) }
            return out
        case .platt(let slope, let intercept): return confident(1 / (1 + exp(-(slope * log(p / (1 - p)) + intercept))), posterior)
        case .isotonic(let confidence, let probability):
            guard !confidence.isEmpty else { return posterior }
            var low = 0
            while low < confidence.count - 1, confidence[low + 1] <= p { low += 1 }
            if p <= confidence[0] { return confident(probability[0], posterior) }
            if low == confidence.count - 1 { return confident(probability[low], posterior) }
            // Straight lines between the steps' middles keep the order of samples.
            let share = (p - confidence[low]) / max(1e-12, confidence[low + 1] - confidence[low])
            return confident(probability[low] + share * (probability[low + 1] - probability[low]), posterior)
        }
    }

    /// The likeliest class gets `q`, the others share the rest as they did; it stays the likeliest.
    private static func confident(_ q: Double, _ posterior: Posterior) -> Posterior {
        guard !posterior.isTied, let first = posterior.entries.first, first.probability < 1 else { return posterior }
        let p = Double(first.probability)
        let second = posterior.entries.count > 1 ? Double(posterior.entries[1].probability) : 0
        // q ≥ second·(1 − q)/(1 − p) keeps the order.
        let least = second / (1 - p + second)
        let q = min(max(q, least), 1 - 1e-7)
        var out = posterior
        out.entries[0].probability = Float(q)
        for i in out.entries.indices.dropFirst() {
            out.entries[i].probability = Float(Double(posterior.entries[i].probability) * (1 - q) / (1 - p))
        }
        return out
    }

    // MARK: Fits

    private static func temperature(_ posteriors: [Posterior], _ truth: [Int]) -> Method {
        func loss(_ t: Double) -> Double {
            zip(posteriors, truth).reduce(0) { $0 - log(max(1e-9, Double(apply(.temperature(t), $1.0).probability(of: $1.1)))) }
        }
        // Golden section on ln T: the loss has one valley in 1/T.
        let ratio = (5.0.squareRoot() - 1) / 2
        var (a, b) = (log(0.1), log(10.0))
        for _ in 0..<40 {
            let (c, d) = (b - ratio * (b - a), a + ratio * (b - a))
            if loss(exp(c)) < loss(exp(d)) { b = d } else { a = c }
        }
        return .temperature(exp((a + b) / 2))
    }

    private static func confidences(_ posteriors: [Posterior], _ truth: [Int]) -> [(p: Double, right: Bool)] {
        zip(posteriors, truth).compactMap { posterior, y in
            posterior.entries.first.map { (min(max(Double($0.probability), 1e-7), 1 - 1e-7), $0.classIndex == y) }
        }
    }

    private static func platt(_ posteriors: [Posterior], _ truth: [Int]) -> Method {
        let points = confidences(posteriors, truth).map { (x: log($0.p / (1 - $0.p)), right: $0.right) }
        let rights = Double(points.count { $0.right })
        // Platt's targets: as if one more of each had been seen.
        let (high, low) = ((rights + 1) / (rights + 2), 1 / (Double(points.count) - rights + 2))
        var (a, b) = (1.0, 0.0)
        for _ in 0..<50 {
            var (ga, gb, haa, hab, hbb) = (0.0, 0.0, 1e-6, 0.0, 1e-6)
            for point in points {
                let q = 1 / (1 + exp(-(a * point.x + b)))
                let error = q - (point.right ? high : low)
                let weight = max(1e-9, q * (1 - q))
                ga += error * point.x
                gb += error
                haa += weight * point.x * point.x
                hab += weight * point.x
                hbb += weight
            }
            let determinant = haa * hbb - hab * hab
            guard determinant > 1e-12 else { break }
            let (da, db) = ((hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant)
            let scale = min(1, 2 / max(1e-9, abs(da) + abs(db)))
            a -= scale * da
            b -= scale * db
            if abs(da) + abs(db) < 1e-9 { break }
        }
        // Confidence must not be turned upside down.
        return .platt(slope: max(a, 0.01), intercept: b)
    }

    private static func isotonic(_ posteriors: [Posterior], _ truth: [Int]) -> Method {
        let points = confidences(posteriors, truth).sorted { ($0.p, $0.right ? 1 : 0) < ($1.p, $1.right ? 1 : 0) }
        // Pool adjacent violators (Ayer et al., 1955).
        var steps: [(weight: Double, right: Double, confidence: Double)] = []
        for point in points {
            steps.append((1, point.right ? 1 : 0, point.p))
            while steps.count > 1,
                steps[steps.count - 2].right / steps[steps.count - 2].weight >= steps[steps.count - 1].right / steps[steps.count - 1].weight
            {
                let last = steps.removeLast()
                steps[steps.count - 1].weight += last.weight
                steps[steps.count - 1].right += last.right
                steps[steps.count - 1].confidence += last.confidence
            }
        }
        let all = Double(max(1, points.count))
        let mean = Double(points.count { $0.right }) / all
        return .isotonic(
            confidence: steps.map { $0.confidence / $0.weight }, probability: steps.map { ($0.right + 2 * mean) / ($0.weight + 2) })
    }
}
