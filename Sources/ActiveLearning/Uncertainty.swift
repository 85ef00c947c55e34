internal import Foundation

/// How unsure a classifier is of one sample. Larger is less sure, whatever the measure.
package enum Uncertainty: String, Hashable, Sendable, Codable, CaseIterable {
    /// H = −Σ p ln p, in nats (the paper's).
    case entropy
    /// H / ln K, in 0...1, so that one threshold serves any number of classes.
    case normalizedEntropy = "normalized-entropy"
    /// 1 − (p₁ − p₂), in 0...1 (breaking ties).
    case margin
    /// 1 − p₁.
    case leastConfidence = "least-confidence"

    package func value(_ score: SampleScore, classes: Int) -> Float {
        switch self {
        case .entropy: score.entropy
        case .normalizedEntropy: classes > 1 ? score.entropy / Float(log(Double(classes))) : 0
        case .margin: 1 - score.margin
        case .leastConfidence: 1 - score.topProbability
        }
    }
}
