import Primitives
import Scheduling
import Testing

/// The agent's brain against a coordinator that says what the script wants.
struct Agent {
    var state: WorkerState
    var now = Instant.origin
    var sent: [(token: RequestToken, request: WorkerRequest)] = []
    var started: [(slot: Int, grant: LeaseGrant)] = []
    var effects: [WorkerState.Effect] = []

    init(slots: Int = 1, _ change: (inout WorkerSettings) -> Void = { _ in }) {
        var settings = WorkerSettings()
        change(&settings)
        let hello = WorkerHello(
            worker: "w", bootNonce: 1, tags: ["cpu"], slots: slots, memoryBytes: 1, numericsClass: "x86", build: "test", host: "box",
            heldFences: [])
        state = WorkerState(hello: hello, settings: settings, seed: 3)
    }

    @discardableResult
    mutating func send(_ event: WorkerState.Event) -> [WorkerState.Effect] {
        let made = state.handle(event, at: now)
        effects += made
        for effect in made {
            if case .send(let token, let request) = effect { sent.append((token, request)) }
            if case .startLease(let slot, let grant) = effect { started.append((slot, grant)) }
        }
        return made
    }

    mutating func wait(_ duration: Duration) {
        let end = now + duration
        while let due = state.nextDeadline, due <= end {
            now = max(now, due)
            send(.tick)
        }
        now = end
    }

    mutating func join() {
        send(.started)
        for slot in 0..<state.hello.slots { send(.slotReady(slot)) }
        answer(.welcome(epoch: 1, beatInterval: .seconds(3), keep: [], drop: [])) { if case .hello = $0 { true } else { false } }
    }

    /// Answers the newest request that matches.
    mutating func answer(_ reply: WorkerReply, _ commands: [WorkerCommand] = [], to matches: (WorkerRequest) -> Bool) {
        guard let last = sent.last(where: { matches($0.request) }) else { return }
        send(.replied(last.token, reply, commands: commands))
    }

    mutating func grant(_ counter: UInt64, _ blocks: Range<Int>) -> LeaseGrant {
        let grant = LeaseGrant(
            fence: Fence(epoch: 1, counter: counter), run: "run", stage: "score", kind: "score", codeVersion: 1, parameters: "{}",
            blocks: blocks,
            inputs: [], timeToLive: .seconds(15))
        answer(.grants([grant], retryAfter: .zero)) { if case .lease = $0 { true } else { false } }
        return grant
    }

    var commits: [[LeaseCommit]] { sent.compactMap { if case .commit(let commits) = $0.request { commits } else { nil } } }
    var beats: Int { sent.count { if case .beat = $0.request { true } else { false } } }
    var leaseRequests: Int { sent.count { if case .lease = $0.request { true } else { false } } }
}

@Suite struct WorkerStateTests {
    @Test func aLeaseRunsIsCommittedAndForgotten() {
        var agent = Agent()
        agent.join()
        let grant = agent.grant(1, 0..<2)
        #expect(agent.started.map(\.grant) == [grant])
        agent.send(.blockFinished(grant.fence, Cluster.result(0)))
        #expect(agent.commits.last == [LeaseCommit(fence: grant.fence, results: [Cluster.result(0)], isLast: false)])
        // While that commit is open the next results wait for it.
        agent.send(.blockFinished(grant.fence, Cluster.result(1)))
        agent.send(.leaseFinished(slot: 0, grant.fence))
        #expect(agent.commits.count == 1)
        agent.answer(.committed([[.accepted]])) { if case .commit = $0 { true } else { false } }
        #expect(agent.commits.last == [LeaseCommit(fence: grant.fence, results: [Cluster.result(1)], isLast: true)])
        agent.answer(.committed([[.accepted]])) { if case .commit = $0 { true } else { false } }
        #expect(agent.state.heldFences.isEmpty)
        #expect(agent.effects.contains(.leaseSettled(grant.fence)))
        #expect(agent.leaseRequests == 2)
    }

