/// One thing to label: a text, an image, a sensor series, or several of these for the same event. Its gold label is never in it.
package struct Sample: Hashable, Sendable {
    /// Stable: the same in every run over the same data, and unique in its data set.
    package var id: String
    /// Empty when the sample has no text, or when its row is quarantined.
    package var text: String
    package var image: SampleImage?
    package var sensor: SensorSeries?
    /// Sorted by key (UTF-8 bytes). The label field is left out, so that no labeling function can read it.
    package var metadata: [MetadataEntry]

    package init(id: String, text: String, image: SampleImage? = nil, sensor: SensorSeries? = nil, metadata: [MetadataEntry] = []) {
        self.id = id
        self.text = text
        self.image = image
        self.sensor = sensor
        self.metadata = metadata
    }

    /// The entry of this key; nil when there is none.
    package func metadata(_ key: String) -> String? { metadata.first { $0.key == key }?.value }
}

/// One field of a row that is neither id, text nor label.
package struct MetadataEntry: Hashable, Sendable {
    package var key: String
    /// The text itself for strings, the JSON text as it stood in the source for numbers, lists and objects.
    package var value: String
    package var isJSON: Bool

    package init(_ key: String, _ value: String, isJSON: Bool = false) {
        self.key = key
        self.value = value
        self.isJSON = isJSON
    }
}

/// A picture by reference, with its decoded thumbnail once somebody read it.
package struct SampleImage: Hashable, Sendable {
    /// Relative to the data set: `images/part-000.pgm#17` is the eighteenth picture of that file.
    package var reference: String
    package var thumbnail: GreyImage?

    package init(reference: String, thumbnail: GreyImage? = nil) {
        self.reference = reference
        self.thumbnail = thumbnail
    }
}

/// 8-bit grey pixels, row by row from the top left: (height, width).
package struct GreyImage: Hashable, Sendable {
    package var width: Int
    package var height: Int
    package var pixels: [UInt8]

    package init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(
            width > 0 && height > 0 && pixels.count == width * height, "\(pixels.count) pixels for an image of \(width) by \(height)")
        self.width = width
        self.height = height
        self.pixels = pixels
    }
}

/// A sensor recording by reference, with its values once somebody read them: (steps, channels), row by row.
package struct SensorSeries: Hashable, Sendable {
    package var reference: String
    package var channels: [String]
    package var values: [Float]

    package init(reference: String, channels: [String] = [], values: [Float] = []) {
        precondition(
            channels.isEmpty ? values.isEmpty : values.count.isMultiple(of: channels.count),
            "\(values.count) values of \(channels.count) channels")
        self.reference = reference
        self.channels = channels
        self.values = values
    }
    package var steps: Int { channels.isEmpty ? 0 : values.count / channels.count }
}
