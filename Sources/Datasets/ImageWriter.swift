internal import CZlib

/// Writes 8-bit grey or RGB images as PNG (ISO 15948), rows unfiltered, deflated by zlib; and PGM/PPM (Netpbm P5, P6).
package enum ImageWriter {
    /// - Parameter pixels: interleaved bytes, row by row.
    /// - Precondition: 1 or 3 channels, both sides positive.
    package static func encode(_ pixels: [UInt8], width: Int, height: Int, channels: Int) -> [UInt8] {
        check(pixels, width, height, channels)
        var rows: [UInt8] = []
        rows.reserveCapacity(pixels.count + height)
        for row in 0..<height {
            rows.append(0)
            rows += pixels[row * width * channels..<(row + 1) * width * channels]
        }
        var packedCount = compressBound(UInt(rows.count))
        let packed = [UInt8](unsafeUninitializedCapacity: Int(packedCount)) { buffer, written in
            let status = compress2(buffer.baseAddress, &packedCount, rows, UInt(rows.count), Z_DEFAULT_COMPRESSION)
            // The buffer is as large as zlib asks for, so only a lack of memory can fail here.
            guard status == Z_OK else { fatalError("zlib cannot compress \(rows.count) bytes: \(status)") }
            written = Int(packedCount)
        }
        let header = bigEndian(width) + bigEndian(height) + [8, channels == 3 ? 2 : 0, 0, 0, 0]
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + chunk("IHDR", header) + chunk("IDAT", packed) + chunk("IEND", [])
    }

    /// The same without compression, for tools that read nothing else.
    package static func netpbm(_ pixels: [UInt8], width: Int, height: Int, channels: Int) -> [UInt8] {
        check(pixels, width, height, channels)
        return Array("P\(channels == 3 ? 6 : 5)\n\(width) \(height)\n255\n".utf8) + pixels
    }

    /// Images of one size in rows of `columns`, one pixel of black between them.
    ///
    /// - Parameter images: all images one after another, each interleaved, row by row.
    /// - Returns: the sheet's pixels with its width and height.
    package static func sheet(
        _ images: [UInt8], count: Int, columns: Int, width: Int, height: Int, channels: Int
    ) -> (pixels: [UInt8], width: Int, height: Int) {
        precondition(count > 0 && columns > 0, "\(count) images in \(columns) columns")
        precondition(images.count == count * width * height * channels, "\(images.count) bytes for \(count) images")
        let rows = (count + columns - 1) / columns
        let (sheetWidth, sheetHeight) = (columns * (width + 1) - 1, rows * (height + 1) - 1)
        var out = [UInt8](repeating: 0, count: sheetWidth * sheetHeight * channels)
        for index in 0..<count {
            let (left, top) = (index % columns * (width + 1), index / columns * (height + 1))
            for row in 0..<height {
                let from = (index * height + row) * width * channels
                let to = ((top + row) * sheetWidth + left) * channels
                out.replaceSubrange(to..<to + width * channels, with: images[from..<from + width * channels])
            }
        }
        return (out, sheetWidth, sheetHeight)
    }

    private static func check(_ pixels: [UInt8], _ width: Int, _ height: Int, _ channels: Int) {
        precondition(
            (channels == 1 || channels == 3) && width > 0 && height > 0 && pixels.count == width * height * channels,
            "\(pixels.count) bytes for \(width)×\(height)×\(channels)")
    }

    private static func bigEndian(_ value: Int) -> [UInt8] { (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) } }

    private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
        let body = Array(type.utf8) + data
        return bigEndian(data.count) + body + bigEndian(Int(crc32_z(0, body, body.count)))
    }
}
