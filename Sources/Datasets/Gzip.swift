internal import CZlib
package import Primitives

/// gzip (RFC 1952) through zlib, streaming: memory does not grow with the file.
package enum Gzip {
    private static let pieceByteCount = 256 << 10

    /// Decompresses a file, all of its members, and returns the plain byte count.
    ///
    /// - Throws: `dataset.truncated` when the stream ends early, `dataset.damaged` when it is no gzip or its checksum is wrong.
    @discardableResult
    package static func decompress(_ source: String, to target: String) throws(AMAFError) -> Int {
        let out = try FileWriter(target)
        let total = try MappedFile(source).withBytes { (bytes) throws(AMAFError) in
            try decompress(bytes, place: source) { (piece) throws(AMAFError) in try out.write(Array(piece)) }
        }
        try out.close()
        return total
    }

    /// The plain bytes of a small file.
    ///
    /// - Throws: as `decompress`, and `dataset.too-large` beyond `limit` bytes.
    package static func decompressed(_ source: String, limit: Int) throws(AMAFError) -> [UInt8] {
        try MappedFile(source).withBytes { (bytes) throws(AMAFError) in
            var plain: [UInt8] = []
            _ = try decompress(bytes, place: source) { (piece) throws(AMAFError) in
                guard plain.count + piece.count <= limit else {
                    throw AMAFError(
                        "dataset.too-large", "The compressed file holds more than \(limit) bytes", place: source,
                        remedy: "Check that it is the file you mean; split it if it is.")
                }
                plain += piece
            }
            return plain
        }
    }

    private static func decompress(
        _ input: UnsafeRawBufferPointer, place source: String, write: (ArraySlice<UInt8>) throws(AMAFError) -> Void
    ) throws(AMAFError) -> Int {
        var stream = z_stream()
        // 16 + the largest window: gzip framing only.
        guard inflateInit2_(&stream, 16 + 15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            preconditionFailure("zlib \(String(cString: zlibVersion())) does not fit its header")
        }
        defer { inflateEnd(&stream) }
        var piece = [UInt8](repeating: 0, count: pieceByteCount)
        var consumed = 0
        var total = 0
        var isInsideMember = true
        while consumed < input.count || isInsideMember {
            let available = min(input.count - consumed, 1 << 30)
            guard available > 0 else {
                throw AMAFError(
                    "dataset.truncated", "The file ends after \(input.count) bytes in the middle of its compressed data",
                    place: source,
                    remedy: "The download was cut off: delete the file and get it again.")
            }
            if !isInsideMember {
                // Zero padding after the last member is allowed, another member too.
                if input[consumed...].allSatisfy({ $0 == 0 }) { break }
                inflateReset(&stream)
                isInsideMember = true
            }
            stream.next_in = UnsafeMutablePointer(
                mutating: input.baseAddress.unsafelyUnwrapped.advanced(by: consumed).assumingMemoryBound(to: UInt8.self))
            stream.avail_in = UInt32(available)
            let (status, made) = piece.withUnsafeMutableBufferPointer { buffer -> (Int32, Int) in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(pieceByteCount)
                let status = inflate(&stream, Z_NO_FLUSH)
                return (status, pieceByteCount - Int(stream.avail_out))
            }
            consumed += available - Int(stream.avail_in)
            total += made
            try write(piece[0..<made])
            switch status {
            case Z_OK: break
            case Z_STREAM_END: isInsideMember = false
            case Z_BUF_ERROR where consumed == input.count: break
            default:
                throw AMAFError(
                    "dataset.damaged",
                    "The compressed data are damaged at byte \(consumed)\(stream.msg.map { ": " + String(cString: $0) } ?? "")",
                    place: source, remedy: "Delete the file and get it again.")
            }
        }
        return total
    }

    /// Whether the file begins as gzip does, whatever its name says.
    package static func isCompressed(_ path: String) throws(AMAFError) -> Bool {
        try MappedFile(path).withBytes { $0.starts(with: [0x1F, 0x8B]) }
    }
}
