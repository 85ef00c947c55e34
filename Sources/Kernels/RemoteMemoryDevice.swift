internal import Synchronization

/// A device for tests that behaves as a graphics card does and is wrong as early as one: its memory has its own address
/// range (an address means nothing to the host), is full of NaN until written, and nothing runs before somebody waits.
///
/// It runs `ReferenceKernels`, so every network that gives the same numbers here and on `CPUDevice` proves both the seam
/// (no host access to device memory, explicit copies, order of work) and the fast kernels.
package final class RemoteMemoryDevice: ComputeDevice {
    package let name = "remote-memory-emulation"

    private enum Command {
        case kernel(Kernel)
        case write([UInt8], DevicePointer)
        case release(DevicePointer)
    }

    private struct State {
        var blocks: [(base: UInt, words: Int, memory: UnsafeMutablePointer<UInt32>)] = []
        var nextAddress: UInt = 0x7000_0000_0000_0000
        var queue: [Command] = []
        var executed = 0
    }
    private let state = Mutex(UncheckedBox(State()))

    /// The lock around the state makes handing it between threads safe.
    private struct UncheckedBox: @unchecked Sendable {
        var value: State
        init(_ value: State) { self.value = value }
    }

    package init() {}
    deinit { state.withLock { box in for block in box.value.blocks { block.memory.deallocate() } } }

    /// Kernels run so far: tests use it to see that work is deferred.
    package var executedKernels: Int { state.withLock { $0.value.executed } }

    package func allocate(words: Int) -> DevicePointer {
        state.withLock { box in
            let memory = UnsafeMutablePointer<UInt32>.allocate(capacity: words)
            memory.initialize(repeating: 0x7FC0_BAD0, count: words)
            let base = box.value.nextAddress
            // Blocks never touch, so running over the end of one is found out.
            box.value.nextAddress += UInt(words * 4 + 4096)
            box.value.blocks.append((base, words, memory))
            return DevicePointer(rawValue: base)
        }
    }

    package func release(_ pointer: DevicePointer, words: Int) { state.withLock { $0.value.queue.append(.release(pointer)) } }

    package func write(_ source: UnsafeRawBufferPointer, to target: DevicePointer) {
        state.withLock { $0.value.queue.append(.write([UInt8](source), target)) }
    }

    package func read(_ source: DevicePointer, into target: UnsafeMutableRawBufferPointer) {
        state.withLock { box in
            Self.drain(&box.value)
            guard let base = target.baseAddress else { return }
            base.copyMemory(from: Self.resolve(source, words: target.count / 4, in: box.value), byteCount: target.count)
        }
    }

    package func enqueue(_ kernel: Kernel) { state.withLock { $0.value.queue.append(.kernel(kernel)) } }
    package func synchronize() { state.withLock { Self.drain(&$0.value) } }

    private static func drain(_ state: inout State) {
        let queue = state.queue
        state.queue = []
        for command in queue {
            switch command {
            case .kernel(let kernel):
                let snapshot = state
                ReferenceKernels { pointer, words in resolve(pointer, words: words, in: snapshot) }.run(kernel)
                state.executed += 1
            case .write(let bytes, let target):
                bytes.withUnsafeBytes { source in
                    guard let base = source.baseAddress else { return }
                    UnsafeMutableRawPointer(resolve(target, words: source.count / 4, in: state)).copyMemory(
                        from: base, byteCount: source.count)
                }
            case .release(let pointer):
                guard let index = state.blocks.firstIndex(where: { $0.base == pointer.rawValue }) else {
                    preconditionFailure("address \(pointer.rawValue) was released twice or never handed out")
                }
                state.blocks[index].memory.deallocate()
                state.blocks.remove(at: index)
            }
        }
    }

    /// The memory behind an address; traps when any of `words` words lies outside one block.
    private static func resolve(_ pointer: DevicePointer, words: Int, in state: State) -> UnsafeMutablePointer<UInt32> {
        // Blocks are sorted by address: addresses only grow, and removal keeps the order.
        var (low, high) = (0, state.blocks.count)
        while low < high {
            let middle = (low + high) / 2
            if state.blocks[middle].base <= pointer.rawValue { low = middle + 1 } else { high = middle }
        }
        precondition(low > 0, "address \(pointer.rawValue) belongs to no block of this device")
        let block = state.blocks[low - 1]
        let offset = Int(pointer.rawValue - block.base)
        precondition(
            offset % 4 == 0 && offset / 4 + words <= block.words,
            "words \(offset / 4) ..< \(offset / 4 + words) of a block of \(block.words) words")
        return block.memory + offset / 4
    }
}
