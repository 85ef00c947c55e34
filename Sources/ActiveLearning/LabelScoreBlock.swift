package import Primitives

/// What one round's classifiers say of consecutive samples with several labels each: P(present), (rows, labels).
package struct LabelScoreBlock: Hashable, Sendable {
    package var firstPosition: Int
    package var labels: Int
    /// Row by row; negative where nothing was learned of a label yet.
    private var probabilities: [Float]

    /// - Parameter probabilities: (rows, labels); nil where there is no opinion.
    package init(firstPosition: Int, labels: Int, probabilities: [Float?]) {
        precondition(labels > 0 && probabilities.count.isMultiple(of: labels), "\(probabilities.count) values in rows of \(labels)")
        self.firstPosition = firstPosition
        self.labels = labels
        self.probabilities = probabilities.map { $0 ?? Self.silence }
    }

    private static let silence: Float = -1

    package var rows: Int { probabilities.count / labels }
    package var positions: Range<Int> { firstPosition..<firstPosition + rows }

    /// P(present); nil without an opinion.
    package subscript(row row: Int, label: Int) -> Float? {
        let value = probabilities[row * labels + label]
        return value < 0 ? nil : value
    }

    /// One score an image, for policies that choose images: a person who opens one answers all of its labels.
    ///
    /// Margin and `top` are of the image's hardest question, the label with p nearest ½; with the mean margin over labels, images with many
    /// findings are asked about, and what is learned of the frequent labels suffers. The entropy is the mean over labels, for those who
    /// want that. A label without an opinion says nothing about which image to take.
    ///
    /// - Parameter entropy: −p ln p − (1 − p) ln (1 − p).
    /// - Returns: a block whose `top` and `second` are the two hardest labels, so that dealing over "predicted classes" deals over labels.
    package func combined(entropy: (Float) -> Float) -> ScoreBlock {
        let scores = (0..<rows).map { row -> SampleScore in
            var entropies: Float = 0
            var spoken = 0
            var (top, second) = (0, min(1, labels - 1))
            var (best, next): (Float, Float) = (2, 2)
            for label in 0..<labels {
                guard let p = self[row: row, label] else { continue }
                let margin = abs(2 * p - 1)
                spoken += 1
                entropies += entropy(p)
                if margin < best {
                    (second, next, top, best) = (top, best, label, margin)
                } else if margin < next {
                    (second, next) = (label, margin)
                }
            }
            let margin = min(best, 1)
            return SampleScore(
                top: top, second: second, topProbability: (1 + margin) / 2, secondProbability: (1 - margin) / 2,
                entropy: spoken > 0 ? entropies / Float(spoken) : 0)
        }
        return ScoreBlock(firstPosition: firstPosition, classes: labels, scores: scores)
    }

    private static let magic: UInt32 = 0x3153_4C53  // "SLS1"

    /// Little-endian: magic, labels, first position, rows; then the probabilities.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 20 + 4 * probabilities.count)
        writer.write(Self.magic)
        writer.write(UInt32(labels))
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(rows))
        writer.write(array: probabilities)
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "block of label scores") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let labels = Int(try reader.read(UInt32.self))
            let first = try reader.read(UInt64.self)
            let rows = Int(try reader.read(UInt32.self))
            guard magic == Self.magic, labels > 0, first <= UInt64(Int.max / 2), reader.remaining == rows * labels * 4 else {
                throw AMAFError(
                    "artifact.damaged", "These bytes are no block of label scores of this version",
                    remedy: "The file is damaged or was written by another version; delete it and run again.")
            }
            let values: [Float] = try reader.readArray(count: rows * labels)
            return LabelScoreBlock(firstPosition: Int(first), labels: labels, probabilities: values.map { $0 < 0 ? nil : min($0, 1) })
        }
    }
}
