import Primitives
import Scheduling
import Testing
import WireProtocol

@Suite struct ChecksumTests {
    /// RFC 3720, appendix B.4, and the check value of the CRC catalogues.
    @Test func crc32cOfTheStandard() {
        #expect(CRC32C.of([UInt8](repeating: 0, count: 32)) == 0x8A91_36AA)
        #expect(CRC32C.of([UInt8](repeating: 0xFF, count: 32)) == 0x62A8_AB43)
        #expect(CRC32C.of((0..<32).map { UInt8($0) }) == 0x46DD_794E)
        #expect(CRC32C.of((0..<32).reversed().map { UInt8($0) }) == 0x113F_DB5C)
        #expect(CRC32C.of(Array("123456789".utf8)) == 0xE306_9283)
        #expect(CRC32C.of([UInt8]()) == 0)
    }

    /// One bit at a time: the definition.
    func naive(_ bytes: [UInt8]) -> UInt32 {
        var remainder: UInt32 = ~0
        for byte in bytes {
            remainder ^= UInt32(byte)
            for _ in 0..<8 { remainder = remainder & 1 == 1 ? remainder >> 1 ^ 0x82F6_3B78 : remainder >> 1 }
        }
        return ~remainder
    }

    @Test func crc32cLikeItsDefinitionInAnyPieces() {
        var generator = SeededGenerator(seed: 1, stream: "crc")
        for length in Array(0...70) + [1000, 4096, 4099] {
            let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &generator) }
            #expect(CRC32C.of(bytes) == naive(bytes), "\(length) bytes")
            let cut = generator.index(below: length + 1)
            var pieces = CRC32C()
            pieces.update(bytes[..<cut])
            pieces.update(bytes[cut...])
            #expect(pieces.value == naive(bytes), "\(length) bytes cut at \(cut)")
        }
    }

    /// RFC 4231, test cases 1, 2, 3 and 6 (a key longer than a block).
    @Test func hmacOfTheStandard() {
        func hex(_ key: [UInt8], _ text: [UInt8]) -> String { HMACSHA256.code(of: text, key: key).hex }
        #expect(
            hex([UInt8](repeating: 0x0B, count: 20), Array("Hi There".utf8))
                == "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7")
        #expect(
            hex(Array("Jefe".utf8), Array("what do ya want for nothing?".utf8))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            hex([UInt8](repeating: 0xAA, count: 20), [UInt8](repeating: 0xDD, count: 50))
                == "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe")
        #expect(
            hex([UInt8](repeating: 0xAA, count: 131), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8))
                == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    @Test func joinKeysProveEveryFieldOfHello() throws {
        let key = try JoinKey("correct horse battery staple\n")
        let same = try JoinKey("correct horse battery staple")
        let other = try JoinKey("correct horse battery stapler")
        let nonce = [UInt8](0..<32)
        let proof = key.proof(of: SampleMessages.hello, challenge: nonce)
        #expect(same.verifies(proof, of: SampleMessages.hello, challenge: nonce))
        #expect(!other.verifies(proof, of: SampleMessages.hello, challenge: nonce))
        #expect(!key.verifies(proof, of: SampleMessages.hello, challenge: nonce.reversed()))
        let changes: [(inout WorkerHello) -> Void] = [
            { $0.worker = WorkerID("box-4") }, { $0.bootNonce = 1 }, { $0.tags = ["cpu"] }, { $0.tags = ["cpug", "pu"] }, { $0.slots = 9 },
            { $0.memoryBytes = 1 }, { $0.numericsClass = NumericsClass("x") }, { $0.build = "0.1.1" }, { $0.host = "h" },
            { $0.heldFences = [] },
        ]
        for (i, change) in changes.enumerated() {
            var hello = SampleMessages.hello
            change(&hello)
            #expect(!key.verifies(proof, of: hello, challenge: nonce), "change \(i) kept its proof")
        }
        let operatorProof = key.proof(operator: "ada", challenge: nonce)
        #expect(key.verifies(operatorProof, operator: "ada", challenge: nonce))
        #expect(!key.verifies(operatorProof, operator: "bob", challenge: nonce))
        #expect(!"\(key)".contains("horse"))
    }

    @Test func shortJoinKeysAreRefused() {
        #expect(throws: AMAFError.self) { try JoinKey("short") }
        #expect(throws: AMAFError.self) { try JoinKey("               \n\n\n   ") }
    }
}
