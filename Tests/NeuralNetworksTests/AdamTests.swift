import Foundation
import Kernels
import NeuralNetworks
import Primitives
import Testing

@Suite struct AdamTests {
    /// Three steps in double precision, each form written as its framework documents it.
    private func reference(_ form: Adam.Form, _ start: [Double], _ gradients: [[Double]], rate: Double, epsilon: Double) -> [Double] {
        var p = start
        var m = [Double](repeating: 0, count: p.count)
        var v = m
        for (i, g) in gradients.enumerated() {
            let t = Double(i + 1)
            for j in p.indices {
                m[j] = 0.9 * m[j] + 0.1 * g[j]
                v[j] = 0.999 * v[j] + 0.001 * g[j] * g[j]
                switch form {
                case .pyTorch: p[j] -= rate * (m[j] / (1 - pow(0.9, t))) / ((v[j] / (1 - pow(0.999, t))).squareRoot() + epsilon)
                case .tensorFlow: p[j] -= rate * (1 - pow(0.999, t)).squareRoot() / (1 - pow(0.9, t)) * m[j] / (v[j].squareRoot() + epsilon)
                }
            }
        }
        return p
    }

    @Test(arguments: Adam.Form.allCases) func takesTheReferencesSteps(_ form: Adam.Form) throws {
        var generator = SeededGenerator(seed: 3)
        let start = (0..<64).map { _ in Float(generator.uniform() - 0.5) }
        // Slopes over many magnitudes: the forms differ where √v is near ε.
        let gradients = (0..<3).map { _ in (0..<64).map { i in Float(generator.uniform() - 0.5) * Float(pow(10.0, Double(-(i % 9)))) } }
        let expected = reference(
            form, start.map(Double.init), gradients.map { $0.map(Double.init) }, rate: 1e-2, epsilon: form == .pyTorch ? 1e-8 : 1e-7)
        for device in [CPUDevice(lanes: 2), RemoteMemoryDevice()] as [any ComputeDevice] {
            let parameter = Parameter("p", device.tensor(start, [64]))
            let adam = Adam([parameter], .init(form: form, learningRate: 1e-2))
            for gradient in gradients {
                parameter.slot()?.gradient.assign(gradient)
                adam.update()
            }
            for (a, b) in zip(parameter.value.values(), expected) { #expect(abs(Double(a) - b) < 1e-6, "on \(device.name)") }
        }
    }

    @Test func theFormsDiffer() {
        let a = reference(.pyTorch, [0], [[1e-6]], rate: 1e-2, epsilon: 1e-7)
        let b = reference(.tensorFlow, [0], [[1e-6]], rate: 1e-2, epsilon: 1e-7)
        #expect(abs(a[0] - b[0]) > 1e-3)
    }

    @Test func resumesWhereItStopped() throws {
        let device = CPUDevice(lanes: 1)
        func network() throws -> (ParameterStore, Linear) {
            let store = ParameterStore(seed: 1, on: device)
            return (store, try Linear(store, "layer", inputs: 3, outputs: 2))
        }
        func train(_ store: ParameterStore, _ layer: Linear, _ adam: Adam, steps: Range<Int>) {
            for i in steps {
                let tape = Tape()
                let y = layer(device.full([2, 3], Float(i) * 0.3), tape: tape)
                _ = Losses.gaussian(y, targets: device.full([2, 2], 1), scale: 1, tape: tape)
                tape.backward()
                adam.update()
            }
        }
        let (whole, wholeLayer) = try network()
        train(whole, wholeLayer, Adam(whole.parameters), steps: 0..<6)

        let (first, firstLayer) = try network()
        let firstAdam = Adam(first.parameters)
        train(first, firstLayer, firstAdam, steps: 0..<3)
        let file = try Safetensors(data: Checkpoint.encode(first.parameters, optimizer: firstAdam), place: "memory")
        let (second, secondLayer) = try network()
        let secondAdam = Adam(second.parameters)
        try Checkpoint.restore(file, into: second.parameters, optimizer: secondAdam)
        train(second, secondLayer, secondAdam, steps: 3..<6)
        for (a, b) in zip(whole.parameters, second.parameters) { #expect(a.value.values() == b.value.values()) }
    }

    @Test func schedulesRampUpAndDown() {
        let linear = LearningRateSchedule.linear(warmup: 4, total: 12)
        #expect((1...12).map { linear.factor(step: $0) } == [0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0])
        #expect(abs(LearningRateSchedule.cosine(warmup: 0, total: 10).factor(step: 5) - 0.5) < 1e-6)
    }
}
