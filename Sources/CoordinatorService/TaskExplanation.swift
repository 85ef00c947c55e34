import Primitives
import Scheduling

/// Says in sentences why a task is not running: the question of `amaf explain-task`.
enum TaskExplanation {
    static func lines(for stage: StageID, of run: RunID, plan: RunPlan, snapshot: SchedulerSnapshot) -> [String] {
        guard let view = snapshot.runs.first(where: { $0.id == run }), let spec = plan.stages.first(where: { $0.id == stage }),
            let counts = view.stages.first(where: { $0.id == stage })
        else { return ["Run \(run) has no stage '\(stage)'."] }
        var lines = ["Stage \(stage) of run \(run) (\(view.state.rawValue)): \(counts.done) of \(counts.blocks) blocks are done."]
        if counts.done == counts.blocks { return lines + ["Nothing is left to run."] }
        if view.state == .paused { lines.append("The run is paused: `amaf resume \(run)`.") }
        if counts.leased > 0 { lines.append("\(counts.leased) blocks are being worked on.") }
        if counts.failed + counts.quarantined > 0 {
            lines.append("\(counts.failed + counts.quarantined) blocks failed for good; `amaf retry \(run)` tries them again.")
        }
        if spec.performer == .people && counts.ready > 0 { lines.append("It waits for people: `amaf review import FILE`.") }
        for input in spec.inputs {
            guard case .stage(let other, _) = input.source, let before = view.stages.first(where: { $0.id == other }),
                before.done < before.blocks
            else { continue }
            lines.append("It reads '\(input.name)' of \(other), of which \(before.done) of \(before.blocks) blocks are done.")
        }
        if counts.ready > 0 && spec.performer == .workers {
            let alive = snapshot.workers.filter { $0.life == .alive && !$0.isDraining }
            let allowed = alive.filter { worker in spec.placement.requires.allSatisfy(worker.tags.contains) }
            if alive.isEmpty { lines.append("No worker is alive.") }
            if !alive.isEmpty && allowed.isEmpty {
                lines.append("It requires the tags \(spec.placement.requires.joined(separator: ", ")); no worker has them.")
            }
            if let fixed = counts.numericsClass {
                let fitting = allowed.filter { $0.numericsClass == fixed }
                if fitting.isEmpty && !allowed.isEmpty {
                    lines.append(
                        "Its first task ran on numerics class \(fixed); no such worker is alive, and the run does not allow others.")
                }
            }
            if !allowed.isEmpty && allowed.allSatisfy({ $0.leases >= $0.slots }) {
                lines.append("All \(allowed.count) allowed workers are busy.")
            }
        }
        return lines
    }
}
