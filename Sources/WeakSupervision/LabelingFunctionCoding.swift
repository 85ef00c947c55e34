internal import Primitives

// The written form of labeling functions: flat objects with a `kind`, kebab-case keys and defaults; an unknown key is an error.

private struct SpecKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }
    init(_ key: String) { stringValue = key }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }
}

/// Reads the fields of one object and remembers which were asked for, so that the rest can be refused.
private struct FieldReader {
    let container: KeyedDecodingContainer<SpecKey>
    var known: Set<String> = []

    init(_ decoder: any Decoder) throws { container = try decoder.container(keyedBy: SpecKey.self) }

    mutating func required<T: Decodable>(_ key: String, _ type: T.Type = T.self) throws -> T {
        known.insert(key)
        return try container.decode(type, forKey: SpecKey(key))
    }
    mutating func optional<T: Decodable>(_ key: String, _ type: T.Type = T.self) throws -> T? {
        known.insert(key)
        return try container.decodeIfPresent(type, forKey: SpecKey(key))
    }
    mutating func value<T: Decodable>(_ key: String, default fallback: T) throws -> T {
        try optional(key, T.self) ?? fallback
    }
    func refuseOthers() throws {
        guard let unknown = container.allKeys.map(\.stringValue).filter({ !known.contains($0) }).min() else { return }
        throw DecodingError.dataCorrupted(
            .init(
                codingPath: container.codingPath + [SpecKey(unknown)],
                debugDescription: "unknown key '\(unknown)'; known here are \(known.sorted().joined(separator: ", "))"))
    }
}

extension LabelingFunctionSpec: Codable {
    package init(from decoder: any Decoder) throws {
        var fields = try FieldReader(decoder)
        let name: String = try fields.required("name")
        let kind: String = try fields.required("kind")
        switch kind {
        case "keywords":
            self.init(
                name: name,
                kind: .keywords(
                    KeywordRule(
                        className: try fields.required("class"), terms: try fields.required("terms"),
                        weights: try fields.optional("weights"), threshold: try fields.value("threshold", default: 1),
                        except: try fields.value("except", default: []), caseSensitive: try fields.value("case-sensitive", default: false),
                        wordBoundaries: try fields.value("word-boundaries", default: true))))
        case "regex":
            self.init(
                name: name,
                kind: .regex(
                    RegexRule(
                        className: try fields.required("class"), pattern: try fields.required("pattern"),
                        caseSensitive: try fields.value("case-sensitive", default: true),
                        matchLimit: try fields.value("match-limit", default: RegexRule.defaultMatchLimit),
                        depthLimit: try fields.value("depth-limit", default: RegexRule.defaultDepthLimit))))
        case "class-name-overlap":
            let standard = ClassNameOverlapRule()
            self.init(
                name: name,
                kind: .classNameOverlap(
                    ClassNameOverlapRule(
                        threshold: try fields.value("threshold", default: standard.threshold),
                        minimumMargin: try fields.value("minimum-margin", default: standard.minimumMargin),
                        weighting: try fields.value("weighting", default: standard.weighting),
                        weights: try fields.value("weights", default: [:]),
                        inflections: try fields.value("inflections", default: standard.inflections),
                        stopWords: try fields.value("stop-words", default: []))))
        case "keyword-scores":
            let standard = KeywordScoresRule(classes: [])
            self.init(
                name: name,
                kind: .keywordScores(
                    KeywordScoresRule(
                        classes: try fields.required("classes"), weighting: try fields.value("weighting", default: standard.weighting),
                        threshold: try fields.value("threshold", default: standard.threshold),
                        minimumMargin: try fields.value("minimum-margin", default: standard.minimumMargin),
                        inflections: try fields.value("inflections", default: standard.inflections))))
        case "dictionary":
            self.init(
                name: name,
                kind: .dictionary(
                    DictionaryRule(
                        entries: try fields.required("entries"), caseSensitive: try fields.value("case-sensitive", default: false))))
        default:
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath + [SpecKey("kind")],
                    debugDescription: "unknown kind '\(kind)'; known are \(Self.kindNames.joined(separator: ", "))"))
        }
        try fields.refuseOthers()
    }

    /// What `kind` may say in a file.
    package static let kindNames = ["class-name-overlap", "dictionary", "keyword-scores", "keywords", "regex"]

    package var kindName: String {
        switch kind {
        case .keywords: "keywords"
        case .regex: "regex"
        case .classNameOverlap: "class-name-overlap"
        case .keywordScores: "keyword-scores"
        case .dictionary: "dictionary"
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: SpecKey.self)
        try fields.encode(name, forKey: SpecKey("name"))
        try fields.encode(kindName, forKey: SpecKey("kind"))
        switch kind {
        case .keywords(let rule):
            try fields.encode(rule.className, forKey: SpecKey("class"))
            try fields.encode(rule.terms, forKey: SpecKey("terms"))
            try fields.encodeIfPresent(rule.weights, forKey: SpecKey("weights"))
            try fields.encode(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.except, forKey: SpecKey("except"))
            try fields.encode(rule.caseSensitive, forKey: SpecKey("case-sensitive"))
            try fields.encode(rule.wordBoundaries, forKey: SpecKey("word-boundaries"))
        case .regex(let rule):
            try fields.encode(rule.className, forKey: SpecKey("class"))
            try fields.encode(rule.pattern, forKey: SpecKey("pattern"))
            try fields.encode(rule.caseSensitive, forKey: SpecKey("case-sensitive"))
            try fields.encode(rule.matchLimit, forKey: SpecKey("match-limit"))
            try fields.encode(rule.depthLimit, forKey: SpecKey("depth-limit"))
        case .classNameOverlap(let rule):
            try fields.encode(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumMargin, forKey: SpecKey("minimum-margin"))
            try fields.encode(rule.weighting, forKey: SpecKey("weighting"))
            try fields.encode(rule.weights, forKey: SpecKey("weights"))
            try fields.encode(rule.inflections, forKey: SpecKey("inflections"))
            try fields.encode(rule.stopWords, forKey: SpecKey("stop-words"))
        case .keywordScores(let rule):
            try fields.encode(rule.classes, forKey: SpecKey("classes"))
            try fields.encode(rule.weighting, forKey: SpecKey("weighting"))
            try fields.encode(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumMargin, forKey: SpecKey("minimum-margin"))
            try fields.encode(rule.inflections, forKey: SpecKey("inflections"))
        case .dictionary(let rule):
            try fields.encode(rule.entries, forKey: SpecKey("entries"))
            try fields.encode(rule.caseSensitive, forKey: SpecKey("case-sensitive"))
        }
    }
}
