import ActiveLearning
import Datasets
import Manifests
import Primitives
import Scheduling

/// What a run repeats: arms, and the rounds of review of each.
extension Planner {
    func arms() throws(AMAFError) -> [RunArm] {
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

    mutating func addStages(of arm: RunArm, isFirst: Bool) throws(AMAFError) {
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

    mutating func addReview(_ id: StageID, of select: StageID, number: Int, arm: RunArm) -> StageInput {
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
}
