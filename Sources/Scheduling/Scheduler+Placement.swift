import Primitives

/// Where tasks run: runs by priority and weighted fair share, stages by urgency, blocks by what lies on the worker already.
extension Scheduler {
    // MARK: Requests

    mutating func requestLeases(_ id: WorkerID, _ freeSlots: Int, _ token: RequestToken, at now: Instant) {
        guard let w = known(id, token, at: now) else { return }
        unpark(worker: w)
        workers[w].hearsOfWork = false
        guard workers[w].isPlaceable, freeSlots > 0 else {
            return reply(token, .grants([], retryAfter: settings.parkTimeout), to: w)
        }
        let grants = grantLeases(to: w, freeSlots, at: now)
        if !grants.isEmpty { return reply(token, .grants(grants, retryAfter: .zero), to: w) }
        guard parked.count < settings.maximumParkedRequests, workers[w].drops.isEmpty else {
            return reply(token, .grants([], retryAfter: workers[w].drops.isEmpty ? turnAway(w) : .zero), to: w)
        }
        let deadline = now + settings.parkTimeout
        parked.append(ParkedRequest(token: token, worker: w, freeSlots: freeSlots, deadline: deadline))
        timers.add(.park(token), at: deadline)
        armTailTimer(at: now)
    }

    mutating func parkEnds(_ token: RequestToken) {
        guard let i = parked.firstIndex(where: { $0.token == token }) else { return }
        let request = parked.remove(at: i)
        reply(token, .grants([], retryAfter: .zero), to: request.worker)
    }

    /// Answers what a worker left open: it asks anew, leaves, or must hear a command now.
    mutating func unpark(worker w: Int) {
        while let i = parked.firstIndex(where: { $0.worker == w }) {
            let request = parked.remove(at: i)
            reply(request.token, .grants([], retryAfter: .zero), to: w)
        }
    }

    mutating func serveParked(at now: Instant) {
        if defects.contains(.hashOrder) {
            // The planted mistake: Swift seeds its hashes anew in every process.
            parked = Set(parked.map(\.token)).compactMap { token in parked.first { $0.token == token } }
        }
        var i = 0
        while i < parked.count, isTailDue || liveRuns.contains(where: { !runs[$0].readyStages.isEmpty }) {
            let request = parked[i]
            guard workers[request.worker].isPlaceable else {
                i += 1
                continue
            }
            let grants = grantLeases(to: request.worker, request.freeSlots, at: now)
            if grants.isEmpty {
                i += 1
            } else {
                parked.remove(at: i)
                reply(request.token, .grants(grants, retryAfter: .zero), to: request.worker)
            }
        }
        isTailDue = false
        armTailTimer(at: now)
    }

    private mutating func grantLeases(to w: Int, _ freeSlots: Int, at now: Instant) -> [LeaseGrant] {
        var grants: [LeaseGrant] = []
        while grants.count < freeSlots {
            guard let grant = nextGrant(to: w, at: now) else { break }
            grants.append(grant)
        }
        // One look at the tail for each request and each turn of its timer, so that waiting workers cost nothing between.
        while grants.count < freeSlots, let grant = tailGrant(to: w, at: now) { grants.append(grant) }
        return grants
    }

    // MARK: Choice

    /// Runs with something ready: higher priority first, then the one that had least for its weight, then the older.
    private func runsInTurn() -> [Int] {
        var open = liveRuns.filter { !runs[$0].readyStages.isEmpty && !runs[$0].isPaused }
        if open.count > 1 {
            open.sort { a, b in
                if runs[a].plan.priority != runs[b].plan.priority { return runs[a].plan.priority > runs[b].plan.priority }
                let (x, y) = (runs[a].served / runs[a].plan.weight, runs[b].served / runs[b].plan.weight)
                return x != y ? x < y : a < b
            }
        }
        return open
    }

