import Foundation
import Primitives
import Scheduling

/// What an agent and its slot process say to each other over their socket pair: a 32-bit length, then one message.
///
/// Both ends are always the same binary, so there is no version. Large outputs travel as files of the worker's cache.
enum SlotMessage {
    // Agent to slot.
    case run(LeaseGrant)
    case cancel(Fence)
    /// The answer to the `read` of this number: a file that the slot reads and deletes. Never the bytes themselves, because a slot that
    /// has stopped reading its socket must not stop the agent.
    case rangeReady(UInt64, path: String)
    case readFailed(UInt64, AMAFError)
    // Slot to agent.
    case ready
    /// A range of an artifact that is not in the cache, wanted for the lease that runs.
    case read(UInt64, Digest, Range<Int>)
    case blockDone(Fence, SlotBlockResult)
    case leaseDone(Fence)
    case failed(Fence, FailureReport)
}

/// One finished block with the bytes of its small outputs.
struct SlotBlockResult: Codable, Sendable {
    var result: BlockResult
    /// By position in `result.outputs`; empty for outputs that lie in the cache folder.
    var inline: [[UInt8]]
}

extension SlotMessage {
    private enum Kind: UInt8 { case run = 1, cancel, ready, blockDone, leaseDone, failed, read, rangeReady, readFailed }

    func encoded() -> [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .run(let grant):
            writer.write(Kind.run.rawValue)
            writer.write(grant.fence.rawValue)
            writer.write(grant.run.rawValue)
            writer.write(grant.stage.rawValue)
            writer.write(grant.kind)
            writer.write(Int32(grant.codeVersion))
            writer.write(grant.parameters)
            writer.write(Int64(grant.blocks.lowerBound))
            writer.write(Int64(grant.blocks.upperBound))
            writer.write(UInt32(grant.maskedSamples.count))
            for sample in grant.maskedSamples { writer.write(Int64(sample)) }
            writer.write(UInt8(grant.batchShift))
            writer.write(UInt32(grant.inputs.count))
            for input in grant.inputs {
                writer.write(input.name)
                writer.write(UInt8(input.reach == .sameBlock ? 0 : 1))
                writer.write(UInt32(input.digests.count))
                for digest in input.digests { writer.append(raw: digest.bytes) }
            }
        case .cancel(let fence):
            writer.write(Kind.cancel.rawValue)
            writer.write(fence.rawValue)
        case .ready:
            writer.write(Kind.ready.rawValue)
        case .blockDone(let fence, let block):
            writer.write(Kind.blockDone.rawValue)
            writer.write(fence.rawValue)
            writer.write(Int64(block.result.block))
            writer.write(UInt32(block.result.outputs.count))
            for (output, bytes) in zip(block.result.outputs, block.inline) {
                writer.write(output.name)
                writer.append(raw: output.digest.bytes)
                writer.write(Int64(output.byteCount))
                writer.write(bytes)
            }
            let metrics = block.result.metrics.sorted { $0.key < $1.key }
            writer.write(UInt32(metrics.count))
            for (name, value) in metrics {
                writer.write(name)
                writer.write(value)
            }
        case .leaseDone(let fence):
            writer.write(Kind.leaseDone.rawValue)
            writer.write(fence.rawValue)
        case .failed(let fence, let report):
            writer.write(Kind.failed.rawValue)
            writer.write(fence.rawValue)
            writer.write(report.failureClass.rawValue)
            Self.write(report.error, to: &writer)
            writer.write(Int64(report.block ?? -1))
        case .read(let number, let digest, let range):
            writer.write(Kind.read.rawValue)
            writer.write(number)
            writer.append(raw: digest.bytes)
            writer.write(Int64(range.lowerBound))
            writer.write(Int64(range.upperBound))
        case .rangeReady(let number, let path):
            writer.write(Kind.rangeReady.rawValue)
            writer.write(number)
            writer.write(path)
        case .readFailed(let number, let error):
            writer.write(Kind.readFailed.rawValue)
            writer.write(number)
            Self.write(error, to: &writer)
        }
        return writer.bytes
    }

    private static func write(_ error: AMAFError, to writer: inout ByteWriter) {
        writer.write(error.code)
        writer.write(error.message)
        writer.write(error.place)
        writer.write(error.remedy)
        writer.write(UInt8(error.isTransient ? 1 : 0))
    }

    private static func readError(_ reader: inout ByteReader) throws(AMAFError) -> AMAFError {
        AMAFError(
            try reader.readString(), try reader.readString(), place: try reader.readString(), remedy: try reader.readString(),
            isTransient: try reader.read(UInt8.self) == 1)
    }

    static func decode(_ bytes: [UInt8]) throws(AMAFError) -> SlotMessage {
        do {
            return try bytes.withUnsafeBytes { try decode(buffer: $0) }
        } catch let error as AMAFError {
            throw error
        } catch {
            throw AMAFError("slot.garbled", "A slot message cannot be read: \(error)")
        }
    }

    private static func decode(buffer: UnsafeRawBufferPointer) throws(AMAFError) -> SlotMessage {
        var reader = ByteReader(buffer, of: "slot message")
        guard let kind = Kind(rawValue: try reader.read()) else { throw AMAFError("slot.garbled", "A slot message has an unknown kind") }
        if kind == .ready { return .ready }
        let number: UInt64 = try reader.read()
        let fence = Fence(rawValue: number)
        switch kind {
        case .ready: return .ready
        case .read:
            let digest = Digest(bytes: try reader.readRaw(Digest.byteCount))
            let lower = Int(try reader.read(Int64.self))
            let upper = Int(try reader.read(Int64.self))
            guard lower >= 0, upper >= lower else { throw AMAFError("slot.garbled", "A slot asks for bytes \(lower) to \(upper)") }
            return .read(number, digest, lower..<upper)
        case .rangeReady: return .rangeReady(number, path: try reader.readString())
        case .readFailed: return .readFailed(number, try readError(&reader))
        case .cancel: return .cancel(fence)
        case .leaseDone: return .leaseDone(fence)
        case .run:
            let run = RunID(try reader.readString())
            let stage = StageID(try reader.readString())
            let name = try reader.readString()
            let version = Int(try reader.read(Int32.self))
            let parameters = try reader.readString()
            let lower = Int(try reader.read(Int64.self))
            let upper = Int(try reader.read(Int64.self))
            var masked: [Int] = []
            for _ in 0..<(try reader.read(UInt32.self)) { masked.append(Int(try reader.read(Int64.self))) }
            let shift = Int(try reader.read(UInt8.self))
            var inputs: [LeaseGrant.Input] = []
            for _ in 0..<(try reader.read(UInt32.self)) {
                let input = try reader.readString()
                let reach: StageInput.Reach = try reader.read(UInt8.self) == 0 ? .sameBlock : .allBlocks
                var digests: [Digest] = []
                for _ in 0..<(try reader.read(UInt32.self)) { digests.append(Digest(bytes: try reader.readRaw(Digest.byteCount))) }
                inputs.append(LeaseGrant.Input(name: input, reach: reach, digests: digests))
            }
            return .run(
                LeaseGrant(
                    fence: fence, run: run, stage: stage, kind: name, codeVersion: version, parameters: parameters, blocks: lower..<upper,
                    maskedSamples: masked, batchShift: shift, inputs: inputs, timeToLive: .zero))
        case .blockDone:
            let block = Int(try reader.read(Int64.self))
            var outputs: [TaskOutput] = []
            var inline: [[UInt8]] = []
            for _ in 0..<(try reader.read(UInt32.self)) {
                let name = try reader.readString()
                let digest = Digest(bytes: try reader.readRaw(Digest.byteCount))
                outputs.append(TaskOutput(name: name, digest: digest, byteCount: Int(try reader.read(Int64.self))))
                inline.append(try reader.readBytes())
            }
            var metrics: [String: Double] = [:]
            for _ in 0..<(try reader.read(UInt32.self)) {
                let name = try reader.readString()
                metrics[name] = try reader.readDouble()
            }
            return .blockDone(
                fence, SlotBlockResult(result: BlockResult(block: block, outputs: outputs, metrics: metrics), inline: inline))
        case .failed:
            let failureClass = FailureClass(rawValue: try reader.readString()) ?? .permanent
            let error = try readError(&reader)
            let block = Int(try reader.read(Int64.self))
            return .failed(fence, FailureReport(failureClass, error, block: block < 0 ? nil : block))
        }
    }
}

