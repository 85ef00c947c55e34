import Primitives
import Scheduling

/// The head: the coordinator's own pump, turned by hand, and the moments at which it may die.
extension World {
    mutating func startHead() {
        guard head == nil else { return }
        headGeneration += 1
        let (epoch, state) = journal.open()
        var scheduler = Scheduler(settings: scenario.settings, epoch: epoch, seed: 99, recovering: state, at: schedulerNow)
        switch bug {
        case .fenceIgnored?: scheduler.defects = .fenceIgnored
        case .hashOrder?: scheduler.defects = .hashOrder
        case .lastResultWins?: scheduler.defects = .lastResultWins
        case .commitBeforeJournal?: scheduler.defects = .answersBeforeJournal
        case .leaseOnWallClock?, nil: break
        }
        head = Head(pump: Pump(scheduler, journal: journal), generation: headGeneration)
        checker.headStarted(at: now, grace: scenario.settings.recoveryGrace)
        noteRecovery(state)
        if nextRecoveryCrashes {
            nextRecoveryCrashes = false
            coverage.note("fault: \(FaultKind.killHeadInRecovery.rawValue)")
            // Dies with its first transaction under way.
            turnHead(isFirst: true)
            return killHead(tearing: chance(0.5))
        }
        for w in boxes.indices where !boxes[w].isCut { workerHears(w, boxes[w].boot, .connectionRestored, orElse: nil) }
        turnHead(isFirst: true)
    }

    private mutating func noteRecovery(_ state: StoredState) {
        if state.tasks.contains(where: { !$0.maskedSamples.isEmpty && $0.state != .done }) { coverage.note("masks known to a new head") }
        for box in boxes {
            if let parked = box.state?.parkedResults, parked > 0 { coverage.note("results parked while the head was away", parked) }
        }
    }

    mutating func killHead(tearing isTorn: Bool) {
        guard let dying = head else { return }
        let wasWriting = dying.isStoring
        if wasWriting { coverage.note(isTorn ? "fault: transaction torn" : "fault: transaction kept by a crash") }
        let isWhole = journal.crash(after: now - dying.turnedAt, tearing: isTorn)
        if !isWhole || dying.isBlocked { checker.rollBack() } else { checker.confirm() }
        head = nil
        let unanswered = operators.sorted { $0.key < $1.key }
        operators = [:]
        for (_, event) in unanswered { later(.operatorDoes(event), seconds(1, 3)) }
        for w in boxes.indices where chance(0.7) { workerHears(w, boxes[w].boot, .connectionLost, orElse: nil) }
        later(.startHead, seconds(0.2, 8))
    }

    /// The clock that the scheduler is given: our own, unless the planted bug takes the wall's.
    var schedulerNow: Instant { bug == .leaseOnWallClock ? now + .seconds(7200) + wallOffset : now }

    /// Hands the head something that no worker's request brings. Operators ask again until they are answered.
    mutating func deliver(_ event: Scheduler.Event) {
        if case .pipeLost = event {
            head?.inbox.append((event, nil))
            return turnHead()
        }
        guard let head else { return later(.operatorDoes(event), .seconds(1)) }
        operators[nextTicket] = event
        head.inbox.append((event, nextTicket))
        nextTicket += 1
        turnHead()
    }

    mutating func headReceives(_ w: Int, _ boot: Int, _ token: RequestToken, _ request: WorkerRequest) {
        guard let head, !boxes[w].isCut else { return }
        head.requests += 1
        let number = head.requests
        let headToken = head.pump.expect(number)
        precondition(headToken.rawValue == number, "request \(number) of this head waits under \(headToken)")
        let id = scenario.boxes[w].id
        var asked = Head.Asked(worker: w, boot: boot, token: token, commits: [], renewedBefore: [:], at: now)
        let event: Scheduler.Event
        switch request {
        case .hello(let hello): event = .hello(hello, headToken)
        case .lease(let freeSlots): event = .leaseRequested(id, freeSlots: freeSlots, token: headToken)
        case .beat(let fences): event = .beat(id, leases: fences, token: headToken)
        case .commit(let commits):
            asked.commits = commits
            if head.isBlocked { coverage.note("commits to a head whose store refused") }
            event = .committed(id, commits, token: headToken)
        case .fail(let fence, let report):
            coverage.note("failure: \(report.failureClass.rawValue)")
            event = .failed(id, fence, report, token: headToken)
        case .release(let fences): event = .released(id, fences, token: headToken)
        case .bye: event = .bye(id, headToken)
        }
        head.asked[number] = asked
        head.inbox.append((event, nil))
        turnHead()
    }

    mutating func headTicks(_ generation: Int) {
        guard head?.generation == generation, head?.tickAt == now else { return }
        head?.tickAt = nil
        turnHead()
    }

