internal import Foundation
package import Primitives

/// Fits any model on votes that lie in this process; a cluster drives `LabelModelTrainer` itself and gets the same bits.
package struct LabelModelFit {
    package let classCount: Int
    package let functions: [FunctionID]
    package let blocks: [FitBlock]
    package let polarity: VotePolarity
    package let gold: ((Int) -> Int?)?
    package let goldCounts: [Int]

    package init(_ matrix: LabelMatrix, gold: ((Int) -> Int?)? = nil) {
        self.init(
            matrix.blocks.map { FitBlock($0, classCount: matrix.classCount) }, classCount: matrix.classCount, functions: matrix.functions,
            gold: gold)
    }

    /// - Parameter gold: the true class by position in the data set where known.
    package init(_ blocks: [FitBlock], classCount: Int, functions: [FunctionID], gold: ((Int) -> Int?)? = nil) {
        self.blocks = blocks
        self.classCount = classCount
        self.functions = functions
        self.gold = gold
        var polarity = VotePolarity(functionCount: functions.count, classCount: classCount)
        var goldCounts = [Int](repeating: 0, count: gold == nil ? 0 : classCount)
        for block in blocks {
            polarity.add(block)
            guard let gold else { continue }
            let rows: Int
            switch block {
            case .rows(let votes): rows = votes.rowCount
            case .twoClass(let votes): rows = votes.rowCount
            }
            for sample in block.firstSample..<block.firstSample + rows { if let y = gold(sample) { goldCounts[y] += 1 } }
        }
        self.polarity = polarity
        self.goldCounts = goldCounts
    }

    package func fit(_ options: LabelModelOptions) throws(AMAFError) -> FittedLabelModel {
        switch options.kind {
        case .triplets: return try triplets(options)
        case .pooled:
            var coin = options
            coin.kind = .logLinear
            coin.priorAccuracy = LabelModelOptions(kind: .logLinear).priorAccuracy
            coin.priorStrength = LabelModelOptions(kind: .logLinear).priorStrength
            var table = LabelModelOptions(
                kind: .dawidSkene, classBalance: options.classBalance == .uniform ? .learned : options.classBalance)
            table.maximumIterations = options.maximumIterations
            table.discountsDependence = options.discountsDependence
            return FittedLabelModel.meanOpinion(try fit(coin), try fit(table))
        case .auto: return try LabelModelSelection.choose(self).model
        case .subtypes, .subtypesPooled:
            // Tables of subtypes are learned on an even part of the rows: they are about how functions err, and hundreds of thousands of
            // votes say that as well as millions.
            let fit = SubtypeFit(
                evenPart(rows: Self.subtypeRows), classCount: classCount, functions: functions, polarity: polarity,
                maximumIterations: options.maximumIterations, gold: gold)
            guard options.kind == .subtypesPooled else { return fit.model() }
            return fit.model(opinion: try self.fit(LabelModelOptions(kind: .oneCoin, maximumIterations: options.maximumIterations)))
        default: break
        }
        var trainer = try LabelModelTrainer(
            options: options, functions: functions, polarity: polarity, goldCounts: goldCounts,
            discounts: options.discountsDependence ? discounts : nil)
        while !trainer.isFinished {
            var sum: LabelModelStatistics?
            for block in blocks {
                let part = trainer.statistics(of: block, gold: gold)
                if sum == nil { sum = part } else { sum?.merge(part) }
            }
            guard let sum else { break }
            trainer.step(sum)
        }
        return trainer.model
    }

    /// What a vote of each function is worth beside those that repeat it, from an even part of the rows.
    package var discounts: [Double] {
        var pairs = PairwiseAgreement(functionCount: functions.count, classCount: classCount)
        for block in evenPart(rows: Self.subtypeRows) { pairs.add(block) }
        return pairs.discounts(isUnipolar: functions.indices.map(polarity.isUnipolar))
    }

    private static let subtypeRows = 65_536

    /// Blocks with about `rows` rows in all, evenly spread; all where there are no more.
    func evenPart(rows: Int) -> [VoteRows] {
        let total = blocks.reduce(0) { $0 + $1.rowCount }
        let step = max(1, (total + rows - 1) / rows)
        return stride(from: 0, to: blocks.count, by: step).map { blocks[$0].voteRows }
    }

    private func triplets(_ options: LabelModelOptions) throws(AMAFError) -> FittedLabelModel {
        var pairs = PairwiseAgreement(functionCount: functions.count, classCount: classCount)
        for block in blocks { pairs.add(block.voteRows) }
        let accuracies = pairs.tripletAccuracies(priorAccuracy: options.priorAccuracy, strength: options.priorStrength)
        let balance = try LabelModelTrainer.balance(options.classBalance, classCount: classCount, goldCounts: goldCounts)
        return FittedLabelModel(
            kind: .triplets, classCount: classCount, functions: functions, logBalance: balance.map { FixedPoint.score(log($0)) },
            form: .agreement(weights: LabelModelTrainer.weights(accuracies, classCount: classCount)), iterations: 0, hasConverged: true)
    }

    /// A fit in one call.
    package static func fit(
        _ matrix: LabelMatrix, options: LabelModelOptions, gold: ((Int) -> Int?)? = nil
    ) throws(AMAFError) -> FittedLabelModel {
        try LabelModelFit(matrix, gold: gold).fit(options)
    }

    package static func fit(
        _ blocks: [VoteRows], classCount: Int, functions: [FunctionID], options: LabelModelOptions, gold: ((Int) -> Int?)? = nil
    ) throws(AMAFError) -> FittedLabelModel {
        try LabelModelFit(blocks.map { FitBlock($0) }, classCount: classCount, functions: functions, gold: gold).fit(options)
    }
}

