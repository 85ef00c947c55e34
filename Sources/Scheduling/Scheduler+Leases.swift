import Primitives

/// Who holds what, and for how long.
extension Scheduler {
    enum LeaseEnd: String, Hashable, Sendable {
        /// Every block is committed.
        case finished
        /// No beat came in time.
        case expired
        /// The worker vanished, restarted without it, or left.
        case revoked
        /// Given back by the worker.
        case released
        /// An attempt failed; the blocks at fault are dealt with by the caller.
        case failed
        case cancelled
    }

    mutating func leaseTimer(_ fence: Fence, at now: Instant) {
        guard let lease = leases[fence] else { return }
        guard lease.deadline <= now else { return timers.add(.lease(fence), at: lease.deadline) }
        totals.leasesExpired += 1
        endLease(fence, .expired, at: now)
    }

    mutating func renew(_ fence: Fence, at now: Instant) {
        leases[fence]?.deadline = now + settings.leaseTimeToLive
        leases[fence]?.awaitsAdoption = false
        if leases[fence]?.isOrphaned == true { reclaim(fence) }
    }

    /// The live lease of this worker with that fence.
    func liveLease(_ fence: Fence, of w: Int) -> Lease? {
        guard let lease = leases[fence], lease.worker == w else { return nil }
        return lease
    }

    /// Takes a lease out of the state and gives its uncommitted blocks back, except those covered by another live lease.
    mutating func endLease(_ fence: Fence, _ end: LeaseEnd, at now: Instant) {
        guard let lease = leases.removeValue(forKey: fence) else { return }
        let (r, s, w) = (lease.run, lease.stage, lease.worker)
        if let i = runs[r].stages[s].leases.firstIndex(of: fence.rawValue) { runs[r].stages[s].leases.remove(at: i) }
        if runs[r].stages[s].leases.isEmpty { runs[r].leasedStages.remove(runs[r].position[s]) }
        if let i = workers[w].leases.firstIndex(of: fence) { workers[w].leases.remove(at: i) }
        runs[r].served += max(0, (now - lease.grantedAt).seconds) - lease.charge
        loosen(r, s)
        if end != .finished {
            tell(end.rawValue, run: r, stage: s, blocks: lease.blocks, fence: fence, worker: w)
            if end == .revoked { totals.leasesRevoked += 1 }
            for b in lease.blocks where runs[r].stages[s].cells[b].state == .leased { uncover(r, s, b, end, at: now) }
            if end != .failed && end != .released { workers[w].drops.append(fence) }
            if workers[w].drops.count > 256 { workers[w].drops.removeFirst(workers[w].drops.count - 256) }
        }
        touch(r)
    }

    /// One lease less covers an uncommitted block.
    private mutating func uncover(_ r: Int, _ s: Int, _ b: Int, _ end: LeaseEnd, at now: Instant) {
        runs[r].stages[s].cells[b].live -= 1
        guard runs[r].stages[s].cells[b].live == 0 else { return pointToSurvivor(r, s, b) }
        runs[r].stages[s].move(b, to: .ready)
        markDirty(r, s, b)
        if runs[r].stages[s].stop != nil {
            runs[r].active -= 1
            return touch(r)
        }
        if end == .expired || end == .revoked {
            // A vanished worker is no evidence against the task: the first time it is given out again at once, then it backs off.
            let losses = runs[r].stages[s].cells[b].losses
            runs[r].stages[s].cells[b].losses = losses == .max ? losses : losses + 1
            if losses > 0 {
                withdraw(r, s, b)
                return backOff(r, s, b, failures: Int(losses), at: now)
            }
        }
        if end == .failed { return withdraw(r, s, b) }
        offer(r, s, b, at: now)
    }

    /// A second fence died: the row must name the one that lives, or the next head would take the dead one for it.
    private mutating func pointToSurvivor(_ r: Int, _ s: Int, _ b: Int) {
        for raw in runs[r].stages[s].leases {
            guard let lease = leases[Fence(rawValue: raw)], lease.blocks.contains(b) else { continue }
            runs[r].stages[s].cells[b].fence = raw
            runs[r].stages[s].cells[b].worker = Int32(lease.worker)
            return markDirty(r, s, b)
        }
        preconditionFailure("block \(b) of \(runs[r].plan.stages[s].id) is covered by a lease that its stage does not list")
    }