    /// One turn of the pump with what lies in the inbox, if the head's thread is free.
    ///
    /// - Parameter isFirst: of this head, to store what recovery decided.
    mutating func turnHead(isFirst: Bool = false) {
        guard let head, !head.isStoring, head.pausedUntil == nil else { return }
        let instant = schedulerNow
        let isDue = head.deadline.map { $0 <= instant } ?? false
        let isBlocked = head.isBlocked
        guard !head.inbox.isEmpty || isDue || isBlocked || isFirst else { return armHeadTick() }
        let batch = head.inbox
        head.inbox = []
        head.turnedAt = now
        if isBlocked { coverage.note("turns while the store refused") }
        journal.beginTurn()
        for (event, ticket) in batch {
            watch(event)
            // The shell brings the bytes of every output into the transaction that names it.
            switch event {
            case .committed(_, let commits, _):
                for commit in commits { for result in commit.results { head.pump.bring(result.outputs.map(\.digest)) } }
            case .answered(_, _, let results): head.pump.bring(results.flatMap(\.outputs).map(\.digest))
            default: break
            }
            head.pump.handle(event, at: instant)
            if let ticket { head.pump.answer(ticket, with: true) }
            checkInvariants(head)
        }
        let journal = journal
        var early: [Pump.Outgoing] = []
        var leaving: [Pump.Outgoing] = []
        head.pump.settle(at: instant) { outgoing in
            // What is sent before a write leaves before it.
            if journal.elapsed == .zero { early.append(outgoing) } else { leaving.append(outgoing) }
        }
        checkInvariants(head)
        head.isBlocked = head.pump.isBlocked
        head.deadline = head.pump.scheduler.nextDeadline
        judgeHistory()
        if journal.elapsed == .zero {
            checker.confirm()
            perform(early)
            return armHeadTick()
        }
        head.isStoring = true
        head.leaving = leaving
        later(.stored(head: headGeneration), journal.elapsed)
        if let what = journal.deadly { later(.headDiesWriting(head: headGeneration, what), journal.elapsed * 9 / 10) }
        perform(early)
    }

    private func checkInvariants(_ head: Head) {
        head.handled += 1
        head.pump.checkInvariants(inFull: head.handled % 64 == 0)
    }

    /// What the head decided in this turn, seen from its history.
    private mutating func judgeHistory() {
        for entry in journal.takeHistory() {
            if let narrator {
                let blocks = entry.blocks.map { "\($0)" } ?? ""
                let fence = entry.fence.map { "\($0)" } ?? ""
                narrator(
                    "\(now)   \(entry.what) \(entry.stage?.rawValue ?? "") \(blocks) \(fence) \(entry.worker?.rawValue ?? "") \(entry.detail)"
                )
            }
            coverage.noteHistory(entry.what)
            trace(UInt64(entry.what.utf8.count) ^ (entry.fence?.rawValue ?? 0))
            guard let fence = entry.fence else { continue }
            if entry.what == "leased" { checker.leased(fence, at: now) }
            if entry.what == "expired" { checker.died(fence, at: now) }
            if entry.what == "adopted" {
                checker.adopted(fence, by: journal.store.epoch, at: now)
                // A commit of the same batch came after the HELLO that brought the fence back.
                for number in (head?.asked ?? [:]).keys where head?.asked[number]?.renewedBefore[fence] != nil {
                    head?.asked[number]?.renewedBefore[fence] = now
                }
            }
        }
    }

    mutating func headStored(_ generation: Int) {
        guard let head, head.generation == generation, head.isStoring else { return }
        journal.finishTurn()
        head.isStoring = false
        if !head.isBlocked { checker.confirm() }
        let leaving = head.leaving
        head.leaving = []
        perform(leaving)
        turnHead()
        armHeadTick()
    }

    private mutating func armHeadTick() {
        guard let head, !head.isStoring, let deadline = head.isBlocked ? schedulerNow + Pump.retryInterval : head.deadline else { return }
        let at = bug == .leaseOnWallClock ? max(now, now + (deadline - schedulerNow)) : max(now, deadline)
        if let armed = head.tickAt, armed <= at, armed > now { return }
        head.tickAt = at
        queue.add(.headTick(head: headGeneration), at: at)
    }

