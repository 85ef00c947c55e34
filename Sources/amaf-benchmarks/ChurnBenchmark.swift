import Foundation
import Primitives
import Scheduling
import Stages
import Telemetry

/// Clusters whose workers come, go and die while they work.
extension ClusterBenchmark {
    /// Three quarters of the workers begin, the last quarter joins after a quarter of the time, and the first quarter drains at half of it.
    ///
    /// - Returns: seconds slept by committed tasks over the seconds that worker processes were there: from the submission, or from the start
    ///   of the process for those that joined later, until the run's end, or until the process has left for those that drained.
    func elastic(_ folder: String) throws -> Double {
        let (all, late) = (elasticWorkers, elasticWorkers / 4)
        precondition(all >= 4, "\(all) workers cannot join and leave")
        let cluster = try BenchmarkCluster(folder: folder, settings: SchedulerSettings(), workers: all - late, slots: 1, commitResults: nil)
        defer { cluster.stop() }
        var parameters = DiagnosticParameters()
        parameters.sleepSeconds = 1
        // How long a sleep takes is known before the measured run, as it is in any run but a cluster's first.
        _ = try cluster.perform(diagnostic(blocks: all, parameters))
        let tasks = all * elasticTasks
        let plan = try diagnostic(blocks: tasks, parameters)
        let start = SystemClock.now()
        var times: [(from: Instant, until: Instant?)] = cluster.workers.map { _ in (start, nil) }
        let cpu = processorSeconds()
        try cluster.submit(plan)
        usleep(UInt32(elasticTasks) * 250_000)
        for i in 0..<late {
            let worker = try cluster.start("late-\(i)")
            times.append((worker.startedAt, nil))
        }
        usleep(UInt32(elasticTasks) * 250_000)
        for i in 0..<late { cluster.workers[i].process.terminate() }
        let drained = SystemClock.now()
        for i in 0..<late { times[i].until = cluster.workers[i].wait() }
        let left = (SystemClock.now() - drained).seconds
        try cluster.wait(plan)
        let end = SystemClock.now()
        let there = times.reduce(0.0) { $0 + (min($1.until ?? end, end) - $1.from).seconds }
        let efficiency = Double(tasks) / there
        let head = (processorSeconds() - cpu) / (end - start).seconds
        say(
            "elastic: \(tasks) tasks of 1 s on \(all - late) workers, \(late) join later, \(late) drain (gone after \(decimal(left)) s): "
                + "\(decimal((end - start).seconds)) s, \(decimal(there, 1)) worker seconds, \(decimal(efficiency * 100, 1)) % of ideal; "
                + "head \(decimal(head * 100, 1)) % of a core")
        return efficiency
    }

    /// 200 tasks of 50 ms on two workers, as the peers' scripts do it; one worker gets SIGKILL after a second and another is started at once,
    /// which is what systemd, Dask's nanny and Ray's raylet do.
    func killing(_ folder: String) throws -> Double {
        let cluster = try BenchmarkCluster(folder: folder, settings: SchedulerSettings(), workers: 2, slots: 1, commitResults: nil)
        defer { cluster.stop() }
        var parameters = DiagnosticParameters()
        parameters.sleepSeconds = 0.05
        _ = try cluster.perform(diagnostic(blocks: 20, parameters))
        var (calm, killed): ([Double], [Double]) = ([], [])
        for _ in 0..<max(3, runs) { calm.append(try cluster.perform(diagnostic(blocks: 200, parameters))) }
        for i in 0..<max(3, runs) {
            let plan = try diagnostic(blocks: 200, parameters)
            let start = SystemClock.now()
            try cluster.submit(plan)
            usleep(1_000_000)
            guard let victim = cluster.workers.last(where: { $0.process.isRunning }) else { break }
            kill(victim.process.processIdentifier, SIGKILL)
            try cluster.start("again-\(i)")
            try cluster.wait(plan)
            killed.append((SystemClock.now() - start).seconds)
            try cluster.waitForSlots(2)
        }
        let added = median(killed) - median(calm)
        say(
            "kill: 200 tasks of 50 ms on 2 workers: \(decimal(median(calm), 3)) s, with a SIGKILL after 1 s \(decimal(median(killed), 3)) s "
                + "(\(decimal(killed.min() ?? 0, 3)) to \(decimal(killed.max() ?? 0, 3))): it adds \(decimal(added, 3)) s; all complete")
        return added
    }
}
