/// Small grey pictures side by side in rows, for the eye: no number replaces looking.
package struct PictureSheet: Sendable, Hashable {
    package private(set) var width: Int
    package private(set) var height: Int
    /// Grey, row by row.
    package private(set) var pixels: [UInt8]

    /// - Parameters:
    ///   - rows: pictures of `tile` pixels each; rows may be of different lengths.
    ///   - magnification: each pixel becomes a square of so many.
    package init(rows: [[[UInt8]]], tile: (width: Int, height: Int), magnification: Int = 2, gap: Int = 2) {
        precondition(magnification > 0 && gap >= 0 && tile.width > 0 && tile.height > 0, "a sheet of nothing")
        let columns = rows.map(\.count).max() ?? 0
        let (w, h) = (tile.width * magnification, tile.height * magnification)
        width = max(1, gap + columns * (w + gap))
        height = max(1, gap + rows.count * (h + gap))
        pixels = [UInt8](repeating: 128, count: width * height)
        for (r, row) in rows.enumerated() {
            for (c, picture) in row.enumerated() {
                precondition(picture.count == tile.width * tile.height, "a picture of \(picture.count) pixels")
                let (x0, y0) = (gap + c * (w + gap), gap + r * (h + gap))
                for y in 0..<h {
                    for x in 0..<w {
                        pixels[(y0 + y) * width + x0 + x] = picture[y / magnification * tile.width + x / magnification]
                    }
                }
            }
        }
    }

    /// Binary PGM (P5), which needs no compression.
    package func pgm() -> [UInt8] { Array("P5\n\(width) \(height)\n255\n".utf8) + pixels }
}