    private mutating func nextGrant(to w: Int, at now: Instant) -> LeaseGrant? {
        for r in runsInTurn() {
            var position = 0
            while let found = runs[r].readyStages.first(from: position) {
                position = found + 1
                let s = runs[r].order[found]
                guard mayPlace(r, s, on: w, at: now) == nil else { continue }
                if let grant = takeLease(r, s, for: w, at: now) { return grant }
                // Cache hits may have made more urgent stages ready.
                if resolveArrivalsOfCache(at: now) { position = 0 }
            }
        }
        return nil
    }

    private mutating func resolveArrivalsOfCache(at now: Instant) -> Bool {
        guard !arriving.isEmpty else { return false }
        resolveArrivals(at: now)
        return true
    }

    /// Why a ready stage is not given to this worker now; nil when it may be.
    enum Refusal: Hashable, Sendable {
        case missingTag(Int)
        case otherNumericsClass(Int)
        /// A worker with the preferred tag has until then.
        case prefersTag(Int, until: Instant)
        /// A worker that has the inputs already has a free slot, and until then.
        case inputsElsewhere(Int, until: Instant)
        /// Results under way are as many bytes as may be.
        case uncommittedBytes(underWay: Int)
    }

    mutating func mayPlace(_ r: Int, _ s: Int, on w: Int, at now: Instant) -> Refusal? {
        for tag in runs[r].stages[s].requires where !workers[w].tags.contains(tag) { return .missingTag(tag) }
        if let numerics = runs[r].stages[s].numericsClass, numerics != workers[w].numericsClass, !runs[r].plan.allowsMixedNumerics {
            return .otherNumericsClass(numerics)
        }
        if let tag = runs[r].stages[s].prefers, !workers[w].tags.contains(tag), let since = runs[r].stages[s].preferenceSince {
            let until = since + runs[r].stages[s].preferenceDelay
            // A chain of stages would else wait out the delay at each link.
            let isVain = runs[r].vainPreferences.contains(tag) && !workers.contains { $0.isPlaceable && $0.tags.contains(tag) }
            if now < until, !isVain {
                wakeForPlacement(r, s, at: until)
                return .prefersTag(tag, until: until)
            }
            if now >= until, !runs[r].vainPreferences.contains(tag) { runs[r].vainPreferences.append(tag) }
        }
        if runs[r].stages[s].sharedBytes >= Self.sharedBytesWorthWaiting, let since = runs[r].stages[s].readySince,
            !runs[r].stages[s].sharedHolders.contains(w)
        {
            // The time that fetching them would take, at a cautious 100 MB/s, and never more than a second.
            let delay = Duration.nanoseconds(min(1_000_000_000, Int64(runs[r].stages[s].sharedBytes) * 10))
            let until = since + delay
            if now < until,
                let holder = runs[r].stages[s].sharedHolders.first(where: {
                    workers[$0].isPlaceable && workers[$0].life == .alive && workers[$0].idleSlots > 0
                })
            {
                wakeForPlacement(r, s, at: until)
                return .inputsElsewhere(holder, until: until)
            }
        }
        if let room = roomForBlocks(r, s), room < 1 {
            if !runs[r].stages[s].isThrottled { totals.throttled += 1 }
            runs[r].stages[s].isThrottled = true
            return .uncommittedBytes(underWay: Int(runs[r].stages[s].bytesPerBlock ?? 0) * runs[r].stages[s].count(.leased))
        }
        return nil
    }

    private mutating func wakeForPlacement(_ r: Int, _ s: Int, at instant: Instant) {
        guard runs[r].stages[s].placementTimer != instant else { return }
        runs[r].stages[s].placementTimer = instant
        timers.add(.placement, at: instant)
    }

    static let sharedBytesWorthWaiting = 4 << 20
    /// Ready blocks looked at for one that suits the worker better than the first.
    static let locality = 64

