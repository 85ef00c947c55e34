import Primitives

/// What may run: counters per block say how many inputs are missing, so that a commit touches its readers and nothing else.
extension Scheduler {
    /// A block's inputs are all committed.
    mutating func arrive(_ r: Int, _ s: Int, _ b: Int) {
        runs[r].stages[s].move(b, to: .ready)
        if !runs[r].stages[s].byPeople, runs[r].stages[s].stop == nil { runs[r].active += 1 }
        arriving.append(BlockAddress(run: r, stage: s, block: b))
    }

    /// Looks new arrivals up in the cache, puts the others into their ready sets and asks people.
    mutating func resolveArrivals(at now: Instant) {
        while let address = arriving.popLast() {
            let (r, s, b) = (address.run, address.stage, address.block)
            guard runs[r].stages[s].cells[b].state == .ready, runs[r].stages[s].stop == nil else { continue }
            if runs[r].stages[s].byPeople {
                askIfComplete(r, s)
                continue
            }
            if !cache.isEmpty, let numerics = runs[r].stages[s].numericsClass, resolveBudget > 0, !runs[r].plan.allowsMixedNumerics,
                let handle = cache[identity(r, s, b, numerics: numerics)], hasWantedOutputs(handle, r, s)
            {
                resolveBudget -= 1
                completeFromCache(r, s, b, handle)
                continue
            }
            offer(r, s, b, at: now)
        }
    }

    /// Puts a block into the ready set of its stage.
    mutating func offer(_ r: Int, _ s: Int, _ b: Int, at now: Instant) {
        guard runs[r].stages[s].stop == nil, runs[r].stages[s].ready.insert(b) else { return }
        if runs[r].stages[s].ready.count == 1 {
            runs[r].readyStages.insert(runs[r].position[s])
            runs[r].stages[s].readySince = now
            if runs[r].stages[s].preferenceSince == nil { runs[r].stages[s].preferenceSince = now }
        }
        workAppeared = true
    }

    mutating func withdraw(_ r: Int, _ s: Int, _ b: Int) {
        guard runs[r].stages[s].ready.remove(b) else { return }
        if runs[r].stages[s].ready.isEmpty { runs[r].readyStages.remove(runs[r].position[s]) }
    }

    /// A block is done: its readers come one input nearer.
    mutating func announce(_ r: Int, _ s: Int, _ b: Int) {
        let isComplete = runs[r].stages[s].isComplete
        for dependent in runs[r].stages[s].dependents {
            let t = dependent.stage
            switch dependent.reach {
            case .sameBlock:
                runs[r].stages[t].cells[b].unmet -= 1
                if runs[r].stages[t].cells[b].unmet == 0, runs[r].stages[t].unmetReductions == 0,
                    runs[r].stages[t].cells[b].state == .waiting
                {
                    arrive(r, t, b)
                }
            case .allBlocks:
                guard isComplete else { continue }
                runs[r].stages[t].unmetReductions -= 1
                if runs[r].stages[t].unmetReductions == 0 { openStage(r, t) }
            }
        }
        if isComplete {
            runs[r].incompleteStages -= 1
            touch(r)
        }
    }

    /// All reductions that the stage reads are complete: every block without missing inputs arrives.
    mutating func openStage(_ r: Int, _ s: Int) {
        noteSharedInputs(r, s)
        // Last first, because arrivals are a stack: low blocks come out first.
        for b in stride(from: runs[r].stages[s].blocks - 1, through: 0, by: -1)
        where runs[r].stages[s].cells[b].unmet == 0 && runs[r].stages[s].cells[b].state == .waiting {
            arrive(r, s, b)
        }
    }

    private mutating func askIfComplete(_ r: Int, _ s: Int) {
        guard !runs[r].stages[s].isAsked, runs[r].stages[s].count(.waiting) == 0 else { return }
        runs[r].stages[s].isAsked = true
        runs[r].asked += 1
        effects.append(.ask(runs[r].plan.id, runs[r].plan.stages[s].id))
        tell("asked", run: r, stage: s)
        touch(r)
    }

    mutating func touch(_ r: Int) { if touchedRuns.last != r { touchedRuns.append(r) } }

