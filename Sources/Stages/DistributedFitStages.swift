import Datasets
import Primitives
package import WeakSupervision

/// What the stages of a fit in rounds are told.
package struct DistributedFitParameters: Hashable, Sendable, Codable {
    package var options: LabelModelOptions
    package var classes: Int

    package init(options: LabelModelOptions, classes: Int) {
        self.options = options
        self.classes = classes
    }
}

/// `count-votes`: the function table's counts of each block.
///
/// - Inputs: `votes` (same block). Outputs: `statistics` (`LFStatistics`, JSON).
package struct CountVotesStage: StageExecutor {
    package static let kind = "count-votes"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        for block in task.blocks {
            let votes = try task.inputs.sameBlock("votes", block).withBytes { try VoteBlock(decoding: $0) }
            let functions = votes.columns.map(\.function)
            let statistics = LFStatistics(
                VoteRows(votes, functions: functions), functions: functions, faults: votes.columns.map { $0.faults?.count ?? 0 })
            try task.emit(
                block: block, [StageOutput("statistics", Array(CanonicalJSON.encode(statistics).utf8))],
                metrics: ["rows": Double(votes.rowCount)])
        }
    }
}

/// `start-label-model`: who may vote, and how often each function votes for what.
///
/// - Inputs: `counts` (all blocks). Outputs: `rounds` (`LabelModelRounds`, JSON), `statistics` (`LFStatistics`, JSON).
package struct StartLabelModelStage: StageExecutor {
    package static let kind = "start-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: DistributedFitParameters.self)
        var sum: LFStatistics?
        try task.inputs.forEach("counts") { _, artifact in
            let part = try CanonicalJSON.decode(LFStatistics.self, from: artifact.bytes, what: "counts of a block")
            if sum == nil { sum = part } else { sum?.merge(part) }
        }
        guard let sum else { preconditionFailure("a label model of no blocks") }
        let rounds = LabelModelRounds(sum, functions: sum.ableFunctions, classCount: parameters.classes, options: parameters.options)
        try task.emit(
            block: 0,
            [
                StageOutput("rounds", Array(CanonicalJSON.encode(rounds).utf8)),
                StageOutput("statistics", Array(CanonicalJSON.encode(sum).utf8)),
            ], metrics: ["rows": Double(sum.samples)])
    }
}

/// `label-model-expectation`: one block's part of an E-step; empty once the fit has converged.
///
/// - Inputs: `votes` (same block), `rounds`. Outputs: `sums` (`LabelModelStatistics`, JSON).
package struct LabelModelExpectationStage: StageExecutor {
    package static let kind = "label-model-expectation"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let trainer = try task.trainer()
        for block in task.blocks {
            var sums = LabelModelStatistics(count: 0)
            if !trainer.isFinished {
                let votes = try task.inputs.sameBlock("votes", block).withBytes { try VoteBlock(decoding: $0) }
                sums = trainer.statistics(of: VoteRows(votes, functions: trainer.model.functions))
            }
            try task.emit(
                block: block, [StageOutput("sums", Array(CanonicalJSON.encode(sums).utf8))], metrics: ["rows": Double(sums.rows)])
        }
    }
}

/// `step-label-model`: the blocks' sums in block order, and with them the next round.
///
/// - Inputs: `sums` (all blocks), `rounds`. Outputs: `rounds`.
package struct StepLabelModelStage: StageExecutor {
    package static let kind = "step-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        var rounds = try task.rounds()
        if !(try task.trainer().isFinished) {
            var sum: LabelModelStatistics?
            try task.inputs.forEach("sums") { _, artifact in
                let part = try CanonicalJSON.decode(LabelModelStatistics.self, from: artifact.bytes, what: "sums of a block")
                if sum == nil { sum = part } else { sum?.merge(part) }
            }
            guard let sum else { preconditionFailure("an E-step over no blocks") }
            rounds.sums.append(sum)
        }
        try task.emit(block: 0, [StageOutput("rounds", Array(CanonicalJSON.encode(rounds).utf8))])
    }
}

/// `finish-label-model`: the fitted model, the same as `fit-label-model` gives with as many steps, to the last bit.
///
/// - Inputs: `rounds`, `statistics`. Outputs: `model` (`FittedLabelModel`), `statistics` (`LFStatistics`, JSON).
package struct FinishLabelModelStage: StageExecutor {
    package static let kind = "finish-label-model"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let model = try task.trainer().model
        try task.emit(
            block: 0, [StageOutput("model", model.encoded()), StageOutput("statistics", try task.inputs.single("statistics").bytes)])
    }
}

extension StageTask {
    fileprivate func rounds() throws -> LabelModelRounds {
        try CanonicalJSON.decode(LabelModelRounds.self, from: try inputs.single("rounds").bytes, what: "rounds of a fit")
    }

    /// Replayed once a slot and round.
    fileprivate func trainer() throws -> LabelModelTrainer {
        let artifact = try inputs.single("rounds")
        return try cache.object("label-model-trainer", artifact.digest, cost: { _ in artifact.byteCount }) { try rounds().trainer() }
    }
}
