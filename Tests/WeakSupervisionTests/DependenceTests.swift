import Foundation
import Primitives
import Testing
import WeakSupervision

/// Functions that repeat one another, groups of classes, several labels a sample, calibration.
@Suite struct DependenceTests {
    static let accuracies = [0.6, 0.85, 0.75, 0.8, 0.7, 0.65, 0.9, 0.78, 0.72, 0.6, 0.6, 0.6, 0.6]

    /// Thirteen functions, the last four of which repeat the first with probability 0.95.
    @Test(arguments: [LabelModelKind.logLinear, .damped], [2, 4])
    func copiesDoNotOutvoteTheOthers(kind: LabelModelKind, k: Int) throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 100_000, classCount: k, accuracies: Self.accuracies, coverage: 0.6, style: .correlated(copies: 4), seed: 8
        ).make()
        let fit = LabelModelFit(matrix)
        let discounts = fit.discounts
        for j in [0, 9, 10, 11, 12] { #expect(discounts[j] < 0.4, "\(discounts)") }
        for j in 1...8 { #expect(discounts[j] == 1, "\(discounts)") }
        let model = try fit.fit(LabelModelOptions(kind: kind, discountsDependence: true))
        for (found, planted) in zip(model.accuracies, LabelModelRecoveryTests.empirical(matrix, truth)) {
            #expect(abs(found - planted) < 0.02, "\(kind) \(k): \(model.accuracies)")
        }
        func accuracy(_ model: FittedLabelModel) -> Double {
            LabelModelScore(fit.blocks.map { model.posteriors(of: $0) }, balance: model.classBalance) { truth[$0] }.covered.accuracy
        }
        let plain = try fit.fit(LabelModelOptions(kind: kind))
        #expect(accuracy(model) > accuracy(plain) + 0.005, "\(accuracy(model)) and \(accuracy(plain))")
        #expect(try FittedLabelModel(decoding: model.encoded()) == model)
        // Without being told, `auto` finds the copies.
        let (chosen, evidence) = try LabelModelSelection.choose(fit)
        #expect(accuracy(chosen) > accuracy(plain) + 0.005, "\(evidence.markdown)")
    }

    @Test func independentFunctionsKeepTheirWeight() throws {
        for seed in UInt64(1)...3 {
            let (matrix, _) = try SyntheticLabelMatrix(
                samples: 20_000, classCount: 3, accuracies: Array(Self.accuracies.prefix(9)), coverage: 0.5, seed: seed
            ).make()
            #expect(LabelModelFit(matrix).discounts.allSatisfy { $0 == 1 })
        }
    }

    /// Agreement with those who answer at random says nothing of a pair, and good workers are not copies of one another.
    @Test func randomAnswersMakeNobodyACopy() throws {
        for seed in UInt64(1)...3 {
            let (matrix, _) = try SyntheticLabelMatrix(
                samples: 1000, classCount: 2, accuracies: [0.95, 0.93, 0.94, 0.95, 0.92, 0.9] + Array(repeating: 0.5, count: 14),
                coverage: 0.6, seed: seed
            ).make()
            #expect(LabelModelFit(matrix).discounts.allSatisfy { $0 == 1 })
        }
    }

    // MARK: Hierarchy

    @Test func votesForGroupsHelpClasses() throws {
        let classes = (0..<6).map { "c\($0)" }
        let hierarchy = try ClassHierarchy([("g0", ["c0", "c1", "c2"]), ("g1", ["c3", "c4", "c5"])], classNames: classes)
        var chance = SeededGenerator(seed: 4)
        let n = 20_000
        let truth = (0..<n).map { _ in chance.index(below: 6) }
        // Two functions for classes, two for groups.
        let rates = [0.6, 0.7, 0.9, 0.8]
        let columns = rates.enumerated().map { j, rate -> VoteColumn in
            let cells = truth.map { y -> Int16 in
                guard chance.uniform() < 0.7 else { return VoteCode.abstain }
                let isRight = chance.uniform() < rate
                if j < 2 { return Int16(isRight ? y : (y + 1 + chance.index(below: 5)) % 6) }
                return Int16(6 + (isRight ? y / 3 : 1 - y / 3))
            }
            return VoteColumn(function: Sketch.id("f\(j)"), votes: PackedVotes(cells: cells))
        }
        var matrix = LabelMatrix(classCount: hierarchy.votableNames.count, functions: columns.map(\.function))
        try matrix.insert(VoteBlock(firstSample: 0, rowCount: n, classCount: 8, columns: columns))
        let model = HierarchicalLabelModel(matrix, hierarchy: hierarchy)
        #expect(abs(model.classAccuracies[0] - 0.6) < 0.02 && abs(model.classAccuracies[1] - 0.7) < 0.02, "\(model.classAccuracies)")
        #expect(abs(model.groupAccuracies[2] - 0.9) < 0.02 && abs(model.groupAccuracies[3] - 0.8) < 0.02, "\(model.groupAccuracies)")
        let rows = VoteRows(matrix.blocks[0], classCount: 8)
        let posteriors = model.posteriors(of: rows)
        var leaf = LabelMatrix(classCount: 6, functions: Array(columns.prefix(2).map(\.function)))
        try leaf.insert(VoteBlock(firstSample: 0, rowCount: n, classCount: 6, columns: Array(columns.prefix(2))))
        let alone = try LabelModelFit.fit(leaf, options: LabelModelOptions(kind: .logLinear))
        let alonePosteriors = alone.posteriors(of: VoteRows(leaf.blocks[0], classCount: 6))
        func right(_ block: PosteriorBlock) -> Int {
            truth.indices.count { block.isCovered(row: $0) && block.firstChoice(row: $0) == truth[$0] }
        }
        #expect(right(posteriors) > right(alonePosteriors) + n / 50)
        for row in 0..<200 where posteriors.isCovered(row: row) {
            let groups = hierarchy.groups(of: posteriors[row])
            #expect(abs(groups.reduce(0, +) - 1) < 1e-5)
            let sum = model.contributions(of: rows.votes(row: row), for: 0, against: 4).reduce(0) { $0 + $1.logOdds }
            let odds = log(Double(posteriors[row].probability(of: 0) / posteriors[row].probability(of: 4)))
            #expect(abs(sum - odds) < 1e-3)
        }
        // Only a group is known: its classes are equally likely, and no label is made up.
        let onlyGroup = (0..<n).first {
            columns[0].votes[$0] < 0 && columns[1].votes[$0] < 0 && columns[2].votes[$0] >= 0 && columns[3].votes[$0] < 0
        }
        let row = try #require(onlyGroup)
        #expect(posteriors.label(row: row) == nil && hierarchy.groups(of: posteriors[row]).max() ?? 0 > 0.8)
    }

    @Test func badHierarchiesAreRefused() {
        func code(_ groups: [(name: String, classes: [String])]) -> String? {
            #expect(throws: AMAFError.self) { try ClassHierarchy(groups, classNames: ["a", "b"]) }?.code
        }
        #expect(code([("g", ["a"])]) == "hierarchy.no-group")
        #expect(code([("g", ["a", "b"]), ("h", ["b"])]) == "hierarchy.two-groups")
        #expect(code([("g", ["a", "x"])]) == "hierarchy.unknown-class")
        #expect(code([("a", ["a", "b"])]) == "hierarchy.name")
    }

    // MARK: Several labels

    @Test func severalLabelsASample() throws {
        var chance = SeededGenerator(seed: 9)
        let labels = ["beach", "dog", "snow"]
        let rates = [0.3, 0.2, 0.15]
        var answers: [(item: String, source: String, label: String)] = []
        var truth: [[Bool]] = []
        for item in 0..<3000 {
            let own = rates.map { chance.uniform() < $0 }
            truth.append(own)
            for source in 0..<5 where chance.uniform() < 0.8 {
                let error = source == 0 ? 0.35 : 0.1
                let said = own.indices.filter { (chance.uniform() < error) != own[$0] }
                for label in said { answers.append(("i\(item)", "s\(source)", labels[label])) }
                if said.isEmpty { answers.append(("i\(item)", "s\(source)", "-")) }
            }
        }
        let votes = try MultiLabelVotes(answers)
        #expect(votes.labels == labels)
        let fitted = try votes.fit(.oneCoin)
        for (l, found) in fitted.enumerated() {
            var right = 0
            var majority = 0
            for (row, name) in votes.sampleNames.enumerated() {
                let y = truth[Int(name.dropFirst()) ?? 0][l]
                if (found.probabilities[row] ?? 0 > 0.5) == y { right += 1 }
                let block = votes.matrices[l].blocks[row / 16_384]
                let cells = block.columns.compactMap { $0?.votes[row % 16_384] }.filter { $0 >= 0 }
                if (cells.count { $0 == 1 } * 2 > cells.count) == y { majority += 1 }
            }
            #expect(right > majority, "\(labels[l]): \(right) and \(majority) of \(votes.sampleNames.count)")
            #expect(found.model.accuracies[0] < 0.72 && found.model.accuracies[1] > 0.85, "\(found.model.accuracies)")
        }
    }

    // MARK: Calibration

    static func reviewed(_ n: Int, seed: UInt64, confidence: (Double) -> Double) -> ([Posterior], [Int]) {
        var chance = SeededGenerator(seed: seed)
        var posteriors: [Posterior] = []
        var truth: [Int] = []
        for _ in 0..<n {
            let p = 0.34 + 0.65 * chance.uniform()
            let q = confidence(p)
            let top = chance.index(below: 3)
            let others = [0, 1, 2].filter { $0 != top }
            let rest = Float((1 - q) / 2)
            posteriors.append(
                Posterior(
                    classCount: 3,
                    entries: [.init(classIndex: top, probability: Float(q))] + others.map { .init(classIndex: $0, probability: rest) },
                    isCovered: true, isTied: false))
            truth.append(chance.uniform() < p ? top : others[chance.index(below: 2)])
        }
        return (posteriors, truth)
    }

    @Test(arguments: ["overconfident", "true", "stepped"])
    func confidenceIsMadeToMeanWhatItSays(shape: String) throws {
        func claimed(_ p: Double) -> Double {
            switch shape {
            case "overconfident": pow(p, 0.25)
            case "stepped": p < 0.6 ? 0.5 + p / 100 : 0.9 + p / 100
            default: p
            }
        }
        let (posteriors, truth) = Self.reviewed(2000, seed: 1, confidence: claimed)
        let (fresh, answers) = Self.reviewed(5000, seed: 2, confidence: claimed)
        let calibration = PosteriorCalibration(posteriors, truth: truth)
        func score(_ posteriors: [Posterior]) -> LabelModelScore.Part {
            var block = PosteriorBlock(firstSample: 0, classCount: 3)
            for posterior in posteriors { block.append(posterior) }
            return LabelModelScore([block], balance: [0.33, 0.33, 0.34]) { answers[$0] }.covered
        }
        let before = score(fresh)
        let after = score(fresh.map(calibration.apply))
        #expect(after.accuracy == before.accuracy, "calibration moves no label")
        #expect(after.logLoss <= before.logLoss + 0.002 && after.calibrationError < 0.03, "\(shape): \(calibration.method) \(after)")
        if shape != "true" { #expect(after.logLoss < before.logLoss - 0.02 && calibration.method != .identity, "\(before) \(after)") }
        #expect(calibration.evidence.map(\.method) == ["none", "temperature", "platt", "isotonic"])
        for posterior in fresh.prefix(100).map(calibration.apply) { #expect(abs(posterior.dense.reduce(0, +) - 1) < 1e-5) }
        #expect(try JSONDecoder().decode(PosteriorCalibration.self, from: JSONEncoder().encode(calibration)) == calibration)
    }

    @Test func fewAnswersCalibrateNothing() {
        let (posteriors, truth) = Self.reviewed(10, seed: 1) { pow($0, 0.25) }
        #expect(PosteriorCalibration(posteriors, truth: truth).method == .identity)
    }

    // MARK: Insight

    @Test func insightFindsCopiesAndErrors() throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 3000, classCount: 2, accuracies: [0.9, 0.7, 0.8, 0.9], coverage: 0.7, style: .correlated(copies: 1), seed: 3
        ).make()
        let insight = try LFInsight(matrix, gold: { truth[$0] })
        let pair = try #require(insight.pairs.first)
        #expect(pair.first.name == "lf0" && pair.second.name == "lf3" && pair.kappa ?? 0 > 0.9, "\(insight.pairs)")
        // By hand, from the cells.
        let cells = matrix.blocks[0].columns.map { $0?.votes.cells ?? [] }
        let both = cells[0].indices.filter { cells[0][$0] >= 0 && cells[1][$0] >= 0 }
        let alike = Double(both.count { cells[0][$0] == cells[1][$0] }) / Double(both.count)
        let first = Double(both.count { cells[0][$0] == 1 }) / Double(both.count)
        let second = Double(both.count { cells[1][$0] == 1 }) / Double(both.count)
        let chance = first * second + (1 - first) * (1 - second)
        let found = try #require(insight.pairs.first { $0.first.name == "lf0" && $0.second.name == "lf1" })
        #expect(found.together == both.count && abs(found.agreement - alike) < 1e-12)
        #expect(abs((found.kappa ?? 0) - (alike - chance) / (1 - chance)) < 1e-12)
        let errors = cells[1].indices.filter { cells[1][$0] == 0 && truth[$0] == 1 }
        let bucket = try #require(insight.errors.first { $0.function.name == "lf1" && $0.votedClass == 0 })
        #expect(bucket.count == errors.count && bucket.examples == Array(errors.prefix(3)))
        // The best independent function is worth most; a copy is worth next to nothing.
        let gains = Dictionary(uniqueKeysWithValues: insight.leaveOneOut.map { ($0.function.name, $0.accuracyGain ?? 0) })
        #expect((gains["lf2"] ?? 0) > (gains["lf3"] ?? 1))
    }
}
