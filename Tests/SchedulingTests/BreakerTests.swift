import Primitives
import Scheduling
import Testing

/// The circuit breaker of a stage, and backpressure by bytes under way.
@Suite struct BreakerTests {
    private func failing(_ blocks: Int, workers: [WorkerID]) -> Cluster {
        var cluster = Cluster {
            $0.circuitBreakerFailures = 4
            $0.forcedLeaseBlocks = 1
        }
        for worker in workers { cluster.join(worker) }
        cluster.send(.submitted(plan(stage("annotate", blocks: blocks), stage("ingest", blocks: 2))))
        return cluster
    }

    private func failNext(_ cluster: inout Cluster, _ worker: WorkerID) -> Bool {
        guard let grant = cluster.ask(worker).grants.first(where: { $0.stage == "annotate" }) else { return false }
        cluster.fail(worker, grant.fence, .permanent, block: grant.blocks.lowerBound)
        return true
    }

    @Test func aStageThatFailsEverywhereIsStoppedAndRetryGoesOn() {
        var cluster = failing(100, workers: ["a", "b"])
        for i in 0..<4 { #expect(failNext(&cluster, i % 2 == 0 ? "a" : "b")) }
        #expect(cluster.stage("annotate")?.failed == 4 && cluster.stage("annotate")?.ready == 96)
        #expect(cluster.scheduler.totals.stagesStopped == 1)
        let why = cluster.scheduler.explain("run", "annotate", block: 50, at: cluster.now)
        #expect(why.contains { $0.contains("scheduler.stage-stopped") && $0.contains("It failed") && $0.contains("amaf retry run") })
        // What does not depend on it goes on; then the run has failed, and says why.
        while let grant = cluster.ask("a").grants.first { #expect(cluster.finish("a", grant) == [.accepted]) }
        #expect(cluster.stage("ingest")?.done == 2)
        #expect(cluster.state() == .failed)
        #expect(cluster.scheduler.snapshot(of: "run")?.errors.first?.code == "scheduler.stage-stopped")
        // The request that is held open for a must not take the first block.
        cluster.wait(.seconds(11))
        cluster.send(.retry("run"))
        #expect(cluster.state() == .running && cluster.stage("annotate")?.stopped == nil)
        for _ in 0..<100 {
            guard let grant = cluster.ask("b").grants.first else { return #expect(Bool(false), "nothing is given out after the retry") }
            #expect(cluster.finish("b", grant) == [.accepted])
        }
        #expect(cluster.state() == .succeeded)
    }

    @Test func oneBoxIsNoEvidenceWhileAnotherCouldRunIt() {
        var cluster = failing(100, workers: ["a", "b"])
        for _ in 0..<10 { #expect(failNext(&cluster, "a")) }
        #expect(cluster.stage("annotate")?.stopped == nil)
        var alone = failing(100, workers: ["a"])
        for _ in 0..<4 { #expect(failNext(&alone, "a")) }
        #expect(alone.stage("annotate")?.stopped != nil)
    }

    @Test func aSuccessBreaksTheRow() {
        var cluster = failing(100, workers: ["a", "b"])
        for i in 0..<12 {
            #expect(failNext(&cluster, i % 2 == 0 ? "a" : "b"))
            if i % 3 == 2, let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        }
        #expect(cluster.stage("annotate")?.stopped == nil)
    }

    @Test func leasesThatAreOutWhenAStageStopsMayStillEnd() {
        var cluster = failing(8, workers: ["a", "b", "c"])
        let out = cluster.ask("c").grants[0]
        let lost = cluster.ask("b").grants[0]
        for i in 0..<4 { #expect(failNext(&cluster, i % 2 == 0 ? "a" : "b")) }
        #expect(cluster.stage("annotate")?.stopped != nil)
        #expect(cluster.finish("c", out) == [.accepted])
        // Released to a stopped stage: ready, and not given out.
        cluster.send(.released("b", [lost.fence], token: cluster.token()))
        #expect(cluster.stage("annotate")?.ready == 3)
        while let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        #expect(cluster.state() == .failed)
    }

    @Test func aStoppedStageStaysStoppedUnderTheNextHead() {
        var cluster = failing(100, workers: ["a", "b"])
        for i in 0..<4 { #expect(failNext(&cluster, i % 2 == 0 ? "a" : "b")) }
        cluster.restartHead()
        cluster.join("a")
        #expect(cluster.stage("annotate")?.stopped != nil)
        while let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        #expect(cluster.state() == .failed && cluster.stage("ingest")?.done == 2)
        // The run ended; a later head offers the rest again when an operator says so.
        cluster.restartHead()
        cluster.join("a")
        cluster.send(.retry("run"))
        for _ in 0..<100 {
            guard let grant = cluster.ask("a").grants.first else { return #expect(Bool(false), "nothing is given out after the retry") }
            _ = cluster.finish("a", grant)
        }
        #expect(cluster.state() == .succeeded)
    }

    @Test func bytesUnderWayHoldAStageBack() {
        var cluster = Cluster {
            $0.maximumUncommittedBytes = 250
            $0.forcedLeaseBlocks = 1
        }
        cluster.join("a", slots: 8)
        cluster.send(.submitted(plan(stage("features", blocks: 20))))
        // Outputs are 100 bytes; before one is known nothing is held back.
        _ = cluster.finish("a", cluster.ask("a").grants[0])
        let grants = cluster.ask("a", slots: 8).grants
        #expect(grants.count == 2)
        let token = cluster.park("a", slots: 6)
        #expect(cluster.laterAnswer(to: token).isParked)
        #expect(cluster.scheduler.explain("run", "features", block: 10, at: cluster.now).contains { $0.contains("not committed yet") })
        _ = cluster.finish("a", grants[0])
        #expect(cluster.laterAnswer(to: token).grants.count == 1)
        #expect(cluster.scheduler.totals.throttled >= 1)
    }

    /// However large a result is, one block at a time always runs.
    @Test func oneBlockAlwaysRuns() {
        var cluster = Cluster {
            $0.maximumUncommittedBytes = 1
            $0.forcedLeaseBlocks = 4
        }
        cluster.join("a", slots: 2)
        cluster.send(.submitted(plan(stage("features", blocks: 9))))
        var steps = 0
        while cluster.state() == .running, steps < 20 {
            steps += 1
            let grants = cluster.ask("a", slots: 2).grants
            // The first time no size is known.
            #expect(steps == 1 || (grants.count == 1 && grants[0].blocks.count == 1))
            for grant in grants { _ = cluster.finish("a", grant) }
        }
        #expect(cluster.state() == .succeeded)
    }
}
