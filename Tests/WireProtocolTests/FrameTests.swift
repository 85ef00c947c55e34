import Primitives
import Testing
import WireProtocol

@Suite struct FrameTests {
    let id = SampleMessages.id
    let valid = Request.status(RunID("run-1")).encoded(requestID: SampleMessages.id, session: 5)

    func code(_ bytes: [UInt8]) -> String? {
        do throws(AMAFError) {
            _ = try Frame.decode(bytes)
            return nil
        } catch { return error.code }
    }

    @Test func everyCutIsNoticed() {
        for count in 0..<valid.count { #expect(code(Array(valid[..<count])) != nil, "\(count) bytes passed for a frame of \(valid.count)") }
        #expect(code(valid + [0]) == "wire.length")
    }

    @Test func everyFlippedBitIsNoticed() {
        for bit in 0..<8 * valid.count {
            var bytes = valid
            bytes[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(code(bytes) != nil, "bit \(bit) was flipped")
        }
    }

    @Test func damageLooksLikeDamage() {
        var bytes = valid
        bytes[4] ^= 2
        // A flipped bit in the version byte is no version conflict.
        #expect(code(bytes) == "wire.checksum")
        bytes = valid
        bytes[0] = 0x42
        #expect(code(bytes) == "wire.magic")
    }

    @Test func hostileLengthsAreRefused() {
        for offset in [36, 40] {
            for length: UInt32 in [.max, .max - 47, 1 << 31, 1 << 30] {
                var bytes = valid
                for i in 0..<4 { bytes[offset + i] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(i))) }
                #expect(code(bytes) == "wire.length")
            }
        }
    }

    @Test func anotherMajorVersionIsRefusedAndANewerMinorOneIsNot() throws {
        var header = Frame.Header(version: ProtocolVersion(2, 0), type: 0x31, requestID: id)
        #expect(code(Frame(header: header, body: []).encoded()) == "wire.version")
        header.version = ProtocolVersion(1, 200)
        #expect(try Frame.decode(Frame(header: header, body: []).encoded()).header == header)
    }

    @Test func lowFlagsAreSkippedAndHighOnesRefused() {
        #expect(code(Frame(header: Frame.Header(type: 0x31, flags: 0x8000, requestID: id), body: []).encoded()) == nil)
        #expect(code(Frame(header: Frame.Header(type: 0x31, flags: 0x1_0000, requestID: id), body: []).encoded()) == "wire.flags")
    }

    @Test func bodyAndTailComeBack() throws {
        let body = (0..<100).map { UInt8($0) }
        let tail = [UInt8](repeating: 7, count: 5000)
        // Slices that do not begin at zero, as they lie in other buffers.
        let frame = Frame(header: Frame.Header(type: 0x21, requestID: id, session: 9), body: body[10..<60], tail: tail[1..<4000])
        let back = try Frame.decode(frame.encoded())
        #expect(Array(back.body) == Array(body[10..<60]))
        #expect(Array(back.tail) == Array(tail[1..<4000]))
        #expect(back.header == frame.header)
    }

    @Test func versionsAreNegotiated() throws {
        func range(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) -> ProtocolVersionRange {
            ProtocolVersionRange(ProtocolVersion(a, b), ProtocolVersion(c, d))
        }
        #expect(try range(1, 0, 1, 4).negotiated(with: range(1, 2, 2, 0)) == ProtocolVersion(1, 4))
        #expect(try range(1, 2, 2, 0).negotiated(with: range(1, 0, 1, 4)) == ProtocolVersion(1, 4))
        #expect(try range(1, 0, 1, 0).negotiated(with: range(1, 0, 1, 0)) == ProtocolVersion(1, 0))
        #expect(throws: AMAFError.self) { try range(1, 0, 1, 4).negotiated(with: range(2, 0, 2, 1)) }
    }

    @Test func unknownTypesAreAnswered() throws {
        let header = Frame.Header(type: 0x0FFF, requestID: id, session: 12)
        guard case .refused(let error, let reply) = ReceivedRequest.decode(Frame(header: header, body: [1, 2, 3]).encoded()) else {
            return #expect(Bool(false), "an unknown type passed")
        }
        #expect(error.code == "wire.unsupported")
        let frame = try Frame.decode(reply)
        #expect(frame.header.requestID == id)
        #expect(frame.header.session == 12)
        #expect(try Response.decode(frame) == .unsupported(type: 0x0FFF, versions: .supported))
    }

    @Test func damagedRequestsAreAnsweredUnderTheirID() throws {
        var bytes = valid
        bytes[bytes.count - 1] ^= 1
        guard case .refused(let error, let reply) = ReceivedRequest.decode(bytes) else { return #expect(Bool(false), "damage passed") }
        #expect(error.code == "wire.checksum")
        #expect(error.isTransient)
        let frame = try Frame.decode(reply)
        #expect(frame.header.requestID == id)
        #expect(try Response.decode(frame) == .failed(error))
        guard case .refused(let short, _) = ReceivedRequest.decode([1, 2, 3]) else { return #expect(Bool(false), "three bytes passed") }
        #expect(short.code == "wire.truncated")
    }

    @Test func fieldsOfNewerPeersAreSkipped() throws {
        var frame = try Frame.decode(valid)
        // Field 999, a varint: tag 999 << 3.
        frame.body = (Array(frame.body) + [0xB8, 0x3E, 0x05])[...]
        #expect(try Request.decode(Frame.decode(frame.encoded())) == .status(RunID("run-1")))
    }
}
