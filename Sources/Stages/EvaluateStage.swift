import ActiveLearning
import Aggregation
import Datasets
package import Evaluation
import Primitives
import WeakSupervision

/// What `evaluate` finds for one arm. Deterministic: times and counts of the cluster are added by whoever writes the report.
package struct ArmEvaluation: Hashable, Sendable, Codable {
    /// After one round: answers of people stand, the classifier's first choice elsewhere.
    package struct Point: Hashable, Sendable, Codable {
        package var answers: Int
        package var accuracy: Double?
        package var unseenAccuracy: Double?
        package var unseen: Int
    }
    /// Agreement of machine labels with people on a uniform sample, where there is no gold.
    /// Two classes on the test split: as scored, and with a cut chosen on the validation split (never on the test split).
    package struct BinaryTest: Hashable, Sendable, Codable {
        package struct Outcome: Hashable, Sendable, Codable {
            package var threshold: Double
            package var right: Int
            /// Of the second class.
            package var f1: Double?
        }
        package var samples: Int
        package var positiveClass: String
        package var plain: Outcome
        package var validated: Outcome?
        package var validationSamples: Int
    }
    package struct Audit: Hashable, Sendable, Codable {
        package var asked: Int
        package var agreed: Int
    }
    package var points: [Point]
    /// Of the aggregated labels.
    package var finalAccuracy: Double?
    package var finalUnseenAccuracy: Double?
    package var finalUnseen: Int
    package var macroF1: Double?
    package var testAccuracy: Double?
    package var testMacroF1: Double?
    package var testSamples: Int
    /// With two classes: how the last classifier does on the test split.
    package var testCuts: BinaryTest?
    package var answersUsed: Int
    package var reviewSeconds: Double
    /// Of the final labels, and of the classifier alone, on samples that no person saw.
    package var calibration: RunReport.Calibration.Measure?
    package var uncalibrated: RunReport.Calibration.Measure?
    package var confusion: RunReport.Confusion?
    package var bySource: [RunReport.FinalLabels.Row]
    package var audit: Audit?
    package var labelled: Int
    package var samples: Int
    package var contradictions: Int
    /// Where samples have several labels each; accuracies above are shares of cells then.
    package var labelSet: LabelSetScore?
    /// By class, in their order: how often people gave it as an answer; and on the test split, where there is one, how many there are and
    /// what share of them the last classifier recognises.
    package var answersByClass: [Int]
    package var testSupport: [Int]
    package var testRecall: [Double]
}

package struct EvaluateParameters: Hashable, Sendable, Codable {
    /// Gold labels looked at before the first question (labeling functions made from examples); part of every budget.
    package var goldExamplesUsed: Int

    package init(goldExamplesUsed: Int) { self.goldExamplesUsed = goldExamplesUsed }
}

