internal import CNNG
internal import Foundation
internal import Primitives
internal import Telemetry

/// The working parts of a `ClientDoor`.
///
/// A context works on one call at a time: idle → sending → starting → receiving → idle. Three facts of NNG 1.5.2 shape this:
/// cancelling a receive while its send is queued crashes (its issue 1702), so the receive starts only when the send is done and
/// only receives are cancelled; a request queued without a connection would be sent much later, so calls wait here for a
/// connection; NNG's timeouts follow the wall clock, so the clerk thread keeps the deadlines.
///
/// At its deadline a call ends for its caller at once; its context comes back when NNG lets go of it.
///
/// `@unchecked Sendable`: `state` is only touched with `lock` held, which is never held during a call into NNG or of a completion.
/// The raw slots hold what callbacks need and are not changed after the start.
final class ClientCore: @unchecked Sendable {
    typealias Completion = @Sendable (Result<[UInt8], AMAFError>) -> Void

    struct Slot {
        var context: nng_ctx
        var operation: OpaquePointer?
        var core: Unmanaged<ClientCore>
        var index: Int
    }

    private struct Call {
        var number: UInt64
        var request: [UInt8]
        var deadline: Instant
        var completion: Completion
    }

    private enum Phase {
        case idle
        /// Nil when the deadline has passed: the context only waits for NNG to finish the send.
        case sending(Call?)
        /// The send is done and the receive of call `number` is being started. Nil when the deadline passed meanwhile.
        case starting(number: UInt64, Call?)
        case receiving(Call)
        /// The receive is being cancelled; idle when both the cancel call has returned and the operation has ended.
        case cancelling(hasReturned: Bool, hasEnded: Bool)
    }

    private struct State {
        var phases: [Phase]
        var idle: [Int]
        var waiting = FIFO<Call>()
        var pipes: Set<UInt32> = []
        var lastNumber: UInt64 = 0
        /// The deadline for which the clerk is set.
        var wakeUp: Instant?
        var isClosed = false
    }

    private enum ClerkEvent: Sendable {
        case deadlineMoved
        case connected
    }

    private let address: String
    private let settings: ClientDoorSettings
    private let socket: nng_socket
    private let slots: UnsafeMutablePointer<Slot>
    private var opened = 0
    /// Set once, before the door is handed to anyone.
    private var dialer = nng_dialer()
    private let gate = Gate()
    private let clerk = Inbox<ClerkEvent>()
    private let onConnection: @Sendable (Bool) -> Void
    private let lock = NSLock()
    private var state: State

    init(_ address: DoorURL, _ settings: ClientDoorSettings, onConnection: @escaping @Sendable (Bool) -> Void) throws(AMAFError) {
        self.address = address.text
        self.settings = settings
        self.onConnection = onConnection
        var socket = nng_socket()
        try check(nng_req0_open(&socket), "Opening a request socket")
        self.socket = socket
        slots = .allocate(capacity: settings.contexts)
        state = State(phases: Array(repeating: .idle, count: settings.contexts), idle: Array((0..<settings.contexts).reversed()))
        // NNG holds this reference until the end of the process: a pipe's last event may come after its socket was closed.
        _ = Unmanaged.passRetained(self)
        do throws(AMAFError) {
            try dial(address)
        } catch {
            close()
            throw error
        }
        Thread.detachNewThread { [self] in runClerk() }
    }

