/// Reads what a report says of one observation.
package struct ReportReader: Sendable {
    package enum Finding: Hashable, Sendable { case present, absent, uncertain }

    private let mentions: [Phrase]
    private let exclusions: [Phrase]
    private let absences: [Phrase]
    private let negationsBefore: [Phrase]
    private let negationsAfter: [Phrase]
    private let pseudoNegations: [Phrase]
    private let doubtsBefore: [Phrase]
    private let doubtsAfter: [Phrase]
    private let firstDoubts: [Phrase]
    private let clauseEnds: [Phrase]
    /// Words before a mention in which a cue counts. Radiologists deny in lists: "No pneumothorax, rib fracture or pleural effusion".
    private static let reachBefore = 14
    private static let reachAfter = 8

    package init(_ phrases: ReportPhrases) {
        mentions = phrases.mentions.map(Phrase.init)
        exclusions = phrases.exclusions.map(Phrase.init)
        absences = phrases.absences.map(Phrase.init)
        negationsBefore = phrases.negationsBefore.map(Phrase.init)
        negationsAfter = phrases.negationsAfter.map(Phrase.init)
        pseudoNegations = phrases.pseudoNegations.map(Phrase.init)
        doubtsBefore = phrases.doubtsBefore.map(Phrase.init)
        doubtsAfter = phrases.doubtsAfter.map(Phrase.init)
        firstDoubts = phrases.firstDoubts.map(Phrase.init)
        clauseEnds = phrases.clauseEnds.map(Phrase.init)
    }

    /// Present beats all, a doubt beats a denial, nil is no mention.
    package func finding(in report: String) -> Finding? {
        var found: Set<Finding> = []
        for sentence in Self.sentences(report) {
            for clause in clauses(sentence) { judge(clause, &found) }
        }
        return found.contains(.present) ? .present : found.contains(.uncertain) ? .uncertain : found.contains(.absent) ? .absent : nil
    }

    private func judge(_ words: [Substring], _ found: inout Set<Finding>) {
        if absences.contains(where: { !$0.matches(in: words).isEmpty }) { found.insert(.absent) }
        let excluded = exclusions.flatMap { $0.matches(in: words) }
        // A longer mention that holds a shorter one is the same mention.
        let all = mentions.flatMap { $0.matches(in: words) }.filter { mention in !excluded.contains { $0.overlaps(mention) } }
        let absent = absences.flatMap { $0.matches(in: words) }
        for mention in all where !absent.contains(where: { $0.overlaps(mention) }) {
            found.insert(classify(mention, words))
        }
    }

    /// In the labeler's order: doubts that hold a negation, negations, other doubts, and else it is there.
    private func classify(_ mention: Range<Int>, _ words: [Substring]) -> Finding {
        let before = max(0, mention.lowerBound - Self.reachBefore)..<mention.lowerBound
        let after = mention.upperBound..<min(words.count, mention.upperBound + Self.reachAfter)
        func holds(_ phrases: [Phrase], _ range: Range<Int>) -> [Range<Int>] {
            phrases.flatMap { $0.matches(in: words) }.filter { range.contains($0.lowerBound) && $0.upperBound <= range.upperBound }
        }
        if !holds(firstDoubts, before).isEmpty || !holds(firstDoubts, after).isEmpty { return .uncertain }
        let pseudo = pseudoNegations.flatMap { $0.matches(in: words) }
        let negations = holds(negationsBefore, before).filter { negation in !pseudo.contains { $0.overlaps(negation) } }
        if !negations.isEmpty || !holds(negationsAfter, after).isEmpty { return .absent }
        if !holds(doubtsBefore, before).isEmpty || !holds(doubtsAfter, after).isEmpty { return .uncertain }
        return .present
    }

    /// At full stops that no digit follows (1.5 cm), at `;`, `?`, `!`, `:` and empty lines.
    private static func sentences(_ report: String) -> [[Substring]] {
        var sentences: [[Substring]] = []
        let text = report.lowercased()
        var words: [Substring] = []
        var start: String.Index?
        func isWord(_ c: Character) -> Bool { c.isLetter || c.isNumber || c == "-" || c == "'" }
        func endWord(_ end: String.Index) {
            if let first = start { words.append(text[first..<end]) }
            start = nil
        }
        func endSentence() {
            if !words.isEmpty { sentences.append(words) }
            words = []
        }
        var index = text.startIndex
        while index < text.endIndex {
            let c = text[index]
            let next = text.index(after: index)
            if isWord(c) {
                if start == nil { start = index }
            } else {
                endWord(index)
                let isDecimal = c == "." && next < text.endIndex && text[next].isNumber
                let isEmptyLine = c.isNewline && next < text.endIndex && text[next].isNewline
                if (c == "." && !isDecimal) || ";?!:".contains(c) || isEmptyLine { endSentence() }
            }
            index = next
        }
        endWord(text.endIndex)
        endSentence()
        return sentences
    }

    private func clauses(_ words: [Substring]) -> [[Substring]] {
        let ends = clauseEnds.flatMap { $0.matches(in: words) }.sorted { $0.lowerBound < $1.lowerBound }
        var clauses: [[Substring]] = []
        var start = 0
        for end in ends where end.lowerBound >= start {
            clauses.append(Array(words[start..<end.lowerBound]))
            start = end.upperBound
        }
        clauses.append(Array(words[start...]))
        return clauses.filter { !$0.isEmpty }
    }
}

/// Words in order; see `ReportPhrases` for `*` and `...`.
private struct Phrase: Sendable {
    private enum Part: Sendable {
        case word(String)
        case prefix(String)
        case gap
    }
    private let parts: [Part]
    private static let gapWords = 5

    init(_ text: String) {
        parts = text.lowercased().split(separator: " ").map { word in
            word == "..." ? .gap : word.hasSuffix("*") ? .prefix(String(word.dropLast())) : .word(String(word))
        }
    }

    func matches(in words: [Substring]) -> [Range<Int>] {
        guard !parts.isEmpty else { return [] }
        return words.indices.compactMap { start in end(from: start, part: 0, words).map { start..<$0 } }
    }

    /// Where the match of parts `part…` from `position` ends; the shortest gap is tried first.
    private func end(from position: Int, part: Int, _ words: [Substring]) -> Int? {
        guard part < parts.count else { return position }
        switch parts[part] {
        case .gap:
            for skipped in 0...Self.gapWords {
                if let found = end(from: position + skipped, part: part + 1, words) { return found }
            }
            return nil
        case .word(let text):
            guard position < words.count, words[position] == text else { return nil }
        case .prefix(let text):
            guard position < words.count, words[position].hasPrefix(text) else { return nil }
        }
        return end(from: position + 1, part: part + 1, words)
    }
}
