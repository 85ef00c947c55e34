internal import Foundation

/// Computes p(y | votes) of one row at a time from a model, with buffers that are reused over rows: the plain form of what
/// the kernels of `CKernels/labelmodel.c` do.
struct RowEvaluator {
    let classCount: Int
    /// base(y): the class balance and, where abstaining is evidence, every function's silence.
    let base: [Int64]
    private let weights: [Int32]
    /// Confusion: column by function and class voted for, −1 for votes never seen in the fit.
    private let columnOf: [Int32]
    private let table: [Int32]
    private let isAgreement: Bool
    /// A mixture: its score is no sum over votes.
    private let subtypes: SubtypeTable?
    private var stateScore: [Int64] = []

    /// exp(base − largest base) in share units, and their sum.
    private let baseShare: [Int64]
    private let baseShareSum: Int64
    private let largestBase: Int64

    // One row's result.
    /// Classes with a vote; for confusion models all classes.
    private(set) var support: [Int] = []
    /// Score by class, valid on `support`.
    private(set) var score: [Int64]
    /// Share of the normaliser by class, valid on `support`.
    private(set) var share: [Int64]
    private(set) var total: Int64 = 1
    /// Nats of the normaliser Σ exp(score).
    private(set) var logNormalizer = 0.0
    /// exp(−reference)·2⁴⁰: times exp(base) it is the share of a class outside the support.
    private(set) var outsideFactor = 0.0
    private var mark: [Bool]

    init(_ model: FittedLabelModel) {
        let k = model.classCount
        classCount = k
        var base = model.logBalance.map { Int64($0) }
        switch model.form {
        case .agreement(let weights):
            self.weights = weights
            columnOf = []
            table = []
            isAgreement = true
            subtypes = nil
        case .confusion(let confusion):
            weights = []
            isAgreement = false
            subtypes = nil
            var lookup = [Int32](repeating: -1, count: model.functions.count * k)
            var table = confusion.logLikelihood
            for j in model.functions.indices {
                for column in confusion.columns(of: j) {
                    lookup[j * k + Int(confusion.columnClass[column])] = Int32(column)
                    // A vote also takes back the function's silence, which the base counts for all functions.
                    if let abstain = confusion.logAbstain {
                        for y in 0..<k { table[column * k + y] -= abstain[j * k + y] }
                    }
                }
                if let abstain = confusion.logAbstain { for y in 0..<k { base[y] += Int64(abstain[j * k + y]) } }
            }
            columnOf = lookup
            self.table = table
        case .subtypes(let mixture):
            weights = mixture.opinion?.weights ?? []
            isAgreement = false
            subtypes = mixture
            var lookup = [Int32](repeating: -1, count: model.functions.count * k)
            for j in model.functions.indices {
                for column in mixture.columns(of: j) { lookup[j * k + Int(mixture.columnClass[column])] = Int32(column) }
            }
            columnOf = lookup
            table = mixture.logLikelihood
            stateScore = Array(repeating: 0, count: k * mixture.subtypes)
        }
        self.base = base
        let top = base.max() ?? 0
        largestBase = top
        baseShare = base.map { Int64((exp(FixedPoint.nats($0 - top)) * FixedPoint.shareScale).rounded()) }
        baseShareSum = baseShare.reduce(0, +)
        score = base
        share = Array(repeating: 0, count: k)
        mark = Array(repeating: false, count: k)
        if !isAgreement { support = Array(0..<k) }
    }

    /// Evaluates the votes at `range`.
    mutating func evaluate(_ rows: VoteRows, _ range: Range<Int>) {
        if isAgreement {
            evaluateAgreement(rows, range)
        } else if let subtypes {
            evaluateSubtypes(subtypes, rows, range)
        } else {
            evaluateConfusion(rows, range)
        }
    }

    private mutating func evaluateSubtypes(_ mixture: SubtypeTable, _ rows: VoteRows, _ range: Range<Int>) {
        let m = mixture.subtypes
        let states = classCount * m
        for state in 0..<states { stateScore[state] = Int64(mixture.stateBase[state]) }
        for i in range {
            let column = columnOf[Int(rows.functions[i]) * classCount + Int(rows.classes[i])]
            guard column >= 0 else { continue }
            let start = Int(column) * states
            for state in 0..<states { stateScore[state] += Int64(table[start + state]) }
        }
        for y in 0..<classCount {
            var top = stateScore[y * m]
            for g in 1..<max(1, m) { top = max(top, stateScore[y * m + g]) }
            var sum = 0.0
            for g in 0..<m { sum += exp(FixedPoint.nats(stateScore[y * m + g] - top)) }
            score[y] = top + Int64((log(sum) * FixedPoint.scoreScale).rounded())
            if let opinion = mixture.opinion { score[y] = score[y] / 2 + Int64(opinion.balance[y]) }
        }
        if mixture.opinion != nil { for i in range { score[Int(rows.classes[i])] += Int64(weights[Int(rows.functions[i])]) } }
        normalizeScores()
    }

