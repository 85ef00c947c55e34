package import Datasets

/// Numbers of a sample's thumbnail, which thresholds read as the fields `image.NAME`. All are between 0 and 1 unless said otherwise.
package enum ImageStatistics {
    package static let prefix = "image."

    private static let known: [String: @Sendable (GreyImage) -> Double] = [
        "mean": { mean($0, 0..<$0.width, 0..<$0.height) },
        "contrast": { contrast($0) },
        "edge-density": { edges($0).density },
        "edge-uprightness": { edges($0).uprightness },
        "symmetry": { symmetry($0) },
        "left-right-difference": { leftRightDifference($0) },
        "opacity": { opacity($0) },
        "lower-opacity": { lowerOpacity($0) },
        "dark-share": { image in Double(image.pixels.count { $0 < 64 }) / Double(image.pixels.count) },
        "bright-share": { image in Double(image.pixels.count { $0 >= 192 }) / Double(image.pixels.count) },
    ]

    package static var names: [String] { known.keys.sorted() }

    /// The statistic of a field's name; nil when the field names none.
    package static func value(_ field: String, of image: GreyImage) -> Double? {
        guard field.hasPrefix(prefix), let statistic = known[String(field.dropFirst(prefix.count))] else { return nil }
        return statistic(image)
    }

    /// Grey of a part, as a share of white.
    private static func mean(_ image: GreyImage, _ columns: Range<Int>, _ rows: Range<Int>) -> Double {
        guard !columns.isEmpty, !rows.isEmpty else { return 0 }
        var sum = 0
        for y in rows { for x in columns { sum += Int(image.pixels[y * image.width + x]) } }
        return Double(sum) / Double(255 * columns.count * rows.count)
    }

    /// Standard deviation of grey; at most ½.
    private static func contrast(_ image: GreyImage) -> Double {
        let average = mean(image, 0..<image.width, 0..<image.height)
        let sum = image.pixels.reduce(0.0) { $0 + (Double($1) / 255 - average) * (Double($1) / 255 - average) }
        return (sum / Double(image.pixels.count)).squareRoot()
    }

    /// Share of inner pixels whose central difference exceeds a tenth of white, and how much of all differences is upright edges.
    private static func edges(_ image: GreyImage) -> (density: Double, uprightness: Double) {
        guard image.width > 2, image.height > 2 else { return (0, 0.5) }
        var (count, across, along) = (0, 0.0, 0.0)
        for y in 1..<image.height - 1 {
            for x in 1..<image.width - 1 {
                let at = y * image.width + x
                let dx = Double(Int(image.pixels[at + 1]) - Int(image.pixels[at - 1])) / 255
                let dy = Double(Int(image.pixels[at + image.width]) - Int(image.pixels[at - image.width])) / 255
                across += dx * dx
                along += dy * dy
                if dx * dx + dy * dy > 0.01 { count += 1 }
            }
        }
        let inner = (image.width - 2) * (image.height - 2)
        return (Double(count) / Double(inner), across + along > 0 ? across / (across + along) : 0.5)
    }

    /// Correlation of the picture with its mirror image, between −1 and 1; 0 where a picture is even.
    private static func symmetry(_ image: GreyImage) -> Double {
        let average = mean(image, 0..<image.width, 0..<image.height)
        var (product, square) = (0.0, 0.0)
        for y in 0..<image.height {
            for x in 0..<image.width {
                let here = Double(image.pixels[y * image.width + x]) / 255 - average
                let there = Double(image.pixels[y * image.width + image.width - 1 - x]) / 255 - average
                product += here * there
                square += here * here
            }
        }
        return square > 0 ? product / square : 0
    }

    private static func leftRightDifference(_ image: GreyImage) -> Double {
        abs(
            mean(image, 0..<image.width / 2, 0..<image.height)
                - mean(image, (image.width + 1) / 2..<image.width, 0..<image.height))
    }

    /// Mean grey of the two lung fields of a frontal chest X-ray (the middle half of the height, the inner parts of both sides) less that
    /// of the whole, between −1 and 1: air is dark, fluid and consolidation are not.
    private static func opacity(_ image: GreyImage) -> Double {
        lungs(image, image.height / 4..<max(image.height * 3 / 4, image.height / 4 + 1)) - mean(image, 0..<image.width, 0..<image.height)
    }

    /// The same of the lower half of the lung fields less the upper one.
    private static func lowerOpacity(_ image: GreyImage) -> Double {
        let (top, middle, bottom) = (image.height / 4, image.height / 2, image.height * 3 / 4)
        guard top < middle, middle < bottom else { return 0 }
        return lungs(image, middle..<bottom) - lungs(image, top..<middle)
    }

    private static func lungs(_ image: GreyImage, _ rows: Range<Int>) -> Double {
        let w = image.width
        let (left, right) = (w * 3 / 20..<max(w * 2 / 5, w * 3 / 20 + 1), w * 3 / 5..<max(w * 17 / 20, w * 3 / 5 + 1))
        guard right.upperBound <= w else { return 0 }
        return (mean(image, left, rows) + mean(image, right, rows)) / 2
    }
}
