internal import Foundation
package import Primitives
internal import Telemetry

/// How requests leave: one connection of NNG's request protocol with many contexts, so that many calls can be under way.
///
/// The connection is dialled in the background and again whenever it is lost. A call ends exactly once, with the reply or with
///
/// | code | meaning | was it carried out? |
/// |---|---|---|
/// | `messaging.unreachable` | there was no connection until the deadline | no |
/// | `messaging.timed-out` | the coordinator gave no answer until the deadline | perhaps |
/// | `messaging.connection-lost` | the connection broke after the request had left | perhaps |
/// | `messaging.too-large` | the request is over the limit | no; the only one that is not transient |
/// | `messaging.closed` | the door was closed | perhaps |
///
/// Requests are idempotent by their id, so after "perhaps" the same bytes are sent again; the door itself never repeats one.
package final class ClientDoor: Sendable {
    private let core: ClientCore
    package let url: String

    /// Returns at once; nobody needs to listen yet.
    ///
    /// - Parameter onConnection: called on an NNG thread with whether there is a connection; only hands over.
    /// - Throws: `messaging.url`, `messaging.insecure`, `messaging.tls`, `messaging.nng`.
    package init(_ settings: ClientDoorSettings, onConnection: @escaping @Sendable (Bool) -> Void = { _ in }) throws(AMAFError) {
        precondition(settings.contexts > 0 && settings.requestLimit > 0 && settings.replyLimit > 0, "\(settings)")
        let address = try DoorURL(settings.url)
        try address.admit(tls: settings.tls, allowsInsecure: settings.allowsInsecure)
        core = try ClientCore(address, settings, onConnection: onConnection)
        url = address.text
    }

    package var isConnected: Bool { core.isConnected }

    /// Sends a request as soon as a context is free and there is a connection.
    ///
    /// - Parameter completion: called once, on an NNG thread, the door's own thread or (for `too-large`) the caller's; it must
    ///   only hand over.
    package func call(
        _ request: [UInt8], deadline: Duration, completion: @escaping @Sendable (Result<[UInt8], AMAFError>) -> Void
    ) {
        core.call(request, deadline: SystemClock.now() + deadline, completion)
    }

    /// Blocks the calling thread until the reply or the deadline. Never from a callback of a door.
    package func callAndWait(_ request: [UInt8], deadline: Duration) throws(AMAFError) -> [UInt8] {
        let answer = OneShot<Result<[UInt8], AMAFError>>()
        call(request, deadline: deadline) { answer.set($0) }
        return try answer.wait().get()
    }

    /// Waits without holding a thread. The deadline bounds it; cancelling the task does not shorten it.
    package func call(_ request: [UInt8], deadline: Duration) async throws(AMAFError) -> [UInt8] {
        let result: Result<[UInt8], AMAFError> = await withCheckedContinuation { continuation in
            call(request, deadline: deadline) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Ends every call with `messaging.closed`. For the end of the process, from a plain thread, never from a callback.
    package func close() { core.close() }
}
