internal import CKernels
internal import COpenBLAS
internal import Synchronization

/// The processor as a device: kernels run at once, on `lanes` threads, over OpenBLAS and CKernels.
///
/// OpenBLAS itself always runs one thread; the lanes divide the work (DESIGN section 8).
package final class CPUDevice: ComputeDevice {
    package let name: String
    package var lanes: Int { pool.lanes }
    let pool: LanePool
    private let memory: Mutex<BlockCache>
    /// One kernel at a time: kernels share the lanes' scratch memory.
    private let queue = Mutex<Void>(())
    let scratch: ScratchSpace
    let matrixKernel: MatrixKernel

    /// - Parameters:
    ///   - lanes: threads, at least 1; by default as many as the processor offers.
    ///   - matrixLevel: of CKernels' matrix kernel, at most the processor's: 2 for x86-64-v4, 1 for v3, 0 for OpenBLAS alone.
    package init(lanes: Int = CPUDevice.availableLanes, matrixLevel: Int = .max) {
        matrixKernel = MatrixKernel(level: min(Int32(clamping: matrixLevel), amaf_gemm_level()))
        openblas_set_num_threads(1)
        pool = LanePool(lanes: lanes)
        memory = Mutex(BlockCache())
        scratch = ScratchSpace(lanes: lanes)
        name = "cpu-\(CPUDevice.instructionLevel)"
    }

    deinit { memory.withLock { $0.releaseAll() } }

    package static var availableLanes: Int { max(1, Int(amaf_available_lanes())) }

    /// The clone of CKernels' loops that runs here: it decides the last bit of a result.
    package static var instructionLevel: String { String(cString: amaf_instruction_level()) }

    package func allocate(words: Int) -> DevicePointer { memory.withLock { $0.allocate(words: words) } }
    package func release(_ pointer: DevicePointer, words: Int) { memory.withLock { $0.release(pointer, words: words) } }

    package func write(_ source: UnsafeRawBufferPointer, to target: DevicePointer) {
        guard let base = source.baseAddress else { return }
        queue.withLock { _ in target.raw.copyMemory(from: base, byteCount: source.count) }
    }
    package func read(_ source: DevicePointer, into target: UnsafeMutableRawBufferPointer) {
        guard let base = target.baseAddress else { return }
        queue.withLock { _ in base.copyMemory(from: source.raw, byteCount: target.count) }
    }
    package func enqueue(_ kernel: Kernel) {
        queue.withLock { _ in
            guard isProfiling.load(ordering: .relaxed) else { return run(kernel) }
            let start = Self.processorSeconds
            run(kernel)
            let seconds = Self.processorSeconds - start
            profile.withLock { profile in
                var entry = profile[kernel.label] ?? (0, 0)
                entry.calls += 1
                entry.seconds += seconds
                profile[kernel.label] = entry
            }
        }
    }

    private let isProfiling = Atomic<Bool>(false)
    private let profile = Mutex<[String: (calls: Int, seconds: Double)]>([:])

    /// Starts to time every kernel.
    package func startProfile() {
        profile.withLock { $0 = [:] }
        isProfiling.store(true, ordering: .relaxed)
    }

    /// Processor time of this process so far, all threads: what a busy neighbour does not change.
    package static var processorSeconds: Double { amaf_processor_seconds() }

    /// Processor time spent by kind and shape of kernel since `startProfile`, the longest first. Lanes that wait spin, so
    /// only one lane tells what a kernel itself costs.
    package func stopProfile() -> [(kernel: String, calls: Int, seconds: Double)] {
        isProfiling.store(false, ordering: .relaxed)
        return profile.withLock { $0 }.map { ($0.key, $0.value.calls, $0.value.seconds) }.sorted {
            ($1.seconds, $0.kernel) < ($0.seconds, $1.kernel)
        }
    }
    package func synchronize() {}

    /// Bytes handed out and kept, for reports on memory.
    package var allocatedBytes: Int { memory.withLock { $0.liveBytes + $0.cachedBytes } }

    /// Measured fused multiply-add peak of `lanes` lanes in GFLOP/s: what a share of peak refers to.
    package func measureFMAPeak(rounds: Int = 50_000_000) -> Double {
        var flops = [Double](repeating: 0, count: lanes)
        let clock = ContinuousClock()
        let elapsed = flops.withUnsafeMutableBufferPointer { flops in
            clock.measure {
                pool.run(lanes) { part, _ in
                    var sink: Float = 1
                    flops[part] = amaf_fma_burn(rounds, &sink)
                }
            }
        }
        let (seconds, attoseconds) = elapsed.components
        return flops.reduce(0, +) / (Double(seconds) + Double(attoseconds) * 1e-18) / 1e9
    }
}

