import Foundation
import Primitives
import Testing
import WeakSupervision

@Suite struct LabelModelTests {
    static let functions = ["a", "b", "c", "d", "e"].map(Sketch.id)

    /// n rows of k classes; function j votes with probability `coverage` and is right with `accuracy[j]`.
    static func planted(n: Int, k: Int, accuracy: [Double], coverage: Double = 0.5, seed: UInt64 = 1, blockSize: Int = 256) throws
        -> (matrix: LabelMatrix, truth: [Int])
    {
        var chance = SeededGenerator(seed: seed)
        let truth = (0..<n).map { _ in chance.index(below: k) }
        var matrix = LabelMatrix(classCount: k, functions: Array(functions.prefix(accuracy.count)))
        for first in stride(from: 0, to: n, by: blockSize) {
            let rows = first..<min(n, first + blockSize)
            let columns = accuracy.indices.map { j in
                let cells = rows.map { row -> Int16 in
                    guard chance.uniform() < coverage else { return VoteCode.abstain }
                    if chance.uniform() < accuracy[j] { return Int16(truth[row]) }
                    return Int16((truth[row] + 1 + chance.index(below: k - 1)) % k)
                }
                return VoteColumn(function: functions[j], votes: PackedVotes(cells: cells))
            }
            try matrix.insert(VoteBlock(firstSample: first, rowCount: rows.count, classCount: k, columns: columns))
        }
        return (matrix, truth)
    }

    @Test func majorityCountsAndSaysWhenItIsTied() throws {
        let cells: [[Int16]] = [[0, 0, -1, 1], [0, 1, -1, 1], [1, -1, -1, 2]]
        let functions = Array(Self.functions.prefix(3))
        let rows = VoteRows(firstSample: 10, rowCount: 4, classCount: 3, columns: cells.map { PackedVotes(cells: $0) })
        let model = try LabelModelFit.fit(
            [rows], classCount: 3, functions: functions, options: LabelModelOptions(kind: .majority))
        let posteriors = model.posteriors(of: rows)
        #expect((0..<4).map { posteriors.label(row: $0) } == [0, nil, nil, 1])
        #expect((0..<4).map { posteriors.isTied(row: $0) } == [false, true, false, false])
        #expect((0..<4).map { posteriors.isCovered(row: $0) } == [true, true, false, true])
        #expect(posteriors[1].firstChoice == 0 && posteriors[2].firstChoice == nil)
        #expect(abs(posteriors[0].dense.reduce(0, +) - 1) < 1e-6)
        #expect(posteriors[0].probability(of: 0) > posteriors[0].probability(of: 1))
        #expect(try PosteriorBlock(decoding: posteriors.encoded()) == posteriors)
    }

