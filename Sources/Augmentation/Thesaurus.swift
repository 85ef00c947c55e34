package import Primitives

/// Words that may stand for each other, from files that Debian packages carry.
package struct Thesaurus: Sendable, Hashable {
    /// By lower-case word; synonyms in the file's order, without the word itself, no phrases.
    package let synonyms: [String: [String]]

    package init(synonyms: [String: [String]]) { self.synonyms = synonyms }

    /// MyThes, `th_en_US_v2.dat` of the package mythes-en-us: the encoding's name, then `word|n` and n lines
    /// `(pos)|synonym|synonym (generic term)|…`. Words with a bracketed remark are broader or opposite, and left out.
    ///
    /// - Parameter vocabulary: lower-case words worth keeping.
    /// - Throws: `thesaurus.damaged`.
    package init(mythes bytes: [UInt8], vocabulary: Set<String>, place: String) throws(AMAFError) {
        var found: [String: [String]] = [:]
        var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).makeIterator()
        guard let encoding = lines.next(), !encoding.isEmpty, encoding.count < 40, !encoding.contains(UInt8(ascii: "|")) else {
            throw Self.damaged("It does not begin with the name of an encoding", place)
        }
        while let line = lines.next() {
            if line.isEmpty { continue }
            let parts = line.split(separator: UInt8(ascii: "|"))
            guard parts.count == 2, let meanings = Int(String(decoding: parts[1], as: UTF8.self)), meanings >= 0, meanings < 1000 else {
                throw Self.damaged("'\(String(decoding: line.prefix(60), as: UTF8.self))' is no headword", place)
            }
            let word = String(decoding: parts[0], as: UTF8.self)
            let isWanted = vocabulary.contains(word)
            var list: [String] = []
            for _ in 0..<meanings {
                guard let meaning = lines.next() else { throw Self.damaged("It ends inside the meanings of '\(word)'", place) }
                guard isWanted else { continue }
                for synonym in meaning.split(separator: UInt8(ascii: "|")).dropFirst() {
                    Self.add(String(decoding: synonym, as: UTF8.self), to: &list, of: word)
                }
            }
            if !list.isEmpty { found[word, default: []] += list.filter { !(found[word] ?? []).contains($0) } }
        }
        self.init(synonyms: found)
    }

    /// WordNet's `data.noun`, `data.verb`, `data.adj`, `data.adv` of the package wordnet-base: the words of one synset
    /// are synonyms. A line is offset, file, type, number of words in hexadecimal, then word and sense in turn.
    ///
    /// - Throws: `thesaurus.damaged`.
    package init(wordNet files: [[UInt8]], vocabulary: Set<String>, place: String) throws(AMAFError) {
        var found: [String: [String]] = [:]
        for bytes in files {
            for line in bytes.split(separator: 10) {
                // The licence stands in front, each line led by two blanks.
                if line.first == 0x20 { continue }
                let fields = line.split(separator: 0x20, maxSplits: 44)
                guard fields.count > 5, let count = Int(String(decoding: fields[3], as: UTF8.self), radix: 16), count > 0 else {
                    throw Self.damaged("'\(String(decoding: line.prefix(60), as: UTF8.self))' is no synset", place)
                }
                let words = (0..<count).compactMap { i in
                    4 + 2 * i < fields.count - 1 ? String(decoding: fields[4 + 2 * i], as: UTF8.self) : nil
                }
                for word in words where vocabulary.contains(word) {
                    for other in words { Self.add(other, to: &found[word, default: []], of: word) }
                }
            }
        }
        self.init(synonyms: found.filter { !$0.value.isEmpty })
    }

    /// Only single words in letters: a phrase changes more than a word.
    private static func add(_ synonym: String, to list: inout [String], of word: String) {
        guard synonym != word, synonym.count > 1, synonym.utf8.allSatisfy({ (0x61...0x7A).contains($0) }), !list.contains(synonym) else {
            return
        }
        list.append(synonym)
    }

    private static func damaged(_ sentence: String, _ place: String) -> AMAFError {
        AMAFError(
            "thesaurus.damaged", sentence, place: place,
            remedy: "Give th_en_US_v2.dat of Debian's mythes-en-us, or the folder with WordNet's data.noun and its sisters.")
    }
}
