/// A set of block numbers with a fast first member: a bitmap with two summary levels above it.
///
/// A million blocks take 127 KiB; insert, remove and `first` touch at most three words plus a scan of the top level
/// (one word for every 262,144 blocks), so that dispatch does not depend on how many tasks are queued.
struct BlockSet: Sendable, Hashable {
    let capacity: Int
    private(set) var count = 0
    private var words: [UInt64]
    private var middle: [UInt64]
    private var top: [UInt64]

    init(capacity: Int) {
        precondition(capacity >= 0, "a set of \(capacity) blocks")
        self.capacity = capacity
        let wordCount = (capacity + 63) / 64
        words = Array(repeating: 0, count: wordCount)
        // Small sets do without summaries: the words themselves are scanned.
        let middleCount = wordCount > 4 ? (wordCount + 63) / 64 : 0
        middle = Array(repeating: 0, count: middleCount)
        top = Array(repeating: 0, count: (middleCount + 63) / 64)
    }

    var isEmpty: Bool { count == 0 }

    func contains(_ block: Int) -> Bool { words[block >> 6] & (1 << UInt64(block & 63)) != 0 }

    @discardableResult
    mutating func insert(_ block: Int) -> Bool {
        let word = block >> 6
        let bit: UInt64 = 1 << UInt64(block & 63)
        guard words[word] & bit == 0 else { return false }
        words[word] |= bit
        count += 1
        if !middle.isEmpty {
            middle[word >> 6] |= 1 << UInt64(word & 63)
            top[word >> 12] |= 1 << UInt64((word >> 6) & 63)
        }
        return true
    }

    @discardableResult
    mutating func remove(_ block: Int) -> Bool {
        let word = block >> 6
        let bit: UInt64 = 1 << UInt64(block & 63)
        guard words[word] & bit != 0 else { return false }
        words[word] &= ~bit
        count -= 1
        if words[word] == 0, !middle.isEmpty {
            middle[word >> 6] &= ~(1 << UInt64(word & 63))
            if middle[word >> 6] == 0 { top[word >> 12] &= ~(1 << UInt64((word >> 6) & 63)) }
        }
        return true
    }

    mutating func removeAll() {
        guard count > 0 else { return }
        while let block = first(from: 0) { remove(block) }
    }

    /// The least member that is not below `start`.
    func first(from start: Int) -> Int? {
        guard count > 0, start < capacity else { return nil }
        var word = start >> 6
        let rest = words[word] & (~0 << UInt64(start & 63))
        if rest != 0 { return word << 6 | rest.trailingZeroBitCount }
        word += 1
        guard word < words.count else { return nil }
        if middle.isEmpty {
            while word < words.count {
                if words[word] != 0 { return word << 6 | words[word].trailingZeroBitCount }
                word += 1
            }
            return nil
        }
        var group = word >> 6
        let restOfGroup = middle[group] & (~0 << UInt64(word & 63))
        if restOfGroup != 0 {
            let found = group << 6 | restOfGroup.trailingZeroBitCount
            return found << 6 | words[found].trailingZeroBitCount
        }
        group += 1
        guard group < middle.count else { return nil }
        var summary = group >> 6
        var restOfTop = top[summary] & (~0 << UInt64(group & 63))
        while restOfTop == 0 {
            summary += 1
            guard summary < top.count else { return nil }
            restOfTop = top[summary]
        }
        group = summary << 6 | restOfTop.trailingZeroBitCount
        word = group << 6 | middle[group].trailingZeroBitCount
        return word << 6 | words[word].trailingZeroBitCount
    }

    /// For invariants: the count and both summaries recomputed.
    func checkInvariants() {
        precondition(words.reduce(0) { $0 + $1.nonzeroBitCount } == count, "a block set counts \(count) members wrongly")
        guard !middle.isEmpty else { return }
        for (i, word) in words.enumerated() {
            precondition((middle[i >> 6] >> UInt64(i & 63)) & 1 == (word == 0 ? 0 : 1), "summary of word \(i) is stale")
        }
        for (i, word) in middle.enumerated() {
            precondition((top[i >> 6] >> UInt64(i & 63)) & 1 == (word == 0 ? 0 : 1), "summary of group \(i) is stale")
        }
    }
}
