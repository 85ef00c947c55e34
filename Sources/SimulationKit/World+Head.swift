import Primitives
import Scheduling

/// The coordinator's loop: drain the inbox, handle, store in one transaction, then carry out the effects.
extension World {
    mutating func startHead() {
        guard head == nil else { return }
        headGeneration += 1
        let epoch = store.raiseEpoch()
        var scheduler = Scheduler(
            settings: scenario.settings, epoch: epoch, seed: 99, recovering: store.state, at: schedulerNow)
        if bug == .fenceIgnored { scheduler.defects = .fenceIgnored }
        if bug == .hashOrder { scheduler.defects = .hashOrder }
        if bug == .lastResultWins { scheduler.defects = .lastResultWins }
        head = Head(scheduler: scheduler, generation: headGeneration)
        checker.headStarted(at: now, grace: scenario.settings.recoveryGrace)
        if nextRecoveryCrashes {
            nextRecoveryCrashes = false
            coverage.note("fault: \(FaultKind.killHeadInRecovery.rawValue)")
            // Dies with its first transaction under way.
            head?.inbox.append(.tick)
            pumpHead()
            return killHead()
        }
        for w in boxes.indices where !boxes[w].isCut { workerHears(w, boxes[w].boot, .connectionRestored, orElse: nil) }
        head?.inbox.append(.tick)
        pumpHead()
    }

    mutating func killHead() {
        guard head != nil else { return }
        let isTorn = chance(0.5)
        if isTorn || head?.isStoring != true { checker.rollBack() }
        if head?.isStoring == true { coverage.note(isTorn ? "fault: transaction torn" : "fault: transaction kept by a crash") }
        if let wrong = store.crash(tearing: isTorn) { checker.violate(wrong, at: now) }
        head = nil
        for w in boxes.indices where chance(0.7) { workerHears(w, boxes[w].boot, .connectionLost, orElse: nil) }
        later(.startHead, seconds(0.2, 8))
    }

    /// The clock that the scheduler is given: our own, unless the planted bug takes the wall's.
    var schedulerNow: Instant { bug == .leaseOnWallClock ? now + .seconds(7200) + wallOffset : now }

    mutating func deliver(_ event: Scheduler.Event, retryIfDown happening: Happening? = nil) {
        guard head != nil else {
            if let happening { later(happening, .seconds(1)) }
            return
        }
        head?.inbox.append(event)
        pumpHead()
    }

    mutating func headReceives(_ w: Int, _ boot: Int, _ token: RequestToken, _ request: WorkerRequest) {
        guard head != nil, !boxes[w].isCut else { return }
        let headToken = RequestToken(rawValue: nextHeadToken)
        nextHeadToken += 1
        let id = scenario.boxes[w].id
        var asked = Head.Asked(worker: w, boot: boot, token: token, commits: [], renewedBefore: [:], at: now)
        let event: Scheduler.Event
        switch request {
        case .hello(let hello): event = .hello(hello, headToken)
        case .lease(let freeSlots): event = .leaseRequested(id, freeSlots: freeSlots, token: headToken)
        case .beat(let fences): event = .beat(id, leases: fences, token: headToken)
        case .commit(let commits):
            asked.commits = commits
            event = .committed(id, commits, token: headToken)
        case .fail(let fence, let report): event = .failed(id, fence, report, token: headToken)
        case .release(let fences): event = .released(id, fences, token: headToken)
        case .bye: event = .bye(id, headToken)
        }
        head?.asked[headToken] = asked
        head?.inbox.append(event)
        pumpHead()
    }

    mutating func headTicks(_ generation: Int) {
        guard head?.generation == generation, head?.tickAt == now else { return }
        head?.tickAt = nil
        pumpHead()
    }

