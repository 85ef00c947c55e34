import Foundation
import Primitives

/// What a diagnostic task does to the cluster; all of it is deterministic, so that it may be repeated anywhere.
package struct DiagnosticParameters: Codable, Hashable, Sendable {
    /// Sleeps so long in each block.
    package var sleepSeconds = 0.0
    /// Keeps a core busy for so many million steps in each block.
    package var spinMillions = 0
    /// Bytes of each block's output, made from `seed` and the block's number.
    package var outputBytes = 8
    /// Memory touched while a block is worked on.
    package var touchBytes = 0
    /// The slot's process dies by SIGABRT in this block, unless the block's sample is masked.
    package var crashBlock: Int?
    /// Position of the sample that is to blame for the crash of its block.
    package var crashSample: Int?
    /// The block fails with an error that will not go away.
    package var failBlock: Int?
    /// The block never ends.
    package var hangBlock: Int?
    package var seed: UInt64 = 0

    package init() {}
}

/// `diagnostic`: work without a purpose of its own, to see how a cluster places, spreads and repeats tasks.
package struct DiagnosticStage: StageExecutor {
    package static let kind = "diagnostic"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: DiagnosticParameters.self)
        for block in task.blocks {
            if parameters.crashBlock == block, parameters.crashSample.map({ !task.maskedSamples.contains($0) }) ?? true { abort() }
            if parameters.failBlock == block {
                throw AMAFError(
                    "diagnostic.failed", "Block \(block) was asked to fail", remedy: "This is a probe: submit one without --fail-block.")
            }
            while parameters.hangBlock == block {
                try task.checkCancellation()
                usleep(20_000)
            }
            try touch(parameters.touchBytes)
            try sleep(parameters.sleepSeconds, task)
            let sum = try spin(parameters.spinMillions, seed: parameters.seed &+ UInt64(block), task)
            var random = SeededGenerator(seed: parameters.seed &+ UInt64(block) &+ (sum & 1))
            var bytes: [UInt8] = []
            bytes.reserveCapacity(parameters.outputBytes)
            while bytes.count < parameters.outputBytes {
                let word = random.next()
                for shift in stride(from: 0, to: 64, by: 8) where bytes.count < parameters.outputBytes {
                    bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
                }
            }
            try task.emit(block: block, [StageOutput("out", bytes)])
        }
    }

    /// In small steps, so that a lease that is taken away ends at once.
    private func sleep(_ seconds: Double, _ task: StageTask) throws {
        var left = seconds
        while left > 0 {
            try task.checkCancellation()
            let step = min(left, 0.05)
            usleep(UInt32(step * 1e6))
            left -= step
        }
    }

    private func spin(_ millions: Int, seed: UInt64, _ task: StageTask) throws -> UInt64 {
        var state = seed | 1
        for _ in 0..<millions {
            try task.checkCancellation()
            for _ in 0..<1_000_000 { state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407 }
        }
        return state
    }

    private func touch(_ byteCount: Int) throws {
        guard byteCount > 0 else { return }
        var bytes = [UInt8](repeating: 0, count: byteCount)
        for offset in stride(from: 0, to: byteCount, by: 4096) { bytes[offset] = 1 }
        precondition(bytes[0] == 1)
        usleep(200_000)
    }
}
