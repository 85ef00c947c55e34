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
    func refusal(_ key: String, _ what: String) -> DecodingError {
        .dataCorrupted(.init(codingPath: container.codingPath + [SpecKey(key)], debugDescription: what))
    }
    mutating func bounds() throws -> NumberBounds {
        let bounds = NumberBounds(atLeast: try optional("at-least"), atMost: try optional("at-most"))
        guard bounds.atLeast != nil || bounds.atMost != nil else {
            throw refusal("class", "a threshold needs 'at-least', 'at-most' or both")
        }
        guard bounds.atLeast ?? -.infinity <= bounds.atMost ?? .infinity else {
            throw refusal("at-least", "'at-least' is above 'at-most': no number lies between")
        }
        return bounds
    }
    mutating func limits() throws -> ExecLimits {
        let standard = ExecLimits()
        let limits = ExecLimits(
            silentSeconds: try value("silent-seconds", default: standard.silentSeconds),
            memoryMiB: try value("memory-mib", default: standard.memoryMiB),
            outputBytes: try value("output-bytes", default: standard.outputBytes))
        guard limits.silentSeconds > 0, limits.silentSeconds <= 86_400 else {
            throw refusal("silent-seconds", "'silent-seconds' is between 0 and 86,400")
        }
        guard (16...1_048_576).contains(limits.memoryMiB) else { throw refusal("memory-mib", "'memory-mib' is between 16 and 1,048,576") }
        guard (16...1_048_576).contains(limits.outputBytes) else {
            throw refusal("output-bytes", "'output-bytes' is between 16 and 1,048,576")
        }
        return limits
    }
    mutating func imageExamples() throws -> ImageExamplesRule {
        let standard = ImageExamplesRule(examples: [])
        let rule = ImageExamplesRule(
            examples: try required("examples"), side: try value("side", default: standard.side),
            neighbours: try value("neighbours", default: standard.neighbours), threshold: try optional("threshold"),
            minimumMargin: try value("minimum-margin", default: standard.minimumMargin),
            minimumShare: try value("minimum-share", default: standard.minimumShare))
        let count = rule.examples.reduce(0) { $0 + $1.images.count }
        guard rule.examples.allSatisfy({ !$0.images.isEmpty }), count > 0 else {
            throw refusal("examples", "every class of 'examples' needs a picture under 'images'")
        }
        guard (2...128).contains(rule.side) else { throw refusal("side", "'side' is between 2 and 128") }
        guard (1...count).contains(rule.neighbours) else {
            throw refusal("neighbours", "'neighbours' is between 1 and the \(count) pictures given")
        }
        return rule
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
        case "threshold":
            self.init(
                name: name,
                kind: .threshold(
                    ThresholdRule(
                        className: try fields.required("class"), field: try fields.required("field"), bounds: try fields.bounds())))
        case "report":
            self.init(
                name: name,
                kind: .report(
                    ReportRule(
                        className: try fields.required("class"), absentClass: try fields.optional("absent-class"),
                        uncertain: try fields.value("uncertain", default: .abstain), phrases: try fields.required("phrases"))))
        case "sensor-threshold":
            let rule = SensorThresholdRule(
                className: try fields.required("class"), channel: try fields.optional("channel"), field: try fields.optional("field"),
                statistic: try fields.value("statistic", default: .mean), window: try fields.optional("window"),
                stride: try fields.optional("stride"), minimumWindows: try fields.value("minimum-windows", default: 1),
                bounds: try fields.bounds())
            guard (rule.channel == nil) != (rule.field == nil) else {
                throw fields.refusal("channel", "a sensor threshold reads either a 'channel' or a 'field'")
            }
            guard rule.window ?? 1 > 0, rule.stride ?? 1 > 0, rule.minimumWindows > 0 else {
                throw fields.refusal("window", "'window', 'stride' and 'minimum-windows' are at least 1")
            }
            self.init(name: name, kind: .sensorThreshold(rule))
        case "prototypes":
            let standard = PrototypesRule(features: FileReference(path: ""), prototypes: [])
            self.init(
                name: name,
                kind: .prototypes(
                    PrototypesRule(
                        features: try fields.required("features"), prototypes: try fields.required("prototypes"),
                        metric: try fields.value("metric", default: standard.metric), threshold: try fields.optional("threshold"),
                        minimumMargin: try fields.value("minimum-margin", default: standard.minimumMargin))))
        case "neighbours":
            let standard = NeighboursRule(features: FileReference(path: ""), references: FileReference(path: ""), labels: [])
            let rule = NeighboursRule(
                features: try fields.required("features"), references: try fields.required("references"),
                labels: try fields.required("labels"), metric: try fields.value("metric", default: standard.metric),
                neighbours: try fields.value("neighbours", default: standard.neighbours), threshold: try fields.optional("threshold"),
                minimumShare: try fields.value("minimum-share", default: standard.minimumShare))
            guard rule.neighbours > 0 else { throw fields.refusal("neighbours", "'neighbours' is at least 1") }
            self.init(name: name, kind: .neighbours(rule))
        case "image-examples":
            self.init(name: name, kind: .imageExamples(try fields.imageExamples()))
        case "model-prediction":
            self.init(
                name: name,
                kind: .modelPrediction(
                    ModelPredictionRule(
                        predictions: try fields.required("predictions"), classNames: try fields.value("classes", default: []),
                        threshold: try fields.value("threshold", default: 0), minimumMargin: try fields.value("minimum-margin", default: 0))
                ))
        case "command":
            let rule = CommandRule(
                command: try fields.required("command"), files: try fields.value("files", default: []),
                classNames: try fields.value("classes", default: []), limits: try fields.limits(),
                folder: try fields.value("folder", default: ""))
            guard !rule.command.isEmpty else { throw fields.refusal("command", "'command' is empty") }
            self.init(name: name, kind: .command(rule))
        case "snorkel":
            self.init(
                name: name,
                kind: .snorkel(
                    SnorkelRule(
                        module: try fields.required("module"), function: try fields.value("function", default: name),
                        classNames: try fields.value("classes", default: []), files: try fields.value("files", default: []),
                        limits: try fields.limits())))
        default:
            let later = Self.laterKinds.contains(kind) ? "the kind '\(kind)' is not in this version" : "unknown kind '\(kind)'"
            throw DecodingError.dataCorrupted(
                .init(
                    codingPath: decoder.codingPath + [SpecKey("kind")],
                    debugDescription: "\(later); known are \(Self.kindNames.joined(separator: ", "))"))
        }
        try fields.refuseOthers()
    }

    /// What `kind` may say in a file; `wordnet` becomes a dictionary while the file is read.
    package static let kindNames = [
        "class-name-overlap", "command", "dictionary", "image-examples", "keyword-scores", "keywords", "model-prediction", "neighbours",
        "prototypes",
        "regex", "report", "sensor-threshold", "snorkel", "threshold", "wordnet",
    ]
    /// Kinds whose names are taken for later versions, so that their error can say so.
    private static let laterKinds = ["clip-zero-shot", "llm-prompt"]

    package var kindName: String {
        switch kind {
        case .keywords: "keywords"
        case .regex: "regex"
        case .classNameOverlap: "class-name-overlap"
        case .keywordScores: "keyword-scores"
        case .dictionary: "dictionary"
        case .threshold: "threshold"
        case .report: "report"
        case .sensorThreshold: "sensor-threshold"
        case .prototypes: "prototypes"
        case .neighbours: "neighbours"
        case .imageExamples: "image-examples"
        case .modelPrediction: "model-prediction"
        case .command: "command"
        case .snorkel: "snorkel"
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
        case .threshold(let rule):
            try fields.encode(rule.className, forKey: SpecKey("class"))
            try fields.encode(rule.field, forKey: SpecKey("field"))
            try Self.encode(rule.bounds, &fields)
        case .report(let rule):
            try fields.encode(rule.className, forKey: SpecKey("class"))
            try fields.encodeIfPresent(rule.absentClass, forKey: SpecKey("absent-class"))
            try fields.encode(rule.uncertain, forKey: SpecKey("uncertain"))
            try fields.encode(rule.phrases, forKey: SpecKey("phrases"))
        case .sensorThreshold(let rule):
            try fields.encode(rule.className, forKey: SpecKey("class"))
            try fields.encodeIfPresent(rule.channel, forKey: SpecKey("channel"))
            try fields.encodeIfPresent(rule.field, forKey: SpecKey("field"))
            try fields.encode(rule.statistic, forKey: SpecKey("statistic"))
            try fields.encodeIfPresent(rule.window, forKey: SpecKey("window"))
            try fields.encodeIfPresent(rule.stride, forKey: SpecKey("stride"))
            try fields.encode(rule.minimumWindows, forKey: SpecKey("minimum-windows"))
            try Self.encode(rule.bounds, &fields)
        case .prototypes(let rule):
            try fields.encode(rule.features, forKey: SpecKey("features"))
            try fields.encode(rule.prototypes, forKey: SpecKey("prototypes"))
            try fields.encode(rule.metric, forKey: SpecKey("metric"))
            try fields.encodeIfPresent(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumMargin, forKey: SpecKey("minimum-margin"))
        case .neighbours(let rule):
            try fields.encode(rule.features, forKey: SpecKey("features"))
            try fields.encode(rule.references, forKey: SpecKey("references"))
            try fields.encode(rule.labels, forKey: SpecKey("labels"))
            try fields.encode(rule.metric, forKey: SpecKey("metric"))
            try fields.encode(rule.neighbours, forKey: SpecKey("neighbours"))
            try fields.encodeIfPresent(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumShare, forKey: SpecKey("minimum-share"))
        case .imageExamples(let rule):
            try fields.encode(rule.examples, forKey: SpecKey("examples"))
            try fields.encode(rule.side, forKey: SpecKey("side"))
            try fields.encode(rule.neighbours, forKey: SpecKey("neighbours"))
            try fields.encodeIfPresent(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumMargin, forKey: SpecKey("minimum-margin"))
            try fields.encode(rule.minimumShare, forKey: SpecKey("minimum-share"))
        case .modelPrediction(let rule):
            try fields.encode(rule.predictions, forKey: SpecKey("predictions"))
            try fields.encode(rule.classNames, forKey: SpecKey("classes"))
            try fields.encode(rule.threshold, forKey: SpecKey("threshold"))
            try fields.encode(rule.minimumMargin, forKey: SpecKey("minimum-margin"))
        case .command(let rule):
            try fields.encode(rule.command, forKey: SpecKey("command"))
            try fields.encode(rule.files, forKey: SpecKey("files"))
            try fields.encode(rule.classNames, forKey: SpecKey("classes"))
            try fields.encode(rule.folder, forKey: SpecKey("folder"))
            try Self.encode(rule.limits, &fields)
        case .snorkel(let rule):
            try fields.encode(rule.module, forKey: SpecKey("module"))
            try fields.encode(rule.function, forKey: SpecKey("function"))
            try fields.encode(rule.classNames, forKey: SpecKey("classes"))
            try fields.encode(rule.files, forKey: SpecKey("files"))
            try Self.encode(rule.limits, &fields)
        }
    }

    private static func encode(_ bounds: NumberBounds, _ fields: inout KeyedEncodingContainer<SpecKey>) throws {
        try fields.encodeIfPresent(bounds.atLeast, forKey: SpecKey("at-least"))
        try fields.encodeIfPresent(bounds.atMost, forKey: SpecKey("at-most"))
    }

    private static func encode(_ limits: ExecLimits, _ fields: inout KeyedEncodingContainer<SpecKey>) throws {
        try fields.encode(limits.silentSeconds, forKey: SpecKey("silent-seconds"))
        try fields.encode(limits.memoryMiB, forKey: SpecKey("memory-mib"))
        try fields.encode(limits.outputBytes, forKey: SpecKey("output-bytes"))
    }
}
