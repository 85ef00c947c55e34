internal import Foundation
package import Primitives
internal import Scheduling
internal import SwiftProtobuf

extension Request {
    /// - Throws: `wire.unsupported` for a type that this build does not know (answered with `.unsupported`), `wire.malformed` for
    ///   a body that is not what the type promises, `wire.too-large` beyond `WireLimits`.
    package static func decode(_ frame: Frame) throws(AMAFError) -> Request {
        guard let type = MessageType(rawValue: frame.header.type), !type.isReply else {
            throw AMAFError(
                "wire.unsupported", "Message type 0x\(String(frame.header.type, radix: 16)) is no request that this build knows")
        }
        let reader = BodyReader(type: type)
        let (body, tail) = (frame.body, frame.tail)
        switch type {
        case .put, .submit, .commit: break
        default: try reader.mustBeEmpty(tail)
        }
        switch type {
        case .challenge:
            let message: WireChallengeRequest = try reader.message(from: body)
            return .challenge(versions: try reader.versions(message.versions), build: message.build)
        case .hello: return try hello(try reader.message(from: body), reader)
        case .operatorHello:
            let message: WireOperatorHelloRequest = try reader.message(from: body)
            return .operatorHello(name: message.name, proof: try reader.digest(message.proof, "the proof"))
        case .lease:
            let message: WireLeaseRequest = try reader.message(from: body)
            return .lease(freeSlots: try reader.int(message.freeSlots, "the number of free slots"))
        case .beat:
            let message: WireBeatRequest = try reader.message(from: body)
            return .beat(message.fences.map { Fence(rawValue: $0) }, message.hasVitals ? try vitals(message.vitals, reader) : nil)
        case .commit: return try commit(try reader.message(from: body), tail, reader)
        case .fail: return try fail(try reader.message(from: body), reader)
        case .release: return .release(try fences(reader, body))
        case .bye: return .bye
        case .have:
            let message: WireHaveRequest = try reader.message(from: body)
            let digests = try reader.digests(message.digests, "the list of digests")
            try limit(digests.count, WireLimits.digestsPerHave, "digests in one HAVE")
            return .have(digests)
        case .put: return try put(try reader.message(from: body), tail, reader)
        case .get:
            let message: WireGetRequest = try reader.message(from: body)
            let length = try reader.int(message.length, "the length")
            try limit(length, WireLimits.artifactChunk, "bytes in one GET")
            return .get(
                try reader.digest(message.digest, "the digest"), offset: try reader.int(message.offset, "the offset"), length: length)
        case .submit:
            let message: WireSubmitRequest = try reader.message(from: body)
            let artifacts = try reader.digests(message.artifacts, "the list of artifacts")
            if message.hasPlanDigest {
                try reader.mustBeEmpty(tail)
                return .submit(.artifact(try reader.digest(message.planDigest, "the plan's digest")), artifacts: artifacts)
            }
            return .submit(.inline(Array(tail)), artifacts: artifacts)
        case .status:
            let message: WireStatusRequest = try reader.message(from: body)
            return .status(message.hasRun ? try reader.name(message.run, "the run") : nil)
        case .workers: return .workers
        case .cancel: return .cancel(try run(reader, body))
        case .pause: return .pause(try run(reader, body))
        case .resume: return .resume(try run(reader, body))
        case .retry: return .retry(try run(reader, body))
        case .wait: return .wait(try run(reader, body))
        case .drain: return .drain(try worker(reader, body))
        case .undrain: return .undrain(try worker(reader, body))
        case .answer:
            let message: WireAnswerRequest = try reader.message(from: body)
            return .answer(
                try reader.name(message.run, "the run"), try reader.name(message.stage, "the stage"), try reader.results(message.results))
        case .story: return .story(try task(reader, body))
        case .explain: return .explain(try task(reader, body))
        case .tasks: return try tasks(try reader.message(from: body), reader)
        case .result:
            let message: WireResultRequest = try reader.message(from: body)
            var stages: [StageID] = []
            for stage in message.stages { stages.append(try reader.name(stage, "a stage")) }
            return .result(try reader.name(message.run, "the run"), stages)
        case .history: return try history(try reader.message(from: body), reader)
        case .challengeReply, .welcome, .operatorWelcome, .grants, .beatReply, .committed, .noted, .held, .stored, .chunk, .submitted,
            .json,
            .results, .done, .unsupported, .failed:
            preconditionFailure("\(type) passed for a request")
        }
    }

    private static func vitals(_ message: WireVitals, _ reader: BodyReader) throws(AMAFError) -> WorkerVitals {
        WorkerVitals(
            wallClockMilliseconds: message.wallClockMs, diskFreeBytes: message.diskFreeBytes,
            memoryAvailableBytes: message.memoryAvailableBytes, slotDeaths: try reader.int(message.slotDeaths, "the number of slot deaths"),
            lastError: message.lastError)
    }

    private static func limit(_ value: Int, _ most: Int, _ what: String) throws(AMAFError) {
        guard value <= most else {
            throw AMAFError("wire.too-large", "\(value) \(what) are over the limit of \(most)", remedy: "Ask in parts.")
        }
    }

    private static func fences(_ reader: BodyReader, _ body: ArraySlice<UInt8>) throws(AMAFError) -> [Fence] {
        let message: WireFences = try reader.message(from: body)
        return message.fences.map { Fence(rawValue: $0) }
    }

    private static func run(_ reader: BodyReader, _ body: ArraySlice<UInt8>) throws(AMAFError) -> RunID {
        let message: WireRunRequest = try reader.message(from: body)
        return try reader.name(message.run, "the run")
    }

