import ActiveLearning
package import Datasets
package import Manifests
import Models
package import Primitives
package import Scheduling
import WeakSupervision

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
    package enum Role: String, Hashable, Sendable, Codable { case main, control, noisyReviewer }
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

    package struct QuarantineNote: Hashable, Sendable, Codable {
        package var place: String
        package var code: String
        package var reason: String
    }
}

/// Turns a checked pipeline and its indexed data into the stage graph. Pure: the same inputs give the same plan, name and all.
package struct Planner {
    let manifest: PipelineManifest
    let index: DatasetIndex
    let testIndex: DatasetIndex?
    let validationIndex: DatasetIndex?
    private let functions: LabelingFunctionFile?
    let artifacts: PlanArtifacts
    private var stages: [StageSpec] = []

    package init(
        manifest: PipelineManifest, index: DatasetIndex, testIndex: DatasetIndex?, validationIndex: DatasetIndex? = nil,
        functions: LabelingFunctionFile?, artifacts: PlanArtifacts
    ) {
        self.validationIndex = validationIndex
        self.manifest = manifest
        self.index = index
        self.testIndex = testIndex
        self.functions = functions
        self.artifacts = artifacts
    }

    package static let ingest = StageID("ingest")
    package static let fitLabelModel = StageID("fit-label-model")
    /// The votes of all functions, block by block, whether it computes them or joins the bundles' columns.
    package static let votes = StageID("apply-labeling-functions")
    package static let export = StageID("export")
    package static let supervisedEvaluation = StageID("supervised/evaluate")
    package static func evaluation(of arm: RunArm) -> StageID { StageID("\(arm.name)/evaluate") }
    package static func aggregationEvidence(of arm: RunArm) -> StageID { StageID("\(arm.name)/fit-aggregation") }
    package static func review(of arm: RunArm, round: Int) -> StageID { StageID("\(arm.name)/round-\(twoDigits(round))/review") }
    package static func selection(of arm: RunArm, round: Int) -> StageID {
        StageID("\(arm.name)/round-\(twoDigits(round))/select-for-review")
    }
    static func twoDigits(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    // MARK: The plan

    package mutating func plan() throws(AMAFError) -> (RunPlan, RunAnnotation) {
        stages = []
        let classes = index.classNames.count
        guard classes >= 2 else {
            throw AMAFError(
                "plan.classes", "The data set names \(classes) classes; there must be at least two to tell apart", place: manifest.path,
                remedy: "List them under `classes:` in the data set's section of the pipeline.")
        }
        if readsImages { try imageStages() } else { textStages() }
        try checkLabelSets()
        functionStages()
        let arms = try self.arms()
        for arm in arms {
            let isFirst = arm == arms.first
            if hasLabelSets { try addLabelSetStages(of: arm, isFirst: isFirst) } else { try addStages(of: arm, isFirst: isFirst) }
        }
        if testIndex != nil && index.labelledRows > 0 { if hasLabelSets { addLabelSetReference() } else { addSupervisedReference() } }

        let annotation = RunAnnotation(
            pipeline: manifest.path, pipelineName: manifest.name, dataset: manifest.dataset.name, datasetDigest: index.sourceDigest,
            samples: index.samples, testSamples: testIndex?.samples ?? 0, classNames: index.classNames, hasGold: index.labelledRows > 0,
            quarantined: index.quarantineExamples.map { RunAnnotation.QuarantineNote(place: $0.place, code: $0.code, reason: $0.reason) },
            quarantinedRows: index.quarantinedRows, arms: arms, seeds: manifest.seeds, checkpoints: checkpoints, budget: budget,
            reviewMode: manifest.review.mode.rawValue, secondsPerItem: manifest.review.secondsPerItem,
            goldExamplesUsed: functions?.goldExamplesUsed ?? 0, functionNames: functions?.specs.map(\.name) ?? [],
            exports: manifest.export.map(\.rawValue), auditCount: auditCount, supervisedSamples: testIndex == nil ? 0 : index.labelledRows,
            modality: readsImages ? "image" : "text",
            classifier: readsImages ? imageClassifierName : "multinomial logistic regression on hashed TF-IDF",
            hasLabelSets: hasLabelSets ? true : nil)
        // The run is named by what it computes: submitting it twice is submitting it once.
        var hasher = DigestHasher()
        hasher.update(field: CanonicalJSON.encode(stages))
        let id = RunID("\(manifest.name)-\(String(hasher.finish().hex.prefix(10)))")
        return (
            RunPlan(
                id: id, name: manifest.name, priority: manifest.priority, weight: manifest.weight, stages: stages,
                allowsMixedNumerics: manifest.numerics == .any, annotation: CanonicalJSON.encode(annotation)),
            annotation
        )
    }

    private var budget: Int { max(1, manifest.review.budget.of(index.samples)) }
    /// Answers that are left after the gold examples that labeling functions were made from.
    private var askable: Int { max(1, budget - (functions?.goldExamplesUsed ?? 0)) }
    private var checkpoints: [Int] { manifest.checkpoints.map { $0.of(index.samples) }.filter { $0 > 0 && $0 < budget } }
    /// Questions of the last round that are drawn uniformly.
    var uniformCount: Int { min(200, askable / 10) }
    var auditCount: Int { manifest.review.mode == .file ? (manifest.audit?.of(index.samples) ?? 0) : 0 }

    private func arms() throws(AMAFError) -> [RunArm] {
        guard manifest.review.mode != .none else {
            return manifest.seeds.map {
                RunArm(role: .main, seed: $0, acquisition: "none", errorRate: 0, name: "seed-\($0)/none", totals: [])
            }
        }
        let first = min(askable, max(1, manifest.review.initial.of(index.samples)))
        let spent = functions?.goldExamplesUsed ?? 0
        let marks = checkpoints.map { $0 - spent }.filter { $0 > 0 && $0 <= askable }
        let full = try ReviewSchedule(budget: askable, first: first, rounds: manifest.review.rounds, checkpoints: marks).totals
        // The control's choice does not hang on a classifier, so only a few points of its curve are trained.
        let coarse = try ReviewSchedule(budget: askable, first: first, rounds: min(3, manifest.review.rounds), checkpoints: marks).totals
        var arms: [RunArm] = []
        for seed in manifest.seeds {
            func arm(_ role: RunArm.Role, _ acquisition: Acquisition, _ errorRate: Double, _ suffix: String = "") -> RunArm {
                RunArm(
                    role: role, seed: seed, acquisition: acquisition.rawValue, errorRate: errorRate,
                    name: "seed-\(seed)/\(acquisition.rawValue)\(suffix)", totals: acquisition == .random ? coarse : full)
            }
            arms.append(arm(.main, manifest.acquisition, manifest.review.errorRate))
            guard manifest.review.mode == .simulated else { continue }
            if let control = manifest.control, control != manifest.acquisition {
                arms.append(arm(.control, control, manifest.review.errorRate))
            }
            for rate in manifest.noisyReviewer {
                arms.append(arm(.noisyReviewer, manifest.acquisition, rate, "-error-\(Int((rate * 1000).rounded()))-permille"))
            }
        }
        // People answer once, not once a seed.
        return manifest.review.mode == .file ? Array(arms.prefix(1)) : arms
    }

    // MARK: Stages

    private var configuration: TextFeaturesConfiguration {
        TextFeaturesConfiguration(
            bucketBits: manifest.features.buckets.trailingZeroBitCount, wordMaximum: manifest.features.wordNgrams?.longest ?? 0,
            characterMinimum: manifest.features.charNgrams?.shortest ?? 2, characterMaximum: manifest.features.charNgrams?.longest ?? 0)
    }
    private var training: SoftmaxRegression.TrainingConfiguration {
        SoftmaxRegression.TrainingConfiguration(
            classes: index.classNames.count, l2: Float(manifest.classifier.l2), epochs: manifest.classifier.epochs)
    }

    mutating func add(
        _ id: StageID, _ kind: String, parameters: String = "{}", blocks: Int, _ inputs: [StageInput],
        placement: StagePlacement = StagePlacement(), performer: StageSpec.Performer = .workers
    ) {
        guard let version = StageRegistry.codeVersion(of: kind) else { preconditionFailure("no executor for '\(kind)'") }
        // Which samples lie behind the blocks, for the search of a sample that kills its process.
        let readsSamples = inputs.contains { $0.name == "samples" && $0.reach == .sameBlock } || kind == IngestStage.kind
        let data = id.rawValue.hasPrefix("test/") ? testIndex : id.rawValue.hasPrefix("validation/") ? validationIndex : index
        let range = readsSamples ? data?.plan : nil
        stages.append(
            StageSpec(
                id: id, kind: kind, codeVersion: version, parameters: parameters, blocks: blocks, inputs: inputs, placement: placement,
                performer: performer, samples: range?.samples ?? 0, blockSize: range?.blockSize ?? 0))
    }

    func same(_ name: String, _ stage: StageID) -> StageInput {
        StageInput(name, from: .stage(stage, output: name), reach: .sameBlock)
    }
    func whole(_ name: String, _ stage: StageID, output: String? = nil) -> StageInput {
        StageInput(name, from: .stage(stage, output: output ?? name), reach: .allBlocks)
    }
    func artifact(_ name: String, _ digest: Digest) -> StageInput {
        StageInput(name, from: .artifacts([digest]), reach: .allBlocks)
    }
    var indexInput: StageInput { artifact("index", artifacts.index) }
    private var hasFunctions: Bool {
        (artifacts.functions != nil && manifest.stages.runs(.applyLabelingFunctions)) || votesZeroShot
    }

    static let features = StageID("extract-features")
    private static let idf = StageID("document-frequency")
    private static let posterior = StageID("apply-label-model")
    static let testIngest = StageID("test/ingest")
    static let testFeatures = StageID("test/extract-features")
    static let validationIngest = StageID("validation/ingest")

    private mutating func textStages() {
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
    private mutating func functionStages() {
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

    private func trainInputs(answers: [StageInput]) -> [StageInput] {
        if readsImages { return denseTrainInputs + answers }
        return [whole("features", Self.features), whole("idf", Self.idf), indexInput] + answers
    }

    private mutating func addScores(_ id: StageID, weights: StageID, test: Bool = false) {
        if readsImages { return addDenseScores(id, weights: weights, part: test ? .test : .pool) }
        let features = test ? Self.testFeatures : Self.features
        add(
            id, ScoreUncertaintyStage.kind, blocks: test ? testIndex!.plan.blockCount : index.plan.blockCount,
            [same("features", features), whole("idf", Self.idf), whole("weights", weights)])
    }

    private mutating func addStages(of arm: RunArm, isFirst: Bool) throws(AMAFError) {
        let blocks = index.plan.blockCount
        let kind = readsImages ? TrainDenseClassifierStage.kind : TrainClassifierStage.kind
        let parameters =
            readsImages
            ? denseTrainParameters
            : CanonicalJSON.encode(TrainClassifierParameters(features: configuration, training: training, seed: arm.seed))
        let byPeople = manifest.review.mode == .file
        var answers: [StageInput] = []
        var scores: [StageInput] = []
        var previous: StageID?
        var lastRound: (select: StageID, score: StageID)?
        let masked = whole("masked", Self.ingest)

        func stage(_ round: Int, _ name: String) -> StageID { StageID("\(arm.name)/round-\(Self.twoDigits(round))/\(name)") }
        /// Trains on the answers so far and scores every sample; round r's classifier has seen the answers of rounds below r.
        func trainAndScore(_ round: Int, _ planner: inout Planner) -> StageID {
            var inputs = planner.trainInputs(answers: answers)
            if let previous, round > 1, !planner.readsImages { inputs.append(planner.whole("state", previous)) }
            if arm.totals.isEmpty && planner.hasFunctions { inputs.append(planner.whole("posterior", Self.posterior)) }
            let train = stage(round, "train-classifier")
            planner.add(train, kind, parameters: parameters, blocks: 1, inputs)
            let score = stage(round, "score-uncertainty")
            planner.addScores(score, weights: train)
            scores.append(planner.whole("scores.\(round)", score, output: "scores"))
            previous = train
            return score
        }

        for round in arm.totals.indices {
            let isRandom = arm.acquisition == Acquisition.random.rawValue
            // Class names say nothing of a picture: images begin without a classifier.
            let score = round == 0 && (isRandom || readsImages) ? nil : trainAndScore(round, &self)
            let count = arm.totals[round] - (round == 0 ? 0 : arm.totals[round - 1])
            let rule: SelectForReviewParameters.Rule
            if isRandom {
                rule = .acquisition(.random)
            } else if round == 0 {
                rule = readsImages ? .typical : .coldStart
            } else {
                guard let acquisition = Acquisition(rawValue: arm.acquisition) else {
                    preconditionFailure("a manifest with acquisition '\(arm.acquisition)'")
                }
                rule = .acquisition(acquisition)
            }
            let select = stage(round, "select-for-review")
            var inputs = [indexInput, masked] + answers
            if let score, !isRandom { inputs.append(whole("scores", score)) }
            if rule == .typical { inputs.append(whole("features", Self.projected)) }
            if byPeople { inputs.append(whole("samples", Self.ingest)) }
            add(
                select, SelectForReviewStage.kind,
                parameters: CanonicalJSON.encode(
                    SelectForReviewParameters(
                        rule: rule, count: count,
                        uniform: round == arm.totals.count - 1 && round > 0 && !isRandom ? min(uniformCount, count / 2) : 0,
                        seed: arm.seed, round: round, writesQuestions: byPeople)),
                blocks: 1, inputs)
            lastRound = score.map { (select, $0) }
            answers.append(addReview(stage(round, "review"), of: select, number: round, arm: arm))
        }
        let final = trainAndScore(arm.totals.count, &self)

        // The control's labels are the classifier's: it exists to compare acquisitions, not aggregations.
        var evaluationInputs = [indexInput, whole("gold", Self.ingest)] + scores + answers
        let labels = StageID("\(arm.name)/aggregate")
        let pool = StageID("\(arm.name)/fit-aggregation")
        if arm.role != .control {
            let parameters = CanonicalJSON.encode(
                AggregateParameters(
                    seed: arm.seed, classes: index.classNames.count,
                    reviewerAccuracy: max(1 - arm.errorRate, 1.5 / Double(index.classNames.count))))
            // The last round's scores were made before its questions were answered.
            var fitInputs: [StageInput] = []
            if let lastRound, arm.totals.count > 1, var last = answers.last {
                last.name = "answers"
                fitInputs = [whole("scores", lastRound.score), whole("selection", lastRound.select), last]
            }
            if hasFunctions { fitInputs.append(whole("posterior", Self.posterior)) }
            add(pool, FitAggregationStage.kind, parameters: parameters, blocks: 1, fitInputs)

            var given = answers
            if auditCount > 0 {
                let select = stage(arm.totals.count, "select-for-review")
                add(
                    select, SelectForReviewStage.kind,
                    parameters: CanonicalJSON.encode(
                        SelectForReviewParameters(
                            rule: .audit, count: auditCount, seed: arm.seed, round: arm.totals.count, writesQuestions: byPeople)),
                    blocks: 1, [indexInput, masked, whole("scores", final), whole("samples", Self.ingest)] + answers)
                let audit = addReview(stage(arm.totals.count, "review"), of: select, number: arm.totals.count, arm: arm)
                given.append(audit)
                var seen = audit
                seen.name = "audit"
                evaluationInputs += [seen, whole("pool", pool), whole("final-scores", final, output: "scores")]
                if hasFunctions { evaluationInputs.append(whole("posterior", Self.posterior)) }
            }
            var aggregateInputs = [same("scores", final), whole("pool", pool), masked] + given
            if hasFunctions { aggregateInputs.append(same("posterior", Self.posterior)) }
            add(labels, AggregateStage.kind, blocks: blocks, aggregateInputs)
            evaluationInputs.append(whole("labels", labels))
        }
        if testIndex != nil && arm.role == .main {
            let test = StageID("\(arm.name)/test/score-uncertainty")
            addScores(test, weights: stage(arm.totals.count, "train-classifier"), test: true)
            evaluationInputs += [whole("test-scores", test, output: "scores"), whole("test-gold", Self.testIngest, output: "gold")]
            if readsImages { evaluationInputs += addValidation(arm.name, weights: stage(arm.totals.count, "train-classifier")) }
        }
        add(
            Self.evaluation(of: arm), EvaluateStage.kind,
            parameters: CanonicalJSON.encode(EvaluateParameters(goldExamplesUsed: functions?.goldExamplesUsed ?? 0)), blocks: 1,
            evaluationInputs)
        if isFirst {
            var inputs = [indexInput, whole("samples", Self.ingest), whole("labels", labels)]
            if hasFunctions { inputs.append(whole("votes", Self.votes)) }
            add(
                Self.export, ExportStage.kind, parameters: CanonicalJSON.encode(ExportParameters(formats: manifest.export.map(\.rawValue))),
                blocks: 1, inputs)
        }
    }

    private mutating func addReview(_ id: StageID, of select: StageID, number: Int, arm: RunArm) -> StageInput {
        switch manifest.review.mode {
        case .simulated:
            let reviewer = SimulatedReviewer(errorRate: arm.errorRate, secondsPerItem: manifest.review.secondsPerItem, seed: arm.seed)
            add(
                id, SimulatedReviewStage.kind, parameters: CanonicalJSON.encode(reviewer), blocks: 1,
                [whole("selection", select), whole("gold", Self.ingest), indexInput])
        case .file:
            add(id, SimulatedReviewStage.kind, blocks: 1, [whole("selection", select)], performer: .people)
        case .none:
            preconditionFailure("a review where nobody is asked")
        }
        return whole("answers.\(number)", id, output: "answers")
    }

    /// What the same classifier reaches with all gold of the pool, on the test split: the ceiling that arms are compared with.
    private mutating func addSupervisedReference() {
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
