package import Primitives

/// What status displays show, as values that scheduling cannot be slowed by.
package struct SchedulerSnapshot: Hashable, Sendable, Codable {
    package struct Stage: Hashable, Sendable, Codable {
        package var id: StageID
        package var group: String
        package var kind: String
        package var blocks: Int
        package var waiting: Int
        package var ready: Int
        package var leased: Int
        package var done: Int
        package var failed: Int
        package var quarantined: Int
        package var cancelled: Int
        /// Blocks that were done without being leased.
        package var cached: Int
        package var retries: Int
        package var conflicts: Int
        /// Worker seconds spent on committed blocks.
        package var seconds: Double
        package var secondsPerBlock: Double?
        package var numericsClass: NumericsClass?
        package var byPeople: Bool
        /// Tags that a worker must carry.
        package var requires: [String]
        /// Why the circuit breaker stopped it, with the remedy; nil while it runs.
        package var stopped: AMAFError?
        /// What a finished reduction measured (`loss`), besides what every task measures; nil where there is nothing.
        package var measures: [String: Double]?
    }
    package struct Run: Hashable, Sendable, Codable {
        package var id: RunID
        package var name: String
        package var state: RunState
        package var priority: Int
        package var weight: Double
        package var allowsMixedNumerics: Bool
        package var stages: [Stage]
        /// Why stages were stopped, then the first errors of failed and quarantined tasks; ten of them at most.
        package var errors: [AMAFError]
    }
    package struct Worker: Hashable, Sendable, Codable {
        package var id: WorkerID
        package var host: String
        package var build: String
        package var tags: [String]
        package var numericsClass: NumericsClass?
        package var slots: Int
        package var life: WorkerLife
        package var isDraining: Bool
        package var drainReason: String?
        package var leases: Int
        package var secondsSinceSeen: Double
        package var committedBlocks: Int
        package var failures: Int
        package var lastError: AMAFError?
    }
    package var epoch: UInt64
    /// In the order of submission.
    package var runs: [Run]
    /// By identifier.
    package var workers: [Worker]
    package var parkedRequests: Int
    package var totals: Totals
}

extension Scheduler {
    package func snapshot(at now: Instant) -> SchedulerSnapshot {
        SchedulerSnapshot(
            epoch: epoch, runs: runs.indices.map { snapshot(ofRun: $0) },
            workers: workers.map { worker in
                SchedulerSnapshot.Worker(
                    id: worker.id, host: worker.hello?.host ?? "", build: worker.hello?.build ?? "", tags: worker.hello?.tags ?? [],
                    numericsClass: worker.hello?.numericsClass, slots: worker.slots, life: worker.life, isDraining: worker.isDraining,
                    drainReason: worker.drainReason, leases: worker.leases.count, secondsSinceSeen: (now - worker.lastSeen).seconds,
                    committedBlocks: worker.committedBlocks, failures: worker.failures, lastError: worker.lastError)
            }.sorted { $0.id < $1.id },
            parkedRequests: parked.count, totals: totals)
    }

    package func snapshot(of run: RunID) -> SchedulerSnapshot.Run? { runIndex[run].map { snapshot(ofRun: $0) } }

    private func snapshot(ofRun r: Int) -> SchedulerSnapshot.Run {
        let run = runs[r]
        var errors = run.stages.compactMap(\.stop)
        for stage in run.stages where errors.count < 10 && !stage.errors.isEmpty {
            for b in stage.errors.keys.sorted() where errors.count < 10 {
                let state = stage.cells[b].state
                if let error = stage.errors[b], state == .failed || state == .quarantined { errors.append(error) }
            }
        }
        let stages = run.stages.indices.map { s in
            let stage = run.stages[s]
            let spec = run.plan.stages[s]
            return SchedulerSnapshot.Stage(
                id: spec.id, group: spec.group, kind: spec.kind, blocks: stage.blocks, waiting: stage.count(.waiting),
                ready: stage.count(.ready),
                leased: stage.count(.leased), done: stage.count(.done), failed: stage.count(.failed),
                quarantined: stage.count(.quarantined),
                cancelled: stage.count(.cancelled), cached: stage.cached, retries: stage.retries, conflicts: stage.conflicts,
                seconds: stage.seconds,
                secondsPerBlock: stage.secondsPerBlock, numericsClass: stage.numericsClass.map { NumericsClass(names[$0]) },
                byPeople: stage.byPeople, requires: spec.placement.requires, stopped: stage.stop, measures: measures(of: stage))
        }
        return SchedulerSnapshot.Run(
            id: run.plan.id, name: run.plan.name, state: run.state, priority: run.plan.priority, weight: run.plan.weight,
            allowsMixedNumerics: run.plan.allowsMixedNumerics, stages: stages, errors: errors)
    }

    private static let measuredOfAll: Set<String> = ["rows", "wall_seconds", "cpu_seconds", "peak_memory_bytes"]

    private func measures(of stage: StageTable) -> [String: Double]? {
        guard stage.blocks == 1, let cell = stage.cells.first, cell.state == .done else { return nil }
        let own = archive.result(cell.result, block: 0).metrics.filter { !Self.measuredOfAll.contains($0.key) }
        return own.isEmpty ? nil : own
    }

    /// The committed results of a stage by block; nil for blocks that are not done.
    package func results(of run: RunID, stage: StageID) -> [BlockResult?] {
        guard let r = runIndex[run], let s = runs[r].stageIndex[stage] else { return [] }
        return runs[r].stages[s].cells.enumerated().map { b, cell in cell.state == .done ? archive.result(cell.result, block: b) : nil }
    }

    package func runState(_ run: RunID) -> RunState? { runIndex[run].map { runs[$0].state } }
    package func plan(of run: RunID) -> RunPlan? { runIndex[run].map { runs[$0].plan } }
}
