internal import Kernels
internal import NeuralNetworks
package import Primitives

/// Where a VAE's new images come from. With β < 1 the encodings do not fill N(0, I), so drawing from it (the paper's way)
/// gives worse images than drawing from where the encodings of a class really lie.
package final class VAESampler {
    /// The Gaussian that fits a class's aggregate posterior: mean of μ, covariance of μ plus the mean of e^v.
    package struct ClassPosterior: Sendable {
        package var mean: [Double]
        /// Lower triangle L with L Lᵀ = covariance, row by row.
        package var factor: [Double]
        package var count: Int
    }

    package let network: VAE
    package private(set) var posteriors: [Int: ClassPosterior] = [:]

    package init(_ network: VAE) { self.network = network }

    private var latent: Int { network.configuration.latent }

    /// Fits one Gaussian per class over labelled images. Classes with fewer than two images are left out.
    package func fit(_ images: ImageSet, batch size: Int = 250) {
        precondition(images.labels != nil, "class posteriors need labels")
        let d = latent
        let labels = images.labels ?? []
        var sums: [Int: (count: Int, mean: [Double], square: [Double], variance: [Double])] = [:]
        for start in stride(from: 0, to: images.count, by: size) {
            let range = start..<min(images.count, start + size)
            let (mean, logVariance) = encode(images, Array(range))
            for (row, index) in range.enumerated() {
                let label = labels[index]
                var sum =
                    sums.removeValue(forKey: label)
                    ?? (0, [Double](repeating: 0, count: d), [Double](repeating: 0, count: d * d), [Double](repeating: 0, count: d))
                sum.count += 1
                for i in 0..<d {
                    let value = Double(mean[row * d + i])
                    sum.mean[i] += value
                    sum.variance[i] += exponential(Double(logVariance[row * d + i]))
                    for j in 0...i { sum.square[i * d + j] += value * Double(mean[row * d + j]) }
                }
                sums[label] = sum
            }
        }
        posteriors = [:]
        for (label, sum) in sums where sum.count > 1 {
            let n = Double(sum.count)
            let mean = sum.mean.map { $0 / n }
            var covariance = [Double](repeating: 0, count: d * d)
            for i in 0..<d {
                for j in 0...i { covariance[i * d + j] = sum.square[i * d + j] / n - mean[i] * mean[j] }
                covariance[i * d + i] += sum.variance[i] / n + 1e-9
            }
            posteriors[label] = ClassPosterior(mean: mean, factor: Self.cholesky(covariance, d), count: sum.count)
        }
    }

    /// The lower Cholesky factor of a covariance given by its lower triangle. Its diagonal holds e^v > 0, so roots exist.
    static func cholesky(_ a: [Double], _ d: Int) -> [Double] {
        var l = [Double](repeating: 0, count: d * d)
        for i in 0..<d {
            for j in 0...i {
                var sum = a[i * d + j]
                for k in 0..<j { sum -= l[i * d + k] * l[j * d + k] }
                l[i * d + j] = i == j ? max(sum, 1e-12).squareRoot() : sum / l[j * d + j]
            }
        }
        return l
    }

    /// `count` images of N(0, I), the paper's recipe; a class is needed by conditional networks.
    package func fromPrior(_ count: Int, label: Int?, seed: UInt64, stream: UInt64) -> [Float] {
        decode(network.device.tensor(noise(count, seed, stream), [count, latent]), label)
    }

    /// `count` images from a class's aggregate posterior.
    ///
    /// - Throws: `vae.unknown-class` when the class was not among the fitted images.
    package func fromPosterior(_ count: Int, label: Int, seed: UInt64, stream: UInt64) throws(AMAFError) -> [Float] {
        guard let posterior = posteriors[label] else {
            throw AMAFError(
                "vae.unknown-class", "No posterior was fitted for class \(label)", remedy: "It needs at least two labelled images.")
        }
        let d = latent
        let noise = noise(count, seed, stream)
        var z = [Float](repeating: 0, count: count * d)
        for row in 0..<count {
            for i in 0..<d {
                var value = posterior.mean[i]
                for j in 0...i { value += posterior.factor[i * d + j] * Double(noise[row * d + j]) }
                z[row * d + i] = Float(value)
            }
        }
        return decode(network.device.tensor(z, [count, d]), label)
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

    /// Between pairs of images of one class: μ(a) + t (μ(b) − μ(a)).
    package func between(_ images: ImageSet, _ a: [Int], _ b: [Int], fraction: Float) -> [Float] {
        precondition(a.count == b.count, "\(a.count) images against \(b.count)")
        let (first, _) = encode(images, a)
        let (second, _) = encode(images, b)
        let z = zip(first, second).map { $0 + fraction * ($1 - $0) }
        let classes = oneHot(a.map { images.labels?[$0] })
        return network.pixels(network.device.tensor(z, [a.count, latent]), classes: classes).values()
    }

    /// How many latents carry information: mean divergence above 0.01 nats.
    package func activeLatents(_ images: ImageSet) -> Int {
        var sums = [Double](repeating: 0, count: latent)
        for start in stride(from: 0, to: images.count, by: 250) {
            let (mean, logVariance) = encode(images, Array(start..<min(images.count, start + 250)))
            for i in mean.indices {
                let (m, v) = (Double(mean[i]), Double(logVariance[i]))
                sums[i % latent] += (m * m + exponential(v) - 1 - v) / 2
            }
        }
        return sums.count { $0 / Double(max(images.count, 1)) > 0.01 }
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

    private func encode(_ images: ImageSet, _ indices: [Int]) -> (mean: [Float], logVariance: [Float]) {
        let x = network.device.tensor(images.floats(indices), [indices.count, images.pixels])
        let (mean, logVariance) = network.encode(x, classes: oneHot(indices.map { images.labels?[$0] }))
        return (mean.values(), logVariance.values())
    }

    private func decode(_ z: Tensor, _ label: Int?) -> [Float] {
        network.pixels(z, classes: oneHot([Int?](repeating: label, count: z.dimension(0)))).values()
    }
}
