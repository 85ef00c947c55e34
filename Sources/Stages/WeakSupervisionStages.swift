import Datasets
import Primitives
import WeakSupervision

/// `apply-labeling-functions`: the votes of all functions on each block.
///
/// - Inputs: `samples` (same block), `functions` (JSON list of specs), `index`. Outputs: `votes` (`VoteBlock`).
package struct ApplyLabelingFunctionsStage: StageExecutor {
    package static let kind = "apply-labeling-functions"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let index = try task.datasetIndex()
        let functions = try task.inputs.single("functions")
        var key = DigestHasher()
        key.update(digest: functions.digest)
        key.update(digest: try task.inputs.single("index").digest)
        let compiled = try task.cache.object("labeling-functions", key.finish(), cost: { _ in functions.byteCount * 8 }) {
            let specs = try CanonicalJSON.decode([LabelingFunctionSpec].self, from: functions.bytes, what: "list of labeling functions")
            return try LabelingFunctionSet(specs: specs, classNames: index.classNames)
        }
        for block in task.blocks {
            let texts = try task.texts(block)
            let votes = compiled.apply(texts: texts, firstSample: index.plan.range(ofBlock: block).lowerBound)
            try task.emit(
                block: block, [StageOutput("votes", votes.encoded())],
                metrics: ["rows": Double(texts.count), "faults": Double(votes.faultCount)])
        }
    }
}

/// `fit-label-model`: merges the partial label matrices and fits the model and the function table.
///
/// - Inputs: `votes` (all blocks), `functions`. Outputs: `model` (`FittedLabelModel`), `statistics` (`LFStatistics`, JSON).
package struct FitLabelModelStage: StageExecutor {
    package static let kind = "fit-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let options = try task.parameters(as: LabelModelOptions.self)
        let matrix = try task.labelMatrix()
        let model = try LabelModelFit.fit(matrix, options: options)
        let statistics = CanonicalJSON.encode(LFStatistics(matrix))
        try task.emit(
            block: 0, [StageOutput("model", model.encoded()), StageOutput("statistics", Array(statistics.utf8))],
            metrics: ["rows": Double(matrix.sampleCount)])
    }
}

/// `apply-label-model`: what the votes make each sample's label be.
///
/// - Inputs: `votes` (same block), `model`. Outputs: `posterior` (`PosteriorBlock`).
package struct ApplyLabelModelStage: StageExecutor {
    package static let kind = "apply-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let model = try FittedLabelModel(decoding: try task.inputs.single("model").bytes)
        for block in task.blocks {
            let votes = try task.inputs.sameBlock("votes", block).withBytes { try VoteBlock(decoding: $0) }
            let posterior = model.posteriors(of: VoteRows(votes, functions: model.functions))
            try task.emit(
                block: block, [StageOutput("posterior", posterior.encoded())],
                metrics: ["rows": Double(posterior.rowCount), "covered": Double(posterior.coveredCount)])
        }
    }
}

extension StageTask {
    /// The label matrix of the whole data set, merged from the partial ones.
    func labelMatrix() throws -> LabelMatrix {
        var matrix: LabelMatrix?
        try inputs.forEach("votes") { _, artifact in
            let block = try artifact.withBytes { try VoteBlock(decoding: $0) }
            if matrix == nil { matrix = LabelMatrix(classCount: block.classCount, functions: block.columns.map(\.function)) }
            try matrix?.insert(block)
        }
        guard let matrix else { preconditionFailure("a label matrix of no blocks") }
        return matrix
    }
}
