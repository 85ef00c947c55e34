import ActiveLearning
import Datasets
import Manifests
import Models
import Primitives
import Scheduling

/// The plan for samples with several labels each: features as for one class, then a classifier, a final value and a confidence for each
/// label. People are asked image by image and answer all labels of one.
extension Planner {
    var hasLabelSets: Bool { index.labelSet != nil }

    private static let supervised = "supervised"

    /// Names that the questions file needs for itself, and sizes that a cell's position cannot hold.
    func checkLabelSets() throws(AMAFError) {
        guard hasLabelSets else { return }
        if manifest.labelingFunctions != nil || manifest.features.images.zeroShot != nil {
            throw AMAFError(
                "plan.labels-with-functions", "Labeling functions vote for one class; this data set has several labels a sample",
                place: manifest.path,
                remedy: "Leave out 'labeling-functions' and 'zero-shot', or fit their votes with 'amaf label-model fit --multi-label'.")
        }
        if manifest.augmentation != nil {
            throw AMAFError(
                "plan.labels-with-augmentation", "Synthetic samples inherit one class; this data set has several labels a sample",
                place: manifest.path, remedy: "Leave out 'augmentation'.")
        }
        if let name = index.classNames.first(where: { LabelQuestions.fixedColumns.contains($0) }) {
            throw AMAFError(
                "plan.label-name", "A label cannot be called '\(name)': the questions file has a column of that name", place: manifest.path,
                remedy: "Rename the label's column.")
        }
        guard index.samples <= Int(UInt32.max) / index.classNames.count else {
            throw AMAFError(
                "plan.too-many-cells", "\(index.samples) samples with \(index.classNames.count) labels each are more than one run holds",
                place: manifest.path, remedy: "Divide the data set.")
        }
    }

    /// Trains a classifier for each label and scores a part of the data.
    private mutating func trainLabels(_ id: StageID, from examples: [StageInput]) {
        add(
            id, TrainLabelClassifiersStage.kind, parameters: denseTrainParameters, blocks: index.classNames.count,
            denseTrainInputs + examples)
    }

    private mutating func scoreLabels(_ id: StageID, weights: StageID, part: DataPart) {
        add(
            id, ScoreLabelsStage.kind, blocks: blockCount(of: part),
            [same("features", stages(of: part).project), whole("weights", weights)])
    }

    private var testInputs: [StageInput] {
        [
            whole("test-label-sets", Self.testIngest, output: "label-sets"), whole("test-samples", Self.testIngest, output: "samples"),
        ]
    }

