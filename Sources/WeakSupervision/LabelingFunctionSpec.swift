internal import Foundation
package import Primitives

/// A labeling function as data: what it is called and the rule by which it votes.
///
/// A vote is a class index; not to vote is to abstain. Two specs with the same `digest` vote alike on every text, so the
/// digest keys their columns in caches and label matrices. The name is part of it: two functions that differ in name only
/// are still two columns.
package struct LabelingFunctionSpec: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        /// Terms that speak for one class.
        case keywords(KeywordRule)
        /// A PCRE2 pattern that speaks for one class.
        case regex(RegexRule)
        /// Words that a text shares with the name of a class; may vote for any class.
        case classNameOverlap(ClassNameOverlapRule)
        /// Weighted terms for many classes; votes for the class with the highest score.
        case keywordScores(KeywordScoresRule)
        /// A gazetteer: each term names its class; the longest term found decides.
        case dictionary(DictionaryRule)
        /// A number of the sample within bounds.
        case threshold(ThresholdRule)
        /// An observation in a radiology report: present, denied or in doubt.
        case report(ReportRule)
        /// Windows of a recording within bounds.
        case sensorThreshold(SensorThresholdRule)
        /// The nearest of some vectors, one or more a class.
        case prototypes(PrototypesRule)
        /// The majority among the nearest labelled vectors.
        case neighbours(NeighboursRule)
        /// The likeness of the thumbnail to example pictures.
        case imageExamples(ImageExamplesRule)
        /// What another model predicted.
        case modelPrediction(ModelPredictionRule)
        /// A program; only where exec is allowed.
        case command(CommandRule)
        /// A Python function written for Snorkel; only where exec is allowed.
        case snorkel(SnorkelRule)
    }

    package var name: String
    package var kind: Kind

    package init(name: String, kind: Kind) {
        self.name = name
        self.kind = kind
    }

    /// The classes that the rule itself names, in its order; empty for rules that speak of all classes.
    package var classNames: [String] {
        switch kind {
        case .keywords(let rule): [rule.className]
        case .regex(let rule): [rule.className]
        case .classNameOverlap: []
        case .keywordScores(let rule): rule.classes.map(\.className)
        case .dictionary(let rule): Self.distinct(rule.entries.map(\.className))
        case .threshold(let rule): [rule.className]
        case .report(let rule): [rule.className] + (rule.absentClass.map { [$0] } ?? [])
        case .sensorThreshold(let rule): [rule.className]
        case .prototypes(let rule): Self.distinct(rule.prototypes.map(\.className))
        case .neighbours(let rule): Self.distinct(rule.labels)
        case .imageExamples(let rule): Self.distinct(rule.examples.map(\.className))
        case .modelPrediction(let rule): rule.classNames
        case .command(let rule): rule.classNames
        case .snorkel(let rule): rule.classNames
        }
    }

    /// Whether it is one of the rules that share a pass over the text.
    package var isTextRule: Bool {
        switch kind {
        case .keywords, .regex, .classNameOverlap, .keywordScores, .dictionary: true
        default: false
        }
    }

    /// Whether the function starts a program, which only `--allow-exec` permits.
    package var needsExec: Bool {
        switch kind {
        case .command, .snorkel: true
        default: false
        }
    }

    /// Finds the files that the function reads and takes their digests.
    ///
    /// - Parameter folder: what relative paths start at.
    package mutating func resolveFiles(against folder: String) throws(AMAFError) {
        switch kind {
        case .prototypes(var rule):
            try rule.features.resolve(against: folder)
            kind = .prototypes(rule)
        case .neighbours(var rule):
            try rule.features.resolve(against: folder)
            try rule.references.resolve(against: folder)
            kind = .neighbours(rule)
        case .imageExamples(var rule):
            for i in rule.examples.indices {
                for j in rule.examples[i].images.indices { try rule.examples[i].images[j].resolve(against: folder) }
            }
            kind = .imageExamples(rule)
        case .modelPrediction(var rule):
            try rule.predictions.resolve(against: folder)
            kind = .modelPrediction(rule)
        case .command(var rule):
            for i in rule.files.indices { try rule.files[i].resolve(against: folder) }
            if rule.folder.isEmpty { rule.folder = folder.isEmpty ? "." : folder }
            kind = .command(rule)
        case .snorkel(var rule):
            try rule.module.resolve(against: folder)
            for i in rule.files.indices { try rule.files[i].resolve(against: folder) }
            kind = .snorkel(rule)
        default: break
        }
    }

    /// Without the places of files: they may lie elsewhere on another machine and still be the same function.
    private var placeless: LabelingFunctionSpec {
        func bare(_ file: FileReference) -> FileReference { FileReference(path: "", digest: file.digest) }
        var copy = self
        switch kind {
        case .prototypes(var rule):
            rule.features = bare(rule.features)
            copy.kind = .prototypes(rule)
        case .neighbours(var rule):
            rule.features = bare(rule.features)
            rule.references = bare(rule.references)
            copy.kind = .neighbours(rule)
        case .imageExamples(var rule):
            for i in rule.examples.indices { rule.examples[i].images = rule.examples[i].images.map(bare) }
            copy.kind = .imageExamples(rule)
        case .modelPrediction(var rule):
            // The ending decides how the file is read.
            rule.predictions = FileReference(path: rule.predictions.path.hasSuffix(".npy") ? ".npy" : "", digest: rule.predictions.digest)
            copy.kind = .modelPrediction(rule)
        case .command(var rule):
            rule.files = rule.files.map(bare)
            rule.folder = ""
            copy.kind = .command(rule)
        case .snorkel(var rule):
            rule.module = bare(rule.module)
            rule.files = rule.files.map(bare)
            copy.kind = .snorkel(rule)
        default: break
        }
        return copy
    }

    private static func distinct(_ names: [String]) -> [String] {
        var seen: Set<String> = []
        return names.filter { seen.insert($0).inserted }
    }

    /// Raised whenever a rule's votes change although its data stay: part of every digest.
    package static let semanticsVersion: UInt64 = 1

    /// SHA-256 over the canonical JSON of the spec (sorted keys; of files the content's digest, not the path) and `semanticsVersion`.
    package var digest: Digest {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(placeless) else {
            preconditionFailure("the labeling function '\(name)' holds a number that JSON cannot carry")
        }
        var hasher = DigestHasher()
        hasher.update(field: "labeling-function")
        hasher.update(integer: Self.semanticsVersion)
        hasher.update([UInt8](json))
        return hasher.finish()
    }

    package var id: FunctionID { FunctionID(name: name, digest: digest) }
}

