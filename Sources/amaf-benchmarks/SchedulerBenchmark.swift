import ArgumentParser
import Foundation
import Glibc
import Primitives
import Scheduling
import Storage
import Telemetry

/// What the head's brain costs when much is queued, much is stored, or many workers are idle.
struct SchedulerBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scheduler",
        abstract: "Dispatch time by queue length, memory of the head with its store, restart to the first dispatch, idle workers.",
        discussion: "Every figure of memory and restart is taken in a process of its own.")

    @Option(help: "Where the stores are made and removed. Use the disk that the coordinator will use.") var folder = "."
    @Option(help: "Queue lengths for dispatch.") var queued: [Int] = [1_000, 10_000, 100_000, 1_000_000]
    @Option(help: "Tasks for memory and restart.") var tasks: [Int] = [10_000, 1_000_000]
    @Option(help: "Idle workers.") var workers = 3_000
    @Option(help: "Only these parts: dispatch, memory, restart, idle.") var part: [Part] = Part.allCases
    @Option(help: ArgumentHelp("A measurement that this process takes for another.", visibility: .hidden)) var child: Child?

    enum Part: String, CaseIterable, ExpressibleByArgument { case dispatch, memory, restart, idle }
    enum Child: String, ExpressibleByArgument { case memory, prepare, restart }

    func run() throws {
        if let child { return try measure(child) }
        if part.contains(.dispatch) { try dispatch() }
        let root = folder + "/amaf-benchmark-\(getpid())"
        defer { try? FileManager.default.removeItem(atPath: root) }
        if part.contains(.memory) {
            print("\nhead with its store, every task done by leases of 1,000 blocks, one result of 200 inline bytes each")
            for count in tasks { try inChild(.memory, count, folder: "\(root)/memory-\(count)") }
        }
        if part.contains(.restart) {
            print("\nrestart with half of the tasks done")
            for count in tasks {
                try inChild(.prepare, count, folder: "\(root)/restart-\(count)")
                try inChild(.restart, count, folder: "\(root)/restart-\(count)")
            }
        }
        if part.contains(.idle) { idle() }
    }

    private func inChild(_ child: Child, _ count: Int, folder: String) throws {
        fflush(nil)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["scheduler", "--child", child.rawValue, "--tasks", "\(count)", "--folder", folder]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw ValidationError("The measurement \(child.rawValue) of \(count) tasks failed") }
    }

    // MARK: Dispatch

    private func dispatch() throws {
        var table = Table(["queued", "leases", "us of CPU for a lease and its commit", "of the first", "quickest round"])
        var first: Double?
        for count in queued {
            let times = try dispatch(queued: count)
            table.add([
                "\(count)", "\(times.count * perRound(count))", decimal(median(times)), decimal(median(times) / (first ?? median(times))),
                decimal(times.min() ?? 0),
            ])
            if first == nil { first = median(times) }
        }
        table.print()
    }

    private func perRound(_ count: Int) -> Int { min(2_000, count / 2) }

    /// Microseconds by round. Each round is a fresh scheduler whose queue stays nearly as long as it began.
    private func dispatch(queued count: Int) throws -> [Double] {
        let leases = perRound(count)
        return try (0...max(9, 40_000 / leases)).map { _ in
            var head = Head(blocksPerLease: 1, epoch: 1)
            head.join(Head.worker)
            head.submit(blocks: count)
            let results = (0..<leases).map { [Head.result($0)] }
            let start = threadSeconds()
            for i in 0..<leases {
                guard let grant = head.lease(Head.worker) else { throw ValidationError("Nothing was given out with \(count - i) queued") }
                head.commit(Head.worker, grant.fence, results[i])
            }
            return (threadSeconds() - start) / Double(leases) * 1e6
            // The first round warms caches and the allocator.
        }.dropFirst().map { $0 }
    }

    // MARK: Memory and restart

    private func measure(_ child: Child) throws {
        guard let count = tasks.first else { return }
        switch child {
        case .memory:
            let store = try Store(folder: folder)
            let queuedPeak = try work(count, of: count, store)
            print("\(count) tasks: peak \(megabytes(queuedPeak)) MiB when queued, \(megabytes(peak())) MiB when all were done")
            try store.close()
        case .prepare:
            let store = try Store(folder: folder)
            _ = try work(count / 2, of: count, store)
            try store.close()
        case .restart:
            let start = SystemClock.now()
            let store = try Store(folder: folder)
            let opened = SystemClock.now()
            var recovery = SchedulerRecovery(settings: Head.settings(blocksPerLease: 1), epoch: store.epoch, seed: 1, at: start)
            try store.load(into: &recovery)
            let loaded = SystemClock.now()
            var head = Head(recovery.finish())
            head.store = store
            let recovered = SystemClock.now()
            head.join(Head.worker)
            guard head.lease(Head.worker) != nil else { throw ValidationError("Nothing was given out after the restart") }
            try head.settle()
            let dispatched = SystemClock.now()
            print(
                "\(count) tasks: first dispatch after \(decimal((dispatched - start).seconds)) s (open with integrity check "
                    + "\(decimal((opened - start).seconds)) s, load \(decimal((loaded - opened).seconds)) s, recover "
                    + "\(decimal((recovered - loaded).seconds)) s, lease \(decimal((dispatched - recovered).seconds)) s; CPU \(decimal(ProcessUsage.current()?.cpuSeconds ?? 0)) s), peak \(megabytes(peak())) MiB"
            )
            try store.close()
        }
    }

    /// Does `done` of `count` tasks; returns the peak when all were queued.
    private func work(_ done: Int, of count: Int, _ store: Store) throws -> Int {
        var head = Head(blocksPerLease: 1_000, epoch: store.epoch)
        head.store = store
        head.join(Head.worker)
        head.submit(blocks: count)
        try head.settle()
        let queued = peak()
        var finished = 0
        while finished < done {
            guard let grant = head.lease(Head.worker) else { throw ValidationError("Nothing was given out after \(finished) tasks") }
            let artifacts = grant.blocks.map { block in
                var bytes = [UInt8](repeating: 7, count: 200)
                withUnsafeBytes(of: block.littleEndian) { bytes.replaceSubrange(0..<8, with: $0) }
                return InlineArtifact(bytes)
            }
            let results = zip(grant.blocks, artifacts).map { Head.result($0, digest: $1.digest) }
            head.commit(Head.worker, grant.fence, results)
            try head.settle(artifacts)
            finished += grant.blocks.count
        }
        return queued
    }

    private func peak() -> Int { ProcessUsage.current()?.peakResidentBytes ?? 0 }
    private func megabytes(_ bytes: Int) -> String { "\(bytes >> 20)" }

    // MARK: Idle workers

    /// Ten minutes of a cluster without work: all beat every 30 s and ask for work as often as they are told to.
    private func idle() {
        var head = Head(blocksPerLease: 1, epoch: 1)
        var settings = Head.settings(blocksPerLease: 1)
        settings.beatInterval = .seconds(30)
        settings.leaseTimeToLive = .seconds(120)
        settings.suspectAfter = .seconds(70)
        head.scheduler = Scheduler(settings: settings, epoch: 1, seed: 1, recovering: StoredState(), at: .origin)
        let names = (0..<workers).map { WorkerID("worker-\($0)") }
        for name in names { head.join(name) }
        // Wake-ups as (time, worker, beat or lease request), in a heap of the scheduler's own making would be circular: a calendar of
        // milliseconds is enough.
        var calendar = Array(repeating: [(worker: Int, isBeat: Bool)](), count: 600_001)
        for w in 0..<workers {
            calendar[w * 30_000 / workers].append((w, true))
            calendar[w * 1_000 / workers].append((w, false))
        }
        var (beats, requests) = (0, 0)
        let start = threadSeconds()
        for ms in 0...600_000 {
            let now = Instant(nanoseconds: Int64(ms) * 1_000_000)
            var effects: [Scheduler.Effect] = []
            for (w, isBeat) in calendar[ms] {
                let token = RequestToken(rawValue: UInt64(w))
                if isBeat {
                    beats += 1
                    effects += head.scheduler.handle(.beat(names[w], leases: [], token: token), at: now)
                    if ms + 30_000 <= 600_000 { calendar[ms + 30_000].append((w, true)) }
                } else {
                    requests += 1
                    effects += head.scheduler.handle(.leaseRequested(names[w], freeSlots: 1, token: token), at: now)
                }
            }
            if let due = head.scheduler.nextDeadline, due <= now { effects += head.scheduler.handle(.tick, at: now) }
            for case .reply(let token, .grants(_, let after), _) in effects {
                let next = ms + max(1, Int(after.nanoseconds / 1_000_000))
                if next <= 600_000 { calendar[next].append((Int(token.rawValue), false)) }
            }
            _ = head.scheduler.takeChanges()
        }
        let seconds = threadSeconds() - start
        print(
            "\n\(workers) idle workers for 600 s: \(beats) beats and \(requests) requests for work in \(decimal(seconds, 3)) s of CPU, "
                + "\(decimal(seconds / Double(beats + requests) * 1e6)) us each, \(decimal(seconds / 600 * 100, 3)) % of a core")
    }
}

