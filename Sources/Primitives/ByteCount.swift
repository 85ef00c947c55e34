/// Sizes as people write them on command lines: `400MiB`, `2 GiB`, `1048576`.
package enum ByteCount {
    package static func parse(_ text: String) throws(AMAFError) -> Int {
        let digits = text.prefix { $0.isNumber || $0 == "." }
        let unit = text.dropFirst(digits.count).drop { $0 == " " }
        let powers: [String: Double] = ["": 1, "B": 1, "KiB": 1024, "MiB": 1_048_576, "GiB": 1_073_741_824, "TiB": 1_099_511_627_776]
        guard let number = Double(digits), let scale = powers[String(unit)], number * scale >= 1, number * scale < 1e18 else {
            throw AMAFError(
                "cli.bad-size", "'\(text)' is not a size", remedy: "Write a number with B, KiB, MiB, GiB or TiB, for example 2GiB.")
        }
        return Int(number * scale)
    }
}
