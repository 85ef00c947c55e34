import Augmentation
import Datasets
import Manifests
import Models
package import Primitives
import Scheduling

/// Synthetic samples inside a run: one VAE for all arms, trained on the pool's pictures without labels while people are asked; then, for
/// each arm, samples made from what was answered, judged, and learned from by its last classifier.
extension Planner {
    static let pictures = StageID("pack-pictures")

    /// Networks are quicker where there is a GPU; any box will do, and soon.
    static let prefersGPU = StagePlacement(prefers: "gpu", preferenceDelay: .seconds(3))

    private var featuresAreOwnVAE: Bool {
        manifest.features.images.network == .vae && artifacts.modelWeights == nil
    }
    var trainsVAE: Bool { readsImages && (manifest.augmentation != nil || featuresAreOwnVAE) }

    private var heldOut: HeldOutRule { HeldOutRule(share: manifest.augmentation?.heldOut ?? 0, seed: manifest.vae.seed) }

    private var vaeTraining: VAETraining {
        let settings = manifest.vae
        let side = manifest.features.images.side
        return VAETraining(
            network: .init(
                height: side, width: side, architecture: .dense(hidden: [settings.hidden]), latent: settings.latent,
                beta: Float(settings.beta)),
            mode: settings.mode == .local ? .local : .synchronous, replicas: settings.replicas, batch: settings.batch,
            learningRate: Float(settings.learningRate), epochs: settings.epochs, stepsPerRound: settings.stepsPerRound,
            images: heldOut.kept(of: index.samples), seed: settings.seed,
            // One replica has nobody to be averaged with: its own weights stand.
            outerLearningRate: settings.replicas == 1 ? 1 : 0.7, outerMomentum: settings.replicas == 1 ? 0 : 0.9)
    }

    /// The stage that ends the VAE's training.
    private var vaeCheckpoint: StageID { AugmentationPlan.round(vaeTraining.rounds.count - 1) }

    mutating func vaeStages() throws(AMAFError) {
        add(
            Self.pictures, PackPicturesStage.kind,
            parameters: CanonicalJSON.encode(
                PackPicturesParameters(side: manifest.features.images.side, samples: index.samples, heldOut: heldOut)),
            blocks: 1, [whole("samples", Self.ingest)])
        var plan = AugmentationPlan(
            AugmentationSources(
                images: .stage(Self.pictures, output: "images"), positions: .stage(Self.pictures, output: "positions")),
            placement: Self.prefersGPU)
        try plan.train(vaeTraining)
        add(plan.stages)
    }

    var modelInputs: [StageInput] {
        if featuresAreOwnVAE { return [whole("model.weights", vaeCheckpoint, output: "checkpoint")] }
        guard let configuration = artifacts.modelConfiguration, let weights = artifacts.modelWeights else { return [] }
        return [artifact("model.config", configuration), artifact("model.weights", weights)]
    }

    var networkFeatures: NetworkFeaturesParameters? {
        switch manifest.features.images.network {
        case .clip?: NetworkFeaturesParameters(network: .clip)
        case .resnet?: NetworkFeaturesParameters(network: .resnet)
        case .vae?: NetworkFeaturesParameters(network: .vae, vae: featuresAreOwnVAE ? vaeTraining.network : nil)
        case nil: nil
        }
    }

    static func augmentation(of arm: RunArm) -> String { "\(arm.name)/augmentation/" }
    /// The stage whose outputs say what was admitted for an arm.
    package static func admission(of arm: RunArm) -> StageID { AugmentationPlan.admission(augmentation(of: arm)) }

