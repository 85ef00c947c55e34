internal import Foundation
package import Primitives

/// What one step of a fit needs to know of a block: integer counts, so that adding them up in any order is exact.
package struct LabelModelStatistics: Hashable, Sendable, Codable {
    /// Samples seen, and those with a vote.
    package var rows: Int64 = 0
    package var covered: Int64 = 0
    /// Meaning by model form; see `LabelModelTrainer`.
    package var counts: [Int64]
    /// Σ log Σ exp(score), in 2⁻¹⁶ nats.
    package var logNormalizer: Int64 = 0

    package init(count: Int) { counts = Array(repeating: 0, count: count) }

    package mutating func merge(_ other: LabelModelStatistics) {
        precondition(counts.count == other.counts.count, "\(other.counts.count) counts cannot join \(counts.count)")
        rows += other.rows
        covered += other.covered
        logNormalizer += other.logNormalizer
        for i in counts.indices { counts[i] += other.counts[i] }
    }
}

/// Expectation maximisation as a value: `statistics` runs wherever a block's votes are, `step` where the sums are.
///
/// Agreement form (majority, weighted, log-linear, one-coin): function j, when it votes, is right with probability aⱼ and
/// otherwise picks one of the other K − 1 classes evenly. What is maximised is
///   Σ over covered rows of ln Σ_y p(y) Π_j aⱼ^[lⱼ = y] ((1 − aⱼ)/(K − 1))^[lⱼ ≠ y]  +  Σ_j ln Beta(aⱼ; s·a₀ + 1, s·(1 − a₀) + 1),
/// with a₀ `priorAccuracy` and s `priorStrength`; the posterior is p(y|L) ∝ p(y)·exp(Σ wⱼ·[lⱼ = y]) with
/// wⱼ = ln((K − 1)·aⱼ/(1 − aⱼ)), the paper's log-linear model. It starts at a₀ for all and draws no random number.
///
/// Counts: agreed mass by function, votes by function, mass by class where it was voted for, outside factor by class where it
/// was voted for, outside factor.
///
/// Confusion form: mass by column (function and class voted for) and true class, then mass by class.
package struct LabelModelTrainer: Sendable {
    package let options: LabelModelOptions
    package private(set) var model: FittedLabelModel
    package private(set) var isFinished: Bool
    /// Per sample and in nats, after each step: what EM raises.
    package private(set) var logLikelihoods: [Double] = []
    private let layout: Layout
    private var accuracies: [Double]
    /// Votes by column, for confusion forms; known before the first step.
    private let polarity: VotePolarity

    enum Layout: Sendable { case agreement, confusion }

    /// - Parameters:
    ///   - polarity: how often each function votes for each class in all the data of the fit.
    ///   - goldCounts: known labels by class, for `ClassBalance.gold`.
    package init(options: LabelModelOptions, functions: [FunctionID], polarity: VotePolarity, goldCounts: [Int] = []) throws(AMAFError) {
        let k = polarity.classCount
        guard [.majority, .weighted, .logLinear, .oneCoin].contains(options.kind) else {
            throw AMAFError(
                "label-model.not-available", "The label model '\(options.kind.rawValue)' is not available", remedy: "Use log-linear.")
        }
        precondition(polarity.functionCount == functions.count, "\(polarity.functionCount) polarities for \(functions.count) functions")
        self.options = options
        self.polarity = polarity
        let balance = try Self.balance(options.classBalance, classCount: k, goldCounts: goldCounts)
        accuracies = Array(repeating: min(max(options.priorAccuracy, 1e-3), 0.999), count: functions.count)
        layout = .agreement
        isFinished = polarity.voteCount == 0
        model = FittedLabelModel(
            kind: options.kind, classCount: k, functions: functions, logBalance: balance.map { FixedPoint.score(log($0)) },
            form: .agreement(weights: Self.weights(accuracies, classCount: k)), iterations: 0, hasConverged: isFinished)
    }

    private static func balance(_ balance: ClassBalance, classCount k: Int, goldCounts: [Int]) throws(AMAFError) -> [Double] {
        switch balance {
        case .uniform, .learned: return Array(repeating: 1 / Double(k), count: k)
        case .given(let given):
            guard given.count == k, given.allSatisfy({ $0 > 0 && $0.isFinite }) else {
                throw AMAFError(
                    "label-model.class-balance", "A class balance needs \(k) positive numbers, not \(given)",
                    remedy: "Give one number a class, in the order of the classes.")
            }
            let sum = given.reduce(0, +)
            return given.map { $0 / sum }
        case .gold:
            guard goldCounts.count == k, goldCounts.contains(where: { $0 > 0 }) else {
                throw AMAFError(
                    "label-model.no-gold", "The class balance is to come from known labels, but none are known",
                    remedy: "Give gold labels, or ask for a uniform or learned balance.")
            }
            let sum = Double(goldCounts.reduce(0, +) + k)
            return goldCounts.map { Double($0 + 1) / sum }
        }
    }

    static func weights(_ accuracies: [Double], classCount k: Int) -> [Int32] {
        accuracies.map { FixedPoint.score(log(Double(max(1, k - 1)) * $0 / (1 - $0))) }
    }

    /// The counts of one block under the current model.
    ///
    /// - Parameter gold: the true class by position in the data set where known; such rows count as certain.
    package func statistics(of rows: VoteRows, gold: ((Int) -> Int?)? = nil) -> LabelModelStatistics {
        let m = model.functions.count
        let k = model.classCount
        var out = LabelModelStatistics(count: 2 * m + 2 * k + 1)
        out.rows = Int64(rows.rowCount)
        var evaluator = RowEvaluator(model)
        for row in 0..<rows.rowCount {
            let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
            guard !range.isEmpty else { continue }
            out.covered += 1
            evaluator.evaluate(rows, range)
            out.logNormalizer += Int64((evaluator.logNormalizer * FixedPoint.scoreScale).rounded())
            let truth = gold?(rows.firstSample + row)
            for i in range {
                let j = Int(rows.functions[i])
                let c = Int(rows.classes[i])
                out.counts[j] += truth.map { $0 == c ? Int64(FixedPoint.massScale) : 0 } ?? evaluator.mass(c)
                out.counts[m + j] += 1
            }
            if let truth {
                out.counts[2 * m + truth] += Int64(FixedPoint.massScale)
            } else {
                let factor = FixedPoint.mass(min(evaluator.outsideMassFactor, 1e6))
                for c in evaluator.support {
                    out.counts[2 * m + c] += evaluator.mass(c)
                    out.counts[2 * m + k + c] += factor
                }
                out.counts[2 * m + 2 * k] += factor
            }
        }
        return out
    }

    /// Takes the sums over all blocks and moves on to the next model.
    package mutating func step(_ statistics: LabelModelStatistics) {
        precondition(!isFinished, "the fit is over")
        let m = model.functions.count
        let k = model.classCount
        let counts = statistics.counts
        let constant = (0..<m).reduce(0.0) { $0 + Double(counts[m + $1]) * log((1 - accuracies[$1]) / Double(max(1, k - 1))) }
        logLikelihoods.append((Double(statistics.logNormalizer) / FixedPoint.scoreScale + constant) / Double(max(1, statistics.covered)))

        let s = options.priorStrength
        var next = accuracies
        if options.kind == .majority {
            let agreed = (0..<m).reduce(0.0) { $0 + Double(counts[$1]) } / FixedPoint.massScale
            let votes = (0..<m).reduce(0.0) { $0 + Double(counts[m + $1]) }
            let shared = (agreed + s * options.priorAccuracy) / (votes + s)
            // A majority always counts for its class, however bad the votes are.
            next = Array(repeating: min(max(shared, 1.05 / Double(max(2, k))), 0.99), count: m)
        } else {
            for j in 0..<m {
                let agreed = Double(counts[j]) / FixedPoint.massScale
                next[j] = min(max((agreed + s * options.priorAccuracy) / (Double(counts[m + j]) + s), 1e-3), 0.999)
            }
        }
        var change = zip(next, accuracies).reduce(0) { max($0, abs($1.0 - $1.1)) }
        accuracies = next
        if options.classBalance == .learned {
            let old = model.classBalance
            let largest = old.max() ?? 1
            let factor = Double(counts[2 * m + 2 * k])
            var mass = (0..<k).map { y in
                Double(counts[2 * m + y]) + old[y] / largest * (factor - Double(counts[2 * m + k + y])) + FixedPoint.massScale
            }
            let sum = mass.reduce(0, +)
            mass = mass.map { $0 / sum }
            change = max(change, zip(mass, old).reduce(0) { max($0, abs($1.0 - $1.1)) })
            model.logBalance = mass.map { FixedPoint.score(log($0)) }
        }
        model.form = .agreement(weights: Self.weights(accuracies, classCount: k))
        model.iterations += 1
        model.hasConverged = change <= options.tolerance
        isFinished =
            model.hasConverged || model.iterations >= options.maximumIterations || (options.kind == .weighted && model.iterations >= 1)
    }

    /// Fits on a matrix in this process, block by block.
    package static func fit(
        _ matrix: LabelMatrix, options: LabelModelOptions, gold: ((Int) -> Int?)? = nil, goldCounts: [Int] = []
    ) throws(AMAFError) -> FittedLabelModel {
        let blocks = matrix.blocks.map { VoteRows($0, classCount: matrix.classCount) }
        return try fit(
            blocks, classCount: matrix.classCount, functions: matrix.functions, options: options, gold: gold, goldCounts: goldCounts)
    }

    package static func fit(
        _ blocks: [VoteRows], classCount: Int, functions: [FunctionID], options: LabelModelOptions, gold: ((Int) -> Int?)? = nil,
        goldCounts: [Int] = []
    ) throws(AMAFError) -> FittedLabelModel {
        var polarity = VotePolarity(functionCount: functions.count, classCount: classCount)
        for rows in blocks { polarity.add(rows) }
        var trainer = try LabelModelTrainer(options: options, functions: functions, polarity: polarity, goldCounts: goldCounts)
        while !trainer.isFinished {
            var sum: LabelModelStatistics?
            for rows in blocks {
                let part = trainer.statistics(of: rows, gold: gold)
                if sum == nil { sum = part } else { sum?.merge(part) }
            }
            guard let sum else { break }
            trainer.step(sum)
        }
        return trainer.model
    }
}

/// How often each function votes for each class: additive over blocks.
package struct VotePolarity: Hashable, Sendable, Codable {
    package let functionCount: Int
    package let classCount: Int
    package private(set) var rows: Int64 = 0
    /// By function, then by class voted for.
    package private(set) var counts: [Int64]

    package init(functionCount: Int, classCount: Int) {
        self.functionCount = functionCount
        self.classCount = classCount
        counts = Array(repeating: 0, count: functionCount * classCount)
    }

    package var voteCount: Int64 { counts.reduce(0, +) }

    package mutating func add(_ block: VoteRows) {
        precondition(block.functionCount == functionCount && block.classCount == classCount, "a block of another matrix")
        rows += Int64(block.rowCount)
        for i in block.functions.indices { counts[Int(block.functions[i]) * classCount + Int(block.classes[i])] += 1 }
    }

    package mutating func merge(_ other: VotePolarity) {
        precondition(functionCount == other.functionCount && classCount == other.classCount, "polarities of another matrix")
        rows += other.rows
        for i in counts.indices { counts[i] += other.counts[i] }
    }
}
