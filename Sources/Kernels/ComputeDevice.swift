/// An address in the memory of one device. Only that device can follow it; everybody else may only add to it.
package struct DevicePointer: Hashable, Sendable {
    package var rawValue: UInt

    package init(rawValue: UInt) { self.rawValue = rawValue }

    /// The address `words` 32-bit words further on.
    package func advanced(by words: Int) -> DevicePointer { DevicePointer(rawValue: rawValue &+ UInt(bitPattern: words &* 4)) }
}

/// Where networks compute: memory that the host cannot see, copies that are asked for, kernels that are queued.
///
/// Work is done in the order in which it was queued. `enqueue` may return before the kernel has run; `read` waits for all
/// that was queued before it. A device may be called from any thread: it serialises its calls itself.
package protocol ComputeDevice: AnyObject, Sendable {
    /// For people and for the numerics class, for example `cpu-x86-64-v3`.
    var name: String { get }

    /// Uninitialised memory for `words` 32-bit words.
    func allocate(words: Int) -> DevicePointer

    /// Takes memory back once the work queued so far no longer needs it.
    func release(_ pointer: DevicePointer, words: Int)

    /// Copies host memory to the device; the source may be reused at once.
    func write(_ source: UnsafeRawBufferPointer, to target: DevicePointer)

    /// Waits for the queue and copies device memory to the host.
    func read(_ source: DevicePointer, into target: UnsafeMutableRawBufferPointer)

    func enqueue(_ kernel: Kernel)

    /// Waits until everything queued is done.
    func synchronize()
}

extension ComputeDevice {
    /// A tensor with these values in row-major order.
    ///
    /// - Precondition: as many values as the shape has elements.
    package func tensor(_ values: [Float], _ shape: [Int]) -> Tensor {
        let tensor = Tensor(uninitialized: shape, on: self)
        tensor.assign(values)
        return tensor
    }

    package func tensor(indices values: [Int32], _ shape: [Int]) -> Tensor {
        let tensor = Tensor(uninitialized: shape, on: self)
        precondition(values.count == tensor.count, "\(values.count) values for shape \(shape)")
        values.withUnsafeBytes { write($0, to: tensor.pointer) }
        return tensor
    }

    package func empty(_ shape: [Int]) -> Tensor { Tensor(uninitialized: shape, on: self) }

    package func full(_ shape: [Int], _ value: Float) -> Tensor {
        let tensor = Tensor(uninitialized: shape, on: self)
        enqueue(.fill(tensor.pointer, value: value, count: tensor.count))
        return tensor
    }
    package func zeros(_ shape: [Int]) -> Tensor { full(shape, 0) }
}
