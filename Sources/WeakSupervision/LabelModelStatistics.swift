internal import Kernels

/// What one step of a fit needs to know of a block: integer counts, so that adding them up in any order is exact.
package struct LabelModelStatistics: Hashable, Sendable, Codable {
    /// Samples seen, and those that count: with a vote, or with a known label.
    package var rows: Int64 = 0
    package var counted: Int64 = 0
    /// Meaning by model form; see `LabelModelTrainer`.
    package var counts: [Int64]

    package init(count: Int) { counts = Array(repeating: 0, count: count) }

    package mutating func merge(_ other: LabelModelStatistics) {
        precondition(counts.count == other.counts.count, "\(other.counts.count) counts cannot join \(counts.count)")
        rows += other.rows
        counted += other.counted
        for i in counts.indices { counts[i] += other.counts[i] }
    }
}

/// The votes of consecutive samples in the form that a fit reads again and again.
package enum FitBlock: Sendable {
    case rows(VoteRows)
    /// Two classes: cells packed by column, read by a vector kernel.
    case twoClass(TwoClassVotes)

    package init(_ rows: VoteRows) { self = rows.classCount == 2 ? .twoClass(TwoClassVotes(rows)) : .rows(rows) }

    package init(_ block: LabelMatrix.Block, classCount: Int) {
        self = classCount == 2 ? .twoClass(TwoClassVotes(block)) : .rows(VoteRows(block, classCount: classCount))
    }

    var firstSample: Int {
        switch self {
        case .rows(let rows): rows.firstSample
        case .twoClass(let votes): votes.firstSample
        }
    }
}

