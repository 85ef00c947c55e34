import Primitives

/// Thousands of workers without work: what they may ask, when they hear of work, and when they beat.
extension Scheduler {
    /// Beats of a big cluster come in so many groups an interval. A message that comes alone costs the head three to five times
    /// what one in a group does: every thread on its way must be woken for it.
    static let beatGroups: Int64 = 30

    /// How long a worker without a parking place waits before it asks again. Few ask by themselves, all of them together no more than
    /// so many times a second; many are told with their beats when there is something to ask for, and the pause only catches what goes
    /// wrong with that.
    mutating func turnAway(_ w: Int) -> Duration {
        let others = max(0, workers.count - parked.count)
        let span = max(0.1, Double(others) / Double(max(1, settings.unparkedRequestsPerSecond)))
        let hearsOfWork = span > settings.beatInterval.seconds / 4
        workers[w].hearsOfWork = hearsOfWork
        let pause = hearsOfWork ? 10 * settings.beatInterval.seconds : span
        return .nanoseconds(Int64(pause * 1e9 * (0.5 + 0.5 * random.uniform())))
    }

    /// Whether a worker that was turned away should ask now.
    mutating func shouldAsk(_ w: Int, at now: Instant) -> Bool {
        guard workers[w].hearsOfWork, workers[w].isPlaceable else { return false }
        for r in liveRuns where !runs[r].isPaused {
            var position = 0
            while let found = runs[r].readyStages.first(from: position) {
                if mayPlace(r, runs[r].order[found], on: w, at: now) == nil { return true }
                position = found + 1
            }
        }
        return false
    }

    /// From a beat to the next of this worker: about an interval, so that it falls to the worker's group.
    func nextBeat(of w: Int, at now: Instant) -> Duration {
        let interval = max(1, settings.beatInterval.nanoseconds)
        let step = max(1, interval / Self.beatGroups)
        let phase = Int64(w) % Self.beatGroups * step
        // One that is a little early must not be sent back to its own moment.
        let latest = now.nanoseconds + interval + step / 2
        let sincePhase = ((latest - phase) % interval + interval) % interval
        return .nanoseconds(latest - sincePhase - now.nanoseconds)
    }
}
