package import Primitives

/// A new head's scheduler in the making: fed with the stored rows one by one, so that a million of them are never all in memory.
///
///     var recovery = SchedulerRecovery(settings: settings, epoch: store.epoch, seed: store.epoch, at: now)
///     try store.load(into: &recovery)
///     let scheduler = recovery.finish()
package struct SchedulerRecovery: Sendable {
    private var scheduler: Scheduler
    private var scan = Scheduler.Scan()
    private let now: Instant
    package private(set) var runCount = 0
    package private(set) var taskCount = 0

    package init(settings: SchedulerSettings, epoch: UInt64, seed: UInt64, at now: Instant) {
        scheduler = Scheduler(settings: settings, epoch: epoch, seed: seed)
        self.now = now
    }

    /// How many rows will come, at most: memory is taken once instead of by doubling.
    package mutating func expect(tasks: Int, cached: Int) {
        scheduler.archive.reserve(tasks + cached)
        scheduler.cache.reserve(cached)
    }

    package mutating func add(_ run: StateChanges.RunRow) {
        runCount += 1
        scheduler.recover(run)
    }

    /// Its run must have come before.
    package mutating func add(_ task: TaskRow) {
        taskCount += 1
        scheduler.recover(task, &scan, at: now)
    }

    package mutating func add(_ cached: StateChanges.CachedResult) {
        _ = scheduler.cache.insert(cached.identity, handle: scheduler.archive.append(cached.result))
    }

    package consuming func finish() -> Scheduler {
        var scheduler = scheduler
        scheduler.finishRecovery(scan, at: now)
        return scheduler
    }
}

/// How a new head takes over: one scan of the rows, then leased tasks wait out the grace for their workers.
extension Scheduler {
    /// What one scan of the rows cannot tell until its end.
    struct Scan: Sendable {
        var held: [UInt64: Lease] = [:]
        /// Fences of `held` in the order of the rows.
        var order: [UInt64] = []
        var grants: [OldGrant] = []
        /// Rows come run by run: the last one's index saves a look-up.
        var run: (id: RunID, index: Int)?
    }

    mutating func recover(_ row: StateChanges.RunRow) {
        let r = addRun(row.plan)
        runs[r].state = row.state
        runs[r].isPaused = row.state == .paused
        for (s, numerics) in row.numericsClasses.enumerated() where s < runs[r].stages.count {
            runs[r].stages[s].numericsClass = numerics.map { names.intern($0.rawValue) }
        }
    }

    mutating func recover(_ row: TaskRow, _ scan: inout Scan, at now: Instant) {
        let r: Int
        if let last = scan.run, last.id == row.run {
            r = last.index
        } else {
            guard let found = runIndex[row.run] else { preconditionFailure("a task row names run \(row.run), which has no row") }
            scan.run = (row.run, found)
            r = found
        }
        let (s, b) = (row.stage, row.block)
        precondition(
            runs[r].stages.indices.contains(s) && b >= 0 && b < runs[r].stages[s].blocks,
            "a row names task \(s)/\(b), which run \(row.run) does not have")
        runs[r].stages[s].cells[b].attempts = UInt8(clamping: row.attempts)
        runs[r].stages[s].cells[b].fence = row.fence.rawValue
        if !row.maskedSamples.isEmpty {
            runs[r].stages[s].masks[b] = row.maskedSamples
            runs[r].stages[s].cells[b].isIsolated = true
        }
        if let id = row.worker { runs[r].stages[s].cells[b].worker = Int32(record(of: id, at: now)) }
        if row.fence.rawValue != 0, scan.grants.last?.fence != row.fence.rawValue {
            scan.grants.append(OldGrant(fence: row.fence.rawValue, granted: GrantedAt(run: Int32(r), stage: Int32(s))))
        }
        switch row.state {
        case .done:
            guard let result = row.result else { preconditionFailure("task \(s)/\(b) of \(row.run) is done without a result") }
            runs[r].stages[s].cells[b].result = archive.append(result)
            runs[r].stages[s].move(b, to: .done)
        case .failed, .quarantined:
            runs[r].stages[s].errors[b] = row.error
            runs[r].stages[s].move(b, to: row.state)
        case .leased where !runs[r].state.isTerminal:
            guard let id = row.worker else { preconditionFailure("task \(s)/\(b) of \(row.run) is leased to nobody") }
            if scan.held[row.fence.rawValue] == nil {
                scan.order.append(row.fence.rawValue)
                scan.held[row.fence.rawValue] = Lease(
                    fence: row.fence, run: r, stage: s, blocks: b..<b + 1, worker: record(of: id, at: now), grantedAt: now,
                    deadline: now + settings.recoveryGrace, lastProgress: now, open: 0, awaitsAdoption: true)
            }
            if let range = scan.held[row.fence.rawValue]?.blocks {
                scan.held[row.fence.rawValue]?.blocks = min(range.lowerBound, b)..<max(range.upperBound, b + 1)
            }
        case .leased, .waiting, .ready, .cancelled:
            break
        }
    }

    mutating func finishRecovery(_ scan: Scan, at now: Instant) {
        oldGrants = scan.grants.sorted { $0.fence < $1.fence }
        for r in runs.indices { restoreRun(r) }
        for raw in scan.order {
            if let lease = scan.held[raw] { install(lease) }
        }
        liveRuns = liveRuns.filter { !runs[$0].state.isTerminal }
        settleRecovered(at: now)
    }

