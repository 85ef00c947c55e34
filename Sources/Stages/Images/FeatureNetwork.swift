import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives

/// A network ready to look at pictures.
struct FeatureNetwork {
    let columns: Int
    /// Numbers of one prepared picture.
    let inputCount: Int
    /// The side that a picture is needed at, at least.
    let smallest: (width: Int, height: Int)
    /// A decoded picture as the network reads it: `inputCount` numbers.
    let prepare: (DecodedImage) -> [Float]
    /// (count × inputCount, count) → (count, columns)
    let features: ([Float], Int) -> [Float]

    func prepare(_ picture: ImagePayload, decoder: ImageDecoder, place: String) throws(AMAFError) -> [Float] {
        prepare(try picture.decoded(by: decoder, place: place, smallest: smallest))
    }

    private init(columns: Int, side: Int, _ preprocessor: ImagePreprocessor, features: @escaping ([Float], Int) -> [Float]) {
        self.columns = columns
        inputCount = side * side * preprocessor.mean.count
        smallest = (preprocessor.resizeTo, preprocessor.resizeTo)
        prepare = { image in
            let (pixels, channels) = image.opaqueBytes
            return preprocessor(pixels, width: image.width, height: image.height, channels: channels)
        }
        self.features = features
    }

    init(clip folder: ModelFolder, on device: CPUDevice) throws {
        let encoder = try CLIPImageEncoder.load(folder, on: device)
        let side = encoder.configuration.image_size
        self.init(columns: encoder.embeddingWidth, side: side, .clip(size: side)) { encoder.embed($0, count: $1, batch: $1) }
    }

    init(resnet folder: ModelFolder, on device: CPUDevice) throws {
        let network = try ResNet.load(folder, on: device)
        network.fold()
        self.init(columns: network.featureCount, side: 224, .imageNet()) {
            network.features(device.tensor($0, [$1, 224, 224, 3])).values()
        }
    }

    /// A conditional network is not told any class: it is asked where a picture lies, not where it would lie if it were a coat.
    init(vae network: VAE) {
        let c = network.configuration
        columns = c.latent
        inputCount = c.pixels
        smallest = (c.width, c.height)
        prepare = { image in
            // As thumbnails are made, so that a network trained on these sees the same numbers.
            let (pixels, channels) = c.channels == 1 ? (image.grey.pixels, 1) : image.opaqueBytes
            let resized =
                image.width == c.width && image.height == c.height
                ? pixels
                : ImagePreprocessor.resize(
                    pixels, width: image.width, height: image.height, channels: channels, toWidth: c.width, toHeight: c.height, .bilinear)
            guard channels != c.channels else { return resized.map { Float($0) * (1 / 255) } }
            // A grey picture before a network of colours.
            return resized.flatMap { [Float](repeating: Float($0) * (1 / 255), count: c.channels) }
        }
        features = { values, count in
            let device = network.device
            let classes = network.oneHot([Int](repeating: -1, count: count))
            return network.encode(device.tensor(values, [count, c.pixels]), classes: classes).mean.values()
        }
    }
}

extension StageTask {
    /// A folder that looks like the one that the model came from; its files are the artifacts themselves.
    func modelFolder<R>(_ body: (ModelFolder) throws -> R) throws -> R {
        let folder = NSTemporaryDirectory() + "amaf-model-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (input, name) in [("model.config", "config.json"), ("model.weights", "model.safetensors")] {
            try FileManager.default.createSymbolicLink(
                atPath: "\(folder)/\(name)", withDestinationPath: try inputs.single(input).path)
        }
        return try body(try ModelFolder(folder))
    }

    /// The network of `model.weights`, kept for the next lease.
    func featureNetwork(_ parameters: NetworkFeaturesParameters) throws -> FeatureNetwork {
        let weights = try inputs.single("model.weights")
        return try cache.object("network-\(parameters.network.rawValue)", weights.digest, cost: { _ in weights.byteCount }) {
            switch parameters.network {
            case .clip: try modelFolder { try FeatureNetwork(clip: $0, on: Self.processor) }
            case .resnet: try modelFolder { try FeatureNetwork(resnet: $0, on: Self.processor) }
            case .vae:
                if let configuration = parameters.vae {
                    FeatureNetwork(
                        vae: try VAE(configuration, ParameterStore(.checkpoint(try weights.safetensors(), prefix: ""), on: Self.processor)))
                } else {
                    try modelFolder { FeatureNetwork(vae: try VAEFolder($0.path).load(on: Self.processor)) }
                }
            }
        }
    }
}
