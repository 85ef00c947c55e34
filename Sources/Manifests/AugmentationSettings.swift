internal import Datasets
internal import Primitives
internal import Yams

/// The VAE that a run trains on the pool's pictures as they are read (`features.images.side`), without any label.
package struct VAESettings: Hashable, Sendable, Codable {
    package enum Mode: String, Hashable, Sendable, Codable, CaseIterable { case synchronous, local }
    package var latent = 128
    package var hidden = 400
    package var beta = 0.5
    package var epochs = 5
    /// Images of a step, all replicas together.
    package var batch = 128
    package var learningRate = 0.001
    /// The same loss as synchronous training in half the time, and a hundredth of the bytes.
    package var mode = Mode.local
    /// Part of the result, unlike the number of workers.
    package var replicas = 4
    package var stepsPerRound = 39
    package var seed: UInt64 = 1

    package init() {}
}

/// Synthetic samples that the last classifier learns from, beside people's answers.
package struct AugmentationSettings: Hashable, Sendable, Codable {
    package enum Method: String, Hashable, Sendable, Codable, CaseIterable {
        case classPosterior = "class-posterior"
        case jitter, interpolation, prior, rotation
    }
    /// How many samples a class gets.
    package enum Quota: Hashable, Sendable, Codable {
        /// As many as bring it up to the class with the most answers.
        case balance
        /// So many, whatever it has.
        case count(Int)
    }
    package struct Turn: Hashable, Sendable, Codable {
        package var maximumDegrees: Double
        package var mayMirror: Bool

        package init(maximumDegrees: Double = 15, mayMirror: Bool = false) {
            self.maximumDegrees = maximumDegrees
            self.mayMirror = mayMirror
        }
    }
    /// What a batch and a sample must be like; nil keeps `AdmissionPolicy`'s own value.
    package struct Admission: Hashable, Sendable, Codable {
        package var minimumAgreement: Double?
        package var minimumConsistency: Double?
        package var minimumPrecision: Double?
        package var minimumCoverage: Double?
        package var minimumMemorisationRatio: Double?
        package var maximumFrechetShare: Double?

        package init() {}
    }
    /// They share a class's samples evenly.
    package var methods: [Method]
    package var quota = Quota.balance
    /// Synthetic samples of a class for each answered one, at most.
    package var maximumRatio = 25.0
    /// What a synthetic sample counts, in the classifier's loss, beside an answered one.
    package var weight = 0.5
    package var turn = Turn()
    /// Classes that may be turned by another angle, or not at all.
    package var turnsByClass: [String: Turn] = [:]
    /// Of the pool: neither the VAE nor a parent is taken from it, so that copies can be told from samples.
    package var heldOut = 0.1
    package var admission = Admission()

    package init(methods: [Method]) { self.methods = methods }
}

extension VAESettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        latent = try map.integer("latent", in: 1...4096) ?? latent
        hidden = try map.integer("hidden", in: 1...65_536) ?? hidden
        beta = try map.number("beta", in: .positive) ?? beta
        epochs = try map.integer("epochs", in: 1...10_000) ?? epochs
        batch = try map.integer("batch", in: 1...65_536) ?? batch
        learningRate = try map.number("learning-rate", in: .positive) ?? learningRate
        mode = try map.choice("mode") ?? mode
        replicas = try map.integer("replicas", in: 1...1024) ?? replicas
        stepsPerRound = try map.integer("steps-per-round", in: 1...100_000) ?? stepsPerRound
        seed = UInt64(try map.integer("seed", in: 0...Int.max) ?? Int(clamping: seed))
        try map.finish()
        guard replicas <= batch else {
            throw map.error(
                "manifest.out-of-range", "\(replicas) replicas share a batch of \(batch) images", at: "replicas",
                remedy: "Give no more replicas than images in a batch.")
        }
    }
}

