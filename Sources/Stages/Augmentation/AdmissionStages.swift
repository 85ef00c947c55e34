package import Augmentation
import Datasets
import Kernels
package import Models
import NeuralNetworks
import Primitives

package struct JudgeParameters: Codable, Hashable, Sendable {
    package var network: Perceptron.Configuration
    package var training: Perceptron.Training

    package init(network: Perceptron.Configuration, training: Perceptron.Training) {
        self.network = network
        self.training = training
    }

    /// The judge of this repository: its last hidden layer's 64 values are the features that samples are compared by.
    package static func standard(pixels: Int, classes: Int, seed: UInt64) -> JudgeParameters {
        JudgeParameters(
            network: .init(inputs: pixels, hidden: [256, 64], classes: classes), training: .init(steps: 2000, batch: 64, seed: seed))
    }
}

/// `train-judge`: a classifier of real images only, to judge synthetic ones by.
///
/// - Inputs: `images`, `labels`, `positions`. Outputs: `judge` (safetensors).
package struct TrainJudgeStage: StageExecutor {
    package static let kind = "train-judge"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: JudgeParameters.self)
        let images = try task.storedImages("images")
        let rows = try task.positions("positions", of: images.count)
        guard !rows.isEmpty else {
            throw AMAFError(
                "augmentation.too-few", "There is no labelled image to judge synthetic ones by",
                remedy: "Ask for more answers, or leave 'augmentation' out.")
        }
        let set = try task.imageSet(rows, images: images, labels: try task.storedImages("labels"))
        let judge = try Perceptron.trained(
            parameters.network, on: set, targets: VAETrainer.oneHot(set.labels ?? [], classes: parameters.network.classes),
            parameters.training, device: SlotDevice.shared)
        try task.emit(
            block: 0, [StageOutput("judge", [UInt8](Safetensors.encode(judge.parameters.namedTensors())))],
            metrics: ["rows": Double(set.count)])
    }
}

package struct AdmitParameters: Codable, Hashable, Sendable {
    package var judge: Perceptron.Configuration
    package var policy: AdmissionPolicy
    package var height: Int
    package var width: Int
    /// Real samples that distances are taken to, at most.
    package var realLimit: Int
    package var seed: UInt64

    package init(judge: Perceptron.Configuration, policy: AdmissionPolicy, height: Int, width: Int, realLimit: Int = 5000, seed: UInt64) {
        self.judge = judge
        self.policy = policy
        self.height = height
        self.width = width
        self.realLimit = realLimit
        self.seed = seed
    }
}

