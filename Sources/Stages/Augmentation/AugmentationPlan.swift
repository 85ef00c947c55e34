package import Augmentation
import Models
import Datasets
package import Primitives
package import Scheduling

/// The artifacts of an image set: IDX files by digest.
package struct AugmentationArtifacts: Hashable, Sendable {
    package var images: Digest
    package var labels: Digest
    /// Rows of both that are trained on, and rows that nothing is trained on.
    package var positions: Digest?
    package var heldOut: Digest?
    package var testImages: Digest?
    package var testLabels: Digest?

    package init(
        images: Digest, labels: Digest, positions: Digest? = nil, heldOut: Digest? = nil, testImages: Digest? = nil,
        testLabels: Digest? = nil
    ) {
        self.images = images
        self.labels = labels
        self.positions = positions
        self.heldOut = heldOut
        self.testImages = testImages
        self.testLabels = testLabels
    }

    package var all: [Digest] { [images, labels] + [positions, heldOut, testImages, testLabels].compactMap { $0 } }
}

/// Where the stages of a training and a synthesis find their data: uploaded artifacts, or what earlier stages of the run make.
package struct AugmentationSources: Hashable, Sendable {
    package typealias Source = StageInput.Source
    package var images: Source
    package var labels: Source?
    package var positions: Source?
    package var heldOut: Source?
    package var testImages: Source?
    package var testLabels: Source?
    /// What the rows of `images` are called in the data set (`RowNumbers`); nil where a row is its own name.
    package var identities: Source?
    /// What to make (`SynthesisAllotment` as JSON) where only the run finds out; the plan's own is then the most that it can be.
    package var allotment: Source?

    package init(images: Source, labels: Source? = nil, positions: Source? = nil) {
        self.images = images
        self.labels = labels
        self.positions = positions
    }

    init(_ artifacts: AugmentationArtifacts) {
        func source(_ digest: Digest?) -> Source? { digest.map { .artifacts([$0]) } }
        images = .artifacts([artifacts.images])
        labels = source(artifacts.labels)
        positions = source(artifacts.positions)
        heldOut = source(artifacts.heldOut)
        testImages = source(artifacts.testImages)
        testLabels = source(artifacts.testLabels)
    }
}

