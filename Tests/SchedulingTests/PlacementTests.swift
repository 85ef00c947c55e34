import Primitives
import Scheduling
import Testing

@Suite struct PlacementTests {
    @Test func requiredTagsAreObeyedAndExplained() {
        var cluster = Cluster()
        cluster.join("c")
        cluster.send(.submitted(plan(stage("train", blocks: 1, placement: StagePlacement(requires: ["gpu"])))))
        let token = cluster.park("c")
        #expect(cluster.laterAnswer(to: token).isParked)
        let why = cluster.scheduler.explain("run", "train", block: 0, at: cluster.now)
        #expect(
            why == [
                "Stage train of run run (running): 0 of 1 blocks are done.", "Worker c has no tag 'gpu', which the stage requires.",
            ])
        cluster.join("g", tags: ["cpu", "gpu"])
        #expect(cluster.ask("g").grants.count == 1)
    }

    @Test func aPreferredTagIsWaitedForAndThenNot() {
        var cluster = Cluster()
        cluster.join("c")
        cluster.send(.submitted(plan(stage("train", blocks: 1, placement: StagePlacement(prefers: "gpu", preferenceDelay: .seconds(5))))))
        let token = cluster.park("c")
        cluster.wait(.milliseconds(4900))
        #expect(cluster.laterAnswer(to: token).isParked)
        cluster.wait(.milliseconds(200))
        #expect(cluster.laterAnswer(to: token).grants.count == 1)
    }

    @Test func aChainOfStagesWaitsOnceForAPreferredTag() {
        var cluster = Cluster()
        let placement = StagePlacement(prefers: "gpu", preferenceDelay: .seconds(5))
        cluster.join("c")
        cluster.send(
            .submitted(
                plan(
                    stage("a", blocks: 1, placement: placement), stage("b", blocks: 1, reads: [("a", .allBlocks)], placement: placement),
                    stage("c", blocks: 1, reads: [("b", .allBlocks)], placement: placement))))
        #expect(cluster.obtain("c", within: .milliseconds(4800)).isEmpty)
        _ = cluster.finish("c", cluster.obtain("c", within: .milliseconds(300))[0])
        // Nobody has the tag, and the run has waited for it.
        _ = cluster.finish("c", cluster.obtain("c", within: .zero)[0])
        // Somebody has it now.
        cluster.join("g", tags: ["gpu"])
        #expect(cluster.obtain("c", within: .milliseconds(300)).isEmpty)
        #expect(cluster.obtain("g", within: .zero).first?.stage == "c")
    }

    @Test func aPreferredWorkerThatComesInTimeHasTheWorkAtOnce() {
        var cluster = Cluster()
        cluster.join("c")
        cluster.send(.submitted(plan(stage("train", blocks: 1, placement: StagePlacement(prefers: "gpu")))))
        _ = cluster.park("c")
        cluster.join("g", tags: ["gpu"])
        #expect(cluster.ask("g").grants.count == 1)
    }

    @Test func oneStageIsOneNumericsClass() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("old", numerics: "v3")
        cluster.join("new", numerics: "v4")
        cluster.send(.submitted(plan(stage("ingest", blocks: 2), stage("fit", blocks: 1, reads: [("ingest", .allBlocks)]))))
        let first = cluster.ask("old").grants[0]
        let token = cluster.park("new")
        #expect(cluster.laterAnswer(to: token).isParked)
        #expect(cluster.stage("ingest")?.numericsClass == "v3")
        #expect(
            cluster.scheduler.explain("run", "ingest", block: 1, at: cluster.now).contains {
                $0.contains("new computes in numerics class v4")
            })
        _ = cluster.finish("old", first)
        _ = cluster.finish("old", cluster.ask("old").grants[0])
        // The next stage is open to the first who asks.
        #expect(cluster.laterAnswer(to: token).grants.first?.stage == "fit")
    }

    @Test func aRunMayAllowMixedNumerics() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("old", numerics: "v3")
        cluster.join("new", numerics: "v4")
        cluster.send(.submitted(plan(mixed: true, stage("ingest", blocks: 2))))
        #expect(cluster.ask("old").grants.count == 1)
        #expect(cluster.ask("new").grants.count == 1)
    }

    @Test func theWorkerThatHoldsTheWeightsIsTakenFirst() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("fit", blocks: 1), stage("score", blocks: 2, reads: [("fit", .allBlocks)]))))
        let fit = cluster.ask("a").grants[0]
        let waiting = cluster.park("b")
        let token = cluster.token()
        let weights = BlockResult(block: 0, outputs: [TaskOutput(name: "out", digest: Digest.of([1]), byteCount: 39 << 20)])
        cluster.send(.committed("a", [LeaseCommit(fence: fit.fence, results: [weights], isLast: true)], token: token))
        // b would have to fetch 39 MB: it gets work only after that time, 0.4 s, unless a is busy.
        #expect(cluster.laterAnswer(to: waiting).isParked)
        #expect(cluster.ask("a").grants.first?.stage == "score")
        cluster.wait(.milliseconds(500))
        #expect(cluster.laterAnswer(to: waiting).grants.first?.stage == "score")
    }

    @Test func blocksGoWhereTheirInputsWereMade() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 2 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 4), stage("features", blocks: 4, reads: [("ingest", .sameBlock)]))))
        let first = cluster.ask("a").grants[0]
        let second = cluster.ask("b").grants[0]
        _ = cluster.finish("a", first)
        _ = cluster.finish("b", second)
        #expect(cluster.ask("b").grants.first?.blocks == second.blocks)
        #expect(cluster.ask("a").grants.first?.blocks == first.blocks)
    }

    @Test func higherPriorityGoesFirst() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(id: "low", stage("ingest", blocks: 1))))
        cluster.send(.submitted(plan(id: "high", priority: 1, stage("other", blocks: 1))))
        #expect(cluster.ask("a").grants.first?.run == "high")
    }

    @Test func equalPrioritiesShareByWeight() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.send(.submitted(plan(id: "one", weight: 1, stage("x", blocks: 100))))
        cluster.send(.submitted(plan(id: "three", weight: 3, stage("y", blocks: 100))))
        var got: [RunID: Int] = [:]
        for _ in 0..<80 {
            let grant = cluster.ask("a").grants[0]
            got[grant.run, default: 0] += 1
            cluster.wait(.milliseconds(500))
            _ = cluster.finish("a", grant)
        }
        #expect((18...22).contains(got["one"] ?? 0), "\(got)")
    }

    @Test func idleWorkersTakeUnstartedBlocksOffRunningLeases() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 8 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("score", blocks: 8))))
        let grant = cluster.ask("a").grants[0]
        #expect(grant.blocks == 0..<8)
        cluster.wait(.seconds(1))
        _ = cluster.commit("a", grant.fence, blocks: [0], isLast: false)
        let part = cluster.ask("b").grants[0]
        // Block 1 is at work, six are not begun, half of them move.
        #expect(part.blocks == 5..<8)
        #expect(cluster.commit("a", grant.fence, blocks: [1, 2, 3, 4], isLast: false).allSatisfy { $0 == .accepted })
        #expect(cluster.commit("a", grant.fence, blocks: [5]) == [.fenced])
        #expect(cluster.finish("b", part).allSatisfy { $0 == .accepted })
        #expect(cluster.state() == .succeeded)
        #expect(cluster.scheduler.totals.blocksRedone == 0)
    }

    @Test func aStragglerIsRunASecondTimeUnlessItCostsMoney() {
        for costsMoney in [false, true] {
            var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
            cluster.join("a")
            cluster.join("b")
            cluster.send(.submitted(plan(stage("score", blocks: 3, costsMoney: costsMoney))))
            let first = cluster.ask("a").grants[0]
            cluster.wait(.seconds(1))
            _ = cluster.finish("a", first)
            let slow = cluster.ask("a").grants[0]
            let last = cluster.ask("b").grants[0]
            cluster.wait(.seconds(1))
            _ = cluster.finish("b", last)
            var token = cluster.park("b")
            for _ in 0..<4 {
                cluster.wait(.seconds(1))
                _ = cluster.beat("a", [slow.fence])
                _ = cluster.beat("b", [])
            }
            if costsMoney {
                #expect(cluster.laterAnswer(to: token).isParked)
                continue
            }
            let second = cluster.laterAnswer(to: token).grants[0]
            #expect(second.blocks == slow.blocks && cluster.scheduler.totals.speculations == 1)
            #expect(cluster.finish("b", second) == [.accepted])
            #expect(cluster.finish("a", slow) == [.duplicate])
            #expect(cluster.state() == .succeeded)
            token = cluster.park("b")
        }
    }

    @Test func pausedRunsLeaseNothingAndCancelledOnesEnd() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("x", blocks: 3))))
        let grant = cluster.ask("a").grants[0]
        cluster.send(.pause("run"))
        let token = cluster.park("a")
        #expect(cluster.state() == .paused && cluster.laterAnswer(to: token).isParked)
        #expect(cluster.finish("a", grant) == [.accepted])
        cluster.send(.resume("run"))
        let next = cluster.laterAnswer(to: token).grants[0]
        cluster.send(.cancel("run"))
        #expect(cluster.state() == .cancelled)
        #expect(cluster.beat("a", [next.fence]).commands == [.drop(next.fence)])
        #expect(cluster.finish("a", next) == [.fenced])
    }
}
