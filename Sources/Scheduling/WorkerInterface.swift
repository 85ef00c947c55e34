package import Primitives

/// What a worker asks of the coordinator. The shell turns it into bytes and the reply back into `Event.replied`.
package enum WorkerRequest: Hashable, Sendable {
    case hello(WorkerHello)
    /// May be held open by the coordinator until there is work (`SchedulerSettings.parkTimeout`).
    case lease(freeSlots: Int)
    /// Every lease it works on or whose results it holds.
    case beat([Fence])
    /// Artifacts must have reached the coordinator's artifact store before this leaves.
    case commit([LeaseCommit])
    case fail(Fence, FailureReport)
    /// Leases given back unfinished.
    case release([Fence])
    case bye
}

extension WorkerState {
    package enum Event: Hashable, Sendable {
        /// The agent has started and its connection is up. Sent once.
        case started
        /// A slot's child process has said that it waits for work: at its start, after a cancelled lease, and after a respawn.
        case slotReady(Int)
        /// A child finished one block. The artifacts lie in the worker's cache.
        case blockFinished(Fence, BlockResult)
        /// The child has done all blocks of the lease and is ready for another.
        case leaseFinished(slot: Int, Fence)
        /// The child caught an error, gave up the lease and is ready for another.
        case leaseFailed(slot: Int, Fence, FailureReport)
        /// The child's process ended (`.crash` for a signal, `.resource` for its memory limit). The shell starts another by itself and
        /// says `slotReady` when that waits for work.
        case slotDied(Int, FailureClass, AMAFError)
        /// The answer to an earlier `send`; late and unknown tokens are ignored.
        case replied(RequestToken, WorkerReply, commands: [WorkerCommand])
        /// The request could not be sent or its answer cannot come any more.
        case requestFailed(RequestToken)
        /// Bytes of results that wait for their commit are gone (a wiped cache, a broken disk): the lease is given back, to be done again.
        case outputsLost(Fence)
        /// The connection broke: every open request counts as failed, and HELLO opens the next session.
        case connectionLost
        /// HELLO need not wait for its backoff.
        case connectionRestored
        /// SIGTERM, an operator, a spot notice: finish or return what is there, then leave. What still runs after `deadline` is returned.
        case drainRequested(within: Duration?)
        /// Time has passed; due at `nextDeadline`.
        case tick
    }

    /// What the shell must do, in this order.
    package enum Effect: Hashable, Sendable {
        case send(RequestToken, WorkerRequest)
        /// Nobody waits for the answer to this request any more: its resources may go.
        case abandon(RequestToken)
        case startLease(slot: Int, LeaseGrant)
        /// The child should stop its work and answer `slotReady`, once, even if it had just finished; its results are not wanted.
        case cancelSlot(Int)
        /// The child did not answer a cancel in time: SIGKILL, respawn, then `slotReady` (no `slotDied`).
        case killSlot(Int)
        /// Every result of this lease met its verdict: cached artifacts of the lease need no longer be held for an upload.
        case leaseSettled(Fence)
        /// The worker has left; stop the children and end the process.
        case exit
    }
}

/// The knobs of an agent.
package struct WorkerSettings: Hashable, Sendable, Codable {
    /// Used until WELCOME says otherwise.
    package var beatInterval: Duration = .seconds(3)
    /// A request without an answer for so long is sent again under a new token.
    package var requestTimeout: Duration = .seconds(5)
    /// As `requestTimeout`, for a lease request, which the coordinator may hold open.
    package var leaseRequestTimeout: Duration = .seconds(20)
    /// Retries wait a random time below `retryBase`·2ᶠ after f failures in a row, and never longer than `retryCap` (full jitter).
    package var retryBase: Duration = .milliseconds(100)
    package var retryCap: Duration = .seconds(10)
    /// A cancelled child has so long to answer before it is killed.
    package var cancelGrace: Duration = .seconds(2)
    /// Leases held beyond one per slot, so that a slot never waits for a round trip.
    package var prefetchedLeases: Int = 0
    /// Results in one commit at most; the others ride in the next.
    package var maximumCommitResults: Int = 1024
    /// Commits under way at most. A second one leaves only when it is full, so that a busy disk at the head makes commits larger and not more.
    package var openCommits: Int = 8
    /// No work is asked for while so many leases beyond the slots still wait for their verdicts.
    package var maximumUnsettledLeases: Int = 64
    /// BYE is given up after so many failures: a head that is away must not keep a drained box alive.
    package var byeAttempts: Int = 3

    package init() {}
}
