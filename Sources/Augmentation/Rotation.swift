package import Primitives

/// By how much images of a class may be turned without ceasing to be of it.
///
/// X-rays: ±15°, never mirrored, because a mirrored chest has its heart on the wrong side (dextrocardia is a finding).
package struct RotationRule: Sendable, Hashable, Codable {
    /// In degrees, both ways; 0 forbids.
    package var maximumDegrees: Double
    package var mayMirror: Bool

    package init(maximumDegrees: Double, mayMirror: Bool = false) {
        self.maximumDegrees = maximumDegrees
        self.mayMirror = mayMirror
    }

    package static let radiograph = RotationRule(maximumDegrees: 15)

    /// - Throws: `augmentation.rotation`.
    package func validate() throws(AMAFError) {
        guard maximumDegrees.isFinite, maximumDegrees >= 0, maximumDegrees <= 180 else {
            throw AMAFError("augmentation.rotation", "A rotation by ±\(maximumDegrees)°", remedy: "Give an angle from 0 to 180 degrees.")
        }
    }
}

/// Which classes may be turned by how much: one rule for all, and exceptions.
package struct RotationRules: Sendable, Hashable, Codable {
    package var standard: RotationRule
    package var byClass: [Int: RotationRule]

    package init(standard: RotationRule = .radiograph, byClass: [Int: RotationRule] = [:]) {
        self.standard = standard
        self.byClass = byClass
    }

    package func rule(_ label: Int) -> RotationRule { byClass[label] ?? standard }
}

/// Grey images turned about their centre.
package enum GreyRotation {
    /// One legal turn of an image, drawn from `generator`.
    ///
    /// - Throws: `augmentation.rotation` when the class allows none.
    package static func draw(
        _ image: [UInt8], width: Int, height: Int, rule: RotationRule, generator: inout SeededGenerator
    ) throws(AMAFError) -> [UInt8] {
        try rule.validate()
        guard rule.maximumDegrees > 0 || rule.mayMirror else {
            throw AMAFError(
                "augmentation.rotation", "The class may neither be turned nor mirrored", remedy: "Choose another method for it.")
        }
        let degrees = (generator.uniform() * 2 - 1) * rule.maximumDegrees
        let mirror = rule.mayMirror && generator.next() & 1 == 1
        return turn(image, width: width, height: height, degrees: degrees, mirror: mirror)
    }

    /// Counter-clockwise by `degrees`, bilinear in 2 × 2 subsamples a pixel; what comes from outside is 0.
    package static func turn(_ image: [UInt8], width: Int, height: Int, degrees: Double, mirror: Bool = false) -> [UInt8] {
        precondition(image.count == width * height, "\(image.count) pixels for \(width) × \(height)")
        let (sine, cosine) = sineAndCosine(degrees: degrees)
        let (cx, cy) = (Double(width) / 2, Double(height) / 2)
        var out = [UInt8](repeating: 0, count: image.count)
        func pixel(_ x: Int, _ y: Int) -> Double {
            x >= 0 && x < width && y >= 0 && y < height ? Double(image[y * width + x]) : 0
        }
        for y in 0..<height {
            for x in 0..<width {
                var sum = 0.0
                for sub in 0..<4 {
                    // Pixel centres lie at halves; subsamples at quarters around them. No turn, no subsamples: the image itself.
                    let spread = degrees == 0 ? 0 : 0.25
                    let dx = Double(x) + 0.5 + (sub & 1 == 0 ? -spread : spread) - cx
                    let dy = Double(y) + 0.5 + (sub & 2 == 0 ? -spread : spread) - cy
                    var sx = cosine * dx - sine * dy
                    let sy = sine * dx + cosine * dy
                    if mirror { sx = -sx }
                    let (fx, fy) = (sx + cx - 0.5, sy + cy - 0.5)
                    let (left, top) = (fx.rounded(.down), fy.rounded(.down))
                    let (u, v) = (fx - left, fy - top)
                    let (x0, y0) = (Int(left), Int(top))
                    sum += (1 - v) * ((1 - u) * pixel(x0, y0) + u * pixel(x0 + 1, y0))
                    sum += v * ((1 - u) * pixel(x0, y0 + 1) + u * pixel(x0 + 1, y0 + 1))
                }
                out[y * width + x] = UInt8(min(max((sum / 4).rounded(), 0), 255))
            }
        }
        return out
    }
}
