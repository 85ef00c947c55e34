import Kernels
import NeuralNetworks
import Primitives
import Testing

private func random(_ device: any ComputeDevice, _ shape: [Int], _ seed: UInt64, scale: Float = 1) -> Tensor {
    var generator = SeededGenerator(seed: seed)
    return device.tensor((0..<shape.reduce(1, *)).map { _ in (Float(generator.uniform()) * 2 - 1) * scale }, shape)
}

/// A network with one input whose loss is Σ w · f(x), w fixed, so that every output element matters differently.
private func check(
    _ store: ParameterStore, _ shape: [Int], step: Float = 1e-2, _ forward: @escaping (Tensor, Tape?) -> Tensor
) -> GradientCheck.Result {
    let device = store.device
    let x = random(device, shape, 99)
    return GradientCheck.run(parameters: store.parameters, inputs: [("x", x)], step: step) { tape in
        let y = forward(x, tape)
        let weights = random(device, y.shape, 7)
        if let tape {
            tape.add(weights.copy(), to: y)
            tape.backward()
            return 0
        }
        return zip(y.values(), weights.values()).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
}

/// Devices on which every layer must hold: the fast one and the one that behaves like a card.
private let devices: [any ComputeDevice] = [CPUDevice(lanes: 2), RemoteMemoryDevice()]

@Suite struct LayerTests {
    // Central differences at h = 1e-2 err by h² f‴/6 ≈ 1e-4 where f bends, and by Float32 rounding of the loss / h.
    private let tolerance = 5e-3

    private func expectSlopes(_ shape: [Int], _ make: (ParameterStore) throws -> (Tensor, Tape?) -> Tensor) throws {
        for device in devices {
            let store = ParameterStore(seed: 5, on: device)
            let forward = try make(store)
            let result = check(store, shape, forward)
            #expect(result.worst < tolerance, "\(result.place) on \(device.name)")
        }
    }

    @Test(arguments: [UnaryFunction.identity, .gelu, .geluTanh, .quickGELU, .tanh, .sigmoid])
    func linear(_ activation: UnaryFunction) throws {
        try expectSlopes([3, 4, 6]) { store in
            let (a, b) = (try Linear(store, "a", inputs: 6, outputs: 5), try Linear(store, "b", inputs: 5, outputs: 6, bias: false))
            return { x, tape in b(a(x, activation: activation, tape: tape), residual: x, tape: tape) }
        }
    }

    @Test func norms() throws {
        try expectSlopes([5, 12]) { store in
            let (a, b) = (try LayerNorm(store, "a", columns: 12, epsilon: 1e-5), try RMSNorm(store, "b", columns: 12, epsilon: 1e-6))
            return { x, tape in Operations.combine(b(a(x, tape: tape), tape: tape), 1, x, 0.5, tape: tape) }
        }
    }

    @Test func batchNorm() throws {
        try expectSlopes([2, 3, 3, 4]) { store in
            let layer = try BatchNorm2D(store, "a", columns: 4)
            return { x, tape in Operations.unary(.tanh, layer.train(x, tape: tape), tape: tape) }
        }
    }

    @Test func convolutions() throws {
        try expectSlopes([2, 6, 6, 3]) { store in
            let a = try Convolution2D(store, "a", channels: 3, filters: 4, window: 4, stride: 2, padding: 1)
            let b = try Convolution2D(store, "b", channels: 4, filters: 4, window: 3, padding: 1, bias: false)
            let c = try TransposedConvolution2D(store, "c", channels: 4, outputs: 3, window: 4, stride: 2, padding: 1)
            return { x, tape in
                let y = a(x, activation: .tanh, tape: tape)
                return c(b(y, activation: .sigmoid, residual: y, tape: tape), activation: .tanh, tape: tape)
            }
        }
    }

    @Test func attention() throws {
        try expectSlopes([2, 5, 8]) { store in
            let (q, k) = (try Linear(store, "q", inputs: 8, outputs: 8), try Linear(store, "k", inputs: 8, outputs: 8))
            let v = try Linear(store, "v", inputs: 8, outputs: 8)
            let bias = store.device.tensor([0, 0, 0, 0, -1e9, 0, 0, 0, 0, 0], [2, 5])
            return { x, tape in
                ScaledDotProduct.attend(
                    q: q(x, tape: tape), k: k(x, tape: tape), v: v(x, tape: tape), heads: 2, scale: 0.5, keyBias: bias, causalOffset: 1,
                    tape: tape)
            }
        }
    }

    @Test func embeddingsPoolsAndViews() throws {
        try expectSlopes([2, 3, 4]) { store in
            let table = try Embedding(store, "table", count: 7, columns: 4, initializer: .uniform(1))
            let row = try store.parameter("row", [3, 4], .uniform(1))
            let weights = store.device.tensor([0.5, 0.5, 0, 0.2, 0.3, 0.5], [2, 3])
            return { x, tape in
                let e = Operations.addRow(
                    Operations.multiply(table([1, 6, 1, 0, 2, 1], [2, 3], tape: tape), x, tape: tape), row, tape: tape)
                let pooled = Operations.pool(e, weights: weights, tape: tape)
                let first = Operations.token(Operations.softmax(e, tape: tape), at: 0, tape: tape)
                let both = Operations.concatenate(pooled, first, tape: tape)
                return Operations.columns(both, 1..<7, tape: tape)
            }
        }
    }

    @Test func maxPool() throws {
        // Far steps could change a winner, so values are spread out and the step is small.
        for device in devices {
            let store = ParameterStore(seed: 5, on: device)
            let pool = MaxPool2D(size: 3, stride: 2, padding: 1)
            #expect(check(store, [2, 5, 5, 3], step: 1e-3) { pool($0, tape: $1) }.worst < 1e-2)
        }
    }

    @Test func losses() throws {
        for device in devices {
            let store = ParameterStore(seed: 5, on: device)
            let head = try Linear(store, "head", inputs: 6, outputs: 4)
            let x = random(device, [5, 6], 1)
            let targets = Operations.softmax(random(device, [5, 4], 2, scale: 2))
            for kind in 0..<3 {
                let result = GradientCheck.run(parameters: store.parameters) { tape in
                    let y = head(x, tape: tape)
                    let loss =
                        switch kind {
                        case 0: Losses.crossEntropy(y, targets: targets, scale: 1, tape: tape)
                        case 1: Losses.bernoulli(y, targets: targets, scale: 1, tape: tape)
                        default: Losses.gaussian(y, targets: targets, scale: 1, tape: tape)
                        }
                    tape?.backward()
                    return loss.values().reduce(0) { $0 + Double($1) }
                }
                #expect(result.worst < 5e-3, "loss \(kind): \(result.place) on \(device.name)")
            }
        }
    }

    @Test func divergenceAndReparameterisation() throws {
        for device in devices {
            let store = ParameterStore(seed: 5, on: device)
            let (mean, v) = (try Linear(store, "mean", inputs: 6, outputs: 4), try Linear(store, "v", inputs: 6, outputs: 4))
            let (x, t) = (random(device, [5, 6], 1), random(device, [5, 4], 2))
            let result = GradientCheck.run(parameters: store.parameters) { tape in
                let (m, v) = (mean(x, tape: tape), v(x, tape: tape))
                let z = Operations.reparameterize(mean: m, logVariance: v, seed: 3, stream: 0, tape: tape)
                let fit = Losses.gaussian(z, targets: t, scale: 1, tape: tape)
                let divergence = Losses.divergence(mean: m, logVariance: v, scale: 0.5, tape: tape)
                tape?.backward()
                return fit.values().reduce(0) { $0 + Double($1) } + 0.5 * divergence.values().reduce(0) { $0 + Double($1) }
            }
            #expect(result.worst < 5e-3, "\(result.place) on \(device.name)")
        }
    }

    @Test func gradientCheckFindsAWrongSlope() throws {
        let store = ParameterStore(seed: 5, on: CPUDevice(lanes: 1))
        let layer = try Linear(store, "a", inputs: 3, outputs: 2)
        let result = check(store, [4, 3]) { x, tape in
            // The slope of y = x W is carried as if it were 1.1 y.
            let y = layer(x, tape: tape)
            guard let tape else { return y }
            let wrong = y.reshaped(y.shape)
            tape.record(wrong) { tape, dy in tape.add(Operations.combine(dy, 1.1, dy, 0), to: y) }
            return wrong
        }
        #expect(result.worst > 0.02)
    }
}
