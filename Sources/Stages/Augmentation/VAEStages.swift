import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives

/// What the stages of one training are told.
package struct VAEStageParameters: Codable, Hashable, Sendable {
    package var training: VAETraining
    /// The steps of the whole training that the stage does or sums up.
    package var firstStep: Int
    package var steps: Int

    package init(training: VAETraining, firstStep: Int = 0, steps: Int = 0) {
        self.training = training
        self.firstStep = firstStep
        self.steps = steps
    }
}

/// `start-vae`: fresh weights. Outputs: `checkpoint`.
package struct StartVAEStage: StageExecutor {
    package static let kind = "start-vae"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let training = try task.parameters(as: VAEStageParameters.self).training
        try training.validate()
        let replica = try VAEReplica(training)
        try task.emit(
            block: 0, [StageOutput("checkpoint", [UInt8](Checkpoint.encode(replica.parameters, optimizer: replica.trainer.optimizer)))])
    }
}

/// `vae-slopes`: a block is a replica; it computes the slopes of its share of one step.
///
/// - Inputs: `images`, `labels` for conditional networks, `positions` where the training set is a part of them, `checkpoint` of
///   the round, `slopes.0…` of the round's earlier steps. Outputs: `slopes` (`VAEContribution`).
package struct VAESlopesStage: StageExecutor {
    package static let kind = "vae-slopes"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: VAEStageParameters.self)
        let training = parameters.training
        let replica = try task.replica(training, steps: parameters.steps)
        let (images, labels) = (try task.storedImages("images"), try task.storedLabels("labels"))
        let rows = try task.positions("positions", of: images.count)
        for block in task.blocks {
            let step = parameters.firstStep + parameters.steps
            let share = try task.share(training, step: step, replica: block, images: images, labels: labels, rows: rows)
            let slopes = replica.slopes(share, step: step, replica: block)
            try task.emit(block: block, [StageOutput("slopes", slopes.encode())], metrics: ["rows": Double(slopes.rows)])
        }
    }
}

/// `vae-local-steps`: a block is a replica; it takes a round's steps alone.
///
/// - Inputs: as `vae-slopes`, without slopes; `optimizer` of the same replica after the round before.
/// - Outputs: `weights` (`VAEContribution`), `optimizer` (safetensors: both Adam moments).
package struct VAELocalStepsStage: StageExecutor {
    package static let kind = "vae-local-steps"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: VAEStageParameters.self)
        let training = parameters.training
        let checkpoint = try task.inputs.single("checkpoint").safetensors()
        let (images, labels) = (try task.storedImages("images"), try task.storedLabels("labels"))
        let rows = try task.positions("positions", of: images.count)
        for block in task.blocks {
            let replica = try VAEReplica(training, checkpoint: checkpoint, withOptimizer: false)
            if task.inputs.contains("optimizer") {
                try replica.trainer.optimizer.restore(
                    try task.inputs.sameBlock("optimizer", block).safetensors(), step: parameters.firstStep)
            }
            var losses: [VAE.Loss] = []
            for step in parameters.firstStep..<parameters.firstStep + parameters.steps {
                try task.checkCancellation()
                let share = try task.share(training, step: step, replica: block, images: images, labels: labels, rows: rows)
                if share.count > 0 { losses.append(replica.localStep(share, step: step, replica: block)) }
            }
            let result = VAEContribution(
                rows: losses.reduce(0) { $0 + $1.reconstruction.count },
                reconstruction: losses.reduce(0) { $0 + VAEReplica.sum($1.reconstruction) },
                divergence: losses.reduce(0) { $0 + VAEReplica.sum($1.divergence) }, values: replica.weights)
            let moments = Safetensors.encode(replica.trainer.optimizer.state())
            try task.emit(
                block: block, [StageOutput("weights", result.encode()), StageOutput("optimizer", [UInt8](moments))],
                metrics: ["rows": Double(result.rows)])
        }
    }
}

/// `average-vae`: the end of a round; its metrics are the loss curve.
///
/// - Inputs: `checkpoint` of the round before; `slopes.0…` (synchronous) or `weights` (local); `test-images` and `test-labels`
///   where an epoch ends and somebody wants to know.
/// - Outputs: `checkpoint` (safetensors under the network's names, with what the next round needs beside).
package struct AverageVAEStage: StageExecutor {
    package static let kind = "average-vae"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: VAEStageParameters.self)
        let training = parameters.training
        var (rows, reconstruction, divergence) = (0, 0.0, 0.0)
        func count(_ contributions: [VAEContribution]) {
            for one in contributions {
                rows += one.rows
                reconstruction += one.reconstruction
                divergence += one.divergence
            }
        }
        let replica: VAEReplica
        let checkpoint: Data
        switch training.mode {
        case .synchronous:
            replica = try task.replica(training, steps: parameters.steps)
            for step in 0..<parameters.steps { count(try task.contributions("slopes.\(step)")) }
            checkpoint = Checkpoint.encode(replica.parameters, optimizer: replica.trainer.optimizer)
        case .local:
            let before = try task.inputs.single("checkpoint").safetensors()
            replica = try VAEReplica(training, checkpoint: before, withOptimizer: false)
            let contributions = try task.contributions("weights")
            count(contributions)
            checkpoint = try outerStep(replica, before: before, mean: VAEContribution.mean(contributions))
        }
        let n = Double(max(rows, 1))
        var metrics = [
            "rows": Double(rows), "step": Double(parameters.firstStep + parameters.steps),
            "epoch": Double(training.epoch(ofStep: parameters.firstStep)), "reconstruction": reconstruction / n,
            "divergence": divergence / n, "loss": (reconstruction + Double(training.network.beta) * divergence) / n,
        ]
        guard metrics["loss"]!.isFinite else {
            throw AMAFError(
                "vae.diverged", "The loss after step \(parameters.firstStep + parameters.steps) is \(metrics["loss"]!)",
                remedy: "Lower the learning rate.")
        }
        if task.inputs.contains("test-images") {
            let (images, labels) = (try task.storedImages("test-images"), try task.storedLabels("test-labels"))
            let result = replica.trainer.evaluate(try task.imageSet(Array(0..<images.count), images: images, labels: labels))
            metrics["test_loss"] = result.loss
            metrics["test_reconstruction"] = result.reconstruction
            metrics["test_divergence"] = result.divergence
        }
        try task.emit(block: 0, [StageOutput("checkpoint", [UInt8](checkpoint))], metrics: metrics)
    }

    /// anchor −= α (d + μ m) with d = anchor − mean and m = μ m + d: Nesterov's step on the replicas' drift.
    /// With α = 1 and μ = 0 it is the mean itself.
    private func outerStep(_ replica: VAEReplica, before: Safetensors, mean: [Float]) throws -> Data {
        let training = replica.training
        let (rate, momentum) = (training.outerLearningRate, training.outerMomentum)
        var weights = mean
        var velocity = [Float](repeating: 0, count: mean.count)
        if !(rate == 1 && momentum == 0) {
            let anchor = replica.weights
            if before.contains("outer.velocity") { velocity = try before.floats("outer.velocity", shape: [mean.count]) }
            for i in mean.indices {
                let drift = anchor[i] - mean[i]
                velocity[i] = momentum * velocity[i] + drift
                weights[i] = anchor[i] - rate * (drift + momentum * velocity[i])
            }
        }
        replica.setWeights(weights)
        return Safetensors.encode(replica.parameters.namedTensors() + [NamedTensor("outer.velocity", [mean.count], velocity)])
    }
}
