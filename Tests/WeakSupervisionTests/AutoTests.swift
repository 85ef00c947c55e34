import Foundation
import Primitives
import Testing
import WeakSupervision

/// What `auto` does where evidence is scarce or misleading.
@Suite struct AutoTests {
    /// Accuracies that `auto` must reach on crowds without seeing any gold: the best of majority vote, Dawid-Skene (plain and with a
    /// diagonal prior) and one-coin, less half a point, as measured for this project beforehand with NumPy.
    static let bars: [(set: String, accuracy: Double)] = [
        ("adult-5", 0.7548), ("cf", 0.8817), ("dog", 0.8376), ("fact-eval", 0.8969), ("product", 0.9347), ("sentiment", 0.9550),
        ("sp", 0.9112), ("web", 0.8231), ("zencrowd-all", 0.8416), ("zencrowd-in", 0.7867),
    ]

    @Test(arguments: bars)
    func crowdsReachTheBestSingleModel(_ bar: (set: String, accuracy: Double)) throws {
        guard let root = SharedData.root else { return }
        let folder = "\(root)/weak-supervision/crowd/\(bar.set)"
        guard FileManager.default.fileExists(atPath: "\(folder)/label.csv") else { return }
        let votes = try ImportedLabelMatrix.read("\(folder)/label.csv")
        let fit = LabelModelFit(votes.matrix)
        let gold = try LabelModelCommand.readGold(
            "\(folder)/truth.csv", items: votes.sampleNames, classNames: votes.classNames, count: votes.matrix.sampleCount)
        let (model, evidence) = try LabelModelSelection.choose(fit)
        let score = LabelModelScore(fit.blocks.map { model.posteriors(of: $0) }, balance: model.classBalance) { gold[$0] }
        #expect(score.covered.accuracy >= bar.accuracy, "\(bar.set): \(score.covered.accuracy)\n\(evidence.markdown)")
    }

    @Test func aHandfulOfRowsIsNoEvidence() throws {
        var matrix = LabelMatrix(classCount: 2, functions: (0..<3).map { Sketch.id("f\($0)") })
        let cells: [[Int16]] = [[0, 1, 0, 1], [1, 1, 0, 1], [1, -1, 0, 0]]
        try matrix.insert(
            VoteBlock(
                firstSample: 0, rowCount: 4, classCount: 2,
                columns: cells.enumerated().map { VoteColumn(function: Sketch.id("f\($0)"), votes: PackedVotes(cells: $1)) }))
        let (model, evidence) = try LabelModelSelection.choose(LabelModelFit(matrix))
        #expect(model.kind == .majority, "\(evidence.markdown)")
    }

    /// In half of a crowd's workers, subtypes and one-coin make one class of nearly all; most votes say otherwise.
    @Test func labelsThatMostVotesContradictAreNotTaken() throws {
        guard let root = SharedData.root, let text = FileManager.default.contents(atPath: "\(root)/weak-supervision/crowd/web/label.csv")
        else { return }
        for seed in UInt64(1)...3 {
            var chance = SeededGenerator(seed: seed)
            var kept: [String: Bool] = [:]
            var lines: [Substring] = []
            for (number, line) in String(decoding: text, as: UTF8.self).split(whereSeparator: \.isNewline).enumerated() {
                let worker = String(line.split(separator: ",")[1])
                let isKept = kept[worker] ?? (chance.uniform() < 0.5)
                kept[worker] = isKept
                if number == 0 || isKept { lines.append(line) }
            }
            let scratch = try Scratch()
            let path = "\(scratch.path)/votes.csv"
            try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: URL(fileURLWithPath: path))
            let votes = try ImportedLabelMatrix.read(path)
            let fit = LabelModelFit(votes.matrix)
            let (model, evidence) = try LabelModelSelection.choose(fit)
            let majority = try fit.fit(LabelModelOptions(kind: .majority))
            let (agreed, usual) = (Self.agreement(model, fit), Self.agreement(majority, fit))
            #expect(agreed > usual - 0.15, "\(agreed) and \(usual): \(evidence.markdown)")
        }
    }

    /// Share of the votes that are for the model's label.
    private static func agreement(_ model: FittedLabelModel, _ fit: LabelModelFit) -> Double {
        var (agreed, all) = (0, 0)
        for block in fit.blocks {
            let rows = block.voteRows
            let posteriors = model.posteriors(of: rows)
            for row in 0..<rows.rowCount {
                for vote in rows.votes(row: row) {
                    all += 1
                    if posteriors.firstChoice(row: row) == vote.classIndex { agreed += 1 }
                }
            }
        }
        return Double(agreed) / Double(all)
    }

    // MARK: Files that are no vote lists

    @Test func votesThatAreNoneAreNamed() throws {
        let scratch = try Scratch()
        func fit(_ name: String, _ text: String) throws -> LabelModelCommand.FitReport {
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(scratch.path)/\(name)"))
            return try LabelModelCommand.fit(.init(matrix: "\(scratch.path)/\(name)", output: "\(scratch.path)/out"))
        }
        let blank = try fit("blank.csv", "item,source,label\na,w1,x\na,w2,y\nb,w1,\nb,w2,-1\n")
        #expect(blank.samples == 2 && blank.classCount == 2 && blank.covered == 1, "a blank label is an abstention")
        #expect(throws: AMAFError.self) { try fit("header.csv", "a,w1\n") }
        let error = #expect(throws: AMAFError.self) { try fit("silent.csv", "item,source,label\na,w1,\nb,w1,-1\n") }
        #expect(error?.code == "label-model.no-votes")
    }
}