extension DevicePointer {
    /// The address as the host sees it: only for devices whose memory is the host's.
    var raw: UnsafeMutableRawPointer {
        guard let pointer = UnsafeMutableRawPointer(bitPattern: rawValue) else { preconditionFailure("a kernel was given address 0") }
        return pointer
    }
    var floats: UnsafeMutablePointer<Float> { raw.assumingMemoryBound(to: Float.self) }
    var integers: UnsafeMutablePointer<Int32> { raw.assumingMemoryBound(to: Int32.self) }
}

/// Freed blocks by size class, so that a training step finds the memory of the last one warm.
private struct BlockCache {
    private var free: [Int: [DevicePointer]] = [:]
    private(set) var liveBytes = 0
    private(set) var cachedBytes = 0
    /// Beyond this, freed blocks go back to the system.
    private let cacheLimit = 1 << 30

    /// Sizes are rounded up to an eighth of a power of two: at most 12.5 % are wasted.
    private static func sizeClass(words: Int) -> Int {
        let bytes = max(words * 4, 256)
        let power = 1 << (Int.bitWidth - 1 - bytes.leadingZeroBitCount)
        let step = max(power / 8, 64)
        return (bytes + step - 1) / step * step
    }

    mutating func allocate(words: Int) -> DevicePointer {
        let bytes = Self.sizeClass(words: words)
        liveBytes += bytes
        if let block = free[bytes]?.popLast() {
            cachedBytes -= bytes
            return block
        }
        if let memory = amaf_allocate(bytes) { return DevicePointer(rawValue: UInt(bitPattern: memory)) }
        // Out of memory: give back what is cached and try once more.
        releaseAll()
        guard let memory = amaf_allocate(bytes) else { fatalError("no memory for \(bytes) bytes") }
        return DevicePointer(rawValue: UInt(bitPattern: memory))
    }

    mutating func release(_ pointer: DevicePointer, words: Int) {
        let bytes = Self.sizeClass(words: words)
        liveBytes -= bytes
        if cachedBytes + bytes > cacheLimit {
            amaf_deallocate(pointer.raw)
        } else {
            free[bytes, default: []].append(pointer)
            cachedBytes += bytes
        }
    }

    mutating func releaseAll() {
        // Every block is given back; their order does not reach any result.
        for blocks in free.values { for block in blocks { amaf_deallocate(block.raw) } }
        free = [:]
        cachedBytes = 0
    }
}

/// Memory that a kernel uses inside one part, one growing block per lane, and one shared by a whole kernel.
final class ScratchSpace: @unchecked Sendable {
    // `@unchecked Sendable`: a lane touches only its own slot, and the device runs one kernel at a time.
    private let slots: UnsafeMutablePointer<(memory: UnsafeMutableRawPointer?, floats: Int)>
    private let count: Int

    init(lanes: Int) {
        count = lanes + 1
        slots = .allocate(capacity: count)
        slots.initialize(repeating: (nil, 0), count: count)
    }
    deinit {
        for i in 0..<count { if let memory = slots[i].memory { amaf_deallocate(memory) } }
        slots.deallocate()
    }

    private func block(_ slot: Int, floats: Int) -> UnsafeMutablePointer<Float> {
        if slots[slot].floats < floats {
            if let old = slots[slot].memory { amaf_deallocate(old) }
            guard let memory = amaf_allocate(floats * 4) else { fatalError("no memory for \(floats * 4) bytes of scratch") }
            slots[slot] = (memory, floats)
        }
        return slots[slot].memory!.assumingMemoryBound(to: Float.self)
    }

    func ofLane(_ lane: Int, floats: Int) -> UnsafeMutablePointer<Float> { block(lane, floats: max(floats, 1)) }
    /// Shared by the parts of the running kernel; ask for it before they start.
    func shared(floats: Int) -> UnsafeMutablePointer<Float> { block(count - 1, floats: max(floats, 1)) }
}
