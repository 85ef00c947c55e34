import ActiveLearning
import Datasets
import Kernels
package import Models
import Primitives
import WeakSupervision

/// `extract-features`: texts to hashed n-gram counts, block by block.
///
/// - Inputs: `samples`. Outputs: `features` (`SparseFeatureBlock`).
package struct ExtractFeaturesStage: StageExecutor {
    package static let kind = "extract-features"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        var featurizer = try TextFeaturizer(try task.parameters(as: TextFeaturesConfiguration.self))
        for block in task.blocks {
            let samples = try task.samples(block)
            let texts = try task.texts(block).map { $0 ?? "" }
            let features = featurizer.block(texts, firstPosition: samples.firstPosition)
            try task.emit(block: block, [StageOutput("features", features.encode())], metrics: ["rows": Double(texts.count)])
        }
    }
}

/// `document-frequency`: in how many samples each bucket occurs, as the weights of inverse document frequency.
///
/// - Inputs: `features` (all blocks). Outputs: `idf` (`InverseDocumentFrequency`).
package struct DocumentFrequencyStage: StageExecutor {
    package static let kind = "document-frequency"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let configuration = try task.parameters(as: TextFeaturesConfiguration.self)
        var frequency = DocumentFrequency(bucketBits: configuration.bucketBits)
        try task.inputs.forEach("features") { _, artifact in frequency.add(try SparseFeatureBlock(decoding: artifact.bytes)) }
        try task.emit(
            block: 0, [StageOutput("idf", InverseDocumentFrequency(frequency).encode())], metrics: ["rows": Double(frequency.samples)])
    }
}

extension StageTask {
    func idf() throws -> InverseDocumentFrequency {
        let artifact = try inputs.single("idf")
        return try cache.object("idf", artifact.digest, cost: { $0.weights.count * 4 }) {
            try InverseDocumentFrequency(decoding: artifact.bytes)
        }
    }

    /// One block's features, scaled; kept between leases, because every round reads them again.
    func scaledFeatures(_ artifact: Artifact, idf: InverseDocumentFrequency) throws -> (firstPosition: Int, matrix: SparseMatrix) {
        // The scaled form hangs on both artifacts.
        var key = DigestHasher()
        key.update(digest: artifact.digest)
        key.update(digest: try inputs.single("idf").digest)
        let scaled = try cache.object(
            "scaled-features", key.finish(), cost: { (block: (Int, SparseMatrix)) in block.1.values.count * 8 + block.1.rows * 4 + 64 }
        ) {
            let block = try SparseFeatureBlock(decoding: artifact.bytes)
            return (block.firstPosition, block.scaled(by: idf))
        }
        return (scaled.0, scaled.1)
    }

    /// The rows of these positions (ascending) out of all blocks.
    func features(of positions: [Int], idf: InverseDocumentFrequency) throws -> SparseMatrix {
        var matrix = SparseMatrix(columns: idf.weights.count)
        var next = 0
        try inputs.forEach("features") { _, artifact in
            guard next < positions.count else { return }
            let (first, block) = try scaledFeatures(artifact, idf: idf)
            while next < positions.count, positions[next] < first + block.rows {
                let entries = block.entries(ofRow: positions[next] - first)
                matrix.appendRow(columns: block.columnIndices[entries], values: block.values[entries])
                next += 1
            }
        }
        precondition(next == positions.count, "sample \(positions[min(next, positions.count - 1)]) lies in no feature block")
        return matrix
    }

    func datasetIndex(_ name: String = "index") throws -> DatasetIndex {
        let artifact = try inputs.single(name)
        return try cache.object("dataset-index", artifact.digest, cost: { _ in artifact.byteCount * 2 }) {
            try DatasetIndex(decoding: artifact.bytes)
        }
    }
}

/// What `train-classifier` is told.
package struct TrainClassifierParameters: Hashable, Sendable, Codable {
    package var features: TextFeaturesConfiguration
    package var training: SoftmaxRegression.TrainingConfiguration
    package var seed: UInt64

    package init(features: TextFeaturesConfiguration, training: SoftmaxRegression.TrainingConfiguration, seed: UInt64) {
        self.features = features
        self.training = training
        self.seed = seed
    }
}

