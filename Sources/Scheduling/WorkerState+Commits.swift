import Primitives

/// Results on their way to the coordinator: what rides in which commit, and what becomes of it.
///
/// Commits of one lease may overtake each other, so the one that ends the lease leaves alone: nothing of the lease may arrive after it.
extension WorkerState {
    /// A finished block that waits for its verdict.
    struct Parked: Hashable, Sendable {
        var result: BlockResult
        /// The open commit that it rides in.
        var commit: RequestToken?
    }
    /// Whether the coordinator knows that nothing more of a lease will come.
    enum Ending: Hashable, Sendable {
        case unsaid
        case beingSaid(RequestToken)
        case said
    }
    struct OpenCommit: Sendable {
        var token: RequestToken
        var deadline: Instant
        /// In the order of the message, with the number of results of each.
        var leases: [(fence: Fence, count: Int)]
    }

    // MARK: Sending

    /// What of a lease may ride in a commit with room for so many results; nil for nothing.
    private func part(of lease: Held, room: Int) -> (count: Int, isLast: Bool)? {
        let free = lease.results.count { $0.commit == nil }
        guard free > 0 || lease.phase == .finished && lease.ending == .unsaid else { return nil }
        let count = min(room, free)
        // The last block says so itself; only a child that gave up early needs a word of its own.
        let isAll = lease.settledBlocks + lease.results.count == lease.grant.blocks.count && count == free
        guard isAll || lease.phase == .finished && count == free else { return count > 0 ? (count, false) : nil }
        // While others are under way the end waits, and one result with it to carry the word.
        if lease.openCommits == 0 { return (count, true) }
        return count > 1 ? (count - 1, false) : nil
    }

    private var isCommitRoom: Bool { openCommits.isEmpty || openCommits.count < settings.openCommits }

    /// Whether a commit would leave now, were it not for a pause after a failure.
    var mayCommit: Bool {
        guard isCommitRoom else { return false }
        if openCommits.isEmpty { return held.contains { part(of: $0, room: settings.maximumCommitResults) != nil } }
        var room = settings.maximumCommitResults
        for lease in held where room > 0 { room -= part(of: lease, room: room)?.count ?? 0 }
        return room == 0
    }

    mutating func sendCommits(at now: Instant, _ effects: inout [Effect]) {
        while isCommitRoom, mayCommit {
            let token = newToken()
            var commits: [LeaseCommit] = []
            var leases: [(fence: Fence, count: Int)] = []
            var room = settings.maximumCommitResults
            for i in held.indices where room > 0 {
                guard let (count, isLast) = part(of: held[i], room: room) else { continue }
                room -= count
                var riding: [BlockResult] = []
                riding.reserveCapacity(count)
                for r in held[i].results.indices where riding.count < count && held[i].results[r].commit == nil {
                    held[i].results[r].commit = token
                    riding.append(held[i].results[r].result)
                }
                held[i].openCommits += 1
                if isLast { held[i].ending = .beingSaid(token) }
                commits.append(LeaseCommit(fence: held[i].grant.fence, results: riding, isLast: isLast))
                leases.append((held[i].grant.fence, count))
            }
            openCommits.append(OpenCommit(token: token, deadline: now + settings.requestTimeout, leases: leases))
            effects.append(.send(token, .commit(commits)))
        }
    }

    // MARK: Answers

    /// Takes a commit off the list; nil when it is none of ours, or none any more.
    mutating func closeCommit(_ token: RequestToken) -> OpenCommit? {
        guard let i = openCommits.firstIndex(where: { $0.token == token }) else { return nil }
        return openCommits.remove(at: i)
    }

    mutating func commitFailed(_ open: OpenCommit, at now: Instant) {
        unmark(open)
        backOff(.commit, at: now)
    }

    mutating func commitAnswered(_ open: OpenCommit, _ reply: WorkerReply, at now: Instant, _ effects: inout [Effect]) {
        channels[Kind.commit.rawValue].failures = 0
        channels[Kind.commit.rawValue].notBefore = now
        guard case .committed(let verdicts) = reply, verdicts.count == open.leases.count,
            zip(verdicts, open.leases).allSatisfy({ $0.count == $1.count })
        else {
            // Not understood, for example an answer that only carries `rejoin`: the results stay and are sent again.
            return unmark(open)
        }
        var fencedLeases: [Fence] = []
        for (lease, list) in zip(open.leases, verdicts) {
            count(list)
            // A lease that was dropped meanwhile needs its verdicts no more.
            guard let i = index(of: lease.fence) else { continue }
            held[i].results.removeAll { $0.commit == open.token }
            held[i].settledBlocks += list.count
            held[i].openCommits -= 1
            if held[i].ending == .beingSaid(open.token) { held[i].ending = .said }
            // A dead fence stays dead: nothing more of this lease can be accepted.
            if list.contains(.fenced) { fencedLeases.append(lease.fence) }
        }
        for fence in fencedLeases { drop(fence, at: now, &effects) }
        forgetSettled(&effects)
    }

    mutating func forgetSettled(_ effects: inout [Effect]) {
        for i in held.indices.reversed() where held[i].isSettled { forget(held[i].grant.fence, &effects) }
    }

    private mutating func count(_ verdicts: [CommitVerdict]) {
        for verdict in verdicts {
            switch verdict {
            case .accepted: counters.accepted += 1
            case .duplicate: counters.duplicates += 1
            case .conflict: counters.conflicts += 1
            case .fenced: counters.fenced += 1
            }
        }
    }

    /// What rode in this commit waits for another.
    mutating func unmark(_ open: OpenCommit) {
        for lease in open.leases {
            guard let i = index(of: lease.fence) else { continue }
            for r in held[i].results.indices where held[i].results[r].commit == open.token { held[i].results[r].commit = nil }
            held[i].openCommits -= 1
            if held[i].ending == .beingSaid(open.token) { held[i].ending = .unsaid }
        }
    }

    /// The bytes behind a lease's results are gone: what is still open of it goes back to the coordinator.
    mutating func giveUpResults(of fence: Fence, at now: Instant, _ effects: inout [Effect]) {
        guard let i = index(of: fence) else { return }
        if case .running(let slot) = held[i].phase { cancel(slot, at: now, &effects) }
        held[i].results = []
        held[i].phase = .returning
    }
}