    /// What all blocks of a stage must fetch, and who has it already: the makers.
    mutating func noteSharedInputs(_ r: Int, _ s: Int) {
        guard runs[r].stages[s].hasReductionInput else { return }
        var bytes = 0
        var holders: [Int] = []
        for input in runs[r].plan.stages[s].inputs where input.reach == .allBlocks {
            guard case .stage(let id, let output) = input.source, let source = runs[r].stageIndex[id] else { continue }
            var largest = 0
            for cell in runs[r].stages[source].cells where cell.result >= 0 {
                let size = archive.output(cell.result, named: output)?.byteCount ?? 0
                bytes += size
                if size > largest, cell.worker >= 0 {
                    largest = size
                    if !holders.contains(Int(cell.worker)) { holders.append(Int(cell.worker)) }
                }
            }
        }
        runs[r].stages[s].sharedBytes = bytes
        runs[r].stages[s].sharedHolders = holders
    }

    // MARK: Lease size

    private mutating func eligibleSlots(_ r: Int, _ s: Int) -> Int {
        if runs[r].stages[s].eligibleSlotsVersion != registryVersion {
            var slots = 0
            for w in workers.indices where workers[w].isPlaceable {
                let hasTags = runs[r].stages[s].requires.allSatisfy { workers[w].tags.contains($0) }
                let numerics = runs[r].stages[s].numericsClass
                if hasTags, numerics == nil || numerics == workers[w].numericsClass || runs[r].plan.allowsMixedNumerics {
                    slots += workers[w].slots
                }
            }
            runs[r].stages[s].eligibleSlots = max(1, slots)
            runs[r].stages[s].eligibleSlotsVersion = registryVersion
        }
        return runs[r].stages[s].eligibleSlots
    }

    func secondsPerBlock(_ r: Int, _ s: Int, on w: Int) -> Double? {
        runs[r].stages[s].secondsPerBlockOn[w] ?? runs[r].stages[s].secondsPerBlock ?? kindSeconds[runs[r].stages[s].kind]
    }

    /// Whole blocks in the next lease: as much as `leaseTarget` of work, but so little that every slot gets
    /// `tasksPerSlot` leases of the stage and two of what is left of it, and hardly anything before the speed is known.
    mutating func leaseSize(_ r: Int, _ s: Int, on w: Int) -> Int {
        let limit = min(runs[r].stages[s].leaseLimit, settings.maximumBlocksPerLease)
        if let forced = settings.forcedLeaseBlocks { return max(1, min(forced, runs[r].stages[s].leaseLimit)) }
        guard let seconds = secondsPerBlock(r, s, on: w) else { return max(1, min(limit, runs[r].stages[s].blocks >= 32 ? 2 : 1)) }
        let slots = eligibleSlots(r, s)
        let byTime = settings.leaseTarget.seconds / max(seconds, 1e-9)
        let byShare = runs[r].stages[s].blocks / (slots * settings.tasksPerSlot)
        let byRest = (runs[r].stages[s].uncommitted + 2 * slots - 1) / (2 * slots)
        return max(1, min(limit, byTime < 1e9 ? Int(byTime) : limit, byShare, byRest))
    }

    // MARK: Grants

    /// Whether block `b` may go to `w`: not beside its own live lease, and not where its last child died if others can run it.
    private func suits(_ r: Int, _ s: Int, _ b: Int, _ w: Int) -> Bool {
        let cell = runs[r].stages[s].cells[b]
        if cell.state == .leased, cell.worker == Int32(w) { return false }
        if cell.deaths > 0, let avoided = runs[r].stages[s].avoided[b], avoided.contains(w) {
            return !workers.indices.contains { $0 != w && workers[$0].isPlaceable && !avoided.contains($0) && couldRun(r, s, $0) }
        }
        return true
    }

    func couldRun(_ r: Int, _ s: Int, _ w: Int) -> Bool {
        guard runs[r].stages[s].requires.allSatisfy({ workers[w].tags.contains($0) }) else { return false }
        guard let numerics = runs[r].stages[s].numericsClass, !runs[r].plan.allowsMixedNumerics else { return true }
        return numerics == workers[w].numericsClass
    }

