package import Primitives

extension Scheduler {
    /// The state of one run; nil when there is none of that name. Costs no more than a look-up, unlike a snapshot.
    package func knows(_ worker: WorkerID) -> Bool { workerIndex[worker] != nil }
    package func state(of run: RunID) -> RunState? { runIndex[run].map { runs[$0].state } }
}
