/// A partial result that can take in another of its kind.
package protocol Mergeable: Sendable {
    mutating func merge(_ other: Self)
}

/// Partial results by block, folded in block order whatever order they came in: floating-point sums do not depend on
/// who computed what when, and a block that arrives twice changes nothing.
package struct BlockFold<Partial: Mergeable>: Sendable {
    private var partials: [Int: Partial] = [:]

    package init() {}

    /// False when the block was there already; the first result stays.
    @discardableResult
    package mutating func insert(_ partial: Partial, block: Int) -> Bool {
        guard partials[block] == nil else { return false }
        partials[block] = partial
        return true
    }

    package var blockCount: Int { partials.count }

    /// `empty` merged with every block's part, lowest block first.
    package func total(from empty: Partial) -> Partial {
        partials.keys.sorted().reduce(into: empty) { sum, block in if let part = partials[block] { sum.merge(part) } }
    }
}