    private func dial(_ address: DoorURL) throws(AMAFError) {
        let me = Unmanaged.passUnretained(self)
        // -1: NNG sends nothing twice, and a lost connection ends the call at once.
        try check(nng_socket_set_ms(socket, NNG_OPT_REQ_RESENDTIME, -1), "Turning off the repeats of \(self.address)")
        try check(
            nng_socket_set_size(socket, NNG_OPT_RECVMAXSZ, settings.replyLimit + protocolHeaderAllowance),
            "Limiting replies of \(self.address)")
        for event in [NNG_PIPE_EV_ADD_POST, NNG_PIPE_EV_REM_POST] {
            try check(nng_pipe_notify(socket, event, clientPipeChanged, me.toOpaque()), "Watching the connection to \(self.address)")
        }
        for index in 0..<settings.contexts {
            var context = nng_ctx()
            try check(nng_ctx_open(&context, socket), "Opening context \(index) to \(self.address)")
            try check(nng_ctx_set_ms(context, NNG_OPT_REQ_RESENDTIME, -1), "Turning off the repeats of \(self.address)")
            let slot = slots + index
            slot.initialize(to: Slot(context: context, operation: nil, core: me, index: index))
            opened += 1
            try check(nng_aio_alloc(&slot.pointee.operation, clientOperationDone, slot), "Opening context \(index) to \(self.address)")
            nng_aio_set_timeout(slot.pointee.operation, NNG_DURATION_INFINITE)
        }
        try check(nng_dialer_create(&dialer, socket, self.address), "Preparing to dial \(self.address)")
        try check(
            nng_dialer_set_size(dialer, NNG_OPT_RECVMAXSZ, settings.replyLimit + protocolHeaderAllowance),
            "Limiting replies of \(self.address)")
        try check(
            nng_dialer_set_ms(dialer, NNG_OPT_RECONNMINT, milliseconds(settings.reconnectMinimum)),
            "Setting the redial pause of \(self.address)")
        try check(
            nng_dialer_set_ms(dialer, NNG_OPT_RECONNMAXT, milliseconds(settings.reconnectMaximum)),
            "Setting the redial pause of \(self.address)")
        if let identity = settings.tls, address.scheme == .tls {
            let tls = try makeTLS(identity, serverName: identity.serverName ?? address.host)
            defer { nng_tls_config_free(tls) }
            try check(nng_dialer_set_ptr(dialer, NNG_OPT_TLS_CONFIG, UnsafeMutableRawPointer(tls)), "Setting up TLS to \(self.address)")
        }
        try check(nng_dialer_start(dialer, Int32(NNG_FLAG_NONBLOCK)), "Dialling \(self.address)")
    }

    private func milliseconds(_ duration: Duration) -> nng_duration {
        nng_duration(clamping: max(1, duration.nanoseconds / 1_000_000))
    }

    var isConnected: Bool {
        lock.lock()
        defer { lock.unlock() }
        return !state.pipes.isEmpty
    }

    // MARK: Calls

    func call(_ request: [UInt8], deadline: Instant, _ completion: @escaping Completion) {
        guard request.count <= settings.requestLimit else {
            return completion(
                .failure(
                    AMAFError(
                        "messaging.too-large",
                        "A request of \(request.count) bytes to \(address) is over the limit of \(settings.requestLimit)",
                        remedy: "Send it in parts, or as an artifact.")))
        }
        lock.lock()
        if state.isClosed {
            lock.unlock()
            return completion(.failure(closedError))
        }
        state.lastNumber += 1
        state.waiting.append(Call(number: state.lastNumber, request: request, deadline: deadline, completion: completion))
        let mustWake = state.wakeUp.map { deadline < $0 } ?? true
        if mustWake { state.wakeUp = deadline }
        lock.unlock()
        if mustWake { clerk.put(.deadlineMoved) }
        pump()
    }

    /// Hands waiting calls to idle contexts while there is a connection.
    private func pump() {
        while true {
            lock.lock()
            guard !state.pipes.isEmpty, !state.idle.isEmpty, let call = state.waiting.popFirst() else { return lock.unlock() }
            let index = state.idle.removeLast()
            state.phases[index] = .sending(call)
            lock.unlock()
            guard gate.enter() else { return finish(index, .failure(closedError)) }
            let slot = slots + index
            if let message = makeMessage(call.request) {
                nng_aio_set_msg(slot.pointee.operation, message)
                nng_ctx_send(slot.pointee.context, slot.pointee.operation)
            } else {
                finish(
                    index,
                    .failure(AMAFError("messaging.no-memory", "No memory for a request of \(call.request.count) bytes", isTransient: true)))
            }
            gate.leave()
        }
    }

    /// Ends the call of a context whose operation is over, and gives the context back.
    private func finish(_ index: Int, _ result: Result<[UInt8], AMAFError>) {
        lock.lock()
        let ended: Call?
        switch state.phases[index] {
        case .sending(let call), .starting(_, let call): ended = call
        case .receiving(let call): ended = call
        case .cancelling(hasReturned: false, hasEnded: _):
            // Whoever cancels gives the context back: a new operation could be hit by the old cancel.
            state.phases[index] = .cancelling(hasReturned: false, hasEnded: true)
            return lock.unlock()
        case .cancelling(hasReturned: true, hasEnded: _): ended = nil
        case .idle: preconditionFailure("context \(index) of \(address) ended an operation that it never began")
        }
        release(index)
        lock.unlock()
        ended?.completion(result)
        pump()
    }

    /// - Precondition: `lock` is held.
    private func release(_ index: Int) {
        state.phases[index] = .idle
        state.idle.append(index)
    }

    // MARK: Callbacks of NNG

