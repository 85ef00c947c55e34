import Foundation
import Primitives
import Scheduling
import Stages
import Telemetry

/// The slot: a child process of the agent that runs one lease at a time. A crash here names its task, and neither a busy
/// kernel nor a memory limit of this process can delay the agent's beats.
package enum SlotProcess {
    /// Outputs below this size travel in messages; larger ones through the cache folder.
    static let inlineLimit = 64 << 10

    /// Serves leases until the agent closes the socket.
    ///
    /// - Parameters:
    ///   - socket: the descriptor inherited from the agent.
    ///   - cacheFolder: where the agent puts inputs and this process its large outputs.
    ///   - objectCacheBytes: how much of parsed inputs may stay in memory between leases.
    ///   - memoryLimitBytes: the process ends with `memoryExitCode` once it holds more than so much of its own; 0 for no limit.
    ///   - dataFolders: where data sets may lie on this machine.
    package static func serve(
        socket descriptor: Int32, cacheFolder: String, objectCacheBytes: Int, memoryLimitBytes: Int, dataFolders: [String]
    ) {
        if memoryLimitBytes > 0 { MemoryWatch.start(limit: memoryLimitBytes) }
        // Without its agent a slot has no one to work for, even in the middle of a long kernel: this thread sees the agent's end
        // of the socket close and ends the process.
        let watch = Thread {
            var request = pollfd(fd: descriptor, events: 0, revents: 0)
            while poll(&request, 1, -1) < 0 && errno == EINTR {}
            _exit(0)
        }
        watch.stackSize = 64 << 10
        watch.start()
        let socket = SlotSocket(descriptor: descriptor)
        let cache = ObjectCache(limit: objectCacheBytes)
        guard socket.send(.ready) else { return }
        let memory = PeakMemory()

        while let message = try? socket.receive() {
            switch message {
            case .run(let grant):
                run(grant, socket: socket, cacheFolder: cacheFolder, dataFolders: dataFolders, cache: cache, memory: memory)
            case .cancel, .readFailed:
                break  // The lease has ended meanwhile.
            case .rangeReady(_, let path):
                unlink(path)
            case .ready, .blockDone, .leaseDone, .failed, .read:
                preconditionFailure("the agent sent a message that only slots send")
            }
        }
    }

    private static func run(
        _ grant: LeaseGrant, socket: SlotSocket, cacheFolder: String, dataFolders: [String], cache: ObjectCache,
        memory: PeakMemory
    ) {
        var stop = false
        var reads: UInt64 = 0
        var current: Int?
        func isCancelled() -> Bool {
            while !stop && socket.hasInput {
                // End of stream means that the agent is gone; nothing sent later could matter.
                guard let message = try? socket.receive() else {
                    stop = true
                    break
                }
                if case .cancel(let fence) = message, fence == grant.fence { stop = true }
            }
            return stop
        }
        func readRange(_ digest: Digest, _ range: Range<Int>) throws -> [UInt8] {
            reads += 1
            guard socket.send(.read(reads, digest, range)) else { throw CancellationError() }
            while true {
                guard let message = try socket.receive() else { throw CancellationError() }
                switch message {
                case .rangeReady(let number, let path):
                    defer { unlink(path) }
                    guard number == reads else { continue }  // Of an earlier lease that was taken away.
                    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
                    guard bytes.count == range.count else {
                        throw AMAFError(
                            "artifact.short", "Artifact \(digest) gave \(bytes.count) of \(range.count) bytes",
                            remedy: "Nothing to do: the task is tried again.",
                            isTransient: true)
                    }
                    return bytes
                case .readFailed(let number, let error):
                    if number == reads { throw error }
                case .cancel(let fence):
                    if fence == grant.fence { throw CancellationError() }
                case .run, .ready, .blockDone, .leaseDone, .failed, .read:
                    preconditionFailure("the agent sent a message that does not belong into a lease")
                }
            }
        }
        do {
            guard let executor = StageRegistry.executor(for: grant.kind) else {
                throw AMAFError(
                    "stage.unknown-kind", "This worker has no executor for '\(grant.kind)'", place: grant.stage.rawValue,
                    remedy: "Update the worker to the coordinator's version.")
            }
            guard type(of: executor).codeVersion == grant.codeVersion else {
                throw AMAFError(
                    "stage.version",
                    "'\(grant.kind)' is of version \(type(of: executor).codeVersion) here and \(grant.codeVersion) in the plan",
                    place: grant.stage.rawValue, remedy: "Update the older of worker and coordinator.")
            }
            let inputs = StageInputs(grant.inputs, firstBlock: grant.blocks.lowerBound) { digest in
                try Artifact(digest: digest, path: WorkerCache.path(of: digest, in: cacheFolder))
            }
            var started = SystemClock.now()
            var cpu = processCPUSeconds()
            let task = StageTask(
                parameters: grant.parameters, blocks: grant.blocks, maskedSamples: grant.maskedSamples, batchShift: grant.batchShift,
                inputs: inputs, sources: SourceAccess(folders: dataFolders, readRange: readRange), cache: cache, isCancelled: isCancelled
            ) { block, outputs, metrics in
                current = block
                var results: [TaskOutput] = []
                var inline: [[UInt8]] = []
                for output in outputs {
                    let digest = Digest.of(output.bytes)
                    results.append(TaskOutput(name: output.name, digest: digest, byteCount: output.bytes.count))
                    if output.bytes.count < inlineLimit {
                        inline.append(output.bytes)
                    } else {
                        try WorkerCache.write(output.bytes, digest: digest, in: cacheFolder)
                        inline.append([])
                    }
                }
                let now = SystemClock.now()
                let cpuNow = processCPUSeconds()
                var metrics = metrics
                metrics["wall_seconds"] = (now - started).seconds
                metrics["cpu_seconds"] = cpuNow - cpu
                metrics["peak_memory_bytes"] = Double(memory.bytes(at: now))
                (started, cpu) = (now, cpuNow)
                let result = BlockResult(block: block, outputs: results, metrics: metrics)
                guard socket.send(.blockDone(grant.fence, SlotBlockResult(result: result, inline: inline))) else {
                    throw CancellationError()
                }
            }
            current = grant.blocks.lowerBound
            try executor.run(task)
            _ = socket.send(.leaseDone(grant.fence))
        } catch is CancellationError {
            _ = socket.send(.leaseDone(grant.fence))
        } catch let error as AMAFError {
            _ = socket.send(.failed(grant.fence, FailureReport(error.isTransient ? .transient : .permanent, error, block: current)))
        } catch {
            let wrapped = AMAFError(
                "stage.failed", "\(grant.kind) failed: \(error)", place: grant.stage.rawValue,
                remedy: "See the worker's log; 'amaf retry' tries the stage again.")
            _ = socket.send(.failed(grant.fence, FailureReport(.permanent, wrapped, block: current)))
        }
    }
}

