internal import Foundation
package import Primitives

/// What was tried to explain the votes, how well it did on data it had not seen, and what was taken for it.
package struct LabelModelEvidence: Hashable, Sendable, Codable {
    package struct Row: Hashable, Sendable, Codable {
        package var name: String
        package var options: LabelModelOptions
        /// On known labels left out of the fit, in turns; nil without gold.
        package var accuracy: Double?
        package var logLoss: Double?
        /// Nats a row of the votes of the held-out half; nil with gold.
        package var logLikelihood: Double?
        /// Lower bound on ln P(all votes), nats a vote, with every parameter integrated out.
        package var evidence: Double?
        package var isChosen = false
    }
    package var rows: [Row]
    /// Known labels used, and rows that the evidence was gathered on.
    package var goldCount: Int
    package var sampleCount: Int
    /// One sentence.
    package var reason: String

    /// The table as Markdown.
    package var markdown: String {
        func number(_ value: Double?) -> String { value.map { String(format: "%.4f", $0) } ?? "" }
        var text = "| model | held-out accuracy | held-out log loss | held-out log likelihood | evidence a vote | |\n"
        text += "| --- | --- | --- | --- | --- | --- |\n"
        for row in rows {
            text += "| \(row.name) | \(number(row.accuracy)) | \(number(row.logLoss)) | \(number(row.logLikelihood)) | "
            text += "\(number(row.evidence)) | "
            text += "\(row.isChosen ? "chosen" : "") |\n"
        }
        return text + "\n\(reason)\n"
    }
}

