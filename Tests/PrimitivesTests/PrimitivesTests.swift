import Primitives
import Testing

@Suite struct DigestTests {
    @Test func knowsTheStandardVectors() {
        // FIPS 180-2, appendix B: the empty message and "abc".
        #expect(Digest.of([UInt8]()).hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(Digest.of(Array("abc".utf8)).hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }
    @Test func piecesAndTheWholeAgree() {
        let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        var hasher = DigestHasher()
        hasher.update(bytes[..<37])
        hasher.update(bytes[37...])
        #expect(hasher.finish() == Digest.of(bytes))
    }
    @Test func survivesHexadecimal() {
        let digest = Digest.of(Array("amaf".utf8))
        #expect(Digest(hex: digest.hex) == digest)
        #expect(Digest(bytes: digest.bytes) == digest)
        #expect(Digest(hex: "zz") == nil)
        #expect(Digest(hex: String(repeating: "G", count: 64)) == nil)
    }
    @Test func fieldsDoNotRunIntoOneAnother() {
        var a = DigestHasher()
        a.update(field: "ab")
        a.update(field: "c")
        var b = DigestHasher()
        b.update(field: "a")
        b.update(field: "bc")
        #expect(a.finish() != b.finish())
    }
}

@Suite struct SeededGeneratorTests {
    @Test func streamsAreTheirNamesAndNothingElse() {
        var a = SeededGenerator(seed: 7, stream: "train", "round-1")
        var b = SeededGenerator(seed: 7, stream: "train", "round-1")
        var c = SeededGenerator(seed: 7, stream: "train", "round-2")
        let first = (0..<8).map { _ in a.next() }
        #expect(first == (0..<8).map { _ in b.next() })
        #expect(first != (0..<8).map { _ in c.next() })
    }
    @Test func indicesAreUniform() {
        var generator = SeededGenerator(seed: 1)
        var counts = [Int](repeating: 0, count: 7)
        for _ in 0..<70_000 { counts[generator.index(below: 7)] += 1 }
        // Each count is binomial(70000, 1/7): standard deviation 92.6; five of them.
        #expect(counts.allSatisfy { abs($0 - 10_000) < 463 })
    }
    @Test func shuffleKeepsTheItems() {
        var items = Array(0..<100)
        var generator = SeededGenerator(seed: 3)
        generator.shuffle(&items)
        #expect(items != Array(0..<100))
        #expect(items.sorted() == Array(0..<100))
    }
}

@Suite struct ByteCodingTests {
    @Test func readsWhatItWrote() throws {
        var writer = ByteWriter()
        writer.write(UInt16(0xBEEF))
        writer.write("grüße")
        writer.write(Float(-1.5))
        writer.write(array: [Int32](arrayLiteral: 1, -2, 3))
        try writer.bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer, of: "test record")
            let number = try reader.read(UInt16.self)
            let text = try reader.readString()
            let float = try reader.readFloat()
            let array = try reader.readArray(Int32.self, count: 3)
            #expect(number == 0xBEEF)
            #expect(text == "grüße")
            #expect(float == -1.5)
            #expect(array == [1, -2, 3])
            #expect(reader.remaining == 0)
        }
    }
    @Test func refusesToReadPastTheEnd() {
        let bytes: [UInt8] = [255, 255, 255, 255, 1]
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer, of: "test record")
            #expect(throws: AMAFError.self) { () throws -> Void in _ = try reader.readString() }
            var other = ByteReader(buffer, of: "test record")
            #expect(throws: AMAFError.self) { () throws -> Void in _ = try other.readArray(Double.self, count: .max) }
        }
    }
}

@Suite struct BlockPlanTests {
    @Test func lastBlockIsShort() {
        let plan = BlockPlan(samples: 1_000)
        #expect(plan.blockCount == 4)
        #expect(plan.range(ofBlock: 3) == 768..<1_000)
        #expect(BlockPlan(samples: 0).blockCount == 0)
        #expect((0..<1_000).allSatisfy { plan.range(ofBlock: plan.block(ofSample: $0)).contains($0) })
    }
}

@Test func fencesOrderByEpochThenCounter() {
    #expect(Fence(epoch: 1, counter: 900) < Fence(epoch: 2, counter: 0))
    #expect(Fence(epoch: 3, counter: 5).epoch == 3)
    #expect(Fence(epoch: 3, counter: 5).counter == 5)
}

@Test func errorsAreOneLine() {
    let error = AMAFError("manifest.unknown-key", "Unknown key\n'colour'", place: "a.yaml:3", remedy: "Did you mean 'color'?")
    #expect(error.description == "a.yaml:3: Unknown key 'colour' [manifest.unknown-key]. Did you mean 'color'?")
}
