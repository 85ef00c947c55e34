internal import Foundation
internal import Primitives

/// All rules that look for terms, brought to one form: patterns → terms → (class, weight), and how a function decides.
struct TermRules {
    struct Term {
        var function: Int
        /// Into `classes` and `weights`.
        var entries: Range<Int>
        /// Bytes, for the dictionary's longest match.
        var length: Int
        /// Finding it makes the function abstain.
        var isVeto: Bool
    }
    enum Decision {
        /// Votes the class when its score reaches the threshold.
        case single(classIndex: Int16, threshold: Double)
        /// Votes the best class when it reaches the threshold and leads by the margin.
        case best(threshold: Double, margin: Double)
        /// Votes the class of the longest term.
        case longest
    }

    private(set) var foldedPatterns: [AhoCorasick.Pattern] = []
    private(set) var foldedTerms: [Int] = []
    private(set) var exactPatterns: [AhoCorasick.Pattern] = []
    private(set) var exactTerms: [Int] = []
    private(set) var terms: [Term] = []
    private(set) var classes: [Int16] = []
    private(set) var weights: [Double] = []

    /// A term with the ways in which it may be written in a text.
    private mutating func add(
        spellings: [String], function: Int, entries: [(classIndex: Int16, weight: Double)], caseSensitive: Bool, wordBoundaries: Bool,
        isVeto: Bool = false
    ) {
        let start = classes.count
        for entry in entries {
            classes.append(entry.classIndex)
            weights.append(entry.weight)
        }
        terms.append(
            Term(function: function, entries: start..<classes.count, length: spellings.map(\.utf8.count).max() ?? 0, isVeto: isVeto))
        for spelling in spellings {
            let isPrefix = spelling.hasSuffix("*")
            let pattern = AhoCorasick.Pattern(
                bytes: Array((isPrefix ? String(spelling.dropLast()) : spelling).utf8), boundaryBefore: wordBoundaries,
                boundaryAfter: wordBoundaries && !isPrefix)
            if caseSensitive {
                exactPatterns.append(pattern)
                exactTerms.append(terms.count - 1)
            } else {
                foldedPatterns.append(pattern)
                foldedTerms.append(terms.count - 1)
            }
        }
    }

    private func checkTerm(_ term: String, _ functionName: String) throws(AMAFError) {
        guard !term.isEmpty, term != "*" else {
            throw AMAFError(
                "labeling-function.empty-term", "The labeling function '\(functionName)' has an empty term, which would match every text",
                place: functionName, remedy: "Remove the term.")
        }
    }

    private func checkNumber(_ value: Double, _ what: String, _ functionName: String) throws(AMAFError) {
        guard value.isFinite else {
            throw AMAFError(
                "labeling-function.bad-number", "The \(what) of '\(functionName)' is \(value)", place: functionName,
                remedy: "Give a finite number.")
        }
    }

    mutating func add(_ rule: KeywordRule, function: Int, name: String, classIndex: Int16) throws(AMAFError) -> Decision {
        guard !rule.terms.isEmpty else {
            throw AMAFError(
                "labeling-function.no-terms", "The labeling function '\(name)' has no terms and could never vote", place: name,
                remedy: "Give at least one term.")
        }
        if let weights = rule.weights, weights.count != rule.terms.count {
            throw AMAFError(
                "labeling-function.weights", "The labeling function '\(name)' has \(weights.count) weights for \(rule.terms.count) terms",
                place: name, remedy: "Give one weight a term, or none.")
        }
        try checkNumber(rule.threshold, "threshold", name)
        for (i, term) in rule.terms.enumerated() {
            try checkTerm(term, name)
            let weight = rule.weights?[i] ?? 1
            try checkNumber(weight, "weight of '\(term)'", name)
            add(
                spellings: [term], function: function, entries: [(classIndex, weight)], caseSensitive: rule.caseSensitive,
                wordBoundaries: rule.wordBoundaries)
        }
        for term in rule.except {
            try checkTerm(term, name)
            add(
                spellings: [term], function: function, entries: [], caseSensitive: rule.caseSensitive, wordBoundaries: rule.wordBoundaries,
                isVeto: true)
        }
        return .single(classIndex: classIndex, threshold: rule.threshold)
    }

    mutating func add(_ rule: ClassNameOverlapRule, function: Int, name: String, classNames: [String]) throws(AMAFError) -> Decision {
        try checkNumber(rule.threshold, "threshold", name)
        let stop = Set(rule.stopWords.map { $0.lowercased() })
        let words = classNames.map { className in Self.distinct(Self.words(of: className).filter { !stop.contains($0) }) }
        var given: [String: Double] = [:]
        for (word, weight) in rule.weights.sorted(by: { $0.key < $1.key }) {
            try checkNumber(weight, "weight of '\(word)'", name)
            given[word.lowercased()] = weight
        }
        let weight = Self.weights(words, rule.weighting).merging(given) { $1 }
        let totals = words.map { $0.reduce(0) { $0 + max(0, weight[$1] ?? 0) } }
        for word in Self.distinct(words.flatMap { $0 }).sorted() {
            let entries = words.indices.filter { words[$0].contains(word) && totals[$0] > 0 }
                .map { (classIndex: Int16($0), weight: (weight[word] ?? 0) / totals[$0]) }
            add(
                spellings: rule.inflections ? Self.inflections(of: word) : [word], function: function, entries: entries,
                caseSensitive: false, wordBoundaries: true)
        }
        return .best(threshold: rule.threshold, margin: rule.minimumMargin)
    }

