import Primitives

/// Whose result counts: the arbitration table of DESIGN section 6.
///
/// | state                     | same digest         | other digest                        |
/// |---------------------------|---------------------|-------------------------------------|
/// | committed                 | duplicate, any fence | fence live: conflict; dead: fenced |
/// | uncommitted, fence live   | accepted            | accepted                            |
/// | uncommitted, fence dead   | fenced              | fenced                              |
extension Scheduler {
    mutating func commit(_ id: WorkerID, _ commits: [LeaseCommit], _ token: RequestToken, at now: Instant) {
        guard let w = known(id, token, at: now) else { return }
        var verdicts: [[CommitVerdict]] = []
        verdicts.reserveCapacity(commits.count)
        for commit in commits { verdicts.append(arbitrate(commit, of: w, at: now)) }
        reply(token, .committed(verdicts), to: w)
    }

    private mutating func arbitrate(_ commit: LeaseCommit, of w: Int, at now: Instant) -> [CommitVerdict] {
        guard let lease = liveLease(commit.fence, of: w) else {
            if defects.contains(.fenceIgnored), let verdicts = acceptIgnoringFence(commit, of: w, at: now) { return verdicts }
            let verdicts = commit.results.map { arbitrateDead(commit.fence, $0) }
            if let (r, s) = stage(ofDead: commit.fence), let first = commit.results.first, verdicts.contains(.fenced) {
                tell("fenced", run: r, stage: s, blocks: first.block..<first.block + 1, fence: commit.fence, worker: w)
            }
            return verdicts
        }
        let (r, s) = (lease.run, lease.stage)
        var verdicts: [CommitVerdict] = []
        verdicts.reserveCapacity(commit.results.count)
        renew(commit.fence, at: now)
        if lease.isProbe {
            // A probe ran some samples only: that it lived is the answer, its result is not.
            endLease(commit.fence, .failed, at: now)
            probeSurvived(r, s, lease.blocks.lowerBound, at: now)
            return commit.results.map { _ in .fenced }
        }
        var accepted: ClosedRange<Int>?
        var acceptedCount = 0
        committing = commit.fence
        defer { committing = nil }
        for result in commit.results {
            let verdict = arbitrateLive(commit.fence, lease, result, at: now)
            verdicts.append(verdict)
            if verdict == .accepted {
                acceptedCount += 1
                accepted =
                    accepted.map { min($0.lowerBound, result.block)...max($0.upperBound, result.block) } ?? result.block...result.block
            }
        }
        if let accepted {
            learnSpeed(commit.fence, r, s, w, blocks: acceptedCount, at: now)
            tell("committed", run: r, stage: s, blocks: accepted.lowerBound..<accepted.upperBound + 1, fence: commit.fence, worker: w)
            workers[w].committedBlocks += acceptedCount
            workers[w].trouble = max(0, workers[w].trouble - 1)
        }
        if let open = leases[commit.fence]?.open {
            // `isLast` with blocks left over: the worker is done with the lease, so the rest goes to whoever asks.
            if open == 0 {
                // Its worker does not know that the rest went to another, and may be at it.
                if lease.wasSplit, !commit.isLast { workers[w].drops.append(commit.fence) }
                endLease(commit.fence, .finished, at: now)
            } else if commit.isLast {
                endLease(commit.fence, .released, at: now)
            }
        }
        return verdicts
    }

    private mutating func arbitrateLive(_ fence: Fence, _ lease: Lease, _ result: BlockResult, at now: Instant) -> CommitVerdict {
        let (r, s, b) = (lease.run, lease.stage, result.block)
        guard lease.blocks.contains(b) else { return arbitrateOutside(fence, r, s, result) }
        let cell = runs[r].stages[s].cells[b]
        switch cell.state {
        case .done:
            if archive.isSame(cell.result, as: result) { return count(.duplicate) }
            if defects.contains(.lastResultWins) {
                let handle = archive.append(result)
                runs[r].stages[s].cells[b].result = handle
                markDirty(r, s, b)
                return count(.accepted)
            }
            runs[r].stages[s].conflicts += 1
            tell(
                "conflict", run: r, stage: s, blocks: b..<b + 1, fence: fence, worker: lease.worker,
                "kept \(archive.result(cell.result, block: b).digest.hex), refused \(result.digest.hex)")
            return count(.conflict)
        case .leased:
            guard runs[r].stages[s].wantedOutputs.allSatisfy({ name in result.outputs.contains { $0.name == name } }) else {
                let wanted = runs[r].stages[s].wantedOutputs.joined(separator: ", ")
                failBlock(
                    r, s, b,
                    AMAFError(
                        "scheduler.output-missing",
                        "Stage \(runs[r].plan.stages[s].id) made no output of each of the names \(wanted) for block \(b)",
                        remedy:
                            "The executor of \(runs[r].plan.stages[s].kind) and the plan disagree; use workers of the coordinator's version."
                    ), at: now)
                return count(.fenced)
            }
            accept(result, r, s, by: fence, lease.worker, at: now)
            return count(.accepted)
        case .waiting, .ready, .failed, .quarantined, .cancelled:
            // The block was taken out of the lease while the lease lived on.
            return count(.fenced)
        }
    }

