package import ActiveLearning
package import WeakSupervision

/// What a run does with which data: a file of `configs/pipelines/`, checked, with all paths resolved and all defaults filled in.
///
/// The small structures are `Codable`, so their canonical JSON can be the parameters of stages (`CanonicalJSON.encode`).
package struct PipelineManifest: Hashable, Sendable, Codable {
    package var name: String
    /// The file that it was read from, as given.
    package var path: String
    package var dataset: DatasetManifest
    /// The labeling functions' file, resolved; nil when the run has none.
    package var labelingFunctions: String?
    package var stages: StageSwitches
    package var blockSize: Int
    package var features: FeatureSettings
    /// The VAE that the run trains where `features` or `augmentation` need one.
    package var vae: VAESettings
    /// Synthetic samples for the last classifier; nil for none.
    package var augmentation: AugmentationSettings?
    package var labelModel: LabelModelKind
    /// Rounds of block tasks that the label model is fitted in; nil fits it in one task.
    package var labelModelRounds: Int?
    package var classifier: ClassifierSettings
    package var acquisition: Acquisition
    /// Run beside `acquisition` at the same budget; nil for none.
    package var control: Acquisition?
    package var review: ReviewSettings
    /// Error rates of simulated reviewers with whom the run is repeated, beside `review.errorRate`.
    package var noisyReviewer: [Double]
    package var seeds: [UInt64]
    /// Budgets at which the report states accuracy on the way, ascending, all of them below `review.budget`.
    package var checkpoints: [Amount]
    /// Without gold labels: so many samples, drawn uniformly, are asked to estimate accuracy with an interval.
    package var audit: Amount?
    package var export: [ExportFormat]
    package var numerics: NumericsPolicy
    package var priority: Int
    package var weight: Double

    /// Every class the run may label with, when the pipeline or data set names them before the data are read.
    package var classNames: [String]? { dataset.classes }
}

/// A number of samples: so many, or a share of all.
package enum Amount: Hashable, Sendable, Codable {
    /// In (0, 1].
    case share(Double)
    case count(Int)

    /// So many of `total` samples: a share is rounded down, a count cut at the total.
    package func of(_ total: Int) -> Int {
        switch self {
        // The small addition keeps 0.13 · 15,000 from becoming 1949.
        case .share(let share): Int(share * Double(total) + 1e-6)
        case .count(let count): min(count, total)
        }
    }
}

/// What images are turned into before they are classified.
package struct ImageFeatureSettings: Hashable, Sendable, Codable {
    package enum Part: String, Hashable, Sendable, Codable, CaseIterable { case gradients, pixels }
    package var parts: [Part]
    /// Images are read at side × side pixels.
    package var side: Int
    /// Of the gradients' histograms, in pixels; nil is about a seventh of the side.
    package var cell: Int?
    package var pixelWeight: Double
    /// Principal components kept.
    package var components: Int
    /// In place of `parts`: a network whose weights lie in a folder as public hubs lay them out.
    package enum Network: String, Hashable, Sendable, Codable, CaseIterable {
        case clip, resnet
        /// A VAE's encoder: of a model's folder, or of the run's own `vae`.
        case vae
    }
    package var network: Network?
    /// Of config.json, model.safetensors and, for sentences, merges.txt; resolved.
    package var model: String?
    /// CLIP votes for the class whose sentence is nearest.
    package struct ZeroShot: Hashable, Sendable, Codable {
        /// A class and its sentence each, in the order of the file.
        package var prompts: [Prompt]
        package var margin: Double
        package struct Prompt: Hashable, Sendable, Codable {
            package var className: String
            package var sentence: String
        }
    }
    package var zeroShot: ZeroShot?

    package init(
        parts: [Part] = [.gradients, .pixels], side: Int = 28, cell: Int? = nil, pixelWeight: Double = 0.5, components: Int = 100
    ) {
        self.parts = parts
        self.side = side
        self.cell = cell
        self.pixelWeight = pixelWeight
        self.components = components
    }
}

/// Hashed TF-IDF features of texts; features of images.
package struct FeatureSettings: Hashable, Sendable, Codable {
    /// Columns of the hashed matrix; a power of two.
    package var buckets: Int
    /// Shortest (always 1) and longest n-gram, in words; nil for none.
    package var wordNgrams: NgramRange?
    /// In characters; nil for none.
    package var charNgrams: NgramRange?
    package var images = ImageFeatureSettings()

    package init(buckets: Int = 1 << 16, wordNgrams: NgramRange? = NgramRange(1, 2), charNgrams: NgramRange? = NgramRange(2, 5)) {
        self.buckets = buckets
        self.wordNgrams = wordNgrams
        self.charNgrams = charNgrams
    }
}

package struct NgramRange: Hashable, Sendable, Codable {
    package var shortest: Int
    package var longest: Int

    package init(_ shortest: Int, _ longest: Int) {
        precondition(1 <= shortest && shortest <= longest, "n-grams of \(shortest) to \(longest)")
        self.shortest = shortest
        self.longest = longest
    }
}

/// Of texts: multinomial logistic regression on soft labels, trained by dual coordinate ascent. Of images: kernel ridge regression.
package struct ClassifierSettings: Hashable, Sendable, Codable {
    /// Passes over the examples of a round.
    package var epochs: Int
    /// λ in λ/2 ‖W‖² + Σᵢ cᵢ · cross-entropyᵢ.
    package var l2: Double
    /// λ of kernel ridge regression.
    package var ridge = 0.3
    /// γ of its radial basis, in units of 1 / median squared distance.
    package var kernelWidth = 1.0
    /// Examples that its solution is written in, at most.
    package var landmarks = 1024

    package init(epochs: Int = 4, l2: Double = 0.05) {
        self.epochs = epochs
        self.l2 = l2
    }
}

package struct ReviewSettings: Hashable, Sendable, Codable {
    package enum Mode: String, Hashable, Sendable, Codable, CaseIterable {
        /// Answers come from the gold labels: a simulation, and called so wherever its numbers appear.
        case simulated
        /// The run writes a CSV of asked samples and waits for `amaf review import`.
        case file
        /// Nobody is asked.
        case none
    }
    package var mode: Mode
    /// All human answers, the first ones included; a share of the pool's samples or a count.
    package var budget: Amount
    /// How often the classifier is trained and asked which samples come next.
    package var rounds: Int
    /// Samples asked before there is a classifier, drawn uniformly; part of the budget.
    package var initial: Amount
    /// Of the simulated reviewer: how often a wrong class is answered.
    package var errorRate: Double
    /// Of the simulated reviewer, for the report's estimate of hours.
    package var secondsPerItem: Double

    package init(
        mode: Mode = .simulated, budget: Amount = .share(0.2), rounds: Int = 10, initial: Amount = .share(0.02), errorRate: Double = 0,
        secondsPerItem: Double = 5
    ) {
        self.mode = mode
        self.budget = budget
        self.rounds = rounds
        self.initial = initial
        self.errorRate = errorRate
        self.secondsPerItem = secondsPerItem
    }
}

package enum ExportFormat: String, Hashable, Sendable, Codable, CaseIterable {
    case jsonl, csv
    /// The label matrix in Snorkel's convention, abstain −1.
    case npz
}

/// Whether workers of several numerics classes may work on one stage.
package enum NumericsPolicy: String, Hashable, Sendable, Codable, CaseIterable {
    case strict, any
}
