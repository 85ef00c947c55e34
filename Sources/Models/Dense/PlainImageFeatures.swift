package import Datasets
import Foundation
package import Primitives

/// Image features that need no weights: histograms of oriented gradients and the pixels themselves.
package struct PlainImageFeatures: Hashable, Sendable, Codable {
    package enum Part: String, Hashable, Sendable, Codable, CaseIterable {
        /// Histograms of oriented gradients (Dalal and Triggs 2005): 9 unsigned orientations in cells, blocks of 2 × 2 cells, L2-Hys.
        case gradients
        /// Grey values in 0…1, times `pixelWeight`.
        case pixels
    }
    package var parts: [Part]
    /// Images are read at side × side.
    package var side: Int
    /// Side of a cell in pixels; divides `side`.
    package var cell: Int
    /// Pixels would outweigh gradients, whose blocks have length 1.
    package var pixelWeight: Float

    package static let orientations = 9

    /// - Throws: `features.configuration`.
    package init(parts: [Part] = [.gradients, .pixels], side: Int = 28, cell: Int? = nil, pixelWeight: Float = 0.5) throws(AMAFError) {
        self.parts = parts
        self.side = side
        // Seven cells a side, or as near as divides it.
        self.cell = cell ?? (2...max(2, side / 3)).filter { side % $0 == 0 }.min { abs($0 * 7 - side) < abs($1 * 7 - side) } ?? 2
        self.pixelWeight = pixelWeight
        guard !parts.isEmpty, (8...256).contains(side), side % self.cell == 0, side / self.cell >= 2 else {
            throw AMAFError(
                "features.configuration", "Images of \(side) × \(side) pixels have no cells of \(self.cell)",
                remedy: "Choose a side of 8 to 256 that the cell divides twice or more.")
        }
    }

    package var columns: Int {
        let blocks = side / cell - 1
        return parts.reduce(0) { $0 + ($1 == .pixels ? side * side : blocks * blocks * 4 * Self.orientations) }
    }

    /// - Precondition: the image is side × side.
    package func callAsFunction(_ image: GreyImage) -> [Float] {
        precondition(image.width == side && image.height == side, "an image of \(image.width) × \(image.height) where \(side) is read")
        var values: [Float] = []
        values.reserveCapacity(columns)
        for part in parts {
            switch part {
            case .pixels: values += image.pixels.map { Float($0) / 255 * pixelWeight }
            case .gradients: values += gradients(image)
            }
        }
        return values
    }

    private func gradients(_ image: GreyImage) -> [Float] {
        let bins = Self.orientations
        let cells = side / cell
        var histogram = [Float](repeating: 0, count: cells * cells * bins)
        image.pixels.withUnsafeBufferPointer { pixels in
            for y in 0..<side {
                for x in 0..<side {
                    // Central differences; none across the border.
                    let dx = x > 0 && x < side - 1 ? Float(Int(pixels[y * side + x + 1]) - Int(pixels[y * side + x - 1])) / 255 : 0
                    let dy = y > 0 && y < side - 1 ? Float(Int(pixels[(y + 1) * side + x]) - Int(pixels[(y - 1) * side + x])) / 255 : 0
                    let magnitude = (dx * dx + dy * dy).squareRoot()
                    guard magnitude > 0 else { continue }
                    var angle = atan2f(dy, dx)
                    if angle < 0 { angle += .pi }
                    // Shared between the two nearest orientations.
                    let place = angle / .pi * Float(bins) - 0.5
                    let lower = place.rounded(.down)
                    let part = place - lower
                    let first = (Int(lower) + bins) % bins
                    let start = (y / cell * cells + x / cell) * bins
                    histogram[start + first] += magnitude * (1 - part)
                    histogram[start + (first + 1) % bins] += magnitude * part
                }
            }
        }
        var values: [Float] = []
        for y in 0..<cells - 1 {
            for x in 0..<cells - 1 {
                var block: [Float] = []
                for (cy, cx) in [(y, x), (y, x + 1), (y + 1, x), (y + 1, x + 1)] {
                    let start = (cy * cells + cx) * bins
                    block += histogram[start..<start + bins]
                }
                Self.normalise(&block)
                for i in block.indices { block[i] = min(block[i], 0.2) }
                Self.normalise(&block)
                values += block
            }
        }
        return values
    }

    private static func normalise(_ block: inout [Float]) {
        let length = (block.reduce(0) { $0 + $1 * $1 } + 1e-4).squareRoot()
        for i in block.indices { block[i] /= length }
    }
}
