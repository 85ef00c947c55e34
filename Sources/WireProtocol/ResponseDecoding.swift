internal import Foundation
package import Primitives
internal import Scheduling
internal import SwiftProtobuf

extension Response {
    /// - Throws: `wire.unsupported` for a type that this build does not know, `wire.malformed` for a body that is not what the type
    ///   promises.
    package static func decode(_ frame: Frame) throws(AMAFError) -> Response {
        guard let type = MessageType(rawValue: frame.header.type), type.isReply else {
            throw AMAFError(
                "wire.unsupported", "Message type 0x\(String(frame.header.type, radix: 16)) is no reply that this build knows",
                remedy: "Use programs of one release at both ends.")
        }
        let reader = BodyReader(type: type)
        let (body, tail) = (frame.body, frame.tail)
        switch type {
        case .chunk, .json: break
        default: try reader.mustBeEmpty(tail)
        }
        switch type {
        case .challengeReply:
            let message: WireChallengeReply = try reader.message(from: body)
            guard message.nonce.count == JoinKey.nonceByteCount else {
                throw malformed(type, "its nonce has \(message.nonce.count) bytes and not \(JoinKey.nonceByteCount)")
            }
            return .challenge(nonce: Array(message.nonce), version: try reader.version(message.version))
        case .welcome:
            let message: WireWelcomeReply = try reader.message(from: body)
            let reply = WorkerReply.welcome(
                epoch: message.epoch, beatInterval: try reader.duration(nanoseconds: message.beatIntervalNs, "the beat interval"),
                keep: message.keep.map { Fence(rawValue: $0) }, drop: message.drop.map { Fence(rawValue: $0) })
            return .worker(reply, commands: try commands(message.commands, reader))
        case .operatorWelcome: return .operatorWelcome
        case .grants:
            let message: WireGrantsReply = try reader.message(from: body)
            var grants: [LeaseGrant] = []
            grants.reserveCapacity(message.grants.count)
            for grant in message.grants { grants.append(try self.grant(grant, reader)) }
            let reply = WorkerReply.grants(grants, retryAfter: try reader.duration(nanoseconds: message.retryAfterNs, "the pause"))
            return .worker(reply, commands: try commands(message.commands, reader))
        case .beatReply:
            let message: WireBeatReply = try reader.message(from: body)
            let next = try reader.duration(nanoseconds: message.nextBeatNs, "the time to the next beat")
            let reply = WorkerReply.beat(
                timeToLive: try reader.duration(nanoseconds: message.timeToLiveNs, "the time to live"), next: next == .zero ? nil : next)
            return .worker(reply, commands: try commands(message.commands, reader))
        case .committed:
            let message: WireCommitReply = try reader.message(from: body)
            var verdicts: [CommitVerdict] = []
            verdicts.reserveCapacity(message.verdicts.count)
            for byte in message.verdicts {
                guard let verdict = CommitVerdict(wireByte: byte) else { throw malformed(type, "\(byte) is no verdict") }
                verdicts.append(verdict)
            }
            let parts = try reader.parts(of: verdicts, counts: message.resultCounts, "verdicts")
            return .worker(.committed(parts), commands: try commands(message.commands, reader))
        case .noted:
            let message: WireNotedReply = try reader.message(from: body)
            return .worker(.noted, commands: try commands(message.commands, reader))
        case .held:
            let message: WireHaveReply = try reader.message(from: body)
            guard message.bitmap.count == (Int(message.count) + 7) / 8 else {
                throw malformed(type, "\(message.bitmap.count) bytes are no bitmap of \(message.count)")
            }
            let bitmap = [UInt8](message.bitmap)
            return .held((0..<Int(message.count)).map { bitmap[$0 / 8] >> UInt8($0 % 8) & 1 == 1 })
        case .stored:
            let message: WirePutReply = try reader.message(from: body)
            return .stored(upTo: try reader.int(message.storedUpTo, "the stored length"))
        case .chunk:
            let message: WireGetReply = try reader.message(from: body)
            let offset = try reader.int(message.offset, "the offset")
            let total = try reader.int(message.total, "the total")
            guard offset <= total, tail.count <= total - offset else {
                throw malformed(type, "\(tail.count) bytes at \(offset) do not fit into an artifact of \(total)")
            }
            return .chunk(offset: offset, total: total, bytes: tail)
        case .submitted:
            let message: WireSubmitReply = try reader.message(from: body)
            return .submitted(try reader.name(message.run, "the run"))
        case .json: return .json(Array(tail))
        case .results:
            let message: WireResultReply = try reader.message(from: body)
            var stages: [StageResults] = []
            for stage in message.stages {
                stages.append(
                    StageResults(
                        stage: try reader.name(stage.stage, "a stage"), isComplete: stage.isComplete,
                        results: try reader.results(stage.results)))
            }
            return .results(stages)
        case .done: return .done
        case .unsupported:
            let message: WireUnsupportedReply = try reader.message(from: body)
            guard let unknown = UInt16(exactly: message.type) else { throw malformed(type, "\(message.type) is no message type") }
            return .unsupported(type: unknown, versions: try reader.versions(message.versions))
        case .failed:
            let message: WireFailedReply = try reader.message(from: body)
            return .failed(try reader.error(message.error))
        case .challenge, .hello, .operatorHello, .lease, .beat, .commit, .fail, .release, .bye, .have, .put, .get, .submit, .status,
            .workers,
            .cancel, .pause, .resume, .retry, .drain, .undrain, .answer, .story, .explain, .tasks, .result,
            .history, .wait:
            preconditionFailure("\(type) passed for a reply")
        }
    }