    /// Full jitter: uniform below min(cap, base·2^(failures − 1)), as in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    mutating func backOff(_ r: Int, _ s: Int, _ b: Int, failures: Int, at now: Instant) {
        guard runs[r].stages[s].stop == nil else { return }
        let base = settings.backoffBase.nanoseconds
        let ceiling = min(settings.backoffCap.nanoseconds, base << Int64(min(max(failures - 1, 0), 20)))
        let delay = Int64(Double(ceiling) * random.uniform())
        runs[r].stages[s].cells[b].isBackingOff = true
        timers.add(.backoff(run: r, stage: s, block: b), at: now + .nanoseconds(delay))
    }

    mutating func backoffEnds(_ r: Int, _ s: Int, _ b: Int, at now: Instant) {
        guard runs[r].stages[s].cells[b].isBackingOff else { return }
        runs[r].stages[s].cells[b].isBackingOff = false
        if runs[r].stages[s].cells[b].state == .ready { offer(r, s, b, at: now) }
    }

    // MARK: Second fences

    /// The worker's connection broke: its blocks may be given to another at once, while the old fence lives on to its deadline.
    /// Where money is spent the deadline is waited for.
    mutating func orphan(_ fence: Fence, at now: Instant) {
        guard let lease = leases[fence], !lease.isOrphaned, !lease.isProbe else { return }
        let (r, s) = (lease.run, lease.stage)
        guard !runs[r].stages[s].costsMoney, !runs[r].state.isTerminal else { return }
        leases[fence]?.isOrphaned = true
        for b in lease.blocks where runs[r].stages[s].cells[b].state == .leased && runs[r].stages[s].cells[b].live == 1 {
            // A suspected block runs alone and nowhere else meanwhile.
            if !runs[r].stages[s].cells[b].isIsolated { offer(r, s, b, at: now) }
        }
    }

    /// The worker is back: what nobody else took is its own again.
    mutating func reclaim(_ fence: Fence) {
        guard let lease = leases[fence] else { return }
        leases[fence]?.isOrphaned = false
        for b in lease.blocks where runs[lease.run].stages[lease.stage].cells[b].state == .leased { withdraw(lease.run, lease.stage, b) }
    }
}

extension Scheduler {
    /// The run and stage that a fence without a lease once belonged to.
    func stage(ofDead fence: Fence) -> (Int, Int)? {
        if fence.epoch == epoch {
            let i = Int(fence.counter) - 1
            guard grantLog.indices.contains(i) else { return nil }
            return (Int(grantLog[i].run), Int(grantLog[i].stage))
        }
        var (low, high) = (0, oldGrants.count)
        while low < high {
            let middle = (low + high) / 2
            if oldGrants[middle].fence < fence.rawValue { low = middle + 1 } else { high = middle }
        }
        guard low < oldGrants.count, oldGrants[low].fence == fence.rawValue else { return nil }
        return (Int(oldGrants[low].granted.run), Int(oldGrants[low].granted.stage))
    }

    /// Moving averages of seconds per block, with a quarter of weight on the newest.
    mutating func learnSpeed(_ fence: Fence, _ r: Int, _ s: Int, _ w: Int, blocks: Int, at now: Instant) {
        guard let since = leases[fence]?.lastProgress else { return }
        leases[fence]?.lastProgress = now
        leases[fence]?.finished += blocks
        let elapsed = max(0, (now - since).seconds)
        let seconds = elapsed / Double(blocks)
        func blend(_ old: Double?) -> Double { old.map { 0.75 * $0 + 0.25 * seconds } ?? seconds }
        runs[r].stages[s].seconds += elapsed
        runs[r].stages[s].secondsPerBlock = blend(runs[r].stages[s].secondsPerBlock)
        runs[r].stages[s].secondsPerBlockOn[w] = blend(runs[r].stages[s].secondsPerBlockOn[w])
        kindSeconds[runs[r].stages[s].kind] = blend(kindSeconds[runs[r].stages[s].kind])
    }
}
