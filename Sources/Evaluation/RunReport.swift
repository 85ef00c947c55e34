package import Primitives

/// Everything a finished run says about itself: the content of `run.json` and the only input of both renderers.
///
/// The pipeline fills the measured parts and calls `summarise()`, which derives checkpoints and comparisons from the
/// curves. Optional numbers are absent where there is no gold to measure them with; nothing here is ever NaN, so that
/// any JSON encoder takes it. Wherever answers come from a simulated reviewer the text says so.
package struct RunReport: Hashable, Sendable, Codable {
    package static let currentFormat = 1

    /// Version of this structure in `run.json`.
    package var format: Int = RunReport.currentFormat
    package var header: Header
    package var dataset: Dataset
    package var seeds: [UInt64]
    /// Budget fractions of `dataset.samples` at which the arms are compared, ascending.
    package var checkpointFractions: [Double] = [0.13, 0.20]
    package var arms: [Arm] = []
    /// Derived by `summarise()`: one row per arm and checkpoint fraction.
    package var checkpoints: [Checkpoint] = []
    /// Derived by `summarise()`: every arm against its control, per checkpoint fraction.
    package var comparisons: [Comparison] = []
    /// Classifiers trained on all gold, on the held-out test split.
    package var supervised: [SupervisedReference] = []
    /// Two classes: the test split as scored and with a cut chosen on validation samples; nil elsewhere.
    package var binaryTests: [BinaryTestRow]?
    /// Samples with several labels each: the main arm first; nil elsewhere.
    package var labelSets: [LabelSetArm]?
    /// What synthetic samples were made, and what they changed; nil where none were asked for.
    package var augmentation: Augmentation?
    package var labelingFunctions: LabelingFunctions?
    package var labelModel: ModelEvidence?
    package var aggregation: ModelEvidence?
    /// The only quality number of a run without gold.
    package var audit: AuditEstimate?
    package var calibration: Calibration?
    package var confusion: Confusion?
    package var finalLabels: FinalLabels?
    package var ledger: HumanLedger?
    package var cost: Cost?
    package var stages: [Stage] = []
    package var processes: [Process] = []
    package var scheduling: SchedulingCounts?
    package var environment: Environment
    /// What the run promised and whether it holds; an empty list promises nothing.
    package var gates: [Gate] = []
    /// Sentences for the reader: fallbacks taken, statistics with zero variance, `numerics: any`.
    package var warnings: [String] = []

    package init(header: Header, dataset: Dataset, seeds: [UInt64], environment: Environment) {
        self.header = header
        self.dataset = dataset
        self.seeds = seeds
        self.environment = environment
    }

    package struct Header: Hashable, Sendable, Codable {
        package var run: RunID
        /// The pipeline's name as people say it.
        package var title: String
        /// Path or name of the pipeline file, as the user gave it.
        package var pipeline: String
        /// Wall-clock texts (ISO 8601) that the shell supplies; empty keeps the report free of time.
        package var startedAt: String
        package var finishedAt: String
        /// Wall time from the first task to the report, all seeds and arms.
        package var wallSeconds: Double

        package init(run: RunID, title: String, pipeline: String, startedAt: String = "", finishedAt: String = "", wallSeconds: Double) {
            self.run = run
            self.title = title
            self.pipeline = pipeline
            self.startedAt = startedAt
            self.finishedAt = finishedAt
            self.wallSeconds = wallSeconds
        }
    }

    package struct Dataset: Hashable, Sendable, Codable {
        package var name: String
        package var digest: String
        package var modality: String
        /// Samples to label, quarantined rows not counted.
        package var samples: Int
        package var testSamples: Int
        package var classes: Int
        /// Whether gold labels exist; without them `audit` speaks instead of accuracies.
        package var hasGold: Bool
        /// Rows refused at ingest, sorted by place.
        package var quarantined: [QuarantinedRow]

        package init(
            name: String, digest: String = "", modality: String = "text", samples: Int, testSamples: Int = 0, classes: Int, hasGold: Bool,
            quarantined: [QuarantinedRow] = []
        ) {
            self.name = name
            self.digest = digest
            self.modality = modality
            self.samples = samples
            self.testSamples = testSamples
            self.classes = classes
            self.hasGold = hasGold
            self.quarantined = quarantined
        }
    }

    package struct QuarantinedRow: Hashable, Sendable, Codable {
        /// `train.jsonl:812`, or a sample id.
        package var place: String
        package var code: String
        package var reason: String

        package init(place: String, code: String, reason: String) {
            self.place = place
            self.code = code
            self.reason = reason
        }
    }

    /// One claim with its threshold, `label accuracy at 20 %` ≥ 0.955.
    package struct Gate: Hashable, Sendable, Codable {
        package enum Direction: String, Hashable, Sendable, Codable { case atLeast = "at-least", atMost = "at-most" }
        package enum Unit: String, Hashable, Sendable, Codable { case fraction, points, seconds, mebibytes, count }

        package var title: String
        package var direction: Direction
        package var threshold: Double
        /// Absent when it could not be measured, which does not pass.
        package var measured: Double?
        package var unit: Unit

        package init(_ title: String, _ direction: Direction, _ threshold: Double, measured: Double?, unit: Unit) {
            self.title = title
            self.direction = direction
            self.threshold = threshold
            self.measured = measured
            self.unit = unit
        }

        package var passes: Bool {
            guard let measured else { return false }
            return direction == .atLeast ? measured >= threshold : measured <= threshold
        }
    }
}