/// Votes among two classes as Int8 cells, in chunks of at most 1,024 rows, column by column inside a chunk.
package struct TwoClassVotes: Sendable {
    static let chunkRows = VoteKernels.twoClassRows

    let firstSample: Int
    let rowCount: Int
    let functionCount: Int
    /// Chunk c begins at c · 1024 · functionCount; its columns are as long as the chunk.
    private(set) var cells: [Int8]
    /// By function: votes for class 0 and for class 1.
    private(set) var voteCounts: [(Int64, Int64)]
    /// Rows without a vote, ascending.
    private(set) var uncovered: [Int32] = []

    package init(_ rows: VoteRows) {
        self.init(firstSample: rows.firstSample, rowCount: rows.rowCount, functionCount: rows.functionCount)
        for row in 0..<rows.rowCount {
            let (start, length) = chunk(of: row)
            for i in Int(rows.offsets[row])..<Int(rows.offsets[row + 1]) {
                cells[start * functionCount + Int(rows.functions[i]) * length + row - start] = Int8(rows.classes[i])
            }
        }
        count()
    }

    package init(_ block: LabelMatrix.Block) {
        self.init(firstSample: block.firstSample, rowCount: block.rowCount, functionCount: block.columns.count)
        for (j, column) in block.columns.enumerated() {
            guard let votes = column?.votes else { continue }
            if case .dense8(let source) = votes.storage {
                for start in stride(from: 0, to: rowCount, by: Self.chunkRows) {
                    let length = min(Self.chunkRows, rowCount - start)
                    let target = start * functionCount + j * length
                    cells.withUnsafeMutableBufferPointer { cells in
                        source.withUnsafeBufferPointer { source in
                            for i in 0..<length { cells[target + i] = max(-1, source[start + i]) }
                        }
                    }
                }
            } else {
                votes.forEach { row, vote in
                    guard vote >= 0 else { return }
                    let (start, length) = chunk(of: row)
                    cells[start * functionCount + j * length + row - start] = Int8(vote)
                }
            }
        }
        count()
    }

    private init(firstSample: Int, rowCount: Int, functionCount: Int) {
        self.firstSample = firstSample
        self.rowCount = rowCount
        self.functionCount = functionCount
        cells = Array(repeating: -1, count: rowCount * functionCount)
        voteCounts = Array(repeating: (0, 0), count: functionCount)
    }

    private func chunk(of row: Int) -> (start: Int, length: Int) {
        let start = row / Self.chunkRows * Self.chunkRows
        return (start, min(Self.chunkRows, rowCount - start))
    }

    private mutating func count() {
        var silent = [Bool](repeating: true, count: Self.chunkRows)
        var uncovered: [Int32] = []
        var voteCounts = self.voteCounts
        cells.withUnsafeBufferPointer { cells in
            for start in stride(from: 0, to: rowCount, by: Self.chunkRows) {
                let length = min(Self.chunkRows, rowCount - start)
                silent.withUnsafeMutableBufferPointer { silent in
                    for i in 0..<length { silent[i] = true }
                    for j in 0..<functionCount {
                        let column = UnsafeBufferPointer(
                            rebasing: cells[start * functionCount + j * length..<start * functionCount + (j + 1) * length])
                        var zeros = 0
                        var ones = 0
                        for i in 0..<length {
                            let cell = column[i]
                            zeros += cell == 0 ? 1 : 0
                            ones += cell == 1 ? 1 : 0
                            silent[i] = silent[i] && cell < 0
                        }
                        voteCounts[j].0 += Int64(zeros)
                        voteCounts[j].1 += Int64(ones)
                    }
                    for i in 0..<length where silent[i] { uncovered.append(Int32(start + i)) }
                }
            }
        }
        self.uncovered = uncovered
        self.voteCounts = voteCounts
    }

    var voteRows: VoteRows {
        var columns = [[Int16]](repeating: [], count: functionCount)
        for start in stride(from: 0, to: rowCount, by: Self.chunkRows) {
            let length = min(Self.chunkRows, rowCount - start)
            for j in 0..<functionCount {
                let from = start * functionCount + j * length
                columns[j] += cells[from..<from + length].map { Int16($0) }
            }
        }
        return VoteRows(
            firstSample: firstSample, rowCount: rowCount, classCount: 2, columns: columns.map { PackedVotes(cells: $0) })
    }

    /// What the kernel needs of a model: score of class 1 over class 0.
    struct Scores {
        var base: Int32
        var against: [Int32]
        var favour: [Int32]

        init(_ model: FittedLabelModel) {
            let m = model.functions.count
            var base = Int64(model.logBalance[1]) - Int64(model.logBalance[0])
            var against = [Int32](repeating: 0, count: m)
            var favour = against
            // Far beyond certainty a score says nothing more; the limit keeps a sum of m scores inside Int32.
            let limit = Int64(Int32.max) / Int64(m + 2)
            func clamp(_ score: Int64) -> Int32 { Int32(max(-limit, min(limit, score))) }
            switch model.form {
            case .agreement(let weights):
                for j in 0..<m {
                    against[j] = clamp(-Int64(weights[j]))
                    favour[j] = clamp(Int64(weights[j]))
                }
            case .confusion(let table):
                for j in 0..<m {
                    var silence: Int64 = 0
                    if let abstain = table.logAbstain { silence = Int64(abstain[2 * j + 1]) - Int64(abstain[2 * j]) }
                    base += silence
                    for column in table.columns(of: j) {
                        let score = clamp(Int64(table.logLikelihood[2 * column + 1]) - Int64(table.logLikelihood[2 * column]) - silence)
                        if table.columnClass[column] == 0 { against[j] = score } else { favour[j] = score }
                    }
                }
            case .subtypes: preconditionFailure("a mixture of subtypes has no score a vote")
            }
            self.base = clamp(base)
            self.against = against
            self.favour = favour
        }
    }

    struct Sums {
        var zero: [Int64]
        var one: [Int64]
        var total: Int64 = 0
    }

    /// Mass of class 1 by function and vote, and over all rows; `mass` receives it by row when given.
    func sums(_ scores: Scores, gold: [Int8]?, mass: UnsafeMutablePointer<Int32>? = nil) -> Sums {
        var zero = [Int64](repeating: 0, count: functionCount)
        var one = zero
        var total: Int64 = 0
        cells.withUnsafeBufferPointer { cells in
            for start in stride(from: 0, to: rowCount, by: Self.chunkRows) {
                let length = min(Self.chunkRows, rowCount - start)
                guard let base = cells.baseAddress ?? UnsafePointer(bitPattern: 1) else { return }
                func run(_ gold: UnsafePointer<Int8>?) {
                    VoteKernels.twoClassStep(
                        votes: base + start * functionCount, stride: length, rows: length, functions: functionCount, base: scores.base,
                        against: scores.against, favour: scores.favour, gold: gold, zero: &zero, one: &one, total: &total,
                        mass: mass.map { $0 + start })
                }
                if let gold { gold.withUnsafeBufferPointer { run($0.baseAddress.map { $0 + start }) } } else { run(nil) }
            }
        }
        return Sums(zero: zero, one: one, total: total)
    }

    /// The mass of class 1 where nobody votes.
    static func silentMass(_ scores: Scores) -> Int64 {
        var mass: Int32 = 0
        var zero: [Int64] = [0]
        var one: [Int64] = [0]
        var total: Int64 = 0
        VoteKernels.twoClassStep(
            votes: [-1], stride: 1, rows: 1, functions: 1, base: scores.base, against: [0], favour: [0], gold: nil, zero: &zero, one: &one,
            total: &total, mass: &mass)
        return Int64(mass)
    }

    /// Posteriors of all rows, from the same kernel as the fit.
    func posteriors(_ model: FittedLabelModel) -> PosteriorBlock {
        let scores = Scores(model)
        let mass = [Int32](unsafeUninitializedCapacity: rowCount) { buffer, count in
            _ = sums(scores, gold: nil, mass: buffer.baseAddress)
            count = rowCount
        }
        return PosteriorBlock(firstSample: firstSample, massOfClassOne: mass, uncovered: uncovered)
    }
}