    /// Stores the first result of a block and closes it for every lease that covers it.
    private mutating func accept(_ result: BlockResult, _ r: Int, _ s: Int, by fence: Fence, _ w: Int, at now: Instant) {
        let b = result.block
        withdraw(r, s, b)
        if isActive(r, s, b) { runs[r].active -= 1 }
        closeForLeases(r, s, b, at: now)
        runs[r].stages[s].cells[b].fence = fence.rawValue
        runs[r].stages[s].cells[b].worker = Int32(w)
        runs[r].stages[s].failedInRow = 0
        if !runs[r].stages[s].failedOn.isEmpty { runs[r].stages[s].failedOn = [] }
        learnSize(r, s, result)
        loosen(r, s)
        totals.accepted += 1
        let handle = archive.append(result)
        let numerics = runs[r].plan.allowsMixedNumerics ? workers[w].numericsClass : runs[r].stages[s].numericsClass
        remember(r, s, b, numerics: numerics, handle, result)
        complete(r, s, b, handle)
    }

    mutating func remember(_ r: Int, _ s: Int, _ b: Int, numerics: Int?, _ handle: Int32, _ result: BlockResult) {
        let identity = identity(r, s, b, numerics: numerics)
        if cache.insert(identity, handle: handle) { changes.cached.append(.init(identity: identity, result: result)) }
    }

    /// A block is decided: no lease is open on it any more, and a lease without open blocks ends.
    mutating func closeForLeases(_ r: Int, _ s: Int, _ b: Int, at now: Instant) {
        var left = runs[r].stages[s].cells[b].live
        runs[r].stages[s].cells[b].live = 0
        // The usual single lease is found by its fence; only a second fence needs the search.
        if left == 1, coversOpen(Fence(rawValue: runs[r].stages[s].cells[b].fence), r, s, b) {
            leases[Fence(rawValue: runs[r].stages[s].cells[b].fence)]?.open -= 1
            return
        }
        var empty: [Fence] = []
        for raw in runs[r].stages[s].leases where left > 0 {
            let fence = Fence(rawValue: raw)
            guard coversOpen(fence, r, s, b) else { continue }
            left -= 1
            leases[fence]?.open -= 1
            if leases[fence]?.open == 0 { empty.append(fence) }
        }
        // The committing lease ends with its own commit; others have nothing left to do and their workers are told.
        for fence in empty where !isCommitting(fence) {
            if let w = leases[fence]?.worker { workers[w].drops.append(fence) }
            endLease(fence, .finished, at: now)
        }
    }

    private func coversOpen(_ fence: Fence, _ r: Int, _ s: Int, _ b: Int) -> Bool {
        guard let lease = leases[fence] else { return false }
        return lease.run == r && lease.stage == s && lease.blocks.contains(b)
    }

    /// The planted mistake `fenceIgnored`: what a dead fence brings is taken as long as nothing else came.
    private mutating func acceptIgnoringFence(_ commit: LeaseCommit, of w: Int, at now: Instant) -> [CommitVerdict]? {
        guard let (r, s) = stage(ofDead: commit.fence) else { return nil }
        return commit.results.map { result in
            guard [.leased, .ready].contains(runs[r].stages[s].cells[result.block].state) else {
                return arbitrateDead(commit.fence, result)
            }
            runs[r].stages[s].cells[result.block].isBackingOff = false
            accept(result, r, s, by: commit.fence, w, at: now)
            return .accepted
        }
    }

    private func isCommitting(_ fence: Fence) -> Bool { committing == fence }

    private mutating func arbitrateDead(_ fence: Fence, _ result: BlockResult) -> CommitVerdict {
        // A dead fence names neither run nor stage, so the block is looked for where that fence was last seen.
        guard let (r, s) = stage(ofDead: fence) else { return count(.fenced) }
        return arbitrateOutside(fence, r, s, result)
    }

    private mutating func arbitrateOutside(_ fence: Fence, _ r: Int, _ s: Int, _ result: BlockResult) -> CommitVerdict {
        guard result.block >= 0, result.block < runs[r].stages[s].blocks else { return count(.fenced) }
        let cell = runs[r].stages[s].cells[result.block]
        if cell.state == .done, archive.isSame(cell.result, as: result) { return count(.duplicate) }
        return count(.fenced)
    }

    private mutating func count(_ verdict: CommitVerdict) -> CommitVerdict {
        switch verdict {
        case .accepted: break
        case .duplicate: totals.duplicates += 1
        case .conflict: totals.conflicts += 1
        case .fenced: totals.fenced += 1
        }
        return verdict
    }
}
