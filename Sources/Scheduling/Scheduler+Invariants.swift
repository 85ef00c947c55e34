import Primitives

/// What must hold after every event. The cheap part looks at totals of stages, the full part recomputes everything.
extension Scheduler {
    /// O(leases + runs); traps with what it found.
    package func checkCheapInvariants() {
        for w in workers.indices {
            precondition(workers[w].leases.count <= leases.count, "worker \(workers[w].id) holds leases that are not there")
        }
        precondition(arriving.isEmpty, "\(arriving.count) blocks are still arriving")
        precondition(parked.count <= settings.maximumParkedRequests, "\(parked.count) requests are parked")
        for r in liveRuns {
            precondition(!runs[r].state.isTerminal, "run \(runs[r].plan.id) is live and \(runs[r].state)")
            precondition(
                runs[r].active > 0 || runs[r].asked > 0 || runs[r].isPaused || runs[r].state == .waitingForPeople,
                "run \(runs[r].plan.id) is live, but nothing can happen to it")
        }
    }

    /// O(tasks); for tests and the simulator.
    package func checkInvariants() {
        checkCheapInvariants()
        var held = 0
        for (r, run) in runs.enumerated() {
            var active = 0
            var asked = 0
            var incomplete = 0
            for (s, stage) in run.stages.enumerated() {
                let place = "\(run.plan.id)/\(run.plan.stages[s].id)"
                stage.ready.checkInvariants()
                var counts = Array(repeating: 0, count: 7)
                var live = Array(repeating: UInt8(0), count: stage.blocks)
                for raw in stage.leases {
                    guard let lease = leases[Fence(rawValue: raw)] else { preconditionFailure("\(place) lists the dead fence \(raw)") }
                    precondition(lease.run == r && lease.stage == s, "\(place) lists a lease of another stage")
                    precondition(
                        workers[lease.worker].leases.contains(lease.fence), "worker \(workers[lease.worker].id) misses \(lease.fence)")
                    var open = 0
                    for b in lease.blocks where stage.cells[b].state == .leased {
                        live[b] += 1
                        open += 1
                    }
                    precondition(
                        open == lease.open && open > 0, "\(place): lease \(lease.fence) has \(open) open blocks, not \(lease.open)")
                    held += 1
                }
                precondition(run.leasedStages.contains(run.position[s]) == !stage.leases.isEmpty, "\(place) is listed as leased wrongly")
                precondition(run.readyStages.contains(run.position[s]) == !stage.ready.isEmpty, "\(place) is listed as ready wrongly")
                for (b, cell) in stage.cells.enumerated() {
                    counts[Int(cell.state.rawValue)] += 1
                    precondition(cell.live == live[b], "\(place)/\(b) has \(live[b]) live leases, not \(cell.live)")
                    let isReady = stage.ready.contains(b)
                    switch cell.state {
                    case .waiting:
                        precondition(run.state.isTerminal || cell.unmet > 0 || stage.unmetReductions > 0, "\(place)/\(b) waits for nothing")
                        precondition(!isReady, "\(place)/\(b) is offered while it waits")
                    case .ready:
                        if stage.byPeople { continue }
                        if stage.stop != nil {
                            precondition(!isReady && !cell.isBackingOff, "\(place)/\(b) is offered although its stage is stopped")
                            continue
                        }
                        active += 1
                        precondition(
                            isReady != cell.isBackingOff, "\(place)/\(b) is ready, offered \(isReady), backing off \(cell.isBackingOff)")
                    case .leased:
                        active += 1
                        precondition(cell.live > 0 && cell.live <= 2 && cell.fence != 0, "\(place)/\(b) is leased with \(cell.live) leases")
                        let holder = leases[Fence(rawValue: cell.fence)]
                        precondition(
                            holder?.stage == s && holder?.run == r && holder?.blocks.contains(b) == true
                                && holder.map { Int32($0.worker) } == cell.worker,
                            "\(place)/\(b) names fence \(cell.fence), which does not cover it")
                        precondition(!isReady || cell.live == 1, "\(place)/\(b) is offered for a third lease")
                    case .done:
                        precondition(cell.result >= 0 && !isReady, "\(place)/\(b) is done without a result or offered")
                    case .failed, .quarantined, .cancelled:
                        precondition(!isReady && cell.result < 0, "\(place)/\(b) is \(cell.state) and offered")
                    }
                }
                precondition(counts == stage.counts, "\(place) counts \(stage.counts), but has \(counts)")
                if stage.isAsked, !stage.isComplete, !run.state.isTerminal { asked += 1 }
                if !stage.isComplete { incomplete += 1 }
                var missing = 0
                for input in run.plan.stages[s].inputs where input.reach == .allBlocks {
                    if case .stage(let id, _) = input.source, let source = run.stageIndex[id], !run.stages[source].isComplete {
                        missing += 1
                    }
                }
                precondition(missing == stage.unmetReductions, "\(place) misses \(missing) reductions, not \(stage.unmetReductions)")
            }
            precondition(active == run.active, "run \(run.plan.id) has \(active) active tasks, not \(run.active)")
            precondition(run.state.isTerminal || asked == run.asked, "run \(run.plan.id) asked \(asked) stages, not \(run.asked)")
            precondition(
                incomplete == run.incompleteStages, "run \(run.plan.id) has \(incomplete) incomplete stages, not \(run.incompleteStages)")
        }
        precondition(held == leases.count, "\(leases.count) leases, of which stages know \(held)")
        precondition(workers.reduce(0) { $0 + $1.leases.count } == leases.count, "workers and stages disagree on leases")
    }
}
