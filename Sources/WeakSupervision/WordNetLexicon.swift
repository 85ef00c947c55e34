internal import Foundation
package import Primitives

/// Princeton WordNet's nouns, from its database files `index.noun` and `data.noun` (Debian: package `wordnet-base`).
///
/// What a knowledge base is to distant supervision: every word for a kind of X speaks for the class X. Format: wndb(5WN).
package struct WordNetLexicon: Sendable {
    /// Where Debian puts the files.
    package static let defaultFolder = "/usr/share/wordnet"

    private let folder: String
    /// Byte offsets of each lemma's synsets, the most frequent sense first.
    private let senses: [String: [Int]]
    private let data: Data

    /// - Throws: `wordnet.missing` when a file is not there, `wordnet.malformed` with the line of the index that is not as the format says.
    package init(folder: String = WordNetLexicon.defaultFolder) throws(AMAFError) {
        self.folder = folder
        func file(_ name: String) throws(AMAFError) -> Data {
            do { return try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"), options: .mappedIfSafe) } catch {
                throw AMAFError(
                    "wordnet.missing", "WordNet's file '\(name)' cannot be read: \(error.localizedDescription)", place: "\(folder)/\(name)",
                    remedy: "Install WordNet's database (Debian: apt-get install wordnet-base), or name its folder with 'folder:'.")
            }
        }
        data = try file("data.noun")
        var senses: [String: [Int]] = [:]
        let index = try file("index.noun")
        for (number, line) in index.split(separator: UInt8(ascii: "\n")).enumerated() {
            // The licence stands in front, behind two blanks.
            if line.starts(with: [UInt8(ascii: " "), UInt8(ascii: " ")]) { continue }
            // lemma pos synset_count pointer_count pointers… sense_count tagged_count offsets…
            let fields = String(decoding: line, as: UTF8.self).split(separator: " ")
            guard fields.count > 4, let count = Int(fields[2]), let pointers = Int(fields[3]), count > 0, pointers >= 0,
                fields.count == 6 + pointers + count
            else { throw Self.malformed("\(folder)/index.noun:\(number + 1)") }
            let offsets = fields.suffix(count).compactMap { Int($0) }
            guard offsets.count == count else { throw Self.malformed("\(folder)/index.noun:\(number + 1)") }
            senses[String(fields[0])] = offsets
        }
        self.senses = senses
    }

    private static func malformed(_ place: String) -> AMAFError {
        AMAFError(
            "wordnet.malformed", "The line is not as WordNet's database format has it", place: place,
            remedy: "Install the files of WordNet 3.0 or 3.1 again.")
    }

    /// What English makes of most nouns when there are several; a form that does not exist is never found either.
    package static func plural(of noun: String) -> String {
        if noun.hasSuffix("y"), let before = noun.dropLast().last, !"aeiou".contains(before) { return noun.dropLast() + "ies" }
        if ["s", "x", "z", "ch", "sh"].contains(where: noun.hasSuffix) { return noun + "es" }
        return noun + "s"
    }

    private struct Synset {
        var words: [String]
        /// Of hyponyms and instances.
        var narrower: [Int]
    }

    private func synset(at offset: Int) throws(AMAFError) -> Synset {
        guard offset >= 0, offset < data.count else { throw Self.malformed("\(folder)/data.noun, byte \(offset)") }
        let line = data[(data.startIndex + offset)...].prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "|") }
        // offset lexicographer_file pos word_count(hex) (word id)… pointer_count (symbol offset pos source/target)…
        let fields = String(decoding: line, as: UTF8.self).split(separator: " ")
        guard fields.count > 4, Int(fields[0]) == offset, let words = Int(fields[3], radix: 16), fields.count > 4 + 2 * words,
            let pointers = Int(fields[4 + 2 * words]), fields.count >= 5 + 2 * words + 4 * pointers
        else { throw Self.malformed("\(folder)/data.noun, byte \(offset)") }
        var found = Synset(words: (0..<words).map { fields[4 + 2 * $0].lowercased() }, narrower: [])
        for p in 0..<pointers {
            let at = 5 + 2 * words + 4 * p
            // Pointers to other parts of speech are not of these files.
            guard fields[at] == "~" || fields[at] == "~i", fields[at + 2] == "n", let target = Int(fields[at + 1]) else { continue }
            found.narrower.append(target)
        }
        return found
    }

    /// The words for all kinds of what `names` mean, themselves included: lower case, blanks between words, sorted.
    ///
    /// - Parameters:
    ///   - names: `word` for its most frequent sense, `word.3` for its third, blanks or underscores between words.
    ///   - maximumSense: a word counts when the meaning under `names` is among its so many most frequent ones: with 1 'dog', which can
    ///     also mean a person, is not found among the people.
    package func hyponyms(of names: [String], maximumSense: Int) throws(AMAFError) -> [String] {
        var open: [Int] = []
        for name in names {
            let parts = name.split(separator: ".", maxSplits: 1).map(String.init)
            let lemma = (parts.first ?? "").lowercased().replacing(" ", with: "_")
            let number = parts.count > 1 ? Int(parts[1]) ?? 0 : 1
            guard let offsets = senses[lemma], offsets.indices.contains(number - 1) else {
                throw AMAFError(
                    "wordnet.unknown-word",
                    senses[lemma].map { "WordNet knows \($0.count) meanings of '\(lemma)', and not '\(name)'" }
                        ?? "WordNet knows no noun '\(lemma)'",
                    place: folder,
                    remedy: "Write a noun, as in 'animal', and the number of its meaning where it is not the first: 'bank.2'.")
            }
            open.append(offsets[number - 1])
        }
        var seen = Set(open)
        var words: Set<String> = []
        while let offset = open.popLast() {
            let synset = try synset(at: offset)
            for word in synset.words where senses[word].map({ $0.prefix(maximumSense).contains(offset) }) ?? false {
                words.insert(word.replacing("_", with: " "))
            }
            for narrower in synset.narrower where seen.insert(narrower).inserted { open.append(narrower) }
        }
        return words.sorted()
    }
}