    /// Brute force from the definition, for every row of a small matrix.
    @Test(arguments: [2, 3, 20])
    func posteriorIsThePapersFormula(k: Int) throws {
        let (matrix, _) = try Self.planted(n: 300, k: k, accuracy: [0.9, 0.6, 0.7, 0.8, 0.5], blockSize: 300)
        let given = (1...k).map(Double.init)
        let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .logLinear, classBalance: .given(given)))
        guard case .agreement(let weights) = model.form else {
            Issue.record("the log-linear model has one weight a function")
            return
        }
        let rows = VoteRows(matrix.blocks[0], classCount: k)
        let posteriors = model.posteriors(of: rows, top: 3)
        for row in 0..<300 where posteriors.isCovered(row: row) {
            var p = given.map { $0 / given.reduce(0, +) }
            for vote in rows.votes(row: row) { p[vote.classIndex] *= exp(Double(weights[vote.function]) / 65_536) }
            let sum = p.reduce(0, +)
            for entry in posteriors[row].entries {
                #expect(abs(Double(entry.probability) - p[entry.classIndex] / sum) < 1e-4)
            }
            #expect(Double(posteriors[row].entries[0].probability) > p.max().map { $0 / sum - 1e-4 } ?? 2)
            #expect(posteriors[row].entries.count == (k <= 16 ? k : 3))
        }
    }

    @Test(arguments: [2, 5, 50])
    func logLinearRecoversPlantedAccuracies(k: Int) throws {
        let accuracy = [0.9, 0.6, 0.75, 0.8, 0.55]
        let (matrix, truth) = try Self.planted(n: 100_000, k: k, accuracy: accuracy, blockSize: 10_000)
        let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .logLinear))
        #expect(model.hasConverged)
        for (found, planted) in zip(model.accuracies, accuracy) { #expect(abs(found - planted) < 0.02, "k \(k): \(model.accuracies)") }
        var majorityRight = 0
        var right = 0
        let majority = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: .majority))
        for block in matrix.blocks {
            let rows = VoteRows(block, classCount: k)
            let ours = model.posteriors(of: rows)
            let theirs = majority.posteriors(of: rows)
            for row in 0..<rows.rowCount {
                if ours.firstChoice(row: row) == truth[block.firstSample + row] { right += 1 }
                if theirs.firstChoice(row: row) == truth[block.firstSample + row] { majorityRight += 1 }
            }
        }
        #expect(right > majorityRight)
    }

    /// What EM raises, computed from its definition; without a prior that is the likelihood itself.
    @Test(arguments: [LabelModelKind.logLinear, .dawidSkene], [2, 4])
    func likelihoodNeverFalls(kind: LabelModelKind, k: Int) throws {
        let (matrix, _) = try Self.planted(n: 2000, k: k, accuracy: [0.9, 0.6, 0.75, 0.8, 0.55])
        let blocks = matrix.blocks.map { VoteRows($0, classCount: k) }
        var polarity = VotePolarity(functionCount: 5, classCount: k)
        for rows in blocks { polarity.add(rows) }
        let options = LabelModelOptions(kind: kind, classBalance: .uniform, maximumIterations: 25, tolerance: 0, priorStrength: 1e-9)
        var trainer = try LabelModelTrainer(options: options, functions: Self.functions, polarity: polarity)
        var likelihoods: [Double] = []
        while !trainer.isFinished {
            var sum = trainer.statistics(of: blocks[0])
            for rows in blocks.dropFirst() { sum.merge(trainer.statistics(of: rows)) }
            trainer.step(sum)
            likelihoods.append(LabelModelSelection.heldOutLogLikelihood(trainer.model, polarity, blocks))
        }
        #expect(likelihoods.count > 5)
        for (before, after) in zip(likelihoods, likelihoods.dropFirst()) { #expect(after > before - 1e-4, "\(kind) \(k): \(likelihoods)") }
    }

    /// The promise of integer counts: not a bit depends on blocks, their order or the order of rows and functions.
    @Test(arguments: LabelModelKind.allCases, [2, 3])
    func nothingDependsOnOrder(kind: LabelModelKind, k: Int) throws {
        let accuracy = [0.9, 0.6, 0.75, 0.8, 0.55]
        let (whole, _) = try Self.planted(n: 3000, k: k, accuracy: accuracy, blockSize: 3000)
        let options = LabelModelOptions(kind: kind)
        let reference = try LabelModelFit.fit(whole, options: options)
        let cells = whole.blocks[0].columns.map { $0?.votes.cells ?? [] }
        var chance = SeededGenerator(seed: 5)
        var rowOrder = Array(0..<3000)
        chance.shuffle(&rowOrder)
        let functionOrder = [3, 1, 4, 0, 2]
        var shuffled: [VoteRows] = []
        for first in stride(from: 0, to: 3000, by: 170) {
            let rows = rowOrder[first..<min(3000, first + 170)]
            let columns = functionOrder.map { j in PackedVotes(cells: rows.map { cells[j][$0] }) }
            shuffled.insert(
                VoteRows(firstSample: first, rowCount: rows.count, classCount: k, columns: columns),
                at: chance.index(below: shuffled.count + 1))
        }
        let model = try LabelModelFit.fit(
            shuffled, classCount: k, functions: functionOrder.map { Self.functions[$0] }, options: options)
        #expect(model.logBalance == reference.logBalance && model.iterations == reference.iterations)
        let rows = VoteRows(whole.blocks[0], classCount: k)
        let mirrored = VoteRows(
            firstSample: 0, rowCount: 3000, classCount: k, columns: functionOrder.map { PackedVotes(cells: cells[$0]) })
        #expect(model.posteriors(of: mirrored) == reference.posteriors(of: rows))
    }

    @Test func explanationAddsUpToTheLogOdds() throws {
        let (matrix, _) = try Self.planted(n: 300, k: 3, accuracy: [0.9, 0.6, 0.7, 0.8, 0.5], blockSize: 300)
        for kind in LabelModelKind.allCases {
            let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: kind))
            let rows = VoteRows(matrix.blocks[0], classCount: 3)
            let posteriors = model.posteriors(of: rows)
            for row in 0..<300 where posteriors.isCovered(row: row) {
                let sum = model.contributions(of: rows.votes(row: row), for: 0, against: 2).reduce(0) { $0 + $1.logOdds }
                let odds = log(Double(posteriors[row].probability(of: 0) / posteriors[row].probability(of: 2)))
                #expect(abs(sum - odds) < 1e-3, "\(kind), row \(row)")
            }
        }
    }

    @Test func modelsSurviveTheirFile() throws {
        let (matrix, _) = try Self.planted(n: 300, k: 3, accuracy: [0.9, 0.6, 0.7])
        for kind in LabelModelKind.allCases {
            let model = try LabelModelFit.fit(matrix, options: LabelModelOptions(kind: kind))
            #expect(try FittedLabelModel(decoding: model.encoded()) == model)
        }
        let error = #expect(throws: AMAFError.self) { try FittedLabelModel(decoding: Array("{\"format\": 3}".utf8), place: "m.json") }
        #expect(error?.code == "label-model.unreadable")
    }

    @Test func emptyAndSilentMatricesFit() throws {
        let silent = VoteRows(firstSample: 0, rowCount: 5, classCount: 2, columns: [PackedVotes(cells: [-1, -1, -1, -1, -1])])
        for kind in LabelModelKind.allCases {
            for blocks in [[], [silent]] {
                let model = try LabelModelFit.fit(
                    blocks, classCount: 2, functions: [Self.functions[0]], options: LabelModelOptions(kind: kind))
                #expect(model.posteriors(of: silent).coveredCount == 0)
            }
        }
    }
}
