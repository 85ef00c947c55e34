package import Primitives

/// Reads the pictures and recordings that samples refer to, from the data set's folder.
///
/// Owner: one thread; it keeps the file read last, since neighbours usually share one.
package struct SampleAttachments {
    private let folder: String
    private var images: (path: String, pictures: [GreyImage])?
    private var recordings: (path: String, series: [Int: SensorSeries])?

    package init(folder: String) { self.folder = folder }

    /// Fills in thumbnails and sensor values. A sample whose file is missing or damaged is quarantined with that reason.
    package mutating func load(into block: inout SampleBlock) {
        let masked = block.masked()
        for i in block.samples.indices where !masked[i] {
            do throws(AMAFError) {
                if let image = block.samples[i].image { block.samples[i].image?.thumbnail = try picture(image.reference) }
                if let sensor = block.samples[i].sensor { block.samples[i].sensor = try recording(sensor.reference) }
            } catch {
                let position = block.firstPosition + i
                block.quarantined.append(QuarantinedRow(position: position, place: error.place, code: error.code, reason: error.message))
            }
        }
        block.quarantined.sort { $0.position < $1.position }
    }

    private mutating func picture(_ reference: String) throws(AMAFError) -> GreyImage {
        let (path, number) = try locate(reference)
        if images?.path != path {
            images = (
                path, try MappedFile(path).withBytes { (bytes) throws(AMAFError) in try PortableGrayMap.decodeAll(bytes, place: path) }
            )
        }
        guard let pictures = images?.pictures, pictures.indices.contains(number) else { throw missing(reference) }
        return pictures[number]
    }

    private mutating func recording(_ reference: String) throws(AMAFError) -> SensorSeries {
        let (path, number) = try locate(reference)
        if recordings?.path != path {
            recordings = (path, try MappedFile(path).withBytes { (bytes) throws(AMAFError) in try SensorTable.decode(bytes, place: path) })
        }
        guard var series = recordings?.series[number] else { throw missing(reference) }
        series.reference = reference
        return series
    }

    /// `images/a.pgm#3` → the file below the folder and 3; without `#`, the first.
    private func locate(_ reference: String) throws(AMAFError) -> (path: String, number: Int) {
        let parts = reference.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        let number = parts.count == 2 ? Int(parts[1]) : 0
        let file = parts[0]
        // A reference comes from the data: it must not lead out of their folder.
        guard let number, number >= 0, !file.isEmpty, !file.hasPrefix("/"), !file.split(separator: "/").contains("..") else {
            throw AMAFError(
                "dataset.bad-reference", "'\(reference)' does not name a file of the data set", place: reference,
                remedy: "Give a path below the data set's folder, without '..'.")
        }
        return ("\(folder)/\(file)", number)
    }

    private func missing(_ reference: String) -> AMAFError {
        AMAFError("dataset.bad-reference", "There is no '\(reference)'", place: reference, remedy: "Check the number behind '#'.")
    }
}

/// PGM, the binary kind (`P5`), up to 255 grey levels; one file may hold several pictures.
package enum PortableGrayMap {
    private static let sideLimit = 16_384

    package static func encode(_ image: GreyImage) -> [UInt8] { Array("P5\n\(image.width) \(image.height)\n255\n".utf8) + image.pixels }

    /// - Throws: `dataset.bad-image` with the file and the byte.
    package static func decodeAll(_ bytes: UnsafeRawBufferPointer, place: String) throws(AMAFError) -> [GreyImage] {
        var images: [GreyImage] = []
        var at = 0
        func bad(_ what: String) -> AMAFError {
            AMAFError(
                "dataset.bad-image", "\(what) at byte \(at)", place: place, remedy: "Write binary PGM (P5) with at most 255 grey levels.")
        }
        /// Passes white space and comments, then reads a number.
        func number() throws(AMAFError) -> Int {
            while at < bytes.count {
                if bytes[at] == UInt8(ascii: "#") {
                    while at < bytes.count, bytes[at] != 0x0A { at += 1 }
                } else if bytes[at] == 0x20 || (bytes[at] >= 0x09 && bytes[at] <= 0x0D) {
                    at += 1
                } else {
                    break
                }
            }
            var value = 0
            let start = at
            while at < bytes.count, bytes[at] >= 48, bytes[at] <= 57, at - start < 6 {
                value = value * 10 + Int(bytes[at] - 48)
                at += 1
            }
            guard at > start else { throw bad("A number is missing") }
            return value
        }
        while at < bytes.count {
            guard at + 2 < bytes.count, bytes[at] == UInt8(ascii: "P"), bytes[at + 1] == UInt8(ascii: "5") else {
                throw bad("No PGM picture begins")
            }
            at += 2
            let width = try number()
            let height = try number()
            let levels = try number()
            at += 1
            guard (1...sideLimit).contains(width), (1...sideLimit).contains(height), (1...255).contains(levels) else {
                throw bad("A picture of \(width) x \(height) with \(levels) levels ends its header")
            }
            guard bytes.count - at >= width * height else { throw bad("The pixels are cut off") }
            images.append(GreyImage(width: width, height: height, pixels: [UInt8](bytes[at..<at + width * height])))
            at += width * height
        }
        return images
    }
}

/// Sensor CSV: the first column numbers the recording, the second the step, the others are channels.
package enum SensorTable {
    /// Recordings by number.
    package static func decode(_ bytes: UnsafeRawBufferPointer, place: String) throws(AMAFError) -> [Int: SensorSeries] {
        var scanner = CSVScanner(bytes, line: 1, delimiter: UInt8(ascii: ","))
        func bad(_ what: String, _ line: Int) -> AMAFError {
            AMAFError(
                "dataset.bad-sensor-row", what, place: "\(place):\(line)", remedy: "Columns are recording, step, then one number a channel."
            )
        }
        guard let first = scanner.next(), first.fault == nil, let header = scanner.texts(), header.count >= 3 else {
            throw bad("The header does not name a recording, a step and a channel", 1)
        }
        let channels = Array(header[2...])
        var series: [Int: SensorSeries] = [:]
        while let (_, line, fault) = scanner.next() {
            guard fault == nil, let texts = scanner.texts(), texts.count == header.count, let number = Int(texts[0]), number >= 0 else {
                throw bad("The row does not fit the header", line)
            }
            var values: [Float] = []
            for text in texts[2...] {
                guard let value = Float(text), value.isFinite else { throw bad("'\(text)' is not a number", line) }
                values.append(value)
            }
            series[number, default: SensorSeries(reference: "", channels: channels)].values += values
        }
        return series
    }
}
