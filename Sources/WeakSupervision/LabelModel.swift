internal import Primitives

/// Turns votes into beliefs: all that a stage, a report or a command needs of a fitted model.
package protocol LabelModel: Sendable {
    var classCount: Int { get }
    /// The columns of the votes that `posteriors` takes, in order.
    var functions: [FunctionID] { get }

    /// p(y | votes) of every row.
    /// - Parameter top: how many classes to keep a row; all are kept where there are no more than 16.
    func posteriors(of rows: VoteRows, top: Int) -> PosteriorBlock

    /// What each vote, and the class balance, adds to the log-odds of one class against another.
    func contributions(of votes: [Vote], for classIndex: Int, against other: Int) -> [Contribution]
}

/// One summand of log p(y | votes) / p(y' | votes).
package struct Contribution: Hashable, Sendable, Codable {
    package enum Source: Hashable, Sendable, Codable {
        case classBalance
        case vote(Vote)
        /// The function kept silent, which some models take for evidence.
        case abstain(function: Int)
    }
    package var source: Source
    /// Nats; positive speaks for the class, negative for the other.
    package var logOdds: Double

    package init(source: Source, logOdds: Double) {
        self.source = source
        self.logOdds = logOdds
    }
}

/// The label models that can be asked for by name.
package enum LabelModelKind: String, Hashable, Sendable, Codable, CaseIterable {
    /// Whichever of the others the evidence speaks for; see `LabelModelSelection`.
    case auto
    /// Every vote counts alike.
    case majority
    /// Votes weighted by how often their function agrees with the majority.
    case weighted
    /// The paper's: p(y|L) ∝ exp(Σ wᵢ·[lᵢ = y]), weights by maximum marginal likelihood.
    case logLinear = "log-linear"
    /// As log-linear, with the class balance learned alongside.
    case oneCoin = "one-coin"
    /// P(l | y) for every function and class under a prior that trusts functions, abstentions ignored.
    case mapEM = "map-em"
    /// Dawid and Skene (1979), abstentions ignored.
    case dawidSkene = "dawid-skene"
    /// Dawid and Skene with abstention as one more answer.
    case dawidSkeneAbstain = "dawid-skene-abstain"
    /// Accuracies in closed form from the agreement of three functions at a time (Fu et al., 2020).
    case triplets
    /// The weighted mean of the opinions (log-odds) of log-linear (1/3) and Dawid-Skene (2/3).
    case pooled
    /// Dawid and Skene with every table drawn by a tenth of its votes to the function's one accuracy: errors that are partly
    /// systematic, partly even.
    case damped = "dawid-skene-damped"
    /// Each class a mixture of subtypes with tables of their own: votes that are correlated given the class (Li et al., 2019).
    case subtypes
    /// The mean opinion of subtypes and one-coin.
    case subtypesPooled = "subtypes-pooled"
}

package enum ClassBalance: Hashable, Sendable, Codable {
    case uniform
    /// Positive, one a class; brought to sum 1.
    case given([Double])
    /// Estimated with the other parameters from the covered samples.
    case learned
    /// Counts of the known labels, one added to each class.
    case gold
}

package struct LabelModelOptions: Hashable, Sendable, Codable {
    package var kind: LabelModelKind
    package var classBalance: ClassBalance
    /// EM stops after this many steps…
    package var maximumIterations: Int
    /// …or when no parameter moves by more than this (probabilities).
    package var tolerance: Double
    /// What a function's accuracy is believed to be before any vote is seen.
    package var priorAccuracy: Double
    /// How firmly: in votes, for `mapEM` as a fraction of all samples. Dawid and Skene's tables are drawn towards the table of
    /// all functions together, which has `priorStrength` votes a class.
    package var priorStrength: Double
    /// Whether functions that repeat one another share their weight; see `PairwiseAgreement.discounts`.
    package var discountsDependence: Bool

    /// The model's own defaults: one set for all data.
    package init(
        kind: LabelModelKind, classBalance: ClassBalance? = nil, maximumIterations: Int = 100, tolerance: Double = 1e-4,
        priorAccuracy: Double? = nil, priorStrength: Double? = nil, discountsDependence: Bool = false
    ) {
        self.discountsDependence = discountsDependence
        self.kind = kind
        switch kind {
        case .auto, .majority, .weighted, .logLinear, .mapEM, .triplets, .pooled: self.classBalance = classBalance ?? .uniform
        case .oneCoin, .dawidSkene, .dawidSkeneAbstain, .damped, .subtypes, .subtypesPooled: self.classBalance = classBalance ?? .learned
        }
        self.maximumIterations = maximumIterations
        self.tolerance = tolerance
        switch kind {
        case .mapEM:
            self.priorAccuracy = priorAccuracy ?? 0.8
            self.priorStrength = priorStrength ?? 1
        case .dawidSkene, .dawidSkeneAbstain, .damped:
            self.priorAccuracy = priorAccuracy ?? 0.8
            self.priorStrength = priorStrength ?? 4
        default:
            self.priorAccuracy = priorAccuracy ?? 0.7
            self.priorStrength = priorStrength ?? 10
        }
    }
}

extension LabelModelOptions {
    private enum CodingKeys: String, CodingKey {
        case kind, classBalance, maximumIterations, tolerance, priorAccuracy, priorStrength, discountsDependence
    }

    /// Plans of earlier versions have no word on dependence.
    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        kind = try fields.decode(LabelModelKind.self, forKey: .kind)
        classBalance = try fields.decode(ClassBalance.self, forKey: .classBalance)
        maximumIterations = try fields.decode(Int.self, forKey: .maximumIterations)
        tolerance = try fields.decode(Double.self, forKey: .tolerance)
        priorAccuracy = try fields.decode(Double.self, forKey: .priorAccuracy)
        priorStrength = try fields.decode(Double.self, forKey: .priorStrength)
        discountsDependence = try fields.decodeIfPresent(Bool.self, forKey: .discountsDependence) ?? false
    }
}
