internal import CNNG
internal import Foundation
internal import Primitives

/// The working parts of a `ServerDoor`.
///
/// Each context has one asynchronous operation that is used in turn: receiving → with the handler → sending → receiving. Its
/// callback argument is a raw slot, so that no callback can hold the last reference to anything that frees an operation.
///
/// `@unchecked Sendable`: a slot belongs to whoever is next in that cycle (NNG's callback or the one owner of the
/// `IncomingRequest`), and the hand-over goes through NNG's own locks; handlers are set before the first callback and never changed.
final class ServerCore: @unchecked Sendable {
    struct Slot {
        enum Phase { case receiving, handed, sending }
        var context: nng_ctx
        var operation: OpaquePointer?
        var core: Unmanaged<ServerCore>
        var index: Int
        var phase: Phase
    }

    let counters = CounterBox()
    private let socket: nng_socket
    private let slots: UnsafeMutablePointer<Slot>
    private let capacity: Int
    private var opened = 0
    /// Set once, before the door is handed to anyone.
    private var listener = nng_listener()
    private var port = 0
    private let gate = Gate()
    private let onRequest: @Sendable (IncomingRequest) -> Void
    private let onPipeRemoved: @Sendable (PipeID) -> Void

    init(
        socket: nng_socket, contexts: Int, onRequest: @escaping @Sendable (IncomingRequest) -> Void,
        onPipeRemoved: @escaping @Sendable (PipeID) -> Void
    ) {
        self.socket = socket
        capacity = contexts
        slots = .allocate(capacity: contexts)
        self.onRequest = onRequest
        self.onPipeRemoved = onPipeRemoved
        // NNG holds this reference until the end of the process: a pipe's last event may come after its socket was closed.
        _ = Unmanaged.passRetained(self)
    }

