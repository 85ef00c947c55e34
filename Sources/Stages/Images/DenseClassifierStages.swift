import ActiveLearning
import Datasets
import Kernels
package import Models
import Primitives
import WeakSupervision

/// What `train-dense-classifier` is told.
package struct TrainDenseClassifierParameters: Hashable, Sendable, Codable {
    package var kernel: KernelClassifier.Configuration
    /// What a synthetic sample counts beside an answered one; nil where there are none.
    package var syntheticWeight: Float?

    package init(kernel: KernelClassifier.Configuration, syntheticWeight: Float? = nil) {
        self.kernel = kernel
        self.syntheticWeight = syntheticWeight
    }
}

/// `train-dense-classifier`: a kernel classifier on all answers so far, on the label model's posteriors where nobody is asked, or on all
/// gold as the supervised reference.
///
/// Synthetic samples come after the real ones, with their inherited soft labels and a weight of their own.
/// - Inputs: `features` (all blocks, projected), `projection`, `index`, and `answers.0…`, `posterior` or `gold` (all blocks); `synthetic`.
/// - Outputs: `weights` (`KernelClassifier`).
package struct TrainDenseClassifierStage: StageExecutor {
    package static let kind = "train-dense-classifier"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: TrainDenseClassifierParameters.self)
        let classes = try task.datasetIndex().classNames.count
        let examples = try Self.examples(task, classes: classes)
        guard !examples.positions.isEmpty else {
            throw AMAFError(
                "classifier.nothing-to-learn", "No labeling function voted on any sample and nobody is asked",
                remedy: "Add labeling functions that fire, or set review in the pipeline.")
        }
        try task.checkCancellation()
        let real = examples.positions.count
        var rows = try task.denseRows(of: examples.positions)
        var targets = examples.targets
        var weights: [Float]?
        if task.inputs.contains("synthetic") {
            let synthetic = try SyntheticExamples(decoding: try task.inputs.single("synthetic").bytes)
            rows += synthetic.features
            targets += synthetic.targets
            weights =
                [Float](repeating: 1, count: real) + [Float](repeating: parameters.syntheticWeight ?? 1, count: synthetic.count)
        }
        let model = try KernelClassifier.fit(
            rows, targets: targets, weights: weights, judged: real, classes: classes, unit: try task.projection().medianSquaredDistance,
            parameters.kernel, on: StageTask.processor)
        try task.emit(block: 0, [StageOutput("weights", model.encode())], metrics: ["rows": Double(targets.count / classes)])
    }

    /// Positions ascending, and a row of class probabilities for each.
    private static func examples(_ task: StageTask, classes: Int) throws -> (positions: [Int], targets: [Float]) {
        var labels: [(position: Int, label: Int)]
        if task.inputs.contains("gold") {
            labels = try task.gold().enumerated().filter { $0.element >= 0 }.map { ($0.offset, Int($0.element)) }
        } else {
            labels = try task.inputs.answers().flatMap(\.answers).map { ($0.position, $0.label) }.sorted { $0.position < $1.position }
        }
        var (positions, targets): ([Int], [Float]) = ([], [])
        if labels.isEmpty && task.inputs.contains("posterior") {
            for block in try task.posteriorBlocks() {
                for (row, position) in block.samples.enumerated() where block.isCovered(row: row) {
                    positions.append(position)
                    targets += block[row].dense
                }
            }
            return (positions, targets)
        }
        for (position, label) in labels {
            positions.append(position)
            targets += (0..<classes).map { $0 == label ? 1 : 0 }
        }
        return (positions, targets)
    }
}

/// `score-dense-uncertainty`: the two likeliest classes and the entropy of each sample.
///
/// - Inputs: `features` (same block, projected), `weights`. Outputs: `scores` (`ScoreBlock`).
package struct ScoreDenseUncertaintyStage: StageExecutor {
    package static let kind = "score-dense-uncertainty"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let weights = try task.inputs.single("weights")
        let model = try task.cache.object("kernel-classifier", weights.digest, cost: { _ in weights.byteCount }) {
            try KernelClassifier(decoding: weights.bytes)
        }
        let device = StageTask.processor
        for block in task.blocks {
            let features = try task.denseBlock(try task.inputs.sameBlock("features", block))
            let probabilities = model.probabilities(features.values, on: device)
            let scores = (0..<features.rows).map { Self.summary(probabilities[$0 * model.classes..<($0 + 1) * model.classes]) }
            let result = ScoreBlock(firstPosition: features.firstPosition, classes: model.classes, scores: scores)
            try task.emit(block: block, [StageOutput("scores", result.encode())], metrics: ["rows": Double(scores.count)])
        }
    }

    /// Equal probabilities: the lower class first.
    static func summary(_ p: ArraySlice<Float>) -> SampleScore {
        let values = Array(p)
        var (top, second) = (0, 1)
        if values[1] > values[0] { (top, second) = (1, 0) }
        for c in 2..<max(values.count, 2) {
            if values[c] > values[top] {
                (top, second) = (c, top)
            } else if values[c] > values[second] {
                second = c
            }
        }
        let entropy = values.reduce(Float(0)) { $1 > 0 ? $0 - $1 * naturalLogarithm($1) : $0 }
        return SampleScore(
            top: top, second: second, topProbability: values[top], secondProbability: values[second], entropy: max(0, entropy))
    }
}

extension StageTask {
    /// The first questions where there is no classifier: the most typical sample of each of `count` clusters (Hacohen, Dekel and Weinshall
    /// 2022, arXiv 2202.02794). Where clusters run out, the rest is drawn uniformly.
    func typicalSelections(_ count: Int, from pool: CandidatePool, seed: UInt64, round: Int) throws -> [Selection] {
        let positions = pool.candidates.map(\.position)
        guard !positions.isEmpty else { return [] }
        let rows = try denseRows(of: positions)
        let typical = KMeans.typicalRows(
            rows, columns: rows.count / positions.count, k: min(count, positions.count), seed: seed, on: Self.processor)
        var selections = typical.prefix(count).map { Selection(position: positions[$0], utility: 0, reason: "typical") }
        let missing = min(count, positions.count) - selections.count
        if missing > 0 {
            let chosen = Set(selections.map(\.position))
            let rest = CandidatePool(
                positions: 0..<(positions.last ?? 0) + 1, classes: pool.classes, asked: chosen,
                excluding: Set(0...(positions.last ?? 0)).subtracting(positions))
            selections += selectForReview(missing, from: rest, policy: RandomAcquisition(), seed: seed, round: round)
        }
        return selections
    }
}
