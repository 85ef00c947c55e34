package import Primitives

/// Which function a column of votes comes from: its name for people, its digest for caches.
public struct FunctionID: Hashable, Comparable, Sendable, Codable, CustomStringConvertible {
    public package(set) var name: String
    package var digest: Digest

    /// - Parameter version: any text that changes whenever the function's answers do.
    public init(name: String, version: String) {
        self.init(name: name, digest: Digest.of(Array("swift-function/\(name)/\(version)".utf8)))
    }

    package init(name: String, digest: Digest) {
        self.name = name
        self.digest = digest
    }

    public static func < (a: FunctionID, b: FunctionID) -> Bool { (a.name, a.digest) < (b.name, b.digest) }
    public var description: String { name }
}

/// What one function said of one sample, as stored: a class index, or one of two marks below zero.
package enum VoteCode {
    /// The function answered that it has no opinion.
    package static let abstain: Int16 = -1
    /// The function failed on this sample; to label models the same as no vote, to people not at all.
    package static let fault: Int16 = -2
    /// Votes are stored as Int16.
    package static let maximumClassCount = 32_767
}

/// The failures of one function within some range of samples.
package struct FaultSummary: Hashable, Sendable, Codable {
    package var count: Int
    /// Position of the first offending sample in the data set.
    package var firstSample: Int
    package var firstError: AMAFError

    package init(count: Int, firstSample: Int, firstError: AMAFError) {
        self.count = count
        self.firstSample = firstSample
        self.firstError = firstError
    }

    /// Both together; the error kept is the one of the lowest sample, whatever the order.
    package func merging(_ other: FaultSummary) -> FaultSummary {
        var first = firstSample <= other.firstSample ? self : other
        first.count = count + other.count
        return first
    }
}

/// The answers of one function on the rows of one block, in whichever of three forms is smallest; the form follows from
/// the votes alone, so equal votes are equal bytes.
package struct PackedVotes: Hashable, Sendable {
    package enum Storage: Hashable, Sendable {
        /// Rows that did not abstain, ascending, and what was said there.
        case sparse(rows: [UInt16], votes: [Int16])
        /// One cell a row.
        case dense8([Int8])
        case dense16([Int16])
    }
    package let rowCount: Int
    package let storage: Storage

    package static let maximumRowCount = 65_536

    /// - Parameters:
    ///   - rows: strictly ascending and below `rowCount`.
    ///   - votes: a class index or `VoteCode.fault` for each of `rows`, never `abstain`.
    package init(rowCount: Int, rows: [UInt16], votes: [Int16]) {
        precondition(rowCount <= Self.maximumRowCount, "\(rowCount) rows in one block")
        precondition(rows.count == votes.count, "\(rows.count) rows with \(votes.count) votes")
        var previous = -1
        var widest: Int16 = 0
        for (row, vote) in zip(rows, votes) {
            precondition(Int(row) > previous && Int(row) < rowCount, "row \(row) after \(previous) of \(rowCount)")
            precondition(vote >= 0 || vote == VoteCode.fault, "vote \(vote)")
            previous = Int(row)
            widest = max(widest, vote)
        }
        self.rowCount = rowCount
        let cell = widest <= Int16(Int8.max) ? 1 : 2
        if rows.count * 4 < rowCount * cell {
            storage = .sparse(rows: rows, votes: votes)
        } else if cell == 1 {
            var cells = [Int8](repeating: -1, count: rowCount)
            for (row, vote) in zip(rows, votes) { cells[Int(row)] = Int8(vote) }
            storage = .dense8(cells)
        } else {
            var cells = [Int16](repeating: VoteCode.abstain, count: rowCount)
            for (row, vote) in zip(rows, votes) { cells[Int(row)] = vote }
            storage = .dense16(cells)
        }
    }

    /// From one cell a row, abstain −1.
    package init(cells: [Int16]) {
        var rows: [UInt16] = []
        var votes: [Int16] = []
        for (row, vote) in cells.enumerated() where vote != VoteCode.abstain {
            rows.append(UInt16(row))
            votes.append(vote)
        }
        self.init(rowCount: cells.count, rows: rows, votes: votes)
    }

    /// Calls `body` with every row that did not abstain, ascending; faults come as `VoteCode.fault`.
    @inlinable
    package func forEach(_ body: (_ row: Int, _ vote: Int16) -> Void) {
        switch storage {
        case .sparse(let rows, let votes):
            for i in rows.indices { body(Int(rows[i]), votes[i]) }
        case .dense8(let cells):
            for row in cells.indices where cells[row] != -1 { body(row, Int16(cells[row])) }
        case .dense16(let cells):
            for row in cells.indices where cells[row] != VoteCode.abstain { body(row, cells[row]) }
        }
    }

    package subscript(row: Int) -> Int16 {
        precondition(row >= 0 && row < rowCount, "row \(row) of \(rowCount)")
        switch storage {
        case .dense8(let cells): return Int16(cells[row])
        case .dense16(let cells): return cells[row]
        case .sparse(let rows, let votes):
            var low = 0
            var high = rows.count
            while low < high {
                let middle = (low + high) / 2
                if Int(rows[middle]) < row { low = middle + 1 } else { high = middle }
            }
            return low < rows.count && Int(rows[low]) == row ? votes[low] : VoteCode.abstain
        }
    }

    package var cells: [Int16] {
        var out = [Int16](repeating: VoteCode.abstain, count: rowCount)
        forEach { row, vote in out[row] = vote }
        return out
    }

    /// Heap bytes, without the few of the value itself.
    package var byteCount: Int {
        switch storage {
        case .sparse(let rows, _): rows.count * 4
        case .dense8(let cells): cells.count
        case .dense16(let cells): cells.count * 2
        }
    }
}

/// One function's answers on one block.
package struct VoteColumn: Hashable, Sendable {
    package var function: FunctionID
    package var votes: PackedVotes
    /// How sure the function is of each of its votes, in the order of `votes.forEach`; nil where it does not say.
    package var scores: [Float]?
    package var faults: FaultSummary?

    package init(function: FunctionID, votes: PackedVotes, scores: [Float]? = nil, faults: FaultSummary? = nil) {
        self.function = function
        self.votes = votes
        self.scores = scores
        self.faults = faults
    }
}

/// A partial label matrix: the columns of some functions on consecutive samples.
package struct VoteBlock: Hashable, Sendable {
    /// Position of the first row in the data set.
    package var firstSample: Int
    package var rowCount: Int
    package var classCount: Int
    package var columns: [VoteColumn]

    package init(firstSample: Int, rowCount: Int, classCount: Int, columns: [VoteColumn]) {
        precondition(firstSample >= 0 && rowCount >= 0 && rowCount <= PackedVotes.maximumRowCount, "\(rowCount) rows from \(firstSample)")
        precondition(classCount > 0 && classCount <= VoteCode.maximumClassCount, "\(classCount) classes")
        for column in columns {
            precondition(column.votes.rowCount == rowCount, "\(column.function): \(column.votes.rowCount) rows of \(rowCount)")
        }
        self.firstSample = firstSample
        self.rowCount = rowCount
        self.classCount = classCount
        self.columns = columns
    }

    package var samples: Range<Int> { firstSample..<firstSample + rowCount }
    package var faultCount: Int { columns.reduce(0) { $0 + ($1.faults?.count ?? 0) } }

    /// The columns of these functions only, in their order; those that the block lacks are left out.
    package func selecting(_ functions: [FunctionID]) -> VoteBlock {
        var copy = self
        copy.columns = functions.compactMap { id in columns.first { $0.function == id } }
        return copy
    }
}
