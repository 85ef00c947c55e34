import CZlib

/// Writes PNG by the book (RFC 2083), without libpng: what the decoder is compared with.
enum PNGWriter {
    /// - Parameters:
    ///   - colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
    ///   - rows: each without its filter byte.
    static func file(width: Int, height: Int, bits: UInt8, colour: UInt8, rows: [[UInt8]], chunks: [(String, [UInt8])] = []) -> [UInt8] {
        var out: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
        out += chunk("IHDR", bigEndian(width) + bigEndian(height) + [bits, colour, 0, 0, 0])
        for (name, bytes) in chunks { out += chunk(name, bytes) }
        let raw = Array(rows.map { [0] + $0 }.joined())
        var (count, packed) = (compressBound(UInt(raw.count)), [UInt8]())
        packed = [UInt8](repeating: 0, count: Int(count))
        compress(&packed, &count, raw, UInt(raw.count))
        out += chunk("IDAT", Array(packed[..<Int(count)]))
        return out + chunk("IEND", [])
    }

    static func bigEndian(_ value: Int) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }

    private static func chunk(_ name: String, _ bytes: [UInt8]) -> [UInt8] {
        let body = Array(name.utf8) + bytes
        return bigEndian(bytes.count) + body + bigEndian(Int(crc32(0, body, UInt32(body.count))))
    }
}