    fileprivate func operationDone(_ slot: UnsafeMutablePointer<Slot>) {
        let index = slot.pointee.index
        let code = nng_aio_result(slot.pointee.operation)
        lock.lock()
        switch state.phases[index] {
        case .sending(let call):
            if code != 0 {
                lock.unlock()
                // NNG keeps a message only when it took it.
                if let message = nng_aio_get_msg(slot.pointee.operation) {
                    nng_aio_set_msg(slot.pointee.operation, nil)
                    nng_msg_free(message)
                }
                return finish(index, .failure(error(code)))
            }
            guard let call else {
                // The caller has gone. The next send on this context makes NNG forget the request.
                release(index)
                lock.unlock()
                return pump()
            }
            state.phases[index] = .starting(number: call.number, call)
            lock.unlock()
            nng_ctx_recv(slot.pointee.context, slot.pointee.operation)
            receiveStarted(slot, call.number)
        case .starting, .receiving, .cancelling:
            lock.unlock()
            if code == 0, let message = nng_aio_get_msg(slot.pointee.operation) {
                finish(index, .success(takeBytes(of: message)))
            } else {
                finish(index, .failure(error(code)))
            }
        case .idle: preconditionFailure("context \(index) of \(address) was idle when an operation ended")
        }
    }

    /// The receive of call `number` was started; it may be over already, and the context be with another call.
    private func receiveStarted(_ slot: UnsafeMutablePointer<Slot>, _ number: UInt64) {
        let index = slot.pointee.index
        lock.lock()
        switch state.phases[index] {
        case .starting(number, let call?):
            state.phases[index] = .receiving(call)
            lock.unlock()
        case .starting(number, nil):
            state.phases[index] = .cancelling(hasReturned: false, hasEnded: false)
            lock.unlock()
            cancel(index)
        default: lock.unlock()
        }
    }

    /// - Precondition: the phase is `.cancelling(hasReturned: false, …)`.
    private func cancel(_ index: Int) {
        if gate.enter() {
            nng_aio_cancel(slots[index].operation)
            gate.leave()
        }
        lock.lock()
        if case .cancelling(hasReturned: false, hasEnded: true) = state.phases[index] {
            release(index)
            lock.unlock()
            return pump()
        }
        state.phases[index] = .cancelling(hasReturned: true, hasEnded: false)
        lock.unlock()
    }

    fileprivate func pipeChanged(_ pipe: nng_pipe, _ event: nng_pipe_ev) {
        lock.lock()
        let wasConnected = !state.pipes.isEmpty
        switch event {
        case NNG_PIPE_EV_ADD_POST: state.pipes.insert(pipe.id)
        case NNG_PIPE_EV_REM_POST: state.pipes.remove(pipe.id)
        default: break
        }
        let isConnected = !state.pipes.isEmpty
        let isClosed = state.isClosed
        lock.unlock()
        guard wasConnected != isConnected, !isClosed else { return }
        // Waiting calls are sent by the clerk: pipe callbacks may not call into NNG.
        if isConnected { clerk.put(.connected) }
        onConnection(isConnected)
    }

    // MARK: The clerk: deadlines and new connections

    private func runClerk() {
        var deadline: Instant?
        while let events = clerk.take(until: deadline) {
            if events.contains(where: { if case .connected = $0 { true } else { false } }) { pump() }
            deadline = endOverdueCalls()
        }
    }

    /// Ends every call whose deadline has passed; the next deadline.
    private func endOverdueCalls() -> Instant? {
        let now = SystemClock.now()
        var overdue: [(Call, hadLeft: Bool)] = []
        var toCancel: [Int] = []
        var next: Instant?
        func keep(_ deadline: Instant) { next = next.map { min($0, deadline) } ?? deadline }
        lock.lock()
        state.waiting.removeAll { call in
            if call.deadline > now {
                keep(call.deadline)
                return false
            }
            overdue.append((call, hadLeft: false))
            return true
        }
        for index in state.phases.indices {
            switch state.phases[index] {
            case .sending(let call?):
                if call.deadline > now {
                    keep(call.deadline)
                } else {
                    overdue.append((call, hadLeft: true))
                    state.phases[index] = .sending(nil)
                }
            case .starting(let number, let call?):
                if call.deadline > now {
                    keep(call.deadline)
                } else {
                    overdue.append((call, hadLeft: true))
                    state.phases[index] = .starting(number: number, nil)
                }
            case .receiving(let call):
                if call.deadline > now {
                    keep(call.deadline)
                } else {
                    overdue.append((call, hadLeft: true))
                    state.phases[index] = .cancelling(hasReturned: false, hasEnded: false)
                    toCancel.append(index)
                }
            case .idle, .sending(nil), .starting(_, nil), .cancelling: break
            }
        }
        state.wakeUp = next
        let isConnected = !state.pipes.isEmpty
        lock.unlock()
        for index in toCancel { cancel(index) }
        // Why there is no connection is asked once for all of them.
        lazy var unreachable = unreachableError()
        for (call, hadLeft) in overdue { call.completion(.failure(hadLeft || isConnected ? timedOutError : unreachable)) }
        return next
    }