/// `train-classifier`: multinomial logistic regression on all answers so far; without any, a classifier made of the class names.
///
/// - Inputs: `features` (all blocks), `idf`, `index`, `answers.0…`, and `state` of the round before where there is one.
/// - Outputs: `weights` (`SoftmaxRegression`), `state` (`SoftmaxRegressionState`).
package struct TrainClassifierStage: StageExecutor {
    package static let kind = "train-classifier"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: TrainClassifierParameters.self)
        let idf = try task.idf()
        let labels = try answeredLabels(task)
        if labels.isEmpty && task.inputs.contains("posterior") { return try trainOnVotes(task, parameters, idf: idf) }
        guard !labels.isEmpty else {
            var featurizer = try TextFeaturizer(parameters.features)
            let names = try task.datasetIndex().classNames.map { $0.replacing("_", with: " ") }
            let model = SoftmaxRegression(classNames: featurizer.matrix(names, idf: idf))
            return try task.emit(block: 0, [StageOutput("weights", model.encode())])
        }
        let positions = labels.map(\.position)
        let examples = SoftmaxRegression.Examples(
            features: try task.features(of: positions, idf: idf), positions: positions, targets: .classes(labels.map(\.label)))
        let warmStart =
            task.inputs.contains("state") ? try SoftmaxRegressionState(decoding: try task.inputs.single("state").bytes) : nil
        try task.checkCancellation()
        let training = SoftmaxRegression.train(examples, warmStart: warmStart, configuration: parameters.training, seed: parameters.seed)
        try task.emit(
            block: 0, [StageOutput("weights", training.model.encode()), StageOutput("state", training.state.encode())],
            metrics: ["rows": Double(positions.count * parameters.training.epochs)])
    }

    /// Where nobody is asked, the label model's posteriors are the soft targets of all covered samples.
    private func trainOnVotes(_ task: StageTask, _ parameters: TrainClassifierParameters, idf: InverseDocumentFrequency) throws {
        var positions: [Int] = []
        var targets: [Float] = []
        try task.inputs.forEach("posterior") { _, artifact in
            let block = try artifact.withBytes { try PosteriorBlock(decoding: $0) }
            for (row, position) in block.samples.enumerated() where block.isCovered(row: row) {
                positions.append(position)
                targets += block[row].dense
            }
        }
        guard !positions.isEmpty else {
            throw AMAFError(
                "classifier.nothing-to-learn", "No labeling function voted on any sample and nobody is asked",
                remedy: "Add labeling functions that fire, or set review in the pipeline.")
        }
        let examples = SoftmaxRegression.Examples(
            features: try task.features(of: positions, idf: idf), positions: positions, targets: .distributions(targets))
        let training = SoftmaxRegression.train(examples, configuration: parameters.training, seed: parameters.seed)
        try task.emit(
            block: 0, [StageOutput("weights", training.model.encode()), StageOutput("state", training.state.encode())],
            metrics: ["rows": Double(positions.count * parameters.training.epochs)])
    }

    /// Ascending by position. `gold` instead of answers is the supervised reference: all gold of the pool.
    private func answeredLabels(_ task: StageTask) throws -> [(position: Int, label: Int)] {
        if task.inputs.contains("gold") {
            return try task.gold().enumerated().filter { $0.element >= 0 }.map { ($0.offset, Int($0.element)) }
        }
        return try task.inputs.answers().flatMap(\.answers).map { ($0.position, $0.label) }.sorted { $0.position < $1.position }
    }
}

/// `score-uncertainty`: the two likeliest classes and the entropy of each sample.
///
/// - Inputs: `features` (same block), `idf`, `weights`. Outputs: `scores` (`ScoreBlock`).
package struct ScoreUncertaintyStage: StageExecutor {
    package static let kind = "score-uncertainty"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let idf = try task.idf()
        let weights = try task.inputs.single("weights")
        let model = try task.cache.object("classifier", weights.digest, cost: { _ in weights.byteCount }) {
            try SoftmaxRegression(decoding: weights.bytes)
        }
        for block in task.blocks {
            let (first, matrix) = try task.scaledFeatures(try task.inputs.sameBlock("features", block), idf: idf)
            let scores = ScoreBlock(
                firstPosition: first, classes: model.classes,
                scores: model.summaries(matrix).map {
                    SampleScore(
                        top: $0.top, second: $0.second, topProbability: $0.topProbability, secondProbability: $0.secondProbability,
                        entropy: $0.entropy)
                })
            try task.emit(block: block, [StageOutput("scores", scores.encode())], metrics: ["rows": Double(scores.scores.count)])
        }
    }
}