    mutating func pumpHead() {
        guard var batch = head?.inbox, head?.isStoring == false, head?.pausedUntil == nil else { return }
        let isDue = (head?.scheduler.nextDeadline).map { $0 <= schedulerNow } ?? false
        guard !batch.isEmpty || isDue else { return armHeadTick() }
        head?.inbox = []
        head?.handledAt = now
        if isDue { batch.append(.tick) }
        for event in batch {
            watch(event)
            let instant = schedulerNow
            guard let effects = head?.scheduler.handle(event, at: instant) else { return }
            head?.effects += effects
            head?.handled += 1
            if (head?.handled ?? 1) % 64 == 0 { head?.scheduler.checkInvariants() } else { head?.scheduler.checkCheapInvariants() }
        }
        guard let changes = head?.scheduler.takeChanges() else { return }
        for entry in changes.history {
            if let narrator {
                narrator(
                    "\(now)   \(entry.what) \(entry.stage?.rawValue ?? "") \(entry.blocks.map { "\($0)" } ?? "") \(entry.fence.map { "\($0)" } ?? "") \(entry.worker?.rawValue ?? "") \(entry.detail)"
                )
            }
            coverage.note("history: \(entry.what)")
            if entry.what == "expired", let fence = entry.fence { checker.died(fence, at: now) }
            if entry.what == "adopted", let fence = entry.fence {
                checker.adopted(fence, by: store.epoch, at: now)
                // A commit of the same batch came after the HELLO that brought the fence back.
                let tokens = Array((head?.asked ?? [:]).keys)
                for token in tokens where head?.asked[token]?.renewedBefore[fence] != nil {
                    head?.asked[token]?.renewedBefore[fence] = now
                }
            }
        }
        trace(UInt64(changes.tasks.count))
        if bug == .commitBeforeJournal { performEffects() }
        if changes.isEmpty {
            checker.confirm()
            performEffects()
            return armHeadTick()
        }
        store.begin(changes)
        head?.isStoring = true
        if !isCalm, chance(scenario.rates.storeFailure) {
            // A write that fails stops the head: what it decided may not become true in memory alone.
            coverage.note("fault: write failed")
            return killHead()
        }
        later(.stored(head: headGeneration), seconds(0.0005, chance(0.05) ? 0.2 : 0.004))
    }

    mutating func headStored(_ generation: Int) {
        guard head?.generation == generation, head?.isStoring == true else { return }
        if let wrong = store.finish() { return checker.violate(wrong, at: now) }
        head?.isStoring = false
        checker.confirm()
        performEffects()
        pumpHead()
        armHeadTick()
    }

    private mutating func armHeadTick() {
        guard let deadline = head?.scheduler.nextDeadline, head?.isStoring == false else { return }
        let at = bug == .leaseOnWallClock ? max(now, now + (deadline - schedulerNow)) : max(now, deadline)
        if let armed = head?.tickAt, armed <= at { return }
        head?.tickAt = at
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
                head?.asked[token]?.renewedBefore[commit.fence] = before
                if commit.isLast { checker.ended(commit.fence, by: w) }
            }
            head?.asked[token]?.at = now
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

    mutating func performEffects() {
        guard let effects = head?.effects, !effects.isEmpty else { return }
        head?.effects = []
        for effect in effects {
            switch effect {
            case .reply(let headToken, let reply, let commands): answer(headToken, reply, commands)
            case .runEnded(let run, let state):
                trace(UInt64(state.rawValue.utf8.count))
                // An operator looks at a failed run and tries once more.
                if state == .failed, retried.insert(run).inserted, chance(0.5) { later(.operatorDoes(.retry(run)), seconds(1, 5)) }
            case .ask(let run, let stage): later(.answer(run, stage), seconds(0.5, 10))
            case .blockCommitted(_, _, let result): trace(UInt64(result.block))
            }
        }
    }

    private mutating func answer(_ headToken: RequestToken, _ reply: WorkerReply, _ commands: [WorkerCommand]) {
        guard let asked = head?.asked.removeValue(forKey: headToken) else {
            return checker.violate("a request was answered twice or never asked", at: now)
        }
        switch reply {
        case .grants(let grants, _):
            for grant in grants {
                trace(grant.fence.rawValue ^ UInt64(asked.worker) << 32)
                let plan = scenario.plans.first { $0.id == grant.run }
                checker.granted(grant, to: asked.worker, box: scenario.boxes[asked.worker], plan: plan, at: head?.handledAt ?? now)
            }
        case .committed(let verdicts):
            for (commit, list) in zip(asked.commits, verdicts) {
                for (result, verdict) in zip(commit.results, list) {
                    coverage.note("verdict: \(verdict.rawValue)")
                    checker.judged(
                        commit.fence, result, verdict, from: asked.worker, decidedAt: asked.at,
                        renewedBefore: asked.renewedBefore[commit.fence], at: now)
                }
            }
        case .welcome, .beat, .noted: break
        }
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
