/// Every executor that a worker of this build has. One list: a stage kind that is not here does not exist.
package enum StageRegistry {
    private static let executors: [any StageExecutor.Type] = [
        IngestStage.self, ExtractFeaturesStage.self, DocumentFrequencyStage.self, ApplyLabelingFunctionsStage.self, MergeVotesStage.self,
        FitLabelModelStage.self,
        CountVotesStage.self, StartLabelModelStage.self, LabelModelExpectationStage.self, StepLabelModelStage.self,
        FinishLabelModelStage.self,
        ApplyLabelModelStage.self, TrainClassifierStage.self, ScoreUncertaintyStage.self, SelectForReviewStage.self,
        SimulatedReviewStage.self,
        ExtractImageFeaturesStage.self, FitProjectionStage.self, ProjectFeaturesStage.self, TrainDenseClassifierStage.self,
        ScoreDenseUncertaintyStage.self, ExtractNetworkFeaturesStage.self, VoteZeroShotStage.self,
        FitAggregationStage.self, AggregateStage.self, EvaluateStage.self, ExportStage.self, DiagnosticStage.self,
        TrainLabelClassifiersStage.self, ScoreLabelsStage.self, SimulatedLabelReviewStage.self, FitLabelAggregationStage.self,
        AggregateLabelsStage.self, EvaluateLabelsStage.self, ExportLabelsStage.self,
        StartVAEStage.self, VAESlopesStage.self, VAELocalStepsStage.self, AverageVAEStage.self, EncodeLatentsStage.self,
        FitClassPosteriorsStage.self, SynthesizeStage.self, PackPicturesStage.self, PackAnswersStage.self,
        ExtractSyntheticFeaturesStage.self, TrainJudgeStage.self, AdmitSyntheticStage.self, AuditAugmentationStage.self,
        CompareAugmentationStage.self, AuditParaphrasesStage.self, CompareParaphrasesStage.self,
    ]

    package static func executor(for kind: String) -> (any StageExecutor)? { executors.first { $0.kind == kind }?.init() }

    package static var kinds: [String] { executors.map { $0.kind } }

    /// For plans: the version that this build's executor has.
    package static func codeVersion(of kind: String) -> Int? { executors.first { $0.kind == kind }?.codeVersion }

    /// Inputs that the kind's executor reads by range; none for a kind that this build does not know.
    package static func rangedInputs(of kind: String) -> [String] { executors.first { $0.kind == kind }?.rangedInputs ?? [] }
}
