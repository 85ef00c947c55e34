/// Numbers as reports print them: fixed decimals, no locale, the same on every machine.
package enum NumberText {
    package static let missing = "–"

    /// `value` rounded half away from zero to `decimals` places, `1,234.50`.
    package static func fixed(_ value: Double?, decimals: Int, grouped: Bool = true) -> String {
        guard let value, value.isFinite else { return missing }
        precondition(decimals >= 0 && decimals <= 9, "\(decimals) decimals")
        var scale = 1.0
        for _ in 0..<decimals { scale *= 10 }
        // The nudge rounds 0.285, stored a hair below, as it is written; it is far below the last printed digit.
        let magnitude = abs(value) * scale
        let scaled = (magnitude + magnitude * 1e-15).rounded(.toNearestOrAwayFromZero)
        guard scaled < 9e15 else { return "\(value)" }
        let digits = Int(scaled)
        let whole = digits / Int(scale)
        var text = grouped ? integer(whole) : String(whole)
        if decimals > 0 {
            let part = String(digits % Int(scale))
            text += "." + String(repeating: "0", count: decimals - part.count) + part
        }
        return value < 0 && digits > 0 ? "−" + text : text
    }

    /// `15,000`.
    package static func integer(_ value: Int) -> String {
        let digits = Array(String(value.magnitude))
        var text = value < 0 ? "−" : ""
        for (i, digit) in digits.enumerated() {
            if i > 0 && (digits.count - i) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// A fraction as percent: `96.35 %`.
    package static func percent(_ fraction: Double?, decimals: Int = 2) -> String {
        guard let fraction else { return missing }
        return fixed(fraction * 100, decimals: decimals) + " %"
    }

    /// A difference of fractions in percentage points with its sign: `+5.12`.
    package static func points(_ difference: Double?, decimals: Int = 2) -> String {
        guard let difference else { return missing }
        let text = fixed(difference * 100, decimals: decimals)
        return difference > 0 && text.contains(where: { $0 >= "1" && $0 <= "9" }) ? "+" + text : text
    }

    /// p values: `< 0.0001` below that, four decimals otherwise.
    package static func pValue(_ p: Double?) -> String {
        guard let p else { return missing }
        return p < 0.0001 ? "< 0.0001" : fixed(p, decimals: 4)
    }

    /// `0.84 s`, `12.3 s`, `4 min 05 s`, `3 h 12 min`.
    package static func duration(_ seconds: Double?) -> String {
        guard let seconds, seconds.isFinite else { return missing }
        if seconds < 10 { return fixed(seconds, decimals: 2) + " s" }
        if seconds < 100 { return fixed(seconds, decimals: 1) + " s" }
        let whole = Int(seconds.rounded())
        func two(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
        return whole < 6000 ? "\(whole / 60) min \(two(whole % 60)) s" : "\(integer(whole / 3600)) h \(two(whole / 60 % 60)) min"
    }

    /// `212 MiB`.
    package static func mebibytes(_ bytes: UInt64) -> String { fixed(Double(bytes) / 1_048_576, decimals: 0) + " MiB" }

    /// Up to four decimals without trailing zeros: `4`, `2.5`.
    package static func shortest(_ value: Double) -> String {
        var text = fixed(value, decimals: 4)
        guard text.contains(".") else { return text }
        while text.hasSuffix("0") { text.removeLast() }
        if text.hasSuffix(".") { text.removeLast() }
        return text
    }

    /// Several runs in one cell: `96.31 ± 0.12 %`, or one value as percent.
    package static func spread(_ spread: RunReport.Spread?) -> String {
        guard let spread else { return missing }
        guard let deviation = spread.standardDeviation else { return percent(spread.mean) }
        return fixed(spread.mean * 100, decimals: 2) + " ± " + fixed(deviation * 100, decimals: 2) + " %"
    }
}
