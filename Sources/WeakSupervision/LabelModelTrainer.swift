internal import Foundation
internal import Kernels
package import Primitives

/// Expectation maximisation as a value: `statistics` runs wherever a block's votes are, `step` where the sums are.
///
/// Agreement form (majority, weighted, log-linear, one-coin): function j, when it votes, is right with probability aⱼ and
/// otherwise picks one of the other K − 1 classes evenly. What is maximised is
///   Σ over covered rows of ln Σ_y p(y) Π_j aⱼ^[lⱼ = y] ((1 − aⱼ)/(K − 1))^[lⱼ ≠ y]  +  Σ_j ln Beta(aⱼ; s·a₀ + 1, s·(1 − a₀) + 1),
/// with a₀ `priorAccuracy` and s `priorStrength`; the posterior is p(y|L) ∝ p(y)·exp(Σ wⱼ·[lⱼ = y]) with
/// wⱼ = ln((K − 1)·aⱼ/(1 − aⱼ)), the paper's log-linear model. It starts at a₀ for all and draws no random number.
/// Counts: agreed mass by function, votes by function, mass by class where it was voted for, outside factor by class where it
/// was voted for, outside factor.
///
/// Confusion form (MAP-EM, Dawid-Skene): see `ConfusionFit`. Counts: mass by column (function and class voted for) and true
/// class, then mass by class over the rows that count.
package struct LabelModelTrainer: Sendable {
    package let options: LabelModelOptions
    package private(set) var model: FittedLabelModel
    package private(set) var isFinished: Bool
    private var accuracies: [Double]
    /// Votes that the prior counts for, by function.
    private let strengths: [Double]
    private let discounts: [Double]?
    /// nil for agreement forms.
    private var confusion: ConfusionFit?

    /// - Parameters:
    ///   - polarity: how often each function votes for each class in all the data of the fit.
    ///   - goldCounts: known labels by class, for `ClassBalance.gold`.
    ///   - discounts: what a vote of each function is worth beside those that repeat it, in (0, 1]; nil is 1 for all. Their evidence
    ///     counts to that power in every E-step and in the fitted model; M-steps count votes as ever.
    package init(
        options: LabelModelOptions, functions: [FunctionID], polarity: VotePolarity, goldCounts: [Int] = [], discounts: [Double]? = nil
    ) throws(AMAFError) {
        guard ![.auto, .triplets, .pooled, .subtypes, .subtypesPooled].contains(options.kind) else {
            preconditionFailure("\(options.kind.rawValue) is not fitted by EM; ask LabelModelFit")
        }
        let k = polarity.classCount
        precondition(polarity.functionCount == functions.count, "\(polarity.functionCount) polarities for \(functions.count) functions")
        self.options = options
        // Where nothing is repeated the model is as without.
        self.discounts = discounts?.contains { $0 < 1 } == true ? discounts : nil
        let balance = try Self.balance(options.classBalance, classCount: k, goldCounts: goldCounts)
        accuracies = Array(repeating: min(max(options.priorAccuracy, 1e-3), 0.999), count: functions.count)
        // The accuracy of a function that speaks for one class only cannot be told from the class balance: left to itself EM
        // may explain such votes by a world of one class. Two pseudo-votes a vote keep it near what it is believed to be.
        strengths = functions.indices.map { j in
            max(options.priorStrength, polarity.isUnipolar(j) ? 2 * Double(polarity.votes(of: j)) : 0)
        }
        isFinished = polarity.voteCount == 0
        model = FittedLabelModel(
            kind: options.kind, classCount: k, functions: functions, logBalance: balance.map { FixedPoint.score(log($0)) },
            form: .agreement(weights: Self.weights(accuracies, classCount: k, discounts: self.discounts)), iterations: 0,
            hasConverged: isFinished)
        model.discounts = self.discounts?.map { FixedPoint.score($0) }
        switch options.kind {
        case .mapEM, .dawidSkene, .dawidSkeneAbstain, .damped:
            let fit = ConfusionFit(options: options, polarity: polarity, balance: balance)
            confusion = fit
            // Dawid and Skene begin at a majority vote, MAP-EM at the centre of its prior.
            if options.kind == .mapEM || isFinished { model.form = .confusion(discounted(fit.table)) }
        default: break
        }
    }

    static func balance(_ balance: ClassBalance, classCount k: Int, goldCounts: [Int]) throws(AMAFError) -> [Double] {
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

    static func weights(_ accuracies: [Double], classCount k: Int, discounts: [Double]? = nil) -> [Int32] {
        accuracies.enumerated().map { j, a in FixedPoint.score(log(Double(max(1, k - 1)) * a / (1 - a)) * (discounts?[j] ?? 1)) }
    }

    private func discounted(_ table: ConfusionTable) -> ConfusionTable {
        guard let discounts else { return table }
        let k = model.classCount
        var table = table
        for j in model.functions.indices where discounts[j] < 1 {
            for column in table.columns(of: j) {
                for y in 0..<k {
                    table.logLikelihood[column * k + y] = FixedPoint.score(
                        FixedPoint.nats(table.logLikelihood[column * k + y]) * discounts[j])
                }
            }
            if var abstain = table.logAbstain {
                for y in 0..<k { abstain[j * k + y] = FixedPoint.score(FixedPoint.nats(abstain[j * k + y]) * discounts[j]) }
                table.logAbstain = abstain
            }
        }
        return table
    }

    /// The counts of one block under the current model.
    ///
    /// - Parameter gold: the true class by position in the data set where known; such rows count as certain.
    package func statistics(of rows: VoteRows, gold: ((Int) -> Int?)? = nil) -> LabelModelStatistics {
        statistics(of: FitBlock(rows), gold: gold)
    }

    package func statistics(of block: FitBlock, gold: ((Int) -> Int?)? = nil) -> LabelModelStatistics {
        switch (block, confusion) {
        case (.twoClass(let votes), let confusion): twoClass(votes, gold, confusion)
        case (.rows(let rows), nil): agreement(rows, gold)
        case (.rows(let rows), let confusion?): dense(rows, gold, confusion)
        }
    }

    private func twoClass(_ votes: TwoClassVotes, _ gold: ((Int) -> Int?)?, _ confusion: ConfusionFit?) -> LabelModelStatistics {
        let m = model.functions.count
        let scores = TwoClassVotes.Scores(model)
        let known = gold.map { gold in (0..<votes.rowCount).map { Int8(gold(votes.firstSample + $0) ?? -1) } }
        let sums = votes.sums(scores, gold: known)
        let one = Int64(FixedPoint.massScale)
        // Rows that nobody votes on and whose label is unknown do not count; each was given the same mass.
        let silent = votes.uncovered.reduce(Int64(0)) { $0 + ((known?[Int($1)] ?? -1) < 0 ? 1 : 0) }
        let counted = Int64(votes.rowCount) - silent
        let mass1 = sums.total - silent * TwoClassVotes.silentMass(scores)
        let mass0 = counted * one - mass1
        var out = LabelModelStatistics(count: confusion?.countCount ?? 2 * m + 5)
        out.rows = Int64(votes.rowCount)
        out.counted = counted
        if let confusion {
            for j in 0..<m {
                for column in confusion.table.columns(of: j) {
                    let isOne = confusion.table.columnClass[column] == 1
                    let mass = isOne ? sums.one[j] : sums.zero[j]
                    let all = isOne ? votes.voteCounts[j].1 : votes.voteCounts[j].0
                    out.counts[2 * column] = all * one - mass
                    out.counts[2 * column + 1] = mass
                }
            }
            out.counts[out.counts.count - 2] = mass0
            out.counts[out.counts.count - 1] = mass1
        } else {
            for j in 0..<m {
                let (zeros, ones) = votes.voteCounts[j]
                out.counts[j] = sums.one[j] + zeros * one - sums.zero[j]
                out.counts[m + j] = zeros + ones
            }
            out.counts[2 * m] = mass0
            out.counts[2 * m + 1] = mass1
        }
        return out
    }

    private func agreement(_ rows: VoteRows, _ gold: ((Int) -> Int?)?) -> LabelModelStatistics {
        guard case .agreement(let weights) = model.form else { preconditionFailure("an agreement fit holds another form") }
        let m = model.functions.count
        let k = model.classCount
        let shares = BaseShares(model.logBalance.map { Int64($0) })
        let known = gold.map { gold in (0..<rows.rowCount).map { Int16(gold(rows.firstSample + $0) ?? -1) } }
        let sums = VoteKernels.agreementStep(
            offsets: rows.offsets, functions: rows.functions, votes: rows.classes, weights: weights, base: shares.base, share: shares.share,
            shareSum: shares.sum, largest: shares.largest, gold: known, wantsOutside: options.classBalance == .learned)
        var out = LabelModelStatistics(count: 2 * m + 2 * k + 1)
        out.rows = Int64(rows.rowCount)
        out.counted = sums.covered
        for j in rows.functions { out.counts[m + Int(j)] += 1 }
        for j in 0..<m { out.counts[j] = sums.agreed[j] }
        for y in 0..<k {
            out.counts[2 * m + y] = sums.classMass[y]
            out.counts[2 * m + k + y] = sums.outsideVoted[y]
        }
        out.counts[2 * m + 2 * k] = sums.outside
        return out
    }

    private func dense(_ rows: VoteRows, _ gold: ((Int) -> Int?)?, _ confusion: ConfusionFit) -> LabelModelStatistics {
        let k = model.classCount
        var out = LabelModelStatistics(count: confusion.countCount)
        out.rows = Int64(rows.rowCount)
        var evaluator = RowEvaluator(model)
        var mass = [Int64](repeating: 0, count: k)
        let classStart = confusion.countCount - k
        let columnOf = confusion.columnOf
        var counted: Int64 = 0
        out.counts.withUnsafeMutableBufferPointer { counts in
            for row in 0..<rows.rowCount {
                let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
                let truth = gold?(rows.firstSample + row)
                if range.isEmpty, truth == nil { continue }
                counted += 1
                if let truth {
                    for y in 0..<k { mass[y] = y == truth ? Int64(FixedPoint.massScale) : 0 }
                } else {
                    evaluator.evaluate(rows, range)
                    evaluator.denseMass(into: &mass)
                }
                mass.withUnsafeBufferPointer { mass in
                    for i in range {
                        let column = Int(columnOf[Int(rows.functions[i]) * k + Int(rows.classes[i])])
                        guard column >= 0 else { continue }
                        for y in 0..<k { counts[column * k + y] += mass[y] }
                    }
                    for y in 0..<k { counts[classStart + y] += mass[y] }
                }
            }
        }
        out.counted = counted
        return out
    }

    /// Takes the sums over all blocks and moves on to the next model.
    package mutating func step(_ statistics: LabelModelStatistics) {
        precondition(!isFinished, "the fit is over")
        let change: Double
        if confusion != nil {
            change = confusion?.step(statistics) ?? 0
            if let fit = confusion {
                model.form = .confusion(discounted(fit.table))
                model.logBalance = fit.balance.map { FixedPoint.score(log($0)) }
            }
        } else {
            change = stepAgreement(statistics.counts)
        }
        model.iterations += 1
        model.hasConverged = change <= options.tolerance
        isFinished = model.hasConverged || model.iterations >= options.maximumIterations || options.kind == .weighted
    }

    private mutating func stepAgreement(_ counts: [Int64]) -> Double {
        let m = model.functions.count
        let k = model.classCount
        let s = options.priorStrength
        var next = accuracies
        if options.kind == .majority {
            let agreed = Double(counts[0..<m].reduce(0, +)) / FixedPoint.massScale
            let shared = (agreed + s * options.priorAccuracy) / (Double(counts[m..<2 * m].reduce(0, +)) + s)
            // A majority always counts for its class, however bad the votes are.
            next = Array(repeating: min(max(shared, 1.05 / Double(max(2, k))), 0.99), count: m)
        } else {
            for j in 0..<m {
                let agreed = Double(counts[j]) / FixedPoint.massScale
                let s = strengths[j]
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
        model.form = .agreement(weights: Self.weights(accuracies, classCount: k, discounts: discounts))
        return change
    }
}

/// exp(base − largest base) in share units, and their sum.
struct BaseShares {
    let base: [Int64]
    let share: [Int64]
    let sum: Int64
    let largest: Int64

    init(_ base: [Int64]) {
        self.base = base
        let top = base.max() ?? 0
        largest = top
        share = base.map { Int64((exp(FixedPoint.nats($0 - top)) * FixedPoint.shareScale).rounded()) }
        sum = share.reduce(0, +)
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

    /// - Parameter votesByClass: by function, how often it votes for each class.
    package init(rows: Int, classCount: Int, votesByClass: [[Int: Int]]) {
        self.init(functionCount: votesByClass.count, classCount: classCount)
        self.rows = Int64(rows)
        for (j, votes) in votesByClass.enumerated() {
            for (c, count) in votes {
                precondition(c >= 0 && c < classCount, "votes for class \(c) of \(classCount)")
                counts[j * classCount + c] = Int64(count)
            }
        }
    }

    package var voteCount: Int64 { counts.reduce(0, +) }

    package mutating func add(_ block: VoteRows) { add(FitBlock.rows(block)) }

    package mutating func add(_ block: FitBlock) {
        switch block {
        case .rows(let block):
            precondition(block.functionCount == functionCount && block.classCount == classCount, "a block of another matrix")
            rows += Int64(block.rowCount)
            for i in block.functions.indices { counts[Int(block.functions[i]) * classCount + Int(block.classes[i])] += 1 }
        case .twoClass(let votes):
            precondition(votes.functionCount == functionCount && classCount == 2, "a block of another matrix")
            rows += Int64(votes.rowCount)
            for j in 0..<functionCount {
                counts[2 * j] += votes.voteCounts[j].0
                counts[2 * j + 1] += votes.voteCounts[j].1
            }
        }
    }

    package mutating func merge(_ other: VotePolarity) {
        precondition(functionCount == other.functionCount && classCount == other.classCount, "polarities of another matrix")
        rows += other.rows
        for i in counts.indices { counts[i] += other.counts[i] }
    }

    func votes(of j: Int) -> Int64 { counts[j * classCount..<(j + 1) * classCount].reduce(0, +) }

    /// Whether a function speaks for one class in more than 99 % of its votes.
    func isUnipolar(_ j: Int) -> Bool {
        let all = votes(of: j)
        let largest = counts[j * classCount..<(j + 1) * classCount].max() ?? 0
        return (all - largest) * 100 < all
    }

    /// Votes of the functions that vote for two classes or more, as a share of all votes.
    var multipolarShare: Double {
        let multipolar = (0..<functionCount).reduce(Int64(0)) { isUnipolar($1) ? $0 : $0 + votes(of: $1) }
        return Double(multipolar) / Double(max(1, voteCount))
    }
}
