import Foundation
internal import Kernels
package import NeuralNetworks
package import Primitives

/// Images in memory, one byte per value, NHWC, with optional classes.
package struct ImageSet: Sendable {
    package var bytes: [UInt8]
    package var labels: [Int]?
    package var pixels: Int

    /// - Precondition: a whole number of images, and a label for each when there are labels.
    package init(bytes: [UInt8], labels: [Int]? = nil, pixels: Int) {
        precondition(pixels > 0 && bytes.count % pixels == 0, "\(bytes.count) bytes are no whole number of images of \(pixels)")
        precondition(labels.map { $0.count == bytes.count / pixels } ?? true, "\(labels!.count) labels for \(bytes.count / pixels) images")
        self.bytes = bytes
        self.labels = labels
        self.pixels = pixels
    }

    package var count: Int { bytes.count / pixels }

    /// Images `indices` as numbers in [0, 1].
    package func floats(_ indices: some Collection<Int>) -> [Float] {
        ByteRows.floats(bytes, columns: pixels, indices, scale: 1 / 255)
    }
}

/// Trains a VAE: seeded order, seeded noise, Adam. The weights after an epoch depend on the seed and the data alone.
package final class VAETrainer {
    package struct Configuration: Sendable, Hashable {
        package var batch: Int
        package var adam: Adam.Configuration
        package var seed: UInt64
        package init(batch: Int = 128, adam: Adam.Configuration = Adam.Configuration(), seed: UInt64) {
            self.batch = batch
            self.adam = adam
            self.seed = seed
        }
    }

    /// Means per image.
    package struct EpochResult: Sendable, Hashable {
        package var loss: Double
        package var reconstruction: Double
        package var divergence: Double
        package var images: Int
    }

    package let network: VAE
    package let optimizer: Adam
    package let configuration: Configuration

    package init(_ network: VAE, _ configuration: Configuration) {
        precondition(configuration.batch > 0, "a batch of \(configuration.batch)")
        self.network = network
        self.configuration = configuration
        optimizer = Adam(network.parameters, configuration.adam)
    }

    /// One pass over the images in the order of (seed, epoch); a last short batch takes part.
    ///
    /// - Parameter dropLast: leaves a last short batch out, as some peers do.
    /// - Throws: `vae.diverged` when the loss is no longer a number.
    @discardableResult
    package func trainEpoch(_ images: ImageSet, epoch: Int, dropLast: Bool = false) throws(AMAFError) -> EpochResult {
        var order = Array(0..<images.count)
        var generator = SeededGenerator(seed: configuration.seed, stream: "vae", "order", String(epoch))
        generator.shuffle(&order)
        if dropLast { order.removeLast(order.count % configuration.batch) }
        var sums = [VAE.Loss]()
        for start in stride(from: 0, to: order.count, by: configuration.batch) {
            sums.append(step(images, order[start..<min(order.count, start + configuration.batch)]))
        }
        let result = Self.result(sums, beta: network.configuration.beta)
        guard result.loss.isFinite else {
            throw AMAFError(
                "vae.diverged", "The loss of epoch \(epoch) is \(result.loss)",
                remedy: "Lower the learning rate, or check the images for values outside [0, 1].")
        }
        return result
    }

    /// One optimisation step on images `indices`; the loss stays on the device.
    @discardableResult
    package func step(_ images: ImageSet, _ indices: some Collection<Int>) -> VAE.Loss {
        let loss = gradients(images, indices, stream: UInt64(optimizer.step))
        optimizer.update()
        return loss
    }

    /// Slopes of the mean loss over images `indices`, left in the parameters: what a data-parallel replica computes.
    package func gradients(_ images: ImageSet, _ indices: some Collection<Int>, stream: UInt64) -> VAE.Loss {
        let tape = Tape()
        let (x, classes) = batch(images, indices)
        let loss = network.loss(x, classes: classes, seed: configuration.seed, stream: stream, tape: tape)
        tape.backward()
        return loss
    }

    /// The mean loss of the first batch of epoch 0 as the network is now; fresh, about ln 2 a pixel.
    package func firstBatchLoss(_ images: ImageSet) -> Double {
        var order = Array(0..<images.count)
        var generator = SeededGenerator(seed: configuration.seed, stream: "vae", "order", "0")
        generator.shuffle(&order)
        let (x, classes) = batch(images, order.prefix(configuration.batch))
        return Self.result(
            [network.loss(x, classes: classes, seed: configuration.seed, stream: 0)], beta: network.configuration.beta
        ).loss
    }

    /// Means over images without training; noise of a fixed stream.
    package func evaluate(_ images: ImageSet, batch size: Int = 250) -> EpochResult {
        var sums: [VAE.Loss] = []
        for start in stride(from: 0, to: images.count, by: size) {
            let (x, classes) = batch(images, start..<min(images.count, start + size))
            sums.append(network.loss(x, classes: classes, seed: configuration.seed ^ 0xE7A1, stream: UInt64(start)))
        }
        return Self.result(sums, beta: network.configuration.beta)
    }

    private func batch(_ images: ImageSet, _ indices: some Collection<Int>) -> (Tensor, Tensor?) {
        precondition(images.pixels == network.configuration.pixels, "images of \(images.pixels) values for \(network.configuration)")
        let device = network.device
        let x = device.tensor(images.floats(indices), [indices.count, images.pixels])
        let classes = network.configuration.classes
        guard classes > 0 else { return (x, nil) }
        guard let labels = images.labels else { preconditionFailure("a conditional network needs labels") }
        return (x, device.tensor(Self.oneHot(indices.map { labels[$0] }, classes: classes), [indices.count, classes]))
    }

    /// Rows with a one at each label; a negative label gives an empty row.
    package static func oneHot(_ labels: [Int], classes: Int) -> [Float] {
        var out = [Float](repeating: 0, count: labels.count * classes)
        for (row, label) in labels.enumerated() where label >= 0 {
            precondition(label < classes, "label \(label) of \(classes) classes")
            out[row * classes + label] = 1
        }
        return out
    }

    private static func result(_ losses: [VAE.Loss], beta: Float) -> EpochResult {
        var (reconstruction, divergence, images) = (0.0, 0.0, 0)
        for loss in losses {
            for value in loss.reconstruction.values() { reconstruction += Double(value) }
            for value in loss.divergence.values() { divergence += Double(value) }
            images += loss.reconstruction.count
        }
        let count = Double(max(images, 1))
        return EpochResult(
            loss: (reconstruction + Double(beta) * divergence) / count, reconstruction: reconstruction / count,
            divergence: divergence / count, images: images)
    }
}
