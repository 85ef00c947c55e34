import ActiveLearning
import Datasets
import Primitives

/// `review-labels` by a simulated reviewer, who answers every label of an image that the data set knows, by its policy for uncertain and
/// blank cells, with a stated error rate for each label. Its numbers are called simulated wherever they appear.
///
/// - Inputs: `selection`, `label-sets` (all blocks), `index`. Outputs: `answers` (`LabelAnswerBlock`).
package struct SimulatedLabelReviewStage: StageExecutor {
    package static let kind = "review-labels"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let reviewer = try task.parameters(as: SimulatedReviewer.self)
        let labels = try task.datasetIndex().classNames.count
        let known = try task.labelCells()
        let selections = try CanonicalJSON.decode([Selection].self, from: try task.inputs.single("selection").bytes, what: "selection")
        var answers: [LabelAnswerBlock.Answer] = []
        var skipped: [Int] = []
        for selection in selections {
            let values = known[selection.position].enumerated().map { label, cell in
                cell.taught.map {
                    reviewer.answer(position: selection.position * labels + label, gold: $0 ? 1 : 0, classes: 2) == 1
                }
            }
            if values.allSatisfy({ $0 == nil }) {
                skipped.append(selection.position)
            } else {
                answers.append(
                    LabelAnswerBlock.Answer(position: selection.position, values: values, seconds: Float(reviewer.secondsPerItem)))
            }
        }
        try task.emit(
            block: 0, [StageOutput("answers", LabelAnswerBlock(labels: labels, answers, skipped: skipped).encode())],
            metrics: ["rows": Double(answers.count)])
    }
}

/// The questions file of a round where images have several labels.
enum LabelQuestions {
    /// Columns before the labels' own; a label of such a name could not be told from them.
    static let fixedColumns = ["id", "image", "text", "suggestion", "reason"]

    /// One line an image, one empty column a label: 1, 0, or left empty where the reader cannot say.
    static func csv(_ selections: [Selection], samples: [Int: Sample], scores: [LabelScoreBlock], names: [String]) -> [UInt8] {
        var lines = [(fixedColumns + names).map(CSVField.quoted).joined(separator: ",")]
        for selection in selections {
            guard let sample = samples[selection.position] else { continue }
            let block = scores.first { $0.positions.contains(selection.position) }
            let suggested = names.indices.filter { label in
                block?[row: selection.position - (block?.firstPosition ?? 0), label].map { $0 > 0.5 } ?? false
            }
            let fields = [
                sample.id, sample.image?.reference ?? "", sample.text, suggested.map { names[$0] }.joined(separator: "|"), selection.reason,
            ]
            lines.append((fields + names.map { _ in "" }).map(CSVField.quoted).joined(separator: ","))
        }
        return Array((lines.joined(separator: "\r\n") + "\r\n").utf8)
    }
}
