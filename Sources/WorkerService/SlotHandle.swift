import Foundation
import Primitives
import Scheduling

/// The agent's end of one slot process: starts it, sends leases, and turns what comes back into agent events.
///
/// Owner: the agent's loop thread. One reader thread per process only hands over.
final class SlotHandle {
    enum Event: Sendable {
        case ready(slot: Int)
        case blockDone(slot: Int, Fence, SlotBlockResult)
        case leaseDone(slot: Int, Fence)
        case failed(slot: Int, Fence, FailureReport)
        case read(slot: Int, number: UInt64, Digest, Range<Int>)
        /// The process is gone; `signal` is 0 for an ordinary exit.
        case died(slot: Int, process: pid_t, signal: Int32, status: Int32)
    }

    struct Program: Sendable {
        var path: String
        var arguments: [String]
        var environment: [String: String]
        var errorLog: String?
    }

    let slot: Int
    private(set) var process: pid_t = 0
    private var socket: SlotSocket?

    init(slot: Int) { self.slot = slot }

    /// Starts the process with its socket as descriptor 3. NNG forbids fork without exec, so this is posix_spawn.
    func start(_ program: Program, handOver: @escaping @Sendable (Event) -> Void) throws(AMAFError) {
        precondition(socket == nil, "slot \(slot) already runs")
        var pair: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
            throw AMAFError("worker.no-socket", "No socket pair for slot \(slot): \(String(cString: strerror(errno)))", isTransient: true)
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, pair[1], 3)
        if pair[1] == 3 {
            // dup2 onto itself would keep close-on-exec.
            let moved = fcntl(pair[1], F_DUPFD_CLOEXEC, 10)
            close(pair[1])
            pair[1] = moved
            posix_spawn_file_actions_destroy(&actions)
            posix_spawn_file_actions_init(&actions)
            posix_spawn_file_actions_adddup2(&actions, pair[1], 3)
        }
        // Signals that the terminal sends to the group are for the agent: it drains and then ends its slots itself.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))

        let arguments = ([program.path] + program.arguments).map { strdup($0) } + [nil]
        let environment = program.environment.sorted { $0.key < $1.key }.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { (arguments + environment).forEach { free($0) } }
        var child: pid_t = 0
        let status = posix_spawn(&child, program.path, &actions, &attributes, arguments, environment)
        close(pair[1])
        guard status == 0 else {
            close(pair[0])
            throw AMAFError(
                "worker.cannot-start-slot", "Cannot start \(program.path): \(String(cString: strerror(status)))",
                remedy: "Check that the file exists and may be executed.")
        }
        process = child
        let started = child
        let socket = SlotSocket(descriptor: pair[0])
        self.socket = socket
        let slot = slot
        let reader = Thread {
            while let message = try? socket.receive() {
                switch message {
                case .ready: handOver(.ready(slot: slot))
                case .blockDone(let fence, let block): handOver(.blockDone(slot: slot, fence, block))
                case .leaseDone(let fence): handOver(.leaseDone(slot: slot, fence))
                case .failed(let fence, let report): handOver(.failed(slot: slot, fence, report))
                case .read(let number, let digest, let range): handOver(.read(slot: slot, number: number, digest, range))
                case .run, .cancel, .rangeReady, .readFailed: preconditionFailure("a slot sent a message that only agents send")
                }
            }
            var status: Int32 = 0
            while waitpid(started, &status, 0) < 0 && errno == EINTR {}
            _ = Foundation.close(socket.descriptor)
            // The wait status holds the signal in its low seven bits and the exit code above them.
            handOver(.died(slot: slot, process: started, signal: status & 0x7F, status: (status >> 8) & 0xFF))
        }
        reader.stackSize = 256 << 10
        reader.name = "slot-\(slot)"
        reader.start()
    }

    var isRunning: Bool { socket != nil }

    func run(_ grant: LeaseGrant) { _ = socket?.send(.run(grant)) }
    func answer(_ number: UInt64, _ result: Result<String, AMAFError>) {
        switch result {
        case .success(let path): _ = socket?.send(.rangeReady(number, path: path))
        case .failure(let error): _ = socket?.send(.readFailed(number, error))
        }
    }
    func cancel(_ fence: Fence) { _ = socket?.send(.cancel(fence)) }
    func kill() { if process > 0 { Foundation.kill(process, SIGKILL) } }

    /// Called when `.died` arrived: the reader thread has closed the descriptor.
    func forget() {
        socket = nil
        process = 0
    }

    /// Ends an idle slot: its `receive` returns at the end of the stream.
    func close() {
        if let socket { shutdown(socket.descriptor, Int32(SHUT_RDWR)) }
    }

    private func close(_ descriptor: Int32) { _ = Foundation.close(descriptor) }
}
