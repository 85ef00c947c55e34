/// A picture in memory: (height, width, channels), row by row from the top left, channels interleaved.
package struct DecodedImage: Hashable, Sendable {
    /// As deep as the file has them: a 16-bit PNG stays 16-bit.
    package enum Samples: Hashable, Sendable {
        case bytes([UInt8])
        case words([UInt16])

        var count: Int {
            switch self {
            case .bytes(let values): values.count
            case .words(let values): values.count
            }
        }
    }
    package let width: Int
    package let height: Int
    /// 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
    package let channels: Int
    package let samples: Samples
    /// What the file's header says; larger than `width` and `height` when the decoder shrank it.
    package let fileWidth: Int
    package let fileHeight: Int

    package init(width: Int, height: Int, channels: Int, samples: Samples, fileWidth: Int? = nil, fileHeight: Int? = nil) {
        precondition(
            width > 0 && height > 0 && (1...4).contains(channels) && samples.count == width * height * channels,
            "\(samples.count) samples for \(height)×\(width)×\(channels)")
        self.width = width
        self.height = height
        self.channels = channels
        self.samples = samples
        self.fileWidth = fileWidth ?? width
        self.fileHeight = fileHeight ?? height
    }

    package var hasAlpha: Bool { channels == 2 || channels == 4 }

    /// 8-bit samples without alpha: transparent pixels over black, 16 bits rounded (v / 257).
    ///
    /// - Returns: height × width × 1 (grey) or 3 (RGB) values.
    package var opaqueBytes: (pixels: [UInt8], channels: Int) {
        let values: [UInt8] =
            switch samples {
            case .bytes(let values): values
            case .words(let values): values.map { UInt8((Int($0) + 128) / 257) }
            }
        guard hasAlpha else { return (values, channels) }
        let colours = channels - 1
        var pixels: [UInt8] = []
        pixels.reserveCapacity(width * height * colours)
        for start in stride(from: 0, to: values.count, by: channels) {
            let alpha = Int(values[start + colours])
            for c in 0..<colours { pixels.append(UInt8((Int(values[start + c]) * alpha + 127) / 255)) }
        }
        return (pixels, colours)
    }

    /// 8-bit grey, colours by their luma (ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B).
    package var grey: GreyImage {
        let (pixels, colours) = opaqueBytes
        guard colours == 3 else { return GreyImage(width: width, height: height, pixels: pixels) }
        var luma: [UInt8] = []
        luma.reserveCapacity(width * height)
        for i in stride(from: 0, to: pixels.count, by: 3) {
            // In 1/65536, rounded.
            let (red, green, blue) = (UInt32(pixels[i]), UInt32(pixels[i + 1]), UInt32(pixels[i + 2]))
            let sum: UInt32 = 19_595 * red + 38_470 * green + 7_471 * blue
            luma.append(UInt8((sum + 32_768) >> 16))
        }
        return GreyImage(width: width, height: height, pixels: luma)
    }
}
