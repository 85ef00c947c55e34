internal import Primitives

// Rules over numbers, recordings, feature vectors and other models' predictions; how they vote is in DataFunctions.swift.

/// Bounds of a number; at least one is given. Both ends belong to the interval.
package struct NumberBounds: Hashable, Sendable {
    package var atLeast: Double?
    package var atMost: Double?

    package init(atLeast: Double? = nil, atMost: Double? = nil) {
        self.atLeast = atLeast
        self.atMost = atMost
    }

    package func contains(_ value: Double) -> Bool {
        value >= atLeast ?? -.infinity && value <= atMost ?? .infinity
    }
}

/// Votes `className` when a numeric field of the sample lies within the bounds; abstains where the field is missing. Fields named
/// `image.…` are statistics of the sample's thumbnail (`ImageStatistics`).
package struct ThresholdRule: Hashable, Sendable {
    package var className: String
    package var field: String
    package var bounds: NumberBounds

    package init(className: String, field: String, bounds: NumberBounds) {
        self.className = className
        self.field = field
        self.bounds = bounds
    }
}

/// A number that stands for a window of a recording.
package enum WindowStatistic: String, Hashable, Sendable, Codable, CaseIterable {
    case mean, minimum, maximum
    /// Maximum less minimum.
    case range
    /// √(Σ(x − mean)²/n).
    case standardDeviation = "standard-deviation"
    /// √(Σx²/n).
    case rootMeanSquare = "root-mean-square"
    /// Of the least-squares line, per step.
    case slope
    /// The largest |xₜ − xₜ₋₁|.
    case largestStep = "largest-step"
}

/// Votes `className` when the statistic lies within the bounds in at least `minimumWindows` windows of a channel.
package struct SensorThresholdRule: Hashable, Sendable {
    package var className: String
    /// A channel of the sample's recording…
    package var channel: String?
    /// …or a field that holds a JSON list of numbers.
    package var field: String?
    package var statistic: WindowStatistic
    /// Steps; nil is the whole recording. Recordings shorter than a window make the function abstain.
    package var window: Int?
    /// Steps from one window to the next; nil is half a window.
    package var stride: Int?
    package var minimumWindows: Int
    package var bounds: NumberBounds

    package init(
        className: String, channel: String? = nil, field: String? = nil, statistic: WindowStatistic = .mean, window: Int? = nil,
        stride: Int? = nil, minimumWindows: Int = 1, bounds: NumberBounds
    ) {
        self.className = className
        self.channel = channel
        self.field = field
        self.statistic = statistic
        self.window = window
        self.stride = stride
        self.minimumWindows = minimumWindows
        self.bounds = bounds
    }
}

package enum VectorMetric: String, Hashable, Sendable, Codable, CaseIterable {
    /// Similarity x·y/(|x||y|).
    case cosine
    /// Similarity −|x − y|.
    case euclidean
}

/// Votes for the class of the nearest prototype when it is near enough and leads the nearest of another class by the margin.
package struct PrototypesRule: Hashable, Sendable {
    package struct Prototype: Hashable, Sendable, Codable {
        package var className: String
        package var vector: [Double]

        package init(className: String, vector: [Double]) {
            self.className = className
            self.vector = vector
        }

        private enum CodingKeys: String, CodingKey {
            case className = "class"
            case vector
        }
    }
    /// `.npy`, samples of the data set × d, row by position.
    package var features: FileReference
    package var prototypes: [Prototype]
    package var metric: VectorMetric
    /// Least similarity; nil for none.
    package var threshold: Double?
    package var minimumMargin: Double

    package init(
        features: FileReference, prototypes: [Prototype], metric: VectorMetric = .cosine, threshold: Double? = nil,
        minimumMargin: Double = 0
    ) {
        self.features = features
        self.prototypes = prototypes
        self.metric = metric
        self.threshold = threshold
        self.minimumMargin = minimumMargin
    }
}

/// Votes for the class that most of the nearest labelled vectors have.
package struct NeighboursRule: Hashable, Sendable {
    /// `.npy`, samples of the data set × d, row by position.
    package var features: FileReference
    /// `.npy`, references × d.
    package var references: FileReference
    /// One class name a reference, in order.
    package var labels: [String]
    package var metric: VectorMetric
    package var neighbours: Int
    /// Neighbours below this similarity do not count; nil for none.
    package var threshold: Double?
    /// Of the `neighbours`, how large a part must agree.
    package var minimumShare: Double

    package init(
        features: FileReference, references: FileReference, labels: [String], metric: VectorMetric = .cosine, neighbours: Int = 5,
        threshold: Double? = nil, minimumShare: Double = 0.5
    ) {
        self.features = features
        self.references = references
        self.labels = labels
        self.metric = metric
        self.neighbours = neighbours
        self.threshold = threshold
        self.minimumShare = minimumShare
    }
}

/// Votes for another model's likeliest class when it is sure enough.
package struct ModelPredictionRule: Hashable, Sendable {
    /// `.npy` of probabilities, samples × classes by position, or CSV `id,class,probability`.
    package var predictions: FileReference
    /// The classes of the columns; empty takes the run's own in their order. Not used for CSV.
    package var classNames: [String]
    package var threshold: Double
    package var minimumMargin: Double

    package init(predictions: FileReference, classNames: [String] = [], threshold: Double = 0, minimumMargin: Double = 0) {
        self.predictions = predictions
        self.classNames = classNames
        self.threshold = threshold
        self.minimumMargin = minimumMargin
    }
}

/// Bounds of a program that answers for samples.
package struct ExecLimits: Hashable, Sendable {
    /// A program that says nothing for so long is stopped.
    package var silentSeconds: Double
    package var memoryMiB: Int
    /// Bytes that it may write for each sample, on the average of a batch.
    package var outputBytes: Int

    package init(silentSeconds: Double = 10, memoryMiB: Int = 4096, outputBytes: Int = 4096) {
        self.silentSeconds = silentSeconds
        self.memoryMiB = memoryMiB
        self.outputBytes = outputBytes
    }
}

/// A program that reads samples as JSON lines and writes one JSON line each; see docs/LABEL-MODELS.md.
package struct CommandRule: Hashable, Sendable {
    package var command: [String]
    /// Files whose content decides what the program answers: part of the function's identity.
    package var files: [FileReference]
    /// The classes that it may name; empty for all.
    package var classNames: [String]
    package var limits: ExecLimits
    /// Where it runs; not part of the identity.
    package var folder: String

    package init(
        command: [String], files: [FileReference] = [], classNames: [String] = [], limits: ExecLimits = ExecLimits(), folder: String = ""
    ) {
        self.command = command
        self.files = files
        self.classNames = classNames
        self.limits = limits
        self.folder = folder
    }
}

/// One `@labeling_function` of a Python module, as Snorkel runs it.
package struct SnorkelRule: Hashable, Sendable {
    package var module: FileReference
    package var function: String
    /// The class that each number stands for, from 0; empty takes the run's classes in their order.
    package var classNames: [String]
    /// Other files that the module reads.
    package var files: [FileReference]
    package var limits: ExecLimits

    package init(
        module: FileReference, function: String, classNames: [String] = [], files: [FileReference] = [], limits: ExecLimits = ExecLimits()
    ) {
        self.module = module
        self.function = function
        self.classNames = classNames
        self.files = files
        self.limits = limits
    }
}
