package import Primitives

/// Makes multi-modal data sets with gold labels: texts from intent grammars, small images, sensor series.
///
/// Sample i depends on the seed, the number of classes and i only, so a larger set begins with the smaller one.
package struct SampleGenerator: Sendable {
    package struct Settings: Hashable, Sendable, Codable {
        package var samples: Int
        package var seed: UInt64
        /// 2 to 150.
        package var classes: Int
        /// Leaves the label field out.
        package var isUnlabelled: Bool
        /// Write image and sensor files beside the texts.
        package var hasImages: Bool
        package var hasSensors: Bool

        package init(
            samples: Int, seed: UInt64 = 1, classes: Int = 20, isUnlabelled: Bool = false, hasImages: Bool = true, hasSensors: Bool = true
        ) {
            self.samples = samples
            self.seed = seed
            self.classes = classes
            self.isUnlabelled = isUnlabelled
            self.hasImages = hasImages
            self.hasSensors = hasSensors
        }
    }

    package static let classLimit = 2...150

    package let settings: Settings

    package init(_ settings: Settings) throws(AMAFError) { self.settings = settings }

    /// Writes `samples.jsonl`, `images/`, `sensors/` and a README into a folder that is made if needed.
    package func write(to folder: String) throws(AMAFError) { preconditionFailure() }
}
