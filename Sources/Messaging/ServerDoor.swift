internal import CNNG
internal import Foundation
package import Primitives

/// A client's connection as the door sees it; a number is not used again soon after its connection ended.
package struct PipeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
    package static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    package var description: String { "pipe \(rawValue)" }
}

/// Where requests arrive: one listening socket of NNG's reply protocol with many contexts, so that many requests can be with
/// the handler at once and each is answered when its answer is there.
///
/// Both callbacks run on NNG's threads: they may only hand over (`Inbox.put`) and must return at once. Open a door once and
/// close it at the end of the process, never while others work with it: closing is where NNG 1.5.2 has its races.
package final class ServerDoor: Sendable {
    private let core: ServerCore
    /// With the port that was taken when the settings said 0.
    package let url: String
    package let port: Int

    /// - Throws: `messaging.url`, `messaging.insecure`, `messaging.tls`, `messaging.address-in-use`, `messaging.nng`.
    package init(
        _ settings: ServerDoorSettings,
        onRequest: @escaping @Sendable (IncomingRequest) -> Void,
        onPipeRemoved: @escaping @Sendable (PipeID) -> Void = { _ in }
    ) throws(AMAFError) {
        precondition(
            settings.contexts > 0 && settings.requestLimit > 0, "\(settings.contexts) contexts, requests of \(settings.requestLimit) bytes")
        var address = try DoorURL(settings.url)
        try address.admit(tls: settings.tls, allowsInsecure: settings.allowsInsecure)
        var socket = nng_socket()
        try check(nng_rep0_open(&socket), "Opening a reply socket")
        core = ServerCore(socket: socket, contexts: settings.contexts, onRequest: onRequest, onPipeRemoved: onPipeRemoved)
        do throws(AMAFError) {
            address.port = try core.listen(address, settings)
        } catch {
            core.close()
            throw error
        }
        url = address.text
        port = address.port
    }

    package var counters: DoorCounters { core.counters.current }

    /// Connections turned away before their first message. Costs about a microsecond for each connection of the process: for views.
    package func refusals() -> DoorRefusals { core.refusals() }

    /// Stops at once: requests not yet answered get no answer. For the end of the process, from a plain thread, never from a callback.
    package func close() { core.close() }
}

/// What passed a door since it opened.
package struct DoorCounters: Hashable, Sendable {
    package var requests = 0
    package var replies = 0
    /// Requests whose `IncomingRequest` was dropped without a reply: each is a mistake of the handler.
    package var unanswered = 0
    package var pipesAdded = 0
    package var pipesRemoved = 0
}

/// One request, and the way back to who sent it. Answer it with `reply`, from any thread, once.
///
/// A reply to a client that has gone is dropped without a trace: that a reply was sent proves nothing. Dropping the
/// last reference without a reply frees the context; the client then runs into its deadline.
package final class IncomingRequest: Sendable {
    package let bytes: [UInt8]
    package let pipe: PipeID
    private let core: ServerCore
    private let slot: Int
    private let isAnswered = Flag()

    init(bytes: [UInt8], pipe: PipeID, core: ServerCore, slot: Int) {
        self.bytes = bytes
        self.pipe = pipe
        self.core = core
        self.slot = slot
    }

    /// The address from which it came; nil when its connection has gone.
    package var peerAddress: String? { core.address(of: pipe) }

    /// - Precondition: the first reply to this request.
    package func reply(_ bytes: [UInt8]) {
        precondition(isAnswered.raise(), "a second reply to one request of \(pipe)")
        core.send(bytes, from: slot)
    }

    deinit {
        if isAnswered.raise() { core.abandon(slot) }
    }
}

/// Goes up once.
final class Flag: @unchecked Sendable {
    // `@unchecked Sendable`: the value is only touched with `lock` held.
    private let lock = NSLock()
    private var isUp = false

    /// Whether this call raised it.
    func raise() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        defer { isUp = true }
        return !isUp
    }
}

/// Counters that callbacks of any thread raise.
final class CounterBox: @unchecked Sendable {
    // `@unchecked Sendable`: the value is only touched with `lock` held.
    private let lock = NSLock()
    private var value = DoorCounters()

    var current: DoorCounters {
        lock.lock()
        defer { lock.unlock() }
        return value
    }

    func add(_ change: (inout DoorCounters) -> Void) {
        lock.lock()
        change(&value)
        lock.unlock()
    }
}
