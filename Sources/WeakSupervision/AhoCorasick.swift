/// Finds all of many byte strings in one pass over a text (Aho and Corasick, 1975), as a complete automaton: one table
/// look-up a byte, whatever the number of patterns.
///
/// Bytes that no pattern holds share one column of the table. States with output come last, so that "did something match"
/// is one comparison.
struct AhoCorasick: Sendable {
    struct Pattern: Sendable {
        var bytes: [UInt8]
        /// The match must not touch a word byte on this side.
        var boundaryBefore: Bool
        var boundaryAfter: Bool
    }

    private let patterns: [Pattern]
    private let column: [UInt16]
    private let columnCount: Int
    /// `next[state + column]` holds the next state times `columnCount`.
    private let next: [UInt32]
    /// Scaled states from here on have output.
    private let firstAccepting: UInt32
    private let outputStart: [UInt32]
    private let outputs: [UInt32]

    /// Letters, digits, underscore and all bytes of non-ASCII characters.
    static let isWordByte: [Bool] = (0..<256).map { byte in
        byte >= 128 || byte == 95 || (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }

    static func foldASCII(_ byte: UInt8) -> UInt8 { (65...90).contains(byte) ? byte | 32 : byte }

    /// - Parameters:
    ///   - patterns: none empty; reported by position.
    ///   - foldsCase: ASCII letters of patterns and texts count as lower case.
    init(_ patterns: [Pattern], foldsCase: Bool) {
        precondition(patterns.allSatisfy { !$0.bytes.isEmpty }, "an empty pattern matches everywhere")
        func fold(_ byte: UInt8) -> UInt8 { foldsCase ? Self.foldASCII(byte) : byte }

        var column = [UInt16](repeating: 0, count: 256)
        var count: UInt16 = 1
        for byte in Set(patterns.flatMap { $0.bytes.map(fold) }).sorted() {
            column[Int(byte)] = count
            count += 1
        }
        if foldsCase { for byte in 65...90 { column[byte] = column[byte | 32] } }
        let width = Int(count)

        // The trie, breadth first by construction of `order` below.
        var trie = [Int32](repeating: -1, count: width)
        var ends: [[UInt32]] = [[]]
        for (id, pattern) in patterns.enumerated() {
            var state = 0
            for byte in pattern.bytes {
                let slot = state * width + Int(column[Int(fold(byte))])
                if trie[slot] < 0 {
                    trie[slot] = Int32(ends.count)
                    trie.append(contentsOf: repeatElement(-1, count: width))
                    ends.append([])
                }
                state = Int(trie[slot])
            }
            ends[state].append(UInt32(id))
        }

        // Failure links, folded into the table at once.
        var fail = [Int](repeating: 0, count: ends.count)
        var order = [0]
        var head = 0
        while head < order.count {
            let state = order[head]
            head += 1
            if state != 0 { ends[state] += ends[fail[state]] }
            for c in 0..<width {
                let slot = state * width + c
                let fallback = state == 0 ? 0 : Int(trie[fail[state] * width + c])
                if trie[slot] < 0 {
                    trie[slot] = Int32(fallback)
                } else {
                    fail[Int(trie[slot])] = fallback
                    order.append(Int(trie[slot]))
                }
            }
        }

        let quiet = ends.indices.filter { ends[$0].isEmpty }
        let accepting = ends.indices.filter { !ends[$0].isEmpty }
        var renumbered = [Int](repeating: 0, count: ends.count)
        for (new, old) in (quiet + accepting).enumerated() { renumbered[old] = new }
        var table = [UInt32](repeating: 0, count: trie.count)
        for old in ends.indices {
            for c in 0..<width { table[renumbered[old] * width + c] = UInt32(renumbered[Int(trie[old * width + c])] * width) }
        }
        var starts: [UInt32] = [0]
        var outputs: [UInt32] = []
        for state in accepting {
            outputs += ends[state]
            starts.append(UInt32(outputs.count))
        }
        self.patterns = patterns
        self.column = column
        columnCount = width
        next = table
        firstAccepting = UInt32(quiet.count * width)
        outputStart = starts
        self.outputs = outputs
    }

    /// Calls `found` with each occurrence of each pattern, by the end of the occurrence and, at one end, longest first.
    @inline(__always)
    func scan(_ text: UnsafeBufferPointer<UInt8>, found: (_ pattern: Int, _ end: Int) -> Void) {
        next.withUnsafeBufferPointer { next in
            column.withUnsafeBufferPointer { column in
                var state: UInt32 = 0
                for i in 0..<text.count {
                    state = next[Int(state) + Int(column[Int(text[i])])]
                    if state >= firstAccepting { report(state, end: i + 1, text, found) }
                }
            }
        }
    }

    @inline(__always)
    private func report(_ state: UInt32, end: Int, _ text: UnsafeBufferPointer<UInt8>, _ found: (Int, Int) -> Void) {
        let accepting = Int(state - firstAccepting) / columnCount
        for slot in Int(outputStart[accepting])..<Int(outputStart[accepting + 1]) {
            let id = Int(outputs[slot])
            let start = end - patterns[id].bytes.count
            if patterns[id].boundaryAfter, end < text.count, Self.isWordByte[Int(text[end])] { continue }
            if patterns[id].boundaryBefore, start > 0, Self.isWordByte[Int(text[start - 1])] { continue }
            found(id, end)
        }
    }
}
