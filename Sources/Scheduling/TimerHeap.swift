import Primitives

/// What the scheduler wants to be woken for. Timers are never cancelled: each is checked against the state when it is due.
struct SchedulerTimer: Hashable, Sendable {
    enum Purpose: Hashable, Sendable {
        case lease(Fence)
        case worker(Int)
        case backoff(run: Int, stage: Int, block: Int)
        case park(RequestToken)
        /// A placement preference ends: parked workers may now take what they could not.
        case placement
        /// Idle workers may help with what others took long for.
        case tail
        /// Work was put off to keep one call short.
        case resume
    }
    var at: Instant
    /// Order of creation, so that equal instants fire in one order.
    var sequence: UInt64
    var purpose: Purpose
}

/// A binary heap by (instant, sequence).
struct TimerHeap: Hashable, Sendable {
    private var items: [SchedulerTimer] = []
    private var nextSequence: UInt64 = 0

    var first: SchedulerTimer? { items.first }
    var count: Int { items.count }

    private func precedes(_ a: SchedulerTimer, _ b: SchedulerTimer) -> Bool { a.at != b.at ? a.at < b.at : a.sequence < b.sequence }

    /// When a purpose falls due next; looks at every timer, so for explanations only.
    func deadline(of purpose: SchedulerTimer.Purpose) -> Instant? { items.lazy.filter { $0.purpose == purpose }.map(\.at).min() }

    mutating func add(_ purpose: SchedulerTimer.Purpose, at instant: Instant) {
        items.append(SchedulerTimer(at: instant, sequence: nextSequence, purpose: purpose))
        nextSequence += 1
        var i = items.count - 1
        while i > 0 {
            let parent = (i - 1) / 2
            guard precedes(items[i], items[parent]) else { break }
            items.swapAt(i, parent)
            i = parent
        }
    }

    mutating func popDue(at now: Instant) -> SchedulerTimer? {
        guard let due = items.first, due.at <= now else { return nil }
        let last = items.removeLast()
        if !items.isEmpty {
            items[0] = last
            var i = 0
            while true {
                var least = i
                let left = 2 * i + 1
                if left < items.count, precedes(items[left], items[least]) { least = left }
                if left + 1 < items.count, precedes(items[left + 1], items[least]) { least = left + 1 }
                guard least != i else { break }
                items.swapAt(i, least)
                i = least
            }
        }
        return due
    }
}
