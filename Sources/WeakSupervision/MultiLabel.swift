internal import Foundation
package import Primitives

/// Votes where a sample may have several labels: one yes-or-no matrix a label.
///
/// A source that answered on a sample says yes to what it named and no to all else that it ever names anywhere; a source never judged on
/// labels outside of its vocabulary. A label named `-` says: none of mine.
package struct MultiLabelVotes {
    package var labels: [String]
    package var sampleNames: [String]
    /// By label: two classes, 0 no and 1 yes.
    package var matrices: [LabelMatrix]

    /// - Parameter answers: item, source and one label each; several lines of one source on one item are its set of labels.
    package init(_ answers: [(item: String, source: String, label: String)]) throws(AMAFError) {
        var itemOf: [String: Int] = [:]
        var items: [String] = []
        for answer in answers where itemOf[answer.item] == nil {
            itemOf[answer.item] = items.count
            items.append(answer.item)
        }
        let sources = Set(answers.map(\.source)).sorted()
        labels = Set(answers.map(\.label)).subtracting(["-"]).sorted()
        guard !labels.isEmpty, !items.isEmpty, sources.count <= Int(UInt16.max) else {
            throw AMAFError("multi-label.empty", "The answers name no label", remedy: "Give lines of item,source,label.")
        }
        sampleNames = items
        var said: [String: [Int: Set<String>]] = [:]
        for answer in answers {
            if let item = itemOf[answer.item] { said[answer.source, default: [:]][item, default: []].insert(answer.label) }
        }
        matrices = []
        let size = ImportedLabelMatrix.blockSize
        for label in labels {
            let speaking = sources.filter { source in said[source]?.values.contains { $0.contains(label) } ?? false }
            let ids = speaking.map { FunctionID(name: $0, digest: Digest.of(Array("imported-column/\($0)".utf8))) }
            var matrix = LabelMatrix(classCount: 2, functions: ids)
            for first in stride(from: 0, to: items.count, by: size) {
                let rows = first..<min(items.count, first + size)
                let columns = zip(speaking, ids).map { source, id in
                    VoteColumn(
                        function: id,
                        votes: PackedVotes(
                            cells: rows.map { row in (said[source]?[row]).map { $0.contains(label) ? 1 : 0 } ?? VoteCode.abstain }))
                }
                try matrix.insert(VoteBlock(firstSample: first, rowCount: rows.count, classCount: 2, columns: columns))
            }
            matrices.append(matrix)
        }
    }

    /// Reads `item,source,label` lines with any header.
    package static func read(_ path: String) throws(AMAFError) -> MultiLabelVotes {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw AMAFError("label-matrix.missing-file", "The answers cannot be read", place: path, remedy: "Check the path.")
        }
        var answers: [(item: String, source: String, label: String)] = []
        for (line, fields) in try CSVText.rows(String(decoding: data, as: UTF8.self), place: path).dropFirst() {
            guard fields.count == 3 else {
                throw AMAFError(
                    "label-matrix.bad-row", "An answer has \(fields.count) fields where item, source and label are needed",
                    place: "\(path):\(line)", remedy: "Write 'item,source,label', one line for each label that a source gives.")
            }
            answers.append((fields[0], fields[1], fields[2]))
        }
        return try MultiLabelVotes(answers)
    }

    /// A model a label, each chosen or fitted on its own: labels are taken to be independent given the votes.
    ///
    /// - Parameter kind: `auto` chooses for each label by its own evidence.
    /// - Returns: by label the model, and p(label | votes) by sample; nil where no source that knows the label answered.
    package func fit(_ kind: LabelModelKind = .auto) throws(AMAFError) -> [(model: FittedLabelModel, probabilities: [Float?])] {
        var out: [(model: FittedLabelModel, probabilities: [Float?])] = []
        for matrix in matrices {
            let fit = LabelModelFit(matrix)
            // Most labels are rare: an even balance would say that half of all samples have each.
            let model =
                kind == .auto
                ? try LabelModelSelection.choose(fit).model
                : try fit.fit(LabelModelOptions(kind: kind, classBalance: kind == .majority ? nil : .learned))
            var probabilities: [Float?] = []
            for block in fit.blocks {
                let posterior = model.posteriors(of: block)
                for row in 0..<posterior.rowCount {
                    probabilities.append(posterior.isCovered(row: row) ? posterior.probability(of: 1, row: row) : nil)
                }
            }
            out.append((model, probabilities))
        }
        return out
    }
}
