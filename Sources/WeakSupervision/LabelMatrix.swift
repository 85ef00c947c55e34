package import Primitives

/// Who voted what on which sample: sparse, by block and column, growing by merge only.
///
/// Merging is a union, so it is associative and commutative, and a block that lands twice changes nothing: the matrix does
/// not depend on who computed its blocks, in which order they came or how often. Rows are positions in the data set.
package struct LabelMatrix: Hashable, Sendable {
    /// One block's columns, by position in `functions`; nil where that function was not applied to the block yet.
    package struct Block: Hashable, Sendable {
        package var firstSample: Int
        package var rowCount: Int
        package var columns: [VoteColumn?]
        package var samples: Range<Int> { firstSample..<firstSample + rowCount }
    }
    package private(set) var classCount: Int
    package private(set) var functions: [FunctionID]
    /// Ascending by `firstSample`, never overlapping; gaps are samples that nothing is known of yet.
    package private(set) var blocks: [Block] = []

    /// - Parameter functions: the columns in their order; no two the same.
    package init(classCount: Int, functions: [FunctionID]) {
        precondition(classCount > 0 && classCount <= VoteCode.maximumClassCount, "\(classCount) classes")
        precondition(Set(functions).count == functions.count, "a label matrix has each function once: \(functions)")
        self.classCount = classCount
        self.functions = functions
    }

    /// One past the last sample of the last block.
    package var sampleCount: Int { blocks.last?.samples.upperBound ?? 0 }

    /// Samples inside blocks.
    package var rowCount: Int { blocks.reduce(0) { $0 + $1.rowCount } }

    package var voteCount: Int {
        var count = 0
        for block in blocks { for column in block.columns { column?.votes.forEach { _, vote in if vote >= 0 { count += 1 } } } }
        return count
    }

    /// Heap bytes of the votes.
    package var byteCount: Int { blocks.reduce(0) { $0 + $1.columns.reduce(0) { $0 + ($1?.votes.byteCount ?? 0) } } }

    /// The faults of each function over all blocks.
    package var faults: [FaultSummary?] {
        var out = [FaultSummary?](repeating: nil, count: functions.count)
        for block in blocks {
            for (j, column) in block.columns.enumerated() {
                guard let new = column?.faults else { continue }
                out[j] = out[j]?.merging(new) ?? new
            }
        }
        return out
    }

    /// Adds what the block knows.
    ///
    /// - Throws: `label-matrix.*` when it speaks of other classes, cuts a known block in two, or contradicts votes that are
    ///   there: the functions are deterministic, so two answers for one cell are a defect, not news.
    package mutating func insert(_ new: VoteBlock) throws(AMAFError) {
        try check(classCount: new.classCount)
        let known = Set(functions)
        let fresh = new.columns.map(\.function).filter { !known.contains($0) }
        // A canonical order, so that it does not matter which block came first.
        if !fresh.isEmpty { reorder(to: known.union(fresh).sorted()) }
        let index = try place(firstSample: new.firstSample, rowCount: new.rowCount)
        for (hint, column) in new.columns.enumerated() { try put(column, block: index, hint: hint) }
    }

    /// Adds all that the other matrix knows.
    package mutating func merge(_ other: LabelMatrix) throws(AMAFError) {
        try check(classCount: other.classCount)
        if functions != other.functions {
            reorder(to: Set(functions).union(other.functions).sorted())
        }
        for block in other.blocks {
            let index = try place(firstSample: block.firstSample, rowCount: block.rowCount)
            for (hint, column) in block.columns.enumerated() {
                if let column { try put(column, block: index, hint: hint) }
            }
        }
    }

    /// The same votes under these columns: others are dropped, missing ones are empty.
    package func selecting(_ wanted: [FunctionID]) -> LabelMatrix {
        var copy = self
        copy.reorder(to: wanted)
        return copy
    }

    /// The rows of `samples` as blocks of their own, for a train/validation cut.
    package func slicing(_ samples: Range<Int>) -> LabelMatrix {
        var out = LabelMatrix(classCount: classCount, functions: functions)
        for block in blocks {
            let kept = block.samples.clamped(to: samples)
            guard !kept.isEmpty else { continue }
            if kept == block.samples {
                out.blocks.append(block)
                continue
            }
            let columns = block.columns.map { column -> VoteColumn? in
                guard let column else { return nil }
                let cells = column.votes.cells[kept.lowerBound - block.firstSample..<kept.upperBound - block.firstSample]
                return VoteColumn(function: column.function, votes: PackedVotes(cells: Array(cells)))
            }
            out.blocks.append(Block(firstSample: kept.lowerBound, rowCount: kept.count, columns: columns))
        }
        return out
    }

    /// Functions not yet applied to a block, for caches: (block position, missing functions), only where something is missing.
    package var missing: [(block: Int, functions: [FunctionID])] {
        blocks.indices.compactMap { index in
            let lacking = functions.indices.filter { blocks[index].columns[$0] == nil }.map { functions[$0] }
            return lacking.isEmpty ? nil : (index, lacking)
        }
    }

    // MARK: Parts

    private func check(classCount other: Int) throws(AMAFError) {
        guard other == classCount else {
            throw AMAFError(
                "label-matrix.class-count", "Votes among \(other) classes cannot join a label matrix of \(classCount) classes",
                remedy: "Apply the functions again with the class list of this run.")
        }
    }

    private mutating func reorder(to wanted: [FunctionID]) {
        guard wanted != functions else { return }
        let positions = Dictionary(uniqueKeysWithValues: functions.enumerated().map { ($1, $0) })
        precondition(Set(wanted).count == wanted.count, "a label matrix has each function once: \(wanted)")
        for index in blocks.indices {
            let old = blocks[index].columns
            blocks[index].columns = wanted.map { id in positions[id].flatMap { old[$0] } }
        }
        functions = wanted
    }

    private mutating func place(firstSample: Int, rowCount: Int) throws(AMAFError) -> Int {
        var low = 0
        var high = blocks.count
        while low < high {
            let middle = (low + high) / 2
            if blocks[middle].firstSample < firstSample { low = middle + 1 } else { high = middle }
        }
        if low < blocks.count, blocks[low].firstSample == firstSample, blocks[low].rowCount == rowCount { return low }
        let samples = firstSample..<firstSample + rowCount
        let neighbours = [low - 1, low].filter(blocks.indices.contains)
        if let clash = neighbours.first(where: { blocks[$0].samples.overlaps(samples) || blocks[$0].firstSample == firstSample }) {
            throw AMAFError(
                "label-matrix.block-cut", "Votes on the samples \(samples) overlap the block of \(blocks[clash].samples)",
                remedy: "Blocks are set once per data set; use one block size in all parts of a run.")
        }
        let empty = Block(firstSample: firstSample, rowCount: rowCount, columns: Array(repeating: nil, count: functions.count))
        blocks.insert(empty, at: low)
        return low
    }

    /// - Parameter hint: where the column is likely to belong; columns mostly come in the matrix's own order.
    private mutating func put(_ column: VoteColumn, block index: Int, hint: Int) throws(AMAFError) {
        let guess = hint < functions.count && functions[hint] == column.function ? hint : functions.firstIndex(of: column.function)
        guard let position = guess else { preconditionFailure("\(column.function) was not adopted") }
        guard let present = blocks[index].columns[position] else {
            blocks[index].columns[position] = column
            return
        }
        guard present.votes == column.votes else {
            throw AMAFError(
                "label-matrix.conflict",
                "The function '\(column.function.name)' has two different answers on the samples \(blocks[index].samples)",
                remedy: "A labeling function must give the same votes every time; look for one that is not deterministic.")
        }
    }
}