/// Terms found by one Aho–Corasick pass; votes `className` when the weights of the distinct terms found reach `threshold`.
package struct KeywordRule: Hashable, Sendable {
    package var className: String
    /// A term that ends in `*` matches every word that begins with it. A blank matches exactly one blank.
    package var terms: [String]
    /// One weight a term, or nil for 1 each.
    package var weights: [Double]?
    package var threshold: Double
    /// Any of these makes the function abstain.
    package var except: [String]
    /// Only ASCII letters are folded.
    package var caseSensitive: Bool
    /// A term must not touch a letter, digit, underscore or non-ASCII character on either side.
    package var wordBoundaries: Bool

    package init(
        className: String, terms: [String], weights: [Double]? = nil, threshold: Double = 1, except: [String] = [],
        caseSensitive: Bool = false, wordBoundaries: Bool = true
    ) {
        self.className = className
        self.terms = terms
        self.weights = weights
        self.threshold = threshold
        self.except = except
        self.caseSensitive = caseSensitive
        self.wordBoundaries = wordBoundaries
    }
}

/// A Perl-compatible regular expression (PCRE2, Unicode properties on); votes `className` when it is found anywhere in the text.
package struct RegexRule: Hashable, Sendable {
    package var className: String
    package var pattern: String
    package var caseSensitive: Bool
    /// Steps of the matcher after which a text counts as a fault; bounds patterns that backtrack without end.
    package var matchLimit: Int
    /// How deep the matcher may nest before a text counts as a fault (interpreter only; the JIT compiler bounds its stack).
    package var depthLimit: Int

    package static let defaultMatchLimit = 100_000
    package static let defaultDepthLimit = 10_000

    package init(
        className: String, pattern: String, caseSensitive: Bool = true, matchLimit: Int = RegexRule.defaultMatchLimit,
        depthLimit: Int = RegexRule.defaultDepthLimit
    ) {
        self.className = className
        self.pattern = pattern
        self.caseSensitive = caseSensitive
        self.matchLimit = matchLimit
        self.depthLimit = depthLimit
    }
}

