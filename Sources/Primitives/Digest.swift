internal import CCrypto

/// A SHA-256 digest: the name of an artifact, and of the work that makes one.
package struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
    // Four words rather than an array: a million of them live in the scheduler's tables.
    private var a: UInt64
    private var b: UInt64
    private var c: UInt64
    private var d: UInt64

    package static let byteCount = 32

    /// - Precondition: exactly 32 bytes.
    package init(bytes: some Collection<UInt8>) {
        precondition(bytes.count == Self.byteCount, "a digest has 32 bytes, not \(bytes.count)")
        // Rows and frames carry digests by the million: memory that lies in one piece is loaded as four words.
        let loaded: Digest? = bytes.withContiguousStorageIfAvailable { Digest(words: UnsafeRawBufferPointer($0)) }
        self = loaded ?? Array(bytes).withUnsafeBytes { Digest(words: $0) }
    }

    /// The same for the two forms that bytes come in from the wire and from libcrypto: other modules reach the generic form unspecialised.
    ///
    /// - Precondition: exactly 32 bytes.
    package init(bytes: ArraySlice<UInt8>) {
        precondition(bytes.count == Self.byteCount, "a digest has 32 bytes, not \(bytes.count)")
        self = bytes.withUnsafeBytes { Digest(words: $0) }
    }
    package init(bytes: [UInt8]) { self.init(bytes: bytes[...]) }

    /// Big-endian words, so that digests compare as their bytes do.
    private init(words: UnsafeRawBufferPointer) {
        a = UInt64(bigEndian: words.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
        b = UInt64(bigEndian: words.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        c = UInt64(bigEndian: words.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
        d = UInt64(bigEndian: words.loadUnaligned(fromByteOffset: 24, as: UInt64.self))
    }

    /// 64 lower-case hexadecimal digits, or nil.
    package init?(hex: String) {
        let digits = Array(hex.utf8)
        guard digits.count == 2 * Self.byteCount else { return nil }
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        func value(_ digit: UInt8) -> UInt8? {
            switch digit {
            case 48...57: digit - 48
            case 97...102: digit - 87
            default: nil
            }
        }
        for i in stride(from: 0, to: digits.count, by: 2) {
            guard let high = value(digits[i]), let low = value(digits[i + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.init(bytes: bytes)
    }

    /// The first eight bytes as a number: uniform, so a hash as it stands.
    package var leadingBits: UInt64 { a }

    package var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Self.byteCount) { buffer, count in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            raw.storeBytes(of: a.bigEndian, toByteOffset: 0, as: UInt64.self)
            raw.storeBytes(of: b.bigEndian, toByteOffset: 8, as: UInt64.self)
            raw.storeBytes(of: c.bigEndian, toByteOffset: 16, as: UInt64.self)
            raw.storeBytes(of: d.bigEndian, toByteOffset: 24, as: UInt64.self)
            count = Self.byteCount
        }
    }

    package var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        var out: [UInt8] = []
        out.reserveCapacity(64)
        for byte in bytes {
            out.append(digits[Int(byte >> 4)])
            out.append(digits[Int(byte & 15)])
        }
        return String(decoding: out, as: UTF8.self)
    }

    package var description: String { String(hex.prefix(12)) }

    package static func < (x: Digest, y: Digest) -> Bool { (x.a, x.b, x.c, x.d) < (y.a, y.b, y.c, y.d) }

    package static func of(_ bytes: some ContiguousBytesLike) -> Digest {
        var hasher = DigestHasher()
        hasher.update(bytes)
        return hasher.finish()
    }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let digest = Digest(hex: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "'\(text)' is not a SHA-256 digest in hexadecimal")
        }
        self = digest
    }
    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(hex)
    }
}

/// Bytes that lie in one piece of memory: arrays, slices and raw buffers.
package protocol ContiguousBytesLike {
    func withContiguousBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R
}
extension Array: ContiguousBytesLike where Element == UInt8 {
    package func withContiguousBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { try withUnsafeBytes(body) }
}
extension ArraySlice: ContiguousBytesLike where Element == UInt8 {
    package func withContiguousBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { try withUnsafeBytes(body) }
}
extension UnsafeRawBufferPointer: ContiguousBytesLike {
    package func withContiguousBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R { try body(self) }
}

/// SHA-256 over pieces, for artifacts too large to hold at once.
package struct DigestHasher: ~Copyable {
    private let context: OpaquePointer

    package init() {
        context = EVP_MD_CTX_new()
        precondition(EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1, "libcrypto offers no SHA-256")
    }

    deinit { EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: some ContiguousBytesLike) {
        bytes.withContiguousBytes { buffer in
            guard let base = buffer.baseAddress else { return }
            precondition(EVP_DigestUpdate(context, base, buffer.count) == 1, "libcrypto refused \(buffer.count) bytes")
        }
    }

    /// Hashes the length and then the bytes, so that neighbouring fields cannot run into one another.
    package mutating func update(field text: String) {
        let bytes = Array(text.utf8)
        update(integer: UInt64(bytes.count))
        update(bytes)
    }

    package mutating func update(integer: UInt64) {
        update((0..<8).map { UInt8(truncatingIfNeeded: integer >> (8 * UInt64($0))) })
    }

    package mutating func update(digest: Digest) { update(digest.bytes) }

    /// The digest of all that came so far; the hasher is of no further use.
    package mutating func finish() -> Digest {
        let bytes = [UInt8](unsafeUninitializedCapacity: Digest.byteCount) { buffer, count in
            var written: UInt32 = 0
            precondition(EVP_DigestFinal_ex(context, buffer.baseAddress, &written) == 1, "libcrypto lost a digest")
            count = Int(written)
        }
        return Digest(bytes: bytes)
    }
}
