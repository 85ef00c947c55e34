import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives

/// A network in training with its optimizer, kept in a slot from step to step.
///
/// It can always be had again: from the round's checkpoint and the slopes of the steps since then. So a replica that dies
/// takes nothing with it but its own step.
final class VAEReplica {
    let training: VAETraining
    let trainer: VAETrainer
    /// Digests of what was applied since the checkpoint, one for each step.
    private(set) var applied: [Digest] = []

    init(_ training: VAETraining, checkpoint: Safetensors, withOptimizer: Bool) throws(AMAFError) {
        self.training = training
        let network = try VAE(training.network, ParameterStore(.checkpoint(checkpoint, prefix: ""), on: SlotDevice.shared))
        trainer = Self.trainer(network, training)
        if withOptimizer { try Checkpoint.restore(checkpoint, into: network.parameters, optimizer: trainer.optimizer) }
    }

    /// Fresh weights.
    init(_ training: VAETraining) throws(AMAFError) {
        self.training = training
        trainer = Self.trainer(try VAE(training.network, ParameterStore(seed: training.seed, on: SlotDevice.shared)), training)
    }

    private static func trainer(_ network: VAE, _ training: VAETraining) -> VAETrainer {
        VAETrainer(
            network, .init(batch: training.batch, adam: Adam.Configuration(learningRate: training.learningRate), seed: training.seed))
    }

    var parameters: [Parameter] { trainer.network.parameters }
    var byteCount: Int { 16 * parameters.weightCount }

    /// Slopes of one replica's share of a step; the replica stays as it was.
    func slopes(_ images: ImageSet, step: Int, replica: Int) -> VAEContribution {
        guard images.count > 0 else {
            return VAEContribution(
                rows: 0, reconstruction: 0, divergence: 0, values: [Float](repeating: 0, count: parameters.weightCount))
        }
        let loss = trainer.gradients(images, 0..<images.count, stream: training.noise(step: step, replica: replica))
        var values: [Float] = []
        values.reserveCapacity(parameters.weightCount)
        for parameter in parameters {
            values += parameter.gradient?.values() ?? [Float](repeating: 0, count: parameter.value.count)
        }
        parameters.forgetGradients()
        return VAEContribution(
            rows: images.count, reconstruction: Self.sum(loss.reconstruction), divergence: Self.sum(loss.divergence), values: values)
    }

    /// One Adam step along the mean of the contributions.
    func apply(_ contributions: [VAEContribution], digest: Digest) throws(AMAFError) {
        let mean = VAEContribution.mean(contributions)
        guard mean.count == parameters.weightCount else {
            throw AMAFError(
                "vae.wrong-slopes", "\(mean.count) slopes for \(parameters.weightCount) weights",
                remedy: "The plan and this worker are of different versions; update the older one.")
        }
        var at = 0
        for parameter in parameters {
            let count = parameter.value.count
            if let (gradient, _) = parameter.slot() { gradient.assign(Array(mean[at..<at + count])) }
            at += count
        }
        trainer.optimizer.update()
        applied.append(digest)
    }

    /// One local step on a share of the batch; its losses stay on the device.
    func localStep(_ images: ImageSet, step: Int, replica: Int) -> VAE.Loss {
        let loss = trainer.gradients(images, 0..<images.count, stream: training.noise(step: step, replica: replica))
        trainer.optimizer.update()
        return loss
    }

    var weights: [Float] { parameters.flatMap { $0.value.values() } }

    func setWeights(_ values: [Float]) {
        var at = 0
        for parameter in parameters {
            parameter.value.assign(Array(values[at..<at + parameter.value.count]))
            at += parameter.value.count
        }
    }

    static func sum(_ tensor: Tensor) -> Double { tensor.values().reduce(0) { $0 + Double($1) } }
}

extension StageTask {
    /// The replica as it is before the next step: from the slot's memory if it is that far, else from checkpoint and slopes.
    func replica(_ training: VAETraining, steps: Int) throws -> VAEReplica {
        let checkpoint = try inputs.single("checkpoint")
        let wanted = try (0..<steps).map { try inputs.combinedDigest("slopes.\($0)") }
        func fresh() throws -> VAEReplica {
            try VAEReplica(training, checkpoint: try checkpoint.safetensors(), withOptimizer: true)
        }
        // Its key leaves the step out: the same replica goes on from step to step.
        var held = try cache.object("vae-replica", Self.replicaKey(checkpoint.digest, training), cost: { $0.byteCount }, make: fresh)
        if !wanted.starts(with: held.applied) { held = try fresh() }
        for step in held.applied.count..<steps {
            try checkCancellation()
            try held.apply(try contributions("slopes.\(step)"), digest: wanted[step])
        }
        return held
    }

    private static func replicaKey(_ checkpoint: Digest, _ training: VAETraining) -> Digest {
        var hasher = DigestHasher()
        hasher.update(digest: checkpoint)
        hasher.update(field: CanonicalJSON.encode(training))
        return hasher.finish()
    }

    /// In replica order.
    func contributions(_ name: String) throws -> [VAEContribution] {
        try inputs.digests(name).map { digest in
            try inputs.artifact(digest).withBytes { try VAEContribution(decoding: $0) }
        }
    }

    /// The images of one replica's share of one step.
    func share(_ training: VAETraining, step: Int, replica: Int, images: StoredImages, labels: StoredImages?, rows: [Int]) throws
        -> ImageSet
    {
        let epoch = training.epoch(ofStep: step)
        let key = Digest.of(Array("\(training.seed)/\(training.images)/\(epoch)".utf8))
        let order = cache.object("vae-order", key, cost: { $0.count * 8 }) { training.order(epoch: epoch) }
        return try imageSet(order[training.share(step: step, replica: replica)].map { rows[$0] }, images: images, labels: labels)
    }
}

extension Artifact {
    func safetensors() throws(AMAFError) -> Safetensors { try Safetensors(data: Data(bytes), place: digest.hex) }
}
