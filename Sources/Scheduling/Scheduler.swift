package import Primitives

/// The coordinator's brain: which task runs where, when, and again. Pure: time is an argument, chance is seeded, nothing is read or sent.
///
/// Owner: the coordinator's loop, one thread. Call `handle` for each event of a batch, store `takeChanges()` in one
/// transaction, then carry out the effects.
package struct Scheduler: Sendable {
    package let settings: SchedulerSettings
    package let epoch: UInt64

    /// - Parameters:
    ///   - epoch: raised durably by the store at every start of a head.
    ///   - seed: of the generator behind jitter and tie-breaks.
    package init(settings: SchedulerSettings, epoch: UInt64, seed: UInt64, recovering stored: StoredState, at now: Instant) {
        self.settings = settings
        self.epoch = epoch
    }

    package mutating func handle(_ event: Event, at now: Instant) -> [Effect] { [] }

    /// What must be stored before the effects returned since the last call are carried out.
    package mutating func takeChanges() -> StateChanges { StateChanges() }

    /// When `tick` must be sent at the latest; nil when nothing is timed.
    package var nextDeadline: Instant? { nil }
}
