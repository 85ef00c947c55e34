package import Kernels
package import Primitives

/// A weight: its value, and during training its slope.
///
/// `@unchecked Sendable`: whoever trains a network owns its parameters; everybody else only reads values.
package final class Parameter: @unchecked Sendable {
    /// The name in checkpoints.
    package let name: String
    package let value: Tensor
    /// How the checkpoint orders the numbers of `value`.
    package let layout: ParameterLayout
    /// Frozen parameters and running statistics gather no slope.
    package var isTrainable: Bool
    private var gradientStorage: Tensor?
    private var hasGradient = false

    package init(_ name: String, _ value: Tensor, layout: ParameterLayout = .plain, isTrainable: Bool = true) {
        self.name = name
        self.value = value
        self.layout = layout
        self.isTrainable = isTrainable
    }

    /// The slope gathered since `forgetGradient`, if any.
    package var gradient: Tensor? { hasGradient ? gradientStorage : nil }

    /// Starts a new step; the memory stays.
    package func forgetGradient() { hasGradient = false }

    /// Where to put (`accumulate` false) or add a slope; nil when frozen.
    package func slot() -> (gradient: Tensor, accumulate: Bool)? {
        guard isTrainable else { return nil }
        let storage = gradientStorage ?? value.device.empty(value.shape)
        gradientStorage = storage
        defer { hasGradient = true }
        return (storage, hasGradient)
    }

    /// The slope to add to, zeroed at the first call of a step.
    package func addingSlot() -> Tensor? {
        guard let (gradient, accumulate) = slot() else { return nil }
        if !accumulate { value.device.enqueue(.fill(gradient.pointer, value: 0, count: gradient.count)) }
        return gradient
    }
}

/// The order of a checkpoint's numbers against ours.
package enum ParameterLayout: Sendable, Hashable {
    case plain
    /// Checkpoint (filters, channels, height, width); here (filters, height, width, channels).
    case convolution

    /// From the checkpoint's order to ours; `shape` is the checkpoint's.
    func fromCheckpoint(_ values: [Float], _ shape: [Int]) -> ([Float], [Int]) {
        guard self == .convolution else { return (values, shape) }
        let (o, c, h, w) = (shape[0], shape[1], shape[2], shape[3])
        return (Self.permute(values, outer: o, rows: c, columns: h * w), [o, h, w, c])
    }

    /// From our order to the checkpoint's; `shape` is ours.
    func toCheckpoint(_ values: [Float], _ shape: [Int]) -> ([Float], [Int]) {
        guard self == .convolution else { return (values, shape) }
        let (o, h, w, c) = (shape[0], shape[1], shape[2], shape[3])
        return (Self.permute(values, outer: o, rows: h * w, columns: c), [o, c, h, w])
    }

    private static func permute(_ x: [Float], outer: Int, rows: Int, columns: Int) -> [Float] {
        var y = [Float](repeating: 0, count: x.count)
        for o in 0..<outer {
            let at = o * rows * columns
            for r in 0..<rows { for c in 0..<columns { y[at + c * rows + r] = x[at + r * columns + c] } }
        }
        return y
    }
}

/// What a fresh weight looks like.
package enum Initializer: Sendable, Hashable {
    case constant(Float)
    /// N(0, deviation²)
    case normal(Float)
    /// U(−bound, bound)
    case uniform(Float)

    /// PyTorch's default for linear and convolution layers, weights and biases alike: U(±1/√fan-in).
    package static func fanIn(_ count: Int) -> Initializer { .uniform(1 / Float(max(count, 1)).squareRoot()) }

    func values(_ count: Int, seed: UInt64, name: String) -> [Float] {
        var generator = SeededGenerator(seed: seed, stream: "parameter", name)
        switch self {
        case .constant(let value): return [Float](repeating: value, count: count)
        case .uniform(let bound): return (0..<count).map { _ in Float(generator.uniform() * 2 - 1) * bound }
        case .normal(let deviation):
            // The sum of twelve uniforms would do as well; the polar method (Marsaglia 1964) is exact.
            var out: [Float] = []
            out.reserveCapacity(count + 1)
            while out.count < count {
                let (a, b) = (generator.uniform() * 2 - 1, generator.uniform() * 2 - 1)
                let s = a * a + b * b
                if s >= 1 || s == 0 { continue }
                let factor = (-2 * naturalLogarithm(s) / s).squareRoot() * Double(deviation)
                out.append(Float(a * factor))
                out.append(Float(b * factor))
            }
            return Array(out.prefix(count))
        }
    }
}

/// Makes the parameters of one network, fresh or from a checkpoint, and remembers them in order.
///
/// A network's initialiser asks for each weight by its checkpoint name and shape; where the numbers come from is not its
/// business.
package final class ParameterStore {
    package enum Source {
        case fresh(seed: UInt64)
        /// Names are looked up as `prefix + name`.
        case checkpoint(any TensorSource, prefix: String)
    }

    package let device: any ComputeDevice
    package private(set) var parameters: [Parameter] = []
    private let source: Source
    private var names: Set<String> = []

    package init(_ source: Source, on device: any ComputeDevice) {
        self.source = source
        self.device = device
    }

    package convenience init(seed: UInt64, on device: any ComputeDevice) { self.init(.fresh(seed: seed), on: device) }

    /// Whether a weight that some checkpoints lack is there. Always true for fresh networks.
    package func has(_ name: String) -> Bool {
        switch source {
        case .fresh: true
        case .checkpoint(let tensors, let prefix): tensors.contains(prefix + name)
        }
    }

    /// - Parameters:
    ///   - shape: as in the checkpoint.
    ///   - isTrainable: false for running statistics.
    /// - Throws: `model.missing-tensor`, `model.wrong-shape`, `model.not-finite`, each naming tensor and file.
    package func parameter(
        _ name: String, _ shape: [Int], _ initializer: Initializer, layout: ParameterLayout = .plain, isTrainable: Bool = true
    ) throws(AMAFError) -> Parameter {
        precondition(names.insert(name).inserted, "the network asks twice for \(name)")
        let values: [Float]
        switch source {
        case .fresh(let seed): values = initializer.values(shape.reduce(1, *), seed: seed, name: name)
        case .checkpoint(let tensors, let prefix):
            values = try tensors.floats(prefix + name, shape: shape)
            if let bad = values.firstIndex(where: { !$0.isFinite }) {
                throw AMAFError(
                    "model.not-finite", "Tensor '\(prefix + name)' holds \(values[bad]) at position \(bad)", place: tensors.place,
                    remedy: "The checkpoint is damaged or its training diverged; take an earlier one.")
            }
        }
        let (ordered, ours) = layout.fromCheckpoint(values, shape)
        let parameter = Parameter(name, device.tensor(ordered, ours), layout: layout, isTrainable: isTrainable)
        parameters.append(parameter)
        return parameter
    }
}

/// Named tensors to load weights from.
package protocol TensorSource {
    /// Named in errors, usually the file.
    var place: String { get }
    func contains(_ name: String) -> Bool
    /// - Throws: `model.missing-tensor` and `model.wrong-shape`.
    func floats(_ name: String, shape: [Int]) throws(AMAFError) -> [Float]
}

extension Sequence<Parameter> {
    package func forgetGradients() { for parameter in self { parameter.forgetGradient() } }
    package var weightCount: Int { reduce(0) { $0 + $1.value.count } }
}