    /// What a fence's life depends on, seen at the moment when the head handles the message.
    private mutating func watch(_ event: Scheduler.Event) {
        switch event {
        case .hello(let hello, _):
            guard let w = index(of: hello.worker) else { return }
            checker.present.insert(w)
            for fence in hello.heldFences { _ = checker.renewed(fence, by: w, at: now) }
            checker.greeted(by: w, held: hello.heldFences)
        case .beat(let id, let fences, _):
            guard let w = present(id) else { return }
            for fence in fences { _ = checker.renewed(fence, by: w, at: now) }
        case .committed(let id, let commits, let token):
            guard let w = present(id) else { return }
            for commit in commits {
                let before = checker.renewed(commit.fence, by: w, at: now)
                head?.asked[token.rawValue]?.renewedBefore[commit.fence] = before
                if commit.isLast { checker.ended(commit.fence, by: w) }
            }
            head?.asked[token.rawValue]?.at = now
        case .failed(let id, let fence, _, _):
            if let w = present(id) { checker.ended(fence, by: w) }
        case .released(let id, let fences, _):
            if let w = present(id) { for fence in fences { checker.ended(fence, by: w) } }
        case .bye(let id, _):
            if let w = index(of: id) {
                checker.greeted(by: w, held: [])
                checker.present.remove(w)
            }
        default: break
        }
    }

    /// A worker that said HELLO to this head; others are only told to.
    private func present(_ id: WorkerID) -> Int? { index(of: id).flatMap { checker.present.contains($0) ? $0 : nil } }

    func index(of id: WorkerID) -> Int? { scenario.boxes.firstIndex { $0.id == id } }

    /// What leaves the head reaches the network and the operators.
    private mutating func perform(_ outgoing: [Pump.Outgoing]) {
        for one in outgoing {
            switch one {
            case .reply(let number, let reply, let commands): answer(number, reply, commands)
            case .answer(let ticket, _):
                if let event = operators.removeValue(forKey: ticket) { operatorHears(event) }
            case .outward(.runEnded(let run, let state)):
                trace(UInt64(state.rawValue.utf8.count))
                // An operator looks at a failed run and tries once more.
                if state == .failed, retried.insert(run).inserted, chance(0.5) { later(.operatorDoes(.retry(run)), seconds(1, 5)) }
            case .outward(.ask(let run, let stage)): later(.answer(run, stage), seconds(0.5, 10))
            case .outward(.blockCommitted(_, _, let result)): trace(UInt64(result.block))
            case .outward(.reply): preconditionFailure("the pump handed out a reply as an effect")
            }
        }
    }

    /// What was asked for is durable. What holds things up is undone after a while.
    private mutating func operatorHears(_ event: Scheduler.Event) {
        switch event {
        case .submitted(let plan):
            if !journal.store.runs.contains(where: { $0.plan.id == plan.id }) {
                checker.violate("\(plan.id) was said to be stored and is not", at: now)
            }
        case .drain(let worker): later(.operatorDoes(.undrain(worker)), seconds(5, 20))
        case .pause(let run): later(.operatorDoes(.resume(run)), seconds(1, 10))
        default: break
        }
    }

    private mutating func answer(_ number: UInt64, _ reply: WorkerReply, _ commands: [WorkerCommand]) {
        guard let asked = head?.asked.removeValue(forKey: number) else {
            return checker.violate("a request was answered twice or never asked", at: now)
        }
        switch reply {
        case .grants(let grants, _):
            for grant in grants {
                trace(grant.fence.rawValue ^ UInt64(asked.worker) << 32)
                let plan = scenario.plans.first { $0.id == grant.run }
                checker.granted(
                    grant, to: asked.worker, box: scenario.boxes[asked.worker], plan: plan, store: journal.store, at: head?.turnedAt ?? now)
            }
        case .committed(let verdicts):
            for (commit, list) in zip(asked.commits, verdicts) {
                for (result, verdict) in zip(commit.results, list) {
                    coverage.note("verdict: \(verdict.rawValue)")
                    checker.judged(
                        commit.fence, result, verdict, from: asked.worker, decidedAt: asked.at,
                        renewedBefore: asked.renewedBefore[commit.fence], store: journal.store, at: now)
                }
            }
        case .welcome, .beat, .noted: break
        }
        if commands.contains(.ask) { coverage.note("workers told of work with a beat") }
        send(.reply(to: asked.worker, boot: asked.boot, asked.token, reply, commands), on: asked.worker)
    }

    /// People answer with whatever they think; the first answer is the recorded one.
    mutating func answer(_ run: RunID, _ stage: StageID) {
        guard head != nil else { return later(.answer(run, stage), .seconds(2)) }
        let salt = random.next()
        let output = honestOutput(kind: "people", version: 1, block: 0, inputs: [], masked: [], numerics: "", salt: salt)
        deliver(.answered(run, stage, [BlockResult(block: 0, outputs: [TaskOutput(name: "out", digest: output, byteCount: 10)])]))
    }
}

extension NumericsClass: ExpressibleByStringLiteral {
    package init(stringLiteral value: String) { self.init(value) }
}
