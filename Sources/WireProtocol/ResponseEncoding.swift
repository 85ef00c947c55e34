internal import Foundation
internal import Primitives
internal import Scheduling
internal import SwiftProtobuf

extension Response {
    /// The frame of this reply to the request with this id.
    ///
    /// - Parameter session: with `.worker(.welcome(…))` and `.operatorWelcome` the new session; otherwise that of the request.
    package func encoded(requestID: RequestID, session: UInt64 = 0) -> [UInt8] {
        let (type, body, tail) = parts
        let header = Frame.Header(type: type.rawValue, requestID: requestID, session: session)
        return Frame(header: header, body: body, tail: tail).encoded()
    }

    private var parts: (MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
        func part(_ type: MessageType, _ message: some SwiftProtobuf.Message, tail: ArraySlice<UInt8> = []) -> (
            MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>
        ) { (type, wireBytes(message), tail) }
        switch self {
        case .challenge(let nonce, let version):
            precondition(nonce.count == JoinKey.nonceByteCount, "a nonce of \(nonce.count) bytes")
            return part(
                .challengeReply,
                WireChallengeReply.with {
                    $0.nonce = Data(nonce)
                    $0.version = wireVersion(version)
                })
        case .worker(let reply, let commands): return Self.parts(reply, commands.map(Self.message))
        case .operatorWelcome: return (.operatorWelcome, [], [])
        case .held(let held):
            var bitmap = [UInt8](repeating: 0, count: (held.count + 7) / 8)
            for (i, isHeld) in held.enumerated() where isHeld { bitmap[i / 8] |= 1 << UInt8(i % 8) }
            return part(
                .held,
                WireHaveReply.with {
                    $0.count = wireCount(held.count)
                    $0.bitmap = Data(bitmap)
                })
        case .stored(let end): return part(.stored, WirePutReply.with { $0.storedUpTo = wireInteger(end) })
        case .chunk(let offset, let total, let bytes):
            return part(
                .chunk,
                WireGetReply.with {
                    $0.offset = wireInteger(offset)
                    $0.total = wireInteger(total)
                }, tail: bytes)
        case .submitted(let run): return part(.submitted, WireSubmitReply.with { $0.run = run.rawValue })
        case .json(let bytes): return (.json, [], bytes[...])
        case .results(let stages):
            return part(
                .results,
                WireResultReply.with {
                    $0.stages = stages.map { results in
                        WireResultReply.Stage.with {
                            $0.stage = results.stage.rawValue
                            $0.isComplete = results.isComplete
                            $0.results = wireResults(results.results)
                        }
                    }
                })
        case .done: return (.done, [], [])
        case .failed(let error): return part(.failed, WireFailedReply.with { $0.error = wireFailure(error) })
        case .unsupported(let type, let versions):
            return part(
                .unsupported,
                WireUnsupportedReply.with {
                    $0.type = UInt32(type)
                    $0.versions = wireVersions(versions)
                })
        }
    }

    private static func parts(_ reply: WorkerReply, _ commands: [WireCommand]) -> (
        MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>
    ) {
        switch reply {
        case .welcome(let epoch, let beatInterval, let keep, let drop):
            let message = WireWelcomeReply.with {
                $0.commands = commands
                $0.epoch = epoch
                $0.beatIntervalNs = wireNanoseconds(beatInterval)
                $0.keep = keep.map(\.rawValue)
                $0.drop = drop.map(\.rawValue)
            }
            return (.welcome, wireBytes(message), [])
        case .grants(let grants, let retryAfter):
            let message = WireGrantsReply.with {
                $0.commands = commands
                $0.grants = grants.map(Self.message)
                $0.retryAfterNs = wireNanoseconds(retryAfter)
            }
            return (.grants, wireBytes(message), [])
        case .beat(let timeToLive, let next):
            let message = WireBeatReply.with {
                $0.commands = commands
                $0.timeToLiveNs = wireNanoseconds(timeToLive)
                $0.nextBeatNs = next.map(wireNanoseconds) ?? 0
            }
            return (.beatReply, wireBytes(message), [])
        case .committed(let verdicts):
            let message = WireCommitReply.with {
                $0.commands = commands
                $0.resultCounts = verdicts.map { wireCount($0.count) }
                $0.verdicts = Data(verdicts.joined().map(\.wireByte))
            }
            return (.committed, wireBytes(message), [])
        case .noted: return (.noted, wireBytes(WireNotedReply.with { $0.commands = commands }), [])
        }
    }

    private static func message(_ command: WorkerCommand) -> WireCommand {
        WireCommand.with {
            switch command {
            case .drain: $0.drain = WireCommand.Empty()
            case .drop(let fence): $0.drop = fence.rawValue
            case .rejoin: $0.rejoin = WireCommand.Empty()
            case .ask: $0.ask = WireCommand.Empty()
            }
        }
    }

    private static func message(_ grant: LeaseGrant) -> WireGrant {
        WireGrant.with {
            $0.fence = grant.fence.rawValue
            $0.run = grant.run.rawValue
            $0.stage = grant.stage.rawValue
            $0.kind = grant.kind
            $0.codeVersion = Int64(grant.codeVersion)
            $0.parameters = grant.parameters
            $0.firstBlock = wireInteger(grant.blocks.lowerBound)
            $0.blockCount = wireInteger(grant.blocks.count)
            $0.maskedSamples = grant.maskedSamples.map(wireInteger)
            $0.batchShift = wireCount(grant.batchShift)
            $0.inputs = grant.inputs.map { input in
                WireGrant.Input.with {
                    $0.name = input.name
                    $0.reach =
                        switch input.reach {
                        case .sameBlock: .sameBlock
                        case .allBlocks: .allBlocks
                        }
                    $0.digests = wireDigests(input.digests)
                }
            }
            $0.timeToLiveNs = wireNanoseconds(grant.timeToLive)
        }
    }
}

extension CommitVerdict {
    /// Its byte in `CommitReply.verdicts`.
    var wireByte: UInt8 {
        switch self {
        case .accepted: 1
        case .duplicate: 2
        case .conflict: 3
        case .fenced: 4
        }
    }

    init?(wireByte: UInt8) {
        switch wireByte {
        case 1: self = .accepted
        case 2: self = .duplicate
        case 3: self = .conflict
        case 4: self = .fenced
        default: return nil
        }
    }
}
