import Augmentation
import Datasets
import Kernels
package import Models
package import Primitives

/// Synthetic samples as a classifier learns from them: a row of features and a row of p(class) each. They have no position.
package struct SyntheticExamples: Hashable, Sendable {
    package var classes: Int
    package var columns: Int
    /// (count, classes)
    package var targets: [Float]
    /// (count, columns)
    package var features: [Float]

    package init(classes: Int, columns: Int, targets: [Float], features: [Float]) {
        precondition(
            targets.count.isMultiple(of: classes) && features.count == targets.count / classes * columns,
            "\(targets.count) targets of \(classes) classes, \(features.count) features of \(columns) columns")
        self.classes = classes
        self.columns = columns
        self.targets = targets
        self.features = features
    }

    package var count: Int { targets.count / classes }

    private static let magic: UInt32 = 0x3145_5341  // "ASE1"

    /// Magic, classes, columns, count; targets, features.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 16 + 4 * (targets.count + features.count))
        writer.write(Self.magic)
        for number in [classes, columns, count] { writer.write(UInt32(number)) }
        writer.write(array: targets)
        writer.write(array: features)
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "synthetic examples") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let (classes, columns) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let count = Int(try reader.read(UInt32.self))
            guard magic == Self.magic, classes > 1, columns > 0, reader.remaining == 4 * count * (classes + columns) else {
                throw AMAFError(
                    "artifact.damaged", "These are no synthetic examples", remedy: "The file was written by another version; run again.")
            }
            let targets: [Float] = try reader.readArray(count: count * classes)
            return SyntheticExamples(
                classes: classes, columns: columns, targets: targets, features: try reader.readArray(count: count * columns))
        }
    }
}

/// What `extract-synthetic-features` is told: how the real samples' features were made.
package struct SyntheticFeaturesParameters: Hashable, Sendable, Codable {
    package var side: Int
    package var plain: PlainImageFeatures
    /// In place of `plain`.
    package var network: NetworkFeaturesParameters?

    package init(side: Int, plain: PlainImageFeatures, network: NetworkFeaturesParameters? = nil) {
        self.side = side
        self.plain = plain
        self.network = network
    }
}

/// `extract-synthetic-features`: admitted samples through the same features and the same projection as real ones.
///
/// - Inputs: `admitted`, `projection`, and `model.config` and `model.weights` for a network. Outputs: `synthetic` (`SyntheticExamples`).
package struct ExtractSyntheticFeaturesStage: StageExecutor {
    package static let kind = "extract-synthetic-features"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: SyntheticFeaturesParameters.self)
        let admitted = try SyntheticBlock(decoding: try task.inputs.single("admitted").bytes)
        let projection = try task.projection()
        let side = parameters.side
        let samples = admitted.samples
        var values: [Float] = []
        if let settings = parameters.network, !samples.isEmpty {
            let network = try task.featureNetwork(settings)
            for start in stride(from: 0, to: samples.count, by: settings.batch) {
                try task.checkCancellation()
                let rows = start..<min(samples.count, start + settings.batch)
                var batch = rows.flatMap { row in
                    network.prepare(DecodedImage(width: side, height: side, channels: 1, samples: .bytes(samples[row].image)))
                }
                // Every pass has the same shape, as those of real pictures.
                batch += repeatElement(0, count: settings.batch * network.inputCount - batch.count)
                values += network.features(batch, settings.batch).prefix(rows.count * network.columns)
            }
        } else {
            for sample in samples { values += parameters.plain(GreyImage(width: side, height: side, pixels: sample.image)) }
        }
        let examples = SyntheticExamples(
            classes: admitted.classes, columns: projection.components, targets: samples.flatMap(\.label),
            features: samples.isEmpty ? [] : projection.project(values, on: Self.processor))
        try task.emit(block: 0, [StageOutput("synthetic", examples.encode())], metrics: ["rows": Double(examples.count)])
    }

    private static var processor: CPUDevice { StageTask.processor }
}
