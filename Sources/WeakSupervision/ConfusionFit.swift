internal import Foundation

/// The M-steps of models with a table P(l | y) a function.
///
/// MAP-EM has Snorkel's parameters θⱼ[y, l] = P(function j votes l | y), abstentions ignored at inference, and a Dirichlet
/// prior of weight τ·n·p(y) centred on what Snorkel's `prec_init` says:
///   θ⁰ⱼ[y, l] = P(j votes l)·(a₀/p(y) if l = y else (1 − a₀)/(1 − p(l))), scaled so that a row sums to at most 0.98;
///   θⱼ[y, l] = (mass(j votes l, y) + τ·n·p(y)·θ⁰ⱼ[y, l]) / (mass(y) + τ·n·p(y)).
/// Rows without votes have the class balance as posterior and count in mass(y).
///
/// Dawid and Skene (1979): πⱼ[y, l] = P(j votes l | y, j votes), with s pseudo-votes from the table of all functions together:
///   πⱼ[y, l] = (mass(j votes l, y) + s·t[y, l]) / (mass(j votes, y) + s),  t[y, l] ∝ Σⱼ mass(j votes l, y) + 0.1 + [l = y].
/// A function with few votes leans on the crowd, one with many speaks for itself. `damped` adds ρ·mass(j votes, y) pseudo-votes, ρ = 0.1,
/// from the function's own accuracy aⱼ with even errors, [l = y]·aⱼ + [l ≠ y]·(1 − aⱼ)/(K − 1): the table never quite loses the names of
/// the classes. In the reading in which abstention is one
/// more answer the pseudo-votes are 0.1 + [l = y], for functions of different polarity have no table in common.
struct ConfusionFit: Sendable {
    private let options: LabelModelOptions
    private let k: Int
    private let m: Int
    private(set) var table: ConfusionTable
    private(set) var balance: [Double]
    /// Column by function and class, −1 for what was never voted.
    let columnOf: [Int32]
    /// θ or π by column and class.
    private var theta: [Double]
    private let centre: [Double]

    private static let floor = 1e-6
    /// Pseudo-votes a vote by which `damped` tables are drawn to one accuracy.
    private static let damping = 0.1

    var countCount: Int { table.columnClass.count * k + k }

    init(options: LabelModelOptions, polarity: VotePolarity, balance: [Double]) {
        self.options = options
        self.balance = balance
        k = polarity.classCount
        m = polarity.functionCount
        let k = polarity.classCount
        var starts = [0]
        var classes: [UInt16] = []
        var lookup = [Int32](repeating: -1, count: m * k)
        for j in 0..<m {
            for l in 0..<k where polarity.counts[j * k + l] > 0 {
                lookup[j * k + l] = Int32(classes.count)
                classes.append(UInt16(l))
            }
            starts.append(classes.count)
        }
        columnOf = lookup
        let n = Double(max(1, polarity.rows))
        var centre = [Double](repeating: 0, count: classes.count * k)
        let a0 = options.priorAccuracy
        for j in 0..<m {
            for y in 0..<k {
                var sum = 0.0
                for column in starts[j]..<starts[j + 1] {
                    let l = Int(classes[column])
                    let rate = Double(polarity.counts[j * k + l]) / n
                    centre[column * k + y] = rate * (l == y ? a0 / balance[y] : (1 - a0) / max(1e-9, 1 - balance[l]))
                    sum += centre[column * k + y]
                }
                if sum > 0.98 { for column in starts[j]..<starts[j + 1] { centre[column * k + y] *= 0.98 / sum } }
            }
        }
        self.centre = centre.map { max($0, Self.floor) }
        theta = self.centre
        table = ConfusionTable(columnStart: starts, columnClass: classes, logLikelihood: [], logAbstain: nil)
        write(abstain: nil)
    }

    private mutating func write(abstain: [Double]?) {
        table.logLikelihood = theta.map { FixedPoint.score(log(max($0, Self.floor))) }
        table.logAbstain = abstain.map { $0.map { FixedPoint.score(log(max($0, Self.floor))) } }
    }

    /// Moves to the parameters that the counts ask for; returns the largest move of any.
    mutating func step(_ statistics: LabelModelStatistics) -> Double {
        let counts = statistics.counts
        let unit = 1 / FixedPoint.massScale
        let classStart = countCount - k
        var next = theta
        var abstain: [Double]?
        var classMass = (0..<k).map { Double(counts[classStart + $0]) * unit }
        switch options.kind {
        case .mapEM:
            let silent = Double(statistics.rows - statistics.counted)
            for y in 0..<k { classMass[y] += silent * balance[y] }
            let strength = options.priorStrength * Double(statistics.rows)
            for column in table.columnClass.indices {
                for y in 0..<k {
                    let weight = strength * balance[y]
                    let mass = Double(counts[column * k + y]) * unit
                    next[column * k + y] = max(Self.floor, (mass + weight * centre[column * k + y]) / (classMass[y] + weight))
                }
            }
        case .dawidSkene, .damped:
            var pooled = [Double](repeating: 0.1, count: k * k)
            for y in 0..<k { pooled[y * k + y] += 1 }
            for (column, l) in table.columnClass.enumerated() {
                for y in 0..<k { pooled[y * k + Int(l)] += Double(counts[column * k + y]) * unit }
            }
            for y in 0..<k {
                let sum = pooled[y * k..<(y + 1) * k].reduce(0, +)
                for l in 0..<k { pooled[y * k + l] /= sum }
            }
            let s = options.priorStrength
            for j in 0..<m {
                var right = 7.0
                var votes = 10.0
                for column in table.columns(of: j) {
                    right += Double(counts[column * k + Int(table.columnClass[column])]) * unit
                    for y in 0..<k { votes += Double(counts[column * k + y]) * unit }
                }
                let accuracy = min(max(right / votes, 1e-3), 0.999)
                for y in 0..<k {
                    let all = table.columns(of: j).reduce(0.0) { $0 + Double(counts[$1 * k + y]) * unit }
                    let damping = options.kind == .damped ? Self.damping * all : 0
                    for column in table.columns(of: j) {
                        let l = Int(table.columnClass[column])
                        let even = l == y ? accuracy : (1 - accuracy) / Double(max(1, k - 1))
                        let prior = s * pooled[y * k + l] + damping * even
                        next[column * k + y] = (Double(counts[column * k + y]) * unit + prior) / (all + s + damping)
                    }
                }
            }
        default:
            var silence = [Double](repeating: 0, count: m * k)
            for j in 0..<m {
                for y in 0..<k {
                    let all = table.columns(of: j).reduce(0.0) { $0 + Double(counts[$1 * k + y]) * unit }
                    let sum = max(classMass[y], all) + 0.1 * Double(k + 1) + 1
                    for column in table.columns(of: j) {
                        let prior = Int(table.columnClass[column]) == y ? 1.1 : 0.1
                        next[column * k + y] = (Double(counts[column * k + y]) * unit + prior) / sum
                    }
                    silence[j * k + y] = (max(0, classMass[y] - all) + 0.1) / sum
                }
            }
            abstain = silence
        }
        var change = zip(next, theta).reduce(0) { max($0, abs($1.0 - $1.1)) }
        theta = next
        if options.classBalance == .learned {
            let sum = classMass.reduce(0, +) + Double(k)
            let learned = classMass.map { ($0 + 1) / sum }
            change = max(change, zip(learned, balance).reduce(0) { max($0, abs($1.0 - $1.1)) })
            balance = learned
        }
        write(abstain: abstain)
        return change
    }
}
