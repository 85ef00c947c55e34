extension RunReport {
    /// Who answered. Simulated answers are named a simulation wherever their numbers appear.
    package enum Reviewer: Hashable, Sendable, Codable {
        case people(count: Int)
        /// Gold with a stated share of wrong answers (uniform over the other classes) at a stated pace.
        case simulated(errorRate: Double, secondsPerItem: Double)

        package var isSimulated: Bool { if case .simulated = self { true } else { false } }

        package var description: String {
            switch self {
            case .people(let count): count == 1 ? "1 person" : "\(count) people"
            case .simulated(let errorRate, let seconds):
                "simulated reviewer, error rate \(NumberText.percent(errorRate, decimals: 1)), \(NumberText.shortest(seconds)) s per item"
            }
        }
    }

    /// One way of spending the review budget, run once per seed.
    package struct Arm: Hashable, Sendable, Codable {
        /// Stable name, unique in the report: `margin`, `random`, `margin-noisy`.
        package var id: String
        /// As the legend says it: `margin`, `margin, 5 % reviewer error`.
        package var title: String
        /// Acquisition function: `margin`, `random`, `entropy`.
        package var acquisition: String
        package var reviewer: Reviewer
        /// The arm with random choice, the same reviewer and the same budget that this one is compared with.
        package var control: String?
        /// One run per seed, in the report's order of seeds.
        package var runs: [ArmRun]

        package init(id: String, title: String, acquisition: String, reviewer: Reviewer, control: String?, runs: [ArmRun]) {
            self.id = id
            self.title = title
            self.acquisition = acquisition
            self.reviewer = reviewer
            self.control = control
            self.runs = runs
        }
    }

    package struct ArmRun: Hashable, Sendable, Codable {
        package var seed: UInt64
        /// Ascending in `answersUsed`.
        package var points: [BudgetPoint]

        package init(seed: UInt64, points: [BudgetPoint]) {
            self.seed = seed
            self.points = points
        }
    }

    /// The state after one round of review.
    package struct BudgetPoint: Hashable, Sendable, Codable {
        package var round: Int
        /// Every labelled example used so far: review answers, seed sets and what labeling-function rules looked at.
        package var answersUsed: Int
        /// `answersUsed / dataset.samples`.
        package var fraction: Double
        /// Final labels that equal gold, over all samples; an abstain counts as wrong.
        package var accuracy: Double?
        /// The same over the samples that no person saw.
        package var unseenAccuracy: Double?
        package var unseenCount: Int
        package var macroF1: Double?
        /// The round's classifier on the test split, for information: no test label reaches a decision.
        package var testAccuracy: Double?

        package init(
            round: Int, answersUsed: Int, fraction: Double, accuracy: Double?, unseenAccuracy: Double?, unseenCount: Int,
            macroF1: Double? = nil, testAccuracy: Double? = nil
        ) {
            self.round = round
            self.answersUsed = answersUsed
            self.fraction = fraction
            self.accuracy = accuracy
            self.unseenAccuracy = unseenAccuracy
            self.unseenCount = unseenCount
            self.macroF1 = macroF1
            self.testAccuracy = testAccuracy
        }
    }

    /// Mean, spread and 95 % t interval over seeds.
    package struct Spread: Hashable, Sendable, Codable {
        package var mean: Double
        /// Sample standard deviation; absent for one run.
        package var standardDeviation: Double?
        package var low: Double?
        package var high: Double?
        package var minimum: Double
        package var maximum: Double
        package var count: Int
    }

    /// An arm at the last point whose answers fit in a budget of `fraction` · samples.
    package struct Checkpoint: Hashable, Sendable, Codable {
        package var arm: String
        package var fraction: Double
        /// Largest number of answers really used over the seeds; never above the budget.
        package var answersUsed: Int
        package var accuracy: Spread?
        package var unseenAccuracy: Spread?
        package var macroF1: Spread?
        package var testAccuracy: Spread?
    }

    /// Difference of an arm and its control at the same budget, paired by seed.
    package struct Comparison: Hashable, Sendable, Codable {
        package var arm: String
        package var control: String
        package var fraction: Double
        /// Arm minus control, in accuracy (0.04 is four points).
        package var difference: Spread
        package var t: Double?
        package var degreesOfFreedom: Int?
        /// Two-sided, of the paired t-test; absent with fewer than two common seeds.
        package var p: Double?
        /// Holm's step-down over all comparisons of this report.
        package var holmP: Double?
        /// Mean over standard deviation of the differences (d_z).
        package var effectSize: Double?
        /// Set when all differences were equal and p is a convention.
        package var zeroVariance: Bool
    }

    /// One classifier on a test split of two classes.
    package struct BinaryTestRow: Hashable, Sendable, Codable {
        /// What it was trained on.
        package var training: String
        /// Of people; 0 for the supervised reference.
        package var answers: Int
        package var cut: Double
        /// `none`, or which samples the cut was chosen on; never test samples.
        package var cutFrom: String
        package var samples: Int
        package var accuracy: Double
        /// Clopper and Pearson's 95 % interval.
        package var low: Double
        package var high: Double
        package var f1: Double?
        package var positiveClass: String

        package init(
            training: String, answers: Int, cut: Double, cutFrom: String, samples: Int, accuracy: Double, low: Double, high: Double,
            f1: Double?, positiveClass: String
        ) {
            self.training = training
            self.answers = answers
            self.cut = cut
            self.cutFrom = cutFrom
            self.samples = samples
            self.accuracy = accuracy
            self.low = low
            self.high = high
            self.f1 = f1
            self.positiveClass = positiveClass
        }
    }

    package struct SupervisedReference: Hashable, Sendable, Codable {
        package var seed: UInt64
        package var classifier: String
        package var trainingSamples: Int
        package var testSamples: Int
        package var testAccuracy: Double
        package var testMacroF1: Double?

        package init(
            seed: UInt64, classifier: String, trainingSamples: Int, testSamples: Int, testAccuracy: Double, testMacroF1: Double? = nil
        ) {
            self.seed = seed
            self.classifier = classifier
            self.trainingSamples = trainingSamples
            self.testSamples = testSamples
            self.testAccuracy = testAccuracy
            self.testMacroF1 = testMacroF1
        }
    }
}
