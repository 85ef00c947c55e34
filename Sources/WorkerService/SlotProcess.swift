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
    package static func serve(socket descriptor: Int32, cacheFolder: String, objectCacheBytes: Int) {
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
        var cancelled: Set<Fence> = []
        guard socket.send(.ready) else { return }

        while let message = try? socket.receive() {
            switch message {
            case .run(let grant):
                run(grant, socket: socket, cacheFolder: cacheFolder, cache: cache, cancelled: &cancelled)
            case .cancel:
                break  // The lease has ended meanwhile.
            case .ready, .blockDone, .leaseDone, .failed:
                preconditionFailure("the agent sent a message that only slots send")
            }
        }
    }

    private static func run(
        _ grant: LeaseGrant, socket: SlotSocket, cacheFolder: String, cache: ObjectCache, cancelled: inout Set<Fence>
    ) {
        var stop = false
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
                inputs: inputs, cache: cache, isCancelled: isCancelled
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
                metrics["peak_memory_bytes"] = Double(ProcessUsage.current()?.peakResidentBytes ?? 0)
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
            let wrapped = AMAFError("stage.failed", "\(grant.kind) failed: \(error)", place: grant.stage.rawValue)
            _ = socket.send(.failed(grant.fence, FailureReport(.permanent, wrapped, block: current)))
        }
    }
}

/// CPU time of this process so far. Finer than the clock ticks of /proc: a block may take a millisecond.
private func processCPUSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}
