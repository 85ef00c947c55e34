internal import CTurboJPEG
internal import Primitives

/// JPEG through libjpeg-turbo.
package enum JPEGCodec {
    /// A handle holds scratch memory of one thread's calls; making one costs some microseconds, so every call makes its own.
    private final class Handle {
        let raw: tjhandle
        init?(_ raw: tjhandle?) {
            guard let raw else { return nil }
            self.raw = raw
        }
        deinit { tjDestroy(raw) }
        var message: String { String(cString: tjGetErrorStr2(raw)) }
    }

    static func decode(
        _ bytes: UnsafeRawBufferPointer, place: String, smallest: (width: Int, height: Int)?, pixelLimit: Int
    ) throws(AMAFError) -> DecodedImage {
        guard let handle = Handle(tjInitDecompress()) else { throw .imageNoMemory(0, 0, place: place) }
        let source = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
        var (fileWidth, fileHeight, subsampling, space): (Int32, Int32, Int32, Int32) = (0, 0, 0, 0)
        let headerStatus = tjDecompressHeader3(handle.raw, source, UInt(bytes.count), &fileWidth, &fileHeight, &subsampling, &space)
        // A warning here comes again when the pixels are read, and is judged there.
        guard headerStatus == 0 || tjGetErrorCode(handle.raw) == TJERR_WARNING.rawValue, fileWidth > 0, fileHeight > 0 else {
            throw failure(handle.message, bytes, place: place)
        }
        guard Int(fileWidth) * Int(fileHeight) <= pixelLimit else {
            throw .imageTooLarge(Int(fileWidth), Int(fileHeight), limit: pixelLimit, place: place)
        }
        let shrink = shrinkage(Int(fileWidth), Int(fileHeight), smallest: smallest)
        // TJSCALED: rounded up.
        let (width, height) = ((Int(fileWidth) + shrink - 1) / shrink, (Int(fileHeight) + shrink - 1) / shrink)
        let isFourColour = space == TJCS_CMYK.rawValue || space == TJCS_YCCK.rawValue
        let format = space == TJCS_GRAY.rawValue ? TJPF_GRAY : isFourColour ? TJPF_CMYK : TJPF_RGB
        let channels = format == TJPF_GRAY ? 1 : isFourColour ? 4 : 3
        var status: Int32 = 0
        var pixels = [UInt8](unsafeUninitializedCapacity: width * height * channels) { out, written in
            // LIMITSCANS: a progressive file of thousands of scans would decode for hours.
            status = tjDecompress2(
                handle.raw, source, UInt(bytes.count), out.baseAddress, Int32(width), 0, Int32(height), format.rawValue,
                TJFLAG_LIMITSCANS)
            written = status == 0 || tjGetErrorCode(handle.raw) == TJERR_WARNING.rawValue ? width * height * channels : 0
        }
        if status != 0 {
            // A warning means that the library went on and filled in what was missing. Stray bytes between segments are all that
            // it may mend, and then the end must be there.
            let isMended = !pixels.isEmpty && handle.message.contains("extraneous bytes") && endsProperly(bytes)
            guard isMended else { throw failure(handle.message, bytes, place: place) }
        }
        if isFourColour { pixels = opaqueRGB(invertedCMYK: pixels) }
        return DecodedImage(
            width: width, height: height, channels: isFourColour ? 3 : channels, samples: .bytes(pixels), fileWidth: Int(fileWidth),
            fileHeight: Int(fileHeight))
    }

    /// The largest of 8, 4, 2, 1 that leaves at least `smallest` pixels on both sides.
    static func shrinkage(_ width: Int, _ height: Int, smallest: (width: Int, height: Int)?) -> Int {
        guard let smallest else { return 1 }
        return [8, 4, 2].first { width >= smallest.width * $0 && height >= smallest.height * $0 } ?? 1
    }

    private static func failure(_ message: String, _ bytes: UnsafeRawBufferPointer, place: String) -> AMAFError {
        let isCut = message.contains("Premature end") || (message.contains("no image") && bytes.count < 64)
        return isCut ? .imageTruncated("JPEG", after: bytes.count, place: place) : .imageDamaged("JPEG", message, place: place)
    }

    /// Whether an end-of-image marker stands among the last bytes; some cameras pad behind it.
    private static func endsProperly(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let tail = bytes.suffix(64)
        return zip(tail, tail.dropFirst()).contains { $0 == 0xFF && $1 == 0xD9 }
    }

    /// Four-colour JPEGs come from Adobe's programs, which store the inks inverted: R = C · K / 255.
    private static func opaqueRGB(invertedCMYK inks: [UInt8]) -> [UInt8] {
        var pixels: [UInt8] = []
        pixels.reserveCapacity(inks.count / 4 * 3)
        for i in stride(from: 0, to: inks.count, by: 4) {
            for c in 0..<3 { pixels.append(UInt8((Int(inks[i + c]) * Int(inks[i + 3]) + 127) / 255)) }
        }
        return pixels
    }

    /// Writes a baseline JPEG, colours at half resolution (4:2:0).
    ///
    /// - Parameters:
    ///   - pixels: height × width × channels, channels 1 (grey) or 3 (RGB).
    ///   - quality: 1...100.
    package static func encode(_ pixels: [UInt8], width: Int, height: Int, channels: Int, quality: Int) -> [UInt8] {
        precondition(channels == 1 || channels == 3, "a JPEG of \(channels) channels")
        precondition(pixels.count == width * height * channels && (1...100).contains(quality), "\(pixels.count) values, quality \(quality)")
        guard let handle = Handle(tjInitCompress()) else { preconditionFailure("no memory for a JPEG encoder") }
        var (buffer, count): (UnsafeMutablePointer<UInt8>?, UInt) = (nil, 0)
        defer { tjFree(buffer) }
        let status = tjCompress2(
            handle.raw, pixels, Int32(width), 0, Int32(height), (channels == 1 ? TJPF_GRAY : TJPF_RGB).rawValue, &buffer, &count,
            Int32((channels == 1 ? TJSAMP_GRAY : TJSAMP_420).rawValue), Int32(quality), 0)
        precondition(status == 0, "a JPEG of \(width) × \(height) cannot be written: \(handle.message)")
        return Array(UnsafeBufferPointer(start: buffer, count: Int(count)))
    }
}
