package import Primitives

/// A row that cannot be used. It keeps its position, so that nothing after it moves.
package struct QuarantinedRow: Hashable, Sendable, Codable {
    /// Counted from the first sample of the data set.
    package var position: Int
    /// `file:line`, both as the user knows them.
    package var place: String
    /// `dataset.bad-row`, `dataset.column-count`, `dataset.empty-text`, `dataset.not-utf8`, `dataset.duplicate-id`, `dataset.unknown-label` …
    package var code: String
    package var reason: String

    package init(position: Int, place: String, code: String, reason: String) {
        self.position = position
        self.place = place
        self.code = code
        self.reason = reason
    }

    /// The same as an error, for printing.
    package var error: AMAFError { AMAFError(code, reason, place: place) }
}

/// The samples of one block, without their gold labels: the artifact that ingest makes.
package struct SampleBlock: Hashable, Sendable {
    /// Of the first sample, counted from the start of the data set.
    package var firstPosition: Int
    /// One for each position of the block. A quarantined row has an empty text and an id that names its position.
    package var samples: [Sample]
    /// Sorted by position.
    package var quarantined: [QuarantinedRow]

    package init(firstPosition: Int, samples: [Sample], quarantined: [QuarantinedRow] = []) {
        precondition(
            quarantined.allSatisfy { $0.position >= firstPosition && $0.position < firstPosition + samples.count },
            "quarantined rows outside of \(firstPosition)..<\(firstPosition + samples.count)")
        self.firstPosition = firstPosition
        self.samples = samples
        self.quarantined = quarantined
    }

    package var positions: Range<Int> { firstPosition..<firstPosition + samples.count }

    /// For each sample of the block, whether it is to be left out in place: quarantined, or masked by the scheduler.
    ///
    /// - Parameter alsoMasked: positions in the data set (`LeaseGrant.maskedSamples`).
    package func masked(alsoMasked: [Int] = []) -> [Bool] {
        var masked = [Bool](repeating: false, count: samples.count)
        for row in quarantined { masked[row.position - firstPosition] = true }
        for position in alsoMasked where positions.contains(position) { masked[position - firstPosition] = true }
        return masked
    }
}

/// The form of a sample block: magic `AMAFSMP` and a version byte, then little-endian counts, strings and values.
extension SampleBlock {
    private static let magic: [UInt8] = Array("AMAFSMP".utf8) + [1]

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 64 + samples.reduce(0) { $0 + $1.text.utf8.count + 48 })
        writer.append(raw: Self.magic)
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(samples.count))
        for sample in samples {
            writer.write(sample.id)
            writer.write(sample.text)
            writer.write(UInt8((sample.image == nil ? 0 : 1) | (sample.sensor == nil ? 0 : 2)))
            if let image = sample.image {
                writer.write(image.reference)
                writer.write(UInt16(image.thumbnail?.width ?? 0))
                writer.write(UInt16(image.thumbnail?.height ?? 0))
                if let thumbnail = image.thumbnail { writer.append(raw: thumbnail.pixels) }
            }
            if let sensor = sample.sensor {
                writer.write(sensor.reference)
                writer.write(UInt16(sensor.channels.count))
                for channel in sensor.channels { writer.write(channel) }
                writer.write(UInt32(sensor.values.count))
                writer.write(array: sensor.values)
            }
            writer.write(UInt16(sample.metadata.count))
            for entry in sample.metadata {
                writer.write(entry.key)
                writer.write(entry.value)
                writer.write(UInt8(entry.isJSON ? 1 : 0))
            }
        }
        writer.write(UInt32(quarantined.count))
        for row in quarantined {
            writer.write(UInt64(row.position))
            writer.write(row.place)
            writer.write(row.code)
            writer.write(row.reason)
        }
        return writer.bytes
    }

    package init(decoding bytes: some ContiguousBytesLike) throws(AMAFError) {
        self = try decoded(bytes) { buffer throws(AMAFError) in
            var reader = ByteReader(buffer, of: "sample block")
            try reader.expect(magic: Self.magic, of: "sample block")
            return try Self(reading: &reader)
        }
    }

    private init(reading reader: inout ByteReader) throws(AMAFError) {
        firstPosition = Int(truncatingIfNeeded: try reader.read(UInt64.self))
        let count = try reader.count(ofItemsOf: 11, UInt32.self)
        samples = []
        samples.reserveCapacity(count)
        for _ in 0..<count {
            var sample = Sample(id: try reader.readString(), text: try reader.readString())
            let parts = try reader.read(UInt8.self)
            if parts & 1 != 0 { sample.image = try Self.image(&reader) }
            if parts & 2 != 0 { sample.sensor = try Self.sensor(&reader) }
            for _ in 0..<(try reader.read(UInt16.self)) {
                sample.metadata.append(
                    MetadataEntry(try reader.readString(), try reader.readString(), isJSON: try reader.read(UInt8.self) != 0))
            }
            samples.append(sample)
        }
        quarantined = []
        for _ in 0..<(try reader.count(ofItemsOf: 20, UInt32.self)) {
            let position = Int(truncatingIfNeeded: try reader.read(UInt64.self))
            guard position >= firstPosition, position < firstPosition + count else { throw .damaged("sample block") }
            quarantined.append(
                QuarantinedRow(
                    position: position, place: try reader.readString(), code: try reader.readString(), reason: try reader.readString()))
        }
    }

    private static func image(_ reader: inout ByteReader) throws(AMAFError) -> SampleImage {
        let reference = try reader.readString()
        let width = Int(try reader.read(UInt16.self))
        let height = Int(try reader.read(UInt16.self))
        guard width > 0, height > 0 else { return SampleImage(reference: reference) }
        return SampleImage(
            reference: reference,
            thumbnail: GreyImage(width: width, height: height, pixels: try reader.readArray(UInt8.self, count: width * height)))
    }

    private static func sensor(_ reader: inout ByteReader) throws(AMAFError) -> SensorSeries {
        let reference = try reader.readString()
        var channels: [String] = []
        for _ in 0..<(try reader.read(UInt16.self)) { channels.append(try reader.readString()) }
        let count = Int(try reader.read(UInt32.self))
        let values = try reader.readArray(Float.self, count: count)
        guard channels.isEmpty ? values.isEmpty : values.count.isMultiple(of: channels.count) else { throw .damaged("sample block") }
        return SensorSeries(reference: reference, channels: channels, values: values)
    }
}

