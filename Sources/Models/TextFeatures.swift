package import Kernels
package import Primitives

/// How texts become sparse features. Part of the identity of every artifact made with it.
package struct TextFeaturesConfiguration: Hashable, Sendable, Codable {
    /// 2^bits buckets. 16 are as accurate as 18 on CLINC150.
    package var bucketBits: Int
    /// Word n-grams of 1...this many words; 0 for none.
    package var wordMaximum: Int
    /// Character n-grams inside a word padded with one space on each side; a maximum of 0 for none.
    package var characterMinimum: Int
    package var characterMaximum: Int
    package var seed: UInt64

    package init(
        bucketBits: Int = 16, wordMaximum: Int = 2, characterMinimum: Int = 2, characterMaximum: Int = 5, seed: UInt64 = 0x414D_4146
    ) {
        self.bucketBits = bucketBits
        self.wordMaximum = wordMaximum
        self.characterMinimum = characterMinimum
        self.characterMaximum = characterMaximum
        self.seed = seed
    }

    package var buckets: Int { 1 << bucketBits }

    /// Throws `features.configuration` when a value makes no sense.
    package func validate() throws(AMAFError) {
        func refuse(_ what: String) throws(AMAFError) {
            throw AMAFError("features.configuration", what, remedy: "Use the defaults: 16 bits, words 1-2, characters 2-5.")
        }
        if !(8...24).contains(bucketBits) { try refuse("\(bucketBits) bucket bits are outside 8...24") }
        if !(0...8).contains(wordMaximum) { try refuse("Word n-grams up to \(wordMaximum) are outside 0...8") }
        if characterMaximum != 0, characterMinimum < 1 || characterMaximum < characterMinimum || characterMaximum > 16 {
            try refuse("Character n-grams of \(characterMinimum)...\(characterMaximum) are outside 1...16")
        }
        if wordMaximum == 0 && characterMaximum == 0 { try refuse("No n-grams of any kind are asked for") }
    }

    var hasher: NGramHasher {
        NGramHasher(
            bucketBits: bucketBits, words: wordMaximum, characters: characterMaximum == 0 ? nil : characterMinimum...characterMaximum,
            seed: seed)
    }
}

/// Turns texts into blocks of hashed n-gram counts: the work of the stage `extract-features`. Keeps scratch memory between blocks.
package struct TextFeaturizer: Sendable {
    package let configuration: TextFeaturesConfiguration
    private var hasher: NGramHasher

    package init(_ configuration: TextFeaturesConfiguration = TextFeaturesConfiguration()) throws(AMAFError) {
        try configuration.validate()
        self.configuration = configuration
        hasher = configuration.hasher
    }

    /// One row for each text, in order; a text without words gets an empty row.
    /// - Parameter firstPosition: the position of the first text in the data set.
    package mutating func block(_ texts: some Collection<String>, firstPosition: Int) -> SparseFeatureBlock {
        var block = SparseFeatureBlock(bucketBits: configuration.bucketBits, firstPosition: firstPosition)
        block.buckets.reserveCapacity(texts.count * 128)
        block.counts.reserveCapacity(texts.count * 128)
        for text in texts {
            let words = hasher.append(text, buckets: &block.buckets, counts: &block.counts)
            block.wordEntries.append(Int32(words))
            block.rowStarts.append(Int32(block.buckets.count))
        }
        return block
    }

    /// A scaled matrix in one step, for a few texts such as class names.
    package mutating func matrix(_ texts: some Collection<String>, idf: InverseDocumentFrequency) -> SparseMatrix {
        block(texts, firstPosition: 0).scaled(by: idf)
    }
}

/// Hashed n-gram counts of consecutive samples; unscaled, because the scaling needs all blocks.
package struct SparseFeatureBlock: Hashable, Sendable {
    package let bucketBits: Int
    package let firstPosition: Int
    /// rows + 1.
    package internal(set) var rowStarts: [Int32] = [0]
    /// How many of a row's entries, its first ones, are word n-grams; the others are character n-grams.
    package internal(set) var wordEntries: [Int32] = []
    package internal(set) var buckets: [UInt32] = []
    /// 1...255.
    package internal(set) var counts: [UInt8] = []

    init(bucketBits: Int, firstPosition: Int) {
        self.bucketBits = bucketBits
        self.firstPosition = firstPosition
    }

    package var rows: Int { wordEntries.count }
    package var positions: Range<Int> { firstPosition..<firstPosition + rows }

    /// Appends the rows, scaled, to a matrix of 2^bucketBits columns: (1 + ln count) · idf, each family to length 1, then both
    /// together to length 1 (so that words and characters weigh the same whatever the text's length).
    /// - Parameter rows: indices inside this block.
    package func appendScaled(_ rows: some Sequence<Int>, by idf: InverseDocumentFrequency, to matrix: inout SparseMatrix) {
        precondition(
            matrix.columns == 1 << bucketBits && idf.weights.count == matrix.columns, "\(matrix.columns) columns, 2^\(bucketBits) buckets")
        for row in rows {
            let (begin, end) = (Int(rowStarts[row]), Int(rowStarts[row + 1]))
            let middle = begin + Int(wordEntries[row])
            let families = (middle > begin ? 1 : 0) + (end > middle ? 1 : 0)
            for family in [begin..<middle, middle..<end] where !family.isEmpty {
                var squares: Float = 0
                for entry in family {
                    let value = Self.termFrequency[Int(counts[entry])] * idf.weights[Int(buckets[entry])]
                    squares += value * value
                }
                let scale = squares > 0 ? 1 / (squares * Float(families)).squareRoot() : 0
                for entry in family {
                    let value = Self.termFrequency[Int(counts[entry])] * idf.weights[Int(buckets[entry])]
                    matrix.appendEntry(column: Int32(buckets[entry]), value: value * scale)
                }
            }
            matrix.endRow()
        }
    }

    /// All rows, scaled.
    package func scaled(by idf: InverseDocumentFrequency) -> SparseMatrix {
        var matrix = SparseMatrix(columns: 1 << bucketBits)
        matrix.reserve(rows: rows, entries: buckets.count)
        appendScaled(0..<rows, by: idf, to: &matrix)
        return matrix
    }

    /// 1 + ln count, at index count.
    private static let termFrequency: [Float] = (0..<256).map { $0 == 0 ? 0 : 1 + naturalLogarithm(Float($0)) }
}
