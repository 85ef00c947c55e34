import Datasets
import Manifests
import Primitives
import Scheduling
import WeakSupervision

extension Planner {
    /// The fit in one task, or as rounds of block tasks with a reduction each.
    mutating func addLabelModel(_ functions: StageInput?) {
        var options = LabelModelOptions(kind: manifest.labelModel)
        guard let rounds = manifest.labelModelRounds else {
            let parameters = CanonicalJSON.encode(options)
            return add(
                Self.fitLabelModel, FitLabelModelStage.kind, parameters: parameters, blocks: 1,
                [whole("votes", Self.votes)] + (functions.map { [$0] } ?? []))
        }
        options.maximumIterations = rounds
        let start = StageID("label-model/start")
        let counts = StageID("label-model/count-votes")
        let blocks = index.plan.blockCount
        add(counts, CountVotesStage.kind, blocks: blocks, [same("votes", Self.votes)])
        add(
            start, StartLabelModelStage.kind,
            parameters: CanonicalJSON.encode(DistributedFitParameters(options: options, classes: index.classNames.count)), blocks: 1,
            [whole("counts", counts, output: "statistics")])
        var previous = start
        for round in 1...rounds {
            let expectation = StageID("label-model/round-\(Self.twoDigits(round))/expectation")
            let step = StageID("label-model/round-\(Self.twoDigits(round))/step")
            add(expectation, LabelModelExpectationStage.kind, blocks: blocks, [same("votes", Self.votes), whole("rounds", previous)])
            add(step, StepLabelModelStage.kind, blocks: 1, [whole("sums", expectation), whole("rounds", previous)])
            previous = step
        }
        add(
            Self.fitLabelModel, FinishLabelModelStage.kind, blocks: 1, [whole("rounds", previous), whole("statistics", start)])
    }
}
