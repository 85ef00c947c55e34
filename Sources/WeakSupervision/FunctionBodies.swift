internal import Primitives

extension LabelingFunctionSet {
    /// The running form of a spec that is no rule over text.
    static func body(
        of spec: LabelingFunctionSpec, _ classNames: [String], _ classIndex: (String) throws(AMAFError) -> Int16,
        _ context: LabelingContext,
        _ modules: inout [FileReference: SnorkelModule]
    ) throws(AMAFError) -> any LabelingFunction {
        let k = classNames.count
        func refused(_ code: String, _ what: String, _ remedy: String) -> AMAFError {
            AMAFError("labeling-function.\(code)", "The labeling function '\(spec.name)' \(what)", place: spec.name, remedy: remedy)
        }
        func classes(_ names: [String]) throws(AMAFError) -> [Int] {
            var out: [Int] = []
            for name in names { out.append(Int(try classIndex(name))) }
            return out
        }
        func allowExec() throws(AMAFError) {
            guard context.allowsExec else {
                throw refused(
                    "exec-not-allowed", "starts a program, which is not allowed here",
                    "Read what it runs, then give --allow-exec to the command or the worker.")
            }
        }
        switch spec.kind {
        case .threshold(let rule):
            return ThresholdFunction(id: spec.id, rule: rule, classIndex: Int(try classIndex(rule.className)), classCount: k)
        case .report(let rule):
            let absent: Int? = if let name = rule.absentClass { Int(try classIndex(name)) } else { nil }
            return ReportFunction(
                id: spec.id, reader: ReportReader(rule.phrases), present: Int(try classIndex(rule.className)), absent: absent,
                uncertain: rule.uncertain, classCount: k)
        case .sensorThreshold(let rule):
            return SensorThresholdFunction(id: spec.id, rule: rule, classIndex: Int(try classIndex(rule.className)), classCount: k)
        case .prototypes(let rule):
            let features = try FeatureRows(rule.features)
            guard !rule.prototypes.isEmpty, rule.prototypes.allSatisfy({ $0.vector.count == features.columns }) else {
                throw refused(
                    "bad-features", "needs prototypes of \(features.columns) numbers, as many as its features have",
                    "Write one 'vector' of that length a prototype.")
            }
            return VectorFunction(
                id: spec.id, features: features, file: rule.features, references: FeatureRows(rule.prototypes.map(\.vector)),
                metric: rule.metric,
                vote: NearestVote(
                    labels: try classes(rule.prototypes.map(\.className)), classCount: k, neighbours: nil, threshold: rule.threshold,
                    margin: rule.minimumMargin))
        case .neighbours(let rule):
            let features = try FeatureRows(rule.features)
            let references = try FeatureRows(rule.references)
            guard references.columns == features.columns, references.rows == rule.labels.count, references.rows > 0 else {
                throw refused(
                    "bad-features",
                    "has \(rule.labels.count) labels for \(references.rows) references of \(references.columns) numbers, and features of \(features.columns)",
                    "Give one label a reference, and vectors of one length.")
            }
            return VectorFunction(
                id: spec.id, features: features, file: rule.features, references: references, metric: rule.metric,
                vote: NearestVote(
                    labels: try classes(rule.labels), classCount: k, neighbours: rule.neighbours, threshold: rule.threshold,
                    margin: rule.minimumShare))
        case .imageExamples(let rule):
            return try ImageExamplesFunction(spec.id, rule, classCount: k, classIndex: classIndex)
        case .modelPrediction(let rule):
            return try ModelPredictionFunction(spec.id, rule, classNames: classNames, classIndex: classIndex)
        case .command(let rule):
            try allowExec()
            let names = rule.classNames.isEmpty ? classNames : rule.classNames
            let indices = try classes(names)
            for file in rule.files { _ = try file.load() }
            return ExecFunction(
                id: spec.id, program: .command(rule), limits: rule.limits, classOfIndex: indices,
                classOfName: Dictionary(zip(names, indices), uniquingKeysWith: { first, _ in first }), classCount: k)
        case .snorkel(let rule):
            try allowExec()
            let names = rule.classNames.isEmpty ? classNames : rule.classNames
            let indices = try classes(names)
            for file in rule.files { _ = try file.load() }
            let module = modules[rule.module] ?? SnorkelModule(rule.module, python: context.python)
            modules[rule.module] = module
            return ExecFunction(
                id: spec.id, program: .snorkel(rule, module), limits: rule.limits, classOfIndex: indices, classOfName: [:], classCount: k)
        case .keywords, .regex, .classNameOverlap, .keywordScores, .dictionary:
            preconditionFailure("'\(spec.name)' is a rule over text")
        }
    }
}