/// The most memory that this process ever held. Asking the kernel costs more than a small block, so it is asked 50 times a second at most,
/// whatever the number of leases. Owner: the slot's one thread.
private final class PeakMemory {
    private var value = 0
    private var askAgain = Instant.origin

    func bytes(at now: Instant) -> Int {
        if now >= askAgain {
            value = Self.peakResidentBytes() ?? value
            askAgain = now + .milliseconds(20)
        }
        return value
    }

    /// `VmHWM` of /proc/self/status, which is in kB of 1024 bytes; read without a single String, since small blocks wait for it.
    private static func peakResidentBytes() -> Int? {
        let file = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { text in
            let count = read(file, text.baseAddress, text.count - 1)
            guard count > 0, let base = text.baseAddress else { return nil }
            text[count] = 0
            return strstr(base, "VmHWM:").map { strtol($0 + 6, nil, 10) * 1024 }
        }
    }
}

/// CPU time of this process so far. Finer than the clock ticks of /proc: a block may take a millisecond.
private func processCPUSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// Ends the slot when it holds too much memory of its own, so that the machine's other slots and its agent never notice. The agent
/// reads the exit code and reports a want of memory instead of a crash.
enum MemoryWatch {
    static let exitCode: Int32 = 86

    static func start(limit: Int) {
        let thread = Thread {
            let page = Int(sysconf(Int32(_SC_PAGESIZE)))
            while true {
                // Pages of mapped inputs are the kernel's to take back, so they do not count.
                if let held = privateBytes(pageSize: page), held > limit {
                    FileHandle.standardError.write(
                        Data("slot \(getpid()): holds \(held >> 20) MiB, over its limit of \(limit >> 20) MiB\n".utf8))
                    _exit(exitCode)
                }
                usleep(20_000)
            }
        }
        thread.stackSize = 128 << 10
        thread.start()
    }

    /// Resident less shared pages, from the second and third fields of /proc/self/statm.
    private static func privateBytes(pageSize: Int) -> Int? {
        guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else { return nil }
        let fields = text.split(separator: " ")
        guard fields.count > 2, let resident = Int(fields[1]), let shared = Int(fields[2]) else { return nil }
        return (resident - shared) * pageSize
    }
}
