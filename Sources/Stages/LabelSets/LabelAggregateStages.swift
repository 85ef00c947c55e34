import ActiveLearning
package import Aggregation
import Datasets
package import Primitives

/// The final labels of samples with several labels travel as `FinalLabel`s of cells: position = sample · labels + label, class 0 absent and
/// 1 present.
enum LabelCellPosition {
    static func of(sample: Int, label: Int, labels: Int) -> Int { sample * labels + label }
}

/// How a label's final value comes about: the classifier's probability is shifted to what it is worth, then pooled with answers.
package struct LabelPool: Hashable, Sendable {
    package let shift: BinaryShift
    package let pool: OpinionPool

    package func combine(position: Int, p: Float?, answers: [Int] = []) -> FinalLabel {
        pool.combine(position: position, opinions: [Self.opinion(p.map { Float(shift.apply(Double($0))) })], answers: answers)
    }

    static func opinion(_ p: Float?) -> Opinion {
        guard let p else { return .absent }
        let (first, second) = p > 0.5 ? (1, 0) : (0, 1)
        return .topTwo(first: first, firstProbability: max(p, 1 - p), second: second, secondProbability: min(p, 1 - p))
    }

    /// Slope, intercept and pool of each label.
    static func encode(_ pools: [LabelPool]) -> [UInt8] {
        var writer = ByteWriter()
        for pool in pools {
            writer.write(pool.shift.slope)
            writer.write(pool.shift.intercept)
            writer.write(pool.pool.encoded())
        }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.malformed`.
    package static func decode(_ bytes: [UInt8], labels: Int) throws(AMAFError) -> [LabelPool] {
        try ByteReader.reading(bytes, of: "pools of labels") { (reader) throws(AMAFError) in
            var pools: [LabelPool] = []
            for _ in 0..<labels {
                let (slope, intercept) = (try reader.readDouble(), try reader.readDouble())
                guard slope > 0, slope.isFinite, intercept.isFinite else {
                    throw AMAFError(
                        "artifact.malformed", "A label's pool holds values outside their range",
                        remedy: "The file is damaged or was written by another version; delete it and run again.")
                }
                pools.append(
                    LabelPool(
                        shift: BinaryShift(slope: slope, intercept: intercept), pool: try OpinionPool(encoded: try reader.readBytes())))
            }
            return pools
        }
    }
}

/// Why a label's pool is what it is.
struct LabelPoolEvidence: Codable {
    var pool: PoolEvidence
    var shift: BinaryShift
    var shifts: [BinaryShift.Evidence]
}

/// `fit-label-aggregation`: for each label what its classifier's probability is worth, learned on the uniformly drawn questions of the last
/// round. A shift where one helps (`BinaryShift`), else what `fit-aggregation` does for one class: never both on the same few answers.
///
/// - Inputs: `label-scores` (all blocks), `answers` and `selection` of the last round, `index`.
/// - Outputs: `pools` (a `LabelPool` each), `evidence` (JSON list of `LabelPoolEvidence`).
package struct FitLabelAggregationStage: StageExecutor {
    package static let kind = "fit-label-aggregation"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: AggregateParameters.self)
        let labels = try task.datasetIndex().classNames.count
        var fitter = PoolFitter(classCount: 2, sources: [.classifier], seed: parameters.seed)
        fitter.reviewerAccuracy = parameters.reviewerAccuracy
        var answers: [LabelAnswerBlock.Answer] = []
        var scores: [LabelScoreBlock] = []
        if task.inputs.contains("answers") {
            scores = try task.labelScores("label-scores")
            let selections = try CanonicalJSON.decode([Selection].self, from: try task.inputs.single("selection").bytes, what: "selection")
            let uniform = Set(selections.filter { $0.reason == SelectForReviewParameters.uniformReason }.map(\.position))
            answers = try LabelAnswerBlock(decoding: try task.inputs.single("answers").bytes).answers.filter {
                uniform.contains($0.position)
            }
        }
        var pools: [LabelPool] = []
        var evidence: [LabelPoolEvidence] = []
        for label in 0..<labels {
            // Ascending by position, as answers are.
            let reviewed = answers.compactMap { answer -> (position: Int, p: Float, isYes: Bool)? in
                guard let value = answer.values[label], let block = scores.first(where: { $0.positions.contains(answer.position) }),
                    let p = block[row: answer.position - block.firstPosition, label]
                else { return nil }
                return (answer.position, p, value)
            }
            let (shift, shifts) = BinaryShift.fit(reviewed.map { (Double($0.p), $0.isYes) })
            let (pool, why) = fitter.fit(
                shift == .identity
                    ? reviewed.map {
                        ReviewedSample(
                            position: $0.position, label: $0.isYes ? 1 : 0, opinions: [LabelPool.opinion($0.p)], isHeldOut: true)
                    } : [])
            pools.append(LabelPool(shift: shift, pool: pool))
            evidence.append(LabelPoolEvidence(pool: why, shift: shift, shifts: shifts))
        }
        try task.emit(
            block: 0, [StageOutput("pools", LabelPool.encode(pools)), StageOutput("evidence", Array(CanonicalJSON.encode(evidence).utf8))],
            metrics: ["rows": Double(answers.count)])
    }
}

/// `aggregate-labels`: the final value, confidence and sources of each label of each sample.
///
/// - Inputs: `label-scores` (same block), `pools`, `answers.0…`, `masked` (all blocks), `index`.
/// - Outputs: `labels` (`FinalLabelCodec`, positions as `LabelCellPosition` says).
package struct AggregateLabelsStage: StageExecutor {
    package static let kind = "aggregate-labels"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let labels = try task.datasetIndex().classNames.count
        let pools = try LabelPool.decode(try task.inputs.single("pools").bytes, labels: labels)
        var answers: [Int: [[Bool?]]] = [:]
        for answer in try task.inputs.labelAnswers().flatMap(\.answers) { answers[answer.position, default: []].append(answer.values) }
        let masked = Set(try task.maskedPositions())
        for block in task.blocks {
            let scores = try LabelScoreBlock(decoding: try task.inputs.sameBlock("label-scores", block).bytes)
            var finals: [FinalLabel] = []
            finals.reserveCapacity(scores.rows * labels)
            for (row, position) in scores.positions.enumerated() {
                for label in 0..<labels {
                    let cell = LabelCellPosition.of(sample: position, label: label, labels: labels)
                    guard !masked.contains(position) else {
                        finals.append(FinalLabel(position: cell, label: nil, confidence: 0, margin: 0, sources: []))
                        continue
                    }
                    finals.append(
                        pools[label].combine(
                            position: cell, p: scores[row: row, label],
                            answers: (answers[position] ?? []).compactMap { $0[label].map { $0 ? 1 : 0 } }))
                }
            }
            try task.emit(block: block, [StageOutput("labels", FinalLabelCodec.encode(finals))], metrics: ["rows": Double(scores.rows)])
        }
    }
}

/// `export-labels`: one line a sample with the value and the confidence of each label.
///
/// - Inputs: `index`, `samples` and `labels` (all blocks). Outputs: `labels.jsonl`, `labels.csv`, as asked for.
package struct ExportLabelsStage: StageExecutor {
    package static let kind = "export-labels"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: ExportParameters.self)
        let names = try task.datasetIndex().classNames
        var jsonl: [UInt8] = []
        let header = ["id"] + names.flatMap { [$0, "\($0) confidence"] } + ["sources"]
        var csv = Array((header.map(CSVField.quoted).joined(separator: ",") + "\r\n").utf8)
        let digests = try task.inputs.digests("labels")
        var rows = 0
        try task.inputs.forEach("samples") { number, artifact in
            let block = try artifact.withBytes { try SampleBlock(decoding: $0) }
            let finals = try FinalLabelCodec.decode(try task.inputs.artifact(digests[number]).bytes)
            for (row, sample) in block.samples.enumerated() {
                rows += 1
                let cells = finals[row * names.count..<(row + 1) * names.count]
                let sources = cells.reduce(into: SourceSet()) { $0.formUnion($1.sources) }.names
                let fields = zip(names, cells).map { name, cell in
                    "\(JSONString.quoted(name)):{\"value\":\(cell.label.map { $0 == 1 ? "true" : "false" } ?? "null"),"
                        + "\"confidence\":\(Decimals.six(cell.confidence)),"
                        + "\"sources\":[\(cell.sources.names.map { "\"\($0)\"" }.joined(separator: ","))]}"
                }
                jsonl.append(
                    contentsOf: "{\"id\":\(JSONString.quoted(sample.id)),\"labels\":{\(fields.joined(separator: ","))}}\n".utf8)
                let values = cells.flatMap { [$0.label.map(String.init) ?? "", Decimals.six($0.confidence)] }
                csv.append(
                    contentsOf: (([sample.id] + values + [sources.joined(separator: "+")]).map(CSVField.quoted).joined(separator: ",")
                        + "\r\n").utf8)
            }
        }
        var outputs: [StageOutput] = []
        if parameters.formats.contains("jsonl") { outputs.append(StageOutput("labels.jsonl", jsonl)) }
        if parameters.formats.contains("csv") { outputs.append(StageOutput("labels.csv", csv)) }
        try task.emit(block: 0, outputs, metrics: ["rows": Double(rows)])
    }
}