/// A scheduler with a clock that stands still, and its store if it has one.
private struct Head {
    var scheduler: Scheduler
    var store: Store?

    static let worker = WorkerID("worker")

    static func settings(blocksPerLease: Int) -> SchedulerSettings {
        var settings = SchedulerSettings()
        settings.forcedLeaseBlocks = blocksPerLease
        return settings
    }

    init(_ scheduler: Scheduler) { self.scheduler = scheduler }
    init(blocksPerLease: Int, epoch: UInt64) {
        scheduler = Scheduler(
            settings: Self.settings(blocksPerLease: blocksPerLease), epoch: epoch, seed: 1, recovering: StoredState(), at: .origin)
    }

    static func result(_ block: Int, digest: Digest? = nil) -> BlockResult {
        let made = digest ?? Digest(bytes: (0..<32).map { UInt8(truncatingIfNeeded: block &* 0x9E37 >> ($0 % 8) &+ $0) })
        return BlockResult(block: block, outputs: [TaskOutput(name: "rows", digest: made, byteCount: 200)], metrics: ["rows": 256])
    }

    mutating func join(_ worker: WorkerID) {
        let hello = WorkerHello(
            worker: worker, bootNonce: 1, tags: ["cpu"], slots: 1, memoryBytes: 1 << 30, numericsClass: NumericsClass("x86"), build: "",
            host: "", heldFences: [])
        _ = scheduler.handle(.hello(hello, RequestToken(rawValue: 1)), at: .origin)
    }

