import Primitives
import Scheduling

/// Mistakes planted on purpose: each must be caught by the checkers within the seeds that CI runs.
package enum PlantedBug: String, CaseIterable, Sendable {
    /// The scheduler takes results from dead fences.
    case fenceIgnored = "fence-ignored"
    /// The head answers before its transaction is durable.
    case commitBeforeJournal = "commit-before-journal"
    /// Leases run on the wall clock, which is stepped.
    case leaseOnWallClock = "lease-on-wall-clock"
    /// Parked requests are served in the order of a hash table.
    case hashOrder = "hash-order"
    /// A second result of a block replaces the first.
    case lastResultWins = "last-result-wins"
}

/// How often each thing goes wrong in one seed. Every seed arms its own subset, as a swarm finds more than a mean.
struct FaultRates {
    var drop = 0.0
    var duplicate = 0.0
    /// Share of messages that are held back long enough to be overtaken.
    var delay = 0.0
    var childCrash = 0.0
    var transient = 0.0
    var straggler = 0.0
    var storeFailure = 0.0
    var hungCancel = 0.0
}

enum FaultKind: String, CaseIterable {
    case killWorker, pauseWorker, partition, cutPipe, killHead, killHeadInRecovery, pauseHead, stepWallClock, drainWorker,
        drainWithDeadline, pauseRun
    case cancelRun
}

/// One box.
struct BoxSpec {
    var id: WorkerID
    var tags: [String]
    var slots: Int
    var numerics: NumericsClass
    /// Seconds per block are multiplied by this.
    var slowness: Double
}

/// What an executor of one kind does to blocks.
struct Behaviour {
    var seconds: Double
    /// Samples that kill the child, in any block.
    var poison: [Int] = []
    /// Blocks that fail every time.
    var doomed: Set<Int> = []
    /// Smaller batches than 2^-this fit into memory.
    var neededShift = 0
    /// Another result each time: what CONFLICT is for.
    var isUnreproducible = false
}

/// Everything that a seed decides before the first event.
struct Scenario {
    var boxes: [BoxSpec] = []
    var plans: [RunPlan] = []
    var submitAt: [Instant] = []
    var behaviours: [String: Behaviour] = [:]
    var rates = FaultRates()
    var faults: [(at: Instant, kind: FaultKind)] = []
    var faultsEnd = Instant.origin
    var settings = SchedulerSettings()
    var workerSettings = WorkerSettings()

    static let blockSize = 16

    init(seed: UInt64) {
        var random = SeededGenerator(seed: seed, stream: "scenario")
        func chance(_ p: Double) -> Bool { random.uniform() < p }
        func seconds(_ low: Double, _ high: Double) -> Duration { .nanoseconds(Int64((low + (high - low) * random.uniform()) * 1e9)) }

        let count = 2 + random.index(below: 4)
        let hasTwoClasses = chance(0.3)
        for i in 0..<count {
            var tags = ["cpu"]
            if i == 0 { tags += ["gpu", "net"] } else if chance(0.3) { tags.append("net") }
            let numerics = NumericsClass(hasTwoClasses && i % 2 == 1 ? "x86-v3" : "x86-v4")
            boxes.append(
                BoxSpec(
                    id: WorkerID("w\(i)"), tags: tags, slots: 1 + random.index(below: 3), numerics: numerics, slowness: chance(0.2) ? 4 : 1)
            )
        }
        let speed = 0.05 + 0.4 * random.uniform()
        let blocks = 19 + random.index(below: 14)
        for kind in ["ingest", "features", "functions", "fit", "annotate", "score", "aggregate", "report"] {
            behaviours[kind] = Behaviour(seconds: speed * (0.5 + random.uniform()))
        }
        if chance(0.25) {
            behaviours["features"]?.poison = [random.index(below: blocks * Self.blockSize)]
            if chance(0.3) { behaviours["features"]?.poison.append(random.index(below: blocks * Self.blockSize)) }
        }
        if chance(0.15) { behaviours["functions"]?.doomed = [random.index(below: blocks)] }
        // A stage that can do nothing right: what the circuit breaker is for.
        if chance(0.08) { behaviours["annotate"]?.doomed = Set(0..<blocks) }
        if chance(0.25) { behaviours["score"]?.neededShift = 1 + random.index(below: 3) }
        if chance(0.2) { behaviours["functions"]?.isUnreproducible = true }
        // Blocks that are no sample ranges cannot be bisected: they are quarantined whole.
        let hasSamples = chance(0.8)
        let withPeople = chance(0.4)
        let runs = 1 + (chance(0.3) ? 1 : 0)
        for i in 0..<runs {
            // Half of the second runs repeat the first and find its results in the cache.
            let version = i == 0 || chance(0.5) ? 1 : 2
            plans.append(
                Self.plan(
                    RunID("run-\(i)"), blocks: blocks, version: version, withPeople: withPeople, hasSamples: hasSamples, mixed: chance(0.1),
                    prefers: chance(0.3), money: chance(0.5), priority: chance(0.2) ? 1 : 0, weight: chance(0.3) ? 2 : 1))
            submitAt.append(.origin + seconds(0, i == 0 ? 1 : 20))
        }

        func rate(_ armed: Double, _ most: Double) -> Double { chance(armed) ? random.uniform() * most : 0 }
        rates.drop = rate(0.6, 0.1)
        rates.duplicate = rate(0.5, 0.1)
        rates.delay = rate(0.5, 0.1)
        rates.childCrash = rate(0.3, 0.03)
        rates.transient = rate(0.4, 0.06)
        rates.straggler = rate(0.4, 0.05)
        rates.storeFailure = rate(0.3, 0.04)
        rates.hungCancel = rate(0.5, 0.5)
        faultsEnd = .origin + seconds(25, 60)
        let kinds = FaultKind.allCases
        // A seed leans on few kinds, so that what needs several of one kind in a row is met.
        let armed =
            kinds.filter { $0 != .cancelRun && $0 != .pauseRun && chance(0.5) } + (chance(0.15) ? [.cancelRun] : [])
            + (chance(0.2) ? [.pauseRun] : [])
        for _ in 0..<(5 + random.index(below: 8)) {
            let at = Instant.origin + .nanoseconds(Int64(random.uniform() * Double(faultsEnd.nanoseconds)))
            faults.append((at, armed.isEmpty ? .killWorker : armed[random.index(below: armed.count)]))
        }
        settings.parkTimeout = seconds(2, 10)
        settings.maximumParkedRequests = chance(0.2) ? 1 : 64
        settings.leaseTarget = seconds(1, 5)
        settings.tasksPerSlot = 1 + random.index(below: 4)
        // Workers without a parking place ask by themselves in some seeds, and wait for word with a beat in others.
        if settings.maximumParkedRequests == 1, settings.tasksPerSlot > 2 { settings.unparkedRequestsPerSecond = 1 }
        if chance(0.2) { settings.forcedLeaseBlocks = [1, 3, 7][random.index(below: 3)] }
        if chance(0.15) { settings.splitsTail = false }
        if chance(0.15) { settings.speculates = false }
        if chance(0.15) { settings.maximumUncommittedBytes = 30_000 }
        settings.circuitBreakerFailures = 3 + random.index(below: 6)
        // Short leases put more of them into one seed; the ratios are those of the defaults.
        if chance(0.5) {
            settings.leaseTimeToLive = .seconds(5)
            settings.beatInterval = .seconds(1)
            settings.suspectAfter = .seconds(3)
            settings.recoveryGrace = .seconds(5)
        }
        workerSettings.prefetchedLeases = chance(0.3) ? 1 : 0
        workerSettings.requestTimeout = seconds(1, 5)
        workerSettings.leaseRequestTimeout = settings.parkTimeout + .seconds(2)
        workerSettings.maximumCommitResults = chance(0.2) ? 2 : 1024
    }

