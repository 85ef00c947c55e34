import Foundation
import Testing

/// Heads that die, and heads that move.
@Suite(.serialized) struct RecoveryTests {
    @Test func aBackupServedElsewhereFinishesTheRun() throws {
        let programs = try Programs("restore")
        defer { programs.remove() }
        let pipeline = try programs.pipeline(samples: 3000)
        let calm = try programs.run("amaf", ["run", pipeline, "--workers", "2", "--output", "\(programs.folder)/calm", "--quiet"])
        #expect(calm.status == 0, "\(calm.output)")
        let labels = try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/calm/labels.jsonl"))

        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let run = try cluster.submit(pipeline)
        try cluster.startWorker()
        let before = try #require(try cluster.wait(run, share: 0.3))
        #expect(before.done < before.blocks, "the run was over before anything was backed up")
        let backup = try programs.run(
            "amaf-coordinator", ["backup", "--store", "\(programs.folder)/store", "--to", "\(programs.folder)/backup"])
        #expect(backup.status == 0, "\(backup.output)")
        // The original goes on for a moment and is then lost with all its later work.
        usleep(300_000)
        cluster.killCoordinator()
        let restored = try programs.run(
            "amaf-coordinator", ["restore", "--from", "\(programs.folder)/backup", "--store", "\(programs.folder)/moved"])
        #expect(restored.status == 0, "\(restored.output)")
        let moved = try TestCluster(programs, store: "\(programs.folder)/moved")
        defer { moved.stop() }
        try moved.startWorker()
        let resumed = try #require(try moved.until(run) { _ in true })
        #expect(resumed.done > 0, "nothing was in the backup")
        let end = try #require(try moved.wait(run, share: 1))
        #expect(end.state == "succeeded")
        #expect(try moved.export(run) == labels)
    }

    /// The whole promise at length: AMAF_LONG_TESTS=1 runs it, about two minutes. `SameLabelsTests` kills three times in every run of the tests.
    @Test(.enabled(if: Programs.isLong, "takes minutes: set AMAF_LONG_TESTS=1"))
    func aKillEverySecondAndTwoOfTheHeadChangeNothing() throws {
        let programs = try Programs("kills-long")
        defer { programs.remove() }
        let pipeline = try programs.pipeline(samples: 20_000)
        let calm = try programs.run("amaf", ["run", pipeline, "--workers", "2", "--output", "\(programs.folder)/calm", "--quiet"])
        #expect(calm.status == 0, "\(calm.output)")
        let labels = try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/calm/labels.jsonl"))

        let cluster = try TestCluster(programs)
        defer { cluster.stop() }
        let run = try cluster.submit(pipeline)
        var alive = [try cluster.startWorker(), try cluster.startWorker()]
        var (kills, heads) = (0, 0)
        // Counts of a head are its own: what the killed ones had counted is added.
        var (revoked, redone) = (0, 0)
        var seen = (revoked: 0, redone: 0)
        let end = Date(timeIntervalSinceNow: 400)
        var last: TestCluster.Progress?
        while Date() < end {
            if let now = try cluster.progress(run) {
                last = now
                seen = (now.revoked, now.redone)
                if now.state == "succeeded" || now.state == "failed" { break }
                let share = Double(now.done) / Double(now.blocks)
                if heads == 0 && share > 0.3 {
                    (revoked, redone) = (revoked + seen.revoked, redone + seen.redone)
                    try cluster.killCoordinatorAndRestart()
                    // The second one dies while it waits for the workers of the first.
                    usleep(700_000)
                    try cluster.killCoordinatorAndRestart()
                    heads = 2
                    seen = (0, 0)
                }
            }
            let victim = kills % 2
            cluster.killWorker(alive[victim])
            kills += 1
            alive[victim] = try cluster.startWorker()
            sleep(1)
        }
        let state = last?.state ?? "no answer"
        #expect(state == "succeeded", "after \(kills) kills: \(state)")
        (revoked, redone) = (revoked + seen.revoked, redone + seen.redone)
        print("kills: \(kills) workers, \(heads) heads; leases revoked: \(revoked); blocks redone: \(redone)")
        #expect(kills > 5 && heads == 2 && revoked > 0 && redone > 0)
        #expect(try cluster.export(run) == labels)
    }
}
