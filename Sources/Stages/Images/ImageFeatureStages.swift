import Datasets
import Kernels
import Models
import Primitives

extension StageTask {
    /// One lane: a worker has a slot for each core, and each slot is a process of its own.
    static var processor: CPUDevice { CPUDevice(lanes: 1) }

    func denseBlock(_ artifact: Artifact) throws -> DenseFeatureBlock {
        try cache.object("dense-features", artifact.digest, cost: { $0.values.count * 4 + 64 }) {
            try DenseFeatureBlock(decoding: artifact.bytes)
        }
    }

    /// The rows of these positions (ascending) out of all blocks of `features`.
    func denseRows(of positions: [Int]) throws -> [Float] {
        var rows: [Float] = []
        var next = 0
        try inputs.forEach("features") { _, artifact in
            guard next < positions.count else { return }
            let block = try denseBlock(artifact)
            while next < positions.count, block.positions.contains(positions[next]) {
                rows += block[row: positions[next] - block.firstPosition]
                next += 1
            }
        }
        precondition(next == positions.count, "sample \(positions[min(next, positions.count - 1)]) lies in no feature block")
        return rows
    }

    func projection() throws -> PrincipalComponents {
        let artifact = try inputs.single("projection")
        return try cache.object("projection", artifact.digest, cost: { _ in artifact.byteCount }) {
            try PrincipalComponents(decoding: artifact.bytes)
        }
    }
}

/// `extract-image-features`: thumbnails to gradients and pixels, block by block.
///
/// - Inputs: `samples` (same block). Outputs: `features` (`DenseFeatureBlock`).
package struct ExtractImageFeaturesStage: StageExecutor {
    package static let kind = "extract-image-features"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let features = try task.parameters(as: PlainImageFeatures.self)
        for block in task.blocks {
            try task.checkCancellation()
            let samples = try task.samples(block)
            let masked = samples.masked(alsoMasked: task.maskedSamples)
            var values: [Float] = []
            values.reserveCapacity(samples.samples.count * features.columns)
            for (sample, isMasked) in zip(samples.samples, masked) {
                if let thumbnail = sample.image?.thumbnail, !isMasked {
                    values += features(thumbnail)
                } else {
                    values += repeatElement(0, count: features.columns)
                }
            }
            let result = DenseFeatureBlock(firstPosition: samples.firstPosition, columns: features.columns, values: values)
            try task.emit(block: block, [StageOutput("features", result.encode())], metrics: ["rows": Double(result.rows)])
        }
    }
}

/// What `fit-projection` is told.
package struct FitProjectionParameters: Hashable, Sendable, Codable {
    package var components: Int
    /// Blocks are passed over evenly so that about so many samples are looked at: a covariance needs no more.
    package var sampleLimit: Int

    package init(components: Int, sampleLimit: Int = 16_384) {
        self.components = components
        self.sampleLimit = sampleLimit
    }
}

/// `fit-projection`: the principal components of all samples, summed in block order.
///
/// - Inputs: `features`, `masked` (all blocks). Outputs: `projection` (`PrincipalComponents`).
package struct FitProjectionStage: StageExecutor {
    package static let kind = "fit-projection"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: FitProjectionParameters.self)
        let masked = Set(try task.maskedPositions())
        let digests = try task.inputs.digests("features")
        let blockSize = max(1, try DenseFeatureBlock(decoding: try task.inputs.artifact(digests[0]).bytes).rows)
        let wanted = max(1, min(digests.count, (parameters.sampleLimit + blockSize - 1) / blockSize))
        var fitter: PrincipalComponents.Fitter?
        for i in 0..<wanted {
            try task.checkCancellation()
            let block = try DenseFeatureBlock(decoding: try task.inputs.artifact(digests[i * digests.count / wanted]).bytes)
            if fitter == nil { fitter = PrincipalComponents.Fitter(columns: block.columns, on: StageTask.processor) }
            var rows: [Float] = []
            rows.reserveCapacity(block.values.count)
            for (row, position) in block.positions.enumerated() where !masked.contains(position) { rows += block[row: row] }
            fitter?.add(rows)
        }
        guard let projection = try fitter?.fit(components: parameters.components) else { preconditionFailure("a data set of no blocks") }
        try task.emit(block: 0, [StageOutput("projection", projection.encode())], metrics: ["rows": Double(wanted * blockSize)])
    }
}

/// `project-features`: features along the principal components.
///
/// - Inputs: `features` (same block), `projection`. Outputs: `features` (`DenseFeatureBlock`).
package struct ProjectFeaturesStage: StageExecutor {
    package static let kind = "project-features"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let projection = try task.projection()
        let device = StageTask.processor
        for block in task.blocks {
            let features = try DenseFeatureBlock(decoding: try task.inputs.sameBlock("features", block).bytes)
            let result = DenseFeatureBlock(
                firstPosition: features.firstPosition, columns: projection.components,
                values: projection.project(features.values, on: device))
            try task.emit(block: block, [StageOutput("features", result.encode())], metrics: ["rows": Double(result.rows)])
        }
    }
}
