import Primitives
import Scheduling

/// Judges the cluster from outside: it sees requests, replies and the store, never the scheduler's tables.
struct Checker {
    struct Grant {
        var run: RunID
        var stage: StageID
        var blocks: Range<Int>
        var worker: Int
        var masked: [Int]
        /// When the head last had reason to keep it alive.
        var renewed: Instant
        /// Given back, failed, refused or left out by its worker.
        var isDead = false
    }
    struct TaskKey: Hashable {
        var run: RunID
        var stage: StageID
        var block: Int
    }
    private(set) var violations: [String] = []
    private(set) var grants: [Fence: Grant] = [:]
    private var acknowledged: [TaskKey: (digest: Digest, fence: Fence)] = [:]
    private var stageIndex: [RunID: [StageID: Int]] = [:]
    private var deathsInDoubt: [Fence] = []
    /// Leases of the head that runs now whose grants have not left yet: a store that refuses holds them back, and their time runs all the same.
    private var decided: [Fence: Instant] = [:]
    let timeToLive: Duration
    /// Workers that said HELLO to the head that runs now.
    var present: Set<Int> = []
    /// A head that is held up hears beats late and ticks late.
    var slack = Duration.milliseconds(500)

    init(timeToLive: Duration) { self.timeToLive = timeToLive }

    mutating func violate(_ what: String, at now: Instant) { violations.append("at \(now): \(what)") }

    // MARK: What the head says

    mutating func leased(_ fence: Fence, at now: Instant) { decided[fence] = now }

    mutating func granted(_ grant: LeaseGrant, to w: Int, box: BoxSpec, plan: RunPlan?, store: SimulatedStore, at now: Instant) {
        if grants[grant.fence] != nil { violate("fence \(grant.fence) was granted twice", at: now) }
        if let spec = plan?.stages.first(where: { $0.id == grant.stage }) {
            for tag in spec.placement.requires where !box.tags.contains(tag) {
                violate("\(grant.stage) requires \(tag), but went to \(box.id)", at: now)
            }
            if grant.blocks.lowerBound < 0 || grant.blocks.upperBound > spec.blocks || grant.blocks.isEmpty {
                violate("\(grant.stage) has no blocks \(grant.blocks)", at: now)
            }
        }
        if let s = plan?.stages.firstIndex(where: { $0.id == grant.stage }) {
            // What is masked for good is left out by every attempt.
            for block in grant.blocks {
                guard let masked = store.row(grant.run, s, block)?.maskedSamples, !masked.isEmpty else { continue }
                if grant.blocks.count > 1 || !masked.allSatisfy(grant.maskedSamples.contains) {
                    violate("\(grant.stage)/\(block) was given out without its masks", at: now)
                }
            }
        }
        grants[grant.fence] = Grant(
            run: grant.run, stage: grant.stage, blocks: grant.blocks, worker: w, masked: grant.maskedSamples,
            renewed: decided.removeValue(forKey: grant.fence) ?? now)
    }

    /// A verdict leaves the head, so what it says must be true and durable.
    mutating func judged(
        _ fence: Fence, _ result: BlockResult, _ verdict: CommitVerdict, from w: Int, decidedAt: Instant, renewedBefore: Instant?,
        store: SimulatedStore, at now: Instant
    ) {
        guard verdict == .accepted || verdict == .duplicate else { return }
        guard let grant = grants[fence] else { return violate("\(verdict) for fence \(fence), which was never granted", at: now) }
        let key = TaskKey(run: grant.run, stage: grant.stage, block: result.block)
        let digest = result.digest
        if verdict == .accepted {
            if let before = acknowledged[key], before.fence != fence || before.digest != digest {
                violate("\(key.stage)/\(key.block) was accepted twice, under \(before.fence) and \(fence)", at: now)
            }
            if grant.worker != w { violate("fence \(fence) of worker \(grant.worker) was accepted from \(w)", at: now) }
            if let renewedBefore, decidedAt - renewedBefore > timeToLive + slack {
                violate(
                    "\(key.stage)/\(key.block) was accepted under \(fence), silent for \((decidedAt - renewedBefore).seconds) s", at: now)
            }
            if !grant.blocks.contains(result.block) {
                violate("\(fence) brought block \(result.block) outside of \(grant.blocks)", at: now)
            }
        }
        if let s = stageIndex[grant.run]?[grant.stage] ?? index(of: grant.stage, in: grant.run, store),
            store.row(grant.run, s, result.block)?.result?.digest != digest
        {
            violate("\(key.stage)/\(key.block) was acknowledged before it was durable", at: now)
        }
        if acknowledged[key] == nil { acknowledged[key] = (digest, fence) }
    }

    private mutating func index(of stage: StageID, in run: RunID, _ store: SimulatedStore) -> Int? {
        guard let plan = store.runs.first(where: { $0.plan.id == run })?.plan else { return nil }
        var indices: [StageID: Int] = [:]
        for (s, spec) in plan.stages.enumerated() { indices[spec.id] = s }
        stageIndex[run] = indices
        return indices[stage]
    }

    mutating func died(_ fence: Fence, at now: Instant) {
        guard let grant = grants[fence] else { return }
        if now - grant.renewed < timeToLive - .milliseconds(10) {
            violate("fence \(fence) expired \((now - grant.renewed).seconds) s after its last beat", at: now)
        }
    }

    // MARK: What the head hears

    /// Returns when the fence was last renewed before this.
    mutating func renewed(_ fence: Fence, by w: Int, at now: Instant) -> Instant? {
        guard let grant = grants[fence], grant.worker == w else { return nil }
        let before = grant.renewed
        // A beat for a lease that expired does not bring it back.
        if !grant.isDead, now - before <= timeToLive + slack { grants[fence]?.renewed = now }
        return grant.isDead ? .origin : before
    }

