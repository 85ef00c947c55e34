internal import Foundation
internal import Primitives
internal import Scheduling
internal import SwiftProtobuf

extension Request {
    /// The frame of this request.
    ///
    /// - Parameter session: what WELCOME gave; 0 before.
    package func encoded(requestID: RequestID, session: UInt64 = 0) -> [UInt8] {
        let (type, body, tail) = parts
        let header = Frame.Header(type: type.rawValue, requestID: requestID, session: session)
        return Frame(header: header, body: body, tail: tail).encoded()
    }

    private var parts: (MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
        func part(_ type: MessageType, _ message: some SwiftProtobuf.Message, tail: ArraySlice<UInt8> = []) -> (
            MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>
        ) { (type, wireBytes(message), tail) }
        func run(_ type: MessageType, _ run: RunID) -> (MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
            part(type, WireRunRequest.with { $0.run = run.rawValue })
        }
        func task(_ type: MessageType, _ task: TaskName) -> (MessageType, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8>) {
            part(
                type,
                WireTaskRequest.with {
                    $0.run = task.run.rawValue
                    $0.stage = task.stage.rawValue
                    if let block = task.block { $0.block = wireInteger(block) }
                })
        }
        switch self {
        case .challenge(let versions, let build):
            return part(
                .challenge,
                WireChallengeRequest.with {
                    $0.versions = wireVersions(versions)
                    $0.build = build
                })
        case .hello(let hello, let proof): return part(.hello, Self.message(hello, proof))
        case .operatorHello(let name, let proof):
            return part(
                .operatorHello,
                WireOperatorHelloRequest.with {
                    $0.name = name
                    $0.proof = Data(proof.bytes)
                })
        case .lease(let freeSlots): return part(.lease, WireLeaseRequest.with { $0.freeSlots = wireInteger(freeSlots) })
        case .beat(let fences, let vitals):
            return part(
                .beat,
                WireBeatRequest.with {
                    $0.fences = fences.map(\.rawValue)
                    guard let vitals else { return }
                    $0.vitals = WireVitals.with {
                        $0.wallClockMs = vitals.wallClockMilliseconds
                        $0.diskFreeBytes = vitals.diskFreeBytes
                        $0.memoryAvailableBytes = vitals.memoryAvailableBytes
                        $0.slotDeaths = wireInteger(vitals.slotDeaths)
                        $0.lastError = vitals.lastError
                    }
                })
        case .commit(let commits, let inline):
            return part(.commit, Self.message(commits, inline), tail: inline.flatMap(\.bytes)[...])
        case .fail(let fence, let report): return part(.fail, Self.message(fence, report))
        case .release(let fences): return part(.release, WireFences.with { $0.fences = fences.map(\.rawValue) })
        case .bye: return (.bye, [], [])
        case .have(let digests): return part(.have, WireHaveRequest.with { $0.digests = wireDigests(digests) })
        case .put(let digest, let offset, let total, let chunk):
            return part(
                .put,
                WirePutRequest.with {
                    $0.digest = Data(digest.bytes)
                    $0.offset = wireInteger(offset)
                    $0.total = wireInteger(total)
                }, tail: chunk)
        case .get(let digest, let offset, let length):
            return part(
                .get,
                WireGetRequest.with {
                    $0.digest = Data(digest.bytes)
                    $0.offset = wireInteger(offset)
                    $0.length = wireInteger(length)
                })
        case .submit(.inline(let plan), let artifacts):
            return part(.submit, WireSubmitRequest.with { $0.artifacts = wireDigests(artifacts) }, tail: plan[...])
        case .submit(.artifact(let plan), let artifacts):
            return part(
                .submit,
                WireSubmitRequest.with {
                    $0.planDigest = Data(plan.bytes)
                    $0.artifacts = wireDigests(artifacts)
                })
        case .status(let run): return part(.status, WireStatusRequest.with { if let run { $0.run = run.rawValue } })
        case .workers: return (.workers, [], [])
        case .cancel(let id): return run(.cancel, id)
        case .pause(let id): return run(.pause, id)
        case .resume(let id): return run(.resume, id)
        case .retry(let id): return run(.retry, id)
        case .wait(let id): return run(.wait, id)
        case .drain(let worker): return part(.drain, WireWorkerRequest.with { $0.worker = worker.rawValue })
        case .undrain(let worker): return part(.undrain, WireWorkerRequest.with { $0.worker = worker.rawValue })
        case .answer(let run, let stage, let results):
            return part(
                .answer,
                WireAnswerRequest.with {
                    $0.run = run.rawValue
                    $0.stage = stage.rawValue
                    $0.results = wireResults(results)
                })
        case .story(let name): return task(.story, name)
        case .explain(let name): return task(.explain, name)
        case .tasks(let query):
            return part(
                .tasks,
                WireTasksRequest.with {
                    $0.run = query.run.rawValue
                    if let stage = query.stage { $0.stage = stage.rawValue }
                    if let state = query.state { $0.state = UInt32(state.rawValue) }
                    $0.offset = wireInteger(query.offset)
                    $0.limit = wireInteger(query.limit)
                })
        case .result(let run, let stages):
            return part(
                .result,
                WireResultRequest.with {
                    $0.run = run.rawValue
                    $0.stages = stages.map(\.rawValue)
                })
        case .history(let query):
            return part(
                .history,
                WireHistoryRequest.with {
                    if let run = query.run { $0.run = run.rawValue }
                    if let stage = query.stage { $0.stage = stage.rawValue }
                    if let worker = query.worker { $0.worker = worker.rawValue }
                    $0.after = wireInteger(query.after)
                    $0.limit = wireInteger(query.limit)
                    $0.newestFirst = query.newestFirst
                })
        }
    }