    private static func worker(_ reader: BodyReader, _ body: ArraySlice<UInt8>) throws(AMAFError) -> WorkerID {
        let message: WireWorkerRequest = try reader.message(from: body)
        return try reader.name(message.worker, "the worker")
    }

    private static func task(_ reader: BodyReader, _ body: ArraySlice<UInt8>) throws(AMAFError) -> TaskName {
        let message: WireTaskRequest = try reader.message(from: body)
        return TaskName(
            run: try reader.name(message.run, "the run"), stage: try reader.name(message.stage, "the stage"),
            block: message.hasBlock ? try reader.int(message.block, "the block") : nil)
    }

    private static func hello(_ message: WireHelloRequest, _ reader: BodyReader) throws(AMAFError) -> Request {
        var leases: [HeldLease] = []
        leases.reserveCapacity(message.heldLeases.count)
        for held in message.heldLeases {
            leases.append(
                HeldLease(
                    fence: Fence(rawValue: held.fence), run: try reader.name(held.run, "the run of a held lease"),
                    stage: try reader.name(held.stage, "the stage of a held lease"),
                    blocks: try reader.blocks(first: held.firstBlock, count: held.blockCount), isMasked: held.isMasked))
        }
        let hello = WorkerHello(
            worker: try reader.name(message.worker, "the worker"), bootNonce: message.bootNonce, tags: message.tags,
            slots: try reader.int(message.slots, "the number of slots"), memoryBytes: message.memoryBytes,
            numericsClass: try reader.name(message.numericsClass, "the numerics class"), build: message.build, host: message.host,
            heldFences: message.heldFences.map { Fence(rawValue: $0) }, heldLeases: leases)
        return .hello(hello, proof: try reader.digest(message.proof, "the proof"))
    }

    private static func commit(_ message: WireCommitRequest, _ tail: ArraySlice<UInt8>, _ reader: BodyReader) throws(AMAFError) -> Request {
        guard message.isLast.count == message.fences.count, message.resultCounts.count == message.fences.count else {
            throw malformed(.commit, "its lists differ in length")
        }
        let results = try reader.parts(of: try reader.results(message.results), counts: message.resultCounts, "results")
        let digests = try reader.digests(message.inlineDigests, "the list of inline artifacts")
        guard digests.count == message.inlineSizes.count, message.inlineSizes.reduce(0, { $0 + Int($1) }) == tail.count else {
            throw malformed(.commit, "its inline artifacts do not fill its tail of \(tail.count) bytes")
        }
        var inline: [InlineArtifact] = []
        inline.reserveCapacity(digests.count)
        var start = tail.startIndex
        for (digest, size) in zip(digests, message.inlineSizes) {
            try limit(Int(size), WireLimits.inlineArtifact, "bytes of an inline artifact")
            inline.append(InlineArtifact(digest: digest, bytes: Array(tail[start..<start + Int(size)])))
            start += Int(size)
        }
        let commits = message.fences.indices.map {
            LeaseCommit(fence: Fence(rawValue: message.fences[$0]), results: results[$0], isLast: message.isLast[$0])
        }
        return .commit(commits, inline: inline)
    }

    private static func fail(_ message: WireFailRequest, _ reader: BodyReader) throws(AMAFError) -> Request {
        let failureClass: FailureClass
        switch message.failureClass {
        case .transient: failureClass = .transient
        case .permanent: failureClass = .permanent
        case .resource: failureClass = .resource
        case .crash: failureClass = .crash
        case .unspecified, .UNRECOGNIZED: throw malformed(.fail, "its failure class is not known")
        }
        let report = FailureReport(
            failureClass, try reader.error(message.error), block: message.hasBlock ? try reader.int(message.block, "the block") : nil)
        return .fail(Fence(rawValue: message.fence), report)
    }

    private static func put(_ message: WirePutRequest, _ tail: ArraySlice<UInt8>, _ reader: BodyReader) throws(AMAFError) -> Request {
        let offset = try reader.int(message.offset, "the offset")
        let total = try reader.int(message.total, "the total")
        try limit(tail.count, WireLimits.artifactChunk, "bytes in one PUT")
        guard offset <= total, tail.count <= total - offset else {
            throw malformed(.put, "\(tail.count) bytes at \(offset) do not fit into an artifact of \(total)")
        }
        return .put(try reader.digest(message.digest, "the digest"), offset: offset, total: total, chunk: tail)
    }

    private static func history(_ message: WireHistoryRequest, _ reader: BodyReader) throws(AMAFError) -> Request {
        var query = HistoryQuery(
            after: try reader.int(message.after, "the last event's number"), limit: try reader.int(message.limit, "the limit"),
            newestFirst: message.newestFirst)
        try limit(query.limit, WireLimits.historyPage, "events in one HISTORY")
        if message.hasRun { query.run = try reader.name(message.run, "the run") }
        if message.hasStage { query.stage = try reader.name(message.stage, "the stage") }
        if message.hasWorker { query.worker = try reader.name(message.worker, "the worker") }
        return .history(query)
    }

    private static func tasks(_ message: WireTasksRequest, _ reader: BodyReader) throws(AMAFError) -> Request {
        var query = TaskQuery(
            run: try reader.name(message.run, "the run"), offset: try reader.int(message.offset, "the offset"),
            limit: try reader.int(message.limit, "the limit"))
        if message.hasStage { query.stage = try reader.name(message.stage, "the stage") }
        if message.hasState {
            guard let raw = UInt8(exactly: message.state), let state = TaskRow.State(rawValue: raw) else {
                throw malformed(.tasks, "\(message.state) is no task state")
            }
            query.state = state
        }
        return .tasks(query)
    }
}