/// How much a shared word counts.
package enum TermWeighting: String, Hashable, Sendable, Codable {
    /// 1 each.
    case uniform
    /// ln((1 + K) / (1 + classes that have the word)) + 1, from the rule's own classes and never from data.
    case idf
}

/// score(class) = weight of its name's words found in the text / weight of all its name's words; votes for the best class
/// when its score reaches `threshold` and leads the second by `minimumMargin`.
package struct ClassNameOverlapRule: Hashable, Sendable {
    package var threshold: Double
    package var minimumMargin: Double
    package var weighting: TermWeighting
    /// Weights by word that replace `weighting` where they are given.
    package var weights: [String: Double]
    /// Also match simple English inflections of a name's words (plural, -ed, -ing).
    package var inflections: Bool
    /// Words of names that carry no meaning of their own.
    package var stopWords: [String]

    package init(
        threshold: Double = 0.5, minimumMargin: Double = 1e-9, weighting: TermWeighting = .idf, weights: [String: Double] = [:],
        inflections: Bool = true, stopWords: [String] = []
    ) {
        self.threshold = threshold
        self.minimumMargin = minimumMargin
        self.weighting = weighting
        self.weights = weights
        self.inflections = inflections
        self.stopWords = stopWords
    }
}

/// score(class) = weight of its distinct terms found; votes for the best class when its score reaches `threshold` and leads
/// the second by `minimumMargin`.
package struct KeywordScoresRule: Hashable, Sendable {
    package struct ClassTerms: Hashable, Sendable, Codable {
        package var className: String
        /// As in `KeywordRule`.
        package var terms: [String]

        package init(className: String, terms: [String]) {
            self.className = className
            self.terms = terms
        }

        private enum CodingKeys: String, CodingKey {
            case className = "class"
            case terms
        }
    }
    package var classes: [ClassTerms]
    package var weighting: TermWeighting
    package var threshold: Double
    package var minimumMargin: Double
    package var inflections: Bool

    package init(
        classes: [ClassTerms], weighting: TermWeighting = .idf, threshold: Double = 0, minimumMargin: Double = 1e-9,
        inflections: Bool = true
    ) {
        self.classes = classes
        self.weighting = weighting
        self.threshold = threshold
        self.minimumMargin = minimumMargin
        self.inflections = inflections
    }
}

/// Votes for the class of the longest term found as whole words; abstains when two terms of that length name two classes.
package struct DictionaryRule: Hashable, Sendable {
    package struct Entry: Hashable, Sendable, Codable {
        package var term: String
        package var className: String

        package init(term: String, className: String) {
            self.term = term
            self.className = className
        }

        private enum CodingKeys: String, CodingKey {
            case term
            case className = "class"
        }
    }
    package var entries: [Entry]
    package var caseSensitive: Bool

    package init(entries: [Entry], caseSensitive: Bool = false) {
        self.entries = entries
        self.caseSensitive = caseSensitive
    }

    /// Reads `term,class` lines; a first line `term,class` is taken for a header, quotes as in RFC 4180.
    package init(csv: String, place: String, caseSensitive: Bool = false) throws(AMAFError) {
        var entries: [Entry] = []
        for (number, fields) in try CSVText.rows(csv, place: place) {
            if number == 1, fields.map({ $0.lowercased() }) == ["term", "class"] { continue }
            guard fields.count == 2, !fields[0].isEmpty, !fields[1].isEmpty else {
                throw AMAFError(
                    "labeling-function.bad-dictionary", "A dictionary line has \(fields.count) fields where a term and a class are needed",
                    place: "\(place):\(number)", remedy: "Write 'term,class', with quotes around a term that holds a comma.")
            }
            entries.append(Entry(term: fields[0], className: fields[1]))
        }
        self.init(entries: entries, caseSensitive: caseSensitive)
    }
}
