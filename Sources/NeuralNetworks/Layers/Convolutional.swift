package import Kernels
package import Primitives

/// f(x ∗ w + b) over NHWC images: x (N, H, W, C) → (N, H′, W′, filters). Checkpoints hold w as (filters, C, kh, kw).
package struct Convolution2D: Sendable {
    package let weight: Parameter
    package let bias: Parameter?
    package let stride: Int
    package let padding: Int

    /// Reads `name.weight` and `name.bias`.
    package init(
        _ store: ParameterStore, _ name: String, channels: Int, filters: Int, window: Int, stride: Int = 1, padding: Int = 0,
        bias: Bool = true
    ) throws(AMAFError) {
        let fanIn = Initializer.fanIn(channels * window * window)
        weight = try store.parameter("\(name).weight", [filters, channels, window, window], fanIn, layout: .convolution)
        self.bias = bias ? try store.parameter("\(name).bias", [filters], fanIn) : nil
        self.stride = stride
        self.padding = padding
    }

    /// The same convolution over other weights, for instance with a batch norm folded in.
    package init(weight: Parameter, bias: Parameter?, stride: Int, padding: Int) {
        self.weight = weight
        self.bias = bias
        self.stride = stride
        self.padding = padding
    }

    package func callAsFunction(_ x: Tensor, activation: UnaryFunction = .identity, residual: Tensor? = nil, tape: Tape? = nil) -> Tensor {
        precondition(tape == nil || !activation.slopeNeedsInput, "convolution cannot fuse \(activation) while training")
        let (w, device) = (weight.value, x.device)
        let filters = w.dimension(0)
        precondition(
            x.rank == 4 && x.dimension(3) == w.dimension(3), "\(weight.name) takes \(w.dimension(3)) channels, not shape \(x.shape)")
        let window = Window(
            images: x.dimension(0), height: x.dimension(1), width: x.dimension(2), channels: x.dimension(3), windowHeight: w.dimension(1),
            windowWidth: w.dimension(2), stride: stride, padding: padding)
        let y = device.empty([window.images, window.outHeight, window.outWidth, filters])
        precondition(residual.map { $0.count == y.count } ?? true, "residual \(residual!.shape) beside \(y.shape)")
        var convolution = Convolution(window, filters: filters, x: x.pointer, w: w.pointer, y: y.pointer)
        convolution.bias = bias?.value.pointer
        convolution.residual = residual?.pointer
        convolution.activation = activation
        device.enqueue(.convolution(convolution))
        tape?.record(y) { tape, dy in
            Operations.slopeFromOutput(activation, y: y, dy: dy)
            if let residual, let (target, accumulate) = tape.slot(for: residual) { Operations.copy(dy, to: target, accumulate: accumulate) }
            if let (gradient, accumulate) = bias?.slot() {
                device.enqueue(
                    .sumRows(dy.pointer, stride: filters, to: gradient.pointer, rows: dy.rows, columns: filters, accumulate: accumulate))
            }
            if let gradient = weight.addingSlot() {
                device.enqueue(
                    .convolutionWeightGradient(Convolution(window, filters: filters, x: x.pointer, w: gradient.pointer, y: dy.pointer)))
            }
            if let (gradient, accumulate) = tape.slot(for: x) {
                var back = Convolution(window, filters: filters, x: gradient.pointer, w: w.pointer, y: dy.pointer)
                back.accumulate = accumulate
                device.enqueue(.convolutionInputGradient(back))
            }
        }
        return y
    }
}

/// The transpose of a convolution, which enlarges: x (N, H, W, C) → (N, H′, W′, outputs) with H′ = (H − 1) stride − 2 padding
/// + window. Checkpoints hold w as (C, outputs, kh, kw), as torch.nn.ConvTranspose2d.
package struct TransposedConvolution2D: Sendable {
    package let weight: Parameter
    package let bias: Parameter
    package let stride: Int
    package let padding: Int

    package init(
        _ store: ParameterStore, _ name: String, channels: Int, outputs: Int, window: Int, stride: Int, padding: Int
    ) throws(AMAFError) {
        // PyTorch counts the fan-in of a transposed convolution over its outputs.
        let fanIn = Initializer.fanIn(outputs * window * window)
        weight = try store.parameter("\(name).weight", [channels, outputs, window, window], fanIn, layout: .convolution)
        bias = try store.parameter("\(name).bias", [outputs], fanIn)
        self.stride = stride
        self.padding = padding
    }

    package func callAsFunction(_ x: Tensor, activation: UnaryFunction = .identity, tape: Tape? = nil) -> Tensor {
        precondition(tape == nil || !activation.slopeNeedsInput, "transposed convolution cannot fuse \(activation) while training")
        let (w, device) = (weight.value, x.device)
        let (channels, size, outputs) = (w.dimension(0), w.dimension(1), w.dimension(3))
        precondition(x.rank == 4 && x.dimension(3) == channels, "\(weight.name) takes \(channels) channels, not shape \(x.shape)")
        let window = Window(
            images: x.dimension(0), height: (x.dimension(1) - 1) * stride - 2 * padding + size,
            width: (x.dimension(2) - 1) * stride - 2 * padding + size, channels: outputs, windowHeight: size, windowWidth: size,
            stride: stride, padding: padding)
        // Here x plays the convolution's output and y its input.
        let y = device.empty([window.images, window.height, window.width, outputs])
        var convolution = Convolution(window, filters: channels, x: y.pointer, w: w.pointer, y: x.pointer)
        convolution.bias = bias.value.pointer
        convolution.activation = activation
        device.enqueue(.convolutionInputGradient(convolution))
        tape?.record(y) { tape, dy in
            Operations.slopeFromOutput(activation, y: y, dy: dy)
            if let (gradient, accumulate) = bias.slot() {
                device.enqueue(
                    .sumRows(dy.pointer, stride: outputs, to: gradient.pointer, rows: dy.rows, columns: outputs, accumulate: accumulate))
            }
            if let gradient = weight.addingSlot() {
                device.enqueue(
                    .convolutionWeightGradient(Convolution(window, filters: channels, x: dy.pointer, w: gradient.pointer, y: x.pointer)))
            }
            if tape.tracks(x) {
                let dx = device.empty(x.shape)
                device.enqueue(.convolution(Convolution(window, filters: channels, x: dy.pointer, w: w.pointer, y: dx.pointer)))
                tape.add(dx, to: x)
            }
        }
        return y
    }
}

