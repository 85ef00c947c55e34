import Datasets
import Foundation
import Testing
import WeakSupervision

/// A labeling function as another package writes it: this target has no package access, so only what is public compiles here.
private struct MentionsMoney: LabelingFunction {
    let id = FunctionID(name: "mentions-money", version: "1")
    let classes: Int
    let spam: Int

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var answers = LabelingAnswers(rowCount: samples.count, classCount: classes)
        for (row, sample) in samples.enumerated() {
            guard let sample else { continue }
            if sample.text.isEmpty {
                answers.fault(row, "sample '\(sample.id)' has no text")
            } else if sample.text.contains("money") {
                answers.vote(row, spam, score: 0.9)
            }
        }
        return answers
    }
}

private struct FromFriend: LabelingFunction {
    let id = FunctionID(name: "from-friend", version: "2026-11")

    func answers(on samples: [Sample?]) -> LabelingAnswers {
        var answers = LabelingAnswers(rowCount: samples.count, classCount: 2)
        for (row, sample) in samples.enumerated() where sample?.metadata("from") == "friend" { answers.vote(row, 0) }
        // A class that there is not becomes a fault of the sample, not of the run.
        if samples.count > 2 { answers.vote(samples.count - 1, 7) }
        return answers
    }
}

@Suite struct SwiftLabelingFunctionTests {
    private let samples = [
        Sample(id: "a", text: "send money now", metadata: [MetadataEntry("from", "stranger")]),
        Sample(id: "b", text: "lunch?", metadata: [MetadataEntry("from", "friend")]), Sample(id: "c", text: ""),
    ]

    @Test func votesOfAnotherPackagesFunctions() throws {
        let votes = try LabelingFunctionVotes(
            of: [MentionsMoney(classes: 2, spam: 1), FromFriend()], on: samples, classNames: ["ham", "spam"])
        #expect(votes.functionNames == ["mentions-money", "from-friend"] && votes.sampleCount == 3)
        #expect((0..<3).map { votes[$0, 0] } == [1, nil, nil] && (0..<3).map { votes[$0, 1] } == [nil, 0, nil])
        #expect(votes.faults(of: 0).count == 1 && votes.faults(of: 0).first?.contains("'c' has no text") == true)
        #expect(votes.faults(of: 1).first?.contains("class 7") == true)
        let path = NSTemporaryDirectory() + "amaf-outside-\(UUID().uuidString).npz"
        defer { for file in [path, path + ".names.json"] { try? FileManager.default.removeItem(atPath: file) } }
        try votes.write(to: path)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)).starts(with: Array("PK".utf8)))
        #expect(try String(contentsOfFile: path + ".names.json", encoding: .utf8).contains("mentions-money"))
    }

    @Test func whatCannotBeVotedOnIsRefused() {
        #expect(throws: (any Error).self) { try LabelingFunctionVotes(of: [], on: samples, classNames: ["ham", "spam"]) }
        #expect(throws: (any Error).self) {
            try LabelingFunctionVotes(of: [FromFriend(), FromFriend()], on: samples, classNames: ["ham", "spam"])
        }
        #expect(throws: (any Error).self) { try LabelingFunctionVotes(of: [FromFriend()], on: samples, classNames: ["ham", "ham"]) }
    }
}
