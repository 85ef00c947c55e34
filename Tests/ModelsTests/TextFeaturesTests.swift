import Kernels
import Models
import Primitives
import Testing

@Suite struct TextFeaturesTests {
    static let texts = [
        "What is my account balance?", "transfer 20 dollars to savings", "", "book a flight to Paris, please", "what is the balance",
        "Überweisung nach München", "freeze my account", "is my card frozen", "how's the weather", "flight status of BA 117",
    ]

    static func blocks(size: Int, _ configuration: TextFeaturesConfiguration = TextFeaturesConfiguration()) throws -> [SparseFeatureBlock] {
        var featurizer = try TextFeaturizer(configuration)
        let plan = BlockPlan(samples: texts.count, blockSize: size)
        return (0..<plan.blockCount).map {
            featurizer.block(texts[plan.range(ofBlock: $0)], firstPosition: plan.range(ofBlock: $0).lowerBound)
        }
    }

    static func frequency(_ blocks: [SparseFeatureBlock]) -> DocumentFrequency {
        blocks.reduce(into: DocumentFrequency(bucketBits: blocks[0].bucketBits)) { $0.add($1) }
    }

    @Test func rowsDoNotDependOnTheBlock() throws {
        let (small, large) = (try Self.blocks(size: 3), try Self.blocks(size: 100))
        let idf = InverseDocumentFrequency(Self.frequency(small))
        #expect(idf == InverseDocumentFrequency(Self.frequency(large)))
        var joined = SparseMatrix(columns: 1 << 16)
        for block in small { block.appendScaled(0..<block.rows, by: idf, to: &joined) }
        #expect(joined == large[0].scaled(by: idf))
        #expect(small.map(\.positions) == [0..<3, 3..<6, 6..<9, 9..<10])
    }

    @Test func rowsHaveLengthOneAndFamiliesShareIt() throws {
        let block = try Self.blocks(size: 100)[0]
        let x = block.scaled(by: InverseDocumentFrequency(DocumentFrequency(of: block)))
        for row in 0..<x.rows {
            let entries = x.entries(ofRow: row)
            let squares = entries.map { x.values[$0] * x.values[$0] }
            if Self.texts[row].isEmpty {
                #expect(entries.isEmpty)
            } else {
                #expect(abs(squares.reduce(0, +) - 1) < 1e-5)
                #expect(abs(squares.prefix(Int(block.wordEntries[row])).reduce(0, +) - 0.5) < 1e-5)
            }
        }
    }

    @Test func valuesFollowTheFormula() throws {
        // Words alone: "b" twice and "a" once in the first text.
        var featurizer = try TextFeaturizer(TextFeaturesConfiguration(wordMaximum: 1, characterMaximum: 0))
        let block = featurizer.block(["b a b", "a"], firstPosition: 0)
        let x = block.scaled(by: InverseDocumentFrequency(DocumentFrequency(of: block)))
        let (b, a) = (1.6931472 * 1.4054651, 1.0)  // (1 + ln 2)(ln(3/2) + 1), (1 + ln 1)(ln(3/3) + 1)
        let length = (b * b + a * a).squareRoot()
        #expect(abs(Double(x.values[0]) - b / length) < 1e-6 && abs(Double(x.values[1]) - a / length) < 1e-6)
        #expect(x.values[2] == 1 && x.columnIndices[1] == x.columnIndices[2])
    }

    @Test func caseAndPunctuationDoNotMatter() throws {
        var featurizer = try TextFeaturizer()
        func row(_ text: String) -> SparseFeatureBlock { featurizer.block([text], firstPosition: 0) }
        #expect(row("Book A flight!") == row("  book a  FLIGHT"))
        #expect(row("ÜBER") == row("über"))
        #expect(row("it\u{2019}s") == row("it's"))
        #expect(row("a b") != row("ab"))
        #expect(try Self.blocks(size: 4, TextFeaturesConfiguration(seed: 1)) != Self.blocks(size: 4, TextFeaturesConfiguration(seed: 2)))
    }

    @Test func frequenciesAddUpInAnyOrder() throws {
        let blocks = try Self.blocks(size: 3)
        var (forward, backward) = (DocumentFrequency(bucketBits: 16), DocumentFrequency(bucketBits: 16))
        for block in blocks { forward.merge(DocumentFrequency(of: block)) }
        for block in blocks.reversed() { backward.merge(try DocumentFrequency(decoding: DocumentFrequency(of: block).encode())) }
        #expect(forward == backward && forward.samples == Self.texts.count)
        #expect(forward == Self.frequency(blocks))
        let idf = InverseDocumentFrequency(forward)
        #expect(try InverseDocumentFrequency(decoding: idf.encode()) == idf)
        #expect(abs(idf.weights[forward.counts.firstIndex(of: 0)!] - 3.3978953) < 1e-5)  // ln 11 + 1
    }

    @Test(arguments: [12, 16, 18]) func blocksSurviveTheWire(bits: Int) throws {
        for block in try Self.blocks(size: 4, TextFeaturesConfiguration(bucketBits: bits)) {
            let bytes = block.encode()
            #expect(try SparseFeatureBlock(decoding: bytes) == block)
            for length in stride(from: 0, to: bytes.count, by: 7) {
                #expect(throws: AMAFError.self) { try SparseFeatureBlock(decoding: Array(bytes[..<length])) }
            }
        }
    }

    @Test func damagedBlocksAreRefusedNotTrusted() throws {
        let bytes = try Self.blocks(size: 100, TextFeaturesConfiguration(bucketBits: 12))[0].encode()
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<500 {
            var damaged = bytes
            damaged[generator.index(below: 64)] ^= UInt8(1 + generator.index(below: 255))
            // Either an error, or a block whose every entry can be used.
            guard let block = try? SparseFeatureBlock(decoding: damaged), block.bucketBits == 12 else { continue }
            _ = block.scaled(by: InverseDocumentFrequency(DocumentFrequency(of: block)))
        }
    }

    @Test func configurationsAreChecked() {
        for bad in [
            TextFeaturesConfiguration(bucketBits: 30), TextFeaturesConfiguration(wordMaximum: 9),
            TextFeaturesConfiguration(characterMinimum: 6),
            TextFeaturesConfiguration(wordMaximum: 0, characterMaximum: 0),
        ] {
            #expect(throws: AMAFError.self) { try TextFeaturizer(bad) }
        }
    }
}
