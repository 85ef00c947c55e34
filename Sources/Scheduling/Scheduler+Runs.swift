package import Primitives

/// Runs from submission to their end.
extension Scheduler {
    /// What is wrong with a plan; the shell asks before it submits, because a plan that fails this is refused by a trap.
    package static func validate(_ plan: RunPlan) throws(AMAFError) {
        func refuse(_ what: String, _ remedy: String) -> AMAFError {
            AMAFError("scheduler.invalid-plan", what, place: "run \(plan.id)", remedy: remedy)
        }
        guard plan.weight > 0, plan.weight.isFinite else {
            throw refuse("The weight \(plan.weight) is not a positive number", "Give a weight above 0.")
        }
        var blocks: [StageID: Int] = [:]
        for stage in plan.stages {
            guard stage.blocks >= 0 else { throw refuse("Stage \(stage.id) has \(stage.blocks) blocks", "Give 0 or more.") }
            for input in stage.inputs {
                guard case .stage(let source, _) = input.source else { continue }
                guard let count = blocks[source] else {
                    throw refuse(
                        "Stage \(stage.id) reads \(source), which does not come before it",
                        "Put the stages in an order in which every input comes before its reader; a cycle has no such order.")
                }
                guard input.reach == .allBlocks || count == stage.blocks else {
                    throw refuse(
                        "Stage \(stage.id) has \(stage.blocks) blocks and reads \(source), which has \(count), block by block",
                        "Read all blocks, or give both stages the same blocks.")
                }
            }
            guard blocks.updateValue(stage.blocks, forKey: stage.id) == nil else {
                throw refuse("Two stages are called \(stage.id)", "Give every stage its own name.")
            }
        }
    }

    mutating func submit(_ plan: RunPlan, at now: Instant) {
        // Submission is idempotent by run id.
        guard runIndex[plan.id] == nil else { return }
        let r = addRun(plan)
        runs[r].isNew = true
        runs[r].served = leastServed(atPriority: plan.priority) * plan.weight
        markRunDirty(r)
        tell("submitted", run: r, plan.name)
        startRun(r)
    }

    /// A new run starts level with the least served of its priority, so that it neither waits for the past nor owes it.
    private func leastServed(atPriority priority: Int) -> Double {
        var least: Double?
        for r in liveRuns where runs[r].plan.priority == priority && !runs[r].readyStages.isEmpty {
            let share = runs[r].served / runs[r].plan.weight
            least = min(least ?? share, share)
        }
        return least ?? 0
    }

