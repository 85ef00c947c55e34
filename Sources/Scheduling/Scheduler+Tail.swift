import Primitives

/// The tail of a stage: idle workers take unstarted blocks off running leases, and only then run a block a second time.
extension Scheduler {
    static let tailInterval = Duration.milliseconds(250)
    /// A part is split off when it is worth more than the round trips it costs.
    static let worthSplitting = 0.05
    /// A block is run a second time when it takes so many times what it should.
    static let slownessFactor = 2.0
    static let slownessFloor = 1.0
    static let tailLeasesLookedAt = 64

    mutating func armTailTimer(at now: Instant) {
        guard !isTailTimerArmed, !parked.isEmpty, !leases.isEmpty, settings.splitsTail || settings.speculates else { return }
        isTailTimerArmed = true
        timers.add(.tail, at: now + Self.tailInterval)
    }

    /// A part of somebody else's lease for a worker that found nothing ready.
    mutating func tailGrant(to w: Int, at now: Instant) -> LeaseGrant? {
        guard settings.splitsTail || settings.speculates else { return nil }
        for r in liveRuns where !runs[r].isPaused && !runs[r].leasedStages.isEmpty {
            var position = 0
            while let found = runs[r].leasedStages.first(from: position) {
                position = found + 1
                let s = runs[r].order[found]
                // What is ready was offered before; this worker may not have it, or not yet.
                guard runs[r].stages[s].ready.isEmpty, runs[r].stages[s].stop == nil, !runs[r].stages[s].costsMoney,
                    mayPlace(r, s, on: w, at: now) == nil
                else {
                    continue
                }
                if settings.splitsTail, let grant = split(r, s, for: w, at: now) { return grant }
                if settings.speculates, let grant = speculate(r, s, for: w, at: now) { return grant }
            }
        }
        return nil
    }

    /// Blocks of a lease that its worker has not begun, by its speed so far; it works in block order.
    private func unstarted(_ lease: Lease, at now: Instant) -> (count: Int, seconds: Double) {
        guard let seconds = secondsPerBlock(lease.run, lease.stage, on: lease.worker), seconds > 0 else { return (0, 0) }
        let begun = 1 + max(0, (now - lease.lastProgress).seconds) / seconds
        guard begun < Double(lease.open) else { return (0, seconds) }
        return (lease.open - Int(begun), seconds)
    }

    private mutating func split(_ r: Int, _ s: Int, for w: Int, at now: Instant) -> LeaseGrant? {
        var best: (fence: Fence, count: Int)?
        for raw in runs[r].stages[s].leases.prefix(Self.tailLeasesLookedAt) {
            guard let lease = leases[Fence(rawValue: raw)], lease.worker != w, !lease.isOrphaned, !lease.isProbe, !lease.isSpeculative,
                !lease.awaitsAdoption
            else { continue }
            let (count, seconds) = unstarted(lease, at: now)
            guard count > 0, Double(count) * seconds >= Self.worthSplitting, count > best?.count ?? 0 else { continue }
            best = (lease.fence, count)
        }
        guard let best, let lease = leases[best.fence] else { return nil }
        let cut = lease.blocks.upperBound - (best.count + 1) / 2
        let part = cut..<lease.blocks.upperBound
        guard
            part.allSatisfy({
                runs[r].stages[s].cells[$0].state == .leased && runs[r].stages[s].cells[$0].live == 1
                    && runs[r].stages[s].cells[$0].fence == lease.fence.rawValue && !runs[r].stages[s].cells[$0].isIsolated
            })
        else { return nil }
        leases[best.fence]?.blocks = lease.blocks.lowerBound..<cut
        leases[best.fence]?.open -= part.count
        leases[best.fence]?.wasSplit = true
        for b in part {
            runs[r].stages[s].cells[b].live = 0
            runs[r].stages[s].move(b, to: .ready)
            // Not begun, as far as is known, so not done again.
            totals.blocksRedone -= 1
        }
        totals.splits += 1
        tell("split", run: r, stage: s, blocks: part, fence: lease.fence, worker: lease.worker, "to \(workers[w].id)")
        return grant(r, s, part, to: w, at: now)
    }

    private mutating func speculate(_ r: Int, _ s: Int, for w: Int, at now: Instant) -> LeaseGrant? {
        for raw in runs[r].stages[s].leases.prefix(Self.tailLeasesLookedAt) {
            guard let lease = leases[Fence(rawValue: raw)], lease.worker != w, !lease.isProbe, !lease.isSpeculative, !lease.awaitsAdoption,
                let seconds = runs[r].stages[s].secondsPerBlock ?? kindSeconds[runs[r].stages[s].kind]
            else { continue }
            let waited = (now - lease.lastProgress).seconds
            guard waited > max(Self.slownessFloor, Self.slownessFactor * seconds),
                let b = lease.blocks.first(where: {
                    runs[r].stages[s].cells[$0].state == .leased && runs[r].stages[s].cells[$0].live == 1
                        && runs[r].stages[s].cells[$0].worker != Int32(w) && !runs[r].stages[s].cells[$0].isIsolated
                })
            else { continue }
            totals.speculations += 1
            return grant(r, s, b..<b + 1, to: w, at: now, isSpeculative: true)
        }
        return nil
    }
}
