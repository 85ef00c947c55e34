import Foundation
import Logging
import Messaging
import Primitives
import Storage
import WireProtocol

/// Serves the artifact door on its own threads, so that bulk never delays a beat. It holds no state of its own: `ArtifactStore` is safe for
/// many threads, and sessions are looked up.
struct ArtifactService: Sendable {
    private let store: ArtifactStore
    private let sessions: SessionTable
    private let queue = DispatchQueue(label: "artifacts", attributes: .concurrent)
    private let room = DispatchSemaphore(value: 4)
    private let logger: Logger

    init(store: ArtifactStore, sessions: SessionTable, logger: Logger) {
        self.store = store
        self.sessions = sessions
        self.logger = logger
    }

    /// Called from the transport's thread: only hands over.
    func receive(_ request: IncomingRequest) {
        queue.async {
            room.wait()
            defer { room.signal() }
            request.reply(answer(request.bytes))
        }
    }

    private func answer(_ bytes: [UInt8]) -> [UInt8] {
        switch ReceivedRequest.decode(bytes) {
        case .refused(let error, let reply):
            logger.debug("refused a message on the artifact door", metadata: ["error": "\(error)"])
            return reply
        case .request(let request, let header):
            let response: Response
            do throws(AMAFError) {
                guard sessions.holder(of: header.session) != nil else {
                    throw AMAFError(
                        "coordinator.no-session", "The artifact door does not know this session", remedy: "Join again.", isTransient: true)
                }
                response = try carryOut(request)
            } catch {
                response = .failed(error)
            }
            return response.encoded(requestID: header.requestID, session: header.session)
        }
    }

    private func take(_ digest: Digest, offset: Int, total: Int, chunk: ArraySlice<UInt8>) throws(AMAFError) -> Int {
        switch try store.beginUpload(of: digest, byteCount: total) {
        case .stored: return total
        case .accepting(let received):
            // A sender that starts at 0 is told where to go on.
            guard offset <= received else { return received }
            let reached = try store.append(to: digest, at: offset, chunk)
            if reached == total { try store.finishUpload(of: digest) }
            return reached
        }
    }

    private func carryOut(_ request: Request) throws(AMAFError) -> Response {
        switch request {
        case .have(let digests):
            let missing = Set(try store.missing(among: digests))
            return .held(digests.map { !missing.contains($0) })
        case .put(let digest, let offset, let total, let chunk):
            return .stored(upTo: try take(digest, offset: offset, total: total, chunk: chunk))
        case .get(let digest, let offset, let length):
            let total = try store.byteCount(of: digest)
            return .chunk(
                offset: offset, total: total, bytes: try store.read(digest, offset: offset, length: min(length, total - offset))[...])
        default:
            throw AMAFError("coordinator.wrong-door", "This message belongs to the control door", remedy: "Send it to the other address.")
        }
    }
}
