package import Kernels
internal import NeuralNetworks
package import Primitives

/// Images → vectors, by a CLIP folder (unit length) or a ResNet folder (mean over places of the last stage, as it is).
package final class ImageEmbedder: Sendable {
    private enum Network {
        case clip(CLIPImageEncoder)
        case resNet(ResNet)
    }
    private let network: Network
    package let preprocessor: ImagePreprocessor
    private let device: any ComputeDevice

    /// - Throws: `model.kind`, and what a model's files can throw.
    package init(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) {
        self.device = device
        switch try folder.modelType() {
        case "clip", "clip_vision_model":
            let clip = try CLIPImageEncoder.load(folder, on: device)
            network = .clip(clip)
            preprocessor = try .load(folder, fallback: .clip(size: clip.configuration.image_size))
            guard preprocessor.size == clip.configuration.image_size else {
                throw AMAFError(
                    "model.configuration",
                    "preprocessor_config.json crops to \(preprocessor.size) where the network reads \(clip.configuration.image_size)",
                    place: folder.path, remedy: "Fetch both files from one place.")
            }
        case "resnet":
            let resNet = try ResNet.load(folder, on: device)
            network = .resNet(resNet)
            preprocessor = try .load(folder, fallback: .imageNet())
        case let kind:
            throw AMAFError(
                "model.kind", "A model of the kind '\(kind)' reads no images", place: folder.file("config.json"),
                remedy: "Images are embedded by clip and resnet models.")
        }
        guard preprocessor.mean.count == channels else {
            throw AMAFError(
                "model.configuration", "The preprocessor gives \(preprocessor.mean.count) channels where the network reads \(channels)",
                place: folder.path, remedy: "Fetch both files from one place.")
        }
    }

    private var channels: Int {
        switch network {
        case .clip(let clip): clip.configuration.num_channels
        case .resNet(let resNet): resNet.configuration.num_channels
        }
    }

    package var width: Int {
        switch network {
        case .clip(let clip): clip.embeddingWidth
        case .resNet(let resNet): resNet.featureCount
        }
    }

    /// - Parameter images: prepared by `preprocessor`, one after another.
    /// - Returns: rows of `width` numbers.
    package func embed(_ images: [Float], count: Int) -> [Float] {
        switch network {
        case .clip(let clip): return clip.embed(images, count: count)
        case .resNet(let resNet):
            let side = preprocessor.size
            precondition(images.count == count * side * side * channels, "\(images.count) values for \(count) images")
            return resNet.features(device.tensor(images, [count, side, side, channels])).values()
        }
    }
}
