import Foundation
package import Primitives

/// CLIP's tokenizer: bytes as visible characters, merged pair by pair in the order of the merge list (Sennrich et al. 2016).
///
/// Vocabulary: the 256 byte characters, the same with the end-of-word mark, one entry per merge, start and end of text.
package struct BytePairTokenizer: Sendable {
    private let ranks: [Pair: Int]
    private let ids: [String: Int32]
    private let byteCharacters: [Character]
    package let start: Int32
    package let end: Int32
    package var vocabularySize: Int { Int(end) + 1 }

    private struct Pair: Hashable, Sendable {
        var left: String
        var right: String
    }

    /// CLIP uses the first 48,894 merges of the public list.
    package static let clipMerges = 49152 - 256 - 2

    /// - Parameter merges: lines `left right`; a first line that begins with `#version` or `"bpe` is skipped.
    /// - Throws: `tokenizer.vocabulary` for a line that is no pair.
    package init(merges lines: [Substring], limit: Int = BytePairTokenizer.clipMerges, place: String = "merges.txt") throws(AMAFError) {
        let byteCharacters = Self.visibleBytes()
        // The order of the reference's table: printable bytes first, then the moved ones.
        let order = Array(33...126) + Array(161...172) + Array(174...255)
        let moved = (0..<256).filter { !order.contains($0) }
        var vocabulary = (order + moved).map { String(byteCharacters[$0]) }
        vocabulary += vocabulary.map { $0 + "</w>" }
        var ranks: [Pair: Int] = [:]
        var body = lines[...]
        if let first = body.first, first.hasPrefix("#version") || first.hasPrefix("\"bpe") { body = body.dropFirst() }
        for (i, line) in body.prefix(limit).enumerated() {
            let parts = line.split(separator: " ")
            if parts.isEmpty, i == body.count - 1 { break }
            guard parts.count == 2 else {
                throw AMAFError(
                    "tokenizer.vocabulary", "Merge \(i + 1) '\(line)' is not a pair", place: place,
                    remedy: "Use the merges.txt of the model.")
            }
            ranks[Pair(left: String(parts[0]), right: String(parts[1]))] = i
            vocabulary.append(String(parts[0]) + String(parts[1]))
        }
        start = Int32(vocabulary.count)
        end = start + 1
        var ids: [String: Int32] = [:]
        for (i, piece) in vocabulary.enumerated() { ids[piece] = Int32(i) }
        self.ids = ids
        self.ranks = ranks
        self.byteCharacters = byteCharacters
    }

    /// Reads a merge list, for instance `merges.txt`.
    package init(path: String) throws(AMAFError) {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw AMAFError(
                "tokenizer.unreadable", "The merge list cannot be read as UTF-8", place: path,
                remedy: "Get merges.txt again from where the model came from.")
        }
        try self.init(merges: text.split(separator: "\n"), place: path)
    }

    /// Start, pieces, end, cut to `limit` ids in all.
    package func encode(_ text: String, limit: Int = 77) -> [Int32] {
        var out = [start]
        for word in Self.words(text) {
            out += pieces(word)
            if out.count >= limit - 1 { break }
        }
        return Array(out.prefix(max(limit - 1, 1))) + [end]
    }

    /// Lower case, white space to single blanks, then letters, single digits, contractions and runs of marks.
    static func words(_ text: String) -> [String] {
        let scalars = Array(text.precomposedStringWithCanonicalMapping.lowercased().unicodeScalars)
        func isSpace(_ s: Unicode.Scalar) -> Bool { s.properties.isWhitespace }
        func isLetter(_ s: Unicode.Scalar) -> Bool {
            switch s.properties.generalCategory {
            case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
            default: false
            }
        }
        func isNumber(_ s: Unicode.Scalar) -> Bool {
            switch s.properties.generalCategory {
            case .decimalNumber, .letterNumber, .otherNumber: true
            default: false
            }
        }
        let contractions = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].map { Array($0.unicodeScalars) }
        var out: [String] = []
        var i = 0
        while i < scalars.count {
            let s = scalars[i]
            if isSpace(s) {
                i += 1
                continue
            }
            var end = i + 1
            if let contraction = contractions.first(where: { scalars[i...].starts(with: $0) }) {
                end = i + contraction.count
            } else if isLetter(s) {
                while end < scalars.count, isLetter(scalars[end]) { end += 1 }
            } else if !isNumber(s) {
                while end < scalars.count, !isSpace(scalars[end]), !isLetter(scalars[end]), !isNumber(scalars[end]) { end += 1 }
            }
            out.append(String(String.UnicodeScalarView(scalars[i..<end])))
            i = end
        }
        return out
    }

    private func pieces(_ word: String) -> [Int32] {
        var parts = word.utf8.map { String(byteCharacters[Int($0)]) }
        parts[parts.count - 1] += "</w>"
        while parts.count > 1 {
            var best: (rank: Int, pair: Pair)?
            for i in 0..<parts.count - 1 {
                let pair = Pair(left: parts[i], right: parts[i + 1])
                if let rank = ranks[pair], rank < best?.rank ?? .max { best = (rank, pair) }
            }
            guard let best else { break }
            var merged: [String] = []
            var i = 0
            while i < parts.count {
                if i + 1 < parts.count, parts[i] == best.pair.left, parts[i + 1] == best.pair.right {
                    merged.append(parts[i] + parts[i + 1])
                    i += 2
                } else {
                    merged.append(parts[i])
                    i += 1
                }
            }
            parts = merged
        }
        // Every byte has a piece, so a lookup can only fail for a damaged merge list.
        return parts.map { ids[$0] ?? end }
    }

    /// Printable Latin-1 bytes stand for themselves, the others for characters from U+0100 on (GPT-2's table).
    private static func visibleBytes() -> [Character] {
        var table = [Character](repeating: " ", count: 256)
        var next: UInt32 = 256
        for byte in 0..<256 {
            let isVisible = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
            let code = isVisible ? UInt32(byte) : next
            if !isVisible { next += 1 }
            table[byte] = Character(Unicode.Scalar(code) ?? " ")
        }
        return table
    }
}
