import Primitives
import Scheduling
import Testing

/// A scheduler with a clock turned by hand and a store that remembers every row: tests read as scripts on it.
struct Cluster {
    var scheduler: Scheduler
    var now = Instant.origin
    var stored = Store()
    var nextToken: UInt64 = 1
    var log: [Scheduler.Effect] = []
    var open: [WorkerID: RequestToken] = [:]
    let settings: SchedulerSettings

    /// The rows as a store would hold them: each change overwrites what was there.
    struct Store {
        struct Key: Hashable {
            var run: RunID
            var stage: Int
            var block: Int
        }
        var runs: [StateChanges.RunRow] = []
        var tasks: [Key: TaskRow] = [:]
        var cached: [StateChanges.CachedResult] = []
        var history: [HistoryEntry] = []

        mutating func apply(_ changes: StateChanges) {
            runs += changes.newRuns
            for change in changes.runStates {
                guard let i = runs.firstIndex(where: { $0.plan.id == change.run }) else { continue }
                runs[i].state = change.state
                runs[i].numericsClasses = change.numericsClasses
            }
            for row in changes.tasks { tasks[Key(run: row.run, stage: row.stage, block: row.block)] = row }
            cached += changes.cached
            history += changes.history
        }
        var state: StoredState { StoredState(runs: runs, tasks: Array(tasks.values), cached: cached) }
    }

    init(epoch: UInt64 = 1, stored: Store = Store(), _ change: (inout SchedulerSettings) -> Void = { _ in }) {
        var settings = SchedulerSettings()
        change(&settings)
        self.settings = settings
        self.stored = stored
        scheduler = Scheduler(settings: settings, epoch: epoch, seed: 7, recovering: stored.state, at: .origin)
    }

    /// The head dies and another starts from what was stored.
    mutating func restartHead() {
        scheduler = Scheduler(settings: settings, epoch: scheduler.epoch + 1, seed: 7, recovering: stored.state, at: now)
        send(.tick)
    }

    @discardableResult
    mutating func send(_ event: Scheduler.Event) -> [Scheduler.Effect] {
        let effects = scheduler.handle(event, at: now)
        let changes = scheduler.takeChanges()
        let keys = changes.tasks.map { Store.Key(run: $0.run, stage: $0.stage, block: $0.block) }
        #expect(Set(keys).count == keys.count, "a row came twice in one batch")
        stored.apply(changes)
        scheduler.checkInvariants()
        log += effects
        return effects
    }

    mutating func token() -> RequestToken {
        defer { nextToken += 1 }
        return RequestToken(rawValue: nextToken)
    }

    /// Time passes; ticks come when they are due.
    mutating func wait(_ duration: Duration) {
        let end = now + duration
        while let due = scheduler.nextDeadline, due <= end {
            now = max(now, due)
            send(.tick)
        }
        now = end
    }

    struct Answer {
        var reply: WorkerReply?
        var commands: [WorkerCommand] = []
        var grants: [LeaseGrant] { if case .grants(let grants, _)? = reply { grants } else { [] } }
        var verdicts: [[CommitVerdict]] { if case .committed(let verdicts)? = reply { verdicts } else { [] } }
        var isParked: Bool { reply == nil }
    }

    private func answer(to token: RequestToken, in effects: [Scheduler.Effect]) -> Answer {
        for case .reply(token, let reply, let commands) in effects { return Answer(reply: reply, commands: commands) }
        return Answer()
    }

    /// The answer that came to a parked request since it was parked.
    func laterAnswer(to token: RequestToken) -> Answer { answer(to: token, in: log) }

    @discardableResult
    mutating func join(
        _ worker: WorkerID, tags: [String] = ["cpu"], slots: Int = 1, numerics: NumericsClass = "x86", held: [Fence] = [],
        leases: [HeldLease] = [], nonce: UInt64 = 1
    ) -> Answer {
        let token = token()
        let hello = WorkerHello(
            worker: worker, bootNonce: nonce, tags: tags, slots: slots, memoryBytes: 1 << 30, numericsClass: numerics, build: "test",
            host: "box",
            heldFences: held, heldLeases: leases)
        return answer(to: token, in: send(.hello(hello, token)))
    }

