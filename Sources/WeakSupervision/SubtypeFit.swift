internal import Foundation
internal import Primitives

/// Votes that are not independent given the class: every class is a mixture of M subtypes with tables of their own.
///
/// The model of Li, Rubinstein and Cohn (2019, "Exploiting worker correlation for label aggregation in crowdsourcing"): a sample
/// has class y with probability τ(y) and subtype g with probability π(g | y); function j votes l with probability v_j[y, g, l].
/// Priors: τ ~ Dirichlet(1), π(· | y) ~ Dirichlet(0.1/M), v_j[y, g, ·] ~ Dirichlet(1 + 3·[l = y]). Mean-field variational Bayes:
///   q(y, g) ∝ exp(E ln τ(y) + E ln π(g | y) + Σ_j E ln v_j[y, g, l_j]),  E ln of a Dirichlet(c) is ψ(c_i) − ψ(Σ c).
/// M = 1 is the Bayesian Dawid-Skene model (Kim and Ghahramani, 2012), so the difference of the two bounds on ln P(votes) says whether
/// votes are correlated. Counts are integers as in every other fit, and the start is drawn from a hash of a row's own votes:
/// nothing depends on the order of rows, blocks or functions.
struct SubtypeFit {
    static let subtypes = 3
    private static let ownClass = 4.0
    private static let otherClass = 1.0
    private static let subtypeConcentration = 0.1

    let classCount: Int
    let functions: [FunctionID]
    let m: Int
    let blocks: [VoteRows]
    private(set) var table: SubtypeTable
    private(set) var iterations = 0
    private(set) var hasConverged = false
    /// Lower bound on ln P(votes), nats a vote.
    private(set) var evidence = -Double.infinity
    private(set) var balance: [Double]
    private let columnOf: [Int32]
    private let gold: ((Int) -> Int?)?

    private var states: Int { classCount * m }

    private struct Counts {
        var columns: [Int64]
        var states: [Int64]
        var entropy: Int64 = 0
        var votes: Int64 = 0
    }

    /// - Parameter subtypes: M.
    init(
        _ blocks: [VoteRows], classCount: Int, functions: [FunctionID], polarity: VotePolarity, subtypes: Int = Self.subtypes,
        maximumIterations: Int = 100, gold: ((Int) -> Int?)? = nil
    ) {
        self.blocks = blocks
        self.classCount = classCount
        self.functions = functions
        self.gold = gold
        m = subtypes
        var starts = [0]
        var classes: [UInt16] = []
        var lookup = [Int32](repeating: -1, count: functions.count * classCount)
        for j in functions.indices {
            for l in 0..<classCount where polarity.counts[j * classCount + l] > 0 {
                lookup[j * classCount + l] = Int32(classes.count)
                classes.append(UInt16(l))
            }
            starts.append(classes.count)
        }
        columnOf = lookup
        table = SubtypeTable(
            subtypes: subtypes, stateBase: Array(repeating: 0, count: classCount * subtypes), columnStart: starts, columnClass: classes,
            logLikelihood: Array(repeating: 0, count: classes.count * classCount * subtypes), opinion: nil)
        balance = Array(repeating: 1 / Double(classCount), count: classCount)
        var counts = expectation(isFirst: true)
        guard counts.votes > 0 else {
            hasConverged = true
            evidence = 0
            return
        }
        var previous = counts.states
        while iterations < maximumIterations, !hasConverged {
            maximize(counts)
            counts = expectation(isFirst: false)
            iterations += 1
            // Converged when no state's mass moves by more than 10⁻⁴ of all.
            let all = Double(counts.states.reduce(0, +))
            let move = zip(counts.states, previous).reduce(0.0) { max($0, abs(Double($1.0 - $1.1))) }
            hasConverged = move <= 1e-4 * all
            previous = counts.states
        }
        evidence = bound(counts) / Double(counts.votes)
        // The tables belong to the counts that the bound was taken of.
        maximize(counts)
    }