    mutating func add(
        _ rule: KeywordScoresRule, function: Int, name: String, classIndex: (String) throws(AMAFError) -> Int16
    ) throws(AMAFError) -> Decision {
        try checkNumber(rule.threshold, "threshold", name)
        var classesOf: [String: [Int16]] = [:]
        for item in rule.classes {
            let index = try classIndex(item.className)
            for term in Self.distinct(item.terms.map { $0.lowercased() }) {
                try checkTerm(term, name)
                if classesOf[term]?.contains(index) != true { classesOf[term, default: []].append(index) }
            }
        }
        let classCount = Double(Set(rule.classes.map(\.className)).count)
        for (term, members) in classesOf.sorted(by: { $0.key < $1.key }) {
            let weight = rule.weighting == .uniform ? 1 : log((1 + classCount) / (1 + Double(members.count))) + 1
            let isWord = !term.contains(" ") && !term.hasSuffix("*")
            add(
                spellings: rule.inflections && isWord ? Self.inflections(of: term) : [term], function: function,
                entries: members.sorted().map { ($0, weight) }, caseSensitive: false, wordBoundaries: true)
        }
        return .best(threshold: rule.threshold, margin: rule.minimumMargin)
    }

    mutating func add(
        _ rule: DictionaryRule, function: Int, name: String, classIndex: (String) throws(AMAFError) -> Int16
    ) throws(AMAFError) -> Decision {
        guard !rule.entries.isEmpty else {
            throw AMAFError(
                "labeling-function.no-terms", "The dictionary of '\(name)' is empty and could never vote", place: name,
                remedy: "Give at least one entry.")
        }
        for entry in rule.entries {
            try checkTerm(entry.term, name)
            add(
                spellings: [entry.term], function: function, entries: [(try classIndex(entry.className), 1)],
                caseSensitive: rule.caseSensitive, wordBoundaries: true)
        }
        return .longest
    }

    // MARK: Words

    private static func distinct(_ words: [String]) -> [String] {
        var seen: Set<String> = []
        return words.filter { seen.insert($0).inserted }
    }

    /// Runs of letters and digits, lower case; class names are written with blanks, underscores, hyphens or as camelCase.
    static func words(of className: String) -> [String] {
        var words: [String] = []
        var word = ""
        var previousIsLower = false
        for character in className {
            let isWord = character.isLetter || character.isNumber
            if !isWord || (character.isUppercase && previousIsLower) {
                if !word.isEmpty { words.append(word.lowercased()) }
                word = ""
            }
            if isWord { word.append(character) }
            previousIsLower = character.isLowercase
        }
        if !word.isEmpty { words.append(word.lowercased()) }
        return words
    }

    private static func weights(_ words: [[String]], _ weighting: TermWeighting) -> [String: Double] {
        var count: [String: Int] = [:]
        for word in words.flatMap({ $0 }) { count[word, default: 0] += 1 }
        return count.mapValues { weighting == .uniform ? 1 : log((1 + Double(words.count)) / (1 + Double($0))) + 1 }
    }

    /// The word and what English commonly makes of it. Over-generates: a form that does not exist is never found either.
    static func inflections(of word: String) -> [String] {
        guard word.utf8.count >= 3, word.utf8.allSatisfy({ (97...122).contains($0) }) else { return [word] }
        let stem = String(word.dropLast())
        var forms = [word, word + "s", word + "ing", word + "ed"]
        switch word.last {
        case "e": forms += [word + "d", stem + "ing"]
        case "y": forms += [stem + "ies", stem + "ied"]
        case "s": forms += [word + "es"] + (word.hasSuffix("ss") ? [] : [stem])
        case "h", "x", "z": forms += [word + "es"]
        default: break
        }
        if word.hasSuffix("ies") { forms.append(String(word.dropLast(3)) + "y") }
        // stop → stopped, transfer → transferring: a word that ends consonant, vowel, consonant may double its last letter.
        let letters = Array(word)
        let vowels: Set<Character> = ["a", "e", "i", "o", "u"]
        let last = letters.count - 1
        if !vowels.contains(letters[last]), vowels.contains(letters[last - 1]), !vowels.contains(letters[last - 2]),
            !"wxy".contains(letters[last])
        {
            forms += [word + String(letters[last]) + "ed", word + String(letters[last]) + "ing"]
        }
        return distinct(forms)
    }
}
