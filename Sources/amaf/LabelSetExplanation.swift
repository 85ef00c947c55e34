import ActiveLearning
import Aggregation
import Datasets
import Messaging
import Primitives
import Scheduling
import Stages
import WireProtocol

/// Everything that went into the labels of one sample that has several, for the first arm of the run.
struct LabelSetExplanation: Encodable {
    struct Label: Encodable {
        var label: String
        var value: Bool?
        var confidence: Double
        var sources: [String]
        /// Of people, in the order of rounds.
        var answers: [Bool]
        /// P(present) of the last classifier; nil where it has no opinion.
        var classifier: Double?
        /// What that is worth by the reviewed samples, before answers.
        var shifted: Double?
    }
    var id: String
    var text: String
    var labels: [Label]

    init(of sample: String, preparation: Preparation, connection: CoordinatorConnection) throws {
        let (index, plan) = (preparation.index, preparation.plan)
        guard let arm = preparation.annotation.arms.first else {
            throw AMAFError("explain.no-arm", "The run has no arm", remedy: "Export a run of 'amaf run' or 'amaf submit'.")
        }
        func artifact(_ stage: StageID, _ name: String, block: Int) throws -> [UInt8] {
            guard case .results(let results) = try connection.ask(.result(plan.id, [stage])),
                let output = results.first?.results.first(where: { $0.block == block })?.outputs.first(where: { $0.name == name })
            else { throw AMAFError("explain.not-done", "Stage \(stage) is not done", remedy: "Finish the run with `amaf run` first.") }
            return try connection.fetch(output.digest)
        }
        var found: (block: Int, position: Int, sample: Sample)?
        for block in 0..<index.plan.blockCount where found == nil {
            let samples = try SampleBlock(decoding: try artifact(Planner.ingest, "samples", block: block))
            if let row = samples.samples.firstIndex(where: { $0.id == sample }) {
                found = (block, samples.firstPosition + row, samples.samples[row])
            }
        }
        guard let found else {
            throw AMAFError("explain.no-sample", "The data set has no sample '\(sample)'", remedy: "Ids are in labels.csv.")
        }
        let names = index.classNames
        let finals = try FinalLabelCodec.decode(try artifact(StageID("\(arm.name)/aggregate"), "labels", block: found.block))
        let scores = try LabelScoreBlock(
            decoding: try artifact(
                StageID("\(arm.name)/round-\(Text.twoDigits(arm.totals.count))/score-uncertainty"), "label-scores", block: found.block))
        let pools = try LabelPool.decode(
            try artifact(StageID("\(arm.name)/fit-label-aggregation"), "pools", block: 0), labels: names.count)
        var answers: [[Bool?]] = []
        for round in arm.totals.indices {
            let block = try LabelAnswerBlock(decoding: try artifact(Planner.review(of: arm, round: round), "answers", block: 0))
            answers += block.answers.filter { $0.position == found.position }.map(\.values)
        }
        let row = found.position - scores.firstPosition
        id = found.sample.id
        text = found.sample.text
        labels = names.enumerated().map { label, name in
            let final = finals[row * names.count + label]
            return Label(
                label: name, value: final.label.map { $0 == 1 }, confidence: Double(final.confidence), sources: final.sources.names,
                answers: answers.compactMap { $0[label] }, classifier: scores[row: row, label].map(Double.init),
                shifted: scores[row: row, label].map { pools[label].shift.apply(Double($0)) })
        }
    }

    var lines: [String] {
        let rows = labels.map { label -> [String] in
            func word(_ value: Bool) -> String { value ? "present" : "absent" }
            return [
                "  " + label.label, label.value.map(word) ?? "none", Text.fixed(label.confidence, 4),
                label.classifier.map { Text.fixed($0, 4) } ?? "no opinion", label.shifted.map { Text.fixed($0, 4) } ?? "",
                label.answers.map(word).joined(separator: ", "),
            ]
        }
        return [
            "\(id)\(text.isEmpty ? "" : ": " + text)",
            Text.table(
                ["  label", "value", "confidence", "P(present) of the classifier", "by reviewed samples", "answered by people"], rows,
                rightAligned: [2, 3, 4]),
        ]
    }
}
