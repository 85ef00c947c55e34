import Aggregation
import Primitives
import Testing

@Suite struct CodecTests {
    private let labels = [
        FinalLabel(position: 256, label: 3, confidence: 0.91, margin: 0.85, sources: [.classifier, .labelModel]),
        FinalLabel(position: 257, label: nil, confidence: 0, margin: 0, sources: []),
        FinalLabel(position: 300, label: 0, confidence: 0.5, margin: -0.25, sources: [.human, .classifier], flags: .contradictsHuman),
    ]

    @Test func labelsComeBack() throws {
        let bytes = FinalLabelCodec.encode(labels)
        #expect(bytes.count == 10 + 3 * 18)
        #expect(Array(bytes.prefix(10)) == [0x41, 0x4D, 0x46, 0x4C, 1, 0, 3, 0, 0, 0], "AMFL, version 1, three rows")
        #expect(try FinalLabelCodec.decode(bytes) == labels)
        #expect(try FinalLabelCodec.decode(FinalLabelCodec.encode([])) == [])
    }

    @Test func everyTruncationIsRefused() {
        let bytes = FinalLabelCodec.encode(labels)
        for length in 0..<bytes.count {
            #expect(throws: AMAFError.self, "\(length) bytes") { try FinalLabelCodec.decode(Array(bytes.prefix(length))) }
        }
        #expect(throws: AMAFError.self) { try FinalLabelCodec.decode(bytes + [0]) }
    }

    /// Damage at any byte is refused or changes values only within their ranges; it never traps.
    @Test func damageNeverTraps() {
        let bytes = FinalLabelCodec.encode(labels)
        for index in bytes.indices {
            for value: UInt8 in [0, 0x7F, 0xFF] {
                var damaged = bytes
                damaged[index] = value
                if let decoded = try? FinalLabelCodec.decode(damaged) {
                    #expect(decoded.allSatisfy { $0.confidence >= 0 && $0.confidence <= 1 && ($0.label ?? 0) >= 0 })
                }
            }
        }
        var huge = bytes
        for i in 6..<10 { huge[i] = 0xFF }
        #expect(throws: AMAFError.self) { try FinalLabelCodec.decode(huge) }
    }

    @Test func poolsComeBack() throws {
        let pool = OpinionPool(
            classCount: 150, sources: [.classifier, .labelModel], weights: [0.83, 0.21], temperature: 1.37, humanPolicy: .combine,
            reviewerAccuracy: 0.95, contradictionThreshold: 0.9)
        let bytes = pool.encoded()
        #expect(try OpinionPool(encoded: bytes) == pool)
        for length in 0..<bytes.count { #expect(throws: AMAFError.self) { try OpinionPool(encoded: Array(bytes.prefix(length))) } }
        for index in bytes.indices {
            for value: UInt8 in [0, 0x80, 0xFF] {
                var damaged = bytes
                damaged[index] = value
                _ = try? OpinionPool(encoded: damaged)
            }
        }
    }
}
