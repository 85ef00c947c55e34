import Datasets
import Primitives
import Testing

@Suite struct SampleBlockTests {
    private let block = SampleBlock(
        firstPosition: 512,
        samples: [
            Sample(id: "a", text: "naïve 😀", metadata: [MetadataEntry("k", "v"), MetadataEntry("n", "[1]", isJSON: true)]),
            Sample(
                id: "b", text: "", image: SampleImage(reference: "i.pgm#0", thumbnail: GreyImage(width: 2, height: 1, pixels: [3, 255])),
                sensor: SensorSeries(reference: "s.csv#0", channels: ["x", "y"], values: [1, -2.5, 0, 4])),
            Sample(id: "quarantined-000514", text: ""),
        ],
        quarantined: [QuarantinedRow(position: 514, place: "f:3", code: "dataset.bad-row", reason: "why")])

    @Test func blocksSurviveTheirBytes() throws {
        #expect(try SampleBlock(decoding: block.encode()) == block)
        let gold = GoldBlock(firstPosition: 512, labels: [4, GoldBlock.unknown, 149])
        #expect(try GoldBlock(decoding: gold.encode()) == gold)
    }

    /// Neither a cut nor a flipped bit may trap or reserve gigabytes; it throws or gives another block.
    @Test func damagedBytesNeverTrap() throws {
        let bytes = block.encode()
        for count in 0..<bytes.count {
            #expect(failure { try SampleBlock(decoding: Array(bytes[..<count])) }?.code.hasPrefix("artifact.") == true)
        }
        for i in bytes.indices {
            for bit in 0..<8 {
                var damaged = bytes
                damaged[i] ^= 1 << bit
                _ = try? SampleBlock(decoding: damaged)
                _ = try? GoldBlock(decoding: damaged)
            }
        }
        #expect(failure { try GoldBlock(decoding: bytes) }?.code == "artifact.wrong-kind")
    }
}