    private func expectation(isFirst: Bool) -> Counts {
        let s = states
        var counts = Counts(columns: Array(repeating: 0, count: table.columnClass.count * s), states: Array(repeating: 0, count: s))
        var score = [Int64](repeating: 0, count: s)
        var p = [Double](repeating: 0, count: s)
        let digests = functions.map { $0.digest.leadingBits }
        let base = table.stateBase.map { Int64($0) }
        counts.columns.withUnsafeMutableBufferPointer { columns in
            table.logLikelihood.withUnsafeBufferPointer { likelihood in
                for block in blocks {
                    for row in 0..<block.rowCount {
                        let range = Int(block.offsets[row])..<Int(block.offsets[row + 1])
                        let truth = gold?(block.firstSample + row)
                        if range.isEmpty { continue }
                        if isFirst {
                            start(block, range, digests, truth, &p)
                        } else {
                            for i in 0..<s { score[i] = base[i] }
                            for i in range {
                                let column = Int(columnOf[Int(block.functions[i]) * classCount + Int(block.classes[i])])
                                guard column >= 0 else { continue }
                                for state in 0..<s { score[state] += Int64(likelihood[column * s + state]) }
                            }
                            if let truth { for state in 0..<s where state / m != truth { score[state] = Int64.min / 2 } }
                            let top = score.max() ?? 0
                            var sum = 0.0
                            for state in 0..<s {
                                p[state] = exp(FixedPoint.nats(max(score[state] - top, -1 << 40)))
                                sum += p[state]
                            }
                            for state in 0..<s { p[state] /= sum }
                        }
                        var entropy = 0.0
                        for state in 0..<s {
                            let mass = FixedPoint.mass(p[state])
                            counts.states[state] += mass
                            if p[state] > 0 { entropy -= p[state] * log(p[state]) }
                            guard mass > 0 else { continue }
                            for i in range {
                                let column = Int(columnOf[Int(block.functions[i]) * classCount + Int(block.classes[i])])
                                if column >= 0 { columns[column * s + state] += mass }
                            }
                        }
                        counts.entropy += FixedPoint.mass(entropy)
                        counts.votes += Int64(range.count)
                    }
                }
            }
        }
        return counts
    }

    /// Shares of the votes by class, each divided over the subtypes by a Dirichlet(1) draw from a hash of the row's votes.
    private func start(_ block: VoteRows, _ range: Range<Int>, _ digests: [UInt64], _ truth: Int?, _ p: inout [Double]) {
        var hash: UInt64 = 0
        var share = [Double](repeating: 0, count: classCount)
        for i in range {
            // A sum does not depend on the order of votes.
            hash &+= SplitMix.mix(digests[Int(block.functions[i])] ^ (UInt64(block.classes[i]) &* 0x9E37_79B9_7F4A_7C15))
            share[Int(block.classes[i])] += 1 / Double(range.count)
        }
        for y in 0..<classCount {
            if let truth { share[y] = y == truth ? 1 : 0 }
            var sum = 0.0
            for g in 0..<m {
                hash = SplitMix.mix(hash &+ 1)
                let draw = -log((Double(hash >> 11) + 0.5) / 9_007_199_254_740_992)
                p[y * m + g] = draw
                sum += draw
            }
            for g in 0..<m { p[y * m + g] *= share[y] / sum }
        }
    }

    private mutating func maximize(_ counts: Counts) {
        let unit = 1 / FixedPoint.massScale
        let k = classCount
        let s = states
        let mass = counts.states.map { Double($0) * unit }
        let perClass = (0..<k).map { y in mass[y * m..<(y + 1) * m].reduce(0, +) }
        let total = Double(k) + perClass.reduce(0, +)
        balance = perClass.map { ($0 + 1) / total }
        for y in 0..<k {
            let class_ = Digamma.value(1 + perClass[y]) - Digamma.value(total)
            let all = Digamma.value(Self.subtypeConcentration + perClass[y])
            for g in 0..<m {
                let own = Digamma.value(Self.subtypeConcentration / Double(m) + mass[y * m + g])
                table.stateBase[y * m + g] = FixedPoint.score(class_ + own - all)
            }
        }
        for j in functions.indices {
            for state in 0..<s {
                let votes = table.columns(of: j).reduce(0.0) { $0 + Double(counts.columns[$1 * s + state]) * unit }
                let norm = Digamma.value(votes + Self.ownClass + Self.otherClass * Double(k - 1))
                for column in table.columns(of: j) {
                    let prior = Int(table.columnClass[column]) == state / m ? Self.ownClass : Self.otherClass
                    table.logLikelihood[column * s + state] = FixedPoint.score(
                        Digamma.value(Double(counts.columns[column * s + state]) * unit + prior) - norm)
                }
            }
        }
    }

