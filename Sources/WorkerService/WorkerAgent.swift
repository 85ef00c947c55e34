import Foundation
package import Logging
package import Messaging
import Primitives
import Scheduling
import Stages
import Telemetry
import WireProtocol

/// The process on each box: holds leases, beats, fetches inputs, hands work to its slots and results to the coordinator.
/// `WorkerState` decides; this shell does. It never computes, so nothing can delay a beat.
///
/// Owner of all state: the thread that calls `run`. Transport, slot and transfer threads only put into `inbox`.
package final class WorkerAgent {
    private enum Happening: Sendable {
        case slot(SlotHandle.Event)
        case replied(RequestToken, Result<Response, AMAFError>)
        /// Inputs lie in the cache, or one of them could not be had.
        case inputsReady(Fence, [(Digest, Int)], AMAFError?)
        /// An output that waits for its commit is gone from the cache.
        case outputsLost(Fence, AMAFError)
        case respawn(slot: Int)
        case rangeRead(slot: Int, number: UInt64, Result<String, AMAFError>)
        case drain(within: Duration?)
    }

    private let configuration: WorkerConfiguration
    private let connection: CoordinatorConnection
    private let logger: Logger
    private let inbox = Inbox<Happening>()
    private let transfers = OperationQueue()
    private var state: WorkerState
    private var cache: WorkerCache
    private var slots: [SlotHandle]
    /// What each slot is at: a lease whose inputs are on their way, or one that its process runs.
    private var fetching: [Int: LeaseGrant] = [:]
    private var running: [Int: LeaseGrant] = [:]
    /// Slots whose process was killed on the state machine's order: their death is no news.
    private var killed: Set<Int> = []
    private var pending = PendingOutputs()
    /// Small outputs made here lately. They become files only when a lease here reads them, or when they do not fit into their commit:
    /// making a file costs more than making most of them.
    private var recent = RecentOutputs(limit: 64 << 20)
    private var inputsOfLease: [Fence: [Digest]] = [:]
    private var exitCode: Int32?
    private var lastContact: Instant
    private var slotDeaths = 0
    private var lastError = ""
    private var refusal: (code: String, at: Instant)?

    package init(_ configuration: WorkerConfiguration, connection: CoordinatorConnection, logger: Logger, bootNonce: UInt64) throws {
        self.configuration = configuration
        self.connection = connection
        self.logger = logger
        cache = try WorkerCache(folder: configuration.root + "/cache", limit: configuration.cacheLimitBytes)
        slots = (0..<configuration.slots).map(SlotHandle.init(slot:))
        transfers.maxConcurrentOperationCount = 4
        lastContact = SystemClock.now()
        try FileManager.default.createDirectory(atPath: configuration.root + "/ranges", withIntermediateDirectories: true)
        let hello = WorkerHello(
            worker: configuration.worker, bootNonce: bootNonce, tags: configuration.tags.sorted(), slots: configuration.slots,
            memoryBytes: configuration.memoryBytes, numericsClass: configuration.numericsClass, build: AMAFVersion.current,
            host: configuration.host, heldFences: [])
        state = WorkerState(hello: hello, settings: configuration.settings, seed: bootNonce)
    }

    /// Asks the agent to leave: it takes nothing new, finishes what runs within `deadline`, returns the rest, and says BYE.
    /// May be called from any thread.
    package func drain(within deadline: Duration?) { inbox.put(.drain(within: deadline)) }

    /// A closure that drains, for signal handlers that must not hold the agent.
    package var drainer: @Sendable (Duration?) -> Void {
        { [inbox] deadline in inbox.put(.drain(within: deadline)) }
    }

    /// Works until drained, and returns the exit code.
    package func run() -> Int32 {
        for slot in slots { start(slot) }
        perform(state.handle(.started, at: SystemClock.now()))
        while exitCode == nil {
            let deadline = min(state.nextDeadline ?? .distantFuture, SystemClock.now() + .seconds(1))
            for happening in inbox.take(until: deadline) ?? [] { handle(happening) }
            let now = SystemClock.now()
            if let due = state.nextDeadline, due <= now { perform(state.handle(.tick, at: now)) }
            if let limit = configuration.orphanTimeout, now - lastContact > limit {
                logger.error("no coordinator for too long, leaving", metadata: ["seconds": "\(limit.seconds)"])
                exitCode = 4
            }
        }
        for slot in slots { slot.close() }
        for slot in slots { slot.kill() }
        return exitCode ?? 0
    }

    // MARK: Events

    private func handle(_ happening: Happening) {
        let now = SystemClock.now()
        switch happening {
        case .slot(let event): handle(event, at: now)
        case .respawn(let slot): start(slots[slot])
        case .rangeRead(let slot, let number, let result): slots[slot].answer(number, result)
        case .drain(let deadline):
            logger.info("draining")
            perform(state.handle(.drainRequested(within: deadline), at: now))
        case .replied(let token, .success(.worker(let reply, let commands))):
            lastContact = now
            perform(state.handle(.replied(token, reply, commands: commands), at: now))
        case .replied(let token, .success):
            perform(state.handle(.requestFailed(token), at: now))
        case .replied(let token, .failure(let error)):
            logger.debug("request failed", metadata: ["error": "\(error)"])
            if !error.isTransient && (error.code.hasPrefix("wire.") || error.code.hasPrefix("coordinator.join")) {
                // Once for each reason, and again every half minute, however often it tries.
                if refusal?.code != error.code || now - (refusal?.at ?? now) > .seconds(30) {
                    logger.error("the coordinator refuses this worker", metadata: ["error": "\(error)"])
                    refusal = (error.code, now)
                }
            }
            perform(state.handle(.requestFailed(token), at: now))
        case .outputsLost(let fence, let error):
            lastError = error.description
            logger.error(
                "results were lost before their commit; their lease goes back", metadata: ["fence": "\(fence)", "error": "\(error)"])
            perform(state.handle(.outputsLost(fence), at: now))
        case .inputsReady(let fence, let fetched, let error):
            for (digest, byteCount) in fetched { cache.note(digest, byteCount: byteCount) }
            guard let (slot, grant) = fetching.first(where: { $0.value.fence == fence }) else { return }
            fetching[slot] = nil
            if let error {
                perform(state.handle(.leaseFailed(slot: slot, fence, FailureReport(.transient, error)), at: now))
            } else {
                running[slot] = grant
                slots[slot].run(grant)
            }
        }
    }

    private func handle(_ event: SlotHandle.Event, at now: Instant) {
        switch event {
        case .ready(let slot):
            perform(state.handle(.slotReady(slot), at: now))
        case .blockDone(_, let fence, let block):
            for (output, bytes) in zip(block.result.outputs, block.inline) {
                let isSmall = !bytes.isEmpty || output.byteCount == 0
                pending.add(output.digest, isSmall ? bytes : nil, of: fence)
                if isSmall {
                    recent.add(output.digest, bytes)
                } else {
                    cache.note(output.digest, byteCount: output.byteCount)
                }
            }
            cache.pin(block.result.outputs.map(\.digest))
            perform(state.handle(.blockFinished(fence, block.result), at: now))
        case .read(let slot, let number, let digest, let range):
            readRange(digest, range, number: number, slot: slot)
        case .leaseDone(let slot, let fence):
            let wasCancelled = running[slot]?.fence != fence
            running[slot] = nil
            perform(state.handle(wasCancelled ? .slotReady(slot) : .leaseFinished(slot: slot, fence), at: now))
        case .failed(let slot, let fence, let report):
            running[slot] = nil
            lastError = report.error.description
            logger.warning("lease failed", metadata: ["fence": "\(fence)", "error": "\(report.error)"])
            perform(state.handle(.leaseFailed(slot: slot, fence, report), at: now))
        case .died(let slot, let process, let signal, let status):
            slots[slot].forget()
            guard exitCode == nil else { return }
            let wasAtWork = running.removeValue(forKey: slot) != nil
            if killed.remove(slot) == nil {
                let (failureClass, error) = cause(ofSlot: slot, signal: signal, status: status)
                slotDeaths += 1
                lastError = error.description
                logger.warning("slot process ended", metadata: ["slot": "\(slot)", "process": "\(process)", "error": "\(error)"])
                perform(state.handle(.slotDied(slot, failureClass, error), at: now))
            }
            if wasAtWork || fetching[slot] != nil {
                start(slots[slot])
            } else {
                // It died idle: a broken installation must not spin.
                let inbox = inbox
                DispatchQueue.global().asyncAfter(deadline: .now() + 1) { inbox.put(.respawn(slot: slot)) }
            }
        }
    }

    private func cause(ofSlot slot: Int, signal: Int32, status: Int32) -> (FailureClass, AMAFError) {
        let place = "\(configuration.worker) slot \(slot)"
        if signal == 0 && status == MemoryWatch.exitCode {
            let limit = configuration.memoryLimitPerSlotBytes >> 20
            return (
                .resource,
                AMAFError(
                    "slot.out-of-memory", "The slot's process held more than its limit of \(limit) MiB", place: place,
                    remedy: "Start the worker with a higher --memory-per-slot, or give the stage smaller batches.")
            )
        }
        let how = signal != 0 ? "signal \(signal) (\(String(cString: strsignal(signal))))" : "exit code \(status)"
        let hint = signal == SIGKILL ? "Nobody here sent it: look for the kernel's out-of-memory killer in `dmesg`." : ""
        return (.crash, AMAFError("slot.died", "The slot's process ended by \(how)", place: place, remedy: hint))
    }

    private func start(_ slot: SlotHandle) {
        var environment = ProcessInfo.processInfo.environment
        // One BLAS thread a slot: two change the bits and gain little.
        environment["OPENBLAS_NUM_THREADS"] = "1"
        // Slots share the processors: kernels of two slots with every lane each would wait for one another.
        let processors = min(ProcessInfo.processInfo.activeProcessorCount, environment["AMAF_LANES"].flatMap(Int.init) ?? .max)
        environment["AMAF_LANES"] = String(configuration.lanesPerSlot(processors: processors))
        environment["AMAF_ALLOW_EXEC"] = configuration.allowsExec ? "1" : "0"
        // What the agent alone needs to know.
        environment["AMAF_JOIN_KEY"] = nil
        let program = SlotHandle.Program(
            path: configuration.slotProgram,
            arguments: [
                "slot", "--cache", cache.folder, "--object-cache-bytes", "\(configuration.objectCacheBytes)", "--memory-limit-bytes",
                "\(configuration.memoryLimitPerSlotBytes)",
            ] + configuration.dataFolders.flatMap { ["--data", $0] },
            environment: environment)
        do {
            try slot.start(program) { [inbox] in inbox.put(.slot($0)) }
        } catch {
            logger.critical("cannot start a slot", metadata: ["error": "\(error)"])
            exitCode = 1
        }
    }

    // MARK: Effects

    private func perform(_ effects: [WorkerState.Effect]) {
        for effect in effects {
            switch effect {
            case .send(let token, let request): send(token, request)
            case .abandon: break  // A late reply is ignored by its token.
            case .startLease(let slot, let grant): startLease(slot, grant)
            case .cancelSlot(let slot): cancel(slot)
            case .killSlot(let slot):
                killed.insert(slot)
                slots[slot].kill()
            case .leaseSettled(let fence): settle(fence)
            case .exit: exitCode = 0
            }
        }
    }

    private func send(_ token: RequestToken, _ request: WorkerRequest) {
        let inbox = inbox
        let completion: CoordinatorConnection.Completion = { inbox.put(.replied(token, $0)) }
        let deadline = configuration.settings.requestTimeout
        switch request {
        case .hello(let hello): connection.hello(hello, deadline: deadline, completion: completion)
        case .lease(let freeSlots):
            connection.send(.lease(freeSlots: freeSlots), deadline: configuration.settings.leaseRequestTimeout, completion: completion)
        case .beat(let fences): connection.send(.beat(fences, vitals()), deadline: deadline, completion: completion)
        case .fail(let fence, let report): connection.send(.fail(fence, report), deadline: deadline, completion: completion)
        case .release(let fences): connection.send(.release(fences), deadline: deadline, completion: completion)
        case .bye: connection.send(.bye, deadline: deadline, completion: completion)
        case .commit(let commits): commit(commits, completion: completion)
        }
    }

    /// Small outputs ride along; the others are stored before the commit leaves.
    private func commit(_ commits: [LeaseCommit], completion: @escaping CoordinatorConnection.Completion) {
        var riding: [InlineArtifact] = []
        var uploads: [(digest: Digest, fence: Fence, isHeld: Bool)] = []
        var room = WireLimits.inlineArtifactsPerCommit
        var seen: Set<Digest> = []
        for commit in commits {
            for output in commit.results.lazy.flatMap(\.outputs) where seen.insert(output.digest).inserted {
                let bytes = pending[output.digest]
                if let bytes, bytes.count <= room {
                    riding.append(InlineArtifact(digest: output.digest, bytes: bytes))
                    room -= bytes.count
                } else {
                    // Uploads read files. Where none can be made the upload fails, and the commit is tried again.
                    if let bytes { keep(output.digest, bytes) }
                    uploads.append((output.digest, commit.fence, bytes != nil))
                }
            }
        }
        let request = Request.commit(commits, inline: riding)
        let deadline = configuration.settings.requestTimeout
        guard !uploads.isEmpty else { return connection.send(request, deadline: deadline, completion: completion) }
        let (connection, inbox, folder, wanted) = (connection, inbox, cache.folder, uploads)
        transfers.addOperation {
            for (digest, fence, isHeld) in wanted {
                do throws(AMAFError) {
                    let artifact = try CachedFile(path: WorkerCache.path(of: digest, in: folder))
                    try connection.store(digest, artifact.bytes)
                } catch {
                    if error.code == CachedFile.missing && !isHeld { inbox.put(.outputsLost(fence, error)) }
                    return completion(.failure(error))
                }
            }
            connection.send(request, deadline: deadline, completion: completion)
        }
    }

    /// Makes a small output a file of the cache; a full disk only costs a fetch later.
    private func keep(_ digest: Digest, _ bytes: [UInt8]) {
        guard !cache.contains(digest), (try? WorkerCache.write(bytes, digest: digest, in: cache.folder)) != nil else { return }
        cache.note(digest, byteCount: bytes.count)
    }

    private func startLease(_ slot: Int, _ grant: LeaseGrant) {
        let ranged = StageRegistry.rangedInputs(of: grant.kind)
        let needed = Set(grant.inputs.filter { !ranged.contains($0.name) }.flatMap(\.digests)).sorted()
        cache.pin(needed)
        inputsOfLease[grant.fence] = needed
        for digest in needed { if let bytes = recent[digest] { keep(digest, bytes) } }
        let missing = needed.filter { !cache.contains($0) }
        for digest in needed { cache.touch(digest) }
        guard !missing.isEmpty else {
            running[slot] = grant
            slots[slot].run(grant)
            return
        }
        fetching[slot] = grant
        let (connection, inbox, folder, fence) = (connection, inbox, cache.folder, grant.fence)
        transfers.addOperation {
            var fetched: [(Digest, Int)] = []
            do throws(AMAFError) {
                for digest in missing {
                    let bytes = try connection.fetch(digest)
                    try WorkerCache.write(bytes, digest: digest, in: folder)
                    fetched.append((digest, bytes.count))
                }
                inbox.put(.inputsReady(fence, fetched, nil))
            } catch {
                inbox.put(.inputsReady(fence, fetched, error))
            }
        }
    }

    /// The range goes to the slot as a file.
    private func readRange(_ digest: Digest, _ range: Range<Int>, number: UInt64, slot: Int) {
        let (connection, inbox) = (connection, inbox)
        let path = "\(configuration.root)/ranges/\(slot)-\(number)"
        transfers.addOperation {
            let result: Result<String, AMAFError>
            do throws(AMAFError) {
                let bytes = try connection.fetch(digest, range: range)
                guard FileManager.default.createFile(atPath: path, contents: Data(bytes)) else {
                    throw AMAFError(
                        "worker.disk-full", "Cannot write \(bytes.count) bytes for a slot", place: path,
                        remedy: "Free disk space or give the worker another --root.", isTransient: true)
                }
                result = .success(path)
            } catch {
                result = .failure(error)
            }
            inbox.put(.rangeRead(slot: slot, number: number, result))
        }
    }

    private func vitals() -> WorkerVitals {
        var disk = statvfs()
        let free = statvfs(configuration.root, &disk) == 0 ? UInt64(disk.f_bavail) * UInt64(disk.f_frsize) : 0
        return WorkerVitals(
            wallClockMilliseconds: Int64(Date().timeIntervalSince1970 * 1000), diskFreeBytes: free,
            memoryAvailableBytes: HostProfile.availableMemoryBytes(), slotDeaths: slotDeaths, lastError: lastError)
    }

    private func cancel(_ slot: Int) {
        if fetching.removeValue(forKey: slot) != nil {
            perform(state.handle(.slotReady(slot), at: SystemClock.now()))
        } else if let grant = running.removeValue(forKey: slot) {
            // The slot's own end-of-lease message becomes `slotReady`, since nothing runs there any more.
            slots[slot].cancel(grant.fence)
        }
    }

    private func settle(_ fence: Fence) {
        cache.unpin(pending.settle(fence))
        cache.unpin(inputsOfLease.removeValue(forKey: fence) ?? [])
    }
}

/// A file of the cache mapped for an upload.
final class CachedFile {
    static let missing = "artifact.missing"
    let bytes: UnsafeRawBufferPointer

    init(path: String) throws(AMAFError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            // Any other reason, too many open files for one, may go away by itself.
            let code = errno == ENOENT ? Self.missing : "artifact.unreadable"
            throw AMAFError(
                code, "An output cannot be read from the cache: \(String(cString: strerror(errno)))", place: path, isTransient: true)
        }
        defer { close(descriptor) }
        var status = stat()
        fstat(descriptor, &status)
        let count = Int(status.st_size)
        guard count > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            return
        }
        guard let base = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0), base != MAP_FAILED else {
            throw AMAFError("artifact.unreadable", "An output cannot be mapped", place: path, isTransient: true)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: count)
    }

    deinit { if let base = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: base), bytes.count) } }
}
