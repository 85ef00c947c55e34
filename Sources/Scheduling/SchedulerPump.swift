package import Primitives

/// Where a pump makes decisions durable.
package protocol SchedulerJournal {
    /// A small result that is stored in the transaction of the rows that name it.
    associatedtype Artifact

    /// Stores all of it or, when it throws, nothing: one transaction, durable when the call returns. The same batch may come again after
    /// a failure.
    func apply(_ changes: StateChanges, artifacts: [Artifact]) throws(AMAFError)

    /// Told of every batch once, when it is decided and before it is stored. For those who watch from outside.
    func decided(_ changes: StateChanges)
}

extension SchedulerJournal {
    package func decided(_ changes: StateChanges) {}
}

/// The turn of a head around its scheduler: decide for a batch of messages, store what changed in one transaction, then answer.
///
/// Nothing leaves before it is durable, but grants: the epoch is, so their fences are unique, and a head that has lost one adopts it from
/// its holder's HELLO. They leave early only where nothing else was decided that they might rest on. When the journal refuses, what was decided stands: the batch is kept, nothing is answered, and
/// every later turn tries again in order. The next batch is what arrived during the last fsync, so group commit needs no timer. A tick
/// comes after the messages of a batch and never before them, so that beats which wait in the inbox of a head that was held up still
/// renew their leases.
///
/// Owner: one thread. The coordinator turns it around sockets and SQLite, the simulator around a virtual network and a model of a disk:
/// `handle` for each message, `answer` for what operators asked, then `settle` once.
///
/// - `Waiting`: whatever the shell needs to answer one request. `Answer`: what operators are answered with.
package struct SchedulerPump<Journal: SchedulerJournal, Waiting, Answer> {
    /// What may leave now, in this order: effects as they were decided, since people and programs wait for the end of a run; then replies to
    /// workers; then answers to operators. Grants that need not wait for the journal leave before all of them.
    package enum Outgoing {
        case reply(to: Waiting, WorkerReply, commands: [WorkerCommand])
        case answer(to: Waiting, Answer)
        /// Anything but a reply: ended runs, questions to people, committed blocks.
        case outward(Scheduler.Effect)
    }

    @usableFromInline struct Batch {
        @usableFromInline var changes: StateChanges
        @usableFromInline var artifacts: [Journal.Artifact]

        @usableFromInline init(changes: StateChanges, artifacts: [Journal.Artifact]) {
            self.changes = changes
            self.artifacts = artifacts
        }
    }

    @usableFromInline package var scheduler: Scheduler
    package let journal: Journal
    /// Why the journal takes nothing at present.
    @usableFromInline package var journalError: AMAFError?
    @usableFromInline var waiting: [RequestToken: Waiting] = [:]
    @usableFromInline var nextToken: UInt64 = 1
    @usableFromInline var effects: [Scheduler.Effect] = []
    @usableFromInline var answers: [(Waiting, Answer)] = []
    @usableFromInline var artifacts: [Journal.Artifact] = []
    /// Decided and not stored, oldest first.
    @usableFromInline var unsaved: [Batch] = []

    @inlinable package init(_ scheduler: Scheduler, journal: Journal) {
        self.scheduler = scheduler
        self.journal = journal
    }

    /// A refused batch is tried again after this time at the latest.
    package static var retryInterval: Duration { .milliseconds(500) }

    /// Whether decided batches wait for a journal that refuses them.
    @inlinable package var isBlocked: Bool { !unsaved.isEmpty }

    /// When the pump must be turned although no message came; nil when nothing is timed.
    @inlinable package func nextTurn(at now: Instant) -> Instant? { isBlocked ? now + Self.retryInterval : scheduler.nextDeadline }

    // MARK: In the course of a turn

    /// Remembers who waits; the token goes into the event.
    @inlinable package mutating func expect(_ who: Waiting) -> RequestToken {
        let token = RequestToken(rawValue: nextToken)
        nextToken += 1
        waiting[token] = who
        return token
    }

    @inlinable package mutating func handle(_ event: Scheduler.Event, at now: Instant) { effects += scheduler.handle(event, at: now) }

    /// Answers an operator once everything decided up to the end of this turn is durable.
    @inlinable package mutating func answer(_ who: Waiting, with answer: Answer) { answers.append((who, answer)) }

    /// Small results that must be durable no later than what this turn decides about them.
    @inlinable package mutating func bring(_ more: [Journal.Artifact]) { artifacts += more }

    @inlinable package mutating func explain(_ run: RunID, _ stage: StageID, block: Int?, at now: Instant) -> [String] {
        scheduler.explain(run, stage, block: block, at: now)
    }

    /// For tests and the simulator: traps where the scheduler's tables disagree.
    @inlinable package mutating func checkInvariants(inFull: Bool) {
        if inFull { scheduler.checkInvariants() } else { scheduler.checkCheapInvariants() }
    }

    // MARK: Its end

    /// Lets deadlines fall that are due, stores what was decided, and hands out what may leave.
    @inlinable package mutating func settle(at now: Instant, _ send: (Outgoing) -> Void) {
        if let due = scheduler.nextDeadline, due <= now { handle(.tick, at: now) }
        let changes = scheduler.takeChanges()
        if unsaved.isEmpty, journalError == nil, artifacts.isEmpty, changes.cached.isEmpty,
            changes.tasks.allSatisfy({ $0.state == .leased && $0.maskedSamples.isEmpty })
        {
            sendGrants(send)
        }
        if !changes.isEmpty || !artifacts.isEmpty {
            journal.decided(changes)
            unsaved.append(Batch(changes: changes, artifacts: artifacts))
            artifacts = []
        }
        if scheduler.defects.contains(.answersBeforeJournal) { carryOut(send) }
        if save() { carryOut(send) }
    }

    @inlinable mutating func sendGrants(_ send: (Outgoing) -> Void) {
        let decided = effects
        effects = []
        for effect in decided {
            if case .reply(let token, .grants(let grants, let pause), let commands) = effect, !grants.isEmpty, commands.isEmpty,
                let who = waiting.removeValue(forKey: token)
            {
                send(.reply(to: who, .grants(grants, retryAfter: pause), commands: commands))
            } else {
                effects.append(effect)
            }
        }
    }

    @inlinable mutating func save() -> Bool {
        while let batch = unsaved.first {
            do throws(AMAFError) {
                try journal.apply(batch.changes, artifacts: batch.artifacts)
            } catch {
                journalError = error
                return false
            }
            unsaved.removeFirst()
        }
        journalError = nil
        return true
    }

    @inlinable mutating func carryOut(_ send: (Outgoing) -> Void) {
        for effect in effects {
            switch effect {
            case .reply: break
            case .runEnded, .ask, .blockCommitted: send(.outward(effect))
            }
        }
        for case .reply(let token, let reply, let commands) in effects {
            // Nobody waits for the answer to what an operator or a test sent without asking for one.
            guard let who = waiting.removeValue(forKey: token) else { continue }
            send(.reply(to: who, reply, commands: commands))
        }
        effects = []
        for (who, answer) in answers { send(.answer(to: who, answer)) }
        answers = []
    }
}

extension SchedulerPump.Batch: Sendable where Journal.Artifact: Sendable {}
extension SchedulerPump: Sendable where Journal: Sendable, Journal.Artifact: Sendable, Waiting: Sendable, Answer: Sendable {}
