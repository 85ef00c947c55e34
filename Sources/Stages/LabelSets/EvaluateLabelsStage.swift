import ActiveLearning
import Aggregation
import Datasets
import Evaluation
import Primitives

/// `evaluate-labels`: one arm of a run whose samples have several labels each, against the cells that say a plain yes or no.
///
/// - Inputs: `index`, `label-sets` (all blocks), `masked`, `scores.r` (label scores), `answers.r`, `labels` (all blocks); `test-scores`,
///   `test-label-sets` and `test-samples`; `audit` and `pools`, as far as the plan has them. Outputs: `evaluation` (JSON `ArmEvaluation`,
///   whose accuracies are shares of cells).
package struct EvaluateLabelsStage: StageExecutor {
    package static let kind = "evaluate-labels"
    package static let codeVersion = 1
    /// Of the bootstrap over groups of the test split.
    private static let resamples = 1000

    package init() {}

    package func run(_ task: StageTask) throws {
        let index = try task.datasetIndex()
        var evaluation = ArmEvaluation(
            points: [], finalUnseen: 0, testSamples: 0, answersUsed: 0, reviewSeconds: 0, bySource: [], labelled: 0, samples: 0,
            contradictions: 0, answersByClass: [], testSupport: [], testRecall: [])
        var score = LabelSetScore(names: index.classNames)
        if task.inputs.contains("label-sets") { try judgePool(task, index, into: &evaluation, &score) }
        if task.inputs.contains("test-scores") { try judgeTest(task, index, into: &evaluation, &score) }
        evaluation.labelSet = score
        try task.emit(
            block: 0, [StageOutput("evaluation", Array(CanonicalJSON.encode(evaluation).utf8))],
            metrics: ["rows": Double(evaluation.samples)])
    }

    // MARK: The pool

    /// Cells that people answered: (sample, label) → value.
    private struct Answered {
        var values: [Int: [Bool?]] = [:]

        mutating func add(_ block: LabelAnswerBlock) {
            for answer in block.answers {
                // A second answer for an image fills what the first left open.
                let old = values[answer.position] ?? []
                values[answer.position] = answer.values.enumerated().map { $1 ?? (old.isEmpty ? nil : old[$0]) }
            }
        }
        func value(_ position: Int, _ label: Int) -> Bool? { values[position]?[label] }
    }

    private func judgePool(
        _ task: StageTask, _ index: DatasetIndex, into evaluation: inout ArmEvaluation, _ score: inout LabelSetScore
    ) throws {
        let cells = try task.labelCells()
        let masked = Set(try task.maskedPositions())
        let rounds = try task.inputs.labelAnswers()
        let labels = index.classNames.count
        var answered = Answered()
        var last: [LabelScoreBlock] = []
        // The classifiers of round r were trained on the answers of the rounds before it.
        for round in 0...rounds.count {
            if task.inputs.contains("scores.\(round)") {
                last = try task.labelScores("scores.\(round)")
                evaluation.points.append(point(last, cells, answered, labels: labels, answers: evaluation.answersUsed))
            }
            guard round < rounds.count else { break }
            answered.add(rounds[round])
            evaluation.answersUsed += rounds[round].answers.count
            evaluation.reviewSeconds += rounds[round].answers.reduce(0) { $0 + Double($1.seconds) }
        }
        for (position, row) in cells.enumerated() where !masked.contains(position) {
            score.samples += 1
            for (label, cell) in row.enumerated() {
                if cell.truth != nil {
                    score.labels[label].known += 1
                    if cell == .present { score.labels[label].present += 1 }
                } else if cell.taught != nil {
                    score.labels[label].taken += 1
                }
                if answered.value(position, label) != nil { score.labels[label].answered += 1 }
            }
        }
        for label in 0..<labels { score.labels[label].unseenArea = unseenArea(last, cells, answered, label: label) }
        if task.inputs.contains("labels") { try judgeFinals(task, cells, answered, masked, into: &evaluation, &score) }
        if task.inputs.contains("audit") { evaluation.audit = try audit(task, labels: labels) }
    }

    private func point(
        _ scores: [LabelScoreBlock], _ cells: [[LabelCell]], _ answered: Answered, labels: Int, answers: Int
    ) -> ArmEvaluation.Point {
        var (known, right, unseen, unseenRight) = (0, 0, 0, 0)
        for block in scores {
            for (row, position) in block.positions.enumerated() {
                for label in 0..<labels {
                    guard let truth = cells[position][label].truth else { continue }
                    known += 1
                    if let value = answered.value(position, label) {
                        right += value == truth ? 1 : 0
                    } else {
                        unseen += 1
                        unseenRight += block[row: row, label].map { $0 > 0.5 } == truth ? 1 : 0
                    }
                }
            }
        }
        return ArmEvaluation.Point(
            answers: answers, accuracy: known > 0 ? Double(right + unseenRight) / Double(known) : nil,
            unseenAccuracy: unseen > 0 ? Double(unseenRight) / Double(unseen) : nil, unseen: unseen)
    }

    private func unseenArea(_ scores: [LabelScoreBlock], _ cells: [[LabelCell]], _ answered: Answered, label: Int) -> Double? {
        var scored: [(score: Double, isPositive: Bool)] = []
        for block in scores {
            for (row, position) in block.positions.enumerated() {
                guard let truth = cells[position][label].truth, answered.value(position, label) == nil, let p = block[row: row, label]
                else { continue }
                scored.append((Double(p), truth))
            }
        }
        let ranked = RankedScores(scored)
        return ranked.ranks ? ranked.area : nil
    }

    private func judgeFinals(
        _ task: StageTask, _ cells: [[LabelCell]], _ answered: Answered, _ masked: Set<Int>, into evaluation: inout ArmEvaluation,
        _ score: inout LabelSetScore
    ) throws {
        let labels = score.labels.count
        var calibration = CalibrationCounts()
        var sources: [SourceSet: (cells: Int, confidence: Double, known: Int, right: Int)] = [:]
        var (known, right) = ([Int](repeating: 0, count: cells.count), [Int](repeating: 0, count: cells.count))
        try task.inputs.forEach("labels") { _, artifact in
            for final in try FinalLabelCodec.decode(artifact.bytes) {
                let (position, label) = final.position.quotientAndRemainder(dividingBy: labels)
                guard !masked.contains(position) else { continue }
                evaluation.samples += 1
                if final.label != nil {
                    evaluation.labelled += 1
                    score.labels[label].labelled += 1
                }
                if final.flags.contains(.contradictsHuman) { evaluation.contradictions += 1 }
                var tally = sources[final.sources] ?? (0, 0, 0, 0)
                tally.cells += 1
                tally.confidence += Double(final.confidence)
                if let truth = cells[position][label].truth {
                    let isRight = final.label == (truth ? 1 : 0)
                    tally.known += 1
                    tally.right += isRight ? 1 : 0
                    known[position] += 1
                    right[position] += isRight ? 1 : 0
                    score.labels[label].right += isRight ? 1 : 0
                    if answered.value(position, label) == nil {
                        score.labels[label].unseenKnown += 1
                        score.labels[label].unseenRight += isRight ? 1 : 0
                        if final.label != nil { calibration.add(confidence: final.confidence, isCorrect: isRight) }
                    }
                }
                sources[final.sources] = tally
            }
        }
        score.judged = known.count { $0 > 0 }
        score.allRight = zip(known, right).count { $0 > 0 && $0 == $1 }
        evaluation.bySource = sources.sorted { $0.key.rawValue < $1.key.rawValue }.map { key, tally in
            RunReport.FinalLabels.Row(
                sources: key.names.isEmpty ? "none" : key.names.joined(separator: " + "), samples: tally.cells,
                meanConfidence: tally.confidence / Double(tally.cells),
                accuracy: tally.known > 0 ? Double(tally.right) / Double(tally.known) : nil)
        }
        evaluation.finalAccuracy = score.accuracy
        evaluation.finalUnseenAccuracy = score.unseenAccuracy
        evaluation.finalUnseen = score.unseenKnown
        if score.known > 0 { evaluation.calibration = RunReport.Calibration.Measure(calibration) }
    }

    /// Machine labels as they would be without the auditors' own answers, cell by cell.
    private func audit(_ task: StageTask, labels: Int) throws -> ArmEvaluation.Audit {
        let pools = try LabelPool.decode(try task.inputs.single("pools").bytes, labels: labels)
        let answers = try LabelAnswerBlock(decoding: try task.inputs.single("audit").bytes).answers
        let scores = try task.labelScores("final-scores")
        var audit = ArmEvaluation.Audit(asked: 0, agreed: 0)
        for answer in answers {
            guard let block = scores.first(where: { $0.positions.contains(answer.position) }) else { continue }
            for (label, value) in answer.values.enumerated() {
                guard let value else { continue }
                let final = pools[label].combine(position: answer.position, p: block[row: answer.position - block.firstPosition, label])
                audit.asked += 1
                audit.agreed += final.label == (value ? 1 : 0) ? 1 : 0
            }
        }
        return audit
    }

    // MARK: The test split

    private func judgeTest(
        _ task: StageTask, _ index: DatasetIndex, into evaluation: inout ArmEvaluation, _ score: inout LabelSetScore
    ) throws {
        let cells = try task.labelCells("test-label-sets")
        let scores = try task.labelScores("test-scores")
        let groups = try groups(task, column: index.format.images?.groups?.column, count: cells.count)
        var (known, right) = (0, 0)
        for label in score.labels.indices {
            var scored: [(score: Double, isPositive: Bool)] = []
            var names: [String] = []
            for block in scores {
                for (row, position) in block.positions.enumerated() {
                    guard let truth = cells[position][label].truth, let p = block[row: row, label] else { continue }
                    scored.append((Double(p), truth))
                    names.append(groups[position])
                }
            }
            guard !scored.isEmpty else { continue }
            let test = Self.test(scored, groups: names, seed: UInt64(label))
            known += test.known
            right += test.right
            score.labels[label].test = test
        }
        evaluation.testSamples = cells.count
        evaluation.testAccuracy = known > 0 ? Double(right) / Double(known) : nil
    }

    private static func test(_ scored: [(score: Double, isPositive: Bool)], groups: [String], seed: UInt64) -> LabelSetScore.Test {
        let ranked = RankedScores(scored)
        let hits = scored.map { ($0.score > 0.5) == $0.isPositive }
        let truePositives = scored.count { $0.score > 0.5 && $0.isPositive }
        let wrong = hits.count { !$0 }
        let intervals = GroupBootstrap(groups: groups, resamples: resamples, seed: seed).intervals { weights in
            let all = weights.reduce(0, +)
            let right = zip(weights, hits).reduce(0) { $0 + ($1.1 ? $1.0 : 0) }
            return [ranked.ranks ? ranked.area(weights: weights) : nil, all > 0 ? Double(right) / Double(all) : nil]
        }
        return LabelSetScore.Test(
            known: scored.count, present: scored.count { $0.isPositive }, right: scored.count - wrong,
            area: ranked.ranks ? ranked.area : nil,
            areaInterval: intervals[0], accuracyInterval: intervals[1],
            f1: 2 * truePositives + wrong > 0 ? Double(2 * truePositives) / Double(2 * truePositives + wrong) : nil)
    }

    /// The group of each test sample: a patient where the data set names a column for it, else the sample itself.
    private func groups(_ task: StageTask, column: String?, count: Int) throws -> [String] {
        var names: [String] = []
        if let column, task.inputs.contains("test-samples") {
            try task.inputs.forEach("test-samples") { _, artifact in
                let block = try artifact.withBytes { try SampleBlock(decoding: $0) }
                for (position, sample) in zip(block.positions, block.samples) {
                    names.append(sample.metadata(column) ?? "sample \(position)")
                }
            }
        }
        return names.isEmpty ? (0..<count).map(String.init) : names
    }
}
