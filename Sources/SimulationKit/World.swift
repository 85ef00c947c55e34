import Primitives
import Scheduling

/// The whole cluster on one thread from one seed: the real scheduler, real worker brains, a network, a store and boxes that fail.
struct World {
    enum Happening {
        case request(from: Int, boot: Int, RequestToken, WorkerRequest)
        case reply(to: Int, boot: Int, RequestToken, WorkerReply, [WorkerCommand])
        /// The head's thread comes back from its writes.
        case stored(head: Int)
        /// Power fails in the middle of a write.
        case headDiesWriting(head: Int, WriteFault)
        case headTick(head: Int)
        case headResumes(head: Int)
        case startHead
        case workerTick(Int, boot: Int)
        case startWorker(Int)
        case child(Int, boot: Int, slot: Int, work: Int, ChildNews)
        case fault(FaultKind)
        case linkHeals(Int)
        case pipeLost(Int)
        case submit(Int)
        case answer(RunID, StageID)
        case operatorDoes(Scheduler.Event)
        case calm
    }
    enum ChildNews {
        case ready
        case finished(BlockResult)
        case gone(FailureClass, AMAFError)
        case gaveUp(FailureReport)
        case killed
    }

    let scenario: Scenario
    let bug: PlantedBug?
    let journal: SimulatedJournal
    var now = Instant.origin
    var random: SeededGenerator
    var queue = EventQueue<Happening>()
    var events = 0
    var isCalm = false
    var wallOffset = Duration.zero

    /// What is durable.
    var store: SimulatedStore { journal.store }
    var head: Head?
    var headGeneration = 0
    var nextRecoveryCrashes = false
    var boxes: [Box]
    var answered: Set<String> = []
    var checker: Checker
    var coverage = Coverage()
    /// A hash of everything that happened, to see that a seed is one history.
    var trace: UInt64 = 0x1234_5678
    /// Told of everything that happens, to replay a seed.
    var narrator: ((String) -> Void)?
    var retried: Set<RunID> = []

    /// What operators asked and no head answered yet, by ticket: they ask the next head again.
    var operators: [UInt64: Scheduler.Event] = [:]
    var nextTicket: UInt64 = 1

    /// The coordinator process and what it holds in memory. A class only so that looking at it copies nothing; the world owns it.
    final class Head {
        struct Asked {
            var worker: Int
            var boot: Int
            var token: RequestToken
            var commits: [LeaseCommit]
            var renewedBefore: [Fence: Instant]
            var at: Instant
        }
        /// The very pump that the coordinator turns. A waiting worker is a number that `asked` explains, an operator a ticket.
        var pump: Pump
        let generation: Int
        var inbox: [(event: Scheduler.Event, ticket: UInt64?)] = []
        /// The thread waits for the disk since `turnedAt`.
        var isStoring = false
        var turnedAt = Instant.origin
        /// What leaves when it does no more.
        var leaving: [Pump.Outgoing] = []
        var pausedUntil: Instant?
        /// The scheduler's next deadline and whether its store refuses, as of the last turn: nothing else changes them.
        var deadline: Instant?
        var isBlocked = false
        var tickAt: Instant?
        var asked: [UInt64: Asked] = [:]
        var requests: UInt64 = 0
        var handled = 0

        init(pump: consuming Pump, generation: Int) {
            self.pump = pump
            self.generation = generation
        }
    }
    typealias Pump = SchedulerPump<SimulatedJournal, UInt64, Bool>

    struct Box {
        struct Slot {
            var work = 0
            var grant: LeaseGrant?
            var nextBlock = 0
        }
        var state: WorkerState?
        var boot = 0
        var slots: [Slot]
        var tickAt: Instant?
        var pausedUntil: Instant?
        var isCut = false
    }

    init(seed: UInt64, _ options: SimulationOptions, hasGhosts: Bool) {
        scenario = Scenario(seed: seed)
        bug = options.bug
        let real = options.storeFolder.map { RealStore(root: "\($0)/seed-\(seed)-\(options.writeFault?.write ?? 0)") }
        journal = SimulatedJournal(
            seed: seed, failureRate: scenario.rates.storeFailure, fault: options.writeFault.map { ($0.write, $0.what) },
            hasGhosts: hasGhosts, real: real)
        random = SeededGenerator(seed: seed, stream: "world")
        boxes = scenario.boxes.map { Box(slots: Array(repeating: Box.Slot(), count: $0.slots)) }
        checker = Checker(timeToLive: scenario.settings.leaseTimeToLive)
    }

    mutating func chance(_ p: Double) -> Bool { p > 0 && random.uniform() < p }
    mutating func seconds(_ low: Double, _ high: Double) -> Duration { .nanoseconds(Int64((low + (high - low) * random.uniform()) * 1e9)) }
    mutating func later(_ happening: Happening, _ delay: Duration) { queue.add(happening, at: now + delay) }

    mutating func trace(_ value: UInt64) { trace = (trace ^ value) &* 0x100_0000_01B3 }

    // MARK: The run of one seed

    static let eventLimit = 60_000
    static let patience = Duration.seconds(1800)

