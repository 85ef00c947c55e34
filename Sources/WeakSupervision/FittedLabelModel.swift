internal import Foundation
package import Primitives

/// A fitted label model: a base score a class plus one summand a vote, whatever the model was; see docs/LABEL-MODELS.md.
///
/// score(y) = base(y) + Σ over votes of weight(function, class voted for, y), and p(y | votes) ∝ exp(score(y)). All numbers
/// are integers (`FixedPoint`), so the JSON form is exact.
package struct FittedLabelModel: LabelModel, Hashable {
    package enum Form: Hashable, Sendable {
        /// A vote for c adds the function's weight to class c.
        case agreement(weights: [Int32])
        /// A vote for c adds a row of the function's table.
        case confusion(ConfusionTable)
        /// A mixture of tables a class.
        case subtypes(SubtypeTable)
    }
    package internal(set) var kind: LabelModelKind
    package internal(set) var classCount: Int
    package internal(set) var functions: [FunctionID]
    /// log p(y), in score units.
    package internal(set) var logBalance: [Int32]
    package internal(set) var form: Form
    /// EM steps taken; 0 for closed forms.
    package internal(set) var iterations: Int
    package internal(set) var hasConverged: Bool
    /// What a vote of each function is worth beside those that repeat it, in score units; nil is 1 for all. `form` has it in it.
    package internal(set) var discounts: [Int32]?

    private func discount(_ j: Int) -> Double { discounts.map { max(1e-3, FixedPoint.nats($0[j])) } ?? 1 }

    package var classBalance: [Double] { logBalance.map { exp(FixedPoint.nats($0)) } }

    /// P(vote is right | votes) of each function, where the model has one such number or averaged over its own balance.
    package var accuracies: [Double] {
        switch form {
        case .agreement(let weights):
            // w = ln((K − 1)·a / (1 − a))
            return weights.enumerated().map { j, w in
                let odds = exp(FixedPoint.nats(w) / discount(j)) / Double(max(1, classCount - 1))
                return odds / (1 + odds)
            }
        case .confusion(let table):
            let balance = classBalance
            return functions.indices.map { j in
                var right = 0.0
                var all = 0.0
                for column in table.columns(of: j) {
                    for y in 0..<classCount {
                        let joint = balance[y] * exp(FixedPoint.nats(table.logLikelihood[column * classCount + y]) / discount(j))
                        all += joint
                        if Int(table.columnClass[column]) == y { right += joint }
                    }
                }
                return all > 0 ? right / all : 0
            }
        case .subtypes(let table):
            let states = classCount * table.subtypes
            return functions.indices.map { j in
                var right = 0.0
                var all = 0.0
                for column in table.columns(of: j) {
                    for state in 0..<states {
                        let joint = exp(
                            FixedPoint.nats(Int64(table.stateBase[state]) + Int64(table.logLikelihood[column * states + state])))
                        all += joint
                        if Int(table.columnClass[column]) == state / table.subtypes { right += joint }
                    }
                }
                return all > 0 ? right / all : 0
            }
        }
    }

    /// The log-linear model that somebody who knows the accuracies would use: the oracle of benchmarks.
    package mutating func replaceAccuracies(_ accuracies: [Double]) {
        precondition(accuracies.count == functions.count, "\(accuracies.count) accuracies for \(functions.count) functions")
        kind = .logLinear
        discounts = nil
        form = .agreement(weights: LabelModelTrainer.weights(accuracies, classCount: classCount))
    }

    package func posteriors(of rows: VoteRows, top: Int = 8) -> PosteriorBlock {
        precondition(rows.functionCount == functions.count, "\(rows.functionCount) columns for a model of \(functions.count) functions")
        if classCount == 2, isLinear { return TwoClassVotes(rows).posteriors(self) }
        var evaluator = RowEvaluator(self)
        return evaluator.posteriors(of: rows, top: classCount <= 16 ? classCount : top)
    }

    /// Posteriors of votes that were packed for a fit.
    package func posteriors(of block: FitBlock, top: Int = 8) -> PosteriorBlock {
        switch block {
        case .rows(let rows): posteriors(of: rows, top: top)
        case .twoClass(let votes): isLinear ? votes.posteriors(self) : posteriors(of: votes.voteRows, top: top)
        }
    }

    /// Whether the score is a sum over votes, which the kernels for two classes need.
    private var isLinear: Bool {
        if case .subtypes = form { return false }
        return true
    }

    package func contributions(of votes: [Vote], for classIndex: Int, against other: Int) -> [Contribution] {
        var out: [Contribution] = []
        if case .subtypes(let table) = form {
            let parts = table.contributions(of: votes, for: classIndex, against: other, classCount: classCount)
            out.append(Contribution(source: .classBalance, logOdds: parts.balance))
            for (vote, part) in zip(votes, parts.votes) { out.append(Contribution(source: .vote(vote), logOdds: part)) }
            return out
        }
        let balance = FixedPoint.nats(Int64(logBalance[classIndex]) - Int64(logBalance[other]))
        if balance != 0 { out.append(Contribution(source: .classBalance, logOdds: balance)) }
        switch form {
        case .agreement(let weights):
            for vote in votes {
                let sign = (vote.classIndex == classIndex ? 1.0 : 0) - (vote.classIndex == other ? 1.0 : 0)
                out.append(Contribution(source: .vote(vote), logOdds: sign * FixedPoint.nats(weights[vote.function])))
            }
        case .confusion(let table):
            for vote in votes {
                var difference: Int64 = 0
                if let column = table.column(function: vote.function, classIndex: vote.classIndex) {
                    let row = column * classCount
                    difference = Int64(table.logLikelihood[row + classIndex]) - Int64(table.logLikelihood[row + other])
                }
                out.append(Contribution(source: .vote(vote), logOdds: FixedPoint.nats(difference)))
            }
            if let abstain = table.logAbstain {
                let voted = Set(votes.map(\.function))
                for j in functions.indices where !voted.contains(j) {
                    let difference = Int64(abstain[j * classCount + classIndex]) - Int64(abstain[j * classCount + other])
                    out.append(Contribution(source: .abstain(function: j), logOdds: FixedPoint.nats(difference)))
                }
            }
        case .subtypes: break
        }
        return out
    }
}

