internal import Foundation
internal import Primitives
internal import SwiftProtobuf

/// A body that is not what its type promises.
func malformed(_ type: MessageType, _ what: String) -> AMAFError {
    AMAFError(
        "wire.malformed", "A \(type) message is malformed: \(what)", remedy: "Install the same AMAF release on the head and on the workers."
    )
}

/// Reads the fields of one message and says in its errors which message it was.
struct BodyReader {
    let type: MessageType

    func message<M: SwiftProtobuf.Message>(_: M.Type = M.self, from body: ArraySlice<UInt8>) throws(AMAFError) -> M {
        var options = BinaryDecodingOptions()
        // Fields of a newer peer are skipped, not kept.
        options.discardUnknownFields = true
        do {
            return try M(serializedBytes: Array(body), options: options)
        } catch {
            throw malformed(type, "its body is no \(M.protoMessageName)")
        }
    }

    /// Sizes, positions and counts are unsigned on the wire and Int here.
    func int(_ value: UInt64, _ what: String) throws(AMAFError) -> Int {
        guard let value = Int(exactly: value) else { throw malformed(type, "\(what) is \(value)") }
        return value
    }

    func blocks(first: UInt64, count: UInt64) throws(AMAFError) -> Range<Int> {
        let start = try int(first, "the first block")
        let (end, overflow) = start.addingReportingOverflow(try int(count, "the number of blocks"))
        guard !overflow else { throw malformed(type, "it has \(count) blocks from \(first) on") }
        return start..<end
    }

    func digest(_ data: Data, _ what: String) throws(AMAFError) -> Digest {
        guard data.count == Digest.byteCount else { throw malformed(type, "\(what) has \(data.count) bytes and not \(Digest.byteCount)") }
        return Digest(bytes: [UInt8](data))
    }

    func digests(_ data: Data, _ what: String) throws(AMAFError) -> [Digest] {
        guard data.count % Digest.byteCount == 0 else {
            throw malformed(type, "\(what) has \(data.count) bytes, no multiple of \(Digest.byteCount)")
        }
        let bytes = [UInt8](data)
        return stride(from: 0, to: bytes.count, by: Digest.byteCount).map { Digest(bytes: bytes[$0..<$0 + Digest.byteCount]) }
    }

    func duration(nanoseconds: Int64, _ what: String) throws(AMAFError) -> Duration {
        guard nanoseconds >= 0 else { throw malformed(type, "\(what) is \(nanoseconds) ns") }
        return .nanoseconds(nanoseconds)
    }

    func name<I: Identifier>(_ text: String, _ what: String) throws(AMAFError) -> I {
        guard !text.isEmpty, text.utf8.count <= WireLimits.nameByteCount else {
            throw malformed(type, "\(what) has \(text.utf8.count) bytes and not 1 to \(WireLimits.nameByteCount)")
        }
        return I(text)
    }

    func error(_ failure: WireFailure) throws(AMAFError) -> AMAFError {
        guard !failure.code.isEmpty else { throw malformed(type, "its error has no code") }
        return AMAFError(
            failure.code, failure.message, place: failure.place, remedy: failure.remedy, isTransient: failure.isTransient)
    }

    func version(_ version: WireVersion) throws(AMAFError) -> ProtocolVersion {
        guard let major = UInt8(exactly: version.major), let minor = UInt8(exactly: version.minor) else {
            throw malformed(type, "\(version.major).\(version.minor) is no protocol version")
        }
        return ProtocolVersion(major, minor)
    }

    func versions(_ range: WireVersionRange) throws(AMAFError) -> ProtocolVersionRange {
        try ProtocolVersionRange(checking: version(range.oldest), version(range.newest))
    }

    func mustBeEmpty(_ tail: ArraySlice<UInt8>) throws(AMAFError) {
        guard tail.isEmpty else { throw malformed(type, "it carries \(tail.count) bytes in its tail") }
    }
}

// MARK: To the wire. What cannot be written is our own mistake and traps.

func wireBytes(_ message: some SwiftProtobuf.Message) -> ArraySlice<UInt8> {
    do {
        let bytes: [UInt8] = try message.serializedBytes()
        return bytes[...]
    } catch {
        preconditionFailure("\(type(of: message)) cannot be written: \(error)")
    }
}

func wireInteger(_ value: Int) -> UInt64 {
    precondition(value >= 0, "\(value) is no size, position or count")
    return UInt64(value)
}

func wireCount(_ value: Int) -> UInt32 {
    precondition(value >= 0 && value <= UInt32.max, "\(value) is no count")
    return UInt32(value)
}

func wireNanoseconds(_ duration: Duration) -> Int64 { max(0, duration.nanoseconds) }

func wireDigests(_ digests: some Sequence<Digest>) -> Data {
    var bytes: [UInt8] = []
    for digest in digests { bytes.append(contentsOf: digest.bytes) }
    return Data(bytes)
}

func wireFailure(_ error: AMAFError) -> WireFailure {
    // A worker's error may quote a program's whole output; the reader needs its beginning.
    func cut(_ text: String, _ limit: Int) -> String {
        if text.utf8.count <= limit { return text }
        var kept = ""
        var count = 0
        for scalar in text.unicodeScalars {
            count += UTF8.width(scalar)
            if count > limit { break }
            kept.unicodeScalars.append(scalar)
        }
        return kept
    }
    return WireFailure.with {
        $0.code = cut(error.code, WireLimits.nameByteCount)
        $0.message = cut(error.message, WireLimits.errorTextByteCount)
        $0.place = cut(error.place, WireLimits.errorTextByteCount)
        $0.remedy = cut(error.remedy, WireLimits.errorTextByteCount)
        $0.isTransient = error.isTransient
    }
}

func wireVersion(_ version: ProtocolVersion) -> WireVersion {
    WireVersion.with {
        $0.major = UInt32(version.major)
        $0.minor = UInt32(version.minor)
    }
}

func wireVersions(_ range: ProtocolVersionRange) -> WireVersionRange {
    WireVersionRange.with {
        $0.oldest = wireVersion(range.oldest)
        $0.newest = wireVersion(range.newest)
    }
}