extension LabelModelTrainer {
    /// A fit in this process; the same as `LabelModelFit.fit`.
    package static func fit(
        _ matrix: LabelMatrix, options: LabelModelOptions, gold: ((Int) -> Int?)? = nil
    ) throws(AMAFError) -> FittedLabelModel {
        try LabelModelFit.fit(matrix, options: options, gold: gold)
    }
}

extension FitBlock {
    /// The same votes by row.
    package var voteRows: VoteRows {
        switch self {
        case .rows(let rows): rows
        case .twoClass(let votes): votes.voteRows
        }
    }
    package var rowCount: Int {
        switch self {
        case .rows(let rows): rows.rowCount
        case .twoClass(let votes): votes.rowCount
        }
    }
}

extension FittedLabelModel {
    /// A third of one model's log-odds and two thirds of the other's, which is again a model: a table a function.
    ///
    /// The two err in different ways (one accuracy a function cannot see asymmetric errors, a table a function overfits rare
    /// classes); where no gold says which to trust, both are heard.
    static func meanOpinion(_ coin: FittedLabelModel, _ tables: FittedLabelModel) -> FittedLabelModel {
        precondition(coin.functions == tables.functions && coin.classCount == tables.classCount, "two models of different votes")
        guard case .agreement(let weights) = coin.form, case .confusion(var table) = tables.form else {
            preconditionFailure("the mean is of one accuracy and one table a function")
        }
        let k = coin.classCount
        for j in coin.functions.indices {
            for column in table.columns(of: j) {
                let own = column * k + Int(table.columnClass[column])
                for y in 0..<k { table.logLikelihood[column * k + y] = table.logLikelihood[column * k + y] / 3 * 2 }
                table.logLikelihood[own] += weights[j] / 3
            }
        }
        return FittedLabelModel(
            kind: .pooled, classCount: k, functions: coin.functions,
            logBalance: zip(coin.logBalance, tables.logBalance).map { $0 / 3 + $1 / 3 * 2 },
            form: .confusion(table), iterations: coin.iterations + tables.iterations,
            hasConverged: coin.hasConverged && tables.hasConverged)
    }
}
