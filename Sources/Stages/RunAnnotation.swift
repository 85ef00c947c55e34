package import Primitives

/// The artifacts that a plan refers to: made by whoever prepares the run, uploaded before it is submitted.
package struct PlanArtifacts: Hashable, Sendable {
    package var source: Digest
    package var index: Digest
    package var testSource: Digest?
    package var testIndex: Digest?
    /// The first bundle of labeling functions, and the others; see `LabelingFunctionBundles`.
    package var functions: Digest?
    package var moreFunctions: [Digest]
    /// The validation split, where cuts are chosen.
    package var validationSource: Digest?
    package var validationIndex: Digest?
    /// config.json and model.safetensors of the network that makes image features.
    package var modelConfiguration: Digest?
    package var modelWeights: Digest?
    /// Token ids of each class's sentence, where labels are voted without examples.
    package var zeroShotPrompts: [[Int32]]?

    package init(
        source: Digest, index: Digest, testSource: Digest? = nil, testIndex: Digest? = nil, functions: Digest? = nil,
        moreFunctions: [Digest] = [], validationSource: Digest? = nil, validationIndex: Digest? = nil
    ) {
        self.validationSource = validationSource
        self.validationIndex = validationIndex
        self.moreFunctions = moreFunctions
        self.source = source
        self.index = index
        self.testSource = testSource
        self.testIndex = testIndex
        self.functions = functions
    }

    package var all: [Digest] {
        [source, index]
            + [
                testSource, testIndex, validationSource, validationIndex, functions, modelConfiguration, modelWeights,
            ].compactMap { $0 } + moreFunctions
    }
}

/// One variant inside a run: a seed, an acquisition policy and a reviewer.
package struct RunArm: Hashable, Sendable, Codable {
    package enum Role: String, Hashable, Sendable, Codable {
        case main, control, noisyReviewer
        /// The main arm's questions and answers, and a last classifier without synthetic samples.
        case withoutAugmentation
    }
    package var role: Role
    package var seed: UInt64
    package var acquisition: String
    package var errorRate: Double
    /// First component of its stages' names.
    package var name: String
    /// Answers after each round, the first being the cold start.
    package var totals: [Int]
}

/// What a plan carries for those who come back to it later: enough to write the report and to import answers.
package struct RunAnnotation: Hashable, Sendable, Codable {
    package var pipeline: String
    package var pipelineName: String
    package var dataset: String
    package var datasetDigest: Digest
    package var samples: Int
    package var testSamples: Int
    package var classNames: [String]
    package var hasGold: Bool
    package var quarantined: [QuarantineNote]
    package var quarantinedRows: Int
    package var arms: [RunArm]
    package var seeds: [UInt64]
    /// In answers.
    package var checkpoints: [Int]
    package var budget: Int
    package var reviewMode: String
    package var secondsPerItem: Double
    package var goldExamplesUsed: Int
    package var functionNames: [String]
    package var exports: [String]
    package var auditCount: Int
    package var supervisedSamples: Int
    /// `text` or `image`; nil in plans of earlier releases, which are text.
    package var modality: String?
    /// What the classifier is, for the report.
    package var classifier: String?
    /// Whether samples have several labels each, which `classNames` names then; nil for no.
    package var hasLabelSets: Bool?
    /// Of synthetic samples: what one counts in the classifier's loss; nil where none are made.
    package var syntheticWeight: Double?

    package struct QuarantineNote: Hashable, Sendable, Codable {
        package var place: String
        package var code: String
        package var reason: String
    }
}