    mutating func ended(_ fence: Fence, by w: Int) {
        guard grants[fence]?.worker == w else { return }
        kill(fence)
    }

    mutating func greeted(by w: Int, held: [Fence]) {
        // Fences not held are dead from now on; only the worker's own are looked at, in any order, as the result is a set.
        for fence in grants.keys where grants[fence]?.worker == w && !held.contains(fence) { kill(fence) }
    }

    private mutating func kill(_ fence: Fence) {
        guard grants[fence]?.isDead == false else { return }
        grants[fence]?.isDead = true
        deathsInDoubt.append(fence)
    }

    /// A head that never heard of the fence's death takes it over, as the contract allows while its task is uncommitted.
    mutating func adopted(_ fence: Fence, by epoch: UInt64, at now: Instant) {
        if fence.epoch + 1 != epoch { violate("epoch \(epoch) adopted fence \(fence)", at: now) }
        grants[fence]?.isDead = false
        grants[fence]?.renewed = now
    }

    /// What the head decided is durable.
    mutating func confirm() { deathsInDoubt = [] }

    /// The head died and what it decided last was lost: the next one knows the fences as alive.
    mutating func rollBack() {
        for fence in deathsInDoubt { grants[fence]?.isDead = false }
        deathsInDoubt = []
    }

    /// A new head gives every lease a grace.
    mutating func headStarted(at now: Instant, grace: Duration) {
        present = []
        decided = [:]
        for fence in grants.keys { grants[fence]?.renewed = now + grace - timeToLive }
    }

    // MARK: At the end

    mutating func finish(_ store: SimulatedStore, _ scenario: Scenario, at now: Instant) {
        var rows: [TaskKey: TaskRow] = [:]
        var stages: [RunID: [StageID]] = [:]
        for run in store.runs { stages[run.plan.id] = run.plan.stages.map(\.id) }
        for (key, row) in store.tasks {
            guard let ids = stages[key.run] else { continue }
            rows[TaskKey(run: key.run, stage: ids[key.stage], block: key.block)] = row
        }
        for (key, promise) in acknowledged {
            guard let row = rows[key], row.state == .done, let result = row.result else {
                violate("\(key.run)/\(key.stage)/\(key.block) was acknowledged and is lost", at: now)
                continue
            }
            if result.digest != promise.digest { violate("\(key.stage)/\(key.block) is not what was acknowledged", at: now) }
        }
        for run in store.runs { check(run, rows, scenario, at: now) }
    }

    /// Recomputes every committed result from its committed inputs: what the cluster made must not depend on how it was made.
    private mutating func check(_ run: StateChanges.RunRow, _ rows: [TaskKey: TaskRow], _ scenario: Scenario, at now: Instant) {
        var failures = 0
        var unfinished = 0
        for (s, spec) in run.plan.stages.enumerated() {
            for block in 0..<spec.blocks {
                guard let row = rows[TaskKey(run: run.plan.id, stage: spec.id, block: block)] else {
                    unfinished += 1
                    continue
                }
                if row.state == .failed || row.state == .quarantined { failures += 1 }
                guard row.state == .done, let made = row.result else {
                    unfinished += 1
                    continue
                }
                if spec.performer == .people || scenario.behaviours[spec.kind]?.isUnreproducible == true { continue }
                var inputs: [UInt64] = []
                for input in spec.inputs {
                    guard case .stage(let id, _) = input.source, let source = run.plan.stages.first(where: { $0.id == id }) else {
                        continue
                    }
                    let range = input.reach == .sameBlock ? block..<block + 1 : 0..<source.blocks
                    for b in range {
                        guard let digest = rows[TaskKey(run: run.plan.id, stage: id, block: b)]?.result?.outputs.first?.digest else {
                            violate("\(spec.id)/\(block) is done without its input \(id)/\(b)", at: now)
                            continue
                        }
                        inputs.append(digest.leadingBits)
                    }
                }
                let grant = grants[row.fence]
                let masked = grant?.masked ?? []
                let classes: [NumericsClass]
                if run.plan.allowsMixedNumerics {
                    classes = Array(Set(scenario.boxes.map(\.numerics)))
                } else if let fixed = run.numericsClasses[s] {
                    classes = [fixed]
                } else {
                    violate("\(spec.id) has results and no numerics class", at: now)
                    continue
                }
                let honest = classes.map {
                    honestOutput(kind: spec.kind, version: spec.codeVersion, block: block, inputs: inputs, masked: masked, numerics: $0)
                }
                // A cached result carries the mask of the run that made it, which is not asked for here.
                if let digest = made.outputs.first?.digest, !honest.contains(digest),
                    row.fence.rawValue != 0 || (scenario.behaviours[spec.kind]?.poison.isEmpty ?? true)
                {
                    violate("\(spec.id)/\(block) holds another result than its inputs give", at: now)
                }
            }
        }
        switch run.state {
        case .succeeded where unfinished > 0: violate("run \(run.plan.id) succeeded with \(unfinished) unfinished tasks", at: now)
        case .failed where failures == 0: violate("run \(run.plan.id) failed without a failed task", at: now)
        case .succeeded, .failed, .cancelled: break
        case .running, .paused, .waitingForPeople: violate("run \(run.plan.id) is \(run.state) for ever", at: now)
        }
        if run.state == .failed, scenario.isHarmless { violate("run \(run.plan.id) failed although nothing in it can fail", at: now) }
    }
}

extension Scenario {
    /// No child of this seed fails by itself, so every run that is not cancelled must succeed.
    var isHarmless: Bool {
        rates.childCrash == 0 && rates.transient == 0 && behaviours.values.allSatisfy { $0.doomed.isEmpty && $0.poison.isEmpty }
    }
}