    // MARK: Identity

    /// The name of the work on one block: same identity, same bytes.
    ///
    /// Digest of kind, code version, parameters, numerics class, block, masked samples and the digest of every input with
    /// its name and reach. The block number belongs to it because random streams derive from it.
    mutating func identity(_ r: Int, _ s: Int, _ b: Int, numerics: Int?) -> Digest {
        var bytes = runs[r].stages[s].identityPrefix
        bytes.reserveCapacity(bytes.count + 160)
        append(UInt64(b), to: &bytes)
        let className = numerics.map { names[$0] } ?? ""
        append(UInt64(className.utf8.count), to: &bytes)
        bytes.append(contentsOf: className.utf8)
        let mask = runs[r].stages[s].masks[b] ?? []
        append(UInt64(mask.count), to: &bytes)
        for sample in mask { append(UInt64(sample), to: &bytes) }
        for i in runs[r].plan.stages[s].inputs.indices {
            guard case .stage(let id, let output) = runs[r].plan.stages[s].inputs[i].source, let source = runs[r].stageIndex[id] else {
                continue
            }
            let digest: Digest? =
                switch runs[r].plan.stages[s].inputs[i].reach {
                case .sameBlock: archive.output(runs[r].stages[source].cells[b].result, named: output)?.digest
                case .allBlocks: reductionDigest(r, source, output)
                }
            guard let digest else { preconditionFailure("block \(b) of \(runs[r].plan.stages[s].id) is ready without its input \(output)") }
            bytes.append(contentsOf: digest.bytes)
        }
        return Digest.of(bytes)
    }

    private func append(_ value: UInt64, to bytes: inout [UInt8]) {
        for shift in stride(from: 0, to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(shift))) }
    }

    private mutating func reductionDigest(_ r: Int, _ s: Int, _ output: String) -> Digest? {
        if let known = runs[r].stages[s].reductionDigests[output] { return known }
        var hasher = DigestHasher()
        for cell in runs[r].stages[s].cells {
            guard let made = archive.output(cell.result, named: output) else { return nil }
            hasher.update(digest: made.digest)
        }
        let digest = hasher.finish()
        runs[r].stages[s].reductionDigests[output] = digest
        return digest
    }

    /// A cached result may come from a plan whose readers wanted other outputs.
    func hasWantedOutputs(_ handle: Int32, _ r: Int, _ s: Int) -> Bool {
        runs[r].stages[s].wantedOutputs.allSatisfy { archive.output(handle, named: $0) != nil }
    }

    static func identityPrefix(of spec: StageSpec) -> [UInt8] {
        var writer = ByteWriter()
        writer.write("amaf-task-1")
        writer.write(spec.kind)
        writer.write(Int64(spec.codeVersion))
        writer.write(spec.parameters)
        writer.write(UInt32(spec.inputs.count))
        for input in spec.inputs {
            writer.write(input.name)
            writer.write(input.reach.rawValue)
            switch input.source {
            case .stage(_, let output):
                writer.write("stage")
                writer.write(output)
            case .artifacts(let digests):
                writer.write("artifacts")
                writer.write(UInt32(digests.count))
                for digest in digests { writer.append(raw: digest.bytes) }
            }
        }
        return writer.bytes
    }

    mutating func completeFromCache(_ r: Int, _ s: Int, _ b: Int, _ handle: Int32) {
        withdraw(r, s, b)
        runs[r].active -= 1
        runs[r].stages[s].cached += 1
        totals.cached += 1
        runs[r].stages[s].cells[b].fence = 0
        runs[r].stages[s].cells[b].worker = -1
        complete(r, s, b, handle)
    }

    /// The one way into `done`.
    mutating func complete(_ r: Int, _ s: Int, _ b: Int, _ handle: Int32) {
        runs[r].stages[s].move(b, to: .done)
        runs[r].stages[s].cells[b].result = handle
        markDirty(r, s, b)
        effects.append(.blockCommitted(runs[r].plan.id, runs[r].plan.stages[s].id, archive.result(handle, block: b)))
        announce(r, s, b)
        touch(r)
    }
}