    /// ln P(votes) ≥ Σ ln B(posterior)/B(prior) over all Dirichlets, plus the entropy of q(y, g).
    private func bound(_ counts: Counts) -> Double {
        let unit = 1 / FixedPoint.massScale
        let k = classCount
        let s = states
        let mass = counts.states.map { Double($0) * unit }
        let perClass = (0..<k).map { y in mass[y * m..<(y + 1) * m].reduce(0, +) }
        func change(_ posterior: [Double], _ prior: [Double]) -> Double {
            zip(posterior, prior).reduce(0) { $0 + lgamma($1.0) - lgamma($1.1) } - lgamma(posterior.reduce(0, +))
                + lgamma(prior.reduce(0, +))
        }
        var sum = change(perClass.map { $0 + 1 }, Array(repeating: 1, count: k))
        let concentration = Array(repeating: Self.subtypeConcentration / Double(m), count: m)
        for y in 0..<k { sum += change((0..<m).map { concentration[0] + mass[y * m + $0] }, concentration) }
        for j in functions.indices {
            for state in 0..<s {
                var prior = Array(repeating: Self.otherClass, count: k)
                prior[state / m] = Self.ownClass
                var posterior = prior
                for column in table.columns(of: j) {
                    posterior[Int(table.columnClass[column])] += Double(counts.columns[column * s + state]) * unit
                }
                sum += change(posterior, prior)
            }
        }
        return sum + Double(counts.entropy) * unit
    }

    /// - Parameter opinion: heard beside the subtypes, half and half; nil for the subtypes alone.
    func model(opinion coin: FittedLabelModel? = nil) -> FittedLabelModel {
        var table = table
        if let coin {
            guard case .agreement(let weights) = coin.form else { preconditionFailure("the second opinion has one weight a function") }
            table.opinion = SubtypeTable.Opinion(weights: weights.map { $0 / 2 }, balance: coin.logBalance.map { $0 / 2 })
        }
        return FittedLabelModel(
            kind: coin == nil ? .subtypes : .subtypesPooled, classCount: classCount, functions: functions,
            logBalance: balance.map { FixedPoint.score(log($0)) }, form: .subtypes(table), iterations: iterations,
            hasConverged: hasConverged)
    }
}

