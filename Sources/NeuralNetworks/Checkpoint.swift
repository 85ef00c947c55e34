package import Foundation
internal import Kernels
package import Primitives

/// A training that can go on: weights, both Adam moments, the step, and what the caller wants to remember, in one
/// safetensors file that other tools read as plain weights.
package enum Checkpoint {
    /// - Parameter metadata: kept beside `adam.step`; must not use that key.
    package static func encode(_ parameters: [Parameter], optimizer: Adam?, metadata: [String: String] = [:]) -> Data {
        var metadata = metadata
        var tensors = parameters.namedTensors()
        if let optimizer {
            tensors += optimizer.state()
            metadata["adam.step"] = String(optimizer.step)
        }
        return Safetensors.encode(tensors, metadata: metadata)
    }

    /// Puts a checkpoint's numbers into an existing network and optimizer.
    ///
    /// - Throws: `model.missing-tensor`, `model.wrong-shape`, `model.not-resumable`.
    package static func restore(_ file: Safetensors, into parameters: [Parameter], optimizer: Adam?) throws(AMAFError) {
        for parameter in parameters {
            let shape = parameter.layout.checkpointShape(parameter.value.shape)
            let values = try file.floats(parameter.name, shape: shape)
            parameter.value.assign(parameter.layout.fromCheckpoint(values, shape).0)
        }
        guard let optimizer else { return }
        guard let text = file.metadata["adam.step"], let step = Int(text), step >= 0 else {
            throw AMAFError(
                "model.not-resumable", "The checkpoint holds no optimizer state", place: file.place,
                remedy: "Start a new training from its weights instead of resuming.")
        }
        try optimizer.restore(file, step: step)
    }
}

extension ParameterLayout {
    /// The checkpoint's shape for our shape.
    fileprivate func checkpointShape(_ shape: [Int]) -> [Int] {
        guard self == .convolution else { return shape }
        return [shape[0], shape[3], shape[1], shape[2]]
    }
}
