import Primitives
import Scheduling
import Testing

/// DESIGN section 6, row by row.
@Suite struct ArbitrationTests {
    /// Two blocks in one lease of a, block 0 committed, so the fence lives on with block 1 open.
    private func committedWithLiveFence() -> (Cluster, LeaseGrant) {
        var cluster = Cluster { $0.forcedLeaseBlocks = 2 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 2))))
        let grant = cluster.ask("a").grants[0]
        #expect(cluster.commit("a", grant.fence, blocks: [0], isLast: false) == [.accepted])
        return (cluster, grant)
    }

    @Test func committedSameDigestLiveFence() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [0], isLast: false) == [.duplicate])
    }

    @Test func committedSameDigestDeadFence() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [1]) == [.accepted])
        #expect(cluster.commit("a", grant.fence, blocks: [0, 1]) == [.duplicate, .duplicate])
    }

    @Test func committedOtherDigestLiveFence() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [0], content: "other", isLast: false) == [.conflict])
        #expect(cluster.scheduler.results(of: "run", stage: "ingest")[0] == Cluster.result(0))
        #expect(cluster.stage("ingest")?.conflicts == 1)
        #expect(cluster.stored.history.contains { $0.what == "conflict" && $0.detail.contains(Cluster.result(0, "other").digest.hex) })
    }

    @Test func committedOtherDigestDeadFence() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [1]) == [.accepted])
        #expect(cluster.commit("a", grant.fence, blocks: [0], content: "other") == [.fenced])
        #expect(cluster.stage("ingest")?.conflicts == 0)
    }

    @Test func uncommittedLiveFence() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [1], content: "anything") == [.accepted])
    }

    @Test func uncommittedDeadFence() {
        var (cluster, grant) = committedWithLiveFence()
        cluster.wait(.seconds(16))
        #expect(cluster.commit("a", grant.fence, blocks: [1]) == [.fenced])
        #expect(cluster.commit("a", grant.fence, blocks: [1], content: "other") == [.fenced])
    }

    @Test func theFenceOfAnotherWorkerIsDead() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("b", grant.fence, blocks: [1]) == [.fenced])
        #expect(cluster.commit("b", Fence(epoch: 1, counter: 999), blocks: [0]) == [.fenced])
    }

    @Test func blocksOutsideTheLeaseAreFenced() {
        var (cluster, grant) = committedWithLiveFence()
        #expect(cluster.commit("a", grant.fence, blocks: [7, -1], isLast: false) == [.fenced, .fenced])
    }

    @Test func aResultWithoutAnOutputThatLaterStagesReadFailsTheTask() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1), stage("fit", blocks: 1, reads: [("ingest", .allBlocks)]))))
        let grant = cluster.ask("a").grants[0]
        let token = cluster.token()
        cluster.send(
            .committed("a", [LeaseCommit(fence: grant.fence, results: [Cluster.result(0, outputs: ["wrong"])], isLast: true)], token: token)
        )
        #expect(cluster.laterAnswer(to: token).verdicts == [[.fenced]])
        #expect(cluster.state() == .failed)
        #expect(cluster.scheduler.snapshot(of: "run")?.errors.first?.code == "scheduler.output-missing")
    }
}