    mutating func submit(blocks: Int) {
        let stages = [StageSpec(id: StageID("no-op"), kind: "no-op", blocks: blocks, inputs: [])]
        _ = scheduler.handle(.submitted(RunPlan(id: RunID("bench"), name: "bench", stages: stages)), at: .origin)
        if store == nil { _ = scheduler.takeChanges() }
    }

    mutating func lease(_ worker: WorkerID) -> LeaseGrant? {
        let effects = scheduler.handle(.leaseRequested(worker, freeSlots: 1, token: RequestToken(rawValue: 2)), at: .origin)
        if store == nil { _ = scheduler.takeChanges() }
        for case .reply(_, .grants(let grants, _), _) in effects { return grants.first }
        return nil
    }

    mutating func commit(_ worker: WorkerID, _ fence: Fence, _ results: [BlockResult]) {
        let commit = LeaseCommit(fence: fence, results: results, isLast: true)
        _ = scheduler.handle(.committed(worker, [commit], token: RequestToken(rawValue: 3)), at: .origin)
        if store == nil { _ = scheduler.takeChanges() }
    }

    mutating func settle(_ artifacts: [InlineArtifact] = []) throws { try store?.apply(scheduler.takeChanges(), artifacts: artifacts) }
}

/// Processor time of this thread: other programs on the machine do not count.
private func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
