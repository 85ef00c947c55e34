internal import CKernels

/// Counts hashed n-grams of words and of characters, one text after another.
///
/// A text is lower-cased (by Unicode's rules when it leaves ASCII) and cut into words of letters and digits with inner
/// apostrophes; word n-grams join neighbours with a space, character n-grams stay inside one word with a space on each side
/// and count Unicode scalars, so no scalar is ever cut. Texts in different normal forms hash differently.
///
/// The hash is FNV-1a over 64 bits from a basis of (seed, family), folded and spread by Fibonacci hashing; its top bits are the bucket.
/// Both families share the buckets.
package struct NGramHasher: Sendable {
    package let bucketBits: Int
    private let spec: Specification
    private var table: [UInt8]
    private var normalised: [UInt8] = []
    private var buckets: [UInt32] = []
    private var counts: [UInt8] = []

    /// The C struct is not Sendable by itself.
    private struct Specification: Sendable {
        var wordBasis: UInt64
        var characterBasis: UInt64
        var bucketBits: Int32
        var wordMaximum: Int32
        var characterMinimum: Int32
        var characterMaximum: Int32
        var raw: amaf_ngram_spec {
            amaf_ngram_spec(
                word_basis: wordBasis, char_basis: characterBasis, bucket_bits: bucketBits, word_max: wordMaximum,
                char_min: characterMinimum, char_max: characterMaximum)
        }
    }

    /// - Parameters:
    ///   - bucketBits: 2^bits buckets, 8...24.
    ///   - words: the longest word n-gram; 0 for none.
    ///   - characters: lengths of character n-grams; nil for none.
    package init(bucketBits: Int, words: Int, characters: ClosedRange<Int>?, seed: UInt64) {
        precondition((8...24).contains(bucketBits), "2^\(bucketBits) buckets")
        precondition(words >= 0 && words <= 8, "word n-grams up to \(words)")
        precondition(
            (characters?.lowerBound ?? 1) >= 1 && (characters?.upperBound ?? 1) <= 16, "character n-grams of \(characters ?? 0...0)")
        self.bucketBits = bucketBits
        spec = Specification(
            wordBasis: Self.basis(seed: seed, family: UInt8(ascii: "w")), characterBasis: Self.basis(seed: seed, family: UInt8(ascii: "c")),
            bucketBits: Int32(bucketBits), wordMaximum: Int32(words), characterMinimum: Int32(characters?.lowerBound ?? 0),
            characterMaximum: Int32(characters?.upperBound ?? 0))
        table = [UInt8](repeating: 0, count: 1 << bucketBits)
    }

    /// FNV-1a's offset basis after the eight bytes of the seed (low byte first) and the family's letter.
    package static func basis(seed: UInt64, family: UInt8) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for i in 0..<8 { hash = (hash ^ (seed >> (8 * UInt64(i)) & 0xFF)) &* 0x100_0000_01B3 }
        return (hash ^ UInt64(family)) &* 0x100_0000_01B3
    }

    /// Appends the text's buckets (words' before characters', each family in order of first occurrence) and how often each
    /// occurs, at most 255 times.
    /// - Returns: how many of the appended entries belong to words.
    package mutating func append(_ text: String, buckets allBuckets: inout [UInt32], counts allCounts: inout [UInt8]) -> Int {
        var text = text
        if !text.withUTF8({ $0.allSatisfy { $0 < 0x80 } }) { text = text.lowercased() }
        var raw = spec.raw
        return text.withUTF8 { bytes in
            let capacity = amaf_ngram_capacity(&raw, bytes.count)
            if normalised.count < bytes.count + 2 { normalised = [UInt8](repeating: 0, count: 2 * (bytes.count + 2)) }
            if buckets.count < capacity {
                buckets = [UInt32](repeating: 0, count: 2 * capacity)
                counts = [UInt8](repeating: 0, count: 2 * capacity)
            }
            var words = 0
            let n = amaf_hash_ngrams(&raw, bytes.baseAddress, bytes.count, &normalised, &table, &buckets, &counts, &words)
            allBuckets.append(contentsOf: buckets[..<n])
            allCounts.append(contentsOf: counts[..<n])
            return words
        }
    }
}
