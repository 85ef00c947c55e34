package import Augmentation
import Datasets
import Kernels
package import Models
import NeuralNetworks
package import Primitives

package struct EncodeLatentsParameters: Codable, Hashable, Sendable {
    package var network: VAE.Configuration
    package var images: Int
    package var blockSize: Int

    package init(network: VAE.Configuration, images: Int, blockSize: Int = 512) {
        self.network = network
        self.images = images
        self.blockSize = blockSize
    }
    package var plan: BlockPlan { BlockPlan(samples: images, blockSize: blockSize) }
}

/// `encode-latents`: where each training image lies in the latent space. Blocks beyond the last image are empty: a run does not know
/// beforehand how many samples people will have answered.
///
/// - Inputs: `images`, `labels`, `positions`, `checkpoint`. Outputs: `latents` (`LatentRows`).
package struct EncodeLatentsStage: StageExecutor {
    package static let kind = "encode-latents"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: EncodeLatentsParameters.self)
        let network = try task.network(parameters.network)
        let (images, labels) = (try task.storedImages("images"), try task.storedLabels("labels"))
        let rows = try task.positions("positions", of: images.count)
        for block in task.blocks {
            let range = parameters.plan.range(ofBlock: block).clamped(to: 0..<rows.count)
            guard !range.isEmpty else {
                try task.emit(block: block, [StageOutput("latents", LatentRows(width: parameters.network.latent).encode())])
                continue
            }
            let set = try task.imageSet(range.map { rows[$0] }, images: images, labels: labels)
            let x = SlotDevice.shared.tensor(set.floats(0..<set.count), [set.count, set.pixels])
            let (mean, logVariance) = network.encode(x, classes: network.oneHot(set.labels))
            let latents = LatentRows(
                width: parameters.network.latent, positions: Array(range), labels: set.labels ?? [Int](repeating: -1, count: set.count),
                mean: mean.values(), logVariance: logVariance.values())
            try task.emit(block: block, [StageOutput("latents", latents.encode())], metrics: ["rows": Double(set.count)])
        }
    }
}

/// `fit-class-posteriors`: a Gaussian for each class over its encodings.
///
/// - Inputs: `latents` (all blocks). Outputs: `posteriors` (`ClassPosteriors`).
package struct FitClassPosteriorsStage: StageExecutor {
    package static let kind = "fit-class-posteriors"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        var gatherer: ClassPosteriors.Gatherer?
        var rows = 0
        try task.inputs.forEach("latents") { _, artifact in
            let block = try LatentRows(decoding: artifact.bytes)
            if gatherer == nil { gatherer = ClassPosteriors.Gatherer(width: block.width) }
            gatherer?.add(block)
            rows += block.count
        }
        guard let posteriors = gatherer?.posteriors() else { preconditionFailure("a training set of no blocks") }
        try task.emit(block: 0, [StageOutput("posteriors", posteriors.encode())], metrics: ["rows": Double(rows)])
    }
}

package struct SynthesisParameters: Codable, Hashable, Sendable {
    package var network: VAE.Configuration
    package var allotment: SynthesisAllotment
    package var rotation: RotationRules
    package var classes: Int
    /// Images of a block of `latents`.
    package var latentBlockSize: Int
    package var blockSize: Int
    package var seed: UInt64

    package init(
        network: VAE.Configuration, allotment: SynthesisAllotment, rotation: RotationRules = RotationRules(), classes: Int,
        latentBlockSize: Int = 512, blockSize: Int = 256, seed: UInt64
    ) {
        self.network = network
        self.allotment = allotment
        self.rotation = rotation
        self.classes = classes
        self.latentBlockSize = latentBlockSize
        self.blockSize = blockSize
        self.seed = seed
    }
    package var plan: BlockPlan { BlockPlan(samples: allotment.count, blockSize: blockSize) }
}

