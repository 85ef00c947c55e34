import ArgumentParser
import Foundation
import Primitives

/// Writing to people and scripts. Results go to standard output at once; news and errors go to standard error.
enum Console {
    /// `print` is block-buffered when redirected, so a killed process would lose its lines.
    static func out(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
    static func note(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }

    static var isTerminal: Bool { isatty(2) == 1 }

    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        out(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}

/// Exit codes that scripts can trust; see `amaf --help`.
enum AMAFExit {
    static let failed = ExitCode(1)
    static let waitingForPeople = ExitCode(3)
    static let interrupted = ExitCode(130)
}

struct OutputOptions: ParsableArguments {
    @Flag(help: "Write JSON to standard output instead of text.")
    var json = false
}

/// Runs the body of a command; an error of ours becomes one line (or one JSON object) and exit code 1.
func reporting(json: Bool, _ body: () throws -> Void) throws {
    do {
        try body()
    } catch let error as AMAFError {
        if json {
            struct Failure: Encodable { var error: AMAFError }
            try Console.json(Failure(error: error))
        }
        Console.note("amaf: \(error)")
        throw AMAFExit.failed
    }
}

/// Numbers for people: thousands apart, fixed decimals, no locale.
enum Text {
    static func count(_ n: Int) -> String {
        var digits = String(abs(n))
        var parts: [String] = []
        while digits.count > 3 {
            parts.insert(String(digits.suffix(3)), at: 0)
            digits = String(digits.dropLast(3))
        }
        return (n < 0 ? "-" : "") + ([digits] + parts).joined(separator: ",")
    }

    static func fixed(_ value: Double, _ decimals: Int) -> String {
        let scale = pow(10.0, Double(decimals))
        let rounded = (value * scale).rounded()
        guard rounded.isFinite, abs(rounded) < 1e15 else { return "\(value)" }
        let whole = Int(abs(rounded))
        let sign = rounded < 0 && whole != 0 ? "-" : ""
        if decimals == 0 { return "\(sign)\(whole)" }
        let fraction = String(whole % Int(scale))
        return "\(sign)\(whole / Int(scale)).\(String(repeating: "0", count: decimals - fraction.count))\(fraction)"
    }

    static func twoDigits(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    static func percent(_ share: Double, _ decimals: Int = 1) -> String { fixed(share * 100, decimals) + " %" }

    static func seconds(_ value: Double) -> String {
        if value < 60 { return fixed(value, 1) + " s" }
        let minutes = Int(value) / 60
        return minutes < 60 ? "\(minutes) min \(Int(value) % 60) s" : "\(minutes / 60) h \(minutes % 60) min"
    }

    /// `+0.3 s`, `−3,600.0 s`: a difference of clocks.
    static func signedSeconds(_ value: Double) -> String { (value < 0 ? "-" : "+") + fixed(abs(value), 1) + " s" }

    static func bytes(_ count: Int) -> String {
        var value = Double(count)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if value < 1024 { return fixed(value, unit == "B" ? 0 : 1) + " " + unit }
            value /= 1024
        }
        return fixed(value, 1) + " TiB"
    }

    /// Columns padded to their widest cell; the first left-aligned, numbers right-aligned.
    static func table(_ header: [String], _ rows: [[String]], rightAligned: Set<Int> = []) -> String {
        let widths = header.indices.map { column in ([header] + rows).map { $0[column].count }.max() ?? 0 }
        func line(_ cells: [String]) -> String {
            let padded = cells.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                return rightAligned.contains(column) ? space + cell : cell + space
            }
            var text = padded.joined(separator: "  ")
            while text.hasSuffix(" ") { text.removeLast() }
            return text
        }
        return ([line(header)] + rows.map(line)).joined(separator: "\n")
    }
}
