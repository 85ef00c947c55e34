package import Primitives

/// Names one request; the reply repeats it, and a request that is sent again keeps it, so that the head can answer it once.
package struct RequestID: Hashable, Sendable, CustomStringConvertible {
    package var high: UInt64
    package var low: UInt64

    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Drawn from a generator: the system's in the programs, a seeded one in the simulator.
    package init(using generator: inout some RandomNumberGenerator) {
        self.init(high: generator.next(), low: generator.next())
    }

    package var description: String {
        func hex(_ word: UInt64) -> String {
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }
        return hex(high) + hex(low)
    }
}

/// One message as it lies on the wire: a fixed header of 48 bytes, a protobuf body, and a raw tail for artifact bytes.
///
/// All integers are little-endian.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 4 | magic `AMAF` |
/// | 4 | 1 | protocol version, major |
/// | 5 | 1 | protocol version, minor |
/// | 6 | 2 | message type; replies have the highest bit |
/// | 8 | 4 | flags; an unknown one of the upper 16 refuses the frame, an unknown one of the lower 16 is skipped |
/// | 12 | 16 | request id |
/// | 28 | 8 | session, 0 before WELCOME |
/// | 36 | 4 | body length |
/// | 40 | 4 | tail length |
/// | 44 | 4 | CRC-32C over bytes 0..<44, then over body and tail |
package struct Frame: Hashable, Sendable {
    package struct Header: Hashable, Sendable {
        package var version: ProtocolVersion
        package var type: UInt16
        package var flags: UInt32
        package var requestID: RequestID
        /// Given by the coordinator with WELCOME, as the session of that reply; names the sender from then on.
        package var session: UInt64

        package init(version: ProtocolVersion = .current, type: UInt16, flags: UInt32 = 0, requestID: RequestID, session: UInt64 = 0) {
            self.version = version
            self.type = type
            self.flags = flags
            self.requestID = requestID
            self.session = session
        }
    }

    package static let headerByteCount = 48
    package static let magic: [UInt8] = Array("AMAF".utf8)
    /// The flags of the upper half that this build understands: none yet.
    static let understoodFlags: UInt32 = 0

    package var header: Header
    /// The protobuf message.
    package var body: ArraySlice<UInt8>
    /// Artifact bytes; they never pass through protobuf, which would copy them.
    package var tail: ArraySlice<UInt8>

    package init(header: Header, body: ArraySlice<UInt8>, tail: ArraySlice<UInt8> = []) {
        self.header = header
        self.body = body
        self.tail = tail
    }

    /// The whole frame in one piece.
    ///
    /// - Precondition: body and tail are below 4 GiB each.
    package func encoded() -> [UInt8] {
        precondition(body.count <= UInt32.max && tail.count <= UInt32.max, "a body of \(body.count) bytes, a tail of \(tail.count)")
        var writer = ByteWriter(reserving: Self.headerByteCount + body.count + tail.count)
        writer.append(raw: Self.magic)
        writer.write(header.version.major)
        writer.write(header.version.minor)
        writer.write(header.type)
        writer.write(header.flags)
        writer.write(header.requestID.high)
        writer.write(header.requestID.low)
        writer.write(header.session)
        writer.write(UInt32(body.count))
        writer.write(UInt32(tail.count))
        var checksum = CRC32C()
        checksum.update(writer.bytes)
        checksum.update(body)
        checksum.update(tail)
        writer.write(checksum.value)
        writer.append(raw: body)
        writer.append(raw: tail)
        return writer.bytes
    }

    /// Reads a frame; body and tail share the memory of `bytes`.
    ///
    /// - Throws: `wire.truncated`, `wire.magic`, `wire.length`, `wire.checksum`, `wire.version` (another major number) or
    ///   `wire.flags`. The checksum comes before the version: a damaged byte must not look like a version conflict.
    package static func decode(_ bytes: [UInt8]) throws(AMAFError) -> Frame {
        guard bytes.count >= headerByteCount else {
            throw AMAFError("wire.truncated", "A message of \(bytes.count) bytes is shorter than the frame header of \(headerByteCount)")
        }
        guard bytes.prefix(4).elementsEqual(magic) else {
            throw AMAFError(
                "wire.magic", "A message does not begin with AMAF",
                remedy: "Something else talks to this port; check the address on both sides.")
        }
        let bodyCount = Int(read(bytes, at: 36) as UInt32)
        let tailCount = Int(read(bytes, at: 40) as UInt32)
        guard headerByteCount + bodyCount + tailCount == bytes.count else {
            throw AMAFError(
                "wire.length",
                "A message of \(bytes.count) bytes claims a body of \(bodyCount) and a tail of \(tailCount) behind its header of \(headerByteCount)"
            )
        }
        let body = bytes[headerByteCount..<headerByteCount + bodyCount]
        let tail = bytes[(headerByteCount + bodyCount)...]
        var checksum = CRC32C()
        checksum.update(bytes[..<44])
        checksum.update(bytes[headerByteCount...])
        let promised: UInt32 = read(bytes, at: 44)
        guard checksum.value == promised else {
            throw AMAFError(
                "wire.checksum", "A message of \(bytes.count) bytes was damaged on its way", remedy: "Send it again.", isTransient: true)
        }
        let version = ProtocolVersion(bytes[4], bytes[5])
        guard version.major == ProtocolVersion.current.major else {
            throw AMAFError(
                "wire.version", "A message is of protocol \(version) and this build speaks \(ProtocolVersionRange.supported)",
                remedy: "Install the same AMAF release on the head and on the workers.")
        }
        let flags: UInt32 = read(bytes, at: 8)
        let unknown = flags & 0xFFFF_0000 & ~understoodFlags
        guard unknown == 0 else {
            throw AMAFError("wire.flags", "A message carries flags 0x\(String(unknown, radix: 16)) that this build does not understand")
        }
        let header = Header(
            version: version, type: read(bytes, at: 6), flags: flags, requestID: requestID(in: bytes), session: read(bytes, at: 28))
        return Frame(header: header, body: body, tail: tail)
    }

    /// The request id where a header would have it; zeros in a message without a whole header.
    static func requestID(in bytes: [UInt8]) -> RequestID {
        guard bytes.count >= headerByteCount else { return RequestID(high: 0, low: 0) }
        return RequestID(high: read(bytes, at: 12), low: read(bytes, at: 20))
    }

    /// A little-endian integer of the header.
    private static func read<T: FixedWidthInteger & UnsignedInteger>(_ bytes: [UInt8], at offset: Int) -> T {
        var value: T = 0
        for i in 0..<(T.bitWidth / 8) { value |= T(bytes[offset + i]) << T(8 * i) }
        return value
    }
}