/// `auto`: the same candidates, margins and rules for all data; see docs/LABEL-MODELS.md.
package enum LabelModelSelection {
    /// Rows beyond which evidence is gathered on a part of the blocks, evenly spread.
    static let evidenceRows = 20_000
    /// Confusion tables need votes for K × K cells a function; beyond this many classes they are not tried.
    static let largestTable = 32
    /// Nats a row by which a model must explain held-out votes better than majority voting does…
    static let likelihoodMargin = 0.005
    /// …and standard errors of the mean difference: a handful of rows is no evidence.
    static let likelihoodErrors = 2.0
    static let folds = 5

    package static func choose(_ fit: LabelModelFit) throws(AMAFError) -> (model: FittedLabelModel, evidence: LabelModelEvidence) {
        let evidence = fit.goldCounts.reduce(0, +) >= 20 ? try byGold(fit) : try byLikelihood(fit)
        guard let chosen = evidence.rows.first(where: \.isChosen) else { preconditionFailure("no model was chosen from \(evidence.rows)") }
        return (try fit.fit(chosen.options), evidence)
    }

    private static func isMultipolar(_ fit: LabelModelFit) -> Bool { fit.polarity.multipolarShare >= 0.5 }

    /// Blocks for evidence: all, or an even part.
    private static func sample(_ fit: LabelModelFit) -> [VoteRows] {
        let total = fit.blocks.reduce(0) { $0 + $1.rowCount }
        let step = max(1, (total + evidenceRows - 1) / evidenceRows)
        return stride(from: 0, to: fit.blocks.count, by: step).map { fit.blocks[$0].voteRows }
    }

    // MARK: Without gold

    private static func byLikelihood(_ fit: LabelModelFit) throws(AMAFError) -> LabelModelEvidence {
        var candidates: [LabelModelOptions] = [LabelModelOptions(kind: .majority), LabelModelOptions(kind: .logLinear)]
        let multipolar = isMultipolar(fit)
        if fit.classCount <= largestTable {
            candidates.append(LabelModelOptions(kind: .mapEM))
            if multipolar { candidates.append(LabelModelOptions(kind: .damped)) }
        }
        let blocks = sample(fit)
        // Copies of a function are not more witnesses: where some are found, their votes share one weight in every model.
        let repeats = fit.discounts.contains { $0 < 0.8 }
        if repeats { for i in candidates.indices { candidates[i].discountsDependence = true } }
        let second = secondHalf(blocks, fit.functions)
        let halves = [false, true].map { wanted in
            var samples: [Int] = []
            return zip(blocks, second).map { block, isSecond in
                block.selecting(into: &samples) { isSecond[$0 - block.firstSample] == wanted }
            }
        }
        let half = LabelModelFit(halves[0].map { FitBlock($0) }, classCount: fit.classCount, functions: fit.functions)
        var rows: [LabelModelEvidence.Row] = []
        var likelihoods: [[Double]] = []
        for options in candidates {
            let model = try half.fit(options)
            let found = heldOutLogLikelihoods(model, half.polarity, halves[1])
            likelihoods.append(found)
            rows.append(
                .init(name: options.kind.rawValue, options: options, logLikelihood: found.reduce(0, +) / Double(max(1, found.count))))
        }
        // One accuracy a function cannot be told from the class balance where functions speak for one class only.
        let eligible = rows.indices.dropFirst().filter { multipolar || rows[$0].options.kind != .logLinear }
        let best = eligible.max { (rows[$0].logLikelihood ?? 0) < (rows[$1].logLikelihood ?? 0) }
        var reason =
            "Majority vote, for no model explains held-out votes better by \(likelihoodMargin) nats a row and \(Int(likelihoodErrors)) standard errors."
        var chosen = 0
        if let best, explains(likelihoods[best], better: likelihoods[0]) {
            chosen = best
            reason = "\(rows[best].name) explains held-out votes best."
            if rows[best].options.kind == .damped || (multipolar && rows[best].options.kind == .mapEM) {
                (chosen, reason) = try amongTables(fit, &rows, repeats)
            }
        }
        if repeats { reason += " Functions that repeat one another share their weight." }
        rows[chosen].isChosen = true
        return LabelModelEvidence(rows: rows, goldCount: 0, sampleCount: blocks.reduce(0) { $0 + $1.rowCount }, reason: reason)
    }

    /// Whether the mean difference is beyond the margin and beyond chance.
    private static func explains(_ likelihoods: [Double], better base: [Double]) -> Bool {
        let n = Double(likelihoods.count)
        guard n > 1 else { return false }
        let differences = zip(likelihoods, base).map { $0 - $1 }
        let mean = differences.reduce(0, +) / n
        let variance = differences.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (n - 1)
        return mean > likelihoodMargin && mean > likelihoodErrors * (variance / n).squareRoot()
    }

    /// Which rows test what the others teach: of rows with the same votes every other one, whatever the order of rows and functions.
    private static func secondHalf(_ blocks: [VoteRows], _ functions: [FunctionID]) -> [[Bool]] {
        let digests = functions.map { $0.digest.leadingBits }
        var next: [UInt64: Bool] = [:]
        return blocks.map { block in
            (0..<block.rowCount).map { row in
                var hash: UInt64 = 0
                for i in Int(block.offsets[row])..<Int(block.offsets[row + 1]) {
                    hash &+= SplitMix.mix(digests[Int(block.functions[i])] ^ (UInt64(block.classes[i]) &* 0x9E37_79B9_7F4A_7C15))
                }
                // Which half a pattern begins in is up to the pattern, else rare patterns would all teach.
                let isSecond = next[hash] ?? (SplitMix.mix(hash) & 1 == 1)
                next[hash] = !isSecond
                return isSecond
            }
        }
    }

    /// Below this, a class' own name is given to it so much less often than another that tables speak of something else than the names.
    static let unnamed = 0.1
    /// Nats a vote by which subtypes must raise the evidence to show that votes are correlated.
    static let evidenceMargin = 0.001
    /// Share of the votes by which labels may agree less with them than the labels of tables do.
    static let agreementTolerance = 0.01

    /// Tables explain held-out votes best. That says that functions err in their own ways; whether the tables' classes are the ones that
    /// the names mean, and whether votes are independent, the likelihood of votes cannot say and is looked at here.
    private static func amongTables(
        _ fit: LabelModelFit, _ rows: inout [LabelModelEvidence.Row], _ repeats: Bool
    ) throws(AMAFError) -> (Int, String) {
        func take(_ kind: LabelModelKind, _ reason: String) -> (Int, String) {
            if let known = rows.firstIndex(where: { $0.options.kind == kind }) { return (known, reason) }
            rows.append(.init(name: kind.rawValue, options: LabelModelOptions(kind: kind, discountsDependence: repeats)))
            return (rows.count - 1, reason)
        }
        let part = LabelModelFit(
            fit.evenPart(rows: evidenceRows).map { FitBlock($0) }, classCount: fit.classCount, functions: fit.functions)
        let damped = try part.fit(LabelModelOptions(kind: .damped))
        let naming = namingMargin(damped, part)
        if naming < unnamed {
            return take(
                .logLinear,
                "Tables explain held-out votes best but call a class by another's name (its own \(number(naming)) times as often), so one accuracy a function is used."
            )
        }
        if naming < 1 {
            return take(
                .pooled,
                "Tables explain held-out votes best but name a class only \(number(naming)) times as often as another, so their opinion is averaged with the log-linear model's."
            )
        }
        if fit.classCount <= largestMixture, !repeats {
            let blocks = part.blocks.map(\.voteRows)
            let fits = [1, SubtypeFit.subtypes].map { subtypes in
                SubtypeFit(blocks, classCount: fit.classCount, functions: fit.functions, polarity: part.polarity, subtypes: subtypes)
            }
            rows.append(.init(name: "bayesian tables", options: LabelModelOptions(kind: .damped), evidence: fits[0].evidence))
            rows.append(.init(name: "subtypes", options: LabelModelOptions(kind: .subtypes), evidence: fits[1].evidence))
            let gain = fits[1].evidence - fits[0].evidence
            if gain > evidenceMargin {
                let found = "Votes are correlated given the class: subtypes raise the evidence by \(number(gain)) nats a vote"
                // A mixture is free to make one class of what several names stand for, and one-coin to explain all by one class.
                let pooled = fits[1].model(opinion: try part.fit(LabelModelOptions(kind: .oneCoin)))
                let agreement = voteAgreement(pooled, part)
                let usual = voteAgreement(damped, part)
                if agreement >= usual - agreementTolerance {
                    return take(.subtypesPooled, found + "; their opinion is averaged with one-coin's.")
                }
                return take(
                    .damped,
                    found
                        + ", but with one-coin's opinion they agree with \(number(agreement)) of the votes where tables agree with \(number(usual)), so tables are used."
                )
            }
        }
        return take(.damped, "Tables explain held-out votes best, name every class by its own name, and leave votes independent.")
    }

    /// Share of the votes that are for the label that a model gives the sample.
    static func voteAgreement(_ model: FittedLabelModel, _ fit: LabelModelFit) -> Double {
        var agreed = 0
        var all = 0
        for block in fit.blocks {
            let rows = block.voteRows
            let posteriors = model.posteriors(of: rows, top: fit.classCount)
            for row in 0..<rows.rowCount where posteriors.isCovered(row: row) {
                guard let label = posteriors.firstChoice(row: row) else { continue }
                for vote in rows.votes(row: row) {
                    all += 1
                    if vote.classIndex == label { agreed += 1 }
                }
            }
        }
        return Double(agreed) / Double(max(1, all))
    }

    private static func number(_ value: Double) -> String { String(format: "%.4g", value) }
    /// Classes beyond which subtypes are not tried: states × classes × functions is what a step costs.
    static let largestMixture = 16

    /// min over classes y of t[y, y] / max over l ≠ y of t[y, l], with t the table of all functions together under the model's posteriors.
    static func namingMargin(_ model: FittedLabelModel, _ fit: LabelModelFit) -> Double {
        let k = fit.classCount
        var table = [Double](repeating: 0, count: k * k)
        for block in fit.blocks {
            let rows = block.voteRows
            let posteriors = model.posteriors(of: rows, top: k)
            for row in 0..<rows.rowCount where posteriors.isCovered(row: row) {
                let p = posteriors[row].dense
                for vote in rows.votes(row: row) { for y in 0..<k { table[y * k + vote.classIndex] += Double(p[y]) } }
            }
        }
        return (0..<k).map { y in
            let other = (0..<k).filter { $0 != y }.map { table[y * k + $0] }.max() ?? 0
            return (table[y * k + y] + 1e-9) / (other + 1e-9)
        }.min() ?? 1
    }

    /// Mean over rows of ln P(which functions vote, and what), every model with the functions' own rates of voting.
    package static func heldOutLogLikelihood(_ model: FittedLabelModel, _ polarity: VotePolarity, _ blocks: [VoteRows]) -> Double {
        let found = heldOutLogLikelihoods(model, polarity, blocks)
        return found.reduce(0, +) / Double(max(1, found.count))
    }

    /// ln P of each row, as `heldOutLogLikelihood`.
    static func heldOutLogLikelihoods(_ model: FittedLabelModel, _ polarity: VotePolarity, _ blocks: [VoteRows]) -> [Double] {
        let m = model.functions.count
        let k = model.classCount
        let n = Double(max(1, polarity.rows))
        let rates = (0..<m).map { j in
            (Double(polarity.counts[j * k..<(j + 1) * k].reduce(0, +)) + 0.5) / (n + 1)
        }
        var model = model
        var silence = rates.reduce(0) { $0 + log(1 - $1) }
        var vote = rates.map { log($0) - log(1 - $0) }
        var known = [Bool](repeating: true, count: m * k)
        switch model.form {
        case .agreement:
            for (j, a) in model.accuracies.enumerated() { vote[j] += log((1 - a) / Double(max(1, k - 1))) }
        case .confusion(var table):
            known = Array(repeating: false, count: m * k)
            for j in 0..<m { for column in table.columns(of: j) { known[j * k + Int(table.columnClass[column])] = true } }
            if model.kind == .mapEM || table.logAbstain != nil {
                if table.logAbstain == nil {
                    var abstain: [Int32] = []
                    for j in 0..<m {
                        for y in 0..<k {
                            let spoken = table.columns(of: j).reduce(0.0) { $0 + exp(FixedPoint.nats(table.logLikelihood[$1 * k + y])) }
                            abstain.append(FixedPoint.score(log(max(1e-6, 1 - spoken))))
                        }
                    }
                    table.logAbstain = abstain
                    model.form = .confusion(table)
                }
                silence = 0
                vote = Array(repeating: 0, count: m)
            }
        case .subtypes(let table):
            known = Array(repeating: false, count: m * k)
            for j in 0..<m { for column in table.columns(of: j) { known[j * k + Int(table.columnClass[column])] = true } }
        }
        var evaluator = RowEvaluator(model)
        var out: [Double] = []
        out.reserveCapacity(blocks.reduce(0) { $0 + $1.rowCount })
        for rows in blocks {
            for row in 0..<rows.rowCount {
                let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
                evaluator.evaluate(rows, range)
                var sum = silence + evaluator.logNormalizer
                for i in range {
                    let j = Int(rows.functions[i])
                    // A vote that the fit never saw is not free.
                    sum += known[j * k + Int(rows.classes[i])] ? vote[j] : log(1 / (n * Double(k)))
                }
                out.append(sum)
            }
        }
        return out
    }

    // MARK: With gold

    private static func byGold(_ fit: LabelModelFit) throws(AMAFError) -> LabelModelEvidence {
        guard let gold = fit.gold else { preconditionFailure("gold was counted but is not there") }
        var candidates: [(String, LabelModelOptions)] = [
            ("majority", LabelModelOptions(kind: .majority)),
            ("majority, gold balance", LabelModelOptions(kind: .majority, classBalance: .gold)),
            ("log-linear, gold balance", LabelModelOptions(kind: .logLinear, classBalance: .gold)),
        ]
        if fit.classCount <= largestTable {
            for strength in [0.1, 0.3, 1, 3] {
                candidates.append(
                    ("map-em \(strength), gold balance", LabelModelOptions(kind: .mapEM, classBalance: .gold, priorStrength: strength)))
            }
            if isMultipolar(fit) {
                candidates.append(("dawid-skene", LabelModelOptions(kind: .dawidSkene)))
                candidates.append(("dawid-skene-damped", LabelModelOptions(kind: .damped)))
                if fit.classCount <= largestMixture {
                    candidates.append(("subtypes", LabelModelOptions(kind: .subtypes)))
                    candidates.append(("subtypes-pooled", LabelModelOptions(kind: .subtypesPooled)))
                }
                candidates.append(("pooled, gold balance", LabelModelOptions(kind: .pooled, classBalance: .gold)))
            }
        }
        // All rows with a known label and an even part of the others, numbered anew.
        let sampled = Set(sample(fit).map(\.firstSample))
        var samples: [Int] = []
        let blocks = fit.blocks.compactMap { block -> VoteRows? in
            let takesAll = sampled.contains(block.firstSample)
            guard takesAll || (0..<block.rowCount).contains(where: { gold(block.firstSample + $0) != nil }) else { return nil }
            return block.voteRows.selecting(into: &samples) { takesAll || gold($0) != nil }
        }
        let truth = samples.map { gold($0) }
        var rank = [Int?](repeating: nil, count: samples.count)
        var goldCount = 0
        for i in truth.indices where truth[i] != nil {
            rank[i] = goldCount
            goldCount += 1
        }
        let packed = blocks.map { FitBlock($0) }
        var rows: [LabelModelEvidence.Row] = []
        for (name, options) in candidates {
            var right = 0.0
            var loss = 0.0
            for fold in 0..<folds {
                func isTest(_ i: Int) -> Bool { rank[i].map { $0 % folds == fold } ?? false }
                let part = LabelModelFit(packed, classCount: fit.classCount, functions: fit.functions) { isTest($0) ? nil : truth[$0] }
                let model = try part.fit(options)
                var tested: [Int] = []
                let tests = blocks.map { $0.selecting(into: &tested, isTest) }
                let score = LabelModelScore(
                    tests.map { model.posteriors(of: $0, top: fit.classCount) }, balance: model.classBalance
                ) { truth[tested[$0]] }
                right += score.all.accuracy * Double(score.all.rows)
                loss += score.all.logLoss * Double(score.all.rows)
            }
            let n = Double(goldCount)
            rows.append(.init(name: name, options: options, accuracy: right / n, logLoss: loss / n))
        }
        // Never less often right than majority vote; of those models, the best probabilities.
        let bar = rows[0].accuracy ?? 0
        let able = rows.indices.filter { (rows[$0].accuracy ?? 0) >= bar - 1e-9 }
        let chosen = able.min { (rows[$0].logLoss ?? 0) < (rows[$1].logLoss ?? 0) } ?? 0
        rows[chosen].isChosen = true
        return LabelModelEvidence(
            rows: rows, goldCount: goldCount, sampleCount: blocks.reduce(0) { $0 + $1.rowCount },
            reason:
                "\(rows[chosen].name) has the lowest log loss on known labels left out of the fit, of the models at least as accurate as majority vote."
        )
    }
}
