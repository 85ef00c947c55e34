internal import Foundation
internal import Primitives

/// A program that answers over pipes and cannot harm its caller: bounded in time, memory and output, in a process group of its
/// own that is killed as a whole.
///
/// Owner: one thread at a time; `@unchecked Sendable`, because `SnorkelModule` keeps it behind its lock and everybody else keeps it on
/// the stack. It gets a small environment (no secrets of the caller) and no open file but its three streams.
final class ChildProcess: @unchecked Sendable {
    enum Failure: Error {
        /// Said nothing for the time allowed.
        case silent(seconds: Double)
        /// Wrote more than the bytes allowed.
        case flooded(bytes: Int)
        /// Ended before it had answered; the signal is 0 for an exit.
        case ended(status: Int32, signal: Int32, complaint: String)
    }

    private let process: pid_t
    private var input: Int32
    private let output: Int32
    private let errors: Int32
    private var isReaped = false
    private var isStopped = false
    private var status: Int32 = 0
    /// Output that was read and not asked for yet.
    private var pending: [UInt8] = []
    private var complaint: [UInt8] = []
    private var errorBytes = 0

    private static let keptComplaint = 4096
    private static let errorLimit = 16 << 20
    private static let passedOn = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH"]

    /// - Parameters:
    ///   - memoryMiB: of address space, for the program and each of its children.
    ///   - folder: where it runs; empty is here.
    init(_ command: [String], memoryMiB: Int, folder: String) throws(AMAFError) {
        func failed(_ what: String) -> AMAFError {
            AMAFError(
                "labeling-function.cannot-start", "'\(command.joined(separator: " "))' cannot be started: \(what)",
                remedy: "Check the machine's limits on processes and files.", isTransient: true)
        }
        // Sockets rather than pipes: no signal when the reader has gone, and closed in other children from the start.
        var pairs: [[Int32]] = []
        for _ in 0..<3 {
            var pair: [Int32] = [0, 0]
            guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &pair) == 0 else {
                pairs.joined().forEach { close($0) }
                throw failed("no socket")
            }
            pairs.append(pair)
        }
        let (sockets, out, err) = (pairs[0], pairs[1], pairs[2])
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, sockets[1], 0)
        posix_spawn_file_actions_adddup2(&actions, out[1], 1)
        posix_spawn_file_actions_adddup2(&actions, err[1], 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        var signals = sigset_t()
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        posix_spawnattr_setpgroup(&attributes, 0)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        // The shell sets what posix_spawn cannot: limits and the folder.
        let script = "ulimit -v \"$1\"; ulimit -c 0; [ -z \"$2\" ] || cd \"$2\" || exit 126; shift 2; exec \"$@\""
        let arguments = ["/bin/sh", "-c", script, "labeling-function", "\(memoryMiB * 1024)", folder] + command
        let environment = ProcessInfo.processInfo.environment
        let passed = Self.passedOn.compactMap { name in environment[name].map { "\(name)=\($0)" } } + ["PYTHONHASHSEED=0"]
        var argv = arguments.map { strdup($0) } + [nil]
        var envp = passed.map { strdup($0) } + [nil]
        defer { (argv + envp).forEach { free($0) } }
        var id: pid_t = 0
        let code = posix_spawn(&id, "/bin/sh", &actions, &attributes, &argv, &envp)
        pairs.forEach { close($0[1]) }
        guard code == 0 else {
            pairs.forEach { close($0[0]) }
            throw failed(String(cString: strerror(code)))
        }
        process = id
        input = sockets[0]
        output = out[0]
        errors = err[0]
        for descriptor in [input, output, errors] { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL, 0) | O_NONBLOCK) }
    }

    deinit { stop() }

    /// Sends `bytes`, then reads lines until there are `lineCount` of them.
    ///
    /// - Parameters:
    ///   - closesInput: tells the program that nothing follows.
    ///   - silentSeconds: how long it may neither take input nor write.
    ///   - outputLimit: bytes of all lines together.
    ///   - line: gets every line without its line break, in order, until a failure.
    /// - Returns: nil when all lines came, or — with `closesInput` — when the program ended well.
    func exchange(
        _ bytes: [UInt8], lineCount: Int, closesInput: Bool, silentSeconds: Double, outputLimit: Int, line: ([UInt8]) -> Void
    ) -> Failure? {
        var sent = 0
        var lines = 0
        var received = 0
        var scanned = 0
        let clock = ContinuousClock()
        var deadline = clock.now.advanced(by: .seconds(silentSeconds))
        var chunk = [UInt8](repeating: 0, count: 65_536)
        var outputEnded = false
        var errorsEnded = false
        if bytes.isEmpty && closesInput { closeInput() }
        while true {
            // Whole lines that are there already.
            while lines < lineCount, let end = pending[scanned...].firstIndex(of: 0x0A) {
                line(Array(pending[scanned..<end]))
                scanned = end + 1
                lines += 1
            }
            pending.removeFirst(scanned)
            scanned = 0
            if lines == lineCount && (!closesInput || outputEnded) { return nil }
            if outputEnded {
                // A last line without its break counts.
                if lines < lineCount, !pending.isEmpty {
                    line(pending)
                    lines += 1
                    pending = []
                }
                return ended(isExpected: closesInput)
            }
            let left = clock.now.duration(to: deadline).seconds
            guard left > 0 else {
                stop()
                return .silent(seconds: silentSeconds)
            }
            var polled = [
                pollfd(fd: output, events: Int16(POLLIN), revents: 0),
                pollfd(fd: errorsEnded ? -1 : errors, events: Int16(POLLIN), revents: 0),
            ]
            if sent < bytes.count { polled.append(pollfd(fd: input, events: Int16(POLLOUT), revents: 0)) }
            _ = poll(&polled, nfds_t(polled.count), Int32(min(60_000, max(1, left * 1000))))
            if polled.count > 2, polled[2].revents != 0 {
                let count = bytes[sent...].withUnsafeBytes { send(input, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                if count > 0 {
                    sent += count
                    deadline = clock.now.advanced(by: .seconds(silentSeconds))
                } else if count < 0, errno != EAGAIN, errno != EINTR {
                    // Nobody reads any more; what it wrote before is still to come.
                    sent = bytes.count
                }
                if sent == bytes.count && closesInput { closeInput() }
            }
            if polled[1].revents != 0 {
                let count = read(errors, &chunk, chunk.count)
                if count > 0 {
                    errorBytes += count
                    complaint = Array((complaint + chunk[..<count]).suffix(Self.keptComplaint))
                    if errorBytes > Self.errorLimit {
                        stop()
                        return .flooded(bytes: errorBytes)
                    }
                } else if count == 0 {
                    // Closed errors would wake every poll; the output decides.
                    errorsEnded = true
                }
            }
            if polled[0].revents != 0 {
                let count = read(output, &chunk, chunk.count)
                if count > 0 {
                    received += count
                    guard received <= outputLimit else {
                        stop()
                        return .flooded(bytes: received)
                    }
                    // What follows the last line asked for must not grow without end.
                    if lines < lineCount || pending.count < outputLimit { pending += chunk[..<count] }
                    deadline = clock.now.advanced(by: .seconds(silentSeconds))
                } else if count == 0 {
                    outputEnded = true
                }
            }
        }
    }

    private func closeInput() {
        if input >= 0 { close(input) }
        input = -1
    }

    private func ended(isExpected: Bool) -> Failure? {
        // It closed its output: give it a moment to end by itself, then make it.
        for _ in 0..<200 where !isReaped {
            var code: Int32 = 0
            if waitpid(process, &code, WNOHANG) == process {
                isReaped = true
                status = code
            } else {
                usleep(5000)
            }
        }
        let wasRunning = !isReaped
        while complaint.count < Self.keptComplaint {
            var chunk = [UInt8](repeating: 0, count: 1024)
            let count = read(errors, &chunk, chunk.count)
            guard count > 0 else { break }
            complaint += chunk[..<count]
        }
        stop()
        let signal = status & 0x7F
        let exit = (status >> 8) & 0xFF
        if isExpected, !wasRunning, signal == 0, exit == 0 { return nil }
        let text = String(decoding: complaint, as: UTF8.self).split(separator: "\n").last.map(String.init) ?? ""
        return .ended(status: exit, signal: wasRunning ? 0 : signal, complaint: String(text.prefix(300)))
    }

    /// Kills the whole group.
    func stop() {
        guard !isStopped else { return }
        isStopped = true
        kill(-process, SIGKILL)
        if !isReaped {
            var code: Int32 = 0
            while waitpid(process, &code, 0) < 0, errno == EINTR {}
            isReaped = true
            status = code
        }
        closeInput()
        close(output)
        close(errors)
    }
}
