internal import Foundation
package import Primitives

/// ln x as the platform's mathematics library computes it.
func naturalLogarithm(_ x: Float) -> Float { Float(log(Double(x))) }

/// In how many samples each bucket occurs. Adding blocks is associative and commutative, so partial counts of any blocks merge.
package struct DocumentFrequency: Hashable, Sendable {
    package let bucketBits: Int
    package private(set) var samples = 0
    /// 2^bucketBits. A bucket that a sample reaches by a word and by a character n-gram counts twice.
    package private(set) var counts: [UInt32]

    package init(bucketBits: Int) {
        self.bucketBits = bucketBits
        counts = [UInt32](repeating: 0, count: 1 << bucketBits)
    }

    package init(of block: SparseFeatureBlock) {
        self.init(bucketBits: block.bucketBits)
        add(block)
    }

    package mutating func add(_ block: SparseFeatureBlock) {
        precondition(block.bucketBits == bucketBits, "2^\(block.bucketBits) buckets meet 2^\(bucketBits)")
        samples += block.rows
        for bucket in block.buckets { counts[Int(bucket)] += 1 }
    }

    package mutating func merge(_ other: DocumentFrequency) {
        precondition(other.bucketBits == bucketBits, "2^\(other.bucketBits) buckets meet 2^\(bucketBits)")
        samples += other.samples
        for i in counts.indices { counts[i] += other.counts[i] }
    }

    private static let magic: UInt32 = 0x3146_4441  // "ADF1"

    /// Only the buckets that occur.
    package func encode() -> [UInt8] {
        var writer = ByteWriter()
        let present = counts.indices.filter { counts[$0] > 0 }
        writer.write(Self.magic)
        writer.write(UInt32(bucketBits))
        writer.write(UInt64(samples))
        writer.write(UInt32(present.count))
        writer.write(array: present.map { UInt32($0) })
        writer.write(array: present.map { counts[$0] })
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "document frequency") { (reader) throws(AMAFError) in
            let (magic, bits): (UInt32, UInt32) = (try reader.read(), try reader.read())
            guard magic == Self.magic, (8...24).contains(bits) else { throw .damaged("document frequency") }
            var result = DocumentFrequency(bucketBits: Int(bits))
            result.samples = Int(truncatingIfNeeded: try reader.read(UInt64.self))
            let count = Int(try reader.read(UInt32.self))
            let buckets: [UInt32] = try reader.readArray(count: count)
            let counts: [UInt32] = try reader.readArray(count: count)
            for (bucket, n) in zip(buckets, counts) {
                guard Int(bucket) < result.counts.count else { throw .damaged("document frequency") }
                result.counts[Int(bucket)] = n
            }
            return result
        }
    }
}

/// idf = ln((1 + n) / (1 + df)) + 1 for each bucket: the smoothed form, in which no seen bucket weighs nothing.
package struct InverseDocumentFrequency: Hashable, Sendable {
    /// 2^bucketBits.
    package let weights: [Float]

    package init(_ frequency: DocumentFrequency) {
        let n = Double(frequency.samples)
        weights = frequency.counts.map { Float(log((1 + n) / (1 + Double($0))) + 1) }
    }

    private static let magic: UInt32 = 0x3146_4449  // "IDF1"

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: weights.count * 4 + 8)
        writer.write(Self.magic)
        writer.write(UInt32(weights.count))
        writer.write(array: weights)
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        weights = try ByteReader.reading(bytes, of: "inverse document frequency") { (reader) throws(AMAFError) in
            guard try reader.read(UInt32.self) == Self.magic else { throw .damaged("inverse document frequency") }
            return try reader.readArray(count: Int(try reader.read(UInt32.self)))
        }
    }
}

extension AMAFError {
    static func damaged(_ what: String) -> AMAFError {
        AMAFError(
            "artifact.damaged", "These bytes are no \(what) of this version",
            remedy: "The file is damaged or was written by another version; delete it and run again.")
    }
}