    /// Counters of readiness from the rows; terminal runs are only remembered.
    private mutating func restoreRun(_ r: Int) {
        if runs[r].state == .cancelled {
            for s in runs[r].stages.indices {
                for b in 0..<runs[r].stages[s].blocks where runs[r].stages[s].cells[b].state == .waiting {
                    runs[r].stages[s].move(b, to: .cancelled)
                }
            }
        }
        for s in runs[r].stages.indices {
            let isComplete = runs[r].stages[s].isComplete
            if isComplete { runs[r].incompleteStages -= 1 }
            for dependent in runs[r].stages[s].dependents {
                switch dependent.reach {
                case .sameBlock:
                    for b in 0..<runs[r].stages[s].blocks where runs[r].stages[s].cells[b].state == .done {
                        runs[r].stages[dependent.stage].cells[b].unmet -= 1
                    }
                case .allBlocks:
                    if isComplete { runs[r].stages[dependent.stage].unmetReductions -= 1 }
                }
            }
            guard !runs[r].state.isTerminal, runs[r].stages[s].unmetReductions == 0 else { continue }
            noteSharedInputs(r, s)
            for b in stride(from: runs[r].stages[s].blocks - 1, through: 0, by: -1)
            where runs[r].stages[s].cells[b].unmet == 0 && runs[r].stages[s].cells[b].state == .waiting {
                arrive(r, s, b)
            }
        }
    }

    /// Puts a lease into the state whose grant another head made: its uncommitted blocks are leased again.
    func openBlocks(of lease: Lease) -> Int {
        lease.blocks.count { [.ready, .leased].contains(runs[lease.run].stages[lease.stage].cells[$0].state) }
    }

    mutating func install(_ lease: Lease) {
        var lease = lease
        let (r, s) = (lease.run, lease.stage)
        lease.open = 0
        for b in lease.blocks {
            let state = runs[r].stages[s].cells[b].state
            guard state == .ready || state == .leased else { continue }
            if state == .ready {
                withdraw(r, s, b)
                if runs[r].stages[s].stop != nil { runs[r].active += 1 }
                runs[r].stages[s].cells[b].isBackingOff = false
                runs[r].stages[s].move(b, to: .leased)
                runs[r].stages[s].cells[b].fence = lease.fence.rawValue
                runs[r].stages[s].cells[b].worker = Int32(lease.worker)
                markDirty(r, s, b)
            }
            runs[r].stages[s].cells[b].live += 1
            lease.open += 1
        }
        guard lease.open > 0 else { return }
        leases[lease.fence] = lease
        runs[r].stages[s].leases.append(lease.fence.rawValue)
        runs[r].leasedStages.insert(runs[r].position[s])
        workers[lease.worker].leases.append(lease.fence)
        timers.add(.lease(lease.fence), at: lease.deadline)
    }

    private mutating func settleRecovered(at now: Instant) {
        resolveBudget = Self.resolvedBlocksPerCall
        resolveArrivals(at: now)
        for r in liveRuns {
            for s in runs[r].stages.indices { restoreBreaker(r, s) }
            touch(r)
        }
        reviewRuns(at: now)
        // Effects belong to a call of `handle`; the next one brings them.
        pendingEffects = effects
        effects = []
        tell("head-started", "epoch \(epoch), \(liveRuns.count) live runs, \(leases.count) leases wait for their workers")
    }

    /// A fence of the epoch just ended whose grant the store lost: adopted while its blocks are uncommitted, because the
    /// epoch was durable and so the fence is unique.
    mutating func adopt(_ fence: Fence, _ hello: WorkerHello, _ w: Int, at now: Instant) -> Bool {
        guard fence.epoch + 1 == epoch, leases[fence] == nil, let held = hello.heldLeases.first(where: { $0.fence == fence }),
            let r = runIndex[held.run], !runs[r].state.isTerminal, let s = runs[r].stageIndex[held.stage],
            !held.isMasked, held.blocks.lowerBound >= 0, held.blocks.upperBound <= runs[r].stages[s].blocks, stage(ofDead: fence) == nil
        else { return false }
        let numerics = runs[r].stages[s].numericsClass
        guard numerics == nil || numerics == workers[w].numericsClass || runs[r].plan.allowsMixedNumerics else { return false }
        let lease = Lease(
            fence: fence, run: r, stage: s, blocks: held.blocks, worker: w, grantedAt: now, deadline: now + settings.leaseTimeToLive,
            lastProgress: now, open: 0)
        guard openBlocks(of: lease) > 0, held.blocks.allSatisfy({ runs[r].stages[s].cells[$0].live < 2 }) else { return false }
        if numerics == nil, !runs[r].plan.allowsMixedNumerics {
            runs[r].stages[s].numericsClass = workers[w].numericsClass
            markRunDirty(r)
        }
        install(lease)
        totals.adopted += 1
        oldGrants.append(OldGrant(fence: fence.rawValue, granted: GrantedAt(run: Int32(r), stage: Int32(s))))
        oldGrants.sort { $0.fence < $1.fence }
        tell("adopted", run: r, stage: s, blocks: held.blocks, fence: fence, worker: w)
        return true
    }
}
