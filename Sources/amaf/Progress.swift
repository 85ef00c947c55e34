import Foundation
import Scheduling

/// Progress for whoever watches: bars that redraw on a terminal, a plain line whenever something changed in a log.
final class ProgressDisplay {
    private let onTerminal: Bool
    private let quiet: Bool
    private var linesDrawn = 0
    private var lastLine = ""
    private var lastPrinted = Date.distantPast
    private let started = Date()

    init(quiet: Bool) {
        self.quiet = quiet
        onTerminal = Console.isTerminal
    }

    func show(_ snapshot: SchedulerSnapshot, run: SchedulerSnapshot.Run) {
        guard !quiet else { return }
        let groups = StageGroup.all(of: run)
        let loss = LossCurve.line(run)
        if onTerminal { draw(groups, snapshot, loss) } else { log(groups, snapshot, loss) }
    }

    private func draw(_ groups: [StageGroup], _ snapshot: SchedulerSnapshot, _ loss: String?) {
        let width = groups.map(\.name.count).max() ?? 0
        var lines = groups.map { group in
            let share = group.blocks > 0 ? Double(group.done) / Double(group.blocks) : 0
            let filled = Int(share * 28)
            let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: 28 - filled)
            let name = group.name + String(repeating: " ", count: width - group.name.count)
            return "\(name)  \(bar)  \(Text.count(group.done))/\(Text.count(group.blocks))  \(group.state)"
        }
        if let loss { lines.append(loss) }
        let alive = snapshot.workers.count { $0.life == .alive }
        lines.append("\(alive) workers, \(Text.seconds(-started.timeIntervalSinceNow))")
        var text = linesDrawn > 0 ? "\u{1B}[\(linesDrawn)A" : ""
        for line in lines { text += "\u{1B}[2K\(line)\n" }
        FileHandle.standardError.write(Data(text.utf8))
        linesDrawn = lines.count
    }

    private func log(_ groups: [StageGroup], _ snapshot: SchedulerSnapshot, _ loss: String?) {
        let done = groups.reduce(0) { $0 + $1.done }
        let blocks = groups.reduce(0) { $0 + $1.blocks }
        let active = groups.filter { $0.leased > 0 }.map { "\($0.name) \($0.done)/\($0.blocks)" }.joined(separator: ", ")
        let line =
            "\(Text.count(done))/\(Text.count(blocks)) blocks" + (active.isEmpty ? "" : "; \(active)") + (loss.map { "; \($0)" } ?? "")
        // A log wants news, not a film: every five seconds at most.
        guard line != lastLine, -lastPrinted.timeIntervalSinceNow >= 5 else { return }
        Console.note("\(Text.seconds(-started.timeIntervalSinceNow)): \(line)")
        lastLine = line
        lastPrinted = Date()
    }
}