    /// The bound port.
    func listen(_ address: DoorURL, _ settings: ServerDoorSettings) throws(AMAFError) -> Int {
        let me = Unmanaged.passUnretained(self)
        try check(
            nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, settings.requestLimit + protocolHeaderAllowance),
            "Limiting requests of \(address.text)")
        for event in [NNG_PIPE_EV_ADD_POST, NNG_PIPE_EV_REM_POST] {
            try check(nng_pipe_notify(socket, event, serverPipeChanged, me.toOpaque()), "Watching connections of \(address.text)")
        }
        try check(nng_listener_create(&listener, socket, address.text), "Preparing to listen on \(address.text)")
        // Set before the start: its default is no limit, and a peer's claim of 4 GiB would be believed.
        try check(
            nng_listener_set_size(listener, NNG_OPT_RECVMAXSZ, settings.requestLimit + protocolHeaderAllowance),
            "Limiting requests of \(address.text)")
        if let identity = settings.tls, address.scheme == .tls {
            let tls = try makeTLS(identity, serverName: nil)
            defer { nng_tls_config_free(tls) }
            try check(nng_listener_set_ptr(listener, NNG_OPT_TLS_CONFIG, UnsafeMutableRawPointer(tls)), "Setting up TLS on \(address.text)")
        }
        for index in 0..<capacity {
            var context = nng_ctx()
            try check(nng_ctx_open(&context, socket), "Opening context \(index) of \(address.text)")
            let slot = slots + index
            slot.initialize(to: Slot(context: context, operation: nil, core: me, index: index, phase: .receiving))
            opened += 1
            try check(nng_aio_alloc(&slot.pointee.operation, serverOperationDone, slot), "Opening context \(index) of \(address.text)")
            // Our deadlines are our own; NNG's follow the wall clock.
            nng_aio_set_timeout(slot.pointee.operation, NNG_DURATION_INFINITE)
        }
        let code = nng_listener_start(listener, 0)
        if code == Int32(NNG_EADDRINUSE.rawValue) {
            throw AMAFError(
                "messaging.address-in-use", "\(address.text) is in use",
                remedy: "Is another coordinator running? Choose another port otherwise.")
        }
        try check(code, "Listening on \(address.text)")
        var port: Int32 = 0
        try check(nng_listener_get_int(listener, NNG_OPT_TCP_BOUND_PORT, &port), "Asking for the port of \(address.text)")
        self.port = Int(port)
        for index in 0..<capacity { receive(slots + index) }
        return Int(port)
    }

    /// NNG copies the statistics of the whole process for it, so for views, not for every message.
    func refusals() -> DoorRefusals {
        guard gate.enter() else { return DoorRefusals() }
        defer { gate.leave() }
        return DoorRefusals(listener: statistics { nng_stat_find_listener($0, listener) }, port: port)
    }

    func address(of pipe: PipeID) -> String? {
        guard gate.enter() else { return nil }
        defer { gate.leave() }
        return peerAddress(pipe)
    }

    fileprivate func receive(_ slot: UnsafeMutablePointer<Slot>) {
        slot.pointee.phase = .receiving
        nng_ctx_recv(slot.pointee.context, slot.pointee.operation)
    }

    func send(_ bytes: [UInt8], from index: Int) {
        guard gate.enter() else { return }
        defer { gate.leave() }
        let slot = slots + index
        guard let message = makeMessage(bytes) else { return receive(slot) }
        slot.pointee.phase = .sending
        nng_aio_set_msg(slot.pointee.operation, message)
        nng_ctx_send(slot.pointee.context, slot.pointee.operation)
    }

    /// Receiving again forgets the request that the context held.
    func abandon(_ index: Int) {
        guard gate.enter() else { return }
        defer { gate.leave() }
        counters.add { $0.unanswered += 1 }
        receive(slots + index)
    }

    fileprivate func operationDone(_ slot: UnsafeMutablePointer<Slot>) {
        let code = nng_aio_result(slot.pointee.operation)
        switch slot.pointee.phase {
        case .receiving:
            guard code == 0, let message = nng_aio_get_msg(slot.pointee.operation) else {
                // Closed and cancelled end the cycle; anything else concerned one message only.
                if code != Int32(NNG_ECLOSED.rawValue) && code != Int32(NNG_ECANCELED.rawValue) { receive(slot) }
                return
            }
            slot.pointee.phase = .handed
            let pipe = PipeID(rawValue: nng_msg_get_pipe(message).id)
            counters.add { $0.requests += 1 }
            onRequest(IncomingRequest(bytes: takeBytes(of: message), pipe: pipe, core: self, slot: slot.pointee.index))
        case .sending:
            if code == 0 {
                counters.add { $0.replies += 1 }
            } else if let message = nng_aio_get_msg(slot.pointee.operation) {
                // NNG keeps a message only when it took it.
                nng_aio_set_msg(slot.pointee.operation, nil)
                nng_msg_free(message)
            }
            if code != Int32(NNG_ECLOSED.rawValue) && code != Int32(NNG_ECANCELED.rawValue) { receive(slot) }
        case .handed:
            preconditionFailure("an operation of context \(slot.pointee.index) ended while its request was with the handler")
        }
    }

    fileprivate func pipeChanged(_ pipe: nng_pipe, _ event: nng_pipe_ev) {
        switch event {
        case NNG_PIPE_EV_ADD_POST: counters.add { $0.pipesAdded += 1 }
        case NNG_PIPE_EV_REM_POST:
            counters.add { $0.pipesRemoved += 1 }
            onPipeRemoved(PipeID(rawValue: pipe.id))
        default: break
        }
    }

    /// Operations are stopped before the socket is closed, and freed last.
    func close() {
        guard gate.close() else { return }
        for index in 0..<opened { nng_aio_stop(slots[index].operation) }
        nng_close(socket)
        for index in 0..<opened { nng_aio_free(slots[index].operation) }
    }
}

private func serverOperationDone(_ argument: UnsafeMutableRawPointer?) {
    guard let slot = argument?.assumingMemoryBound(to: ServerCore.Slot.self) else { return }
    slot.pointee.core.takeUnretainedValue().operationDone(slot)
}

private func serverPipeChanged(_ pipe: nng_pipe, _ event: nng_pipe_ev, _ argument: UnsafeMutableRawPointer?) {
    guard let argument else { return }
    Unmanaged<ServerCore>.fromOpaque(argument).takeUnretainedValue().pipeChanged(pipe, event)
}
