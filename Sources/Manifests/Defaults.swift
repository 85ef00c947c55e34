package import ActiveLearning
internal import Primitives
package import Scheduling
package import WeakSupervision

/// Every knob with the value that it has where nobody says otherwise; `configs/defaults.yaml` in the code's form.
package struct Defaults: Hashable, Sendable {
    package var blockSize = BlockPlan.defaultBlockSize
    package var features = FeatureSettings()
    package var vae = VAESettings()
    package var labelModel = LabelModelKind.logLinear
    /// Rounds of block tasks that the label model is fitted in; nil fits it in one task.
    package var labelModelRounds: Int?
    package var classifier = ClassifierSettings()
    package var acquisition = Acquisition.margin
    package var control: Acquisition? = .random
    package var review = ReviewSettings()
    package var noisyReviewer: [Double] = []
    package var seeds: [UInt64] = [1]
    package var checkpoints: [Amount] = []
    package var audit: Amount? = nil
    package var export: [ExportFormat] = [.jsonl, .csv, .npz]
    package var numerics = NumericsPolicy.strict
    package var priority = 0
    package var weight = 1.0
    package var scheduler = SchedulerSettings()

    package init() {}
}
