package import Primitives

/// What becomes of one sample.
package struct FinalLabel: Hashable, Sendable {
    package struct Flags: OptionSet, Hashable, Sendable, Codable {
        package var rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The machine opinions confidently say something else than the person did.
        package static let contradictsHuman = Flags(rawValue: 1)
        /// The combination overruled the person's answer (only under `HumanPolicy.combine`).
        package static let overrulesHuman = Flags(rawValue: 2)
    }

    /// Position of the sample in its data set.
    package var position: Int
    /// Class index; nil when no source had an opinion.
    package var label: Int?
    /// Estimated probability that `label` is right, in [0, 1]; 0 without a label.
    package var confidence: Float
    /// Probability of `label` minus that of the best other class; below 0 where a standing human answer is outvoted.
    package var margin: Float
    package var sources: SourceSet
    package var flags: Flags

    package init(position: Int, label: Int?, confidence: Float, margin: Float, sources: SourceSet, flags: Flags = []) {
        self.position = position
        self.label = label
        self.confidence = confidence
        self.margin = margin
        self.sources = sources
        self.flags = flags
    }
}

/// The final labels of one block as an artifact: a header and six columns, little-endian.
///
/// `"AMFL"`, version u16, count u32; positions u32 ascending, labels i32 (−1: none), confidences f32, margins f32,
/// sources u8, flags u8.
package enum FinalLabelCodec {
    private static let magic: UInt32 = 0x4C46_4D41
    private static let version: UInt16 = 1

    /// - Precondition: positions ascend strictly and fit in 32 bits.
    package static func encode(_ labels: [FinalLabel]) -> [UInt8] {
        var writer = ByteWriter(reserving: 10 + labels.count * 18)
        writer.write(magic)
        writer.write(version)
        writer.write(UInt32(labels.count))
        for (a, b) in zip(labels, labels.dropFirst()) { precondition(a.position < b.position, "positions \(a.position), \(b.position)") }
        writer.write(array: labels.map { UInt32($0.position) })
        writer.write(array: labels.map { Int32($0.label ?? -1) })
        writer.write(array: labels.map(\.confidence))
        writer.write(array: labels.map(\.margin))
        writer.write(array: labels.map(\.sources.rawValue))
        writer.write(array: labels.map(\.flags.rawValue))
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.malformed`.
    package static func decode(_ bytes: [UInt8]) throws(AMAFError) -> [FinalLabel] {
        try ByteReader.reading(bytes, of: "final label block") { (reader: inout ByteReader) throws(AMAFError) in
            func malformed(_ what: String) -> AMAFError {
                AMAFError(
                    "artifact.malformed", "A final label block \(what)",
                    remedy: "The file is damaged or was written by another version; delete it and run again.")
            }
            guard try reader.read(UInt32.self) == magic else { throw malformed("does not begin with its mark") }
            let found = try reader.read(UInt16.self)
            guard found == version else { throw malformed("has version \(found), not \(version)") }
            let count = Int(try reader.read(UInt32.self))
            // Said before reading, so that a damaged count cannot ask for memory that the bytes do not back.
            guard reader.remaining == count * 18 else { throw malformed("holds \(reader.remaining) bytes for \(count) labels") }
            let positions = try reader.readArray(UInt32.self, count: count)
            let labels = try reader.readArray(Int32.self, count: count)
            let confidences = try reader.readArray(Float.self, count: count)
            let margins = try reader.readArray(Float.self, count: count)
            let sources = try reader.readArray(UInt8.self, count: count)
            let flags = try reader.readArray(UInt8.self, count: count)
            var decoded: [FinalLabel] = []
            decoded.reserveCapacity(count)
            for i in 0..<count {
                guard i == 0 || positions[i - 1] < positions[i] else { throw malformed("has positions out of order at row \(i)") }
                guard labels[i] >= -1 else { throw malformed("has class \(labels[i]) at row \(i)") }
                guard confidences[i] >= 0, confidences[i] <= 1, margins[i] >= -1, margins[i] <= 1 else {
                    throw malformed("has confidence \(confidences[i]) and margin \(margins[i]) at row \(i)")
                }
                decoded.append(
                    FinalLabel(
                        position: Int(positions[i]), label: labels[i] < 0 ? nil : Int(labels[i]), confidence: confidences[i],
                        margin: margins[i],
                        sources: SourceSet(rawValue: sources[i]), flags: FinalLabel.Flags(rawValue: flags[i])))
            }
            return decoded
        }
    }
}