    // MARK: Errors

    private func error(_ code: Int32) -> AMAFError {
        switch UInt32(bitPattern: code) {
        case NNG_ECONNRESET.rawValue, NNG_ECONNSHUT.rawValue, NNG_ECONNABORTED.rawValue, NNG_ESTATE.rawValue:
            AMAFError(
                "messaging.connection-lost", "The connection to \(address) broke before the reply came",
                remedy:
                    "The request is sent again once there is a connection. If it always breaks here, the message may be over the receiver's limit.",
                isTransient: true)
        case NNG_ECLOSED.rawValue, NNG_ECANCELED.rawValue: closedError
        default: AMAFError("messaging.nng", "A call to \(address) failed: \(nngText(code))", isTransient: true)
        }
    }

    private var closedError: AMAFError { AMAFError("messaging.closed", "The door to \(address) was closed", isTransient: true) }
    private var timedOutError: AMAFError {
        AMAFError("messaging.timed-out", "\(address) gave no answer in time", remedy: "The request is sent again.", isTransient: true)
    }
    /// Says what NNG's statistics know of the attempts: a refused certificate is not the same as a head that is away.
    private func unreachableError() -> AMAFError {
        let attempts = gate.enter() ? statistics { nng_stat_find_dialer($0, dialer) } : nil
        if attempts != nil { gate.leave() }
        let handshakes = attempts?["auth", default: 0] ?? 0
        guard handshakes > 0 else {
            return AMAFError(
                "messaging.unreachable", "There is no connection to \(address)",
                remedy: "Check that the coordinator runs, the address, and that both sides use tls+tcp or both use tcp.", isTransient: true)
        }
        let own = settings.tls.map { "our certificate is \($0.certificateFile)" } ?? "we show no certificate"
        return AMAFError(
            "messaging.unreachable",
            "\(address) answers, but \(handshakes) TLS handshakes failed: one side refuses the other's certificate (\(own))",
            remedy:
                "Check that both sides' certificates are of one authority and not expired, that the head's names the address dialled, and both clocks.",
            isTransient: true)
    }

    // MARK: The end

    /// Operations are stopped before the socket is closed, and freed last.
    func close() {
        lock.lock()
        state.isClosed = true
        let waiting = state.waiting.removeAll()
        lock.unlock()
        for call in waiting { call.completion(.failure(closedError)) }
        clerk.close()
        guard gate.close() else { return }
        for index in 0..<opened { nng_aio_stop(slots[index].operation) }
        nng_close(socket)
        for index in 0..<opened { nng_aio_free(slots[index].operation) }
    }
}

/// First in, first out, without moving the rest at each take.
struct FIFO<Element> {
    private var items: [Element?] = []
    private var head = 0

    mutating func append(_ item: Element) { items.append(item) }

    mutating func popFirst() -> Element? {
        guard head < items.count else { return nil }
        defer {
            items[head] = nil
            head += 1
            if head > 64 && head * 2 > items.count {
                items.removeFirst(head)
                head = 0
            }
        }
        return items[head]
    }

    mutating func removeAll(where shouldRemove: (Element) -> Bool) {
        items = items[head...].filter { $0.map { !shouldRemove($0) } ?? false }
        head = 0
    }

    mutating func removeAll() -> [Element] {
        defer {
            items = []
            head = 0
        }
        return items[head...].compactMap { $0 }
    }
}

private func clientOperationDone(_ argument: UnsafeMutableRawPointer?) {
    guard let slot = argument?.assumingMemoryBound(to: ClientCore.Slot.self) else { return }
    slot.pointee.core.takeUnretainedValue().operationDone(slot)
}

private func clientPipeChanged(_ pipe: nng_pipe, _ event: nng_pipe_ev, _ argument: UnsafeMutableRawPointer?) {
    guard let argument else { return }
    Unmanaged<ClientCore>.fromOpaque(argument).takeUnretainedValue().pipeChanged(pipe, event)
}