extension AugmentationSettings {
    /// The section `augmentation` of a pipeline; nil where there is none, or `augmentation: none`.
    init?(_ map: inout YAMLMapping) throws(AMAFError) {
        guard let node = map.value("augmentation"), node.scalar?.string != "none" else { return nil }
        var part = try YAMLMapping(node, in: map.document, name: "augmentation")
        guard let names = part.value("methods") else {
            throw part.missing("methods", remedy: "For example 'methods: [interpolation, rotation]'.")
        }
        var methods: [Method] = []
        for item in names.sequence.map(Array.init) ?? [names] { methods.append(try part.choice("methods", item)) }
        guard !methods.isEmpty, Set(methods).count == methods.count else {
            throw part.error(
                "manifest.out-of-range", "'augmentation.methods' is empty or names a method twice", at: "methods",
                remedy: "For example 'methods: [interpolation, rotation]'.")
        }
        self.init(methods: methods)
        if let written = try part.text("per-class"), written != "balance" {
            quota = .count(try part.integer("per-class", in: 1...1_000_000) ?? 0)
        }
        maximumRatio = try part.number("maximum-ratio", in: .positive) ?? maximumRatio
        weight = try part.number("weight", in: .positive) ?? weight
        turn = try Turn(&part, "rotation") ?? turn
        if var classes = try part.map("rotation-by-class") {
            for name in classes.keys { turnsByClass[name] = try Turn(&classes, name) ?? turn }
            try classes.finish()
        }
        heldOut = try part.number("held-out", in: .rate) ?? heldOut
        if var limits = try part.map("admission") {
            admission.minimumAgreement = try limits.number("agreement", in: .rate)
            admission.minimumConsistency = try limits.number("consistency", in: .rate)
            admission.minimumPrecision = try limits.number("precision", in: .rate)
            admission.minimumCoverage = try limits.number("coverage", in: .rate)
            admission.minimumMemorisationRatio = try limits.number("memorisation", in: .rate)
            admission.maximumFrechetShare = try limits.number("frechet-share", in: .positive)
            try limits.finish()
        }
        try part.finish()
    }
}

extension AugmentationSettings.Turn {
    /// `15`, or `{degrees: 15, mirror: true}`.
    init?(_ map: inout YAMLMapping, _ key: String) throws(AMAFError) {
        guard let node = map.value(key) else { return nil }
        self.init()
        if node.mapping != nil {
            var part = try YAMLMapping(node, in: map.document, name: key)
            maximumDegrees = try part.number("degrees", in: .angle) ?? maximumDegrees
            mayMirror = try part.bool("mirror") ?? false
            try part.finish()
        } else {
            maximumDegrees = try map.number(key, node, in: .angle)
        }
    }
}

extension PipelineManifest {
    /// `pool-limits: {CLASS: ROWS}` of a pipeline.
    mutating func limitPool(_ map: inout YAMLMapping) throws(AMAFError) {
        guard var part = try map.map("pool-limits") else { return }
        guard dataset.pool.kind.holdsImages else {
            throw map.error(
                "manifest.unused-key", "'pool-limits' thins out pictures, and the data set has none", at: "pool-limits",
                remedy: "Leave 'pool-limits' out.")
        }
        var limits: [String: Int] = [:]
        for name in part.keys { limits[name] = try part.integer(name, in: 0...Int.max) }
        try part.finish()
        var rows = dataset.pool.images ?? ImageRows()
        rows.limits = limits
        dataset.pool.images = rows
    }

    func checkAugmentation(_ map: YAMLMapping) throws(AMAFError) {
        guard augmentation != nil else { return }
        guard dataset.pool.kind.holdsImages else {
            throw map.error(
                "manifest.unused-key", "Synthetic samples are made of pictures, and the data set has none", at: "augmentation",
                remedy: "Leave 'augmentation' out; 'amaf augment texts' measures paraphrases.")
        }
        guard review.mode != .none else {
            throw map.error(
                "manifest.unused-key", "Synthetic samples descend from samples that people answered, and nobody is asked",
                at: "augmentation", remedy: "Set 'review', or leave 'augmentation' out.")
        }
    }
}