    mutating func ask(_ worker: WorkerID, slots: Int = 1) -> Answer {
        let token = token()
        return answer(to: token, in: send(.leaseRequested(worker, freeSlots: slots, token: token)))
    }

    /// Asks and says under which token, for requests that will be parked.
    mutating func park(_ worker: WorkerID, slots: Int = 1) -> RequestToken {
        let token = token()
        send(.leaseRequested(worker, freeSlots: slots, token: token))
        return token
    }

    /// Asks, waits parked, asks again: the first grants within the time, and none when there are none.
    mutating func obtain(_ worker: WorkerID, within limit: Duration, beating fences: [Fence] = []) -> [LeaseGrant] {
        let end = now + limit
        while true {
            // A request that an earlier call left open may have been answered meanwhile.
            let token = open[worker] ?? park(worker)
            let answer = laterAnswer(to: token)
            open[worker] = answer.isParked ? token : nil
            if !answer.grants.isEmpty { return answer.grants }
            guard now < end else { return [] }
            guard answer.isParked else { continue }
            wait(.milliseconds(100))
            beat(worker, fences)
        }
    }

    mutating func commit(_ worker: WorkerID, _ fence: Fence, blocks: some Sequence<Int>, content: String = "", isLast: Bool = true)
        -> [CommitVerdict]
    {
        let token = token()
        let results = blocks.map { Cluster.result($0, content) }
        let effects = send(.committed(worker, [LeaseCommit(fence: fence, results: results, isLast: isLast)], token: token))
        return answer(to: token, in: effects).verdicts.first ?? []
    }

    mutating func finish(_ worker: WorkerID, _ grant: LeaseGrant) -> [CommitVerdict] { commit(worker, grant.fence, blocks: grant.blocks) }

    @discardableResult
    mutating func fail(_ worker: WorkerID, _ fence: Fence, _ failureClass: FailureClass, block: Int? = nil) -> Answer {
        let token = token()
        let report = FailureReport(
            failureClass, AMAFError("test.failed", "It failed", isTransient: failureClass == .transient), block: block)
        return answer(to: token, in: send(.failed(worker, fence, report, token: token)))
    }

    @discardableResult
    mutating func beat(_ worker: WorkerID, _ fences: [Fence]) -> Answer {
        let token = token()
        return answer(to: token, in: send(.beat(worker, leases: fences, token: token)))
    }

    /// What an honest executor makes of a block: its bytes depend on the block alone.
    static func result(_ block: Int, _ content: String = "", outputs: [String] = ["out"]) -> BlockResult {
        BlockResult(
            block: block,
            outputs: outputs.map { TaskOutput(name: $0, digest: Digest.of(Array("\($0) \(block) \(content)".utf8)), byteCount: 100) },
            metrics: ["rows": 256])
    }

    func state(_ run: RunID = "run") -> RunState? { scheduler.runState(run) }
    func stage(_ id: StageID, of run: RunID = "run") -> SchedulerSnapshot.Stage? {
        scheduler.snapshot(of: run)?.stages.first { $0.id == id }
    }
}

extension RunID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(value) }
}
extension StageID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(value) }
}
extension WorkerID: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(value) }
}
extension NumericsClass: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self.init(value) }
}

func stage(
    _ id: StageID, blocks: Int, reads: [(String, StageInput.Reach)] = [], kind: String? = nil, placement: StagePlacement = StagePlacement(),
    performer: StageSpec.Performer = .workers, costsMoney: Bool = false, leaseLimit: Int? = nil, samples: Int = 0, blockSize: Int = 0
) -> StageSpec {
    StageSpec(
        id: id, kind: kind ?? id.rawValue, blocks: blocks,
        inputs: reads.map { StageInput($0.0, from: .stage(StageID($0.0), output: "out"), reach: $0.1) }, placement: placement,
        performer: performer,
        costsMoney: costsMoney, leaseLimit: leaseLimit, samples: samples, blockSize: blockSize)
}

func plan(id: RunID = "run", priority: Int = 0, weight: Double = 1, mixed: Bool = false, _ stages: StageSpec...) -> RunPlan {
    RunPlan(id: id, name: id.rawValue, priority: priority, weight: weight, stages: stages, allowsMixedNumerics: mixed)
}
