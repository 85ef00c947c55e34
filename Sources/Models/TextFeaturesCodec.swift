package import Primitives

extension SparseFeatureBlock {
    private static let magic: UInt32 = 0x3146_5441  // "ATF1"

    /// Little-endian: magic, bucket bits, first position, rows, entries; row lengths and word entries as UInt32; buckets as UInt16
    /// where 16 bits hold them, else UInt32; counts as bytes. About 90 KiB for 256 queries of eight words.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 32 + rows * 8 + buckets.count * (bucketBits <= 16 ? 3 : 5))
        writer.write(Self.magic)
        writer.write(UInt32(bucketBits))
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(rows))
        writer.write(UInt32(buckets.count))
        writer.write(array: (0..<rows).map { UInt32(rowStarts[$0 + 1] - rowStarts[$0]) })
        writer.write(array: wordEntries.map { UInt32($0) })
        if bucketBits <= 16 {
            writer.write(array: buckets.map { UInt16(truncatingIfNeeded: $0) })
        } else {
            writer.write(array: buckets)
        }
        writer.write(array: counts)
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`; whatever decodes can be used without a further check.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "feature block") { (reader) throws(AMAFError) in
            let damaged = AMAFError.damaged("feature block")
            let (magic, bits): (UInt32, UInt32) = (try reader.read(), try reader.read())
            guard magic == Self.magic, (8...24).contains(bits) else { throw damaged }
            let first = try reader.read(UInt64.self)
            guard first <= UInt64(Int.max / 2) else { throw damaged }
            var block = SparseFeatureBlock(bucketBits: Int(bits), firstPosition: Int(first))
            let (rows, entries) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            guard entries <= Int(Int32.max) else { throw damaged }
            let lengths: [UInt32] = try reader.readArray(count: rows)
            let words: [UInt32] = try reader.readArray(count: rows)
            block.buckets =
                bits <= 16 ? try reader.readArray(UInt16.self, count: entries).map { UInt32($0) } : try reader.readArray(count: entries)
            block.counts = try reader.readArray(count: entries)
            var total = 0
            block.rowStarts.reserveCapacity(rows + 1)
            for (length, word) in zip(lengths, words) {
                total += Int(length)
                guard word <= length, total <= entries else { throw damaged }
                block.rowStarts.append(Int32(total))
                block.wordEntries.append(Int32(word))
            }
            guard total == entries, block.buckets.allSatisfy({ $0 < 1 << bits }) else { throw damaged }
            return block
        }
    }
}