    @Test func aLostReplyIsAskedForAgain() {
        var agent = Agent { $0.requestTimeout = .seconds(1) }
        agent.join()
        let grant = agent.grant(1, 0..<1)
        agent.send(.blockFinished(grant.fence, Cluster.result(0)))
        agent.send(.leaseFinished(slot: 0, grant.fence))
        let first = agent.commits.count
        agent.wait(.seconds(3))
        #expect(agent.commits.count > first && agent.commits.last?.first?.results == [Cluster.result(0)])
        agent.answer(.committed([[.duplicate]])) { if case .commit = $0 { true } else { false } }
        #expect(agent.state.heldFences.isEmpty && agent.state.counters.duplicates == 1)
    }

    @Test func whileTheHeadIsAwayWorkGoesOnAndHelloPresentsIt() {
        var agent = Agent(slots: 2)
        agent.join()
        let grant = agent.grant(1, 0..<2)
        agent.send(.connectionLost)
        agent.send(.blockFinished(grant.fence, Cluster.result(0)))
        agent.wait(.seconds(60))
        agent.send(.blockFinished(grant.fence, Cluster.result(1)))
        agent.send(.leaseFinished(slot: 0, grant.fence))
        #expect(agent.commits.isEmpty && agent.state.parkedResults == 2)
        agent.send(.connectionRestored)
        guard case .hello(let hello)? = agent.sent.last?.request else { return #expect(Bool(false), "no hello") }
        #expect(hello.heldFences == [grant.fence])
        #expect(hello.heldLeases == [HeldLease(fence: grant.fence, run: "run", stage: "score", blocks: 0..<2)])
        agent.answer(.welcome(epoch: 2, beatInterval: .seconds(3), keep: [grant.fence], drop: [])) {
            if case .hello = $0 { true } else { false }
        }
        #expect(agent.commits.last?.first?.results.count == 2)
    }

    @Test func deadFencesStopTheirChildAndADeafChildIsKilled() {
        var agent = Agent { $0.cancelGrace = .seconds(2) }
        agent.join()
        let grant = agent.grant(1, 0..<2)
        agent.wait(.seconds(3))
        agent.answer(.beat(timeToLive: .seconds(15), next: nil), [.drop(grant.fence)]) { if case .beat = $0 { true } else { false } }
        #expect(agent.effects.contains(.cancelSlot(0)) && agent.state.heldFences.isEmpty)
        #expect(!agent.effects.contains(.killSlot(0)))
        agent.wait(.seconds(2))
        #expect(agent.effects.contains(.killSlot(0)))
        agent.send(.slotReady(0))
        #expect(agent.state.nextDeadline != nil)
    }

    @Test func aBeatsAnswerSaysWhenToBeatAndThatThereIsWork() {
        var agent = Agent()
        agent.join()
        agent.answer(.grants([], retryAfter: .seconds(30))) { if case .lease = $0 { true } else { false } }
        agent.wait(.seconds(3))
        let (asked, beats) = (agent.leaseRequests, agent.beats)
        agent.answer(.beat(timeToLive: .seconds(15), next: .milliseconds(1500))) { if case .beat = $0 { true } else { false } }
        agent.wait(.milliseconds(1400))
        #expect(agent.beats == beats && agent.leaseRequests == asked)
        agent.wait(.milliseconds(200))
        #expect(agent.beats == beats + 1)
        agent.answer(.beat(timeToLive: .seconds(15), next: nil), [.ask]) { if case .beat = $0 { true } else { false } }
        #expect(agent.leaseRequests == asked + 1)
    }

    @Test func nothingIsBegunOnALeaseThatMayBeDead() {
        var agent = Agent { $0.prefetchedLeases = 1 }
        agent.join()
        let first = agent.grant(1, 0..<1)
        _ = agent.grant(2, 1..<2)
        #expect(agent.started.count == 1)
        // No beat is answered for longer than the lease lives; the running child goes on, the queued lease does not begin.
        agent.wait(.seconds(20))
        agent.send(.blockFinished(first.fence, Cluster.result(0)))
        agent.send(.leaseFinished(slot: 0, first.fence))
        #expect(agent.started.count == 1)
        agent.wait(.seconds(10))
        agent.answer(.beat(timeToLive: .seconds(15), next: nil)) { if case .beat = $0 { true } else { false } }
        #expect(agent.started.count == 2)
    }

    @Test func aDeadChildIsReportedAfterWhatItFinished() {
        var agent = Agent()
        agent.join()
        let grant = agent.grant(1, 4..<8)
        agent.send(.blockFinished(grant.fence, Cluster.result(4)))
        agent.send(.slotDied(0, .crash, AMAFError("worker.child-died", "signal 11")))
        #expect(!agent.sent.contains { if case .fail = $0.request { true } else { false } }, "the finished block comes first")
        agent.answer(.committed([[.accepted]])) { if case .commit = $0 { true } else { false } }
        guard case .fail(let fence, let report)? = agent.sent.last?.request else { return #expect(Bool(false), "no failure was sent") }
        #expect(fence == grant.fence && report.block == 5 && report.failureClass == .crash)
        // The slot takes no work until its new child is ready.
        #expect(agent.leaseRequests == 1)
        agent.answer(.noted) { if case .fail = $0 { true } else { false } }
        agent.send(.slotReady(0))
        #expect(agent.leaseRequests == 2)
    }

    @Test func drainReturnsTheQueueFinishesTheRestAndLeaves() {
        var agent = Agent { $0.prefetchedLeases = 1 }
        agent.join()
        let running = agent.grant(1, 0..<1)
        let queued = agent.grant(2, 1..<2)
        agent.send(.drainRequested(within: nil))
        #expect(agent.sent.contains { $0.request == .release([queued.fence]) })
        agent.answer(.noted) { if case .release = $0 { true } else { false } }
        agent.send(.blockFinished(running.fence, Cluster.result(0)))
        agent.send(.leaseFinished(slot: 0, running.fence))
        agent.answer(.committed([[.accepted]])) { if case .commit = $0 { true } else { false } }
        #expect(agent.sent.last?.request == .bye)
        agent.answer(.noted) { $0 == .bye }
        #expect(agent.effects.last == .exit && agent.state.hasLeft)
    }

    @Test func aSpotNoticeReturnsWhatCannotFinish() {
        var agent = Agent()
        agent.join()
        let grant = agent.grant(1, 0..<9)
        agent.send(.drainRequested(within: .seconds(2)))
        agent.wait(.seconds(2))
        #expect(agent.effects.contains(.cancelSlot(0)))
        #expect(agent.sent.contains { $0.request == .release([grant.fence]) })
    }

    @Test func retriesAreSpreadAndBounded() {
        var agent = Agent { $0.requestTimeout = .seconds(1) }
        agent.send(.started)
        agent.wait(.seconds(120))
        let hellos = agent.sent.count
        // 1 s of patience and at most 10 s of waiting each; without backoff there would be 120.
        #expect((11...60).contains(hellos), "\(hellos)")
    }

    private func answer(_ agent: inout Agent, commit number: Int, _ verdicts: [[CommitVerdict]]) {
        let commits = agent.sent.filter { if case .commit = $0.request { true } else { false } }
        agent.send(.replied(commits[number].token, .committed(verdicts), commands: []))
    }

    /// Full commits follow each other without waiting; the one that ends the lease waits for all before it.
    @Test func fullCommitsDoNotWaitForEachOther() {
        var agent = Agent { ($0.maximumCommitResults, $0.openCommits) = (1, 3) }
        agent.join()
        let grant = agent.grant(1, 0..<5)
        for block in 0..<5 { agent.send(.blockFinished(grant.fence, Cluster.result(block))) }
        agent.send(.leaseFinished(slot: 0, grant.fence))
        #expect(agent.commits.map { $0[0].results.map(\.block) } == [[0], [1], [2]])
        #expect(agent.commits.allSatisfy { !$0[0].isLast })
        answer(&agent, commit: 1, [[.accepted]])
        #expect(agent.commits.last?[0].results.map(\.block) == [3])
        // Replies may overtake each other. Block 4 stays back until nothing else of the lease is under way.
        answer(&agent, commit: 0, [[.accepted]])
        answer(&agent, commit: 3, [[.accepted]])
        #expect(agent.commits.count == 4)
        answer(&agent, commit: 2, [[.accepted]])
        #expect(agent.commits.last?[0].results.map(\.block) == [4] && agent.commits.last?[0].isLast == true)
        #expect(agent.state.heldFences == [grant.fence])
        answer(&agent, commit: 4, [[.accepted]])
        #expect(agent.state.heldFences.isEmpty && agent.effects.contains(.leaseSettled(grant.fence)))
        #expect(agent.state.counters.accepted == 5)
    }

    @Test func aLostCommitLeavesTheOthersAlone() throws {
        var agent = Agent { ($0.maximumCommitResults, $0.openCommits) = (1, 3) }
        agent.join()
        let grant = agent.grant(1, 0..<4)
        for block in 0..<2 { agent.send(.blockFinished(grant.fence, Cluster.result(block))) }
        let first = try #require(agent.sent.first { if case .commit = $0.request { true } else { false } })
        agent.send(.requestFailed(first.token))
        answer(&agent, commit: 1, [[.accepted]])
        agent.wait(.seconds(1))
        #expect(agent.commits.last?[0].results.map(\.block) == [0])
        #expect(agent.state.parkedResults == 1)
    }

    /// Bytes that are gone cannot be committed: the lease goes back instead of being tried for ever.
    @Test func aLeaseWithoutItsBytesGoesBack() {
        var agent = Agent()
        agent.join()
        let grant = agent.grant(1, 0..<2)
        agent.send(.blockFinished(grant.fence, Cluster.result(0)))
        agent.send(.outputsLost(grant.fence))
        #expect(agent.effects.contains(.cancelSlot(0)))
        #expect(agent.sent.contains { $0.request == .release([grant.fence]) })
        agent.answer(.noted) { if case .release = $0 { true } else { false } }
        #expect(agent.state.heldFences.isEmpty)
    }

    @Test func noMoreWorkIsAskedForThanCanBeToldOf() {
        var agent = Agent { $0.maximumUnsettledLeases = 2 }
        agent.join()
        for number in 1...3 {
            let grant = agent.grant(UInt64(number), number..<number + 1)
            agent.send(.blockFinished(grant.fence, Cluster.result(number)))
            agent.send(.leaseFinished(slot: 0, grant.fence))
        }
        // One slot, and two leases that still wait for their verdicts.
        let asked = agent.leaseRequests
        #expect(agent.state.heldFences.count == 3 && asked == 3)
        answer(&agent, commit: 0, [[.accepted]])
        #expect(agent.leaseRequests == 4)
    }

    /// Once, SIGTERM did not end a worker that the head turned down.
    @Test func aDrainedWorkerThatNeverJoinedLeaves() {
        var agent = Agent()
        agent.send(.started)
        agent.send(.drainRequested(within: .seconds(20)))
        #expect(agent.state.hasLeft && agent.effects.contains(.exit))
    }

    /// With results in hand it waits for the head until its deadline.
    @Test func aDrainedWorkerWaitsForItsHeadUntilTheDeadline() {
        var agent = Agent()
        agent.join()
        let grant = agent.grant(1, 0..<2)
        agent.send(.blockFinished(grant.fence, Cluster.result(0)))
        agent.send(.connectionLost)
        agent.send(.drainRequested(within: .seconds(20)))
        agent.wait(.seconds(19))
        #expect(!agent.state.hasLeft)
        agent.wait(.seconds(2))
        #expect(agent.state.hasLeft && agent.effects.contains(.exit))
    }
}
