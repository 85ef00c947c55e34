internal import Kernels
internal import NeuralNetworks

/// Images straight from a trained VAE, for people to look at: from its prior and near given images.
///
/// Samples that something is learned from are drawn, judged and kept by the room Augmentation.
package final class VAESampler {
    package let network: VAE

    package init(_ network: VAE) { self.network = network }

    private var latent: Int { network.configuration.latent }

    /// `count` images of N(0, I), the paper's recipe; a class is needed by conditional networks.
    package func fromPrior(_ count: Int, label: Int?, seed: UInt64, stream: UInt64) -> [Float] {
        decode(network.device.tensor(noise(count, seed, stream), [count, latent]), label)
    }

    /// One neighbour of each given image: z drawn from q(z|x). Its label is the image's.
    package func neighbours(of images: ImageSet, _ indices: [Int], seed: UInt64, stream: UInt64) -> [Float] {
        let device = network.device
        let x = device.tensor(images.floats(indices), [indices.count, images.pixels])
        let classes = oneHot(indices.map { images.labels?[$0] })
        let (mean, logVariance) = network.encode(x, classes: classes)
        let z = Operations.reparameterize(mean: mean, logVariance: logVariance, seed: seed, stream: stream)
        return network.pixels(z, classes: classes).values()
    }

    private func noise(_ count: Int, _ seed: UInt64, _ stream: UInt64) -> [Float] {
        let tensor = network.device.empty([count, latent])
        network.device.enqueue(.normal(tensor.pointer, seed: seed, stream: stream, count: tensor.count))
        return tensor.values()
    }

    private func oneHot(_ labels: [Int?]) -> Tensor? {
        let classes = network.configuration.classes
        guard classes > 0 else { return nil }
        return network.device.tensor(VAETrainer.oneHot(labels.map { $0 ?? -1 }, classes: classes), [labels.count, classes])
    }

    private func decode(_ z: Tensor, _ label: Int?) -> [Float] {
        network.pixels(z, classes: oneHot([Int?](repeating: label, count: z.dimension(0)))).values()
    }
}