    /// A block that shares its lease with no other: it is suspected, or its masks differ.
    private func isSingle(_ r: Int, _ s: Int, _ b: Int) -> Bool {
        runs[r].stages[s].cells[b].isIsolated || (!runs[r].stages[s].masks.isEmpty && runs[r].stages[s].masks[b] != nil)
    }

    private mutating func takeLease(_ r: Int, _ s: Int, for w: Int, at now: Instant) -> LeaseGrant? {
        let size = max(1, min(leaseSize(r, s, on: w), roomForBlocks(r, s) ?? .max))
        guard let start = startBlock(r, s, for: w, at: now) else { return nil }
        var end = start + 1
        if !isSingle(r, s, start) {
            while end - start < size, cache.isEmpty || resolveBudget > 0, end < runs[r].stages[s].blocks,
                runs[r].stages[s].ready.contains(end), !isSingle(r, s, end),
                suits(r, s, end, w), !takeFromCache(r, s, end, for: w)
            { end += 1 }
        }
        return grant(r, s, start..<end, to: w, at: now)
    }

    /// The first ready block that suits; a little further on one whose inputs this worker made. Cached blocks are done on the way.
    private mutating func startBlock(_ r: Int, _ s: Int, for w: Int, at now: Instant) -> Int? {
        var from = 0
        var tried = 0
        var fallback: Int?
        while tried < Self.locality, let b = runs[r].stages[s].ready.first(from: from) {
            from = b + 1
            guard suits(r, s, b, w) else {
                tried += 1
                continue
            }
            if !cache.isEmpty, resolveBudget == 0 {
                // The rest of a long cached stretch comes in the next call.
                timers.add(.resume, at: now)
                return nil
            }
            if takeFromCache(r, s, b, for: w) { continue }
            tried += 1
            guard let maker = makerOfInput(r, s, b) else { return b }
            if maker == w { return b }
            if fallback == nil { fallback = b }
        }
        guard let fallback, runs[r].stages[s].ready.contains(fallback) else { return nil }
        return fallback
    }

    /// The worker that made the first same-block input.
    private func makerOfInput(_ r: Int, _ s: Int, _ b: Int) -> Int? {
        for i in runs[r].plan.stages[s].inputs.indices where runs[r].plan.stages[s].inputs[i].reach == .sameBlock {
            guard case .stage(let id, _) = runs[r].plan.stages[s].inputs[i].source, let source = runs[r].stageIndex[id] else { continue }
            let maker = Int(runs[r].stages[source].cells[b].worker)
            return maker >= 0 ? maker : nil
        }
        return nil
    }

    private mutating func takeFromCache(_ r: Int, _ s: Int, _ b: Int, for w: Int) -> Bool {
        guard !cache.isEmpty, resolveBudget > 0, runs[r].stages[s].cells[b].state == .ready, runs[r].stages[s].bisections[b] == nil else {
            return false
        }
        let numerics =
            runs[r].plan.allowsMixedNumerics ? workers[w].numericsClass : runs[r].stages[s].numericsClass ?? workers[w].numericsClass
        resolveBudget -= 1
        guard let handle = cache[identity(r, s, b, numerics: numerics)], hasWantedOutputs(handle, r, s) else { return false }
        fixNumericsClass(r, s, numerics)
        completeFromCache(r, s, b, handle)
        return true
    }

    private mutating func fixNumericsClass(_ r: Int, _ s: Int, _ numerics: Int) {
        guard runs[r].stages[s].numericsClass == nil, !runs[r].plan.allowsMixedNumerics else { return }
        runs[r].stages[s].numericsClass = numerics
        runs[r].stages[s].eligibleSlotsVersion = .max
        markRunDirty(r)
    }

