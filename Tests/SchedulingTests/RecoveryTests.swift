import Primitives
import Scheduling
import Testing

@Suite struct RecoveryTests {
    @Test func aNewHeadAdoptsWhatItsWorkersHold() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 2 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 6))))
        let kept = cluster.ask("a").grants[0]
        let lost = cluster.ask("b").grants[0]
        let done = cluster.ask("a").grants[0]
        _ = cluster.finish("a", done)
        cluster.restartHead()
        #expect(cluster.beat("a", [kept.fence]).commands == [.rejoin])
        guard case .welcome(2, _, let keep, let drop)? = cluster.join("a", held: [kept.fence, done.fence]).reply else {
            return #expect(Bool(false), "no welcome")
        }
        #expect((keep, drop) == ([kept.fence], [done.fence]))
        // b does not come back: its blocks wait out the grace, nothing committed is done again.
        #expect(cluster.obtain("a", within: .seconds(14), beating: [kept.fence]).isEmpty)
        let again = cluster.obtain("a", within: .seconds(2), beating: [kept.fence])
        #expect(again.map(\.blocks) == [lost.blocks])
        #expect(again[0].fence.epoch == 2)
        #expect(cluster.finish("a", kept) == [.accepted, .accepted])
        #expect(cluster.finish("a", again[0]) == [.accepted, .accepted])
        #expect(cluster.commit("b", lost.fence, blocks: lost.blocks).isEmpty, "a stranger is told to join first")
        cluster.join("b", held: [lost.fence])
        #expect(cluster.commit("b", lost.fence, blocks: lost.blocks) == [.duplicate, .duplicate])
        #expect(cluster.state() == .succeeded)
    }

    @Test func aConvictedSampleStaysMaskedUnderTheNextHead() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("features", blocks: 2, samples: 32, blockSize: 16))))
        while cluster.scheduler.totals.quarantinedSamples == 0 {
            guard let grant = cluster.obtain("a", within: .seconds(60)).first else { return #expect(Bool(false), "no grant") }
            if let killer = grant.blocks.first(where: { $0 == 1 && !grant.maskedSamples.contains(20) }) {
                cluster.fail("a", grant.fence, .crash, block: killer)
            } else {
                _ = cluster.finish("a", grant)
            }
        }
        cluster.restartHead()
        cluster.join("a")
        let grant = cluster.obtain("a", within: .seconds(60)).first { $0.blocks.contains(1) }
        #expect(grant?.maskedSamples == [20] && grant?.blocks == 1..<2)
        // Its lease may be taken over: the next head knows what it leaves out.
        guard let grant else { return }
        cluster.restartHead()
        guard case .welcome(_, _, let keep, _)? = cluster.join("a", held: [grant.fence]).reply else { return #expect(Bool(false)) }
        #expect(keep == [grant.fence])
        #expect(cluster.finish("a", grant) == [.accepted])
    }

    @Test func aGrantThatTheStoreLostIsAdoptedWhileItsTaskIsUncommitted() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        let before = cluster.stored
        let grant = cluster.ask("a").grants[0]
        cluster.stored = before
        cluster.restartHead()
        let described = HeldLease(fence: grant.fence, run: "run", stage: "ingest", blocks: grant.blocks)
        guard case .welcome(_, _, let keep, _)? = cluster.join("a", held: [grant.fence], leases: [described]).reply else {
            return #expect(Bool(false), "no welcome")
        }
        #expect(keep == [grant.fence])
        #expect(cluster.finish("a", grant) == [.accepted])
    }

    @Test func aFenceOfAnOlderEpochThatNobodyKnowsIsDropped() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        let before = cluster.stored
        let grant = cluster.ask("a").grants[0]
        cluster.stored = before
        cluster.restartHead()
        cluster.restartHead()
        let described = HeldLease(fence: grant.fence, run: "run", stage: "ingest", blocks: grant.blocks)
        guard case .welcome(3, _, let keep, let drop)? = cluster.join("a", held: [grant.fence], leases: [described]).reply else {
            return #expect(Bool(false), "no welcome")
        }
        #expect(keep == [] && drop == [grant.fence])
    }

    @Test func peopleAreAskedAgainAfterARestart() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(
            .submitted(
                plan(
                    stage("score", blocks: 2), stage("review", blocks: 1, reads: [("score", .allBlocks)], performer: .people),
                    stage("aggregate", blocks: 2, reads: [("score", .sameBlock), ("review", .allBlocks)]))))
        while let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        #expect(cluster.state() == .waitingForPeople)
        #expect(cluster.log.contains(.ask("run", "review")))
        cluster.log = []
        cluster.restartHead()
        #expect(cluster.log.contains(.ask("run", "review")))
        #expect(cluster.state() == .waitingForPeople)
        cluster.send(.answered("run", "review", [Cluster.result(0)]))
        cluster.send(.answered("run", "review", [Cluster.result(0, "a second thought")]))
        #expect(cluster.scheduler.results(of: "run", stage: "review") == [Cluster.result(0)])
        cluster.join("a")
        while let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        #expect(cluster.state() == .succeeded)
    }

    @Test func theSameWorkIsDoneOnceForAllRuns() {
        var cluster = Cluster()
        let stages = [stage("ingest", blocks: 3), stage("fit", blocks: 1, reads: [("ingest", .allBlocks)])]
        cluster.join("a")
        cluster.send(.submitted(RunPlan(id: "first", name: "first", stages: stages)))
        while let grant = cluster.ask("a").grants.first { _ = cluster.finish("a", grant) }
        cluster.restartHead()
        cluster.join("a")
        cluster.send(.submitted(RunPlan(id: "second", name: "second", stages: stages)))
        #expect(cluster.ask("a").isParked)
        #expect(cluster.state("second") == .succeeded)
        #expect(cluster.scheduler.totals.cached == 4)
        // Another code version is other work.
        var changed = stages
        changed[1].codeVersion = 2
        cluster.wait(.seconds(11))
        cluster.send(.submitted(RunPlan(id: "third", name: "third", stages: changed)))
        #expect(cluster.ask("a").grants.map(\.stage) == ["fit"])
    }

    @Test func everyRowIsWrittenOnceForEachBatch() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 4 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 4))))
        #expect(cluster.stored.tasks.isEmpty, "what never ran needs no row")
        let grant = cluster.ask("a").grants[0]
        #expect(cluster.stored.tasks.values.allSatisfy { $0.state == .leased && $0.fence == grant.fence && $0.worker == "a" })
        #expect(cluster.scheduler.takeChanges().isEmpty)
    }
}
