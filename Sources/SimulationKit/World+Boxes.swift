import Primitives
import Scheduling

/// The boxes: agents around the real `WorkerState`, their children, and the network between them and the head.
extension World {
    mutating func startWorker(_ w: Int) {
        guard boxes[w].state == nil else { return }
        let box = scenario.boxes[w]
        boxes[w].boot += 1
        boxes[w].tickAt = nil
        boxes[w].pausedUntil = nil
        let hello = WorkerHello(
            worker: box.id, bootNonce: UInt64(boxes[w].boot), tags: box.tags, slots: box.slots, memoryBytes: 1 << 30,
            numericsClass: box.numerics,
            build: "simulated", host: box.id.rawValue, heldFences: [])
        boxes[w].state = WorkerState(hello: hello, settings: scenario.workerSettings, seed: random.next())
        for slot in boxes[w].slots.indices {
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
            later(.child(w, boot: boxes[w].boot, slot: slot, work: boxes[w].slots[slot].work, .ready), seconds(0.02, 0.2))
        }
        workerHears(w, boxes[w].boot, .started, orElse: nil)
        if boxes[w].isCut { workerHears(w, boxes[w].boot, .connectionLost, orElse: nil) }
    }

    /// The agent's process is gone, and its children with it.
    mutating func stopWorker(_ w: Int, restartAfter delay: Duration) {
        boxes[w].state = nil
        boxes[w].boot += 1
        for slot in boxes[w].slots.indices {
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
        }
        later(.startWorker(w), delay)
        if chance(0.7) { later(.pipeLost(w), seconds(0.001, 0.1)) }
    }

    mutating func workerHears(_ w: Int, _ boot: Int, _ event: WorkerState.Event, orElse happening: Happening?) {
        guard boxes[w].state != nil, boxes[w].boot == boot else { return }
        if let until = boxes[w].pausedUntil, until > now {
            // A stopped process hears everything when it goes on.
            if let happening { queue.add(happening, at: until) }
            return
        }
        guard let effects = boxes[w].state?.handle(event, at: now) else { return }
        for effect in effects { carryOut(effect, w) }
        guard let deadline = boxes[w].state?.nextDeadline else { return }
        let at = max(deadline, now + .milliseconds(1))
        if let armed = boxes[w].tickAt, armed <= at { return }
        boxes[w].tickAt = at
        queue.add(.workerTick(w, boot: boot), at: at)
    }

    private mutating func carryOut(_ effect: WorkerState.Effect, _ w: Int) {
        let boot = boxes[w].boot
        switch effect {
        case .send(let token, let request): send(.request(from: w, boot: boot, token, request), on: w)
        case .abandon, .leaseSettled: break
        case .startLease(let slot, let grant):
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = grant
            boxes[w].slots[slot].nextBlock = grant.blocks.lowerBound
            workOn(w, slot)
        case .cancelSlot(let slot):
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
            if chance(scenario.rates.hungCancel) {
                coverage.note("fault: child deaf to cancel")
            } else {
                later(.child(w, boot: boot, slot: slot, work: boxes[w].slots[slot].work, .ready), seconds(0.001, 0.05))
            }
        case .killSlot(let slot):
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
            later(.child(w, boot: boot, slot: slot, work: boxes[w].slots[slot].work, .ready), seconds(0.05, 0.3))
        case .exit:
            coverage.note("worker left by itself")
            stopWorker(w, restartAfter: seconds(1, 10))
        }
    }

    // MARK: Children

