import Primitives

/// Worker life: joining, alive, suspect, lost, left.
extension Scheduler {
    /// The record of a worker that said HELLO to this head; others are told to.
    mutating func known(_ id: WorkerID, _ token: RequestToken, at now: Instant) -> Int? {
        guard let w = workerIndex[id], workers[w].hello != nil, workers[w].life != .left else {
            effects.append(.reply(token, .noted, commands: [.rejoin]))
            return nil
        }
        sawWorker(w, at: now)
        return w
    }

    private mutating func sawWorker(_ w: Int, at now: Instant) {
        workers[w].lastSeen = now
        if workers[w].life != .alive {
            workers[w].life = .alive
            registryVersion += 1
        }
        if !workers[w].hasTimer {
            workers[w].hasTimer = true
            timers.add(.worker(w), at: now + settings.suspectAfter)
        }
    }

    mutating func record(of id: WorkerID, at now: Instant) -> Int {
        if let w = workerIndex[id] { return w }
        workers.append(WorkerRecord(id: id, lastSeen: now))
        workerIndex[id] = workers.count - 1
        return workers.count - 1
    }

    mutating func greet(_ hello: WorkerHello, _ token: RequestToken, at now: Instant) {
        let w = record(of: hello.worker, at: now)
        let isNew = workers[w].hello?.bootNonce != hello.bootNonce || workers[w].life == .left
        if isNew {
            // A fresh process: what made its predecessor leave or be drained by us is over. An operator's drain stays.
            if workers[w].drainReason != nil || workers[w].life == .left { workers[w].isDraining = false }
            workers[w].drainReason = nil
            workers[w].trouble = 0
        }
        unpark(worker: w)
        workers[w].hello = hello
        workers[w].tags = hello.tags.map { names.intern($0) }
        workers[w].numericsClass = names.intern(hello.numericsClass.rawValue)
        workers[w].slots = hello.slots
        workers[w].drops = []
        workers[w].hearsOfWork = false
        registryVersion += 1
        if isNew || workers[w].life != .alive {
            tell("worker-joined", worker: w, "\(hello.host), \(hello.slots) slots, \(hello.numericsClass)")
        }
        sawWorker(w, at: now)
        var keep: [Fence] = []
        var drop: [Fence] = []
        for fence in hello.heldFences {
            if liveLease(fence, of: w) != nil || adopt(fence, hello, w, at: now) {
                renew(fence, at: now)
                keep.append(fence)
            } else {
                drop.append(fence)
            }
        }
        for fence in workers[w].leases where !keep.contains(fence) { endLease(fence, .revoked, at: now) }
        workers[w].drops = []
        workAppeared = true
        reply(token, .welcome(epoch: epoch, beatInterval: settings.beatInterval, keep: keep, drop: drop), to: w)
    }

    mutating func beat(_ id: WorkerID, _ fences: [Fence], _ token: RequestToken, at now: Instant) {
        guard let w = known(id, token, at: now) else { return }
        for fence in fences {
            if liveLease(fence, of: w) != nil {
                renew(fence, at: now)
            } else if !workers[w].drops.contains(fence) {
                workers[w].drops.append(fence)
            }
        }
        let isWanted = shouldAsk(w, at: now)
        reply(
            token, .beat(timeToLive: settings.leaseTimeToLive, next: nextBeat(of: w, at: now)), to: w, alsoSaying: isWanted ? [.ask] : [])
    }

    mutating func release(_ id: WorkerID, _ fences: [Fence], _ token: RequestToken, at now: Instant) {
        guard let w = known(id, token, at: now) else { return }
        for fence in fences where liveLease(fence, of: w) != nil { endLease(fence, .released, at: now) }
        reply(token, .noted, to: w)
    }

    mutating func sayBye(_ id: WorkerID, _ token: RequestToken, at now: Instant) {
        guard let w = workerIndex[id] else { return effects.append(.reply(token, .noted, commands: [])) }
        for fence in workers[w].leases { endLease(fence, .revoked, at: now) }
        unpark(worker: w)
        workers[w].life = .left
        workers[w].drops = []
        registryVersion += 1
        tell("worker-left", worker: w)
        effects.append(.reply(token, .noted, commands: []))
    }

    mutating func losePipe(_ id: WorkerID, at now: Instant) {
        guard let w = workerIndex[id], workers[w].life == .alive else { return }
        workers[w].life = .suspect
        registryVersion += 1
        // Nobody may be there to hear the answer, but the door that holds the request open is free again.
        unpark(worker: w)
        tell("pipe-lost", worker: w)
        for fence in workers[w].leases { orphan(fence, at: now) }
    }

    mutating func workerTimer(_ w: Int, at now: Instant) {
        workers[w].hasTimer = false
        let silence = now - workers[w].lastSeen
        switch workers[w].life {
        case .left, .lost: return
        case .joining, .alive, .suspect:
            if silence >= settings.leaseTimeToLive {
                workers[w].life = .lost
                registryVersion += 1
                totals.workersLost += 1
                unpark(worker: w)
                tell("worker-lost", worker: w, "silent for \(Int(silence.seconds)) s")
                // Its leases end by their own deadlines, which no beat renewed.
                return
            }
            if silence >= settings.suspectAfter, workers[w].life == .alive {
                workers[w].life = .suspect
                registryVersion += 1
                tell("worker-suspect", worker: w)
            }
            workers[w].hasTimer = true
            let next = silence >= settings.suspectAfter ? settings.leaseTimeToLive : settings.suspectAfter
            timers.add(.worker(w), at: workers[w].lastSeen + next)
        }
    }

    mutating func setDraining(_ id: WorkerID, _ isDraining: Bool, reason: String?) {
        guard let w = workerIndex[id], workers[w].isDraining != isDraining else { return }
        workers[w].isDraining = isDraining
        workers[w].drainReason = reason
        registryVersion += 1
        if !isDraining {
            workers[w].trouble = 0
            workAppeared = true
        }
        tell(isDraining ? "worker-draining" : "worker-undrained", worker: w, reason ?? "")
        // The command rides on the answer to a parked request at once, not on the next beat.
        unpark(worker: w)
    }
}
