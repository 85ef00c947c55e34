import Datasets
import Manifests
import Models
import Primitives
import Scheduling

/// The text half of the plan, and what both halves train and vote with.
extension Planner {
    private static let idf = StageID("document-frequency")

    var configuration: TextFeaturesConfiguration {
        TextFeaturesConfiguration(
            bucketBits: manifest.features.buckets.trailingZeroBitCount, wordMaximum: manifest.features.wordNgrams?.longest ?? 0,
            characterMinimum: manifest.features.charNgrams?.shortest ?? 2, characterMaximum: manifest.features.charNgrams?.longest ?? 0)
    }
    var training: SoftmaxRegression.TrainingConfiguration {
        SoftmaxRegression.TrainingConfiguration(
            classes: index.classNames.count, l2: Float(manifest.classifier.l2), epochs: manifest.classifier.epochs)
    }

    mutating func textStages() {
        let blocks = index.plan.blockCount
        add(Self.ingest, IngestStage.kind, blocks: blocks, [indexInput, artifact("source", artifacts.source)])
        let parameters = CanonicalJSON.encode(configuration)
        add(Self.features, ExtractFeaturesStage.kind, parameters: parameters, blocks: blocks, [same("samples", Self.ingest)])
        add(Self.idf, DocumentFrequencyStage.kind, parameters: parameters, blocks: 1, [whole("features", Self.features)])
        if let testIndex, let source = artifacts.testSource, let digest = artifacts.testIndex {
            let blocks = testIndex.plan.blockCount
            add(Self.testIngest, IngestStage.kind, blocks: blocks, [artifact("index", digest), artifact("source", source)])
            add(Self.testFeatures, ExtractFeaturesStage.kind, parameters: parameters, blocks: blocks, [same("samples", Self.testIngest)])
        }
    }

    /// Votes of labeling functions and what the label model makes of them.
    mutating func functionStages() {
        let blocks = index.plan.blockCount
        guard hasFunctions else { return }
        let bundles = ([artifacts.functions].compactMap { $0 } + artifacts.moreFunctions).filter { _ in
            manifest.stages.runs(.applyLabelingFunctions)
        }
        let extra = readsImages ? zeroShotVotes() : []
        if bundles.count == 1, extra.isEmpty {
            add(
                Self.votes, ApplyLabelingFunctionsStage.kind, blocks: blocks,
                [same("samples", Self.ingest), artifact("functions", bundles[0]), indexInput])
        } else {
            // A stage for each bundle, so that an edited function leaves the others' results as they are.
            var parts: [StageInput] = []
            for bundle in bundles {
                let stage = StageID("labeling-functions/\(bundle.hex.prefix(12))")
                add(
                    stage, ApplyLabelingFunctionsStage.kind, blocks: blocks,
                    [same("samples", Self.ingest), artifact("functions", bundle), indexInput])
                parts.append(StageInput("votes.\(parts.count)", from: .stage(stage, output: "votes"), reach: .sameBlock))
            }
            for stage in extra {
                parts.append(StageInput("votes.\(parts.count)", from: .stage(stage, output: "votes"), reach: .sameBlock))
            }
            add(Self.votes, MergeVotesStage.kind, blocks: blocks, parts)
        }
        addLabelModel(bundles.first.map { artifact("functions", $0) })
        add(Self.posterior, ApplyLabelModelStage.kind, blocks: blocks, [same("votes", Self.votes), whole("model", Self.fitLabelModel)])
    }

    func trainInputs(answers: [StageInput]) -> [StageInput] {
        if readsImages { return denseTrainInputs + answers }
        return [whole("features", Self.features), whole("idf", Self.idf), indexInput] + answers
    }

    mutating func addScores(_ id: StageID, weights: StageID, test: Bool = false) {
        if readsImages { return addDenseScores(id, weights: weights, part: test ? .test : .pool) }
        let features = test ? Self.testFeatures : Self.features
        add(
            id, ScoreUncertaintyStage.kind, blocks: test ? testIndex!.plan.blockCount : index.plan.blockCount,
            [same("features", features), whole("idf", Self.idf), whole("weights", weights)])
    }

    /// What the same classifier reaches with all gold of the pool, on the test split: the ceiling that arms are compared with.
    mutating func addSupervisedReference() {
        let seed = manifest.seeds.first ?? 1
        let train = StageID("supervised/train-classifier")
        var training = training
        training.epochs = max(training.epochs, 10)
        if readsImages {
            add(
                train, TrainDenseClassifierStage.kind, parameters: denseTrainParameters, blocks: 1,
                denseTrainInputs + [whole("gold", Self.ingest)])
        } else {
            add(
                train, TrainClassifierStage.kind,
                parameters: CanonicalJSON.encode(TrainClassifierParameters(features: configuration, training: training, seed: seed)),
                blocks: 1, [whole("features", Self.features), whole("idf", Self.idf), indexInput, whole("gold", Self.ingest)])
        }
        let scores = StageID("supervised/score-uncertainty")
        addScores(scores, weights: train, test: true)
        let validation = readsImages ? addValidation("supervised", weights: train) : []
        add(
            Self.supervisedEvaluation, EvaluateStage.kind, parameters: CanonicalJSON.encode(EvaluateParameters(goldExamplesUsed: 0)),
            blocks: 1,
            [
                indexInput, whole("test-scores", scores, output: "scores"), whole("test-gold", Self.testIngest, output: "gold"),
            ] + validation)
    }
}