    /// Lays out the tables of a run; nothing is ready yet.
    mutating func addRun(_ plan: RunPlan) -> Int {
        do throws(AMAFError) { try Self.validate(plan) } catch { preconditionFailure("\(error)") }
        var stageIndex: [StageID: Int] = [:]
        for (s, stage) in plan.stages.enumerated() { stageIndex[stage.id] = s }
        var dependents = Array(repeating: [Dependent](), count: plan.stages.count)
        var wanted = Array(repeating: [String](), count: plan.stages.count)
        var unmetSame = Array(repeating: 0, count: plan.stages.count)
        var unmetAll = unmetSame
        for (s, stage) in plan.stages.enumerated() {
            for input in stage.inputs {
                guard case .stage(let id, let output) = input.source, let source = stageIndex[id] else { continue }
                dependents[source].append(Dependent(stage: s, reach: input.reach))
                if !wanted[source].contains(output) { wanted[source].append(output) }
                switch input.reach {
                case .sameBlock: unmetSame[s] += 1
                case .allBlocks: unmetAll[s] += 1
                }
            }
        }
        // The longest chain of readers below each stage: stages that much waits for go first (highest level first).
        var urgency = Array(repeating: 0, count: plan.stages.count)
        for s in plan.stages.indices.reversed() {
            for dependent in dependents[s] { urgency[s] = max(urgency[s], urgency[dependent.stage] + 1) }
        }
        let order = plan.stages.indices.sorted { urgency[$0] != urgency[$1] ? urgency[$0] > urgency[$1] : $0 < $1 }
        var position = Array(repeating: 0, count: order.count)
        for (i, s) in order.enumerated() { position[s] = i }

        var stages: [StageTable] = []
        stages.reserveCapacity(plan.stages.count)
        for (s, spec) in plan.stages.enumerated() {
            precondition(unmetSame[s] < 256, "stage \(spec.id) has \(unmetSame[s]) inputs")
            var cell = TaskCell()
            cell.unmet = UInt8(unmetSame[s])
            var counts = Array(repeating: 0, count: 7)
            counts[Int(TaskRow.State.waiting.rawValue)] = spec.blocks
            stages.append(
                StageTable(
                    blocks: spec.blocks, byPeople: spec.performer == .people, costsMoney: spec.costsMoney,
                    leaseLimit: max(1, spec.leaseLimit ?? .max), kind: names.intern(spec.kind),
                    requires: spec.placement.requires.map { names.intern($0) }, prefers: spec.placement.prefers.map { names.intern($0) },
                    preferenceDelay: spec.placement.preferenceDelay, dependents: dependents[s], wantedOutputs: wanted[s],
                    identityPrefix: Self.identityPrefix(of: spec), hasReductionInput: unmetAll[s] > 0,
                    cells: Array(repeating: cell, count: spec.blocks), ready: BlockSet(capacity: spec.blocks),
                    dirty: BlockSet(capacity: spec.blocks), counts: counts, unmetReductions: unmetAll[s]))
        }
        runs.append(
            RunTable(
                plan: plan, stageIndex: stageIndex, order: order, position: position, stages: stages,
                readyStages: BlockSet(capacity: plan.stages.count), leasedStages: BlockSet(capacity: plan.stages.count),
                incompleteStages: plan.stages.count))
        let r = runs.count - 1
        runIndex[plan.id] = r
        liveRuns.append(r)
        return r
    }

    /// Stages without blocks are complete at once; stages without stage inputs open.
    mutating func startRun(_ r: Int) {
        for s in runs[r].stages.indices {
            if runs[r].stages[s].unmetReductions == 0 { openStage(r, s) }
            guard runs[r].stages[s].blocks == 0 else { continue }
            runs[r].incompleteStages -= 1
            for dependent in runs[r].stages[s].dependents where dependent.reach == .allBlocks {
                runs[r].stages[dependent.stage].unmetReductions -= 1
                // Stages come in order, so later ones are still to be opened by this loop.
            }
        }
        touch(r)
    }

    // MARK: People

    mutating func answer(_ id: RunID, _ stage: StageID, _ results: [BlockResult], at now: Instant) {
        guard let r = runIndex[id], let s = runs[r].stageIndex[stage], runs[r].stages[s].byPeople, !runs[r].state.isTerminal else { return }
        var answered = 0
        for result in results {
            let b = result.block
            // Answers are recorded inputs: the first one stands, and none is taken before it was asked for.
            guard b >= 0, b < runs[r].stages[s].blocks, runs[r].stages[s].cells[b].state == .ready, runs[r].stages[s].isAsked,
                runs[r].stages[s].wantedOutputs.allSatisfy({ name in result.outputs.contains { $0.name == name } })
            else { continue }
            answered += 1
            complete(r, s, b, archive.append(result))
        }
        if answered > 0 { tell("answered", run: r, stage: s, "\(answered) blocks") }
        if runs[r].stages[s].isComplete, runs[r].asked > 0, answered > 0 { runs[r].asked -= 1 }
        touch(r)
    }

    // MARK: Operators

