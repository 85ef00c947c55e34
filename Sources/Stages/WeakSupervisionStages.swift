import Datasets
import Primitives
package import WeakSupervision

/// How a run's labeling functions are cut into stages. A result is known by its stage's functions, so what stands in a bundle of its own
/// is not computed again when another is edited.
package enum LabelingFunctionBundles {
    /// All rules over text together, every other function alone.
    ///
    /// Text rules share one pass over a sample: all of them cost less than one more task would. Programs, recordings, vectors and
    /// predictions are what is worth keeping.
    package static func of(_ specs: [LabelingFunctionSpec]) -> [[LabelingFunctionSpec]] {
        let rules = specs.filter(\.isTextRule)
        return (rules.isEmpty ? [] : [rules]) + specs.filter { !$0.isTextRule }.map { [$0] }
    }
}

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
            do throws(AMAFError) {
                // AMAF_ALLOW_EXEC=1 in a slot's environment is the worker's --allow-exec.
                return try LabelingFunctionSet(specs: specs, classNames: index.classNames, context: .ofEnvironment)
            } catch {
                // Another worker may allow it, or have the file.
                var error = error
                error.isTransient = ["labeling-function.exec-not-allowed", "labeling-function.missing-file"].contains(error.code)
                throw error
            }
        }
        for block in task.blocks {
            let read = try task.samples(block)
            let masked = read.masked(alsoMasked: task.maskedSamples)
            let samples = zip(read.samples, masked).map { $1 ? nil : $0 }
            let votes = compiled.apply(samples: samples, firstSample: index.plan.range(ofBlock: block).lowerBound)
            try task.emit(
                block: block, [StageOutput("votes", votes.encoded())],
                metrics: ["rows": Double(samples.count), "faults": Double(votes.faultCount)])
        }
    }
}

/// `merge-votes`: the columns of all bundles side by side.
///
/// - Inputs: `votes.0`, `votes.1` … (same block). Outputs: `votes` (`VoteBlock`).
package struct MergeVotesStage: StageExecutor {
    package static let kind = "merge-votes"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        for block in task.blocks {
            var merged: VoteBlock?
            var number = 0
            while task.inputs.contains("votes.\(number)") {
                let part = try task.inputs.sameBlock("votes.\(number)", block).withBytes { try VoteBlock(decoding: $0) }
                if merged == nil { merged = part } else { merged?.columns += part.columns }
                number += 1
            }
            guard let merged else { preconditionFailure("no votes to merge") }
            try task.emit(block: block, [StageOutput("votes", merged.encoded())], metrics: ["rows": Double(merged.rowCount)])
        }
    }
}

/// `fit-label-model`: merges the partial label matrices and fits the model and the function table.
///
/// A function that failed on more than half of the samples does not vote: it is in the statistics, with its faults, and not in the model.
///
/// - Inputs: `votes` (all blocks), `functions`. Outputs: `model` (`FittedLabelModel`), `statistics` (`LFStatistics`, JSON), and with
///   `auto` `evidence` (`LabelModelEvidence`, JSON).
package struct FitLabelModelStage: StageExecutor {
    package static let kind = "fit-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let options = try task.parameters(as: LabelModelOptions.self)
        let matrix = try task.labelMatrix()
        let faults = matrix.faults
        let able = matrix.functions.indices.filter { (faults[$0]?.count ?? 0) * 2 <= matrix.rowCount }.map { matrix.functions[$0] }
        let fit = LabelModelFit(able.count == matrix.functions.count ? matrix : matrix.selecting(able))
        let model: FittedLabelModel
        var more: [StageOutput] = []
        if options.kind == .auto {
            let (chosen, evidence) = try LabelModelSelection.choose(fit)
            model = chosen
            more.append(StageOutput("evidence", Array(CanonicalJSON.encode(evidence).utf8)))
        } else {
            model = try fit.fit(options)
        }
        let statistics = CanonicalJSON.encode(LFStatistics(matrix))
        try task.emit(
            block: 0, [StageOutput("model", model.encoded()), StageOutput("statistics", Array(statistics.utf8))] + more,
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
