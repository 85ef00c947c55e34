package import Models
package import Primitives

/// A VAE's training as the cluster does it: which images which replica sees in which step. Pure; a parameter of the run.
///
/// The replica count belongs here and not to the cluster, so weights do not depend on who computed them.
package struct VAETraining: Codable, Hashable, Sendable {
    package enum Mode: String, Codable, Hashable, Sendable, CaseIterable {
        /// Every step averages the replicas' slopes in replica order, then takes one Adam step: one big batch, exactly.
        case synchronous
        /// Each replica takes the steps of a round alone with its own Adam; the mean of their weights is the round's
        /// slope for an outer Nesterov step (DiLoCo, Douillard et al. 2023). For slow links.
        case local
    }

    package var network: VAE.Configuration
    package var mode: Mode
    package var replicas: Int
    /// Images of one step, all replicas together.
    package var batch: Int
    package var learningRate: Float
    package var epochs: Int
    /// Steps between checkpoints.
    package var stepsPerRound: Int
    package var images: Int
    package var seed: UInt64
    package var outerLearningRate: Float
    package var outerMomentum: Float

    package init(
        network: VAE.Configuration, mode: Mode = .synchronous, replicas: Int = 2, batch: Int = 256, learningRate: Float = 2e-3,
        epochs: Int = 5, stepsPerRound: Int = 16, images: Int, seed: UInt64 = 1, outerLearningRate: Float = 0.7, outerMomentum: Float = 0.9
    ) {
        self.network = network
        self.mode = mode
        self.replicas = replicas
        self.batch = batch
        self.learningRate = learningRate
        self.epochs = epochs
        self.stepsPerRound = stepsPerRound
        self.images = images
        self.seed = seed
        self.outerLearningRate = outerLearningRate
        self.outerMomentum = outerMomentum
    }

    /// - Throws: `vae.training`, `vae.configuration`.
    package func validate() throws(AMAFError) {
        try network.validate()
        guard replicas >= 1, replicas <= batch, batch >= 1, epochs >= 1, stepsPerRound >= 1, images >= 1 else {
            throw AMAFError(
                "vae.training",
                "\(replicas) replicas share batches of \(batch) out of \(images) images, \(epochs) epochs in rounds of \(stepsPerRound) steps",
                remedy: "Give positive numbers, and no more replicas than images in a batch.")
        }
        guard learningRate > 0, learningRate.isFinite, outerLearningRate > 0, (0..<1).contains(outerMomentum) else {
            throw AMAFError(
                "vae.training", "Learning rate \(learningRate), outer \(outerLearningRate) with momentum \(outerMomentum)",
                remedy: "The paper's learning rate is 0.001; the outer step's usual values are 0.7 and 0.9.")
        }
    }

    package var stepsPerEpoch: Int { (images + batch - 1) / batch }

    /// A stretch of steps that ends with a checkpoint; never over the border of an epoch.
    package struct Round: Hashable, Sendable {
        package var number: Int
        /// From 1.
        package var epoch: Int
        /// Of the whole training, from 0.
        package var steps: Range<Int>
        package var endsEpoch: Bool
    }

    package var rounds: [Round] {
        var out: [Round] = []
        for epoch in 1...epochs {
            for start in stride(from: 0, to: stepsPerEpoch, by: stepsPerRound) {
                let end = min(stepsPerEpoch, start + stepsPerRound)
                let first = (epoch - 1) * stepsPerEpoch
                out.append(Round(number: out.count, epoch: epoch, steps: first + start..<first + end, endsEpoch: end == stepsPerEpoch))
            }
        }
        return out
    }

    /// Epoch of a step, from 1, as `VAETrainer` counts.
    package func epoch(ofStep step: Int) -> Int { step / stepsPerEpoch + 1 }

    /// What replica `replica` sees in `step`, as places in the epoch's order: an even part of the batch.
    package func share(step: Int, replica: Int) -> Range<Int> {
        let start = step % stepsPerEpoch * batch
        let count = min(images, start + batch) - start
        return start + count * replica / replicas..<start + count * (replica + 1) / replicas
    }

    /// The images in the order of one epoch: `VAETrainer`'s.
    package func order(epoch: Int) -> [Int] {
        var order = Array(0..<images)
        var generator = SeededGenerator(seed: seed, stream: "vae", "order", String(epoch))
        generator.shuffle(&order)
        return order
    }

    /// The stream of noise of a replica's step; with one replica it is `VAETrainer`'s.
    package func noise(step: Int, replica: Int) -> UInt64 { UInt64(step * replicas + replica) }
}

/// One replica's slopes of one step, or its weights after a round: the numbers of all parameters in their order.
package struct VAEContribution: Hashable, Sendable {
    package var rows: Int
    /// Sums over the rows.
    package var reconstruction: Double
    package var divergence: Double
    package var values: [Float]

    package init(rows: Int, reconstruction: Double, divergence: Double, values: [Float]) {
        self.rows = rows
        self.reconstruction = reconstruction
        self.divergence = divergence
        self.values = values
    }

    private static let magic: UInt32 = 0x3143_5641  // "AVC1"

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 28 + 4 * values.count)
        writer.write(Self.magic)
        writer.write(UInt32(rows))
        writer.write(reconstruction)
        writer.write(divergence)
        writer.write(UInt32(values.count))
        writer.write(array: values)
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.damaged`.
    package init(decoding bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        var reader = ByteReader(bytes, of: "replica's contribution")
        guard try reader.read(UInt32.self) == Self.magic else {
            throw AMAFError(
                "artifact.damaged", "This is no replica's contribution", remedy: "The file was written by another version; run again.")
        }
        rows = Int(try reader.read(UInt32.self))
        reconstruction = try reader.readDouble()
        divergence = try reader.readDouble()
        values = try reader.readArray(count: Int(try reader.read(UInt32.self)))
    }

    /// Σ wᵢ xᵢ in the order given, wᵢ the share of rows: the mean over all rows, the same bits whoever sums.
    package static func mean(_ contributions: [VAEContribution]) -> [Float] {
        let total = contributions.reduce(0) { $0 + $1.rows }
        var sum = [Float](repeating: 0, count: contributions.first?.values.count ?? 0)
        for contribution in contributions where contribution.rows > 0 {
            let weight = Float(contribution.rows) / Float(max(total, 1))
            precondition(contribution.values.count == sum.count, "\(contribution.values.count) numbers among \(sum.count)")
            contribution.values.withUnsafeBufferPointer { values in
                sum.withUnsafeMutableBufferPointer { sum in
                    for i in values.indices { sum[i] += weight * values[i] }
                }
            }
        }
        return sum
    }
}
