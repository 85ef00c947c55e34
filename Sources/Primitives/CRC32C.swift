/// CRC-32C (Castagnoli), the checksum of our frames: polynomial 0x1EDC6F41 reflected, start and final value all ones
/// (RFC 3720, appendix B.4 has the test vectors).
///
/// Eight bytes a step through eight tables ("slicing by 8", Kounavis and Berry, 2008). It finds damage, not malice:
/// artifact bytes are checked against their digest as well.
package struct CRC32C: Sendable {
    private var state: UInt32 = ~0

    package init() {}

    package var value: UInt32 { ~state }

    package mutating func update(_ bytes: some ContiguousBytesLike) {
        bytes.withContiguousBytes { buffer in state = Self.advance(state, over: buffer) }
    }

    package static func of(_ bytes: some ContiguousBytesLike) -> UInt32 {
        var checksum = CRC32C()
        checksum.update(bytes)
        return checksum.value
    }

    private static let reflectedPolynomial: UInt32 = 0x82F6_3B78

    /// `tables[256 k + b]` is the effect of byte b that lies k bytes before the end of the step.
    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var remainder = UInt32(byte)
            for _ in 0..<8 { remainder = remainder & 1 == 1 ? remainder >> 1 ^ reflectedPolynomial : remainder >> 1 }
            tables[byte] = remainder
        }
        for slice in 1..<8 {
            for byte in 0..<256 {
                let before = tables[256 * (slice - 1) + byte]
                tables[256 * slice + byte] = before >> 8 ^ tables[Int(before & 0xFF)]
            }
        }
        return tables
    }()

    private static func advance(_ start: UInt32, over buffer: UnsafeRawBufferPointer) -> UInt32 {
        tables.withUnsafeBufferPointer { tables in
            // A base pointer instead of the buffer: the checks of a debug build would cost more than the checksum.
            guard let table = tables.baseAddress, var next = buffer.baseAddress else { return start }
            var state = start
            var remaining = buffer.count
            while remaining >= 8 {
                let word = UInt64(littleEndian: next.loadUnaligned(as: UInt64.self)) ^ UInt64(state)
                let low = table[1792 &+ Int(word & 0xFF)] ^ table[1536 &+ Int(word >> 8 & 0xFF)]
                let lower = table[1280 &+ Int(word >> 16 & 0xFF)] ^ table[1024 &+ Int(word >> 24 & 0xFF)]
                let upper = table[768 &+ Int(word >> 32 & 0xFF)] ^ table[512 &+ Int(word >> 40 & 0xFF)]
                let high = table[256 &+ Int(word >> 48 & 0xFF)] ^ table[Int(word >> 56)]
                state = low ^ lower ^ upper ^ high
                next += 8
                remaining -= 8
            }
            while remaining > 0 {
                state = state >> 8 ^ table[Int((state ^ UInt32(next.load(as: UInt8.self))) & 0xFF)]
                next += 1
                remaining -= 1
            }
            return state
        }
    }
}