    /// The stages between the last answers and what the last classifier learns from; returns its additional input.
    mutating func synthesisStages(of arm: RunArm, answers: [StageInput]) throws(AMAFError) -> StageInput? {
        guard let settings = manifest.augmentation, let total = arm.totals.last else { return nil }
        let classes = index.classNames.count
        let needed = max(100, 2 * classes)
        guard total >= needed, classes <= 256 else {
            throw AMAFError(
                "augmentation.too-few",
                "\(total) answers on \(classes) classes are too few to make synthetic samples of, and to judge them",
                place: manifest.path, remedy: "Ask for \(needed) answers or more (of at most 256 classes), or leave 'augmentation' out.")
        }
        let rotation = try rotationRules(settings)
        let methods = settings.methods.compactMap { SynthesisMethod(rawValue: $0.rawValue) }
        var perClass: Int?
        if case .count(let count) = settings.quota { perClass = count }
        let rule = AllotmentRule(methods: methods, perClass: perClass, maximumRatio: settings.maximumRatio, rotation: rotation)
        let prefix = Self.augmentation(of: arm)
        let packed = StageID(prefix + "pack-answers")
        add(
            packed, PackAnswersStage.kind,
            parameters: CanonicalJSON.encode(
                PackAnswersParameters(classes: classes, samples: index.samples, heldOut: heldOut, rule: rule)),
            blocks: 1, [whole("pictures", Self.pictures, output: "images")] + answers)
        func made(_ output: String) -> StageInput.Source { .stage(packed, output: output) }
        var sources = AugmentationSources(images: made("images"), labels: made("labels"), positions: made("positions"))
        (sources.heldOut, sources.identities, sources.allotment) = (made("held-out"), made("identities"), made("allotment"))
        var plan = AugmentationPlan(sources, prefix: prefix, placement: Self.prefersGPU)
        let network = vaeTraining.network
        plan.synthesize(
            SynthesisParameters(
                network: network, allotment: rule.most(answers: total, classes: classes), rotation: rotation, classes: classes,
                seed: arm.seed),
            images: total, from: vaeCheckpoint, judge: .standard(pixels: network.pixels, classes: classes, seed: arm.seed),
            policy: policy(settings))
        add(plan.stages)
        let features = StageID(prefix + "extract-features")
        add(
            features, ExtractSyntheticFeaturesStage.kind,
            parameters: CanonicalJSON.encode(
                SyntheticFeaturesParameters(
                    side: manifest.features.images.side, plain: try plainFeatures(), network: networkFeatures)),
            blocks: 1,
            [whole("admitted", Self.admission(of: arm)), whole("projection", Self.projection)]
                + (networkFeatures == nil ? [] : modelInputs), placement: networkFeatures == nil ? StagePlacement() : Self.prefersGPU)
        return whole("synthetic", features)
    }

    private func rotationRules(_ settings: AugmentationSettings) throws(AMAFError) -> RotationRules {
        func rule(_ turn: AugmentationSettings.Turn) -> RotationRule {
            RotationRule(maximumDegrees: turn.maximumDegrees, mayMirror: turn.mayMirror)
        }
        var rules = RotationRules(standard: rule(settings.turn))
        for (name, turn) in settings.turnsByClass {
            guard let label = index.classNames.firstIndex(of: name) else {
                throw AMAFError(
                    "manifest.unknown-class", "'augmentation.rotation-by-class' names '\(name)', which is no class of the data set",
                    place: manifest.path, remedy: "The classes are \(index.classNames.prefix(20).joined(separator: ", ")).")
            }
            rules.byClass[label] = rule(turn)
        }
        return rules
    }

    private func policy(_ settings: AugmentationSettings) -> AdmissionPolicy {
        let limits = settings.admission
        var policy = AdmissionPolicy()
        policy.maximumRatio = settings.maximumRatio
        policy.minimumAgreement = limits.minimumAgreement.map { Float($0) } ?? policy.minimumAgreement
        policy.minimumConsistency = limits.minimumConsistency ?? policy.minimumConsistency
        policy.minimumPrecision = limits.minimumPrecision ?? policy.minimumPrecision
        policy.minimumCoverage = limits.minimumCoverage ?? policy.minimumCoverage
        policy.minimumMemorisationRatio = limits.minimumMemorisationRatio ?? policy.minimumMemorisationRatio
        policy.maximumFrechetShare = limits.maximumFrechetShare ?? policy.maximumFrechetShare
        return policy
    }
}