/// Batch normalisation over all but the last dimension, with running statistics for use after training.
package struct BatchNorm2D: Sendable {
    package let weight: Parameter
    package let bias: Parameter
    package let runningMean: Parameter
    package let runningVariance: Parameter
    package let epsilon: Float
    package let momentum: Float

    /// Reads `name.weight`, `.bias`, `.running_mean` and `.running_var`.
    package init(_ store: ParameterStore, _ name: String, columns: Int, epsilon: Float = 1e-5, momentum: Float = 0.1) throws(AMAFError) {
        weight = try store.parameter("\(name).weight", [columns], .constant(1))
        bias = try store.parameter("\(name).bias", [columns], .constant(0))
        runningMean = try store.parameter("\(name).running_mean", [columns], .constant(0), isTrainable: false)
        runningVariance = try store.parameter("\(name).running_var", [columns], .constant(1), isTrainable: false)
        self.epsilon = epsilon
        self.momentum = momentum
    }

    /// y = γ (x − mean) rstd + β as one (scale, offset) per column, from the running statistics. Copies to the host.
    package func folded() -> (scale: [Float], offset: [Float]) {
        let (gamma, beta, mean, variance) = (
            weight.value.values(), bias.value.values(), runningMean.value.values(), runningVariance.value.values()
        )
        let scale = zip(gamma, variance).map { $0 / ($1 + epsilon).squareRoot() }
        let offset = beta.indices.map { beta[$0] - mean[$0] * scale[$0] }
        return (scale, offset)
    }

    /// Normalises by the batch's own statistics and moves the running ones.
    package func train(_ x: Tensor, tape: Tape?) -> Tensor {
        let (device, columns) = (x.device, weight.value.count)
        precondition(x.columns == columns, "\(weight.name) norms \(columns) columns, not shape \(x.shape)")
        let (y, mean, rstd) = (device.empty(x.shape), device.empty([columns]), device.empty([columns]))
        let norm = BatchNorm(
            x: x.pointer, gamma: weight.value.pointer, beta: bias.value.pointer, y: y.pointer, mean: mean.pointer, rstd: rstd.pointer,
            runningMean: runningMean.value.pointer, runningVariance: runningVariance.value.pointer, rows: x.rows, columns: columns,
            epsilon: epsilon, momentum: momentum)
        device.enqueue(.batchNorm(norm))
        tape?.record(y) { [mean, rstd] tape, dy in
            let (dx, accumulate) = tape.slot(for: x) ?? (device.empty(x.shape), false)
            let dGamma = weight.addingSlot() ?? device.zeros([columns])
            let dBeta = bias.addingSlot() ?? device.zeros([columns])
            withExtendedLifetime((x, mean, rstd)) {
                device.enqueue(
                    .batchNormBackward(
                        BatchNormBackward(
                            norm, dy: dy.pointer, dx: dx.pointer, dGamma: dGamma.pointer, dBeta: dBeta.pointer, accumulate: accumulate)))
            }
        }
        return y
    }
}

/// The largest value of each window.
package struct MaxPool2D: Sendable {
    package let size: Int
    package let stride: Int
    package let padding: Int
    package init(size: Int, stride: Int, padding: Int) {
        self.size = size
        self.stride = stride
        self.padding = padding
    }

    package func callAsFunction(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        let window = Window(
            images: x.dimension(0), height: x.dimension(1), width: x.dimension(2), channels: x.dimension(3), windowHeight: size,
            windowWidth: size, stride: stride, padding: padding)
        let y = x.device.empty([window.images, window.outHeight, window.outWidth, window.channels])
        let indices = tape == nil ? nil : x.device.empty(y.shape)
        x.device.enqueue(.maxPool(window, x.pointer, to: y.pointer, indices: indices?.pointer))
        tape?.record(y) { [indices] tape, dy in
            guard let indices, let (dx, accumulate) = tape.slot(for: x) else { return }
            if !accumulate { x.device.enqueue(.fill(dx.pointer, value: 0, count: dx.count)) }
            x.device.enqueue(.maxPoolBackward(window, dy: dy.pointer, indices: indices.pointer, dx: dx.pointer))
        }
        return y
    }
}