    /// Decides how the next block of a lease ends, and when.
    private mutating func workOn(_ w: Int, _ slot: Int) {
        guard let grant = boxes[w].slots[slot].grant, let behaviour = scenario.behaviours[grant.kind] else { return }
        let block = boxes[w].slots[slot].nextBlock
        var duration = behaviour.seconds * scenario.boxes[w].slowness * (0.8 + 0.4 * random.uniform())
        if !isCalm, chance(scenario.rates.straggler) {
            coverage.note("fault: straggler")
            duration *= 20
        }
        let news: ChildNews
        let samples = block * Scenario.blockSize..<(block + 1) * Scenario.blockSize
        if let killer = behaviour.poison.first(where: { samples.contains($0) && !grant.maskedSamples.contains($0) }) {
            coverage.note("fault: child killed by a sample")
            news = .gone(.crash, AMAFError("worker.child-died", "The child died by signal 11", place: "sample \(killer)"))
        } else if behaviour.doomed.contains(block) {
            coverage.note("fault: permanent error")
            news = .gaveUp(FailureReport(.permanent, AMAFError("stage.bad-input", "Block \(block) cannot be read"), block: block))
        } else if grant.batchShift < behaviour.neededShift {
            coverage.note("fault: child out of memory")
            let error = AMAFError("worker.memory-limit", "The child reached its memory limit")
            news = chance(0.5) ? .gone(.resource, error) : .gaveUp(FailureReport(.resource, error, block: block))
        } else if !isCalm, chance(scenario.rates.childCrash) {
            coverage.note("fault: child crashed")
            news = .gone(.crash, AMAFError("worker.child-died", "The child died by signal 9"))
        } else if !isCalm, chance(scenario.rates.transient) {
            coverage.note("fault: transient error")
            let error = AMAFError("stage.busy", "The endpoint is busy", isTransient: true)
            news = .gaveUp(FailureReport(.transient, error, block: chance(0.8) ? block : nil))
        } else {
            news = .finished(result(of: block, grant, on: w, behaviour))
        }
        later(.child(w, boot: boxes[w].boot, slot: slot, work: boxes[w].slots[slot].work, news), .nanoseconds(Int64(duration * 1e9)))
    }

    private mutating func result(of block: Int, _ grant: LeaseGrant, on w: Int, _ behaviour: Behaviour) -> BlockResult {
        var inputs: [UInt64] = []
        for input in grant.inputs {
            switch input.reach {
            case .sameBlock: inputs.append(input.digests[block - grant.blocks.lowerBound].leadingBits)
            case .allBlocks: for digest in input.digests { inputs.append(digest.leadingBits) }
            }
        }
        let output = honestOutput(
            kind: grant.kind, version: grant.codeVersion, block: block, inputs: inputs, masked: grant.maskedSamples,
            numerics: scenario.boxes[w].numerics, salt: behaviour.isUnreproducible ? random.next() : 0)
        // Weights are large enough for placement to care where they lie.
        let bytes = grant.kind == "fit" ? 40 << 20 : 10_000
        return BlockResult(block: block, outputs: [TaskOutput(name: "out", digest: output, byteCount: bytes)])
    }

    mutating func childSays(_ w: Int, _ boot: Int, _ slot: Int, _ work: Int, _ news: ChildNews, _ happening: Happening) {
        guard boxes[w].boot == boot, boxes[w].slots[slot].work == work else { return }
        if let until = boxes[w].pausedUntil, until > now { return queue.add(happening, at: until) }
        let grant = boxes[w].slots[slot].grant
        switch news {
        case .ready, .killed:
            workerHears(w, boot, .slotReady(slot), orElse: happening)
        case .finished(let result):
            guard let grant else { return }
            boxes[w].slots[slot].nextBlock += 1
            if boxes[w].slots[slot].nextBlock < grant.blocks.upperBound {
                workOn(w, slot)
                workerHears(w, boot, .blockFinished(grant.fence, result), orElse: happening)
            } else {
                boxes[w].slots[slot].work += 1
                boxes[w].slots[slot].grant = nil
                workerHears(w, boot, .blockFinished(grant.fence, result), orElse: happening)
                workerHears(w, boot, .leaseFinished(slot: slot, grant.fence), orElse: happening)
            }
        case .gone(let failureClass, let error):
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
            later(.child(w, boot: boot, slot: slot, work: boxes[w].slots[slot].work, .ready), seconds(0.05, 0.3))
            workerHears(w, boot, .slotDied(slot, failureClass, error), orElse: happening)
        case .gaveUp(let report):
            guard let grant else { return }
            boxes[w].slots[slot].work += 1
            boxes[w].slots[slot].grant = nil
            workerHears(w, boot, .leaseFailed(slot: slot, grant.fence, report), orElse: happening)
        }
    }