/// Tables by class and subtype: score(y) = ln Σ_g exp(base[y, g] + Σ votes likelihood[vote, y, g]), halved and joined by the half of a
/// one-accuracy model's score where there is a second opinion.
package struct SubtypeTable: Hashable, Sendable, Codable {
    package struct Opinion: Hashable, Sendable, Codable {
        /// Half the function's weight.
        package var weights: [Int32]
        /// Half of log p(y).
        package var balance: [Int32]
    }
    package internal(set) var subtypes: Int
    /// By class, then subtype; score units.
    package internal(set) var stateBase: [Int32]
    package internal(set) var columnStart: [Int]
    package internal(set) var columnClass: [UInt16]
    /// By column, then class, then subtype.
    package internal(set) var logLikelihood: [Int32]
    package internal(set) var opinion: Opinion?

    package func columns(of function: Int) -> Range<Int> { columnStart[function]..<columnStart[function + 1] }

    func column(function: Int, classIndex: Int) -> Int? { columns(of: function).first { Int(columnClass[$0]) == classIndex } }

    /// Whether the parts belong together: for tables that were read from a file.
    func fits(functions: Int, classCount: Int) -> Bool {
        let states = classCount * subtypes
        return (1...64).contains(subtypes) && stateBase.count == states && columnStart.count == functions + 1 && columnStart.first == 0
            && columnStart.last == columnClass.count && zip(columnStart, columnStart.dropFirst()).allSatisfy { $0 <= $1 }
            && columnClass.allSatisfy { Int($0) < classCount } && logLikelihood.count == columnClass.count * states
            && opinion.map { $0.weights.count == functions && $0.balance.count == classCount } ?? true
    }

    /// What votes add to ln p(a)/p(b), by integrating the log-odds' slope while all votes grow from nothing to their full weight
    /// (the Aumann–Shapley value): the parts add up to the log-odds although the model is a mixture.
    func contributions(of votes: [Vote], for a: Int, against b: Int, classCount: Int) -> (balance: Double, votes: [Double]) {
        let s = classCount * subtypes
        let base = stateBase.map { FixedPoint.nats($0) }
        let rows: [[Double]] = votes.map { vote in
            guard let column = column(function: vote.function, classIndex: vote.classIndex) else { return Array(repeating: 0, count: s) }
            return (0..<s).map { FixedPoint.nats(logLikelihood[column * s + $0]) }
        }
        let sum = (0..<s).map { state in rows.reduce(0) { $0 + $1[state] } }
        /// Shares of the subtypes of class y at weight t, and ln Σ exp.
        func mixture(_ y: Int, _ t: Double) -> (shares: [Double], level: Double) {
            let scores = (0..<subtypes).map { base[y * subtypes + $0] + t * sum[y * subtypes + $0] }
            let top = scores.max() ?? 0
            let powers = scores.map { exp($0 - top) }
            let total = powers.reduce(0, +)
            return (powers.map { $0 / total }, top + log(total))
        }
        var parts = [Double](repeating: 0, count: votes.count)
        // Midpoints of 256 equal steps; what they miss of the whole is given to the parts by their size.
        let steps = 256
        for step in 0..<steps {
            let t = (Double(step) + 0.5) / Double(steps)
            let (first, second) = (mixture(a, t).shares, mixture(b, t).shares)
            for (i, row) in rows.enumerated() {
                for g in 0..<subtypes {
                    parts[i] += (first[g] * row[a * subtypes + g] - second[g] * row[b * subtypes + g]) / Double(steps)
                }
            }
        }
        let before = mixture(a, 0).level - mixture(b, 0).level
        let miss = mixture(a, 1).level - mixture(b, 1).level - before - parts.reduce(0, +)
        let size = parts.reduce(0) { $0 + abs($1) }
        if size > 0 { for i in parts.indices { parts[i] += miss * abs(parts[i]) / size } }
        guard let opinion else { return (before, parts) }
        for (i, vote) in votes.enumerated() {
            let sign = (vote.classIndex == a ? 1.0 : 0) - (vote.classIndex == b ? 1.0 : 0)
            parts[i] = parts[i] / 2 + sign * FixedPoint.nats(opinion.weights[vote.function])
        }
        return (before / 2 + FixedPoint.nats(Int64(opinion.balance[a]) - Int64(opinion.balance[b])), parts)
    }
}

/// Steele, Lea and Flood's SplitMix64 finaliser.
enum SplitMix {
    static func mix(_ seed: UInt64) -> UInt64 {
        var z = seed &+ 0x9E37_79B9_7F4A_7C15
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// ψ(x) = d/dx ln Γ(x) for x > 0: the recurrence up to 6, then the asymptotic series (Abramowitz and Stegun 6.3.18).
enum Digamma {
    static func value(_ argument: Double) -> Double {
        precondition(argument > 0, "ψ(\(argument))")
        var x = argument
        var sum = 0.0
        while x < 6 {
            sum -= 1 / x
            x += 1
        }
        let f = 1 / (x * x)
        return sum + log(x) - 0.5 / x - f * (1.0 / 12 - f * (1.0 / 120 - f * (1.0 / 252 - f * (1.0 / 240 - f * (1.0 / 132)))))
    }
}
