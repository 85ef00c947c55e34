internal import CCrypto

/// HMAC with SHA-256 (RFC 2104): proves knowledge of a key without showing it.
package enum HMACSHA256 {
    /// - Parameter key: of any length, also empty.
    package static func code(of message: [UInt8], key: [UInt8]) -> Digest {
        var code = [UInt8](repeating: 0, count: Digest.byteCount)
        var written: UInt32 = 0
        // A null key means "the key of the last call" to libcrypto, and an empty array may have no address.
        let padded = key + [0]
        let made = HMAC(EVP_sha256(), padded, Int32(key.count), message, message.count, &code, &written)
        precondition(made != nil && Int(written) == Digest.byteCount, "libcrypto made no HMAC of \(message.count) bytes")
        return Digest(bytes: code)
    }

    /// Whether the code is right, in a time that does not depend on where it is wrong.
    package static func verify(_ code: Digest, of message: [UInt8], key: [UInt8]) -> Bool {
        let right = Self.code(of: message, key: key).bytes
        let given = code.bytes
        return CRYPTO_memcmp(right, given, Digest.byteCount) == 0
    }
}
