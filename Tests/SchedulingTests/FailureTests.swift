import Primitives
import Scheduling
import Testing

@Suite struct FailureTests {
    @Test func transientFailuresBackOffAndEndAfterTheLastAttempt() throws {
        var cluster = Cluster { $0.maximumAttempts = 3 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("fetch", blocks: 1))))
        for attempt in 1...3 {
            // Full jitter below 1 s, then 2 s: never later than that.
            let grants = cluster.obtain("a", within: .milliseconds(1100 << max(0, attempt - 2)))
            try #require(grants.count == 1)
            cluster.fail("a", grants[0].fence, .transient, block: 0)
        }
        #expect(cluster.state() == .failed)
        #expect(cluster.stage("fetch")?.retries == 2)
        #expect(cluster.stored.tasks.values.first?.error?.code == "test.failed")
    }

    @Test func permanentFailsAtOnceAndTheRestGoesOn() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 4 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 4), stage("fit", blocks: 1, reads: [("ingest", .allBlocks)]))))
        let grant = cluster.ask("a").grants[0]
        cluster.fail("a", grant.fence, .permanent, block: 2)
        // Blocks 0, 1 and 3 are innocent.
        #expect(cluster.state() == .running)
        let first = cluster.ask("a").grants[0]
        let second = cluster.ask("a").grants[0]
        #expect(first.blocks == 0..<2 && second.blocks == 3..<4)
        _ = cluster.finish("a", first)
        _ = cluster.finish("a", second)
        #expect(cluster.state() == .failed)
        cluster.send(.retry("run"))
        #expect(cluster.state() == .running)
        _ = cluster.finish("a", cluster.ask("a").grants[0])
        _ = cluster.finish("a", cluster.ask("a").grants[0])
        #expect(cluster.state() == .succeeded)
    }

    @Test func resourceFailuresHalveTheBatchOnceForAllThatWereOut() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a", slots: 2)
        cluster.send(.submitted(plan(stage("score", blocks: 2))))
        let grants = cluster.ask("a", slots: 2).grants
        for grant in grants { cluster.fail("a", grant.fence, .resource, block: grant.blocks.lowerBound) }
        let again = cluster.ask("a", slots: 2).grants
        #expect(again.map(\.batchShift) == [1, 1])
        for grant in again { #expect(cluster.finish("a", grant) == [.accepted]) }
        #expect(cluster.state() == .succeeded)
    }

    /// Plays a child that dies whenever one of `poison` is unmasked.
    private func play(_ cluster: inout Cluster, workers: [WorkerID], poison: Set<Int>, samplesPerBlock: Int, rounds: Int = 200) -> Int {
        var deaths = 0
        for _ in 0..<rounds where cluster.state() == .running {
            for worker in workers {
                for grant in cluster.obtain(worker, within: .milliseconds(500)) {
                    let killer = grant.blocks.first { b in
                        (b * samplesPerBlock..<(b + 1) * samplesPerBlock).contains {
                            poison.contains($0) && !grant.maskedSamples.contains($0)
                        }
                    }
                    if let killer {
                        deaths += 1
                        cluster.fail(worker, grant.fence, .crash, block: killer)
                    } else {
                        _ = cluster.finish(worker, grant)
                    }
                }
            }
        }
        return deaths
    }

    @Test func aPoisonSampleIsFoundAndMaskedWhileTheRestCompletes() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("features", blocks: 4, samples: 1000, blockSize: 256))))
        let deaths = play(&cluster, workers: ["a", "b"], poison: [300], samplesPerBlock: 256)
        #expect(cluster.state() == .succeeded)
        #expect(cluster.scheduler.totals.quarantinedSamples == 1)
        #expect(cluster.stored.history.contains { $0.what == "sample-quarantined" && $0.detail.hasPrefix("sample 300:") })
        // Three to convict the block, at most one for each halving of 256, one for the sample alone.
        #expect(deaths <= 3 + 8 + 1)
    }

    @Test func twoPoisonSamplesOfOneBlockAreBothFound() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("features", blocks: 2, samples: 64, blockSize: 32))))
        _ = play(&cluster, workers: ["a"], poison: [3, 30], samplesPerBlock: 32)
        #expect(cluster.state() == .succeeded)
        #expect(cluster.scheduler.totals.quarantinedSamples == 2)
    }

    @Test func aBlockWithoutSamplesIsQuarantinedWhole() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("fit", blocks: 2))))
        let deaths = play(&cluster, workers: ["a"], poison: [1], samplesPerBlock: 1)
        #expect(cluster.state() == .failed)
        #expect(deaths == 3)
        #expect(cluster.stage("fit").map { ($0.done, $0.quarantined) } ?? (0, 0) == (1, 1))
    }

    @Test func aVanishedAgentIsNoEvidence() {
        var cluster = Cluster()
        cluster.send(.submitted(plan(stage("fit", blocks: 1))))
        for i in 0..<10 {
            let worker = WorkerID("w\(i)")
            cluster.join(worker)
            #expect(cluster.obtain(worker, within: .seconds(60)).count == 1)
            cluster.wait(.seconds(16))
        }
        #expect(cluster.state() == .running)
        #expect(cluster.stage("fit")?.failed == 0)
        #expect(cluster.scheduler.totals.workersLost == 10)
    }

    @Test func aWorkerThatFailsWhatOthersDoIsDrained() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("good")
        cluster.join("bad")
        cluster.send(.submitted(plan(stage("features", blocks: 100))))
        for _ in 0..<60 {
            for grant in cluster.ask("good").grants { _ = cluster.finish("good", grant) }
            for grant in cluster.ask("bad").grants { cluster.fail("bad", grant.fence, .transient, block: grant.blocks.lowerBound) }
            cluster.wait(.seconds(1))
        }
        let bad = cluster.scheduler.snapshot(at: cluster.now).workers.first { $0.id == "bad" }
        #expect(bad?.isDraining == true && bad?.drainReason != nil)
        #expect(cluster.scheduler.snapshot(at: cluster.now).workers.first { $0.id == "good" }?.isDraining == false)
    }
}
