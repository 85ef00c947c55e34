import Foundation
package import Primitives

/// BERT's tokenizer: clean, lower, split, then the longest pieces from the front (Wu et al. 2016; Devlin et al. 2019).
package struct WordPieceTokenizer: Sendable {
    package let vocabulary: [String]
    private let ids: [String: Int32]
    private let lowercases: Bool
    package let unknown: Int32
    package let start: Int32
    package let end: Int32
    package let padding: Int32

    /// Longer words become one unknown token, as in the reference.
    private static let longestWord = 100

    /// - Parameter vocabulary: one piece per position, continuations begin with `##`.
    /// - Throws: `tokenizer.vocabulary` when a special token is missing.
    package init(vocabulary: [String], lowercases: Bool = true, place: String = "vocab.txt") throws(AMAFError) {
        self.vocabulary = vocabulary
        self.lowercases = lowercases
        var ids: [String: Int32] = [:]
        for (i, piece) in vocabulary.enumerated() { ids[piece] = Int32(i) }
        func special(_ name: String) throws(AMAFError) -> Int32 {
            guard let id = ids[name] else {
                throw AMAFError(
                    "tokenizer.vocabulary", "The vocabulary has no '\(name)'", place: place, remedy: "Use the vocab.txt of the model.")
            }
            return id
        }
        unknown = try special("[UNK]")
        start = try special("[CLS]")
        end = try special("[SEP]")
        padding = try special("[PAD]")
        self.ids = ids
    }

    /// Reads `vocab.txt`.
    package init(path: String, lowercases: Bool = true) throws(AMAFError) {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw AMAFError(
                "tokenizer.unreadable", "The vocabulary cannot be read as UTF-8", place: path,
                remedy: "Get vocab.txt again from where the model came from.")
        }
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map {
            $0.hasSuffix("\r") ? String($0.dropLast()) : String($0)
        }
        if lines.last == "" { lines.removeLast() }
        try self.init(vocabulary: lines, lowercases: lowercases, place: path)
    }

    /// [CLS] pieces [SEP], cut to `limit` ids in all.
    package func encode(_ text: String, limit: Int = 512) -> [Int32] {
        var out: [Int32] = [start]
        for word in words(text) {
            out += pieces(word)
            if out.count >= limit - 1 { break }
        }
        return Array(out.prefix(max(limit - 1, 1))) + [end]
    }

    /// The words and punctuation marks of a text after cleaning.
    func words(_ text: String) -> [String] {
        var out: [String] = []
        var word = String.UnicodeScalarView()
        func close() {
            if !word.isEmpty { out.append(String(word)) }
            word = String.UnicodeScalarView()
        }
        let cleaned = lowercases ? stripped(text) : text
        for scalar in cleaned.unicodeScalars {
            if scalar.value == 0 || scalar.value == 0xFFFD || isControl(scalar) { continue }
            if isSpace(scalar) {
                close()
            } else if isPunctuation(scalar) || isIdeograph(scalar) {
                close()
                out.append(String(Character(scalar)))
            } else {
                word.append(scalar)
            }
        }
        close()
        return out
    }

    /// Lower case, accents off: decomposed, without non-spacing marks.
    private func stripped(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.lowercased() }
        var out = String.UnicodeScalarView()
        for scalar in text.lowercased().decomposedStringWithCanonicalMapping.unicodeScalars
        where scalar.properties.generalCategory != .nonspacingMark { out.append(scalar) }
        return String(out)
    }

    private func pieces(_ word: String) -> [Int32] {
        let scalars = Array(word.unicodeScalars)
        if scalars.count > Self.longestWord { return [unknown] }
        var out: [Int32] = []
        var from = 0
        while from < scalars.count {
            var to = scalars.count
            var found: Int32?
            while to > from {
                var piece = String.UnicodeScalarView(scalars[from..<to])
                if from > 0 { piece.insert(contentsOf: "##".unicodeScalars, at: piece.startIndex) }
                if let id = ids[String(piece)] {
                    found = id
                    break
                }
                to -= 1
            }
            guard let found else { return [unknown] }
            out.append(found)
            from = to
        }
        return out
    }

    private func isSpace(_ s: Unicode.Scalar) -> Bool {
        s == " " || s == "\t" || s == "\n" || s == "\r" || s.properties.generalCategory == .spaceSeparator
    }
    private func isControl(_ s: Unicode.Scalar) -> Bool {
        if s == "\t" || s == "\n" || s == "\r" { return false }
        switch s.properties.generalCategory {
        case .control, .format, .privateUse, .surrogate: return true
        default: return false
        }
    }
    /// Every ASCII mark counts, letters and digits excepted, and Unicode's punctuation.
    private func isPunctuation(_ s: Unicode.Scalar) -> Bool {
        switch s.value {
        case 33...47, 58...64, 91...96, 123...126: return true
        case 0...127: return false
        default:
            switch s.properties.generalCategory {
            case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation,
                .otherPunctuation:
                return true
            default: return false
            }
        }
    }
    /// The CJK blocks that BERT splits into single characters.
    private func isIdeograph(_ s: Unicode.Scalar) -> Bool {
        switch s.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F, 0x2B820...0x2CEAF, 0xF900...0xFAFF,
            0x2F800...0x2FA1F:
            return true
        default: return false
        }
    }
}