    private static func commands(_ messages: [WireCommand], _ reader: BodyReader) throws(AMAFError) -> [WorkerCommand] {
        var commands: [WorkerCommand] = []
        commands.reserveCapacity(messages.count)
        for message in messages {
            switch message.command {
            case .drain: commands.append(.drain)
            case .drop(let fence): commands.append(.drop(Fence(rawValue: fence)))
            case .rejoin: commands.append(.rejoin)
            case .ask: commands.append(.ask)
            // A command of a newer coordinator; it may not rely on old workers to obey it.
            case nil: break
            }
        }
        return commands
    }

    private static func grant(_ message: WireGrant, _ reader: BodyReader) throws(AMAFError) -> LeaseGrant {
        let blocks = try reader.blocks(first: message.firstBlock, count: message.blockCount)
        guard message.batchShift < 32 else { throw malformed(reader.type, "its batch shift is \(message.batchShift)") }
        var masked: [Int] = []
        masked.reserveCapacity(message.maskedSamples.count)
        for sample in message.maskedSamples { masked.append(try reader.int(sample, "a masked sample")) }
        var inputs: [LeaseGrant.Input] = []
        inputs.reserveCapacity(message.inputs.count)
        for input in message.inputs {
            let reach: StageInput.Reach
            switch input.reach {
            case .sameBlock: reach = .sameBlock
            case .allBlocks: reach = .allBlocks
            case .unspecified, .UNRECOGNIZED: throw malformed(reader.type, "the reach of input \(input.name) is not known")
            }
            inputs.append(
                LeaseGrant.Input(name: input.name, reach: reach, digests: try reader.digests(input.digests, "input \(input.name)")))
        }
        return LeaseGrant(
            fence: Fence(rawValue: message.fence), run: try reader.name(message.run, "the run"),
            stage: try reader.name(message.stage, "the stage"),
            kind: message.kind, codeVersion: Int(message.codeVersion), parameters: message.parameters, blocks: blocks,
            maskedSamples: masked,
            batchShift: Int(message.batchShift), inputs: inputs,
            timeToLive: try reader.duration(nanoseconds: message.timeToLiveNs, "the time to live"))
    }
}
