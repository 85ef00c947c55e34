import Primitives

/// What is tried again, and what a death proves (DESIGN section 6).
extension Scheduler {
    mutating func fail(_ id: WorkerID, _ fence: Fence, _ report: FailureReport, _ token: RequestToken, at now: Instant) {
        guard let w = known(id, token, at: now) else { return }
        defer { reply(token, .noted, to: w) }
        guard let lease = liveLease(fence, of: w) else { return }
        let (r, s) = (lease.run, lease.stage)
        workers[w].failures += 1
        workers[w].lastError = report.error
        tell(
            "failed", run: r, stage: s, blocks: report.block.map { $0..<$0 + 1 } ?? lease.blocks, fence: fence, worker: w,
            "\(report.failureClass.rawValue): \(report.error)")
        // Only the block at work is accused; the rest of the lease goes on elsewhere. Without a name all of it is.
        let accused = report.block.map { lease.blocks.contains($0) ? $0..<$0 + 1 : lease.blocks } ?? lease.blocks
        let open = accused.filter { runs[r].stages[s].cells[$0].state == .leased }
        let wasAlone = lease.open == 1
        endLease(fence, .failed, at: now)
        for b in lease.blocks where runs[r].stages[s].cells[b].state == .ready && !open.contains(b) { offer(r, s, b, at: now) }
        if lease.isProbe {
            if report.failureClass == .crash {
                probeDied(r, s, lease.blocks.lowerBound, report.error, at: now)
            } else if let b = open.first {
                retryLater(r, s, b, report, at: now)
            }
        } else {
            // Leases that were out together fail together: only the first of them halves the batch.
            let isBatchSpent = lease.batchShift >= Self.maximumBatchShift
            if report.failureClass == .resource, lease.batchShift == runs[r].stages[s].batchShift, !isBatchSpent { halveBatch(r, s) }
            for b in open {
                blame(r, s, b, report, on: w, wasAlone: wasAlone, isNamed: open.count == 1, isBatchSpent: isBatchSpent, at: now)
            }
        }
        // What fails everywhere, or is known to kill, says nothing about the box.
        let isFirst = open.allSatisfy { runs[r].stages[s].cells[$0].attempts <= 1 && runs[r].stages[s].cells[$0].deaths <= 1 }
        if isFirst, !lease.isProbe { judgeWorker(w, r, s, report) }
        touch(r)
    }

    private mutating func blame(
        _ r: Int, _ s: Int, _ b: Int, _ report: FailureReport, on w: Int, wasAlone: Bool, isNamed: Bool, isBatchSpent: Bool,
        at now: Instant
    ) {
        // Another live lease may still bring the block home.
        guard runs[r].stages[s].cells[b].state == .ready else { return }
        switch report.failureClass {
        case .permanent where isNamed:
            failBlock(r, s, b, report.error, at: now)
        case .permanent:
            runs[r].stages[s].cells[b].isIsolated = true
            retryLater(r, s, b, report, at: now)
        case .transient:
            retryLater(r, s, b, report, at: now)
        case .resource:
            // Nothing is gained by halving beyond one sample.
            if isBatchSpent { return failBlock(r, s, b, report.error, at: now) }
            retryLater(r, s, b, report, at: now)
        case .crash:
            let deaths = min(runs[r].stages[s].cells[b].deaths, 254) + 1
            runs[r].stages[s].cells[b].deaths = deaths
            var avoided = runs[r].stages[s].avoided[b] ?? []
            if !avoided.contains(w) { avoided.append(w) }
            runs[r].stages[s].avoided[b] = avoided
            let wasIsolated = runs[r].stages[s].cells[b].isIsolated && wasAlone
            // Two deaths, or one that might be any block's of the lease: from now on it runs alone.
            if deaths >= 2 || !isNamed { runs[r].stages[s].cells[b].isIsolated = true }
            if deaths >= 3, wasIsolated { return convict(r, s, b, report.error, at: now) }
            countRetry(r, s)
            backOff(r, s, b, failures: 1, at: now)
        }
    }

    static let maximumBatchShift = 10

    private mutating func halveBatch(_ r: Int, _ s: Int) {
        runs[r].stages[s].batchShift += 1
        tell("batch-halved", run: r, stage: s, "2^-\(runs[r].stages[s].batchShift)")
    }

    private mutating func retryLater(_ r: Int, _ s: Int, _ b: Int, _ report: FailureReport, at now: Instant) {
        // The smaller batch is the remedy: there is nothing to wait for, and the batch cannot be halved for ever.
        if report.failureClass == .resource {
            countRetry(r, s)
            return offer(r, s, b, at: now)
        }
        let attempts = min(runs[r].stages[s].cells[b].attempts, 254) + 1
        runs[r].stages[s].cells[b].attempts = attempts
        markDirty(r, s, b)
        guard Int(attempts) < settings.maximumAttempts else { return failBlock(r, s, b, report.error, at: now) }
        countRetry(r, s)
        backOff(r, s, b, failures: Int(attempts), at: now)
    }

    private mutating func countRetry(_ r: Int, _ s: Int) {
        runs[r].stages[s].retries += 1
        totals.retries += 1
    }

