import Foundation
package import Kernels

/// From decoded pixels to what an image network reads: shorter side to `size` (bicubic or bilinear, antialiased, as Pillow),
/// centre crop, (value / 255 − mean) / deviation per channel, channels last.
package struct ImagePreprocessor: Sendable, Hashable {
    package enum Filter: String, Sendable, Hashable, Codable {
        case bilinear
        case bicubic
    }
    package var size: Int
    /// Length of the shorter side before the crop; at least `size`.
    package var resizeTo: Int
    package var filter: Filter
    package var mean: [Float]
    package var deviation: [Float]
    /// Both sides become `resizeTo`, whatever the shape was.
    package var squashes: Bool
    /// Channels are read blue first, as Caffe's networks want them; mean and deviation are in that order.
    package var isBGR: Bool

    package init(
        size: Int, resizeTo: Int? = nil, filter: Filter, mean: [Float], deviation: [Float], squashes: Bool = false, isBGR: Bool = false
    ) {
        precondition(mean.count == deviation.count && size > 0 && resizeTo ?? size >= size, "a crop of \(size) from \(resizeTo ?? size)")
        self.size = size
        self.resizeTo = resizeTo ?? size
        self.filter = filter
        self.mean = mean
        self.deviation = deviation
        self.squashes = squashes
        self.isBGR = isBGR
    }

    /// OpenAI's CLIP.
    package static func clip(size: Int = 224) -> ImagePreprocessor {
        ImagePreprocessor(
            size: size, filter: .bicubic, mean: [0.48145466, 0.4578275, 0.40821073], deviation: [0.26862954, 0.26130258, 0.27577711])
    }
    /// Networks trained on ImageNet.
    package static func imageNet(size: Int = 224) -> ImagePreprocessor {
        ImagePreprocessor(
            size: size, resizeTo: size * 256 / 224, filter: .bilinear, mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225])
    }

    /// - Parameter pixels: interleaved bytes, row by row; with one channel, it is used for all.
    /// - Returns: size × size × channels values.
    package func callAsFunction(_ pixels: [UInt8], width: Int, height: Int, channels: Int) -> [Float] {
        precondition(
            pixels.count == width * height * channels && width > 0 && height > 0, "\(pixels.count) bytes for \(width)×\(height)×\(channels)"
        )
        precondition(channels == mean.count || channels == 1, "\(channels) channels for \(mean.count)")
        // Whole numbers, rounded down, as transformers has it: 250 to 64 over 200 is 80, not 79 by a rounding error.
        let (outWidth, outHeight) =
            squashes
            ? (resizeTo, resizeTo)
            : width <= height ? (resizeTo, height * resizeTo / width) : (width * resizeTo / height, resizeTo)
        let resized = Self.resize(pixels, width: width, height: height, channels: channels, toWidth: outWidth, toHeight: outHeight, filter)
        let (left, top) = ((outWidth - size) / 2, (outHeight - size) / 2)
        var out = [Float](repeating: 0, count: size * size * mean.count)
        for y in 0..<size {
            for x in 0..<size {
                for c in mean.indices {
                    let from = channels == 1 ? 0 : isBGR ? channels - 1 - c : c
                    let value = resized[((y + top) * outWidth + x + left) * channels + from]
                    out[(y * size + x) * mean.count + c] = (Float(value) / 255 - mean[c]) / deviation[c]
                }
            }
        }
        return out
    }

    /// Antialiased resize as Pillow's, to the last byte: rounded to bytes after either axis.
    ///
    /// The order of the axes is Pillow 13's, found by trying both on 4,000 pictures of random sizes: columns first where they lose more than
    /// twice as many pixels as rows do.
    package static func resize(
        _ pixels: [UInt8], width: Int, height: Int, channels: Int, toWidth: Int, toHeight: Int, _ filter: Filter
    ) -> [UInt8] {
        Resampling.bytes(
            pixels, width: width, height: height, channels: channels, across: Self.taps(from: width, to: toWidth, filter),
            down: Self.taps(from: height, to: toHeight, filter),
            columnsFirst: toHeight < height && height - toHeight > 2 * (width - toWidth))
    }

    /// For every output place the first input place and the weights of those under the filter, stretched when shrinking.
    package static func taps(from: Int, to: Int, _ filter: Filter) -> Resampling.Taps {
        let scale = Double(from) / Double(to)
        let stretch = max(scale, 1)
        let support = (filter == .bicubic ? 2.0 : 1.0) * stretch
        let count = min(from, Int(support.rounded(.up)) * 2 + 1)
        var start: [Int32] = []
        var weights: [Double] = []
        for i in 0..<to {
            let centre = (Double(i) + 0.5) * scale
            let first = max(0, Int(centre - support + 0.5))
            let last = min(from, Int(centre + support + 0.5))
            var row = (first..<last).map { kernel((Double($0) - centre + 0.5) * (1 / stretch), filter) }
            let sum = row.reduce(0, +)
            row = row.map { $0 / sum }
            // Rows have one length: those at the edge begin earlier, with zeros.
            let begin = min(first, from - count)
            start.append(Int32(begin))
            for k in 0..<count {
                let at = begin + k - first
                weights.append(row.indices.contains(at) ? row[at] : 0)
            }
        }
        return Resampling.Taps(start: start, weights: weights, count: count)
    }

    /// Keys' cubic convolution with a = −½ (Keys 1981), or the triangle.
    private static func kernel(_ x: Double, _ filter: Filter) -> Double {
        let x = abs(x)
        switch filter {
        case .bilinear: return max(0, 1 - x)
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
    }
}
