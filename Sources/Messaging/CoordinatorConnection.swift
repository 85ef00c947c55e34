import Foundation
package import Primitives
package import Scheduling
package import WireProtocol

/// A client's way to one coordinator: both doors, the session, and replies as values. Workers and the command line use it.
///
/// `@unchecked Sendable`: `session` and `generator` are only touched with `lock` held; the doors are safe by themselves.
package final class CoordinatorConnection: @unchecked Sendable {
    private let control: ClientDoor
    private let artifacts: ClientDoor
    private let joinKey: JoinKey
    private let build: String
    private let lock = NSLock()
    private var session: UInt64 = 0
    private var generator: SystemRandomNumberGenerator

    package init(control: ClientDoor, artifacts: ClientDoor, joinKey: JoinKey, build: String) {
        self.control = control
        self.artifacts = artifacts
        self.joinKey = joinKey
        self.build = build
        generator = SystemRandomNumberGenerator()
    }

    package typealias Completion = @Sendable (Result<Response, AMAFError>) -> Void

    /// One request and its reply. `completion` is called on a transport thread and must only hand over.
    package func send(_ request: Request, deadline: Duration, completion: @escaping Completion) {
        lock.lock()
        let session = session
        let id = RequestID(using: &generator)
        lock.unlock()
        let door =
            switch request {
            case .have, .put, .get: artifacts
            default: control
            }
        door.call(request.encoded(requestID: id, session: session), deadline: deadline) { [weak self] result in
            do throws(AMAFError) {
                let frame = try Frame.decode(try result.get())
                let response = try Response.decode(frame)
                switch response {
                case .worker(.welcome, _), .operatorWelcome: self?.adopt(frame.header.session)
                default: break
                }
                if case .failed(let error) = response { throw error }
                if case .unsupported(let type, let versions) = response {
                    throw AMAFError(
                        "wire.unsupported", "The coordinator does not know message \(type); it speaks protocol \(versions)",
                        remedy: "Install the same AMAF release on the head and here.")
                }
                completion(.success(response))
            } catch {
                completion(.failure(error))
            }
        }
    }

    private func adopt(_ session: UInt64) {
        lock.lock()
        self.session = session
        lock.unlock()
    }

    /// CHALLENGE, then HELLO with the proof over its nonce.
    package func hello(_ hello: WorkerHello, deadline: Duration, completion: @escaping Completion) {
        join(deadline: deadline, completion: completion) { [joinKey] nonce in
            .hello(hello, proof: joinKey.proof(of: hello, challenge: nonce))
        }
    }

    package func operatorHello(name: String, deadline: Duration, completion: @escaping Completion) {
        join(deadline: deadline, completion: completion) { [joinKey] nonce in
            .operatorHello(name: name, proof: joinKey.proof(operator: name, challenge: nonce))
        }
    }

    private func join(deadline: Duration, completion: @escaping Completion, greeting: @escaping @Sendable ([UInt8]) -> Request) {
        send(.challenge(versions: .supported, build: build), deadline: deadline) { [weak self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(.challenge(let nonce, _)):
                guard let self else { return completion(.failure(.unexpectedReply)) }
                self.send(greeting(nonce), deadline: deadline, completion: completion)
            case .success: completion(.failure(.unexpectedReply))
            }
        }
    }

    /// Blocks the calling thread; for command lines and transfer threads, never for a loop.
    package func ask(_ request: Request, deadline: Duration = .seconds(30)) throws(AMAFError) -> Response {
        let answer = OneShot<Result<Response, AMAFError>>()
        send(request, deadline: deadline) { answer.set($0) }
        return try answer.wait().get()
    }

    package func joinAsOperator(name: String, deadline: Duration = .seconds(10)) throws(AMAFError) {
        let answer = OneShot<Result<Response, AMAFError>>()
        operatorHello(name: name, deadline: deadline) { answer.set($0) }
        _ = try answer.wait().get()
    }

    // MARK: Artifacts, blocking

    /// The whole artifact, checked against its digest.
    package func fetch(_ digest: Digest, deadline: Duration = .seconds(60)) throws(AMAFError) -> [UInt8] {
        var bytes: [UInt8] = []
        repeat {
            let response = try ask(.get(digest, offset: bytes.count, length: WireLimits.artifactChunk), deadline: deadline)
            guard case .chunk(let offset, let total, let chunk) = response, offset == bytes.count, !chunk.isEmpty || total == 0 else {
                throw .unexpectedReply
            }
            bytes.reserveCapacity(total)
            bytes.append(contentsOf: chunk)
            if bytes.count >= total { break }
        } while true
        guard Digest.of(bytes) == digest else {
            throw AMAFError(
                "artifact.digest-mismatch", "Artifact \(digest) arrived with other bytes", remedy: "It is fetched again.", isTransient: true
            )
        }
        return bytes
    }

    /// A part of an artifact. Its bytes cannot be checked against the digest of the whole: the caller knows a digest of the part.
    package func fetch(_ digest: Digest, range: Range<Int>, deadline: Duration = .seconds(60)) throws(AMAFError) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(range.count)
        while bytes.count < range.count {
            let start = range.lowerBound + bytes.count
            let length = min(range.upperBound - start, WireLimits.artifactChunk)
            let response = try ask(.get(digest, offset: start, length: length), deadline: deadline)
            guard case .chunk(let offset, let total, let chunk) = response, offset == start else { throw .unexpectedReply }
            guard !chunk.isEmpty else {
                throw AMAFError(
                    "artifact.short", "Artifact \(digest) has \(total) bytes, fewer than the \(range.upperBound) asked for",
                    remedy: "Submit the run again so that its sources are stored anew.")
            }
            bytes.append(contentsOf: chunk)
        }
        return bytes
    }

    package func isHeld(_ digest: Digest, deadline: Duration = .seconds(60)) throws(AMAFError) -> Bool {
        guard case .held(let held) = try ask(.have([digest]), deadline: deadline), held.count == 1 else { throw .unexpectedReply }
        return held[0]
    }

    package func store(_ digest: Digest, bytes: [UInt8], deadline: Duration = .seconds(60)) throws(AMAFError) {
        let result: Result<Void, AMAFError> = bytes.withUnsafeBytes { buffer in
            do throws(AMAFError) {
                return .success(try store(digest, buffer, deadline: deadline))
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    /// Stores the artifact unless it is there; goes on where an interrupted upload ended.
    package func store(_ digest: Digest, _ bytes: UnsafeRawBufferPointer, deadline: Duration = .seconds(60)) throws(AMAFError) {
        if try isHeld(digest, deadline: deadline) { return }
        var offset = 0
        repeat {
            let end = min(bytes.count, offset + WireLimits.artifactChunk)
            let chunk = [UInt8](bytes[offset..<end])[...]
            guard case .stored(let upTo) = try ask(.put(digest, offset: offset, total: bytes.count, chunk: chunk), deadline: deadline),
                upTo > offset || bytes.isEmpty, upTo <= bytes.count
            else { throw .unexpectedReply }
            offset = upTo
        } while offset < bytes.count
    }
}

extension AMAFError {
    static var unexpectedReply: AMAFError {
        AMAFError("wire.unexpected-reply", "The coordinator answered with a message of another kind", isTransient: true)
    }
}

/// A value that one thread sets and another waits for.
final class OneShot<Value: Sendable>: @unchecked Sendable {
    private let condition = NSCondition()
    private var value: Value?

    func set(_ value: Value) {
        condition.lock()
        self.value = value
        condition.signal()
        condition.unlock()
    }

    func wait() -> Value {
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let value { return value }
            condition.wait()
        }
    }
}
