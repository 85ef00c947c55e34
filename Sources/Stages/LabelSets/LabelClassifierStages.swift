import ActiveLearning
import Datasets
import Models
import Primitives

/// `train-label-classifiers`: a block for each label, a classifier of two classes on the answers that speak of it, or on all known labels
/// as the supervised reference. Features are the run's; no label waits for another.
///
/// - Inputs: `features` (all blocks, projected), `projection`, `index`, and `answers.0…` or `label-sets` (all blocks).
/// - Outputs: `weights` (`LabelClassifier`).
package struct TrainLabelClassifiersStage: StageExecutor {
    package static let kind = "train-label-classifiers"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: TrainDenseClassifierParameters.self)
        for label in task.blocks {
            let examples = try Self.examples(task, label: label)
            try task.checkCancellation()
            let present = examples.count { $0.isPresent }
            let classifier: LabelClassifier
            if examples.isEmpty {
                classifier = .silent
            } else if present == 0 || present == examples.count {
                classifier = .constant(Float(present + 1) / Float(examples.count + 2))
            } else {
                classifier = .kernel(
                    try KernelClassifier.fit(
                        try task.denseRows(of: examples.map(\.position)),
                        targets: examples.flatMap { $0.isPresent ? [0, 1] : [1, 0] as [Float] }, classes: 2,
                        unit: try task.projection().medianSquaredDistance, parameters.kernel, on: StageTask.processor))
            }
            try task.emit(
                block: label, [StageOutput("weights", classifier.encode())],
                metrics: ["rows": Double(examples.count), "present": Double(present)])
        }
    }

    /// Positions ascending.
    private static func examples(_ task: StageTask, label: Int) throws -> [(position: Int, isPresent: Bool)] {
        if task.inputs.contains("label-sets") {
            return try task.labelCells().enumerated().compactMap { position, cells in cells[label].taught.map { (position, $0) } }
        }
        return try task.inputs.labelAnswers().flatMap(\.answers).compactMap { answer in answer.values[label].map { (answer.position, $0) } }
            .sorted { $0.0 < $1.0 }
    }
}

/// `score-labels`: P(present) of every label of each sample, and one score a sample for the choice of questions.
///
/// - Inputs: `features` (same block, projected), `weights` (all blocks: one a label).
/// - Outputs: `label-scores` (`LabelScoreBlock`), `scores` (`ScoreBlock`, see `LabelScoreBlock.combined`).
package struct ScoreLabelsStage: StageExecutor {
    package static let kind = "score-labels"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let classifiers = try task.cache.object(
            "label-classifiers", try task.inputs.combinedDigest("weights"), cost: { $0.count << 16 }
        ) {
            var list: [LabelClassifier] = []
            try task.inputs.forEach("weights") { _, artifact in list.append(try LabelClassifier(decoding: artifact.bytes)) }
            return list
        }
        let device = StageTask.processor
        for block in task.blocks {
            let features = try task.denseBlock(try task.inputs.sameBlock("features", block))
            var probabilities = [Float?](repeating: nil, count: features.rows * classifiers.count)
            for (label, classifier) in classifiers.enumerated() {
                try task.checkCancellation()
                switch classifier {
                case .silent: continue
                case .constant(let p):
                    for row in 0..<features.rows { probabilities[row * classifiers.count + label] = p }
                case .kernel(let model):
                    let both = model.probabilities(features.values, on: device)
                    for row in 0..<features.rows { probabilities[row * classifiers.count + label] = both[2 * row + 1] }
                }
            }
            let scores = LabelScoreBlock(
                firstPosition: features.firstPosition, labels: classifiers.count, probabilities: probabilities)
            try task.emit(
                block: block,
                [StageOutput("label-scores", scores.encode()), StageOutput("scores", scores.combined(entropy: Self.entropy).encode())],
                metrics: ["rows": Double(features.rows)])
        }
    }

    private static func entropy(_ p: Float) -> Float {
        [p, 1 - p].reduce(0) { $1 > 0 ? $0 - $1 * naturalLogarithm($1) : $0 }
    }
}

extension StageTask {
    /// The known labels of every sample, in the order of positions. Only evaluation, the simulated reviewer and the supervised reference
    /// ask for them.
    func labelCells(_ name: String = "label-sets") throws -> [[LabelCell]] {
        try cache.object("label-cells", try inputs.combinedDigest(name), cost: { $0.reduce(0) { $0 + $1.count + 32 } }) {
            var rows: [[LabelCell]] = []
            try inputs.forEach(name) { _, artifact in
                let block = try LabelSetBlock(decoding: artifact.bytes)
                for row in 0..<block.rows { rows.append(Array(block[row: row])) }
            }
            return rows
        }
    }

    func labelScores(_ name: String) throws -> [LabelScoreBlock] {
        var blocks: [LabelScoreBlock] = []
        try inputs.forEach(name) { _, artifact in blocks.append(try LabelScoreBlock(decoding: artifact.bytes)) }
        return blocks
    }
}
