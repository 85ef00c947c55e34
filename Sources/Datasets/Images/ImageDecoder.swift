internal import CImageCodecs
package import Primitives

/// Reads JPEG, PNG and PGM files. What the bytes are is told by how they begin, never by a name.
///
/// A picture that is broken or too large throws; nothing is decoded half, because half a picture would be labelled like a whole one.
package struct ImageDecoder: Sendable, Hashable {
    /// Pixels (width × height as the header says) that a file may have; checked before any memory is asked for. A header of some
    /// hundred bytes can promise terabytes.
    package var pixelLimit: Int

    package init(pixelLimit: Int = 1 << 26) { self.pixelLimit = pixelLimit }

    /// - Parameters:
    ///   - place: the file or sample, for messages.
    ///   - smallest: the picture is wanted at this size: a JPEG of at least twice as many pixels a side is shrunk by 2, 4 or 8 while
    ///     it is decoded (a scaled inverse DCT, antialiased by construction), never below this. Nil decodes all pixels.
    /// - Throws: `image.empty`, `image.unknown-format`, `image.truncated`, `image.damaged`, `image.too-large`, `image.no-memory`.
    package func decode(
        _ bytes: UnsafeRawBufferPointer, place: String, smallest: (width: Int, height: Int)? = nil
    ) throws(AMAFError) -> DecodedImage {
        guard !bytes.isEmpty else {
            throw AMAFError("image.empty", "The image has 0 bytes", place: place, remedy: "Copy or download the file again.")
        }
        if bytes.starts(with: [0xFF, 0xD8]) {
            return try JPEGCodec.decode(bytes, place: place, smallest: smallest, pixelLimit: pixelLimit)
        }
        if bytes.starts(with: [0x89, 0x50, 0x4E, 0x47]) { return try decodePNG(bytes, place: place) }
        if bytes.starts(with: Array("P5".utf8)), let first = try PortableGrayMap.decodeAll(bytes, place: place).first {
            return DecodedImage(width: first.width, height: first.height, channels: 1, samples: .bytes(first.pixels))
        }
        let beginning = bytes.prefix(4).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
        throw AMAFError(
            "image.unknown-format", "The image begins with the bytes \(beginning), as none of JPEG, PNG and PGM does", place: place,
            remedy: "Convert it to JPEG or PNG.")
    }

    package func decode(
        _ bytes: [UInt8], place: String, smallest: (width: Int, height: Int)? = nil
    ) throws(AMAFError) -> DecodedImage {
        let result: Result<DecodedImage, AMAFError> = bytes.withUnsafeBytes { buffer in
            do throws(AMAFError) { return .success(try decode(buffer, place: place, smallest: smallest)) } catch { return .failure(error) }
        }
        return try result.get()
    }

    private func decodePNG(_ bytes: UnsafeRawBufferPointer, place: String) throws(AMAFError) -> DecodedImage {
        var info = amaf_png_info()
        // Sixteen-bit rows are read as bytes of the same memory; libpng has put them into this machine's order.
        let memory = PixelMemory()
        let status = amaf_png_read(
            bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count, UInt64(pixelLimit), &info,
            { context, count in Unmanaged<PixelMemory>.fromOpaque(context.unsafelyUnwrapped).takeUnretainedValue().allocate(count) },
            Unmanaged.passUnretained(memory).toOpaque())
        let message = withUnsafeBytes(of: &info.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        let (width, height) = (Int(info.width), Int(info.height))
        switch status {
        case AMAF_CODEC_OK: break
        case AMAF_CODEC_TOO_LARGE: throw .imageTooLarge(width, height, limit: pixelLimit, place: place)
        case AMAF_CODEC_TRUNCATED: throw .imageTruncated("PNG", after: bytes.count, place: place)
        case AMAF_CODEC_NO_MEMORY: throw .imageNoMemory(width, height, place: place)
        default: throw .imageDamaged("PNG", message, place: place)
        }
        let samples: DecodedImage.Samples = info.bits == 16 ? .words(memory.values()) : .bytes(memory.values())
        return DecodedImage(width: width, height: height, channels: Int(info.channels), samples: samples)
    }
}

/// Memory that the C side fills. Owner: the one call that made it.
private final class PixelMemory {
    private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    func allocate(_ count: Int) -> UnsafeMutableRawPointer? {
        buffer = .allocate(byteCount: count, alignment: 16)
        return buffer.baseAddress
    }

    func values<T: FixedWidthInteger>() -> [T] { Array(buffer.bindMemory(to: T.self)) }

    deinit { buffer.deallocate() }
}

extension AMAFError {
    static func imageTooLarge(_ width: Int, _ height: Int, limit: Int, place: String) -> AMAFError {
        AMAFError(
            "image.too-large", "The header promises \(width) × \(height) pixels, more than the \(limit) allowed", place: place,
            remedy: "Shrink the image, or leave it out if it is not what it claims to be.")
    }
    static func imageTruncated(_ format: String, after count: Int, place: String) -> AMAFError {
        AMAFError(
            "image.truncated", "The \(format) ends after \(count) bytes in the middle of its pixels", place: place,
            remedy: "The copy was cut off: get the file again.")
    }
    static func imageDamaged(_ format: String, _ reason: String, place: String) -> AMAFError {
        AMAFError("image.damaged", "The \(format) is damaged: \(reason)", place: place, remedy: "Get the file again.")
    }
    static func imageNoMemory(_ width: Int, _ height: Int, place: String) -> AMAFError {
        AMAFError(
            "image.no-memory", "There is no memory for \(width) × \(height) pixels", place: place,
            remedy: "Give the worker more memory or shrink the image.", isTransient: true)
    }
}