/// `evaluate`: one arm against gold, or against the audit sample.
///
/// - Inputs: `index`, `gold` (all blocks), `scores.r`, `answers.r`, `labels` (all blocks), `test-scores` and `test-gold`, `validation-scores` and
///   `validation-gold`, `audit`, `pool`,
///   `posterior`, as far as the plan has them. Outputs: `evaluation` (JSON `ArmEvaluation`).
package struct EvaluateStage: StageExecutor {
    package static let kind = "evaluate"
    package static let codeVersion = 2

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: EvaluateParameters.self)
        let classNames = try task.datasetIndex().classNames
        let gold = task.inputs.contains("gold") ? try task.gold() : []
        let hasGold = gold.contains { $0 >= 0 }
        let rounds = try task.inputs.answers()

        var evaluation = ArmEvaluation(
            points: [], finalUnseen: 0, testSamples: 0, answersUsed: parameters.goldExamplesUsed, reviewSeconds: 0, bySource: [],
            labelled: 0, samples: 0, contradictions: 0, answersByClass: [Int](repeating: 0, count: classNames.count), testSupport: [],
            testRecall: [])
        var answered: [Int: Int] = [:]
        // The classifier of round r was trained on the answers of the rounds before it.
        for round in 0...rounds.count {
            if task.inputs.contains("scores.\(round)"), hasGold {
                let scores = try task.scoreBlocks("scores.\(round)")
                let answers = evaluation.answersUsed
                evaluation.points.append(point(scores, gold: gold, answered: answered, answers: answers))
            }
            guard round < rounds.count else { break }
            for answer in rounds[round].answers {
                answered[answer.position] = answer.label
                evaluation.answersByClass[answer.label] += 1
                evaluation.reviewSeconds += Double(answer.seconds)
            }
            evaluation.answersUsed += rounds[round].answers.count
        }
        if task.inputs.contains("labels") {
            try judge(task, gold: hasGold ? gold : [], answered: answered, classNames: classNames, into: &evaluation)
        }
        if task.inputs.contains("test-scores") {
            let scores = try task.scoreBlocks("test-scores")
            var confusion = ConfusionCounts(classCount: classNames.count)
            let testGold = try task.gold("test-gold")
            for block in scores {
                for (position, score) in zip(block.positions, block.scores) where testGold[position] >= 0 {
                    confusion.add(gold: Int(testGold[position]), predicted: Int(score.top))
                }
            }
            evaluation.testAccuracy = confusion.accuracy
            evaluation.testMacroF1 = confusion.macroF1().value
            evaluation.testSamples = confusion.total
            let byClass = confusion.perClass()
            (evaluation.testSupport, evaluation.testRecall) = (byClass.map(\.support), byClass.map(\.recall))
            if classNames.count == 2 { evaluation.testCuts = try binaryTest(task, scores, gold: testGold, positiveClass: classNames[1]) }
        }
        if task.inputs.contains("audit") { evaluation.audit = try audit(task) }
        try task.emit(
            block: 0, [StageOutput("evaluation", Array(CanonicalJSON.encode(evaluation).utf8))],
            metrics: ["rows": Double(evaluation.samples)])
    }

    private func point(_ scores: [ScoreBlock], gold: [Int32], answered: [Int: Int], answers: Int) -> ArmEvaluation.Point {
        var (known, right, unseen, unseenRight) = (0, 0, 0, 0)
        for block in scores {
            for (position, score) in zip(block.positions, block.scores) where gold[position] >= 0 {
                known += 1
                if let label = answered[position] {
                    right += label == Int(gold[position]) ? 1 : 0
                } else {
                    unseen += 1
                    unseenRight += Int32(score.top) == gold[position] ? 1 : 0
                }
            }
        }
        return ArmEvaluation.Point(
            answers: answers, accuracy: known > 0 ? Double(right + unseenRight) / Double(known) : nil,
            unseenAccuracy: unseen > 0 ? Double(unseenRight) / Double(unseen) : nil, unseen: unseen)
    }

    private func judge(
        _ task: StageTask, gold: [Int32], answered: [Int: Int], classNames: [String], into evaluation: inout ArmEvaluation
    ) throws {
        var confusion = ConfusionCounts(classCount: classNames.count)
        var unseen = ConfusionCounts(classCount: classNames.count)
        var calibration = CalibrationCounts()
        var sources: [SourceSet: SourceTally] = [:]
        try task.inputs.forEach("labels") { _, artifact in
            for final in try FinalLabelCodec.decode(artifact.bytes) {
                evaluation.samples += 1
                if final.label != nil { evaluation.labelled += 1 }
                if final.flags.contains(.contradictsHuman) { evaluation.contradictions += 1 }
                sources[final.sources, default: SourceTally()].add(final, gold: gold)
                guard !gold.isEmpty, gold[final.position] >= 0 else { continue }
                let truth = Int(gold[final.position])
                confusion.add(gold: truth, predicted: final.label)
                if answered[final.position] == nil {
                    unseen.add(gold: truth, predicted: final.label)
                    if let label = final.label { calibration.add(confidence: final.confidence, isCorrect: label == truth) }
                }
            }
        }
        evaluation.bySource = sources.sorted { $0.key.rawValue < $1.key.rawValue }.map { key, tally in
            RunReport.FinalLabels.Row(
                sources: key.names.isEmpty ? "none" : key.names.joined(separator: " + "), samples: tally.samples,
                meanConfidence: tally.confidence / Double(tally.samples),
                accuracy: tally.known > 0 ? Double(tally.right) / Double(tally.known) : nil)
        }
        guard !gold.isEmpty else { return }
        evaluation.finalAccuracy = confusion.accuracy
        evaluation.finalUnseenAccuracy = unseen.accuracy
        evaluation.finalUnseen = unseen.total
        evaluation.macroF1 = confusion.macroF1().value
        evaluation.calibration = RunReport.Calibration.Measure(calibration)
        evaluation.uncalibrated = try classifierCalibration(task, gold: gold, answered: answered)
        evaluation.confusion = RunReport.Confusion(confusion, classNames: classNames, worst: 10)
    }

    /// The classifier's own confidence, before pooling and temperature.
    private func classifierCalibration(_ task: StageTask, gold: [Int32], answered: [Int: Int]) throws -> RunReport.Calibration.Measure? {
        let name = "scores.\(try task.inputs.answers().count)"
        guard task.inputs.contains(name) else { return nil }
        var counts = CalibrationCounts()
        for block in try task.scoreBlocks(name) {
            for (position, score) in zip(block.positions, block.scores) where gold[position] >= 0 && answered[position] == nil {
                counts.add(confidence: score.topProbability, isCorrect: Int32(score.top) == gold[position])
            }
        }
        return RunReport.Calibration.Measure(counts)
    }

    private func binaryTest(
        _ task: StageTask, _ scores: [ScoreBlock], gold: [Int32], positiveClass: String
    ) throws -> ArmEvaluation.BinaryTest {
        let test = Self.binary(scores, gold: gold)
        let plain = BinaryCut.judged(test, at: 0.5)
        var result = ArmEvaluation.BinaryTest(
            samples: test.count, positiveClass: positiveClass, plain: .init(threshold: 0.5, right: plain.right, f1: plain.f1),
            validationSamples: 0)
        guard task.inputs.contains("validation-scores") else { return result }
        let validation = Self.binary(try task.scoreBlocks("validation-scores"), gold: try task.gold("validation-gold"))
        result.validationSamples = validation.count
        if let cut = BinaryCut(validation) {
            let judged = BinaryCut.judged(test, at: cut.threshold)
            result.validated = .init(threshold: cut.threshold, right: judged.right, f1: judged.f1)
        }
        return result
    }

    /// p(second class) and truth of the samples with gold.
    private static func binary(_ scores: [ScoreBlock], gold: [Int32]) -> [(p: Double, isSecond: Bool)] {
        scores.flatMap { block in
            zip(block.positions, block.scores).filter { gold[$0.0] >= 0 }.map { position, score in
                (p: Double(score.top == 1 ? score.topProbability : score.secondProbability), isSecond: gold[position] == 1)
            }
        }
    }

    /// Machine labels as they would be without the auditors' own answers.
    private func audit(_ task: StageTask) throws -> ArmEvaluation.Audit {
        let pool = try OpinionPool(encoded: try task.inputs.single("pool").bytes)
        let answers = try task.inputs.single("audit").withBytes { try AnswerBlock(decoding: $0) }
        let machine = MachineOpinions(scores: try task.scoreBlocks("final-scores"), posteriors: try task.posteriorBlocks())
        let agreed = answers.answers.count { answer in
            pool.combine(position: answer.position, opinions: machine.opinions(on: answer.position)).label == answer.label
        }
        return ArmEvaluation.Audit(asked: answers.answers.count, agreed: agreed)
    }
}

/// Final labels of one combination of sources.
private struct SourceTally {
    var samples = 0
    var confidence = 0.0
    var known = 0
    var right = 0

    mutating func add(_ final: FinalLabel, gold: [Int32]) {
        samples += 1
        confidence += Double(final.confidence)
        guard !gold.isEmpty, gold[final.position] >= 0 else { return }
        known += 1
        if let label = final.label, label == Int(gold[final.position]) { right += 1 }
    }
}