/// A blocking stream of slot messages over one end of the socket pair. Each direction has one user at a time.
struct SlotSocket: Sendable {
    let descriptor: Int32
    static let maximumMessageBytes = 256 << 20

    /// False when the other side is gone.
    func send(_ message: SlotMessage) -> Bool {
        let body = message.encoded()
        var frame = ByteWriter(reserving: body.count + 4)
        frame.write(body)
        return frame.bytes.withUnsafeBytes { buffer in
            var sent = 0
            while sent < buffer.count {
                let count = Foundation.send(
                    descriptor, buffer.baseAddress.map { $0 + sent }, buffer.count - sent, Int32(MSG_NOSIGNAL))
                if count < 0 && errno == EINTR { continue }
                if count <= 0 { return false }
                sent += count
            }
            return true
        }
    }

    /// The next message, or nil when the other side is gone.
    func receive() throws(AMAFError) -> SlotMessage? {
        guard let header = read(4) else { return nil }
        let length = header.enumerated().reduce(0) { $0 | Int($1.element) << (8 * $1.offset) }
        guard length <= Self.maximumMessageBytes else {
            throw AMAFError("slot.garbled", "A slot message claims \(length) bytes")
        }
        guard let body = read(length) else { return nil }
        return try SlotMessage.decode(body)
    }

    /// Whether `receive` would not block.
    var hasInput: Bool {
        var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&request, 1, 0) > 0
    }

    private func read(_ count: Int) -> [UInt8]? {
        var complete = true
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = 0
            while filled < count {
                let received = Foundation.recv(descriptor, buffer.baseAddress.map { $0 + filled }, count - filled, 0)
                if received < 0 && errno == EINTR { continue }
                if received <= 0 {
                    complete = false
                    return
                }
                filled += received
            }
        }
        return complete ? bytes : nil
    }
}
