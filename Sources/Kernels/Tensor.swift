internal import Synchronization

/// A dense, row-major array of 32-bit numbers (Float32, or Int32 for indices) in a device's memory.
///
/// A tensor is a view: copies and `reshaped` share the memory, which goes back to the device with the last of them. The
/// host sees the numbers only through the explicit copies `assign` and `values`.
///
/// `@unchecked Sendable`: shape and address never change, and the memory is touched only by the device, which serialises.
package struct Tensor: @unchecked Sendable {
    package let shape: [Int]
    package let count: Int
    /// Tells values on a tape apart; a reshaped view is another value.
    package let id: Int
    package let pointer: DevicePointer
    private let storage: Storage

    private final class Storage: Sendable {
        let device: any ComputeDevice
        let pointer: DevicePointer
        let words: Int

        init(device: any ComputeDevice, words: Int) {
            self.device = device
            self.words = words
            pointer = device.allocate(words: words)
        }
        deinit { device.release(pointer, words: words) }
    }

    private static let serial = Atomic<Int>(0)
    private static func nextID() -> Int { serial.wrappingAdd(1, ordering: .relaxed).newValue }

    /// - Precondition: no negative dimension.
    package init(uninitialized shape: [Int], on device: any ComputeDevice) {
        precondition(shape.allSatisfy { $0 >= 0 }, "a tensor cannot have shape \(shape)")
        self.shape = shape
        count = shape.reduce(1, *)
        id = Self.nextID()
        storage = Storage(device: device, words: max(count, 1))
        pointer = storage.pointer
    }

    private init(shape: [Int], offset: Int, of other: Tensor) {
        self.shape = shape
        count = shape.reduce(1, *)
        id = Self.nextID()
        storage = other.storage
        pointer = other.pointer.advanced(by: offset)
    }

    package var device: any ComputeDevice { storage.device }
    package var rank: Int { shape.count }

    /// The size of one dimension; negative positions count from the end.
    package func dimension(_ axis: Int) -> Int {
        let index = axis < 0 ? shape.count + axis : axis
        precondition(shape.indices.contains(index), "shape \(shape) has no dimension \(axis)")
        return shape[index]
    }

    /// The size of the last dimension, and the product of all others: how row-wise kernels see a tensor.
    package var columns: Int { shape.last ?? 1 }
    package var rows: Int { columns == 0 ? 0 : count / columns }

    /// The same numbers under another shape.
    package func reshaped(_ shape: [Int]) -> Tensor {
        precondition(shape.reduce(1, *) == count, "shape \(self.shape) with \(count) elements cannot become \(shape)")
        return Tensor(shape: shape, offset: 0, of: self)
    }

    /// Elements `offset ..< offset + product(shape)` as a tensor that shares this one's memory.
    package func view(offset: Int, _ shape: [Int]) -> Tensor {
        let wanted = shape.reduce(1, *)
        precondition(offset >= 0 && offset + wanted <= count, "a view of \(shape) at \(offset) does not fit in \(self.shape)")
        return Tensor(shape: shape, offset: offset, of: self)
    }

    /// Rows `range` of the first dimension, sharing memory.
    package func slice(_ range: Range<Int>) -> Tensor {
        precondition(range.lowerBound >= 0 && range.upperBound <= dimension(0), "rows \(range) of shape \(shape)")
        let inner = shape.dropFirst().reduce(1, *)
        return view(offset: range.lowerBound * inner, [range.count] + shape.dropFirst())
    }

    /// Copies values from the host.
    package func assign(_ values: [Float]) {
        precondition(values.count == count, "\(values.count) values for shape \(shape)")
        values.withUnsafeBytes { device.write($0, to: pointer) }
    }

    /// Copies from a tensor of as many elements on the same device.
    package func assign(_ other: Tensor) {
        precondition(other.count == count, "shape \(other.shape) cannot be copied into \(shape)")
        device.enqueue(.copyRows(other.pointer, stride: count, to: pointer, toStride: count, rows: 1, columns: count, accumulate: false))
    }

    /// Waits for the device and copies the values to the host.
    package func values() -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { buffer, written in
            device.read(pointer, into: UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: count * 4))
            written = count
        }
    }

    package func copy() -> Tensor {
        let out = device.empty(shape)
        out.assign(self)
        return out
    }
}