    /// A block that will not be done: the rest of the run goes on as far as it can.
    mutating func failBlock(_ r: Int, _ s: Int, _ b: Int, _ error: AMAFError, as state: TaskRow.State = .failed, at now: Instant) {
        withdraw(r, s, b)
        if runs[r].stages[s].cells[b].state == .leased {
            closeForLeases(r, s, b, at: now)
        }
        runs[r].stages[s].cells[b].isBackingOff = false
        if isActive(r, s, b) { runs[r].active -= 1 }
        runs[r].stages[s].move(b, to: state)
        runs[r].stages[s].errors[b] = error
        markDirty(r, s, b)
        tell(state == .failed ? "task-failed" : "task-quarantined", run: r, stage: s, blocks: b..<b + 1, "\(error)")
        if state == .failed { countTowardsBreaker(r, s, b, error) }
        touch(r)
    }

    // MARK: Poison

    /// The samples of a block; nil where blocks are no ranges of samples.
    func sampleRange(_ r: Int, _ s: Int, _ b: Int) -> Range<Int>? {
        let spec = runs[r].plan.stages[s]
        guard spec.blockSize > 0, spec.samples > b * spec.blockSize else { return nil }
        return b * spec.blockSize..<min(spec.samples, (b + 1) * spec.blockSize)
    }

    /// The block killed its process again although it ran alone: look for the sample that does it.
    private mutating func convict(_ r: Int, _ s: Int, _ b: Int, _ error: AMAFError, at now: Instant) {
        let masked = runs[r].stages[s].masks[b] ?? []
        guard let samples = sampleRange(r, s, b), masked.count < Self.maximumMaskedSamples else {
            totals.quarantinedBlocks += 1
            return failBlock(r, s, b, error, as: .quarantined, at: now)
        }
        tell("convicted", run: r, stage: s, blocks: b..<b + 1, "\(error)")
        runs[r].stages[s].errors[b] = error
        search(r, s, b, among: samples, steps: 0, at: now)
    }

    static let maximumMaskedSamples = 8
    static let maximumProbes = 64

    private mutating func search(_ r: Int, _ s: Int, _ b: Int, among suspects: Range<Int>, steps: Int, at now: Instant) {
        let half = suspects.count == 1 ? suspects : suspects.lowerBound..<suspects.lowerBound + (suspects.count + 1) / 2
        runs[r].stages[s].bisections[b] = Bisection(suspects: suspects, probe: half, steps: steps)
        runs[r].stages[s].cells[b].isIsolated = true
        offer(r, s, b, at: now)
    }

    private mutating func probeDied(_ r: Int, _ s: Int, _ b: Int, _ error: AMAFError, at now: Instant) {
        guard runs[r].stages[s].cells[b].state == .ready, let bisection = runs[r].stages[s].bisections[b] else { return }
        if bisection.probe.count > 1 { return search(r, s, b, among: bisection.probe, steps: bisection.steps + 1, at: now) }
        // One sample alone killed its process: convicted. The block runs once more without it.
        let sample = bisection.probe.lowerBound
        runs[r].stages[s].bisections[b] = nil
        runs[r].stages[s].masks[b] = ((runs[r].stages[s].masks[b] ?? []) + [sample]).sorted()
        // A second poison sample of the block needs no more than one further death to be looked for.
        runs[r].stages[s].cells[b].deaths = 2
        totals.quarantinedSamples += 1
        markDirty(r, s, b)
        tell("sample-quarantined", run: r, stage: s, blocks: b..<b + 1, "sample \(sample): \(error)")
        offer(r, s, b, at: now)
    }

    mutating func probeSurvived(_ r: Int, _ s: Int, _ b: Int, at now: Instant) {
        guard runs[r].stages[s].cells[b].state == .ready, let bisection = runs[r].stages[s].bisections[b] else { return }
        let rest = bisection.probe.upperBound..<bisection.suspects.upperBound
        if !rest.isEmpty, bisection.steps < Self.maximumProbes {
            return search(r, s, b, among: rest, steps: bisection.steps + 1, at: now)
        }
        // The last suspect lived: the deaths had another cause. The block is tried whole again, and each such round counts.
        runs[r].stages[s].bisections[b] = nil
        runs[r].stages[s].cells[b].attempts = min(runs[r].stages[s].cells[b].attempts, 254) + 1
        tell("acquitted", run: r, stage: s, blocks: b..<b + 1)
        if Int(runs[r].stages[s].cells[b].attempts) >= settings.maximumAttempts {
            totals.quarantinedBlocks += 1
            let error = runs[r].stages[s].errors[b] ?? AMAFError("scheduler.unstable-block", "Block \(b) kills its process now and then")
            return failBlock(r, s, b, error, as: .quarantined, at: now)
        }
        runs[r].stages[s].cells[b].deaths = 1
        offer(r, s, b, at: now)
    }

    // MARK: Bad workers

    /// A worker that fails while others succeed takes no new work: its box is the likelier cause.
    private mutating func judgeWorker(_ w: Int, _ r: Int, _ s: Int, _ report: FailureReport) {
        guard report.failureClass == .crash || report.failureClass == .transient else { return }
        workers[w].trouble += 1
        guard workers[w].trouble >= Self.troubleLimit, !workers[w].isDraining else { return }
        let others = workers.indices.filter { $0 != w && workers[$0].isPlaceable && couldRun(r, s, $0) }
        guard others.contains(where: { workers[$0].trouble * 4 < Self.troubleLimit && workers[$0].committedBlocks > 0 }) else { return }
        totals.workersDrainedForFailures += 1
        tell("worker-drained", worker: w, "\(workers[w].trouble) failures more than successes: \(report.error)")
        setDraining(workers[w].id, true, reason: "it fails what others do: \(report.error)")
    }

    static let troubleLimit = 8
}