/// Turns a training and a synthesis into stages. Pure: the same inputs give the same plan, name and all.
package struct AugmentationPlan {
    private let sources: AugmentationSources
    private let placement: StagePlacement
    /// Before the names of synthesis and admission, which a run has one of for each arm.
    private let prefix: String
    package private(set) var stages: [StageSpec] = []

    package init(_ artifacts: AugmentationArtifacts, placement: StagePlacement = StagePlacement()) {
        self.init(AugmentationSources(artifacts), placement: placement)
    }

    package init(_ sources: AugmentationSources, prefix: String = "", placement: StagePlacement = StagePlacement()) {
        self.sources = sources
        self.prefix = prefix
        self.placement = placement
    }

    package static let admission = StageID("admit-synthetic")
    package static func admission(_ prefix: String) -> StageID { StageID(prefix + "admit-synthetic") }
    package static let comparison = StageID("compare-augmentation")
    package static let audit = StageID("audit-augmentation")
    private static func digits(_ n: Int, _ width: Int) -> String {
        String(repeating: "0", count: max(0, width - String(n).count)) + String(n)
    }
    package static func round(_ number: Int) -> StageID { StageID("train-vae/round-\(digits(number, 4))") }

    /// Adds the stages of a training and returns the one that ends it.
    ///
    /// Synchronous: a stage for each step, a block for each replica, and a stage for each round's checkpoint. A step reads the
    /// round's checkpoint and the slopes since, so weights travel once a round and not once a step.
    @discardableResult
    package mutating func train(_ training: VAETraining) throws(AMAFError) -> StageID {
        try training.validate()
        var checkpoint = StageID("train-vae/start")
        add(checkpoint, StartVAEStage.kind, VAEStageParameters(training: training), blocks: 1, [], group: "train-vae")
        var optimizer: StageID?
        let data = self.data(labels: training.network.classes > 0)
        for round in training.rounds {
            let name = Self.round(round.number)
            let before = whole("checkpoint", checkpoint)
            var contributions: [StageInput] = []
            switch training.mode {
            case .synchronous:
                for step in round.steps {
                    let done = step - round.steps.lowerBound
                    let stage = StageID("\(name)/step-\(Self.digits(step, 6))")
                    add(
                        stage, VAESlopesStage.kind,
                        VAEStageParameters(training: training, firstStep: round.steps.lowerBound, steps: done),
                        blocks: training.replicas, data + [before] + contributions, leaseLimit: 1, group: "train-vae/steps")
                    contributions.append(whole("slopes.\(done)", stage, output: "slopes"))
                }
            case .local:
                let stage = StageID("\(name)/steps")
                var inputs = data + [before]
                if let optimizer { inputs.append(StageInput("optimizer", from: .stage(optimizer, output: "optimizer"), reach: .sameBlock)) }
                add(
                    stage, VAELocalStepsStage.kind,
                    VAEStageParameters(training: training, firstStep: round.steps.lowerBound, steps: round.steps.count),
                    blocks: training.replicas, inputs, leaseLimit: 1, group: "train-vae/steps")
                optimizer = stage
                contributions = [whole("weights", stage)]
            }
            var inputs = [before] + contributions
            if round.endsEpoch, let images = sources.testImages {
                inputs.append(read("test-images", images))
                if let labels = sources.testLabels { inputs.append(read("test-labels", labels)) }
            }
            add(
                name, AverageVAEStage.kind,
                VAEStageParameters(training: training, firstStep: round.steps.lowerBound, steps: round.steps.count), blocks: 1, inputs,
                group: "train-vae")
            checkpoint = name
        }
        return checkpoint
    }

    /// Adds synthesis and admission after a training.
    package mutating func synthesize(
        _ synthesis: SynthesisParameters, images: Int, from checkpoint: StageID, judge: JudgeParameters, policy: AdmissionPolicy
    ) {
        func stage(_ name: String) -> StageID { StageID(prefix + name) }
        let (latents, posteriors, made) = (stage("encode-latents"), stage("fit-class-posteriors"), stage("synthesize"))
        let (judging, data) = (stage("train-judge"), self.data(labels: true))
        let encoding = EncodeLatentsParameters(network: synthesis.network, images: images, blockSize: synthesis.latentBlockSize)
        add(
            latents, EncodeLatentsStage.kind, encoding, blocks: encoding.plan.blockCount, data + [whole("checkpoint", checkpoint)])
        add(posteriors, FitClassPosteriorsStage.kind, [String: String](), blocks: 1, [whole("latents", latents)])
        add(
            made, SynthesizeStage.kind, synthesis, blocks: synthesis.plan.blockCount,
            data + [whole("checkpoint", checkpoint), whole("latents", latents), whole("posteriors", posteriors)]
                + (sources.allotment.map { [read("allotment", $0)] } ?? []))
        add(judging, TrainJudgeStage.kind, judge, blocks: 1, data)
        var inputs = data + [whole("judge", judging), whole("synthetic", made)]
        if let held = sources.heldOut { inputs.append(read("held-out", held)) }
        if let identities = sources.identities { inputs.append(read("identities", identities)) }
        add(
            Self.admission(prefix), AdmitSyntheticStage.kind,
            AdmitParameters(
                judge: judge.network, policy: policy, height: synthesis.network.height, width: synthesis.network.width,
                seed: synthesis.seed), blocks: 1, inputs)
    }

    /// Adds the audit of a long tail over seeds.
    package mutating func audit(_ parameters: AuditParameters) {
        guard let labels = sources.labels, let testImages = sources.testImages, let testLabels = sources.testLabels else {
            preconditionFailure("an audit without test images")
        }
        add(
            Self.audit, AuditAugmentationStage.kind, parameters, blocks: parameters.seeds.count,
            [
                read("images", sources.images), read("labels", labels), read("test-images", testImages), read("test-labels", testLabels),
            ], leaseLimit: 1)
        add(Self.comparison, CompareAugmentationStage.kind, parameters, blocks: 1, [whole("arms", Self.audit)])
    }

    package static let paraphraseAudit = StageID("audit-paraphrases")
    package static let paraphraseComparison = StageID("compare-paraphrases")

    /// The run of an audit of paraphrases.
    package static func paraphrases(_ parameters: ParaphraseParameters, texts: Digest, thesaurus: Digest) -> RunPlan {
        var plan = AugmentationPlan(AugmentationArtifacts(images: texts, labels: thesaurus))
        plan.add(
            paraphraseAudit, AuditParaphrasesStage.kind, parameters, blocks: parameters.seeds.count,
            [plan.artifact("texts", texts), plan.artifact("thesaurus", thesaurus)], leaseLimit: 1)
        plan.add(paraphraseComparison, CompareParaphrasesStage.kind, parameters, blocks: 1, [plan.whole("trials", paraphraseAudit)])
        return plan.run(named: "augment-texts")
    }

    /// The run, named by what it computes: submitting it twice is submitting it once.
    package func run(named name: String) -> RunPlan {
        var hasher = DigestHasher()
        hasher.update(field: CanonicalJSON.encode(stages))
        return RunPlan(id: RunID("\(name)-\(String(hasher.finish().hex.prefix(10)))"), name: name, stages: stages)
    }

    private func data(labels: Bool) -> [StageInput] {
        var inputs = [read("images", sources.images)]
        if labels, let labels = sources.labels { inputs.append(read("labels", labels)) }
        if let positions = sources.positions { inputs.append(read("positions", positions)) }
        return inputs
    }
    private func read(_ name: String, _ source: AugmentationSources.Source) -> StageInput {
        StageInput(name, from: source, reach: .allBlocks)
    }
    private func artifact(_ name: String, _ digest: Digest) -> StageInput {
        StageInput(name, from: .artifacts([digest]), reach: .allBlocks)
    }
    private func whole(_ name: String, _ stage: StageID, output: String? = nil) -> StageInput {
        StageInput(name, from: .stage(stage, output: output ?? name), reach: .allBlocks)
    }

    private mutating func add(
        _ id: StageID, _ kind: String, _ parameters: some Encodable, blocks: Int, _ inputs: [StageInput], leaseLimit: Int? = nil,
        group: String? = nil
    ) {
        guard let version = StageRegistry.codeVersion(of: kind) else { preconditionFailure("no executor for '\(kind)'") }
        stages.append(
            StageSpec(
                id: id, kind: kind, codeVersion: version, parameters: CanonicalJSON.encode(parameters), blocks: blocks, inputs: inputs,
                placement: placement, leaseLimit: leaseLimit, group: group))
    }
}