    // MARK: Network

    mutating func send(_ message: Happening, on w: Int) {
        guard !boxes[w].isCut else { return }
        if !isCalm {
            if chance(scenario.rates.drop) { return coverage.note("fault: message dropped") }
            if chance(scenario.rates.duplicate) {
                coverage.note("fault: message duplicated")
                later(message, seconds(0.0002, 0.5))
            }
            if chance(scenario.rates.delay) {
                coverage.note("fault: message delayed")
                return later(message, seconds(0.1, 8))
            }
        }
        later(message, seconds(0.0002, 0.002))
    }

    private mutating func cut(_ w: Int, for duration: Duration, isNoticed: Bool) {
        guard !boxes[w].isCut else { return }
        boxes[w].isCut = true
        if isNoticed {
            later(.pipeLost(w), .milliseconds(1))
            workerHears(w, boxes[w].boot, .connectionLost, orElse: nil)
        }
        later(.linkHeals(w), duration)
    }

    mutating func heal(_ w: Int) {
        guard boxes[w].isCut else { return }
        boxes[w].isCut = false
        if head != nil { workerHears(w, boxes[w].boot, .connectionRestored, orElse: .linkHeals(w)) }
    }

    // MARK: Faults

    mutating func strike(_ kind: FaultKind) {
        let w = random.index(below: boxes.count)
        // The head starts again by itself, so its second death is counted where it happens.
        if kind != .killHeadInRecovery { coverage.note("fault: \(kind.rawValue)") }
        switch kind {
        case .killWorker: if boxes[w].state != nil { stopWorker(w, restartAfter: seconds(0.5, 20)) }
        case .pauseWorker: boxes[w].pausedUntil = now + seconds(0.5, 2 * scenario.settings.leaseTimeToLive.seconds)
        case .partition: cut(w, for: seconds(1, 25), isNoticed: false)
        case .cutPipe: cut(w, for: seconds(0.1, 10), isNoticed: true)
        case .killHead:
            // Half of them strike where it hurts most.
            let isTorn = chance(0.5)
            if chance(0.5) { journal.dieAtNextWrite(isTorn ? .tears : .isKept) } else { killHead(tearing: isTorn) }
        case .killHeadInRecovery:
            nextRecoveryCrashes = true
            killHead(tearing: chance(0.5))
        case .pauseHead:
            let duration = seconds(0.1, 20)
            guard head != nil, head?.pausedUntil == nil else { return }
            head?.pausedUntil = now + duration
            later(.headResumes(head: headGeneration), duration)
            checker.slack = max(checker.slack, duration + .milliseconds(500))
        case .stepWallClock: wallOffset += chance(0.5) ? .seconds(3600) : .seconds(-3600)
        case .drainWorker:
            deliver(.drain(scenario.boxes[w].id))
        case .drainWithDeadline: workerHears(w, boxes[w].boot, .drainRequested(within: seconds(0.1, 3)), orElse: nil)
        case .pauseRun: deliver(.pause(scenario.plans[random.index(below: scenario.plans.count)].id))
        case .cancelRun: deliver(.cancel(scenario.plans[random.index(below: scenario.plans.count)].id))
        }
    }

    /// Faults stop: links heal, boxes come back, operators undo what they did. From here every run must end.
    mutating func calm() {
        isCalm = true
        journal.isCalm = true
        for w in boxes.indices {
            heal(w)
            if let until = boxes[w].pausedUntil, until > now { boxes[w].pausedUntil = now }
            later(.operatorDoes(.undrain(scenario.boxes[w].id)), .seconds(1))
        }
        for plan in scenario.plans { later(.operatorDoes(.resume(plan.id)), .seconds(1)) }
    }
}