/// `synthesize`: new images, each with its parents and the label they hand down. It reads training images only, so no sample
/// can descend from anything else.
///
/// - Inputs: `images`, `labels`, `positions`, `checkpoint`, `latents` (all blocks), `posteriors`, and `allotment` where the parameters only
///   say how much it can be at most. Outputs: `synthetic` (`SyntheticBlock`).
package struct SynthesizeStage: StageExecutor {
    package static let kind = "synthesize"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        var parameters = try task.parameters(as: SynthesisParameters.self)
        let plan = parameters.plan
        if task.inputs.contains("allotment") {
            parameters.allotment = try CanonicalJSON.decode(
                SynthesisAllotment.self, from: try task.inputs.single("allotment").bytes, what: "allotment")
        }
        let network = try task.network(parameters.network)
        let posteriors = try ClassPosteriors(decoding: try task.inputs.single("posteriors").bytes)
        let maker = Synthesizer(network: network, posteriors: posteriors, parameters: parameters)
        let images = try task.storedImages("images")
        let rows = try task.positions("positions", of: images.count)
        let latents = try task.inputs.digests("latents")
        for block in task.blocks {
            try task.checkCancellation()
            let samples = try maker.make(plan.range(ofBlock: block).clamped(to: 0..<parameters.allotment.count)) { position in
                let digest = latents[position / parameters.latentBlockSize]
                let encoded = try task.cache.object("latents", digest, cost: { $0.count * $0.width * 8 }) {
                    try LatentRows(decoding: try task.inputs.artifact(digest).bytes)
                }
                return encoded.row(position % parameters.latentBlockSize)
            } image: { position in
                try images.bytes([rows[position]])
            }
            let made = SyntheticBlock(classes: parameters.classes, pixels: parameters.network.pixels, samples: samples)
            try task.emit(block: block, [StageOutput("synthetic", made.encode())], metrics: ["rows": Double(samples.count)])
        }
    }
}

/// Makes synthetic images out of a trained network and the places of its training images; both stages and audits use it.
struct Synthesizer {
    let network: VAE
    let posteriors: ClassPosteriors
    let parameters: SynthesisParameters

    /// - Parameters:
    ///   - items: of the allotment.
    ///   - encoding: of a training image by position, one row.
    ///   - image: a training image by position.
    func make(
        _ items: Range<Int>, encoding: (Int) throws -> LatentRows, image: (Int) throws -> [UInt8]
    ) throws -> [SyntheticSample] {
        let sampler = LatentSampler(posteriors, seed: parameters.seed)
        let (height, width) = (parameters.network.height, parameters.network.width)
        var samples: [SyntheticSample] = []
        var decoded: [(at: Int, draw: LatentDraw)] = []
        for item in items {
            let (label, method) = parameters.allotment.item(item)
            let parents = try sampler.parents(method, label: label, item: item)
            // Parents are of the class, so what they hand down is the class itself.
            let inherited = (0..<parameters.classes).map { $0 == label ? Float(1) : 0 }
            var sample = SyntheticSample(method: method, parents: parents, label: inherited, image: [])
            if method == .rotation {
                var generator = SeededGenerator(seed: parameters.seed, stream: "rotate", String(item))
                sample.image = try GreyRotation.draw(
                    try image(parents[0]), width: width, height: height, rule: parameters.rotation.rule(label), generator: &generator)
            } else {
                var rows = LatentRows(width: posteriors.width)
                for parent in parents { rows.append(try encoding(parent)) }
                decoded.append((samples.count, try sampler.draw(method, label: label, item: item, parents: parents, rows: rows)))
            }
            samples.append(sample)
        }
        guard !decoded.isEmpty else { return samples }
        let z = SlotDevice.shared.tensor(decoded.flatMap { $0.draw.z }, [decoded.count, posteriors.width])
        let pixels = network.pixels(z, classes: network.oneHot(decoded.map { $0.draw.label })).values()
        for (row, (at, _)) in decoded.enumerated() {
            samples[at].image = pixels[row * parameters.network.pixels..<(row + 1) * parameters.network.pixels].map {
                UInt8(min(max(($0 * 255).rounded(), 0), 255))
            }
        }
        return samples
    }
}

extension VAE {
    func oneHot(_ labels: [Int]?) -> Tensor? {
        let classes = configuration.classes
        guard classes > 0, let labels else { return nil }
        return device.tensor(VAETrainer.oneHot(labels, classes: classes), [labels.count, classes])
    }
}

extension StageTask {
    /// The trained network of `checkpoint`.
    func network(_ configuration: VAE.Configuration) throws -> VAE {
        let artifact = try inputs.single("checkpoint")
        return try cache.object("vae", artifact.digest, cost: { $0.parameters.weightCount * 4 }) {
            try VAE(configuration, ParameterStore(.checkpoint(try artifact.safetensors(), prefix: ""), on: SlotDevice.shared))
        }
    }
}
