import Foundation
import Primitives
import Scheduling
import Testing
import WireProtocol

/// The decoder against mutated and random bytes: it ends in a value or in an `AMAFError` with a code of its own, and never traps.
@Suite struct HostileInputTests {
    static let codes: Set<String> = [
        "wire.truncated", "wire.magic", "wire.length", "wire.checksum", "wire.version", "wire.flags", "wire.malformed", "wire.unsupported",
        "wire.too-large",
    ]
    /// More with AMAF_FUZZ_ITERATIONS.
    static let iterations = ProcessInfo.processInfo.environment["AMAF_FUZZ_ITERATIONS"].flatMap { Int($0) } ?? 20_000

    /// Nil when it was a message, the error's code otherwise.
    func decode(_ bytes: [UInt8]) -> String? {
        do throws(AMAFError) {
            let frame = try Frame.decode(bytes)
            do throws(AMAFError) {
                let request = try Request.decode(frame)
                // What was understood can be said again, the same way.
                let again = request.encoded(requestID: frame.header.requestID)
                #expect(try! Request.decode(Frame.decode(again)) == request || isNotANumber(request))
                return nil
            } catch  where error.code == "wire.unsupported" {
                _ = try Response.decode(frame)
                return nil
            }
        } catch {
            #expect(Self.codes.contains(error.code), "\(error)")
            return error.code
        }
    }

    /// A metric may be a NaN, which differs from itself.
    func isNotANumber(_ request: Request) -> Bool {
        let results: [BlockResult] =
            switch request {
            case .commit(let commits, _): commits.flatMap(\.results)
            case .answer(_, _, let results): results
            default: []
            }
        return results.contains { $0.metrics.values.contains(where: \.isNaN) }
    }

    @Test func mutatedMessages() throws {
        var generator = SeededGenerator(seed: 20, stream: "fuzz")
        let samples =
            SampleMessages.requests.map { $0.encoded(requestID: SampleMessages.id) }
            + SampleMessages.responses.map { $0.encoded(requestID: SampleMessages.id) }
        // The one sample with a tail of 64 KiB would eat all the time.
        let frames = try samples.map { try Frame.decode($0) }.filter { $0.tail.count < 4096 }
        var outcomes: [String: Int] = [:]
        for _ in 0..<Self.iterations {
            var frame = frames[generator.index(below: frames.count)]
            var body = Array(frame.body)
            for _ in 0...generator.index(below: 4) {
                switch generator.index(below: 6) {
                case 0 where !body.isEmpty: body[generator.index(below: body.count)] ^= 1 << UInt8(generator.index(below: 8))
                case 1 where !body.isEmpty: body[generator.index(below: body.count)] = UInt8(generator.index(below: 256))
                case 2 where !body.isEmpty: body.removeSubrange(generator.index(below: body.count)...)
                case 3: body.insert(UInt8(generator.index(below: 256)), at: generator.index(below: body.count + 1))
                case 4:
                    let other = frames[generator.index(below: frames.count)].body
                    body.insert(contentsOf: other, at: generator.index(below: body.count + 1))
                default: frame.header.type = frames[generator.index(below: frames.count)].header.type
                }
            }
            frame.body = body[...]
            if generator.index(below: 8) == 0 { frame.tail = Array(repeating: 1, count: generator.index(below: 20))[...] }
            // Sealed again with a right checksum, or nothing behind it would be reached.
            outcomes[decode(frame.encoded()) ?? "understood", default: 0] += 1
        }
        #expect(outcomes["understood", default: 0] > 0 && outcomes["wire.malformed", default: 0] > 0, "\(outcomes)")
        let odd = outcomes.keys.filter { !["understood", "wire.malformed", "wire.unsupported", "wire.too-large"].contains($0) }
        #expect(odd.isEmpty, "\(outcomes)")
    }

    @Test func randomBytes() {
        var generator = SeededGenerator(seed: 21, stream: "fuzz")
        for round in 0..<Self.iterations {
            var bytes = (0..<generator.index(below: 200)).map { _ in UInt8(generator.index(below: 256)) }
            if round % 2 == 0 { bytes.replaceSubrange(0..<min(4, bytes.count), with: Frame.magic) }
            #expect(decode(bytes) != nil)
        }
    }

    @Test func randomBodiesOfEveryType() {
        var generator = SeededGenerator(seed: 22, stream: "fuzz")
        let types = Array(0x00...0x40) + Array(0x8000...0x8040) + [0xFFFE, 0xFFFF]
        for _ in 0..<Self.iterations / 100 {
            for type in types {
                let body = (0..<generator.index(below: 60)).map { _ in UInt8(generator.index(below: 256)) }
                let header = Frame.Header(type: UInt16(type), requestID: SampleMessages.id)
                _ = decode(Frame(header: header, body: body[...]).encoded())
            }
        }
    }

    /// Claims that would cost memory or overflow if they were believed.
    @Test func hostileClaims() throws {
        func malformed(_ type: UInt16, _ body: [UInt8], tail: [UInt8] = []) -> String? {
            decode(Frame(header: Frame.Header(type: type, requestID: SampleMessages.id), body: body[...], tail: tail[...]).encoded())
        }
        let max32: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F]
        let max64: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]
        // HELD: 2³²−1 bits in no byte.
        #expect(malformed(0x8020, [0x08] + max32) == "wire.malformed")
        // A packed list that claims 2³²−1 bytes.
        #expect(malformed(0x12, [0x0A] + max32) == "wire.malformed")
        // PUT: offset and total of 2⁶⁴−1, then an offset beyond the total.
        let digest = [0x0A, 32] + [UInt8](repeating: 1, count: 32)
        #expect(malformed(0x21, digest + [0x10] + max64 + [0x18] + max64) == "wire.malformed")
        #expect(malformed(0x21, digest + [0x10, 9, 0x18, 8]) == "wire.malformed")
        #expect(malformed(0x21, digest + [0x10, 6, 0x18, 8], tail: [1, 2, 3]) == "wire.malformed")
        // GET of more than a chunk.
        #expect(malformed(0x22, digest + [0x18] + max32) == "wire.too-large")
        // A digest of 31 bytes.
        #expect(malformed(0x22, [0x0A, 31] + [UInt8](repeating: 1, count: 31)) == "wire.malformed")
        // COMMIT: a fence with 2³²−1 results that are not there.
        #expect(malformed(0x12, [0x0A, 8, 1, 0, 0, 0, 0, 0, 0, 0, 0x12, 1, 1, 0x1A, 5] + max32) == "wire.malformed")
        // GRANTS: blocks from Int.max on.
        let first: [UInt8] = [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]
        let grant: [UInt8] = [0x12, 1, 0x61, 0x1A, 1, 0x61, 0x38] + first + [0x40, 2]
        #expect(malformed(0x8010, [0x12, UInt8(grant.count)] + grant) == "wire.malformed")
        // A string that is no UTF-8, an empty name, a name of 2 KiB.
        #expect(malformed(0x33, [0x0A, 1, 0xFF]) == "wire.malformed")
        #expect(malformed(0x33, []) == "wire.malformed")
        #expect(malformed(0x33, [0x0A, 0x80, 0x10] + [UInt8](repeating: 0x61, count: 2048)) == "wire.malformed")
        // Bytes in the tail of a message that has none.
        #expect(malformed(0x32, [], tail: [1]) == "wire.malformed")
        // 16,385 digests in one HAVE.
        let many = Request.have(Array(repeating: SampleMessages.digest(1), count: WireLimits.digestsPerHave + 1))
        #expect(decode(many.encoded(requestID: SampleMessages.id)) == "wire.too-large")
    }
}
