import Datasets
import Foundation
import Kernels
package import Models
import Primitives
import WeakSupervision

/// What `extract-network-features` is told.
package struct NetworkFeaturesParameters: Hashable, Sendable, Codable {
    package enum Network: String, Hashable, Sendable, Codable, CaseIterable {
        /// CLIP's image tower: embeddings of unit length.
        case clip
        /// The pooled activations before ResNet's classifier.
        case resnet
        /// Where a VAE's encoder puts the picture: the mean of q(z | x).
        case vae
    }
    package var network: Network
    /// Images in one pass of the network. Part of the stage's identity, so that a batch is the same wherever it runs.
    package var batch: Int
    /// Of a VAE that the run trains itself: its weights come without a config.json.
    package var vae: VAE.Configuration?

    package init(network: Network, batch: Int = 32, vae: VAE.Configuration? = nil) {
        self.network = network
        self.batch = batch
        self.vae = vae
    }
}

/// `extract-network-features`: pictures at the network's own size to its features.
///
/// It reads the pictures from the data set's source again, because thumbnails are too small for a network and pictures at its size
/// would be the largest artifacts of a run.
/// - Inputs: `samples` (same block), `index`, `source` (by range), `model.config` (unless the parameters say what it is),
///   `model.weights`. Outputs: `features` (`DenseFeatureBlock`).
package struct ExtractNetworkFeaturesStage: StageExecutor {
    package static let kind = "extract-network-features"
    package static let codeVersion = 1
    package static let rangedInputs = ["source"]

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: NetworkFeaturesParameters.self)
        let index = try task.datasetIndex()
        var reader = SourceReader(index, digest: try task.inputs.digests("source")[0], access: task.sources)
        let network = try task.featureNetwork(parameters)
        let decoder = ImageDecoder()
        for block in task.blocks {
            let samples = try task.samples(block)
            let masked = samples.masked(alsoMasked: task.maskedSamples)
            let pictures = try index.readBlock(block, segments: try reader.segments(ofBlock: block)).pictures
            var values: [Float] = []
            values.reserveCapacity(samples.samples.count * network.columns)
            // Fixed batches inside the block; the last is filled up, so that every pass has the same shape.
            for start in stride(from: 0, to: pictures.count, by: parameters.batch) {
                try task.checkCancellation()
                let rows = start..<min(pictures.count, start + parameters.batch)
                var batch: [Float] = []
                batch.reserveCapacity(parameters.batch * network.inputCount)
                for row in rows {
                    if let picture = pictures[row], !masked[row] {
                        batch += try network.prepare(picture, decoder: decoder, place: samples.samples[row].id)
                    } else {
                        batch += repeatElement(0, count: network.inputCount)
                    }
                }
                batch += repeatElement(0, count: parameters.batch * network.inputCount - batch.count)
                let features = network.features(batch, parameters.batch)
                for (i, row) in rows.enumerated() {
                    if pictures[row] != nil, !masked[row] {
                        values += features[i * network.columns..<(i + 1) * network.columns]
                    } else {
                        values += repeatElement(0, count: network.columns)
                    }
                }
            }
            let result = DenseFeatureBlock(firstPosition: samples.firstPosition, columns: network.columns, values: values)
            try task.emit(block: block, [StageOutput("features", result.encode())], metrics: ["rows": Double(result.rows)])
        }
    }
}

/// What `vote-zero-shot` is told.
package struct ZeroShotParameters: Hashable, Sendable, Codable {
    /// Token ids of each class's sentence, in the order of classes.
    package var prompts: [[Int32]]
    /// The best class must lead the second by so much, in cosine.
    package var margin: Float

    package init(prompts: [[Int32]], margin: Float) {
        self.prompts = prompts
        self.margin = margin
    }
}

/// `vote-zero-shot`: CLIP as a labeling function. Votes for the class whose sentence is nearest to the picture, where its lead is large enough.
///
/// - Inputs: `features` (same block, CLIP's), `samples` (same block), `index`, `model.config`, `model.weights`. Outputs: `votes` (`VoteBlock`
///   of one column).
package struct VoteZeroShotStage: StageExecutor {
    package static let kind = "vote-zero-shot"
    package static let codeVersion = 1
    package static let functionName = "clip-zero-shot"

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: ZeroShotParameters.self)
        let weights = try task.inputs.single("model.weights")
        let device = StageTask.processor
        let texts: [Float] = try task.cache.object("zero-shot-texts", weights.digest, cost: { $0.count * 4 }) {
            try task.modelFolder { folder in try CLIPTextEncoder.load(folder, on: device).embed(parameters.prompts) }
        }
        let classes = parameters.prompts.count
        var hasher = DigestHasher()
        hasher.update(digest: weights.digest)
        hasher.update(field: CanonicalJSON.encode(parameters))
        let function = FunctionID(name: Self.functionName, digest: hasher.finish())
        for block in task.blocks {
            let samples = try task.samples(block)
            let masked = samples.masked(alsoMasked: task.maskedSamples)
            let features = try task.denseBlock(try task.inputs.sameBlock("features", block))
            let cosines = DenseProducts(on: device).rowsByRows(features.values, texts, inner: features.columns)
            let cells = (0..<features.rows).map { row -> Int16 in
                guard !masked[row] else { return VoteCode.abstain }
                let scores = Array(cosines[row * classes..<(row + 1) * classes])
                let best = scores.indices.reduce(0) { scores[$1] > scores[$0] ? $1 : $0 }
                let second = scores.indices.filter { $0 != best }.map { scores[$0] }.max() ?? -1
                return scores[best] - second >= parameters.margin ? Int16(best) : VoteCode.abstain
            }
            let votes = VoteBlock(
                firstSample: features.firstPosition, rowCount: features.rows, classCount: classes,
                columns: [VoteColumn(function: function, votes: PackedVotes(cells: cells))])
            try task.emit(
                block: block, [StageOutput("votes", votes.encoded())],
                metrics: ["rows": Double(features.rows), "voted": Double(cells.count { $0 >= 0 })])
        }
    }
}
