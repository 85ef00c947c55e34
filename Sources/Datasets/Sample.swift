/// One thing to label: a text, an image, a sensor series, or several of these for the same event. Its gold label is never in it.
public struct Sample: Hashable, Sendable {
    /// Stable: the same in every run over the same data, and unique in its data set.
    public var id: String
    /// Empty when the sample has no text, or when its row is quarantined.
    public var text: String
    public var image: SampleImage?
    public var sensor: SensorSeries?
    /// Sorted by key (UTF-8 bytes). The label field is left out, so that no labeling function can read it.
    public var metadata: [MetadataEntry]

    public init(id: String, text: String, image: SampleImage? = nil, sensor: SensorSeries? = nil, metadata: [MetadataEntry] = []) {
        self.id = id
        self.text = text
        self.image = image
        self.sensor = sensor
        self.metadata = metadata
    }

    /// The entry of this key; nil when there is none.
    public func metadata(_ key: String) -> String? { metadata.first { $0.key == key }?.value }
}

/// One field of a row that is neither id, text nor label.
public struct MetadataEntry: Hashable, Sendable {
    public var key: String
    /// The text itself for strings, the JSON text as it stood in the source for numbers, lists and objects.
    public var value: String
    public var isJSON: Bool

    public init(_ key: String, _ value: String, isJSON: Bool = false) {
        self.key = key
        self.value = value
        self.isJSON = isJSON
    }
}

/// A picture by reference, with its decoded thumbnail once somebody read it.
public struct SampleImage: Hashable, Sendable {
    /// Relative to the data set: `images/part-000.pgm#17` is the eighteenth picture of that file.
    public var reference: String
    public var thumbnail: GreyImage?

    public init(reference: String, thumbnail: GreyImage? = nil) {
        self.reference = reference
        self.thumbnail = thumbnail
    }
}

/// 8-bit grey pixels, row by row from the top left: (height, width).
public struct GreyImage: Hashable, Sendable {
    public var width: Int
    public var height: Int
    public var pixels: [UInt8]

    public init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(
            width > 0 && height > 0 && pixels.count == width * height, "\(pixels.count) pixels for an image of \(width) by \(height)")
        self.width = width
        self.height = height
        self.pixels = pixels
    }
}

/// A sensor recording by reference, with its values once somebody read them: (steps, channels), row by row.
public struct SensorSeries: Hashable, Sendable {
    public var reference: String
    public var channels: [String]
    public var values: [Float]

    public init(reference: String, channels: [String] = [], values: [Float] = []) {
        precondition(
            channels.isEmpty ? values.isEmpty : values.count.isMultiple(of: channels.count),
            "\(values.count) values of \(channels.count) channels")
        self.reference = reference
        self.channels = channels
        self.values = values
    }
    public var steps: Int { channels.isEmpty ? 0 : values.count / channels.count }
}