/// log P(vote | y) for the classes that each function was ever seen to vote for.
package struct ConfusionTable: Hashable, Sendable, Codable {
    /// Columns `columnStart[j]..<columnStart[j + 1]` belong to function j.
    package internal(set) var columnStart: [Int]
    /// The class that a column is a vote for, ascending within a function.
    package internal(set) var columnClass: [UInt16]
    /// By column, then by true class; score units.
    package internal(set) var logLikelihood: [Int32]
    /// By function, then by true class, where abstaining is evidence.
    package internal(set) var logAbstain: [Int32]?

    package func columns(of function: Int) -> Range<Int> { columnStart[function]..<columnStart[function + 1] }

    package func column(function: Int, classIndex: Int) -> Int? {
        columns(of: function).first { Int(columnClass[$0]) == classIndex }
    }
}

extension FittedLabelModel: Codable {
    private enum CodingKeys: String, CodingKey {
        case format, version, kind
        case classCount = "class_count"
        case functions
        case logBalance = "log_balance"
        case weights, confusion, subtypes, discounts, iterations
        case hasConverged = "has_converged"
    }
    private static let format = "amaf-label-model"
    /// 2 has subtypes; a model without them is written as 1.
    private static let version = 2

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode(Self.format, forKey: .format)
        try fields.encode(isLinear ? 1 : Self.version, forKey: .version)
        try fields.encode(kind, forKey: .kind)
        try fields.encode(classCount, forKey: .classCount)
        try fields.encode(functions, forKey: .functions)
        try fields.encode(logBalance, forKey: .logBalance)
        switch form {
        case .agreement(let weights): try fields.encode(weights, forKey: .weights)
        case .confusion(let table): try fields.encode(table, forKey: .confusion)
        case .subtypes(let table): try fields.encode(table, forKey: .subtypes)
        }
        try fields.encodeIfPresent(discounts, forKey: .discounts)
        try fields.encode(iterations, forKey: .iterations)
        try fields.encode(hasConverged, forKey: .hasConverged)
    }

    package init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        func refuse(_ what: String) -> DecodingError {
            .dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: what))
        }
        guard try fields.decode(String.self, forKey: .format) == Self.format,
            (1...Self.version).contains(try fields.decode(Int.self, forKey: .version))
        else { throw refuse("not a label model of version 1 to \(Self.version)") }
        let k = try fields.decode(Int.self, forKey: .classCount)
        let functions = try fields.decode([FunctionID].self, forKey: .functions)
        let balance = try fields.decode([Int32].self, forKey: .logBalance)
        guard (1...VoteCode.maximumClassCount).contains(k), balance.count == k else {
            throw refuse("a balance of \(balance.count) for \(k) classes")
        }
        let form: Form
        if let weights = try fields.decodeIfPresent([Int32].self, forKey: .weights) {
            guard weights.count == functions.count else { throw refuse("\(weights.count) weights for \(functions.count) functions") }
            form = .agreement(weights: weights)
        } else if let table = try fields.decodeIfPresent(SubtypeTable.self, forKey: .subtypes) {
            guard table.fits(functions: functions.count, classCount: k) else { throw refuse("tables of subtypes whose parts do not fit") }
            form = .subtypes(table)
        } else {
            let table = try fields.decode(ConfusionTable.self, forKey: .confusion)
            let starts = table.columnStart
            guard starts.count == functions.count + 1, starts.first == 0, starts.last == table.columnClass.count,
                zip(starts, starts.dropFirst()).allSatisfy({ $0 <= $1 }), table.columnClass.allSatisfy({ Int($0) < k }),
                table.logLikelihood.count == table.columnClass.count * k,
                table.logAbstain.map({ $0.count == functions.count * k }) ?? true
            else { throw refuse("a confusion table whose parts do not fit") }
            form = .confusion(table)
        }
        self.init(
            kind: try fields.decode(LabelModelKind.self, forKey: .kind), classCount: k, functions: functions, logBalance: balance,
            form: form,
            iterations: try fields.decode(Int.self, forKey: .iterations), hasConverged: try fields.decode(Bool.self, forKey: .hasConverged))
        discounts = try fields.decodeIfPresent([Int32].self, forKey: .discounts)
        guard discounts?.count ?? functions.count == functions.count else { throw refuse("discounts of other functions") }
    }

    /// Canonical JSON: equal models are equal bytes.
    package func encoded() -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(self) else { preconditionFailure("a model of integers and names did not become JSON") }
        return [UInt8](json)
    }

    package init(decoding bytes: [UInt8], place: String = "") throws(AMAFError) {
        do {
            self = try JSONDecoder().decode(FittedLabelModel.self, from: Data(bytes))
        } catch {
            throw AMAFError(
                "label-model.unreadable", "This is not a label model that can be read: \(error)", place: place,
                remedy: "Fit the model again with this version.")
        }
    }
}
