package import Primitives

/// Rewrites texts by replacing words with synonyms (Wei and Zou 2019, "EDA", synonym replacement): no weights needed.
package struct ThesaurusParaphraser: Sendable {
    package let thesaurus: Thesaurus
    /// Share of a text's replaceable words that is replaced; one at least.
    package let share: Double

    package init(_ thesaurus: Thesaurus, share: Double = 0.2) {
        precondition(share > 0 && share <= 1, "a share of \(share)")
        self.thesaurus = thesaurus
        self.share = share
    }

    /// Words that carry grammar: their "synonyms" change what is said.
    private static let functionWords: Set<String> = [
        "a", "about", "after", "all", "am", "an", "and", "any", "are", "as", "at", "be", "been", "but", "by", "can", "could", "did", "do",
        "does", "for", "from", "get", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "let",
        "may", "me", "mine", "more", "most", "much", "must", "my", "never", "no", "not", "of", "off", "on", "one", "or", "our", "out",
        "over", "shall", "she", "should", "so", "some", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this",
        "to", "up", "us", "was", "we", "were", "what", "when", "where", "which", "who", "why", "will", "with", "without", "would", "you",
        "your",
    ]

    /// One paraphrase, or nil when the text has no word that can be replaced.
    ///
    /// Numbers, words with capitals or digits and negations are never touched: they decide what a text means.
    package func paraphrase(_ text: String, generator: inout SeededGenerator) -> String? {
        var words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        let replaceable = words.indices.filter { i in
            !Self.functionWords.contains(words[i]) && !(thesaurus.synonyms[words[i]] ?? []).isEmpty
        }
        guard !replaceable.isEmpty else { return nil }
        var order = replaceable
        generator.shuffle(&order)
        for i in order.prefix(max(1, Int(Double(words.count) * share))) {
            let choices = thesaurus.synonyms[words[i]] ?? []
            words[i] = choices[generator.index(below: choices.count)]
        }
        return words.joined(separator: " ")
    }
}

/// Which paraphrases may be learned from.
package struct ParaphraseFilter: Sendable, Hashable, Codable {
    /// Cosine to the parent, in TF-IDF or an embedding: below it something else is said, above it nothing new.
    package var similarity: ClosedRange<Double> = 0.55...0.98
    /// Words of the paraphrase over words of the parent.
    package var lengthRatio: ClosedRange<Double> = 0.5...2
    /// Probability that a classifier of real texts gives to the parent's class, which must be its first choice.
    package var minimumConfidence: Double = 0.6
    package var maximumPerParent = 4

    package init() {}

    package enum Verdict: String, Sendable, Hashable, Codable, CaseIterable {
        case kept, duplicate, tooFar = "too-far", tooNear = "too-near", length, doubtful, quota
    }

    /// One candidate after the other; remembers texts and parents.
    package struct Pass {
        private let filter: ParaphraseFilter
        private var seen: Set<String>
        private var perParent: [Int: Int] = [:]

        /// - Parameter known: real texts, which paraphrases must not repeat.
        package init(_ filter: ParaphraseFilter, known: some Sequence<String>) {
            self.filter = filter
            seen = Set(known.map(Self.normal))
        }

        /// - Parameter agrees: whether the classifier's first choice is the parent's class.
        package mutating func judge(
            _ text: String, parent: Int, parentText: String, similarity: Double, confidence: Double, agrees: Bool
        ) -> Verdict {
            let ratio = Double(Self.words(text)) / Double(max(1, Self.words(parentText)))
            if seen.contains(Self.normal(text)) { return .duplicate }
            if similarity < filter.similarity.lowerBound { return .tooFar }
            if similarity > filter.similarity.upperBound { return .tooNear }
            if !filter.lengthRatio.contains(ratio) { return .length }
            if !agrees || confidence < filter.minimumConfidence { return .doubtful }
            if perParent[parent, default: 0] >= filter.maximumPerParent { return .quota }
            perParent[parent, default: 0] += 1
            seen.insert(Self.normal(text))
            return .kept
        }

        private static func words(_ text: String) -> Int { text.split(separator: " ").count }
        private static func normal(_ text: String) -> String {
            text.lowercased().split(separator: " ").joined(separator: " ")
        }
    }
}
