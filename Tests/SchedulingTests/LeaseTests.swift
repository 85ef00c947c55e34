import Primitives
import Scheduling
import Testing

@Suite struct LeaseTests {
    @Test func aRunGoesFromSubmissionToItsEnd() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 3), stage("fit", blocks: 1, reads: [("ingest", .allBlocks)]))))
        var done: [Int] = []
        while done.count < 3 {
            let grant = cluster.ask("a").grants[0]
            #expect(grant.stage == "ingest")
            #expect(cluster.finish("a", grant) == grant.blocks.map { _ in .accepted })
            done += grant.blocks
        }
        #expect(done == [0, 1, 2])
        let fit = cluster.ask("a").grants[0]
        #expect(fit.stage == "fit")
        #expect(fit.inputs == [.init(name: "ingest", reach: .allBlocks, digests: (0..<3).map { Cluster.result($0).outputs[0].digest })])
        #expect(cluster.finish("a", fit) == [.accepted])
        #expect(cluster.state() == .succeeded)
        #expect(cluster.log.contains(.runEnded("run", .succeeded)))
        #expect(cluster.log.count { if case .blockCommitted = $0 { true } else { false } } == 4)
    }

    @Test func blocksFlowOnWithoutStageBarriers() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 2), stage("features", blocks: 2, reads: [("ingest", .sameBlock)]))))
        let first = cluster.ask("a").grants[0]
        let second = cluster.ask("b").grants[0]
        #expect((first.blocks, second.blocks) == (0..<1, 1..<2))
        _ = cluster.finish("a", first)
        let features = cluster.ask("a").grants[0]
        #expect(features.stage == "features" && features.blocks == 0..<1)
        #expect(features.inputs[0].digests == [Cluster.result(0).outputs[0].digest])
    }

    @Test func requestsAreParkedUntilThereIsWork() {
        var cluster = Cluster()
        cluster.join("a")
        let token = cluster.park("a")
        #expect(cluster.laterAnswer(to: token).isParked)
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        #expect(cluster.laterAnswer(to: token).grants.count == 1)
    }

    @Test func aParkedRequestIsAnsweredInTime() {
        var cluster = Cluster()
        cluster.join("a")
        let token = cluster.park("a")
        cluster.wait(.seconds(9))
        #expect(cluster.laterAnswer(to: token).isParked)
        cluster.wait(.seconds(2))
        #expect(cluster.laterAnswer(to: token).reply == .grants([], retryAfter: .zero))
    }

    @Test func moreRequestsThanParkingPlacesAreToldWhenToAsk() {
        var cluster = Cluster { $0.maximumParkedRequests = 1 }
        cluster.join("a")
        cluster.join("b")
        _ = cluster.park("a")
        guard case .grants(let grants, let retryAfter)? = cluster.ask("b").reply else { return #expect(Bool(false), "no answer") }
        #expect(grants.isEmpty && retryAfter > .zero && retryAfter <= .milliseconds(750))
    }

    @Test func workersThatWouldWaitLongHearOfWorkWithTheirBeats() {
        var cluster = Cluster {
            $0.maximumParkedRequests = 1
            $0.unparkedRequestsPerSecond = 1
        }
        for worker in ["a", "b", "c"] { cluster.join(WorkerID(worker), tags: worker == "c" ? ["net"] : ["cpu"]) }
        _ = cluster.park("a")
        for worker: WorkerID in ["b", "c"] {
            guard case .grants([], let pause)? = cluster.ask(worker).reply else { return #expect(Bool(false), "no answer") }
            #expect(pause >= .seconds(15), "it asks by itself only in case that a beat's word is lost")
            #expect(cluster.beat(worker, []).commands == [], "there is nothing to do")
        }
        cluster.send(.submitted(plan(stage("ingest", blocks: 4, placement: StagePlacement(requires: ["cpu"])))))
        #expect(cluster.beat("b", []).commands == [.ask])
        #expect(cluster.beat("c", []).commands == [], "none of it is for this worker")
        #expect(cluster.ask("b").grants.count == 1)
        #expect(cluster.beat("b", []).commands == [], "it was not turned away this time")
    }

    /// Ninety workers that greeted at odd moments settle into thirty groups, and none is silent for much longer than an interval.
    @Test func beatsComeInGroups() {
        var cluster = Cluster()
        let interval = 3_000.0
        var due: [(at: Instant, worker: WorkerID)] = []
        for i in 0..<90 {
            cluster.wait(.milliseconds(i * 7 % 23))
            cluster.join(WorkerID("w\(i)"))
            due.append((cluster.now + .seconds(3), WorkerID("w\(i)")))
        }
        var heard: [Int64: Int] = [:]
        for round in 0..<5 {
            for i in due.sorted(by: { $0.at < $1.at }).map({ entry in due.firstIndex { $0.worker == entry.worker } ?? 0 }) {
                cluster.wait(max(.zero, due[i].at - cluster.now))
                guard case .beat(_, let next?)? = cluster.beat(due[i].worker, []).reply else { return #expect(Bool(false), "no beat") }
                #expect(next.seconds * 1000 > interval / 60 && next.seconds * 1000 <= interval * 61 / 60)
                if round == 4 { heard[due[i].at.nanoseconds % 3_000_000_000, default: 0] += 1 }
                due[i].at = cluster.now + next
            }
        }
        #expect(heard.count == 30 && heard.values.allSatisfy { $0 == 3 })
    }

    @Test func aCrashedWorkersLeaseGoesToAnother() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        let lost = cluster.ask("a").grants[0]
        let token = cluster.park("b")
        // Nothing is heard of a; b is served when the fence dies at its deadline, and keeps asking meanwhile.
        cluster.wait(.seconds(8))
        #expect(cluster.laterAnswer(to: token).isParked)
        let again = cluster.park("b")
        cluster.wait(.seconds(8))
        #expect(cluster.laterAnswer(to: again).grants.first?.blocks == 0..<1)
        #expect(cluster.commit("a", lost.fence, blocks: [0]) == [.fenced])
        #expect(cluster.scheduler.totals.leasesExpired == 1)
        #expect(cluster.scheduler.totals.blocksRedone == 1)
    }

    @Test func aLostPipeAllowsASecondFenceAtOnce() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        let first = cluster.ask("a").grants[0]
        let token = cluster.park("b")
        cluster.send(.pipeLost("a"))
        let second = cluster.laterAnswer(to: token).grants[0]
        #expect(second.blocks == 0..<1 && second.fence != first.fence)
        // Both fences live: the first result counts, the other is a duplicate.
        #expect(cluster.commit("a", first.fence, blocks: [0]) == [.accepted])
        #expect(cluster.commit("b", second.fence, blocks: [0]) == [.duplicate])
        #expect(cluster.state() == .succeeded)
    }

    @Test func whereMoneyIsSpentTheDeadlineIsWaitedFor() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("annotate", blocks: 1, costsMoney: true))))
        _ = cluster.ask("a").grants[0]
        let token = cluster.park("b")
        cluster.send(.pipeLost("a"))
        #expect(cluster.laterAnswer(to: token).isParked)
        cluster.wait(.seconds(9))
        let again = cluster.park("b")
        cluster.wait(.seconds(7))
        #expect(cluster.laterAnswer(to: again).grants.count == 1)
    }

    @Test func beatsKeepALeaseAndTellWhichFencesAreDead() {
        var cluster = Cluster()
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 1))))
        let grant = cluster.ask("a").grants[0]
        for _ in 0..<20 {
            cluster.wait(.seconds(3))
            #expect(cluster.beat("a", [grant.fence]).commands == [])
        }
        let dead = Fence(epoch: 1, counter: 77)
        #expect(cluster.beat("a", [grant.fence, dead]).commands == [.drop(dead)])
        #expect(cluster.finish("a", grant) == [.accepted])
    }

    @Test func leaseSizesFollowTheMeasuredSpeed() {
        var cluster = Cluster { $0.tasksPerSlot = 8 }
        cluster.join("a", slots: 1)
        cluster.send(.submitted(plan(stage("ingest", blocks: 1000))))
        var sizes: [Int] = []
        for _ in 0..<6 {
            let grant = cluster.ask("a").grants[0]
            sizes.append(grant.blocks.count)
            // 0.2 s a block: 10 s are 50 blocks.
            cluster.wait(.milliseconds(200 * grant.blocks.count))
            _ = cluster.beat("a", [grant.fence])
            _ = cluster.finish("a", grant)
        }
        #expect(sizes[0] <= 2)
        #expect((45...50).contains(sizes[5]), "\(sizes)")
    }

    @Test func partOfALeaseMayBeCommittedFirst() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 4 }
        cluster.join("a")
        cluster.join("b")
        cluster.send(.submitted(plan(stage("ingest", blocks: 4))))
        let grant = cluster.ask("a").grants[0]
        #expect(grant.blocks == 0..<4)
        #expect(cluster.commit("a", grant.fence, blocks: [0, 1], isLast: false) == [.accepted, .accepted])
        cluster.wait(.seconds(16))
        // Only the rest is done again.
        let rest = cluster.ask("b").grants[0]
        #expect(rest.blocks == 2..<4)
    }

    @Test func lastWithoutTheRestGivesTheRestBack() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 4 }
        cluster.join("a")
        cluster.send(.submitted(plan(stage("ingest", blocks: 4))))
        let grant = cluster.ask("a").grants[0]
        #expect(cluster.commit("a", grant.fence, blocks: [0, 1], isLast: true) == [.accepted, .accepted])
        #expect(cluster.ask("a").grants.first?.blocks == 2..<4)
    }

    @Test func drainReturnsWhatIsLeftAndByeEndsTheRest() {
        var cluster = Cluster { $0.forcedLeaseBlocks = 1 }
        cluster.join("a", slots: 2)
        cluster.join("b", slots: 2)
        cluster.send(.submitted(plan(stage("ingest", blocks: 2))))
        let grants = cluster.ask("a", slots: 2).grants
        #expect(grants.count == 2)
        cluster.send(.drain("a"))
        #expect(cluster.beat("a", grants.map(\.fence)).commands == [.drain])
        let token = cluster.token()
        cluster.send(.released("a", [grants[1].fence], token: token))
        #expect(cluster.ask("a").grants.isEmpty)
        #expect(cluster.ask("b").grants.first?.blocks == 1..<2)
        let bye = cluster.token()
        cluster.send(.bye("a", bye))
        #expect(cluster.ask("b").grants.first?.blocks == 0..<1)
        #expect(cluster.ask("a").commands == [.rejoin])
    }

    @Test func strangersAreToldToJoin() {
        var cluster = Cluster()
        #expect(cluster.beat("a", []).commands == [.rejoin])
        #expect(cluster.ask("a").commands == [.rejoin])
    }
}
