import Primitives

/// What holds a stage back although workers are free: its circuit breaker and its backpressure.
extension Scheduler {
    // MARK: Circuit breaker

    /// A block of the stage failed for good. After so many in a row without one success the cause is the stage (a wrong parameter, a
    /// missing model, an endpoint that refuses), and going on would only burn what is left.
    ///
    /// One box alone is no evidence against the stage while others could run it.
    mutating func countTowardsBreaker(_ r: Int, _ s: Int, _ b: Int, _ error: AMAFError) {
        guard runs[r].stages[s].stop == nil else { return }
        runs[r].stages[s].failedInRow += 1
        let w = Int(runs[r].stages[s].cells[b].worker)
        if w >= 0, !runs[r].stages[s].failedOn.contains(w) { runs[r].stages[s].failedOn.append(w) }
        guard runs[r].stages[s].failedInRow >= settings.circuitBreakerFailures else { return }
        let failedOn = runs[r].stages[s].failedOn
        let hasUntried = workers.indices.contains { !failedOn.contains($0) && workers[$0].isPlaceable && couldRun(r, s, $0) }
        guard failedOn.count >= 2 || !hasUntried else { return }
        guard runs[r].stages[s].count(.ready) + runs[r].stages[s].count(.waiting) > 0 else { return }
        stop(r, s, after: error)
    }

    /// Takes a stage out of placement. Its ready blocks stay ready, but count no more as something that can happen to the run.
    mutating func stop(_ r: Int, _ s: Int, after error: AMAFError) {
        let (failures, boxes) = (runs[r].stages[s].failedInRow, max(1, runs[r].stages[s].failedOn.count))
        runs[r].stages[s].stop = AMAFError(
            "scheduler.stage-stopped",
            "Stage \(runs[r].plan.stages[s].id) was stopped: \(failures) tasks in a row failed for good on \(boxes) "
                + "\(boxes == 1 ? "worker" : "workers"), the last with: \(error.message)",
            place: error.place, remedy: "\(error.remedy.isEmpty ? "Remove the cause" : error.remedy) Then `amaf retry \(runs[r].plan.id)`.")
        for b in 0..<runs[r].stages[s].blocks where runs[r].stages[s].cells[b].state == .ready {
            runs[r].stages[s].cells[b].isBackingOff = false
            runs[r].active -= 1
        }
        runs[r].stages[s].ready.removeAll()
        runs[r].readyStages.remove(runs[r].position[s])
        totals.stagesStopped += 1
        tell("stage-stopped", run: r, stage: s, error.description)
        touch(r)
    }

    /// An operator removed the cause. Returns whether anything was stopped.
    mutating func reopen(_ r: Int, _ s: Int) -> Bool {
        runs[r].stages[s].failedInRow = 0
        runs[r].stages[s].failedOn = []
        guard runs[r].stages[s].stop != nil else { return false }
        runs[r].stages[s].stop = nil
        for b in 0..<runs[r].stages[s].blocks where runs[r].stages[s].cells[b].state == .ready {
            runs[r].active += 1
            arriving.append(BlockAddress(run: r, stage: s, block: b))
        }
        tell("stage-reopened", run: r, stage: s)
        return true
    }

    /// What the rows still show of a breaker: a stage of which nothing but failures is known stays stopped under the next head.
    mutating func restoreBreaker(_ r: Int, _ s: Int) {
        guard runs[r].stages[s].count(.done) == 0, runs[r].stages[s].count(.failed) >= settings.circuitBreakerFailures,
            let last = runs[r].stages[s].errors.keys.max(), let error = runs[r].stages[s].errors[last]
        else { return }
        runs[r].stages[s].failedInRow = runs[r].stages[s].count(.failed)
        stop(r, s, after: error)
    }

    /// Whether the block counts as something that can still happen to its run.
    func isActive(_ r: Int, _ s: Int, _ b: Int) -> Bool {
        switch runs[r].stages[s].cells[b].state {
        case .leased: true
        case .ready: runs[r].stages[s].stop == nil
        case .waiting, .done, .failed, .quarantined, .cancelled: false
        }
    }

    // MARK: Backpressure

    /// Blocks that may still be leased before the results under way exceed `maximumUncommittedBytes`; nil while sizes are not known.
    ///
    /// Under way is what is leased and not committed, at the mean size of what the stage committed lately: bytes that wait on workers,
    /// must pass the head's doors, and are made again if they are lost. A stage always gets one block.
    func roomForBlocks(_ r: Int, _ s: Int) -> Int? {
        guard let bytes = runs[r].stages[s].bytesPerBlock, bytes > 0 else { return nil }
        let leased = runs[r].stages[s].count(.leased)
        let allowed = Double(settings.maximumUncommittedBytes) / bytes
        return max(leased == 0 ? 1 : 0, (allowed < 1e9 ? Int(allowed) : 1_000_000_000) - leased)
    }

    mutating func learnSize(_ r: Int, _ s: Int, _ result: BlockResult) {
        let bytes = Double(result.outputs.reduce(0) { $0 + $1.byteCount })
        runs[r].stages[s].bytesPerBlock = runs[r].stages[s].bytesPerBlock.map { 0.75 * $0 + 0.25 * bytes } ?? bytes
    }

    /// Room was made: workers that wait may be served.
    mutating func loosen(_ r: Int, _ s: Int) {
        guard runs[r].stages[s].isThrottled else { return }
        runs[r].stages[s].isThrottled = false
        workAppeared = true
    }
}