/// The gold labels of one block, shipped apart from its texts so that only stages which must not be blind get them.
package struct GoldBlock: Hashable, Sendable {
    /// No gold label is known for this sample.
    package static let unknown: Int32 = -1

    package var firstPosition: Int
    /// A class index for each position of the block, or `unknown`.
    package var labels: [Int32]

    package init(firstPosition: Int, labels: [Int32]) {
        self.firstPosition = firstPosition
        self.labels = labels
    }

    private static let magic: [UInt8] = Array("AMAFGLD".utf8) + [1]

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 24 + 4 * labels.count)
        writer.append(raw: Self.magic)
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(labels.count))
        writer.write(array: labels)
        return writer.bytes
    }

    package init(decoding bytes: some ContiguousBytesLike) throws(AMAFError) {
        self = try decoded(bytes) { buffer throws(AMAFError) in
            var reader = ByteReader(buffer, of: "gold block")
            try reader.expect(magic: Self.magic, of: "gold block")
            let first = Int(truncatingIfNeeded: try reader.read(UInt64.self))
            return GoldBlock(firstPosition: first, labels: try reader.readArray(Int32.self, count: Int(try reader.read(UInt32.self))))
        }
    }
}

/// Runs a decoder over bytes and keeps its typed error, which `withContiguousBytes` would erase.
private func decoded<T>(_ bytes: some ContiguousBytesLike, _ body: (UnsafeRawBufferPointer) throws(AMAFError) -> T) throws(AMAFError) -> T {
    let result: Result<T, AMAFError> = bytes.withContiguousBytes { buffer in
        do throws(AMAFError) { return .success(try body(buffer)) } catch { return .failure(error) }
    }
    return try result.get()
}

extension AMAFError {
    static func damaged(_ what: String) -> AMAFError {
        AMAFError(
            "artifact.damaged", "A \(what) contradicts itself", remedy: "The file is damaged; delete it and run again.")
    }
}

extension ByteReader {
    fileprivate mutating func expect(magic: [UInt8], of what: String) throws(AMAFError) {
        guard remaining >= magic.count, try readRaw(magic.count).elementsEqual(magic) else {
            throw AMAFError(
                "artifact.wrong-kind", "These bytes are not a \(what) of version \(magic[7])",
                remedy: "The file is damaged or was written by another version; delete it and run again.")
        }
    }

    /// A count that the remaining bytes can hold, so that a damaged length cannot make us reserve gigabytes.
    fileprivate mutating func count<N: FixedWidthInteger>(ofItemsOf leastBytes: Int, _ type: N.Type) throws(AMAFError) -> Int {
        let count = Int(try read(type))
        guard count <= remaining / leastBytes else { throw .damaged("sample block") }
        return count
    }
}
