import Foundation
import Kernels
import Primitives
import Testing
import WeakSupervision

@Suite struct LabelModelRecoveryTests {
    static let accuracies = [0.9, 0.6, 0.75, 0.8, 0.55, 0.7, 0.85, 0.65]

    /// P(right | votes) of each function, from the truth.
    static func empirical(_ matrix: LabelMatrix, _ truth: [Int]) -> [Double] {
        LFAnalysis(LFStatistics(matrix) { truth[$0] }).rows.map(\.empiricalAccuracy)
    }

    @Test(arguments: [LabelModelKind.logLinear, .oneCoin, .dawidSkene, .damped, .triplets], [2, 6])
    func accuraciesComeBack(kind: LabelModelKind, k: Int) throws {
        let (matrix, truth) = try SyntheticLabelMatrix(samples: 100_000, classCount: k, accuracies: Self.accuracies, coverage: 0.5, seed: 3)
            .make()
        let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: kind))
        for (found, planted) in zip(model.accuracies, Self.empirical(matrix, truth)) {
            #expect(abs(found - planted) < 0.02, "\(kind) \(k): \(model.accuracies)")
        }
    }

    /// MAP-EM is drawn to its prior by design; with a weak one it recovers too.
    @Test func mapEMRecoversUnderAWeakPrior() throws {
        let (matrix, truth) = try SyntheticLabelMatrix(samples: 100_000, classCount: 4, accuracies: Self.accuracies, coverage: 0.5, seed: 5)
            .make()
        let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .mapEM, priorStrength: 0.001))
        for (found, planted) in zip(model.accuracies, Self.empirical(matrix, truth)) {
            #expect(abs(found - planted) < 0.02, "\(model.accuracies)")
        }
    }

    /// Functions that speak for one class: only the reading in which silence is an answer describes how they were made.
    @Test(arguments: [2, 4])
    func unipolarFunctionsComeBackWhenSilenceIsAnAnswer(k: Int) throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 100_000, classCount: k, accuracies: SyntheticLabelMatrix.spread(4 * k, from: 0.5, to: 0.8), style: .unipolar, seed: 5
        ).make()
        let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .dawidSkeneAbstain))
        for (found, planted) in zip(model.accuracies, Self.empirical(matrix, truth)) {
            #expect(abs(found - planted) < 0.02, "\(k): \(model.accuracies)")
        }
    }

    /// Keyword functions of one class each: EM must not drift into a world of one class.
    @Test(arguments: [LabelModelKind.logLinear, .mapEM])
    func unipolarFunctionsDoNotCollapse(kind: LabelModelKind) throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 5000, classCount: 2, accuracies: [0.75, 0.6, 0.7, 0.65, 0.8, 0.55], style: .unipolar, classBalance: [0.7, 0.3], seed: 5
        ).make()
        func accuracy(_ kind: LabelModelKind) throws -> Double {
            let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: kind))
            let posteriors = matrix.blocks.map { model.posteriors(of: VoteRows($0, classCount: 2)) }
            return LabelModelScore(posteriors, balance: model.classBalance) { truth[$0] }.covered.accuracy
        }
        #expect(try accuracy(kind) > accuracy(.majority) - 0.03)
    }

    @Test func repeatedFunctionsAreFlagged() throws {
        let (matrix, _) = try SyntheticLabelMatrix(
            samples: 20_000, classCount: 3, accuracies: [0.7, 0.8, 0.75, 0.7, 0.7], coverage: 0.6, style: .correlated(copies: 2), seed: 1
        ).make()
        var pairs = PairwiseAgreement(functionCount: 5, classCount: 3)
        for block in matrix.blocks { pairs.add(VoteRows(block, classCount: 3)) }
        let found = pairs.nearDuplicates(overlap: 0.9, agreement: 0.95).map { [$0.first, $0.second] }
        #expect(found == [[0, 3], [0, 4]] || found == [[0, 3], [0, 4], [3, 4]])
    }

    /// The fit that workers do block by block is the fit of one process, to the last bit, whatever the blocks.
    @Test(arguments: [LabelModelKind.majority, .logLinear, .oneCoin, .mapEM, .dawidSkene, .dawidSkeneAbstain], [2, 5])
    func distributedIsLocal(kind: LabelModelKind, k: Int) throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 5000, classCount: k, accuracies: Self.accuracies, coverage: 0.4, seed: 2, blockSize: 5000
        ).make()
        let gold = { (sample: Int) -> Int? in sample % 50 == 0 ? truth[sample] : nil }
        let options = LabelModelOptions(kind: kind)
        let local = try LabelModelFit.fit(matrix, options: options, gold: gold)
        let blocks = stride(from: 0, to: 5000, by: 256).map { first in
            matrix.slicing(first..<min(5000, first + 256)).blocks.map { VoteRows($0, classCount: k) }[0]
        }
        var polarity = VotePolarity(functionCount: Self.accuracies.count, classCount: k)
        for rows in blocks.reversed() { polarity.add(rows) }
        var trainer = try LabelModelTrainer(options: options, functions: matrix.functions, polarity: polarity)
        while !trainer.isFinished {
            // Each worker has its own copy of the trainer; parts arrive in any order and travel as JSON.
            let worker = trainer
            let parts = try blocks.map { rows in
                try JSONDecoder().decode(LabelModelStatistics.self, from: JSONEncoder().encode(worker.statistics(of: rows, gold: gold)))
            }
            var sum = parts[7]
            for (i, part) in parts.enumerated() where i != 7 { sum.merge(part) }
            trainer.step(sum)
        }
        #expect(trainer.model == local)
    }

    @Test func knownLabelsBendTheFit() throws {
        // The louder camp is wrong; votes alone cannot tell, known labels of every other sample can.
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 4000, classCount: 2, accuracies: [0.25, 0.25, 0.25, 0.85, 0.85], coverage: 0.8, seed: 8
        ).make()
        func accuracy(_ gold: ((Int) -> Int?)?) throws -> Double {
            let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .dawidSkene, classBalance: .uniform), gold: gold)
            let posteriors = matrix.blocks.map { model.posteriors(of: VoteRows($0, classCount: 2)) }
            return LabelModelScore(posteriors, balance: model.classBalance) { $0 % 2 == 1 ? truth[$0] : nil }.covered.accuracy
        }
        #expect(try accuracy(nil) < 0.3)
        #expect(try accuracy { $0 % 2 == 0 ? truth[$0] : nil } > 0.85)
    }

    // MARK: Slow twins

    @Test func twoClassKernelIsItsDefinition() {
        var chance = SeededGenerator(seed: 4)
        for rows in [1, 15, 16, 17, 700, 1024] {
            let m = 7
            let votes = (0..<rows * m).map { _ in Int8(chance.index(below: 5)) - 3 }.map { $0 < -2 ? -1 : $0 }
            let against = (0..<m).map { _ in Int32(chance.index(below: 400_000)) - 300_000 }
            let favour = (0..<m).map { _ in Int32(chance.index(below: 400_000)) - 100_000 }
            let gold = (0..<rows).map { _ in Int8(chance.index(below: 12)) }.map { $0 > 1 ? -1 : $0 }
            for known in [nil, gold] {
                var sum0 = [Int64](repeating: 0, count: m)
                var sum1 = sum0
                var total: Int64 = 0
                var mass = [Int32](repeating: 0, count: rows)
                func run(_ known: UnsafePointer<Int8>?) {
                    VoteKernels.twoClassStep(
                        votes: votes, stride: rows, rows: rows, functions: m, base: 1234, against: against, favour: favour, gold: known,
                        zero: &sum0, one: &sum1, total: &total, mass: &mass)
                }
                if let known { known.withUnsafeBufferPointer { run($0.baseAddress) } } else { run(nil) }
                var wanted0 = [Int64](repeating: 0, count: m)
                var wanted1 = wanted0
                for i in 0..<rows {
                    var score: Int32 = 1234
                    for j in 0..<m {
                        if votes[j * rows + i] == 0 { score += against[j] }
                        if votes[j * rows + i] == 1 { score += favour[j] }
                    }
                    var q = Int32((16_777_216 / (1 + exp(-Double(score) / 65_536))).rounded())
                    if let known, known[i] >= 0 { q = known[i] == 1 ? 1 << 24 : 0 }
                    // One unit in 2²⁴ for the kernel's own exp.
                    #expect(abs(mass[i] - q) <= 1)
                    for j in 0..<m {
                        if votes[j * rows + i] == 0 { wanted0[j] += Int64(mass[i]) }
                        if votes[j * rows + i] == 1 { wanted1[j] += Int64(mass[i]) }
                    }
                }
                #expect(sum0 == wanted0 && sum1 == wanted1 && total == mass.reduce(0) { $0 + Int64($1) })
            }
        }
    }

    @Test(arguments: [true, false])
    func agreementKernelIsItsDefinition(even: Bool) throws {
        let k = 5
        let (matrix, _) = try SyntheticLabelMatrix(samples: 500, classCount: k, accuracies: Self.accuracies, coverage: 0.4, seed: 9).make()
        let rows = VoteRows(matrix.blocks[0], classCount: k)
        let balance = even ? [0.2, 0.2, 0.2, 0.2, 0.2] : [0.5, 0.2, 0.1, 0.1, 0.1]
        var polarity = VotePolarity(functionCount: Self.accuracies.count, classCount: k)
        polarity.add(rows)
        let options = LabelModelOptions(kind: .logLinear, classBalance: .given(balance), maximumIterations: 3, tolerance: 0)
        let trainer = try LabelModelTrainer(options: options, functions: matrix.functions, polarity: polarity)
        guard case .agreement(let weights) = trainer.model.form else { return }
        var agreed = [Double](repeating: 0, count: Self.accuracies.count)
        for row in 0..<rows.rowCount {
            let votes = rows.votes(row: row)
            var p = balance
            for vote in votes { p[vote.classIndex] *= exp(Double(weights[vote.function]) / 65_536) }
            let sum = p.reduce(0, +)
            for vote in votes { agreed[vote.function] += p[vote.classIndex] / sum }
        }
        let statistics = trainer.statistics(of: rows)
        for (j, mass) in agreed.enumerated() { #expect(abs(Double(statistics.counts[j]) / 16_777_216 - mass) < 0.01) }
    }

    // MARK: Selection

    @Test func autoPrefersMajorityWithoutEvidence() throws {
        // Functions of one accuracy: nothing is better than counting, and the table says so.
        let (matrix, _) = try SyntheticLabelMatrix(
            samples: 4000, classCount: 3, accuracies: Array(repeating: 0.7, count: 6), coverage: 0.5, seed: 4
        ).make()
        let (model, evidence) = try LabelModelSelection.choose(LabelModelFit(matrix))
        #expect(
            evidence.rows.contains { $0.isChosen }
                && evidence.rows.allSatisfy { $0.name == "pooled" || $0.logLikelihood != nil || $0.evidence != nil })
        #expect(model.kind == .majority, "\(evidence.markdown)")
    }

    @Test func autoFindsUnequalFunctions() throws {
        let (matrix, truth) = try SyntheticLabelMatrix(
            samples: 8000, classCount: 3, accuracies: [0.95, 0.5, 0.5, 0.5, 0.55, 0.5], coverage: 0.8, seed: 4
        ).make()
        for gold in [nil, { (sample: Int) -> Int? in sample % 20 == 0 ? truth[sample] : nil }] {
            let fit = LabelModelFit(matrix, gold: gold)
            let (model, evidence) = try LabelModelSelection.choose(fit)
            let majority = try fit.fit(LabelModelOptions(kind: .majority))
            func accuracy(_ model: FittedLabelModel) -> Double {
                LabelModelScore(fit.blocks.map { model.posteriors(of: $0) }, balance: model.classBalance) { truth[$0] }.covered.accuracy
            }
            #expect(accuracy(model) > accuracy(majority) + 0.02, "\(evidence.markdown)")
        }
    }

    @Test func commandsGoFromFilesToFiles() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "amaf-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (matrix, truth) = try SyntheticLabelMatrix(samples: 3000, classCount: 3, accuracies: Self.accuracies, coverage: 0.5, seed: 6)
            .make()
        let (valid, validTruth) = try SyntheticLabelMatrix(samples: 300, classCount: 3, accuracies: Self.accuracies, coverage: 0.5, seed: 7)
            .make()
        try matrix.writeNumPy(to: "\(folder)/train.npz")
        try valid.writeNumPy(to: "\(folder)/valid.npy")
        try Data(("label\n" + validTruth.map(String.init).joined(separator: "\n")).utf8).write(
            to: URL(fileURLWithPath: "\(folder)/gold.csv"))
        try Data(truth.map(String.init).joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: "\(folder)/truth.csv"))
        let report = try LabelModelCommand.fit(
            .init(
                matrix: "\(folder)/train.npz", validMatrix: "\(folder)/valid.npy", validGold: "\(folder)/gold.csv", output: "\(folder)/out")
        )
        #expect(report.samples == 3000 && report.classCount == 3 && report.evidence != nil)
        #expect(report.files.allSatisfy { FileManager.default.fileExists(atPath: "\(folder)/out/\($0)") })
        let score = try LabelModelCommand.score(folder: "\(folder)/out", gold: "\(folder)/truth.csv")
        #expect(score.all.rows == 3000 && score.covered.rows == report.covered)
        #expect(score.covered.accuracy > 0.8 && score.all.accuracy <= score.covered.accuracy)
        let error = #expect(throws: AMAFError.self) {
            try LabelModelCommand.fit(.init(matrix: "\(folder)/nothing.npz", output: "\(folder)/out"))
        }
        #expect(error?.code == "label-matrix.missing-file")
    }

    /// Every shared set with a validation split: `auto` sees votes of train and validation and gold of validation.
    @Test(arguments: ["youtube", "trec"])
    func autoIsNoWorseThanMajorityOnSharedSets(name: String) throws {
        guard let result = try SharedSets.auto(name) else { return }
        #expect(result.auto.all.accuracy >= result.majority.all.accuracy)
        #expect(result.auto.all.logLoss < result.majority.all.logLoss)
    }
}
