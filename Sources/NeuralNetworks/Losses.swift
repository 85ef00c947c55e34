package import Kernels

/// Losses per row; each also sets the slope of `scale` times their sum by the prediction on the tape.
package enum Losses {
    /// −Σ t log softmax(x), soft labels allowed: logits and targets (rows, classes) → (rows).
    package static func crossEntropy(_ logits: Tensor, targets: Tensor, scale: Float, tape: Tape? = nil) -> Tensor {
        rowLoss(Kernel.crossEntropy, logits, targets, scale, tape)
    }
    /// Σ softplus(o) − x o, the Bernoulli likelihood with logits o.
    package static func bernoulli(_ logits: Tensor, targets: Tensor, scale: Float, tape: Tape? = nil) -> Tensor {
        rowLoss(Kernel.bernoulli, logits, targets, scale, tape)
    }
    /// Σ (m − x)² / 2, the Gaussian likelihood with σ = 1 but for a constant.
    package static func gaussian(_ means: Tensor, targets: Tensor, scale: Float, tape: Tape? = nil) -> Tensor {
        rowLoss(Kernel.gaussian, means, targets, scale, tape)
    }

    private static func rowLoss(
        _ kernel: (RowLoss) -> Kernel, _ predicted: Tensor, _ targets: Tensor, _ scale: Float, _ tape: Tape?
    ) -> Tensor {
        precondition(predicted.count == targets.count, "predictions \(predicted.shape) against targets \(targets.shape)")
        let (rows, device) = (predicted.dimension(0), predicted.device)
        let loss = device.empty([rows])
        let slope = tape == nil ? nil : device.empty(predicted.shape)
        device.enqueue(
            kernel(
                RowLoss(
                    predicted: predicted.pointer, target: targets.pointer, loss: loss.pointer, slope: slope?.pointer, rows: rows,
                    columns: predicted.count / rows, scale: scale)))
        if let slope { tape?.add(slope, to: predicted) }
        return loss
    }

    /// ½ Σ μ² + e^v − 1 − v per row: how far N(μ, e^v) is from N(0, 1).
    package static func divergence(mean: Tensor, logVariance: Tensor, scale: Float, tape: Tape? = nil) -> Tensor {
        precondition(mean.shape == logVariance.shape, "means \(mean.shape) and log variances \(logVariance.shape)")
        let (rows, columns, device) = (mean.dimension(0), mean.columns, mean.device)
        let loss = device.empty([rows])
        let slopes = tape == nil ? nil : (device.empty(mean.shape), device.empty(mean.shape))
        device.enqueue(
            .divergence(
                Divergence(
                    mean: mean.pointer, logVariance: logVariance.pointer, stride: columns, loss: loss.pointer, dMean: slopes?.0.pointer,
                    dLogVariance: slopes?.1.pointer, slopeStride: columns, rows: rows, columns: columns, scale: scale, accumulate: false)))
        if let slopes {
            tape?.add(slopes.0, to: mean)
            tape?.add(slopes.1, to: logVariance)
        }
        return loss
    }
}

extension Operations {
    /// z = μ + e^{v/2} ε with ε of the stream (seed, stream).
    package static func reparameterize(mean: Tensor, logVariance: Tensor, seed: UInt64, stream: UInt64, tape: Tape? = nil) -> Tensor {
        let device = mean.device
        let (noise, z) = (device.empty(mean.shape), device.empty(mean.shape))
        device.enqueue(.normal(noise.pointer, seed: seed, stream: stream, count: noise.count))
        device.enqueue(
            .reparameterize(
                mean: mean.pointer, logVariance: logVariance.pointer, noise: noise.pointer, to: z.pointer, count: z.count))
        tape?.record(z) { tape, dz in
            let (dm, dv) = (device.empty(mean.shape), device.empty(mean.shape))
            device.enqueue(
                .reparameterizeBackward(
                    dz: dz.pointer, logVariance: logVariance.pointer, noise: noise.pointer, dMean: dm.pointer, dLogVariance: dv.pointer,
                    count: dz.count))
            tape.add(dm, to: mean)
            tape.add(dv, to: logVariance)
        }
        return z
    }
}
