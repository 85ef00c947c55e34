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
            if manifest.augmentation != nil {
                arms.append(arm(.withoutAugmentation, manifest.acquisition, manifest.review.errorRate, "-without-augmentation"))
            }
            guard manifest.review.mode == .simulated else { continue }
            if let control = manifest.control, control != manifest.acquisition {
                arms.append(arm(.control, control, manifest.review.errorRate))
            }
            for rate in manifest.noisyReviewer {
                arms.append(arm(.noisyReviewer, manifest.acquisition, rate, "-error-\(Int((rate * 1000).rounded()))-permille"))
            }
        }
        // People answer once, not once a seed.
        return manifest.review.mode == .file ? arms.filter { $0.seed == arms[0].seed } : arms
    }

    /// What the rounds of an arm leave to its end.
    struct ArmRounds {
        /// Of people, and the classifiers' scores of all rounds but the last.
        var answers: [StageInput] = []
        var scores: [StageInput] = []
        var previous: StageID?
        var lastRound: (select: StageID, score: StageID)?
        /// The fitted aggregation, once there is one: it looks at the last round, which the twin without augmentation shares.
        var pool: StageID?
    }

    private func stage(_ arm: RunArm, _ round: Int, _ name: String) -> StageID {
        StageID("\(arm.name)/round-\(Self.twoDigits(round))/\(name)")
    }

    /// Trains on the answers so far and scores every sample; round r's classifier has seen the answers of rounds below r.
    private mutating func trainAndScore(
        _ round: Int, of arm: RunArm, _ rounds: inout ArmRounds, synthetic: StageInput? = nil
    ) -> (train: StageID, score: StageID) {
        var inputs = trainInputs(answers: rounds.answers)
        if let previous = rounds.previous, round > 1, !readsImages { inputs.append(whole("state", previous)) }
        if arm.totals.isEmpty && hasFunctions { inputs.append(whole("posterior", Self.posterior)) }
        if let synthetic { inputs.append(synthetic) }
        let train = stage(arm, round, "train-classifier")
        let parameters =
            readsImages
            ? denseTrainParameters(syntheticWeight: synthetic == nil ? nil : manifest.augmentation?.weight)
            : CanonicalJSON.encode(TrainClassifierParameters(features: configuration, training: training, seed: arm.seed))
        add(
            train, readsImages ? TrainDenseClassifierStage.kind : TrainClassifierStage.kind, parameters: parameters, blocks: 1, inputs)
        let score = stage(arm, round, "score-uncertainty")
        addScores(score, weights: train)
        rounds.scores.append(whole("scores.\(round)", score, output: "scores"))
        rounds.previous = train
        return (train, score)
    }

    mutating func addStages(of arms: [RunArm]) throws(AMAFError) {
        var shared: ArmRounds?
        for (number, arm) in arms.enumerated() {
            if arm.role == .withoutAugmentation, var rounds = shared {
                try addEnd(of: arm, &rounds, isFirst: false)
                continue
            }
            var rounds = addRounds(of: arm)
            // Before the last classifier, which the twin trains for itself.
            let before = rounds
            try addEnd(of: arm, &rounds, isFirst: number == 0)
            if arm.role == .main {
                shared = before
                shared?.pool = rounds.pool
            }
        }
    }

    private mutating func addRounds(of arm: RunArm) -> ArmRounds {
        let byPeople = manifest.review.mode == .file
        var rounds = ArmRounds()
        let masked = whole("masked", Self.ingest)

        for round in arm.totals.indices {
            let isRandom = arm.acquisition == Acquisition.random.rawValue
            // Class names say nothing of a picture: images begin without a classifier.
            let score = round == 0 && (isRandom || readsImages) ? nil : trainAndScore(round, of: arm, &rounds).score
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
            let select = stage(arm, round, "select-for-review")
            var inputs = [indexInput, masked] + rounds.answers
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
            rounds.lastRound = score.map { (select, $0) }
            rounds.answers.append(addReview(stage(arm, round, "review"), of: select, number: round, arm: arm))
        }
        return rounds
    }

    /// The last classifier, the labels that it gives with the other sources, and how good they are.
    private mutating func addEnd(of arm: RunArm, _ rounds: inout ArmRounds, isFirst: Bool) throws(AMAFError) {
        let blocks = index.plan.blockCount
        let byPeople = manifest.review.mode == .file
        let masked = whole("masked", Self.ingest)
        let synthetic = arm.role == .main ? try synthesisStages(of: arm, answers: rounds.answers) : nil
        let (finalTraining, final) = trainAndScore(arm.totals.count, of: arm, &rounds, synthetic: synthetic)
        let answers = rounds.answers

        // The control's labels are the classifier's: it exists to compare acquisitions, not aggregations.
        var evaluationInputs = [indexInput, whole("gold", Self.ingest)] + rounds.scores + answers
        let labels = StageID("\(arm.name)/aggregate")
        if arm.role != .control {
            let pool = rounds.pool ?? Self.aggregationEvidence(of: arm)
            let parameters = CanonicalJSON.encode(
                AggregateParameters(
                    seed: arm.seed, classes: index.classNames.count,
                    reviewerAccuracy: max(1 - arm.errorRate, 1.5 / Double(index.classNames.count))))
            // The last round's scores were made before its questions were answered.
            var fitInputs: [StageInput] = []
            if let lastRound = rounds.lastRound, arm.totals.count > 1, var last = answers.last {
                last.name = "answers"
                fitInputs = [whole("scores", lastRound.score), whole("selection", lastRound.select), last]
            }
            if hasFunctions { fitInputs.append(whole("posterior", Self.posterior)) }
            if rounds.pool == nil { add(pool, FitAggregationStage.kind, parameters: parameters, blocks: 1, fitInputs) }
            rounds.pool = pool

            var given = answers
            // People audit the labels that the run exports.
            if auditCount > 0, arm.role == .main {
                let select = stage(arm, arm.totals.count, "select-for-review")
                add(
                    select, SelectForReviewStage.kind,
                    parameters: CanonicalJSON.encode(
                        SelectForReviewParameters(
                            rule: .audit, count: auditCount, seed: arm.seed, round: arm.totals.count, writesQuestions: byPeople)),
                    blocks: 1, [indexInput, masked, whole("scores", final), whole("samples", Self.ingest)] + answers)
                let audit = addReview(stage(arm, arm.totals.count, "review"), of: select, number: arm.totals.count, arm: arm)
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
        if testIndex != nil && (arm.role == .main || arm.role == .withoutAugmentation) {
            let test = StageID("\(arm.name)/test/score-uncertainty")
            addScores(test, weights: finalTraining, test: true)
            evaluationInputs += [whole("test-scores", test, output: "scores"), whole("test-gold", Self.testIngest, output: "gold")]
            if readsImages { evaluationInputs += addValidation(arm.name, weights: finalTraining) }
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