    mutating func grant(_ r: Int, _ s: Int, _ blocks: Range<Int>, to w: Int, at now: Instant, isSpeculative: Bool = false) -> LeaseGrant {
        fixNumericsClass(r, s, workers[w].numericsClass)
        let fence = Fence(epoch: epoch, counter: nextFence)
        nextFence += 1
        grantLog.append(GrantedAt(run: Int32(r), stage: Int32(s)))
        let deadline = now + settings.leaseTimeToLive
        var lease = Lease(
            fence: fence, run: r, stage: s, blocks: blocks, worker: w, grantedAt: now, deadline: deadline, lastProgress: now,
            open: blocks.count)
        lease.isSpeculative = isSpeculative
        lease.batchShift = runs[r].stages[s].batchShift
        for b in blocks {
            withdraw(r, s, b)
            if runs[r].stages[s].cells[b].state == .leased {
                totals.secondFences += 1
            } else {
                runs[r].stages[s].move(b, to: .leased)
            }
            if runs[r].stages[s].cells[b].fence != 0 { totals.blocksRedone += 1 }
            runs[r].stages[s].cells[b].live += 1
            runs[r].stages[s].cells[b].fence = fence.rawValue
            runs[r].stages[s].cells[b].worker = Int32(w)
            markDirty(r, s, b)
        }
        let seconds = secondsPerBlock(r, s, on: w) ?? 0.1
        lease.charge = seconds * Double(blocks.count)
        runs[r].served += lease.charge
        if runs[r].stages[s].prefers.map({ workers[w].tags.contains($0) }) ?? false { runs[r].stages[s].preferenceSince = now }
        if runs[r].stages[s].sharedBytes > 0, !runs[r].stages[s].sharedHolders.contains(w) { runs[r].stages[s].sharedHolders.append(w) }

        var masked = blocks.count == 1 ? runs[r].stages[s].masks[blocks.lowerBound] ?? [] : []
        if let bisection = runs[r].stages[s].bisections[blocks.lowerBound], let all = sampleRange(r, s, blocks.lowerBound) {
            lease.isProbe = true
            masked = (masked + all.filter { !bisection.probe.contains($0) }).sorted().reduce(into: []) {
                if $0.last != $1 { $0.append($1) }
            }
        }
        leases[fence] = lease
        runs[r].stages[s].leases.append(fence.rawValue)
        runs[r].leasedStages.insert(runs[r].position[s])
        workers[w].leases.append(fence)
        timers.add(.lease(fence), at: deadline)
        totals.leasesGranted += 1
        tell("leased", run: r, stage: s, blocks: blocks, fence: fence, worker: w, lease.isProbe ? "probe for the sample that kills" : "")
        let spec = runs[r].plan.stages[s]
        return LeaseGrant(
            fence: fence, run: runs[r].plan.id, stage: spec.id, kind: spec.kind, codeVersion: spec.codeVersion, parameters: spec.parameters,
            blocks: blocks, maskedSamples: masked, batchShift: runs[r].stages[s].batchShift, inputs: inputs(r, s, blocks),
            timeToLive: settings.leaseTimeToLive)
    }

    private func inputs(_ r: Int, _ s: Int, _ blocks: Range<Int>) -> [LeaseGrant.Input] {
        runs[r].plan.stages[s].inputs.map { input in
            var digests: [Digest] = []
            switch input.source {
            case .artifacts(let given):
                digests = given
            case .stage(let id, let output):
                guard let source = runs[r].stageIndex[id] else { preconditionFailure("stage \(id) is not in run \(runs[r].plan.id)") }
                let range = input.reach == .sameBlock ? blocks : 0..<runs[r].stages[source].blocks
                digests.reserveCapacity(range.count)
                for b in range {
                    guard let made = archive.output(runs[r].stages[source].cells[b].result, named: output) else {
                        preconditionFailure("block \(b) of \(id) is done without its output \(output)")
                    }
                    digests.append(made.digest)
                }
            }
            // Artifacts given at submission are the same for every block, so they come once whatever the reach.
            return LeaseGrant.Input(name: input.name, reach: input.reach, digests: digests)
        }
    }
}
