import CoordinatorService
import Foundation
import Messaging
import Primitives
import Scheduling
import WireProtocol

/// `amaf status` for people.
enum StatusText {
    static func render(_ status: StatusDocument) -> String {
        var parts: [String] = []
        var head = "head \(status.head.version), epoch \(status.head.epoch)"
        if status.head.refusedMessages > 0 {
            head += ", \(status.head.refusedMessages) messages refused (last: \(status.head.lastRefusal ?? ""))"
        }
        let refused = status.head.refusedConnections
        if refused.total > 0 {
            head += "\nconnections turned away since its start: \(refused.summary)"
            if !refused.recentPeers.isEmpty { head += " (lately from \(refused.recentPeers.prefix(8).joined(separator: ", ")))" }
        }
        parts.append(head)
        if let error = status.head.storeError { parts.append("THE STORE REFUSES TO WRITE: \(error)") }
        for run in status.snapshot.runs {
            var title = "run \(run.id)  \(run.state.rawValue)"
            if run.allowsMixedNumerics { title += "  (numerics: any)" }
            parts.append(title + "\n" + indented(groups(run)))
            if let table = status.labelingFunctions?.first(where: { $0.run == run.id }) {
                parts.append(indented(labelingFunctions(table)))
            }
            let held = holdUps(run, status.snapshot.workers)
            if !held.isEmpty { parts.append(indented(held.joined(separator: "\n"))) }
            if let loss = LossCurve.line(run) { parts.append(indented(loss)) }
            if !run.errors.isEmpty { parts.append(indented(run.errors.map { "\($0)" }.joined(separator: "\n"))) }
        }
        if status.snapshot.runs.isEmpty { parts.append("no runs") }
        parts.append(status.snapshot.workers.isEmpty ? "no workers" : workers(status.snapshot.workers, status.vitals))
        let totals = status.snapshot.totals
        parts.append(
            "leases: \(Text.count(totals.leasesGranted)) granted, \(totals.leasesTakenBack) revoked; blocks: \(Text.count(totals.accepted)) done, \(totals.blocksRedone) redone, \(totals.duplicates) duplicate, \(totals.fenced) fenced, \(totals.conflicts) in conflict"
        )
        return parts.joined(separator: "\n\n")
    }

    /// What keeps work and workers of a run apart: tags that nobody carries, and numerics classes that may not be mixed.
    static func holdUps(_ run: SchedulerSnapshot.Run, _ workers: [SchedulerSnapshot.Worker]) -> [String] {
        guard run.state == .running else { return [] }
        let open = run.stages.filter { !$0.byPeople && $0.done < $0.blocks && $0.ready + $0.leased > 0 }
        let able = workers.filter { !$0.isDraining && $0.life != .lost }
        var lines: [String] = []
        for stage in open where stage.leased == 0 {
            if let tag = stage.requires.first(where: { tag in !able.contains { $0.tags.contains(tag) } }) {
                lines.append("stage \(stage.id) waits for a worker with the tag '\(tag)'")
            }
        }
        guard !run.allowsMixedNumerics, !open.isEmpty else { return lines }
        for worker in able where worker.leases == 0 {
            guard let own = worker.numericsClass else { continue }
            let fixed = open.compactMap(\.numericsClass)
            guard fixed.count == open.count, !fixed.contains(own) else { continue }
            lines.append(
                "\(worker.id) sits idle: it computes in \(own), the open stages in \(Set(fixed).map(\.rawValue).sorted().joined(separator: ", ")) "
                    + "(`numerics: any` would let it help, at the price of bytes that depend on who computed them)")
        }
        return lines
    }

    /// One line for each group of stages, in the order in which groups first appear.
    static func groups(_ run: SchedulerSnapshot.Run) -> String {
        let rows = StageGroup.all(of: run).map { group in
            [
                group.name, group.state, "\(Text.count(group.done))/\(Text.count(group.blocks))", "\(group.leased)",
                group.retries > 0 ? "\(group.retries)" : "", Text.seconds(group.seconds),
            ]
        }
        return Text.table(["stage", "state", "blocks", "leased", "retries", "work"], rows, rightAligned: [2, 3, 4, 5])
    }