    mutating func run() {
        defer { journal.close() }
        later(.startHead, .zero)
        for w in boxes.indices { later(.startWorker(w), seconds(0, 2)) }
        for (i, at) in scenario.submitAt.enumerated() { queue.add(.submit(i), at: at) }
        for fault in scenario.faults { queue.add(.fault(fault.kind), at: fault.at) }
        queue.add(.calm, at: scenario.faultsEnd)
        while let (at, happening) = queue.next() {
            now = max(now, at)
            events += 1
            if let narrator { narrator("\(now) \(happening)") }
            handle(happening)
            if let complaint = journal.complaint { checker.violate(complaint, at: now) }
            if !checker.violations.isEmpty { return }
            if isCalm, events % 16 == 0, isAtRest { break }
            if events >= Self.eventLimit || now - scenario.faultsEnd > Self.patience {
                return checker.violate("no end in sight after \(events) events: \(whatIsMissing)", at: now)
            }
        }
        coverage.note("tasks", scenario.plans.reduce(0) { $0 + $1.stages.reduce(0) { $0 + $1.blocks } })
        finish()
    }

    /// Every run ended, every result met its verdict, nothing is leased.
    private var isAtRest: Bool {
        guard let head, !head.isStoring, !head.isBlocked, head.inbox.isEmpty, journal.store.runs.count == scenario.plans.count else {
            return false
        }
        guard journal.store.runs.allSatisfy({ $0.state.isTerminal && head.pump.scheduler.runState($0.plan.id) == $0.state }) else {
            return false
        }
        return boxes.allSatisfy { $0.state?.heldFences.isEmpty ?? true } && head.pump.scheduler.liveLeases == 0
    }

    private var whatIsMissing: String {
        var parts = store.runs.map { "\($0.plan.id) \($0.state)" }
        parts.append("\(head?.pump.scheduler.liveLeases ?? -1) leases")
        parts += boxes.indices.map { "w\($0) holds \(boxes[$0].state?.heldFences.count ?? -1)" }
        if let head { parts += head.pump.scheduler.whyNotRunning() }
        return parts.joined(separator: ", ")
    }

    private mutating func finish() {
        guard let head else { return checker.violate("no head at the end", at: now) }
        head.pump.scheduler.checkInvariants()
        if head.pump.scheduler.liveLeases > 0 { checker.violate("\(head.pump.scheduler.liveLeases) leases are left", at: now) }
        for (w, box) in boxes.enumerated() {
            for (slot, value) in box.slots.enumerated() where value.grant != nil {
                checker.violate("slot \(slot) of w\(w) still works", at: now)
            }
            if let state = box.state, state.parkedResults > 0 { checker.violate("w\(w) holds \(state.parkedResults) results", at: now) }
        }
        checker.finish(store, scenario, at: now)
        let totals = head.pump.scheduler.totals
        coverage.note("total: speculations", totals.speculations)
        coverage.note("total: second fences", totals.secondFences)
        coverage.note("total: cached blocks", totals.cached)
        coverage.note("total: adopted leases", totals.adopted)
        coverage.note("total: blocks redone", totals.blocksRedone)
        coverage.note("total: workers drained for failures", totals.workersDrainedForFailures)
        coverage.note("total: throttled stages", totals.throttled)
        coverage.note("fault: write refused", journal.failures)
        coverage.note(transitions: store.transitions)
        for run in store.runs { coverage.note("run: \(run.state.rawValue)") }
    }

    private mutating func handle(_ happening: Happening) {
        switch happening {
        case .request(let w, let boot, let token, let request): headReceives(w, boot, token, request)
        case .reply(let w, let boot, let token, let reply, let commands):
            workerHears(w, boot, .replied(token, reply, commands: commands), orElse: happening)
        case .stored(let generation): headStored(generation)
        case .headDiesWriting(let generation, let what):
            if head?.generation == generation, head?.isStoring == true { killHead(tearing: what == .tears) }
        case .headTick(let generation): headTicks(generation)
        case .headResumes(let generation):
            guard head?.generation == generation else { return }
            head?.pausedUntil = nil
            turnHead()
        case .startHead: startHead()
        case .workerTick(let w, let boot):
            // Only the tick that was armed last counts; others were overtaken by an earlier deadline.
            guard boxes[w].boot == boot, boxes[w].tickAt == now else { return }
            if let until = boxes[w].pausedUntil, until > now {
                boxes[w].tickAt = until
                return queue.add(happening, at: until)
            }
            boxes[w].tickAt = nil
            workerHears(w, boot, .tick, orElse: happening)
        case .startWorker(let w): startWorker(w)
        case .child(let w, let boot, let slot, let work, let news): childSays(w, boot, slot, work, news, happening)
        case .fault(let kind): if !isCalm { strike(kind) }
        case .linkHeals(let w): heal(w)
        case .pipeLost(let w): deliver(.pipeLost(scenario.boxes[w].id))
        case .submit(let i):
            // The submitter asks again until it sees its run in the store.
            guard !store.runs.contains(where: { $0.plan.id == scenario.plans[i].id }) else { return }
            deliver(.submitted(scenario.plans[i]))
            later(happening, .seconds(2))
        case .answer(let run, let stage): answer(run, stage)
        case .operatorDoes(let event): deliver(event)
        case .calm: calm()
        }
    }
}
