import Primitives

/// What must be durable before effects are carried out: rows that changed, each once.
extension Scheduler {
    mutating func markDirty(_ r: Int, _ s: Int, _ b: Int) {
        guard runs[r].stages[s].dirty.insert(b), !runs[r].stages[s].isListedDirty else { return }
        runs[r].stages[s].isListedDirty = true
        dirtyStages.append(StageAddress(run: r, stage: s))
    }

    mutating func markRunDirty(_ r: Int) {
        guard !runs[r].isListedDirty else { return }
        runs[r].isListedDirty = true
        dirtyRuns.append(r)
    }

    /// What must be stored before the effects returned since the last call are carried out.
    package mutating func takeChanges() -> StateChanges {
        for r in dirtyRuns {
            runs[r].isListedDirty = false
            let classes = runs[r].stages.map { $0.numericsClass.map { NumericsClass(names[$0]) } }
            if runs[r].isNew {
                runs[r].isNew = false
                changes.newRuns.append(.init(plan: runs[r].plan, state: runs[r].state, numericsClasses: classes))
            } else {
                changes.runStates.append((runs[r].plan.id, runs[r].state, classes))
            }
        }
        dirtyRuns = []
        for address in dirtyStages {
            let (r, s) = (address.run, address.stage)
            runs[r].stages[s].isListedDirty = false
            var from = 0
            while let b = runs[r].stages[s].dirty.first(from: from) {
                from = b + 1
                runs[r].stages[s].dirty.remove(b)
                changes.tasks.append(row(r, s, b))
            }
        }
        dirtyStages = []
        defer { changes = StateChanges() }
        return changes
    }

    func row(_ r: Int, _ s: Int, _ b: Int) -> TaskRow {
        var cell = runs[r].stages[s].cells[b]
        // A probe is not for a new head to take over: it would take a part for the whole.
        if cell.state == .leased, runs[r].stages[s].bisections[b] != nil { cell.state = .ready }
        let holder = cell.state == .leased || cell.state == .done ? cell.worker : -1
        return TaskRow(
            run: runs[r].plan.id, stage: s, block: b, state: cell.state, fence: Fence(rawValue: cell.fence),
            worker: holder >= 0 ? workers[Int(holder)].id : nil, attempts: Int(cell.attempts),
            result: cell.state == .done ? archive.result(cell.result, block: b) : nil,
            error: cell.state == .failed || cell.state == .quarantined ? runs[r].stages[s].errors[b] : nil,
            maskedSamples: runs[r].stages[s].masks[b] ?? [])
    }
}
