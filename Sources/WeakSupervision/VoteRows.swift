internal import Primitives

/// The votes of one block by row (compressed sparse rows): the form in which label models read them.
///
/// Within a row the votes are in the order of the matrix's functions. Abstentions and faults are not in it.
package struct VoteRows: Sendable {
    package private(set) var firstSample: Int
    package let classCount: Int
    package let functionCount: Int
    /// rowCount + 1 positions into `functions` and `classes`.
    package private(set) var offsets: [UInt32]
    package private(set) var functions: [UInt16]
    package private(set) var classes: [UInt16]

    package var rowCount: Int { offsets.count - 1 }

    /// Some of the rows, closed up and numbered on from the end of `samples`, to which their positions are added.
    package func selecting(into samples: inout [Int], _ isWanted: (_ sample: Int) -> Bool) -> VoteRows {
        var copy = self
        copy.firstSample = samples.count
        copy.offsets = [0]
        copy.functions = []
        copy.classes = []
        for row in 0..<rowCount where isWanted(firstSample + row) {
            let range = Int(offsets[row])..<Int(offsets[row + 1])
            copy.functions += functions[range]
            copy.classes += classes[range]
            copy.offsets.append(UInt32(copy.functions.count))
            samples.append(firstSample + row)
        }
        return copy
    }

    /// - Parameter columns: one a function, nil where it was not applied.
    package init(firstSample: Int, rowCount: Int, classCount: Int, columns: [PackedVotes?]) {
        precondition(columns.count <= Int(UInt16.max), "\(columns.count) functions")
        var counts = [UInt32](repeating: 0, count: rowCount + 1)
        for column in columns { column?.forEach { row, vote in if vote >= 0 { counts[row + 1] += 1 } } }
        for row in 0..<rowCount { counts[row + 1] += counts[row] }
        var next = counts
        var functions = [UInt16](repeating: 0, count: Int(counts[rowCount]))
        var classes = functions
        for (j, column) in columns.enumerated() {
            column?.forEach { row, vote in
                guard vote >= 0 else { return }
                functions[Int(next[row])] = UInt16(j)
                classes[Int(next[row])] = UInt16(vote)
                next[row] += 1
            }
        }
        self.firstSample = firstSample
        self.classCount = classCount
        functionCount = columns.count
        offsets = counts
        self.functions = functions
        self.classes = classes
    }

    package init(_ block: LabelMatrix.Block, classCount: Int) {
        self.init(
            firstSample: block.firstSample, rowCount: block.rowCount, classCount: classCount, columns: block.columns.map { $0?.votes })
    }

    /// - Parameter functions: the columns wanted, in their order; a column that the block lacks is empty.
    package init(_ block: VoteBlock, functions: [FunctionID]) {
        let positions = Dictionary(block.columns.map { ($0.function, $0.votes) }, uniquingKeysWith: { first, _ in first })
        self.init(
            firstSample: block.firstSample, rowCount: block.rowCount, classCount: block.classCount, columns: functions.map { positions[$0] }
        )
    }

    package func votes(row: Int) -> [Vote] {
        (Int(offsets[row])..<Int(offsets[row + 1])).map { Vote(function: Int(functions[$0]), classIndex: Int(classes[$0])) }
    }
}

/// One function's vote on the sample at hand.
package struct Vote: Hashable, Sendable, Codable {
    package var function: Int
    package var classIndex: Int

    package init(function: Int, classIndex: Int) {
        self.function = function
        self.classIndex = classIndex
    }
}