    /// Coverage, overlaps and conflicts over the blocks that have landed.
    static func labelingFunctions(_ table: LabelingFunctionTable) -> String {
        func percent(_ value: Double) -> String { Text.fixed(value * 100, 1) }
        let rows = table.functions.map { row in
            [
                row.name, row.polarity.count > 2 ? "\(row.polarity.count) classes" : row.polarity.joined(separator: "/"),
                percent(row.coverage), percent(row.overlaps), percent(row.conflicts), row.faults > 0 ? Text.count(row.faults) : "",
            ]
        }
        return "labeling functions over \(Text.count(table.blocks)) of \(Text.count(table.blockCount)) blocks, "
            + "\(Text.count(table.samples)) samples: covered \(percent(table.coverage)) %, by two or more \(percent(table.overlap)) %, "
            + "in conflict \(percent(table.conflict)) %\n"
            + Text.table(
                ["function", "votes for", "coverage %", "overlaps %", "conflicts %", "faults"], rows, rightAligned: [2, 3, 4, 5])
    }

    static func workers(_ workers: [SchedulerSnapshot.Worker], _ vitals: [ReportedVitals]) -> String {
        let reported = Dictionary(vitals.map { ($0.worker, $0) }, uniquingKeysWith: { $1 })
        return Text.table(
            [
                "worker", "state", "tags", "slots", "leases", "blocks", "failures", "seen", "clock", "disk free", "slot deaths", "numerics",
                "build", "last error",
            ],
            workers.map { worker in
                let machine = reported[worker.id]
                let lastError = worker.lastError.map { "\($0)" } ?? worker.drainReason ?? machine?.vitals.lastError ?? ""
                return [
                    worker.id.rawValue, worker.isDraining ? "draining" : worker.life.rawValue, worker.tags.joined(separator: ","),
                    "\(worker.slots)", "\(worker.leases)", Text.count(worker.committedBlocks), "\(worker.failures)",
                    Text.seconds(worker.secondsSinceSeen), machine.map { Text.signedSeconds($0.clockSkewSeconds) } ?? "",
                    machine.map { Text.bytes(Int($0.vitals.diskFreeBytes)) } ?? "", machine.map { "\($0.vitals.slotDeaths)" } ?? "",
                    worker.numericsClass?.rawValue ?? "", worker.build, lastError,
                ]
            }, rightAligned: [3, 4, 5, 6, 7, 8, 9, 10])
    }

    private static func indented(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { "  " + $0 }.joined(separator: "\n")
    }
}

/// The stages of one kind together: all rounds and arms are one line and one bar.
struct StageGroup {
    var name: String
    var blocks = 0
    var done = 0
    var leased = 0
    var failed = 0
    var cached = 0
    var retries = 0
    var seconds = 0.0
    var waitsForPeople = false

    var state: String {
        if failed > 0 { return "\(failed) failed" }
        if done == blocks { return cached == blocks ? "cached" : "done" }
        if waitsForPeople { return "waiting for people" }
        return leased > 0 || done > 0 ? "running" : "waiting"
    }

    static func all(of run: SchedulerSnapshot.Run) -> [StageGroup] {
        var groups: [StageGroup] = []
        var positions: [String: Int] = [:]
        for stage in run.stages {
            let position = positions[stage.group] ?? groups.count
            if position == groups.count {
                positions[stage.group] = position
                groups.append(StageGroup(name: stage.group))
            }
            groups[position].blocks += stage.blocks
            groups[position].done += stage.done
            groups[position].leased += stage.leased
            groups[position].failed += stage.failed + stage.quarantined
            groups[position].cached += stage.cached
            groups[position].retries += stage.retries
            groups[position].seconds += stage.seconds
            if stage.byPeople && stage.ready > 0 { groups[position].waitsForPeople = true }
        }
        return groups
    }
}
