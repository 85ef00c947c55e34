package import Primitives

/// Why things are as they are, in sentences, from the very rules that placement follows.
extension Scheduler {
    package var liveLeases: Int { leases.count }

    /// Why a block is not running, or where it is; one sentence a line. Empty when there is no such task.
    ///
    /// - Parameter block: nil for the first one of the stage that is not done.
    package mutating func explain(_ run: RunID, _ stage: StageID, block: Int?, at now: Instant) -> [String] {
        guard let r = runIndex[run], let s = runs[r].stageIndex[stage] else { return [] }
        let b = block ?? runs[r].stages[s].cells.firstIndex { $0.state != .done } ?? 0
        guard b >= 0, b < runs[r].stages[s].blocks else { return [] }
        let cell = runs[r].stages[s].cells[b]
        let table = runs[r].stages[s]
        var lines = ["Stage \(stage) of run \(run) (\(runs[r].state.rawValue)): \(table.count(.done)) of \(table.blocks) blocks are done."]
        if table.count(.leased) > 0 { lines.append("\(table.count(.leased)) blocks are being worked on.") }
        let failed = table.count(.failed) + table.count(.quarantined)
        if failed > 0 { lines.append("\(failed) blocks failed for good; `amaf retry \(run)` tries them again.") }
        if let stop = table.stop { lines.append("\(stop)") }
        if runs[r].isPaused { lines.append("The run is paused: `amaf resume \(run)`.") }
        lines.append(contentsOf: explainBlock(r, s, b, cell, at: now))
        return lines
    }

    private mutating func explainBlock(_ r: Int, _ s: Int, _ b: Int, _ cell: TaskCell, at now: Instant) -> [String] {
        var lines: [String] = []
        let name = "Block \(b)"
        switch cell.state {
        case .done:
            lines.append(
                cell.fence == 0 && !runs[r].stages[s].byPeople ? "\(name) is done; its result was in the cache." : "\(name) is done.")
        case .failed, .quarantined, .cancelled:
            let error = runs[r].stages[s].errors[b].map { ": \($0)" } ?? "."
            lines.append("\(name) is \(cell.state)\(error)")
        case .leased:
            for raw in runs[r].stages[s].leases {
                guard let lease = leases[Fence(rawValue: raw)], lease.blocks.contains(b) else { continue }
                let worker = workers[lease.worker]
                let adoption = lease.awaitsAdoption ? ", which has not come back since the head started" : ""
                lines.append(
                    "Worker \(worker.id) (\(worker.life)) holds block \(b) under fence \(lease.fence)\(adoption); the lease lives "
                        + "\(max(0, Int((lease.deadline - now).seconds))) s without a beat.")
            }
        case .waiting:
            for input in runs[r].plan.stages[s].inputs {
                guard case .stage(let id, _) = input.source, let source = runs[r].stageIndex[id] else { continue }
                let table = runs[r].stages[source]
                switch input.reach {
                case .sameBlock where table.cells[b].state != .done:
                    lines.append(
                        "It waits for block \(b) of \(id), which is \(table.cells[b].state) (\(table.count(.done)) of \(table.blocks) are done)."
                    )
                case .allBlocks where !table.isComplete:
                    lines.append("It waits for all \(table.blocks) blocks of \(id), of which \(table.count(.done)) are done.")
                case .sameBlock, .allBlocks: break
                }
            }
        case .ready:
            lines += explainReady(r, s, b, at: now)
        }
        return lines
    }

    private mutating func explainReady(_ r: Int, _ s: Int, _ b: Int, at now: Instant) -> [String] {
        if runs[r].stages[s].byPeople { return ["It waits for people: `amaf review`."] }
        if runs[r].stages[s].stop != nil { return ["Block \(b) is ready, but nothing of a stopped stage is given out."] }
        let cell = runs[r].stages[s].cells[b]
        if cell.isBackingOff {
            let until = timers.deadline(of: .backoff(run: r, stage: s, block: b)) ?? now
            return [
                "Block \(b) backs off for another \(tenths(until - now)) s, after \(cell.attempts) failures, \(cell.deaths) deaths and "
                    + "\(cell.losses) lost workers."
            ]
        }
        var lines: [String] = []
        if runs[r].stages[s].bisections[b] != nil { lines.append("It killed its process; the sample that does it is being looked for.") }
        if !workers.contains(where: { $0.isPlaceable }) { lines.append("No worker takes work.") }
        let ids = workers.indices.sorted { workers[$0].id < workers[$1].id }
        for w in ids {
            let name = "Worker \(workers[w].id)"
            guard workers[w].isPlaceable else {
                let why =
                    workers[w].isDraining ? "is draining\(workers[w].drainReason.map { " because \($0)" } ?? "")" : "is \(workers[w].life)"
                lines.append("\(name) \(why).")
                continue
            }
            switch mayPlace(r, s, on: w, at: now) {
            case .missingTag(let tag)?:
                lines.append("\(name) has no tag '\(names[tag])', which the stage requires.")
            case .otherNumericsClass(let numerics)?:
                lines.append(
                    "\(name) computes in numerics class \(workers[w].hello?.numericsClass.rawValue ?? "?"), the stage in \(names[numerics])."
                )
            case .prefersTag(let tag, let until)?:
                lines.append("\(name) is kept back \(1 + Int((until - now).seconds)) s for one with the tag '\(names[tag])'.")
            case .inputsElsewhere(let holder, _)?:
                lines.append("\(name) is kept back a moment for \(workers[holder].id), which has the inputs.")
            case .uncommittedBytes(let underWay)?:
                lines.append(
                    "\(name) is kept back: about \(underWay >> 20) MiB of the stage's results are not committed yet, and "
                        + "\(settings.maximumUncommittedBytes >> 20) MiB may be.")
            case nil:
                lines.append(workers[w].idleSlots == 0 ? "\(name) may run it and is busy." : "\(name) may run it and has not asked.")
            }
        }
        return lines
    }

    private func tenths(_ duration: Duration) -> String {
        let tenths = max(0, duration.nanoseconds) / 100_000_000
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// One line for each live run that does not move: what it waits for.
    package func whyNotRunning() -> [String] {
        liveRuns.map { r in
            let stages = runs[r].stages.indices.filter { !runs[r].stages[$0].isComplete }.map { s in
                let stage = runs[r].stages[s]
                let numerics = stage.numericsClass.map { " on \(names[$0])" } ?? ""
                let counts = "ready \(stage.count(.ready)) offered \(stage.ready.count) leased \(stage.count(.leased))"
                return "\(runs[r].plan.stages[s].id) \(stage.count(.done))/\(stage.blocks) \(counts)\(numerics)"
            }
            return "\(runs[r].plan.id) \(runs[r].state): \(stages.joined(separator: "; "))"
        }
    }
}