/// `admit-synthetic`: each method's samples judged as a batch and one by one, and those that may be learned from.
///
/// - Inputs: `images`, `labels`, `positions`, `held-out` (rows that nothing was trained on), `judge`, `synthetic` (all blocks), `identities`.
/// - Outputs: `admission` (JSON, a report for each method), `unjudged` (JSON, methods with too few samples for any statement: refused),
///   `admitted` (`SyntheticBlock`, parents as rows of the training set), `images` and `labels` (IDX), `origins.csv` (method and parents by
///   their identities), `sheet.png` (a row of real images, then rows of each method).
package struct AdmitSyntheticStage: StageExecutor {
    package static let kind = "admit-synthetic"
    package static let codeVersion = 2
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: AdmitParameters.self)
        let (images, labels) = (try task.storedImages("images"), try task.storedImages("labels"))
        let rows = try task.positions("positions", of: images.count)
        let all = try labels.bytes(rows).map(Int.init)
        let judge = try Perceptron(
            parameters.judge, ParameterStore(.checkpoint(try task.inputs.single("judge").safetensors(), prefix: ""), on: SlotDevice.shared))
        var order = Array(rows.indices)
        var generator = SeededGenerator(seed: parameters.seed, stream: "admission", "real")
        generator.shuffle(&order)
        let chosen = order.prefix(parameters.realLimit).sorted().map { rows[$0] }
        let real = try task.imageSet(chosen, images: images, labels: labels)
        let heldOut = try task.imageSet(try task.positions("held-out", of: images.count), images: images, labels: labels)
        let names = try task.positions("identities", of: images.count)

        var samples: [SyntheticSample] = []
        try task.inputs.forEach("synthetic") { _, artifact in
            samples += try SyntheticBlock(decoding: artifact.bytes).samples
        }
        // Parents are places in the training set; anything else would have crossed its border.
        if let stray = samples.flatMap(\.parents).first(where: { !rows.indices.contains($0) }) {
            throw AMAFError(
                "augmentation.crosses-border", "A synthetic sample descends from \(stray), outside the training set of \(rows.count)",
                remedy: "Nothing was admitted. Synthesize from the training rows only.")
        }
        let counts = (0..<parameters.judge.classes).map { label in all.count { $0 == label } }
        let judged = try SyntheticJudge(judge: judge, real: real, heldOut: heldOut, counts: counts, policy: parameters.policy)
            .judge(samples, seed: parameters.seed)
        let kept = judged.kept.map { samples[$0] }
        var origins = "image,label,method,parents\r\n"
        for (i, sample) in kept.enumerated() {
            origins +=
                "\(i),\(sample.top),\(sample.method.rawValue),\(sample.parents.map { String(names[rows[$0]]) }.joined(separator: "+"))\r\n"
        }
        let sheet = Self.sheet(samples, real: real, parameters)
        try task.emit(
            block: 0,
            [
                StageOutput("admission", Array(CanonicalJSON.encode(judged.reports).utf8)),
                StageOutput("unjudged", Array(CanonicalJSON.encode(judged.unjudged).utf8)),
                StageOutput(
                    "admitted",
                    SyntheticBlock(classes: parameters.judge.classes, pixels: parameters.height * parameters.width, samples: kept).encode()),
                StageOutput(
                    "images", IDXFile(shape: [kept.count, parameters.height, parameters.width], values: kept.flatMap(\.image)).encode()),
                StageOutput("labels", IDXFile(shape: [kept.count], values: kept.map { UInt8($0.top) }).encode()),
                StageOutput("origins.csv", Array(origins.utf8)),
                StageOutput("sheet.png", ImageWriter.encode(sheet.pixels, width: sheet.width, height: sheet.height, channels: 1)),
            ], metrics: ["rows": Double(samples.count), "admitted": Double(kept.count)])
    }

    /// A column for each class and three of each: real ones on top, then each method's.
    static func sheet(_ samples: [SyntheticSample], real: ImageSet, _ parameters: AdmitParameters) -> PictureSheet {
        let classes = parameters.judge.classes
        let blank = [UInt8](repeating: 96, count: parameters.height * parameters.width)
        func rows(_ picture: (_ label: Int) -> [[UInt8]]) -> [[[UInt8]]] {
            let columns = (0..<classes).map { picture($0) }
            return (0..<3).map { row in columns.map { row < $0.count ? $0[row] : blank } }
        }
        let labels = real.labels ?? []
        var all = rows { label in
            labels.indices.filter { labels[$0] == label }.prefix(3).map { Array(real.bytes[$0 * real.pixels..<($0 + 1) * real.pixels]) }
        }
        for method in SynthesisMethod.allCases {
            let mine = samples.filter { $0.method == method }
            if mine.isEmpty { continue }
            all += rows { label in mine.filter { $0.top == label }.prefix(3).map(\.image) }
        }
        return PictureSheet(rows: all, tile: (parameters.width, parameters.height))
    }
}

/// Judges samples by a classifier's features, method by method.
struct SyntheticJudge {
    let judge: Perceptron
    let counts: [Int]
    let policy: AdmissionPolicy
    private let real: FeatureRows
    private let realLabels: [Int]
    private let heldOut: FeatureRows
    private let heldOutLabels: [Int]
    /// Of a feature row.
    private let width: Int

    init(judge: Perceptron, real: ImageSet, heldOut: ImageSet, counts: [Int], policy: AdmissionPolicy) throws {
        self.judge = judge
        self.counts = counts
        self.policy = policy
        width = judge.configuration.hidden.last ?? 1
        self.real = FeatureRows(width: width, values: judge.read(real).features)
        self.heldOut = FeatureRows(width: width, values: judge.read(heldOut).features)
        realLabels = real.labels ?? []
        heldOutLabels = heldOut.labels ?? []
    }

    /// Reports by method, methods that nothing could be said of with the reason, and the samples that may be learned from, ascending.
    struct Verdicts {
        var reports: [AdmissionReport] = []
        var unjudged: [String: String] = [:]
        var kept: [Int] = []
    }

    func judge(_ samples: [SyntheticSample], seed: UInt64) throws(AMAFError) -> Verdicts {
        var verdicts = Verdicts()
        for method in SynthesisMethod.allCases {
            let places = samples.indices.filter { samples[$0].method == method }
            if places.isEmpty { continue }
            let mine = places.map { samples[$0] }
            let seen = judge.read(ImageSet(bytes: mine.flatMap(\.image), pixels: judge.configuration.inputs))
            let evidence = AdmissionEvidence(
                real: real, realLabels: realLabels, heldOut: heldOut, heldOutLabels: heldOutLabels,
                synthetic: FeatureRows(width: width, values: seen.features),
                probabilities: seen.probabilities, samples: mine, realCounts: counts)
            do throws(AMAFError) {
                let (report, chosen) = try Admission.judge(
                    evidence, method: method.rawValue, policy: policy, seed: seed, on: SlotDevice.shared)
                verdicts.reports.append(report)
                verdicts.kept += chosen.map { places[$0] }
            } catch {
                // What cannot be judged is not learned from, and stops nothing else.
                guard error.code == "augmentation.too-few" else { throw error }
                verdicts.unjudged[method.rawValue] = error.message
            }
        }
        verdicts.kept.sort()
        return verdicts
    }
}
