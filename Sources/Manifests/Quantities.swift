internal import Primitives
internal import Yams

// Quantities with a unit, as manifests write them: `20 %`, `15 s`, `4 GiB`.

extension YAMLMapping {
    /// A share (`0.2`, `20 %`) in (0, 1] or a whole count; `1` is one sample and `1.0` all of them.
    mutating func amount(_ key: String) throws(AMAFError) -> Amount? {
        guard let node = value(key) else { return nil }
        return try amount(key, node)
    }

    func amount(_ key: String, _ node: Node) throws(AMAFError) -> Amount {
        guard let written = node.scalar?.string else { throw wrongType(key, node, needs: "a share or a count", example: "0.2") }
        if let count = Int(written.replacing("_", with: "")) {
            guard count >= 1 else { throw outOfRange(key, node, written, "a share in (0, 1] or a count of at least 1") }
            return .count(count)
        }
        let isPercent = written.hasSuffix("%")
        let digits = isPercent ? String(written.dropLast().reversed().drop { $0 == " " }.reversed()) : written
        guard let number = Double(digits), number.isFinite else { throw wrongType(key, node, needs: "a share or a count", example: "0.2") }
        let share = isPercent ? number / 100 : number
        guard share > 0, share <= 1 else { throw outOfRange(key, node, written, "a share in (0, 1] or a whole count") }
        return .share(share)
    }

    mutating func duration(_ key: String) throws(AMAFError) -> Duration? {
        guard let node = value(key) else { return nil }
        guard let (number, unit) = Self.split(node) else { throw wrongType(key, node, needs: "a time with its unit", example: "15 s") }
        let scale: Double
        switch unit {
        case "ms": scale = 1e-3
        case "s": scale = 1
        case "min": scale = 60
        case "h": scale = 3600
        default: throw wrongType(key, node, needs: "a time in ms, s, min or h", example: "15 s")
        }
        guard number > 0, number * scale < 1e9 else {
            throw outOfRange(key, node, "\(number) \(unit)", "greater than 0 and less than 30 years")
        }
        return .nanoseconds(Int64(number * scale * 1e9))
    }

    mutating func byteCount(_ key: String) throws(AMAFError) -> UInt64? {
        guard let node = value(key) else { return nil }
        guard let (number, unit) = Self.split(node) else { throw wrongType(key, node, needs: "a size with its unit", example: "4 GiB") }
        let scales = ["B": 0.0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40]
        guard let power = scales[unit] else { throw wrongType(key, node, needs: "a size in B, KiB, MiB, GiB or TiB", example: "4 GiB") }
        let bytes = number * Double(UInt64(1) << UInt64(power))
        guard bytes >= 1, bytes < 1e18 else { throw outOfRange(key, node, "\(number) \(unit)", "at least one byte") }
        return UInt64(bytes)
    }

    private static func split(_ node: Node) -> (Double, String)? {
        guard let written = node.scalar?.string else { return nil }
        let digits = written.prefix { $0.isNumber || $0 == "." || $0 == "_" }
        let unit = written.dropFirst(digits.count).drop { $0 == " " }
        guard let number = Double(digits.replacing("_", with: "")) else { return nil }
        return (number, String(unit))
    }
}
