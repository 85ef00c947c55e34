import Datasets
import Manifests
import Models
import Primitives
import Scheduling

/// The image half of the plan: `ingest → extract-features → fit-projection → project-features` in place of the sparse text features,
/// and dense kinds of training and scoring; reviews, aggregation and evaluation are the same stages.
extension Planner {
    enum DataPart { case pool, test, validation }

    static let projection = StageID("fit-projection")
    static let projected = StageID("project-features")
    private static let testProjected = StageID("test/project-features")
    private static let validationFeatures = StageID("validation/extract-features")
    private static let validationProjected = StageID("validation/project-features")

    var readsImages: Bool { index.format.kind.holdsImages }

    var votesZeroShot: Bool { readsImages && artifacts.zeroShotPrompts != nil && artifacts.modelWeights != nil }

    /// CLIP's votes, as one more source beside labeling functions.
    mutating func zeroShotVotes() -> [StageID] {
        guard votesZeroShot, let prompts = artifacts.zeroShotPrompts, let settings = manifest.features.images.zeroShot else { return [] }
        let stage = StageID("labeling-functions/\(VoteZeroShotStage.functionName)")
        add(
            stage, VoteZeroShotStage.kind,
            parameters: CanonicalJSON.encode(ZeroShotParameters(prompts: prompts, margin: Float(settings.margin))),
            blocks: index.plan.blockCount, [same("samples", Self.ingest), same("features", Self.features), indexInput] + modelInputs,
            placement: Self.prefersGPU)
        return [stage]
    }

    func plainFeatures() throws(AMAFError) -> PlainImageFeatures {
        let settings = manifest.features.images
        return try PlainImageFeatures(
            parts: settings.parts.map { $0 == .pixels ? .pixels : .gradients }, side: settings.side, cell: settings.cell,
            pixelWeight: Float(settings.pixelWeight))
    }

    var imageClassifierName: String {
        let settings = manifest.features.images
        let parts =
            settings.network.map { $0 == .vae ? "a VAE's encodings" : "\($0.rawValue) features" }
            ?? settings.parts.map(\.rawValue).joined(separator: " and ")
        return "kernel ridge regression on \(manifest.features.images.components) principal components of \(parts)"
    }

    mutating func imageStages() throws(AMAFError) {
        let features = CanonicalJSON.encode(try plainFeatures())
        let ingest = CanonicalJSON.encode(IngestParameters(thumbnailSide: manifest.features.images.side))
        func inputs(_ part: DataPart) -> [StageInput]? {
            switch part {
            case .pool: return [indexInput, artifact("source", artifacts.source)]
            case .test:
                guard let index = artifacts.testIndex, let source = artifacts.testSource else { return nil }
                return [artifact("index", index), artifact("source", source)]
            case .validation:
                guard let index = artifacts.validationIndex, let source = artifacts.validationSource else { return nil }
                return [artifact("index", index), artifact("source", source)]
            }
        }
        for part in [DataPart.pool, .test, .validation] {
            guard let inputs = inputs(part) else { continue }
            let (ingestStage, extractStage, projectStage) = stages(of: part)
            let blocks = blockCount(of: part)
            add(ingestStage, IngestStage.kind, parameters: ingest, blocks: blocks, inputs)
            if part == .pool, trainsVAE { try vaeStages() }
            if let networkFeatures {
                add(
                    extractStage, ExtractNetworkFeaturesStage.kind, parameters: CanonicalJSON.encode(networkFeatures), blocks: blocks,
                    [same("samples", ingestStage)] + inputs + modelInputs, placement: Self.prefersGPU)
            } else {
                add(extractStage, ExtractImageFeaturesStage.kind, parameters: features, blocks: blocks, [same("samples", ingestStage)])
            }
            if part == .pool {
                add(
                    Self.projection, FitProjectionStage.kind,
                    parameters: CanonicalJSON.encode(FitProjectionParameters(components: manifest.features.images.components)), blocks: 1,
                    [whole("features", extractStage), whole("masked", ingestStage)])
            }
            add(
                projectStage, ProjectFeaturesStage.kind, blocks: blocks,
                [same("features", extractStage), whole("projection", Self.projection)])
        }
    }

    func stages(of part: DataPart) -> (ingest: StageID, extract: StageID, project: StageID) {
        switch part {
        case .pool: (Self.ingest, Self.features, Self.projected)
        case .test: (Self.testIngest, Self.testFeatures, Self.testProjected)
        case .validation: (Self.validationIngest, Self.validationFeatures, Self.validationProjected)
        }
    }

    func blockCount(of part: DataPart) -> Int {
        switch part {
        case .pool: index.plan.blockCount
        case .test: testIndex?.plan.blockCount ?? 0
        case .validation: validationIndex?.plan.blockCount ?? 0
        }
    }

    var denseTrainParameters: String { denseTrainParameters(syntheticWeight: nil) }

    func denseTrainParameters(syntheticWeight: Double?) -> String {
        let settings = manifest.classifier
        return CanonicalJSON.encode(
            TrainDenseClassifierParameters(
                kernel: KernelClassifier.Configuration(
                    width: Float(settings.kernelWidth), ridge: settings.ridge, landmarks: settings.landmarks),
                syntheticWeight: syntheticWeight.map { Float($0) }))
    }

    var denseTrainInputs: [StageInput] { [whole("features", Self.projected), whole("projection", Self.projection), indexInput] }

    mutating func addDenseScores(_ id: StageID, weights: StageID, part: DataPart) {
        add(
            id, ScoreDenseUncertaintyStage.kind, blocks: blockCount(of: part),
            [same("features", stages(of: part).project), whole("weights", weights)])
    }

    /// Scores of the validation split, on which cuts are chosen; none without one.
    mutating func addValidation(_ owner: String, weights: StageID) -> [StageInput] {
        guard validationIndex != nil, artifacts.validationIndex != nil else { return [] }
        let scores = StageID("\(owner)/validation/score-uncertainty")
        addDenseScores(scores, weights: weights, part: .validation)
        return [
            whole("validation-scores", scores, output: "scores"), whole("validation-gold", Self.validationIngest, output: "gold"),
        ]
    }
}