    private mutating func evaluateAgreement(_ rows: VoteRows, _ range: Range<Int>) {
        support.removeAll(keepingCapacity: true)
        for i in range {
            let c = Int(rows.classes[i])
            if !mark[c] {
                mark[c] = true
                support.append(c)
                score[c] = base[c]
            }
            score[c] += Int64(weights[Int(rows.functions[i])])
        }
        var reference = support.count < classCount ? largestBase : Int64.min
        for c in support {
            mark[c] = false
            reference = max(reference, score[c])
        }
        if support.isEmpty { reference = largestBase }
        var inside: Int64 = 0
        var taken: Int64 = 0
        for c in support {
            share[c] = Int64((exp(FixedPoint.nats(score[c] - reference)) * FixedPoint.shareScale).rounded())
            inside += share[c]
            taken += baseShare[c]
        }
        let fade = exp(FixedPoint.nats(largestBase - reference))
        let outside = support.count < classCount ? Int64((Double(baseShareSum - taken) * fade).rounded()) : 0
        total = inside + outside
        outsideFactor = fade
        logNormalizer = FixedPoint.nats(reference) + log(Double(total) / FixedPoint.shareScale)
    }

    private mutating func evaluateConfusion(_ rows: VoteRows, _ range: Range<Int>) {
        for y in 0..<classCount { score[y] = base[y] }
        for i in range {
            let column = columnOf[Int(rows.functions[i]) * classCount + Int(rows.classes[i])]
            guard column >= 0 else { continue }
            let start = Int(column) * classCount
            for y in 0..<classCount { score[y] += Int64(table[start + y]) }
        }
        normalizeScores()
    }

    private mutating func normalizeScores() {
        let reference = score.max() ?? 0
        total = 0
        for y in 0..<classCount {
            share[y] = Int64((exp(FixedPoint.nats(score[y] - reference)) * FixedPoint.shareScale).rounded())
            total += share[y]
        }
        outsideFactor = 0
        logNormalizer = FixedPoint.nats(reference) + log(Double(total) / FixedPoint.shareScale)
    }

    /// p(y) in mass units; for a class outside the support by its balance.
    func mass(_ y: Int) -> Int64 {
        FixedPoint.mass(Double(share[y]) / Double(total))
    }

    /// All K masses of the row just evaluated.
    func denseMass(into out: inout [Int64]) {
        if isAgreement {
            let factor = outsideFactor / Double(total)
            for y in 0..<classCount { out[y] = FixedPoint.mass(Double(baseShare[y]) * factor) }
            for c in support { out[c] = mass(c) }
        } else {
            for y in 0..<classCount { out[y] = mass(y) }
        }
    }

    mutating func posteriors(of rows: VoteRows, top: Int) -> PosteriorBlock {
        var out = PosteriorBlock(firstSample: rows.firstSample, classCount: classCount)
        out.reserve(rows: rows.rowCount, entries: rows.rowCount * min(top, classCount))
        // Outside the support classes rank by their balance alone; under an even balance they are all alike and need no entry.
        let isEven = base.allSatisfy { $0 == largestBase } && classCount > 16
        let byBase = isAgreement ? (0..<classCount).sorted { (base[$1], $0) < (base[$0], $1) } : []
        var ranked: [(c: Int, score: Int64, p: Double)] = []
        for row in 0..<rows.rowCount {
            let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
            guard !range.isEmpty else {
                out.endRow(isCovered: false, isTied: false)
                continue
            }
            evaluate(rows, range)
            ranked.removeAll(keepingCapacity: true)
            var best = Int64.min
            for c in support {
                best = max(best, score[c])
                ranked.append((c, score[c], Double(share[c]) / Double(total)))
            }
            if isAgreement, support.count < classCount, !isEven || best <= largestBase {
                // As many outsiders as could still enter the top; all of them only when everything is kept.
                let factor = outsideFactor / Double(total)
                var missing = top
                for c in byBase where missing > 0 && !support.contains(c) {
                    ranked.append((c, base[c], Double(baseShare[c]) * factor))
                    missing -= 1
                }
            }
            if ranked.count > 1 { ranked.sort { ($1.score, $0.c) < ($0.score, $1.c) } }
            for entry in ranked.prefix(top) { out.addEntry(entry.c, Float(entry.p)) }
            out.endRow(isCovered: true, isTied: ranked.count > 1 && ranked[0].score == ranked[1].score)
        }
        return out
    }
}
