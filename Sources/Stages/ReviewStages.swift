package import ActiveLearning
import Datasets
import Primitives

/// What `select-for-review` is told.
package struct SelectForReviewParameters: Hashable, Sendable, Codable {
    package enum Rule: Hashable, Sendable, Codable {
        /// Before there are answers: candidates that resemble class names, each class in turn.
        case coldStart
        /// Before there are answers, where there are dense features: the most typical sample of each of `count` clusters.
        case typical
        case acquisition(Acquisition)
        /// A uniform sample of what nobody has seen, to estimate agreement without gold.
        case audit
    }
    package var rule: Rule
    package var count: Int
    /// So many of `count` are drawn uniformly instead: answers that a policy chose say nothing about the samples it left out, and
    /// aggregation and calibration need to know about those.
    package var uniform: Int
    package var seed: UInt64
    package var round: Int
    /// People need ids and texts; the simulated reviewer does not.
    package var writesQuestions: Bool

    package static let uniformReason = "uniform"

    package init(rule: Rule, count: Int, uniform: Int = 0, seed: UInt64, round: Int, writesQuestions: Bool) {
        precondition(uniform >= 0 && uniform <= count, "\(uniform) of \(count) questions drawn uniformly")
        self.rule = rule
        self.count = count
        self.uniform = uniform
        self.seed = seed
        self.round = round
        self.writesQuestions = writesQuestions
    }
}

/// `select-for-review`: which samples people are asked about next.
///
/// - Inputs: `scores` or `features` (all blocks) where the rule needs them, `masked` (all blocks), `index`, `answers.0…`, and `samples` (all blocks) when
///   questions are written, with `label-scores` where samples have several labels.
/// - Outputs: `selection` (JSON list of `Selection`), `questions` (CSV).
package struct SelectForReviewStage: StageExecutor {
    package static let kind = "select-for-review"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: SelectForReviewParameters.self)
        let index = try task.datasetIndex()
        let asked =
            index.labelSet == nil
            ? try task.inputs.answers().flatMap { $0.answers.map(\.position) + $0.skipped }
            : try task.inputs.labelAnswers().flatMap(\.asked)
        let masked = try task.maskedPositions()
        var scores: [ScoreBlock] = []
        if task.inputs.contains("scores") {
            try task.inputs.forEach("scores") { _, artifact in scores.append(try ScoreBlock(decoding: artifact.bytes)) }
        }
        let pool =
            scores.isEmpty
            ? CandidatePool(positions: 0..<index.samples, classes: index.classNames.count, asked: asked, excluding: masked)
            : try CandidatePool(scores, asked: asked, excluding: masked)
        var selections: [Selection]
        let chosen = parameters.count - parameters.uniform
        switch parameters.rule {
        case .coldStart:
            selections = selectForReview(
                chosen, from: pool, policy: ClassNameColdStart(), seed: parameters.seed, round: parameters.round)
        case .typical:
            selections = try task.typicalSelections(chosen, from: pool, seed: parameters.seed, round: parameters.round)
        case .acquisition(let acquisition):
            selections = selectForReview(
                chosen, from: pool, policy: acquisition.policy, seed: parameters.seed, round: parameters.round)
        case .audit:
            selections = auditSample(parameters.count, from: pool, seed: parameters.seed).map {
                Selection(position: $0, utility: 0, reason: "audit")
            }
        }
        if parameters.uniform > 0 {
            let rest = CandidatePool(
                positions: 0..<index.samples, classes: index.classNames.count, asked: asked + selections.map(\.position), excluding: masked)
            selections += selectForReview(
                parameters.uniform, from: rest, policy: RandomAcquisition(), seed: parameters.seed, round: -1 - parameters.round
            ).map { Selection(position: $0.position, utility: 0, reason: SelectForReviewParameters.uniformReason) }
        }
        var outputs = [StageOutput("selection", Array(CanonicalJSON.encode(selections).utf8))]
        if parameters.writesQuestions {
            outputs.append(StageOutput("questions", try questions(selections, scores: scores, index: index, task)))
        }
        try task.emit(block: 0, outputs, metrics: ["rows": Double(selections.count)])
    }

    /// A CSV that any spreadsheet opens: id, text, what the classifier thinks, why it is asked, and an empty label.
    private func questions(_ selections: [Selection], scores: [ScoreBlock], index: DatasetIndex, _ task: StageTask) throws -> [UInt8] {
        let wanted = Set(selections.map(\.position))
        var samples: [Int: Sample] = [:]
        try task.inputs.forEach("samples") { number, artifact in
            let range = index.plan.range(ofBlock: number)
            guard wanted.contains(where: { range.contains($0) }) else { return }
            let block = try artifact.withBytes { try SampleBlock(decoding: $0) }
            for (position, sample) in zip(block.positions, block.samples) where wanted.contains(position) { samples[position] = sample }
        }
        if index.labelSet != nil {
            let scores = task.inputs.contains("label-scores") ? try task.labelScores("label-scores") : []
            return LabelQuestions.csv(selections, samples: samples, scores: scores, names: index.classNames)
        }
        var lines = ["id,text,suggestion,reason,label"]
        for selection in selections {
            guard let sample = samples[selection.position] else { continue }
            let block = scores.first { $0.positions.contains(selection.position) }
            let score = block.map { $0.scores[selection.position - $0.firstPosition] }
            // A suggestion nobody believes in would only bias the reviewer.
            let suggestion = score.flatMap { $0.topProbability > 0.5 ? index.classNames[Int($0.top)] : nil } ?? ""
            lines.append([sample.id, sample.text, suggestion, selection.reason, ""].map(CSVField.quoted).joined(separator: ","))
        }
        return Array((lines.joined(separator: "\r\n") + "\r\n").utf8)
    }
}

/// `review` by a simulated reviewer: answers from gold labels with a stated error rate. Its numbers are called simulated wherever they appear.
///
/// - Inputs: `selection`, `gold` (all blocks), `index`. Outputs: `answers` (`AnswerBlock`).
package struct SimulatedReviewStage: StageExecutor {
    package static let kind = "review"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let reviewer = try task.parameters(as: SimulatedReviewer.self)
        let gold = try task.gold()
        let classes = try task.datasetIndex().classNames.count
        let selections = try CanonicalJSON.decode([Selection].self, from: try task.inputs.single("selection").bytes, what: "selection")
        var answers: [AnswerBlock.Answer] = []
        var skipped: [Int] = []
        for selection in selections {
            let truth = Int(gold[selection.position])
            guard truth >= 0 else {
                skipped.append(selection.position)
                continue
            }
            let label = reviewer.answer(position: selection.position, gold: truth, classes: classes)
            answers.append(AnswerBlock.Answer(position: selection.position, label: label, seconds: Float(reviewer.secondsPerItem)))
        }
        try task.emit(
            block: 0, [StageOutput("answers", AnswerBlock(answers, skipped: skipped).encode())], metrics: ["rows": Double(answers.count)])
    }
}

extension StageTask {
    /// Positions that no stage may label: broken rows.
    func maskedPositions() throws -> [Int] {
        var masked: [Int] = []
        try inputs.forEach("masked") { _, artifact in
            try artifact.withBytes { bytes in
                var reader = ByteReader(bytes, of: "list of masked samples")
                while reader.remaining > 0 { masked.append(Int(try reader.read(Int64.self))) }
            }
        }
        return masked
    }
}

/// One field of RFC 4180.
package enum CSVField {
    package static func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 34 || $0 == 44 || $0 == 10 || $0 == 13 }) else { return text }
        return "\"" + text.replacing("\"", with: "\"\"") + "\""
    }
}