    mutating func addLabelSetStages(of arm: RunArm, isFirst: Bool) throws(AMAFError) {
        let byPeople = manifest.review.mode == .file
        let masked = whole("masked", Self.ingest)
        let isRandom = arm.acquisition == Acquisition.random.rawValue
        var answers: [StageInput] = []
        var scores: [StageInput] = []
        var lastRound: (select: StageID, score: StageID)?

        func stage(_ round: Int, _ name: String) -> StageID { StageID("\(arm.name)/round-\(Self.twoDigits(round))/\(name)") }
        /// Round r's classifiers have seen the answers of rounds below r.
        func trainAndScore(_ round: Int, _ planner: inout Planner) -> StageID {
            let (train, score) = (stage(round, "train-classifier"), stage(round, "score-uncertainty"))
            planner.trainLabels(train, from: answers)
            planner.scoreLabels(score, weights: train, part: .pool)
            scores.append(planner.whole("scores.\(round)", score, output: "label-scores"))
            return score
        }

        guard !arm.totals.isEmpty else {
            throw AMAFError(
                "plan.nobody-asked", "Nobody is asked, and several labels a sample are learned from answers only", place: manifest.path,
                remedy: "Set 'review: {mode: simulated}' or '{mode: file}'.")
        }
        for round in arm.totals.indices {
            let score = round == 0 ? nil : trainAndScore(round, &self)
            let rule: SelectForReviewParameters.Rule
            if isRandom || round == 0 {
                rule = isRandom ? .acquisition(.random) : .typical
            } else {
                guard let acquisition = Acquisition(rawValue: arm.acquisition) else {
                    preconditionFailure("a manifest with acquisition '\(arm.acquisition)'")
                }
                rule = .acquisition(acquisition)
            }
            let count = arm.totals[round] - (round == 0 ? 0 : arm.totals[round - 1])
            let select = stage(round, "select-for-review")
            var inputs = [indexInput, masked] + answers
            if let score, !isRandom { inputs.append(whole("scores", score)) }
            if rule == .typical { inputs.append(whole("features", Self.projected)) }
            if byPeople { inputs += questionInputs(score) }
            add(
                select, SelectForReviewStage.kind,
                parameters: CanonicalJSON.encode(
                    SelectForReviewParameters(
                        rule: rule, count: count,
                        uniform: round == arm.totals.count - 1 && round > 0 && !isRandom ? min(uniformCount, count / 2) : 0,
                        seed: arm.seed, round: round, writesQuestions: byPeople)),
                blocks: 1, inputs)
            lastRound = score.map { (select, $0) }
            answers.append(addLabelReview(stage(round, "review"), of: select, number: round, arm: arm))
        }
        let last = arm.totals.count
        let final = trainAndScore(last, &self)

        var evaluationInputs = [indexInput, whole("label-sets", Self.ingest), masked] + scores + answers
        if arm.role != .control {
            let (labels, pools) = (StageID("\(arm.name)/aggregate"), StageID("\(arm.name)/fit-label-aggregation"))
            addLabelPools(pools, lastRound: lastRound, answers: answers, arm: arm)
            var given = answers
            if auditCount > 0 {
                let select = stage(last, "select-for-review")
                add(
                    select, SelectForReviewStage.kind,
                    parameters: CanonicalJSON.encode(
                        SelectForReviewParameters(
                            rule: .audit, count: auditCount, seed: arm.seed, round: last, writesQuestions: byPeople)),
                    blocks: 1, [indexInput, masked, whole("scores", final)] + questionInputs(final) + answers)
                var audit = addLabelReview(stage(last, "review"), of: select, number: last, arm: arm)
                given.append(audit)
                audit.name = "audit"
                evaluationInputs += [audit, whole("pools", pools), whole("final-scores", final, output: "label-scores")]
            }
            add(
                labels, AggregateLabelsStage.kind, blocks: index.plan.blockCount,
                [same("label-scores", final), whole("pools", pools), masked, indexInput] + given)
            evaluationInputs.append(whole("labels", labels))
            if isFirst {
                add(
                    Self.export, ExportLabelsStage.kind,
                    parameters: CanonicalJSON.encode(ExportParameters(formats: manifest.export.map(\.rawValue))), blocks: 1,
                    [indexInput, whole("samples", Self.ingest), whole("labels", labels)])
            }
        }
        if testIndex != nil && arm.role != .noisyReviewer {
            let test = StageID("\(arm.name)/test/score-uncertainty")
            scoreLabels(test, weights: stage(last, "train-classifier"), part: .test)
            evaluationInputs += [whole("test-scores", test, output: "label-scores")] + testInputs
        }
        add(Self.evaluation(of: arm), EvaluateLabelsStage.kind, blocks: 1, evaluationInputs)
    }

    private func questionInputs(_ score: StageID?) -> [StageInput] {
        [whole("samples", Self.ingest)] + (score.map { [whole("label-scores", $0)] } ?? [])
    }

    private mutating func addLabelPools(
        _ id: StageID, lastRound: (select: StageID, score: StageID)?, answers: [StageInput], arm: RunArm
    ) {
        var inputs = [indexInput]
        // The last round's scores were made before its questions were answered.
        if let lastRound, arm.totals.count > 1, var last = answers.last {
            last.name = "answers"
            inputs += [whole("label-scores", lastRound.score), whole("selection", lastRound.select), last]
        }
        let parameters = AggregateParameters(seed: arm.seed, classes: 2, reviewerAccuracy: max(1 - arm.errorRate, 0.75))
        add(id, FitLabelAggregationStage.kind, parameters: CanonicalJSON.encode(parameters), blocks: 1, inputs)
    }

    private mutating func addLabelReview(_ id: StageID, of select: StageID, number: Int, arm: RunArm) -> StageInput {
        switch manifest.review.mode {
        case .simulated:
            let reviewer = SimulatedReviewer(errorRate: arm.errorRate, secondsPerItem: manifest.review.secondsPerItem, seed: arm.seed)
            add(
                id, SimulatedLabelReviewStage.kind, parameters: CanonicalJSON.encode(reviewer), blocks: 1,
                [whole("selection", select), whole("label-sets", Self.ingest), indexInput])
        case .file: add(id, SimulatedLabelReviewStage.kind, blocks: 1, [whole("selection", select)], performer: .people)
        case .none: preconditionFailure("a review where nobody is asked")
        }
        return whole("answers.\(number)", id, output: "answers")
    }

    /// What the same classifiers reach with all known labels of the pool, on the test split.
    mutating func addLabelSetReference() {
        let train = StageID("\(Self.supervised)/train-classifier")
        let score = StageID("\(Self.supervised)/score-uncertainty")
        trainLabels(train, from: [whole("label-sets", Self.ingest)])
        scoreLabels(score, weights: train, part: .test)
        add(
            Self.supervisedEvaluation, EvaluateLabelsStage.kind, blocks: 1,
            [indexInput, whole("test-scores", score, output: "label-scores")] + testInputs)
    }
}
