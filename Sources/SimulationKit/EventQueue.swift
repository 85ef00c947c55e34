import Primitives

/// What is to happen, by (instant, order of creation): equal instants happen in one order, so a seed is one history.
struct EventQueue<Event> {
    private struct Key {
        var at: Int64
        var sequence: UInt32
        var slot: UInt32
    }
    // The heap moves small keys; events stay where they are, because they carry messages.
    private var keys: [Key] = []
    private var slots: [Event?] = []
    private var free: [UInt32] = []
    private var sequence: UInt32 = 0

    var isEmpty: Bool { keys.isEmpty }

    private static func precedes(_ a: Key, _ b: Key) -> Bool { a.at != b.at ? a.at < b.at : a.sequence < b.sequence }

    mutating func add(_ event: Event, at instant: Instant) {
        let slot: UInt32
        if let reused = free.popLast() {
            slot = reused
            slots[Int(slot)] = event
        } else {
            slot = UInt32(slots.count)
            slots.append(event)
        }
        keys.append(Key(at: instant.nanoseconds, sequence: sequence, slot: slot))
        sequence += 1
        var i = keys.count - 1
        while i > 0 {
            let parent = (i - 1) / 2
            guard Self.precedes(keys[i], keys[parent]) else { break }
            keys.swapAt(i, parent)
            i = parent
        }
    }

    mutating func next() -> (Instant, Event)? {
        guard let first = keys.first else { return nil }
        let last = keys.removeLast()
        if !keys.isEmpty {
            keys[0] = last
            var i = 0
            while true {
                var least = i
                let left = 2 * i + 1
                if left < keys.count, Self.precedes(keys[left], keys[least]) { least = left }
                if left + 1 < keys.count, Self.precedes(keys[left + 1], keys[least]) { least = left + 1 }
                guard least != i else { break }
                keys.swapAt(i, least)
                i = least
            }
        }
        guard let event = slots[Int(first.slot)] else { preconditionFailure("slot \(first.slot) of the event queue is empty") }
        slots[Int(first.slot)] = nil
        free.append(first.slot)
        return (Instant(nanoseconds: first.at), event)
    }
}