    private static func message(_ hello: WorkerHello, _ proof: Digest) -> WireHelloRequest {
        WireHelloRequest.with {
            $0.worker = hello.worker.rawValue
            $0.bootNonce = hello.bootNonce
            $0.tags = hello.tags
            $0.slots = wireInteger(hello.slots)
            $0.memoryBytes = hello.memoryBytes
            $0.numericsClass = hello.numericsClass.rawValue
            $0.build = hello.build
            $0.host = hello.host
            $0.heldFences = hello.heldFences.map(\.rawValue)
            $0.proof = Data(proof.bytes)
            $0.heldLeases = hello.heldLeases.map { held in
                WireHeldLease.with {
                    $0.fence = held.fence.rawValue
                    $0.run = held.run.rawValue
                    $0.stage = held.stage.rawValue
                    $0.firstBlock = wireInteger(held.blocks.lowerBound)
                    $0.blockCount = wireInteger(held.blocks.count)
                    $0.isMasked = held.isMasked
                }
            }
        }
    }

    private static func message(_ commits: [LeaseCommit], _ inline: [InlineArtifact]) -> WireCommitRequest {
        for artifact in inline {
            precondition(
                artifact.bytes.count <= WireLimits.inlineArtifact, "\(artifact.digest) of \(artifact.bytes.count) bytes rides inline")
        }
        return WireCommitRequest.with {
            $0.fences = commits.map(\.fence.rawValue)
            $0.isLast = commits.map(\.isLast)
            $0.resultCounts = commits.map { wireCount($0.results.count) }
            $0.results = wireResults(commits.lazy.flatMap(\.results))
            $0.inlineDigests = wireDigests(inline.lazy.map(\.digest))
            $0.inlineSizes = inline.map { wireCount($0.bytes.count) }
        }
    }

    private static func message(_ fence: Fence, _ report: FailureReport) -> WireFailRequest {
        WireFailRequest.with {
            $0.fence = fence.rawValue
            $0.failureClass =
                switch report.failureClass {
                case .transient: .transient
                case .permanent: .permanent
                case .resource: .resource
                case .crash: .crash
                }
            $0.error = wireFailure(report.error)
            if let block = report.block { $0.block = wireInteger(block) }
        }
    }
}