    private static func plan(
        _ id: RunID, blocks: Int, version: Int, withPeople: Bool, hasSamples: Bool, mixed: Bool, prefers: Bool, money: Bool, priority: Int,
        weight: Double
    ) -> RunPlan {
        func stage(
            _ name: String, _ blocks: Int, _ reads: [(String, StageInput.Reach)], requires: [String] = [], prefers: String? = nil,
            people: Bool = false, money: Bool = false
        ) -> StageSpec {
            StageSpec(
                id: StageID(name), kind: name, codeVersion: version, blocks: blocks,
                inputs: reads.map { StageInput($0.0, from: .stage(StageID($0.0), output: "out"), reach: $0.1) },
                placement: StagePlacement(requires: requires, prefers: prefers, preferenceDelay: .seconds(3)),
                performer: people ? .people : .workers,
                costsMoney: money, samples: hasSamples && blocks > 1 ? blocks * blockSize - 3 : 0,
                blockSize: hasSamples && blocks > 1 ? blockSize : 0)
        }
        var stages = [
            stage("ingest", blocks, []),
            stage("features", blocks, [("ingest", .sameBlock)], prefers: prefers ? "gpu" : nil),
            stage("functions", blocks, [("ingest", .sameBlock)]),
            stage("annotate", blocks, [("ingest", .sameBlock)], requires: ["net"], money: money),
            stage("fit", 1, [("features", .allBlocks), ("functions", .allBlocks)], requires: ["gpu"]),
            stage("score", blocks, [("features", .sameBlock), ("fit", .allBlocks)]),
        ]
        var last: [(String, StageInput.Reach)] = [("score", .sameBlock), ("annotate", .sameBlock)]
        if withPeople {
            stages.append(stage("review", 1, [("score", .allBlocks)], people: true))
            last.append(("review", .allBlocks))
        }
        stages.append(stage("aggregate", blocks, last))
        stages.append(stage("report", 1, [("aggregate", .allBlocks)]))
        return RunPlan(id: id, name: id.rawValue, priority: priority, weight: weight, stages: stages, allowsMixedNumerics: mixed)
    }
}

/// What an honest executor makes: a function of what it is given and of nothing else. Not a cryptographic digest, but a fast one.
func honestOutput(kind: String, version: Int, block: Int, inputs: [UInt64], masked: [Int], numerics: NumericsClass, salt: UInt64 = 0)
    -> Digest
{
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    func mix(_ value: UInt64) {
        hash = (hash ^ value) &* 0x9E37_79B9_7F4A_7C15
        hash ^= hash >> 29
    }
    for byte in kind.utf8 { mix(UInt64(byte)) }
    mix(UInt64(version))
    mix(UInt64(block))
    for input in inputs { mix(input) }
    mix(0xFFFF)
    for sample in masked { mix(UInt64(sample)) }
    for byte in numerics.rawValue.utf8 { mix(UInt64(byte)) }
    mix(salt)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Digest.byteCount)
    for _ in 0..<4 {
        mix(0xA5A5)
        for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: hash >> UInt64(shift))) }
    }
    return Digest(bytes: bytes)
}
