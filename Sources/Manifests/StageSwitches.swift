/// The stages that a pipeline can have, in the order in which they run.
package enum BuiltInStage: String, Hashable, Sendable, Codable, CaseIterable {
    case ingest
    case extractFeatures = "extract-features"
    case applyLabelingFunctions = "apply-labeling-functions"
    case fitLabelModel = "fit-label-model"
    case trainClassifier = "train-classifier"
    case scoreUncertainty = "score-uncertainty"
    case selectForReview = "select-for-review"
    case review
    case aggregate
    case evaluate
    case export

    /// What it cannot do without.
    package var needs: [BuiltInStage] {
        switch self {
        case .ingest: []
        case .extractFeatures, .applyLabelingFunctions: [.ingest]
        case .fitLabelModel: [.applyLabelingFunctions]
        case .trainClassifier: [.extractFeatures]
        case .scoreUncertainty: [.trainClassifier]
        case .selectForReview: [.scoreUncertainty]
        case .review: [.selectForReview]
        case .aggregate: [.ingest]
        case .evaluate, .export: [.aggregate]
        }
    }
}

/// Which stages run, and what the pipeline says of their order beyond what they need of each other.
package struct StageSwitches: Hashable, Sendable, Codable {
    package struct Setting: Hashable, Sendable, Codable {
        package var stage: BuiltInStage
        package var enabled: Bool
        /// Stages that must be finished before this one starts although it does not read them.
        package var after: [BuiltInStage]

        package init(_ stage: BuiltInStage, enabled: Bool = true, after: [BuiltInStage] = []) {
            self.stage = stage
            self.enabled = enabled
            self.after = after
        }
    }
    /// One for each built-in stage, in their order.
    package var settings: [Setting]

    package init() { settings = BuiltInStage.allCases.map { Setting($0) } }

    package subscript(stage: BuiltInStage) -> Setting {
        get { settings.first { $0.stage == stage } ?? Setting(stage) }
        set {
            settings.removeAll { $0.stage == stage }
            settings.append(newValue)
            settings.sort { Self.rank($0.stage) < Self.rank($1.stage) }
        }
    }

    package func runs(_ stage: BuiltInStage) -> Bool { self[stage].enabled }

    private static func rank(_ stage: BuiltInStage) -> Int { BuiltInStage.allCases.firstIndex(of: stage) ?? 0 }

    /// A way round in "needs" and "after", first stage repeated at the end; nil when the graph has an order.
    package func cycle() -> [BuiltInStage]? {
        var done: Set<BuiltInStage> = []
        var trail: [BuiltInStage] = []
        func visit(_ stage: BuiltInStage) -> [BuiltInStage]? {
            if let start = trail.firstIndex(of: stage) { return Array(trail[start...]) + [stage] }
            guard !done.contains(stage) else { return nil }
            trail.append(stage)
            for earlier in stage.needs + self[stage].after {
                if let found = visit(earlier) { return found }
            }
            trail.removeLast()
            done.insert(stage)
            return nil
        }
        for stage in BuiltInStage.allCases {
            if let found = visit(stage) { return found }
        }
        return nil
    }
}
