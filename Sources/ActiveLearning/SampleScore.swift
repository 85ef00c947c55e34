package import Primitives

/// What one round's classifier says of one sample: 16 bytes, enough for every acquisition that does not look at features.
package struct SampleScore: Hashable, Sendable {
    package var top: UInt16
    package var second: UInt16
    /// p of `top` and of `second`.
    package var topProbability: Float
    package var secondProbability: Float
    /// −Σ p ln p over all classes, in nats.
    package var entropy: Float

    package init(top: Int, second: Int, topProbability: Float, secondProbability: Float, entropy: Float) {
        self.top = UInt16(top)
        self.second = UInt16(second)
        self.topProbability = topProbability
        self.secondProbability = secondProbability
        self.entropy = entropy
    }

    /// p₁ − p₂, in 0...1.
    package var margin: Float { topProbability - secondProbability }
}

/// The scores of consecutive samples: the output of `score-uncertainty` for one block.
package struct ScoreBlock: Hashable, Sendable {
    package var firstPosition: Int
    package var classes: Int
    package var scores: [SampleScore]

    package init(firstPosition: Int, classes: Int, scores: [SampleScore]) {
        self.firstPosition = firstPosition
        self.classes = classes
        self.scores = scores
    }

    package var positions: Range<Int> { firstPosition..<firstPosition + scores.count }

    private static let magic: UInt32 = 0x3142_5341  // "ASB1"

    /// Little-endian: magic, classes, first position, count; then top, second (UInt16), p₁, p₂, entropy (Float32) of each sample.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 20 + 16 * scores.count)
        writer.write(Self.magic)
        writer.write(UInt32(classes))
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(scores.count))
        for score in scores {
            writer.write(score.top)
            writer.write(score.second)
            writer.write(score.topProbability)
            writer.write(score.secondProbability)
            writer.write(score.entropy)
        }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "score block") { (reader) throws(AMAFError) in
            let damaged = AMAFError(
                "artifact.damaged", "These bytes are no score block of this version",
                remedy: "The file is damaged or was written by another version; delete it and run again.")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            let classes = Int(try reader.read(UInt32.self))
            let first = try reader.read(UInt64.self)
            let count = Int(try reader.read(UInt32.self))
            guard first <= UInt64(Int.max / 2), reader.remaining == 16 * count else { throw damaged }
            var block = ScoreBlock(firstPosition: Int(first), classes: classes, scores: [])
            block.scores.reserveCapacity(count)
            for _ in 0..<count {
                let (top, second): (UInt16, UInt16) = (try reader.read(), try reader.read())
                guard Int(top) < classes, Int(second) < classes else { throw damaged }
                block.scores.append(
                    SampleScore(
                        top: Int(top), second: Int(second), topProbability: try reader.readFloat(),
                        secondProbability: try reader.readFloat(), entropy: try reader.readFloat()))
            }
            return block
        }
    }
}
