internal import Primitives
internal import Foundation

/// Counts from which every column of the labeling function table follows. Integers only, so adding the statistics of blocks
/// in any order gives the same table.
package struct LFStatistics: Hashable, Sendable, Codable {
    package struct Function: Hashable, Sendable, Codable {
        package var votes = 0
        /// Votes on samples on which another function voted too.
        package var overlaps = 0
        /// Votes on samples on which another function voted for another class.
        package var conflicts = 0
        package var correct = 0
        package var incorrect = 0
        package var faults = 0
        /// Votes for each class that the function ever voted for.
        package var votesByClass: [Int: Int] = [:]
        package var correctByClass: [Int: Int] = [:]
        package var incorrectByClass: [Int: Int] = [:]
    }
    package var functions: [FunctionID]
    package var samples = 0
    /// Samples with a vote, with two, with two that differ.
    package var covered = 0
    package var overlapped = 0
    package var conflicted = 0
    package var perFunction: [Function]

    package init(functions: [FunctionID]) {
        self.functions = functions
        perFunction = Array(repeating: Function(), count: functions.count)
    }

    /// The counts of one block, which must hold all columns: overlap is between functions.
    ///
    /// - Parameter gold: the true class by position in the data set where known.
    package init(_ rows: VoteRows, functions: [FunctionID], gold: ((Int) -> Int?)? = nil, faults: [Int] = []) {
        self.init(functions: functions)
        precondition(rows.functionCount == functions.count, "\(rows.functionCount) columns for \(functions.count) functions")
        for (j, count) in faults.enumerated() { perFunction[j].faults += count }
        samples = rows.rowCount
        // Counted in flat arrays first: a dictionary look-up a vote would cost more than all the rest.
        let k = rows.classCount
        var byClass = [Int](repeating: 0, count: functions.count * k)
        var correctByClass = byClass
        var incorrectByClass = byClass
        for row in 0..<rows.rowCount {
            let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
            guard let first = range.first else { continue }
            covered += 1
            let overlaps = range.count > 1
            let conflicts = range.contains { rows.classes[$0] != rows.classes[first] }
            if overlaps { overlapped += 1 }
            if conflicts { conflicted += 1 }
            let truth = gold?(rows.firstSample + row)
            for i in range {
                let j = Int(rows.functions[i])
                let vote = Int(rows.classes[i])
                if overlaps { perFunction[j].overlaps += 1 }
                if conflicts { perFunction[j].conflicts += 1 }
                byClass[j * k + vote] += 1
                guard let truth else { continue }
                if truth == vote { correctByClass[j * k + vote] += 1 } else { incorrectByClass[j * k + vote] += 1 }
            }
        }
        for j in functions.indices {
            for c in 0..<k where byClass[j * k + c] > 0 {
                perFunction[j].votes += byClass[j * k + c]
                perFunction[j].votesByClass[c] = byClass[j * k + c]
                let right = correctByClass[j * k + c]
                let wrong = incorrectByClass[j * k + c]
                perFunction[j].correct += right
                perFunction[j].incorrect += wrong
                if right > 0 { perFunction[j].correctByClass[c] = right }
                if wrong > 0 { perFunction[j].incorrectByClass[c] = wrong }
            }
        }
    }

    package mutating func merge(_ other: LFStatistics) {
        precondition(functions == other.functions, "statistics of \(other.functions) cannot join those of \(functions)")
        samples += other.samples
        covered += other.covered
        overlapped += other.overlapped
        conflicted += other.conflicted
        for j in perFunction.indices {
            let more = other.perFunction[j]
            perFunction[j].votes += more.votes
            perFunction[j].overlaps += more.overlaps
            perFunction[j].conflicts += more.conflicts
            perFunction[j].correct += more.correct
            perFunction[j].incorrect += more.incorrect
            perFunction[j].faults += more.faults
            perFunction[j].votesByClass.merge(more.votesByClass, uniquingKeysWith: +)
            perFunction[j].correctByClass.merge(more.correctByClass, uniquingKeysWith: +)
            perFunction[j].incorrectByClass.merge(more.incorrectByClass, uniquingKeysWith: +)
        }
    }

    /// All blocks of a matrix.
    package init(_ matrix: LabelMatrix, gold: ((Int) -> Int?)? = nil) {
        self.init(functions: matrix.functions)
        for block in matrix.blocks {
            merge(
                LFStatistics(
                    VoteRows(block, classCount: matrix.classCount), functions: functions, gold: gold,
                    faults: block.columns.map { $0?.faults?.count ?? 0 }))
        }
    }
}

/// The labeling function table, by Snorkel's definitions: coverage, overlaps and conflicts are fractions of all samples.
package struct LFAnalysis: Hashable, Sendable {
    package struct Row: Hashable, Sendable {
        package var function: FunctionID
        /// Classes that the function ever voted for, ascending.
        package var polarity: [Int]
        package var coverage: Double
        package var overlaps: Double
        package var conflicts: Double
        package var correct: Int
        package var incorrect: Int
        package var faults: Int
        /// correct / (correct + incorrect); 0 where nothing is known, as Snorkel prints it.
        package var empiricalAccuracy: Double
        /// Wilson's 95 % interval for the accuracy; nil where no gold is known.
        package var accuracyInterval: ClosedRange<Double>?
        /// Precision by class voted for, with its interval; only classes with gold.
        package var precisionByClass: [(classIndex: Int, precision: Double, interval: ClosedRange<Double>)]

        package static func == (a: Row, b: Row) -> Bool {
            a.function == b.function && a.polarity == b.polarity && a.coverage == b.coverage && a.overlaps == b.overlaps
                && a.conflicts == b.conflicts && a.correct == b.correct && a.incorrect == b.incorrect && a.faults == b.faults
        }
        package func hash(into hasher: inout Hasher) {
            hasher.combine(function)
            hasher.combine(correct)
            hasher.combine(incorrect)
        }
    }
    package var rows: [Row]
    /// Fractions of samples with a vote, with two, with two that differ.
    package var coverage: Double
    package var overlap: Double
    package var conflict: Double

    package init(_ statistics: LFStatistics) {
        let n = Double(max(1, statistics.samples))
        coverage = Double(statistics.covered) / n
        overlap = Double(statistics.overlapped) / n
        conflict = Double(statistics.conflicted) / n
        rows = zip(statistics.functions, statistics.perFunction).map { id, f in
            let judged = f.correct + f.incorrect
            return Row(
                function: id, polarity: f.votesByClass.keys.sorted(), coverage: Double(f.votes) / n, overlaps: Double(f.overlaps) / n,
                conflicts: Double(f.conflicts) / n, correct: f.correct, incorrect: f.incorrect, faults: f.faults,
                empiricalAccuracy: judged > 0 ? Double(f.correct) / Double(judged) : 0,
                accuracyInterval: Self.wilsonInterval(successes: f.correct, trials: judged),
                precisionByClass: f.votesByClass.keys.sorted().compactMap { c in
                    let right = f.correctByClass[c] ?? 0
                    let total = right + (f.incorrectByClass[c] ?? 0)
                    guard let interval = Self.wilsonInterval(successes: right, trials: total) else { return nil }
                    return (c, Double(right) / Double(total), interval)
                })
        }
    }

    /// Wilson's score interval (1927) for a proportion; nil without trials.
    package static func wilsonInterval(successes: Int, trials: Int, z: Double = 1.959_963_984_540_054) -> ClosedRange<Double>? {
        guard trials > 0 else { return nil }
        let n = Double(trials)
        let p = Double(successes) / n
        let centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        let half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
        return max(0, centre - half)...min(1, centre + half)
    }
}
