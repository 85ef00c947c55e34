internal import Glibc

/// Maps data onto a stretch of pixels and chooses round tick values.
struct ChartScale {
    var domain: ClosedRange<Double>
    var pixels: (from: Double, to: Double)

    func callAsFunction(_ value: Double) -> Double {
        let span = domain.upperBound - domain.lowerBound
        let share = span > 0 ? (value - domain.lowerBound) / span : 0.5
        return pixels.from + share * (pixels.to - pixels.from)
    }

    /// Multiples of 1, 2 or 5 · 10ᵏ inside the domain, about `count` of them.
    func ticks(about count: Int) -> [Double] { ticks(step: Self.step(span: domain.upperBound - domain.lowerBound, about: count)) }

    /// The multiples of `step` inside the domain.
    func ticks(step: Double) -> [Double] {
        guard step > 0 else { return [domain.lowerBound] }
        let first = (domain.lowerBound / step - 1e-9).rounded(.up)
        let last = (domain.upperBound / step + 1e-9).rounded(.down)
        guard first <= last else { return [] }
        return stride(from: first, through: last, by: 1).map { $0 * step }
    }

    static func step(span: Double, about count: Int) -> Double {
        guard span > 0 else { return 0 }
        let raw = span / Double(max(1, count))
        let magnitude = pow(10, floor(log10(raw)))
        let lead = raw / magnitude
        return (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10) * magnitude
    }
}

/// The little SVG that charts need. Coordinates have one decimal and an ASCII minus; colours are CSS classes, so one
/// picture serves light and dark.
struct SVGCanvas {
    var width: Double
    var height: Double
    private(set) var body = ""

    init(width: Double, height: Double) {
        self.width = width
        self.height = height
    }

    static func number(_ value: Double) -> String {
        NumberText.fixed(value, decimals: 1, grouped: false).replacing("−", with: "-")
    }
    private static func points(_ list: [(Double, Double)]) -> String {
        list.map { number($0.0) + "," + number($0.1) }.joined(separator: " ")
    }

    mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
        body +=
            "<line x1=\"\(Self.number(x1))\" y1=\"\(Self.number(y1))\" x2=\"\(Self.number(x2))\" y2=\"\(Self.number(y2))\" class=\"\(style)\"/>\n"
    }
    mutating func polyline(_ list: [(Double, Double)], _ style: String) {
        body += "<polyline points=\"\(Self.points(list))\" class=\"\(style)\"/>\n"
    }
    mutating func polygon(_ list: [(Double, Double)], _ style: String) {
        body += "<polygon points=\"\(Self.points(list))\" class=\"\(style)\"/>\n"
    }
    mutating func rectangle(_ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String) {
        body +=
            "<rect x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width))\" height=\"\(Self.number(height))\" class=\"\(style)\"/>\n"
    }
    /// - Parameter title: shown by browsers on hover.
    mutating func circle(_ x: Double, _ y: Double, radius: Double, _ style: String, title: String = "") {
        let tip = title.isEmpty ? "/>" : "><title>\(HTMLText.escape(title))</title></circle>"
        body += "<circle cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"\(Self.number(radius))\" class=\"\(style)\"\(tip)\n"
    }
    /// - Parameter anchor: `start`, `middle` or `end`.
    mutating func text(_ text: String, _ x: Double, _ y: Double, _ style: String, anchor: String = "start", rotated: Bool = false) {
        let turn = rotated ? " transform=\"rotate(-90 \(Self.number(x)) \(Self.number(y)))\"" : ""
        body +=
            "<text x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" class=\"\(style)\" text-anchor=\"\(anchor)\"\(turn)>\(HTMLText.escape(text))</text>\n"
    }

    /// - Parameter label: what the picture shows, for people who cannot see it.
    func render(label: String) -> String {
        "<svg viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\" role=\"img\" aria-label=\"\(HTMLText.escape(label))\">\n\(body)</svg>\n"
    }
}

/// Text that may come from anywhere, made harmless for HTML and SVG.
enum HTMLText {
    /// Escapes the five markup characters; control characters and those that reorder text become U+FFFD, so that a file
    /// name or a class name can neither end a tag nor pretend to be other text.
    static func escape(_ text: String) -> String {
        var out = ""
        out.reserveCapacity(text.utf8.count)
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": out += "&amp;"
            case "<": out += "&lt;"
            case ">": out += "&gt;"
            case "\"": out += "&quot;"
            case "'": out += "&#39;"
            case "\n", "\t": out += " "
            default: out.unicodeScalars.append(isHostile(scalar) ? "\u{FFFD}" : scalar)
            }
        }
        return out
    }

    /// C0 and C1 controls, and the bidirectional overrides, embeddings and isolates.
    static func isHostile(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0...0x1F, 0x7F...0x9F, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
