package import Primitives

/// Which rows of an image data set are taken, and what is a label in them; beyond `DatasetFormat.fields`.
package struct ImageRows: Hashable, Sendable, Codable {
    /// What an uncertain mention (−1 in CheXpert's table) counts as.
    package enum Uncertain: String, Hashable, Sendable, Codable, CaseIterable {
        case zeros, ones
        /// The row has no gold label.
        case ignore
    }
    package struct Condition: Hashable, Sendable, Codable {
        package var column: String
        /// `*` stands for anything but an empty field.
        package var value: String

        package init(column: String, value: String) {
            self.column = column
            self.value = value
        }
    }
    /// Rows that share a value (a patient) stay together, and whole groups are drawn for testing.
    package struct GroupSplit: Hashable, Sendable, Codable {
        package var column: String
        /// Of the groups, in (0, 1).
        package var testShare: Double
        package var validationShare: Double

        package init(column: String, testShare: Double, validationShare: Double = 0) {
            precondition(testShare >= 0 && validationShare >= 0 && testShare + validationShare < 1, "no groups are left for the pool")
            self.column = column
            self.testShare = testShare
            self.validationShare = validationShare
        }

        /// `test`, `validation` or `pool`, by a hash of the group's name: the same in every run, whatever else the table holds.
        package func split(of group: String) -> String {
            let place = Double(stableHash("amaf-group/" + group) >> 11) / Double(1 << 53)
            return place < testShare ? "test" : place < testShare + validationShare ? "validation" : "pool"
        }
    }

    /// CheXpert: the observation that is the label, present or absent.
    package var observation: String?
    package var uncertain: Uncertain
    /// All must hold.
    package var conditions: [Condition]
    package var groups: GroupSplit?
    /// Folder that image paths of a table start at, relative to the table's own.
    package var root: String
    /// Several labels a sample instead of one class.
    package var labels: LabelSetFormat?
    /// Columns that tell the labels in other words: they do not become metadata, so that no labeling function can read them.
    package var hidden: [String]?
    /// So many rows of a class at most, the first ones; of classes that are not named, all. For pilots, and for long tails made on purpose.
    package var limits: [String: Int]?

    package init(
        observation: String? = nil, uncertain: Uncertain = .ignore, conditions: [Condition] = [], groups: GroupSplit? = nil,
        root: String = "", labels: LabelSetFormat? = nil, hidden: [String]? = nil, limits: [String: Int]? = nil
    ) {
        self.limits = limits
        self.observation = observation
        self.uncertain = uncertain
        self.conditions = conditions
        self.groups = groups
        self.root = root
        self.labels = labels
        self.hidden = hidden
    }
}

/// The picture of a sample as its source has it.
package enum ImagePayload: Hashable, Sendable {
    /// A JPEG, PNG or PGM file.
    case file([UInt8])
    /// (height, width, channels) bytes, from formats that hold plain arrays.
    case raw(width: Int, height: Int, channels: Int, pixels: [UInt8])

    /// - Parameter smallest: see `ImageDecoder.decode`.
    package func decoded(
        by decoder: ImageDecoder, place: String, smallest: (width: Int, height: Int)? = nil
    ) throws(AMAFError) -> DecodedImage {
        switch self {
        case .file(let bytes): try decoder.decode(bytes, place: place, smallest: smallest)
        case .raw(let width, let height, let channels, let pixels):
            DecodedImage(width: width, height: height, channels: channels, samples: .bytes(pixels))
        }
    }
}
