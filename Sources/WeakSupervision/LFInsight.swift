internal import Foundation
package import Primitives

/// What the labeling function table does not say: who agrees with whom beyond chance, who repeats whom, what is lost without a
/// function, and on what it errs.
package struct LFInsight: Sendable {
    package struct Pair: Hashable, Sendable, Codable {
        package var first: FunctionID
        package var second: FunctionID
        /// Samples on which both vote.
        package var together: Int
        /// Of those, alike.
        package var agreement: Double
        /// Cohen's κ over those samples; nil where chance alone agrees always (two functions that speak for one class).
        package var kappa: Double?
        /// together / what independent functions would reach, n·cᵢ·cⱼ.
        package var lift: Double
        /// One opinion counted twice; see `PairwiseAgreement.nearDuplicates`.
        package var isNearDuplicate: Bool
    }

    /// What changes when a function is left out, with the same model fitted without it.
    package struct LeaveOneOut: Hashable, Sendable, Codable {
        package var function: FunctionID
        /// Samples that no other function votes on, as a fraction of all.
        package var coverageLost: Double
        /// Covered samples whose label is another without it, as a fraction of all.
        package var labelsChanged: Double
        /// Accuracy on samples with gold that stay covered: with it less without it; nil without gold.
        package var accuracyGain: Double?
    }

    /// Samples on which a function votes wrongly, by true class.
    package struct ErrorBucket: Hashable, Sendable, Codable {
        package var function: FunctionID
        package var votedClass: Int
        package var trueClass: Int
        package var count: Int
        /// Positions in the data set, the first few.
        package var examples: [Int]
    }

    package var pairs: [Pair]
    package var leaveOneOut: [LeaveOneOut]
    package var errors: [ErrorBucket]

    /// - Parameters:
    ///   - options: the model that is fitted with and without each function.
    ///   - pairLimit: pairs kept: near-duplicates first, then by samples together.
    package init(
        _ matrix: LabelMatrix, gold: ((Int) -> Int?)? = nil, options: LabelModelOptions = LabelModelOptions(kind: .logLinear),
        pairLimit: Int = 20, exampleLimit: Int = 3, leavesOneOut: Bool = true
    ) throws(AMAFError) {
        let rows = matrix.blocks.map { VoteRows($0, classCount: matrix.classCount) }
        pairs = Array(Self.pairs(rows, matrix).prefix(pairLimit))
        errors = Self.errors(rows, matrix, gold, exampleLimit)
        leaveOneOut = leavesOneOut ? try Self.leaveOneOut(rows, matrix, gold, options) : []
    }

    private static func pairs(_ rows: [VoteRows], _ matrix: LabelMatrix) -> [Pair] {
        let m = matrix.functions.count
        let k = matrix.classCount
        var agreement = PairwiseAgreement(functionCount: m, classCount: k)
        for block in rows { agreement.add(block) }
        // Votes of i for class c where j votes too.
        var marginal: [Int: [Int32]] = [:]
        for block in rows {
            for row in 0..<block.rowCount {
                let range = Int(block.offsets[row])..<Int(block.offsets[row + 1])
                for a in range {
                    for b in range where a != b {
                        let at = Int(block.functions[a]) * m + Int(block.functions[b])
                        marginal[at, default: Array(repeating: 0, count: k)][Int(block.classes[a])] += 1
                    }
                }
            }
        }
        let duplicates = Set(agreement.nearDuplicates().map { $0.first * m + $0.second })
        let n = Double(max(1, rows.reduce(0) { $0 + $1.rowCount }))
        var out: [Pair] = []
        for i in 0..<m {
            for j in i + 1..<max(i + 1, m) {
                let both = agreement.together[i * m + j]
                guard both > 0, let a = marginal[i * m + j], let b = marginal[j * m + i] else { continue }
                let t = Double(both)
                let observed = Double(agreement.agreed[i * m + j]) / t
                let chance = (0..<k).reduce(0.0) { $0 + Double(a[$1]) / t * Double(b[$1]) / t }
                let votes = (Double(agreement.together[i * m + i]), Double(agreement.together[j * m + j]))
                out.append(
                    Pair(
                        first: matrix.functions[i], second: matrix.functions[j], together: Int(both), agreement: observed,
                        kappa: chance < 1 - 1e-12 ? (observed - chance) / (1 - chance) : nil, lift: t * n / (votes.0 * votes.1),
                        isNearDuplicate: duplicates.contains(i * m + j)))
            }
        }
        return out.sorted {
            ($0.isNearDuplicate ? 0 : 1, -$0.together, $0.first, $0.second) < (
                $1.isNearDuplicate ? 0 : 1, -$1.together, $1.first, $1.second
            )
        }
    }

    private static func errors(_ rows: [VoteRows], _ matrix: LabelMatrix, _ gold: ((Int) -> Int?)?, _ limit: Int) -> [ErrorBucket] {
        guard let gold else { return [] }
        struct Key: Hashable { var function: Int, voted: Int, truth: Int }
        var buckets: [Key: (count: Int, examples: [Int])] = [:]
        for block in rows {
            for row in 0..<block.rowCount {
                guard let truth = gold(block.firstSample + row) else { continue }
                for vote in block.votes(row: row) where vote.classIndex != truth {
                    let key = Key(function: vote.function, voted: vote.classIndex, truth: truth)
                    buckets[key, default: (0, [])].count += 1
                    if buckets[key]?.examples.count ?? 0 < limit { buckets[key]?.examples.append(block.firstSample + row) }
                }
            }
        }
        return buckets.map { key, value in
            ErrorBucket(
                function: matrix.functions[key.function], votedClass: key.voted, trueClass: key.truth, count: value.count,
                examples: value.examples)
        }.sorted { (-$0.count, $0.function, $0.votedClass, $0.trueClass) < (-$1.count, $1.function, $1.votedClass, $1.trueClass) }
    }

    private static func leaveOneOut(
        _ rows: [VoteRows], _ matrix: LabelMatrix, _ gold: ((Int) -> Int?)?, _ options: LabelModelOptions
    ) throws(AMAFError) -> [LeaveOneOut] {
        let k = matrix.classCount
        let n = Double(max(1, rows.reduce(0) { $0 + $1.rowCount }))
        func labels(_ functions: [FunctionID]) throws(AMAFError) -> [(covered: Bool, label: Int?)] {
            let blocks = matrix.selecting(functions).blocks.map { FitBlock($0, classCount: k) }
            let model = try LabelModelFit(blocks, classCount: k, functions: functions).fit(options)
            var out: [(covered: Bool, label: Int?)] = []
            for block in blocks {
                let posterior = model.posteriors(of: block)
                for row in 0..<posterior.rowCount { out.append((posterior.isCovered(row: row), posterior.label(row: row))) }
            }
            return out
        }
        let positions = rows.flatMap { block in block.firstSample..<block.firstSample + block.rowCount }
        let full = try labels(matrix.functions)
        var out: [LeaveOneOut] = []
        for function in matrix.functions {
            let without = try labels(matrix.functions.filter { $0 != function })
            var lost = 0
            var changed = 0
            var judged = 0
            var gain = 0
            for (i, pair) in zip(full, without).enumerated() {
                let (with, without) = pair
                if with.covered && !without.covered { lost += 1 }
                guard with.covered && without.covered else { continue }
                if with.label != without.label { changed += 1 }
                guard let truth = gold?(positions[i]) else { continue }
                judged += 1
                gain += (with.label == truth ? 1 : 0) - (without.label == truth ? 1 : 0)
            }
            out.append(
                LeaveOneOut(
                    function: function, coverageLost: Double(lost) / n, labelsChanged: Double(changed) / n,
                    accuracyGain: judged > 0 ? Double(gain) / Double(judged) : nil))
        }
        return out
    }
}