    mutating func cancel(_ id: RunID, at now: Instant) {
        guard let r = runIndex[id], !runs[r].state.isTerminal else { return }
        for s in runs[r].stages.indices {
            for raw in runs[r].stages[s].leases { endLease(Fence(rawValue: raw), .cancelled, at: now) }
            for b in 0..<runs[r].stages[s].blocks {
                let cell = runs[r].stages[s].cells[b]
                guard cell.state == .waiting || cell.state == .ready else { continue }
                runs[r].stages[s].cells[b].isBackingOff = false
                runs[r].stages[s].move(b, to: .cancelled)
                // Only what was given out once has a row to correct; the run's own row speaks for the others.
                if cell.fence != 0 { markDirty(r, s, b) }
            }
            runs[r].stages[s].ready.removeAll()
        }
        runs[r].readyStages.removeAll()
        runs[r].active = 0
        runs[r].asked = 0
        tell("cancelled", run: r)
        finish(r, .cancelled)
    }

    mutating func setPaused(_ id: RunID, _ isPaused: Bool) {
        guard let r = runIndex[id], !runs[r].state.isTerminal, runs[r].isPaused != isPaused else { return }
        runs[r].isPaused = isPaused
        tell(isPaused ? "paused" : "resumed", run: r)
        if !isPaused { workAppeared = true }
        touch(r)
    }

    mutating func retry(_ id: RunID, at now: Instant) {
        guard let r = runIndex[id], runs[r].state != .cancelled else { return }
        var again = 0
        var isReopened = false
        for s in runs[r].stages.indices {
            if reopen(r, s) { isReopened = true }
            // A stopped stage of a run that another head ended: its blocks were never offered to this one.
            if runs[r].state.isTerminal, runs[r].stages[s].unmetReductions == 0 {
                for b in 0..<runs[r].stages[s].blocks
                where runs[r].stages[s].cells[b].state == .waiting && runs[r].stages[s].cells[b].unmet == 0 {
                    arrive(r, s, b)
                    isReopened = true
                }
            }
            guard runs[r].stages[s].count(.failed) + runs[r].stages[s].count(.quarantined) > 0 else { continue }
            for b in 0..<runs[r].stages[s].blocks {
                let state = runs[r].stages[s].cells[b].state
                guard state == .failed || state == .quarantined else { continue }
                again += 1
                runs[r].stages[s].move(b, to: .waiting)
                runs[r].stages[s].cells[b].attempts = 0
                runs[r].stages[s].cells[b].deaths = 0
                runs[r].stages[s].cells[b].isIsolated = false
                runs[r].stages[s].errors[b] = nil
                runs[r].stages[s].avoided[b] = nil
                markDirty(r, s, b)
                arrive(r, s, b)
            }
        }
        guard again > 0 || isReopened else { return }
        tell("retried", run: r, "\(again) tasks")
        if !liveRuns.contains(r) {
            liveRuns.append(r)
            liveRuns.sort()
        }
        runs[r].state = .running
        markRunDirty(r)
        touch(r)
    }

    // MARK: Ends

    /// Settles the state of every run that changed: whether it ended, waits for people, or runs.
    mutating func reviewRuns(at now: Instant) {
        let touched = touchedRuns
        touchedRuns = []
        for r in touched where !runs[r].state.isTerminal {
            let state: RunState
            if runs[r].incompleteStages == 0 {
                state = .succeeded
            } else if runs[r].active > 0 {
                state = runs[r].isPaused ? .paused : .running
            } else if runs[r].asked > 0 {
                state = .waitingForPeople
            } else {
                // Nothing can proceed and nobody was asked: some task failed and the rest waits for it.
                state = .failed
            }
            guard state != runs[r].state else { continue }
            if state.isTerminal {
                finish(r, state)
            } else {
                runs[r].state = state
                markRunDirty(r)
            }
        }
    }

    private mutating func finish(_ r: Int, _ state: RunState) {
        runs[r].state = state
        liveRuns.removeAll { $0 == r }
        markRunDirty(r)
        tell("run-ended", run: r, state.rawValue)
        effects.append(.runEnded(runs[r].plan.id, state))
    }
}
