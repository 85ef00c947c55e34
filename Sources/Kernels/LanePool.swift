internal import CKernels

/// Threads that share the parts of one kernel.
///
/// How a kernel falls into parts depends on its shape alone and each part writes its own memory, so the bits of a result
/// do not depend on how many lanes there are or which of them was quick.
final class LanePool: @unchecked Sendable {
    // `@unchecked Sendable`: the C pool runs one job at a time behind its own lock.
    private let pool: OpaquePointer
    let lanes: Int

    init(lanes: Int) {
        precondition(lanes >= 1, "a pool of \(lanes) lanes")
        self.lanes = lanes
        pool = amaf_lanes_create(Int32(lanes))
    }
    deinit { amaf_lanes_destroy(pool) }

    /// Calls `body(part, lane)` for every part and returns when all are done.
    func run(_ parts: Int, _ body: (_ part: Int, _ lane: Int) -> Void) {
        if parts <= 0 { return }
        withoutActuallyEscaping(body) { body in
            var box = body
            withUnsafeMutablePointer(to: &box) { context in
                amaf_lanes_run(
                    pool, parts,
                    { context, part, lane in
                        context!.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(part, lane)
                    }, context)
            }
        }
    }
}
