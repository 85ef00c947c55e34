import Foundation
package import Primitives

/// Where callbacks put what happened and one loop thread takes it, in order and in batches.
///
/// `@unchecked Sendable`: `items` and `closed` are only touched with `lock` held. The condition waits on the monotonic
/// clock, so a stepped wall clock neither wakes nor delays the loop.
package final class Inbox<Item: Sendable>: @unchecked Sendable {
    private var items: [Item] = []
    private var closed = false
    private let lock: UnsafeMutablePointer<pthread_mutex_t>
    private let filled: UnsafeMutablePointer<pthread_cond_t>

    package init() {
        lock = .allocate(capacity: 1)
        filled = .allocate(capacity: 1)
        pthread_mutex_init(lock, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(filled, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(filled)
        pthread_mutex_destroy(lock)
        filled.deallocate()
        lock.deallocate()
    }

    /// Never blocks for long: callbacks of the transport call it.
    package func put(_ item: Item) {
        pthread_mutex_lock(lock)
        items.append(item)
        let wake = items.count == 1
        pthread_mutex_unlock(lock)
        if wake { pthread_cond_signal(filled) }
    }

    package func close() {
        pthread_mutex_lock(lock)
        closed = true
        pthread_mutex_unlock(lock)
        pthread_cond_broadcast(filled)
    }

    /// Everything that is there, waiting until there is something or `deadline` (on CLOCK_MONOTONIC) has passed.
    /// Nil when the inbox is closed and empty.
    package func take(until deadline: Instant?) -> [Item]? {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while items.isEmpty && !closed {
            guard let deadline else {
                pthread_cond_wait(filled, lock)
                continue
            }
            var time = timespec(
                tv_sec: Int(deadline.nanoseconds / 1_000_000_000), tv_nsec: Int(deadline.nanoseconds % 1_000_000_000))
            if pthread_cond_timedwait(filled, lock, &time) == ETIMEDOUT { break }
        }
        if items.isEmpty && closed { return nil }
        // Taking the array whole lets the next batch collect while this one is worked on.
        defer { items = [] }
        return items
    }
}
