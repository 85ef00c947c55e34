internal import Datasets
package import Primitives
internal import Yams

extension PipelineManifest {
    /// Reads and checks a pipeline; the data set's manifest and the labeling functions' file are read and checked too, data rows are
    /// not.
    ///
    /// - Throws: `manifest.*` with `file:line:column`.
    package static func load(_ path: String, defaults: Defaults = Defaults()) throws(AMAFError) -> PipelineManifest {
        try PipelineManifest(YAMLDocument.load(path), defaults: defaults)
    }

    /// The same from text, as a coordinator receives it.
    ///
    /// - Parameter path: what relative paths in it start at, and the name in messages.
    package static func parse(_ text: String, path: String, defaults: Defaults = Defaults()) throws(AMAFError) -> PipelineManifest {
        try PipelineManifest(YAMLDocument(text: text, path: path), defaults: defaults)
    }

    private init(_ document: YAMLDocument, defaults: Defaults) throws(AMAFError) {
        var map = try YAMLMapping(document.root, in: document)
        var knobs = defaults
        try knobs.read(&map)
        path = document.path
        name = try map.requiredText("name", remedy: "Give the pipeline a name: 'name: my-run'.")
        guard
            name.utf8.allSatisfy({
                $0 == 45 || $0 == 46 || $0 == 95 || (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
            }),
            !name.hasPrefix(".")
        else {
            throw map.error(
                "manifest.bad-name", "'\(name)' cannot name a run", at: "name",
                remedy: "Use letters, digits, '-', '_' and '.', so that it can name a folder.")
        }
        dataset = try Self.dataset(&map, pipeline: name)
        labelingFunctions = try map.existingPath("labeling-functions")
        stages = StageSwitches()
        let stagesNode = map.value("stages")
        if let node = stagesNode { try stages.read(YAMLMapping(node, in: document, name: "stages")) }
        vae = knobs.vae
        augmentation = try AugmentationSettings(&map)
        labelModelRounds = knobs.labelModelRounds
        (blockSize, features, labelModel, classifier) = (knobs.blockSize, knobs.features, knobs.labelModel, knobs.classifier)
        (acquisition, control, review, noisyReviewer) = (knobs.acquisition, knobs.control, knobs.review, knobs.noisyReviewer)
        (seeds, checkpoints, audit, export) = (knobs.seeds, knobs.checkpoints, knobs.audit, knobs.export)
        (numerics, priority, weight) = (knobs.numerics, knobs.priority, knobs.weight)
        try limitPool(&map)
        try map.finish()
        try switchOffWhatHasNoInput(map)
        try checkRelations(map)
        if let labelingFunctions {
            let file = try LabelingFunctionFile.load(labelingFunctions)
            if let classes = dataset.classes { try file.check(classNames: classes) }
        }
    }

    /// `dataset: NAME` looks for `datasets/NAME.yaml` beside the pipelines' folder, then below the manifest's own; anything with a slash or
    /// `.yaml` is a path; a map is the data set itself.
    private static func dataset(_ map: inout YAMLMapping, pipeline: String) throws(AMAFError) -> DatasetManifest {
        guard let node = map.value("dataset") else {
            throw map.missing("dataset", remedy: "Name a file of configs/datasets, or write 'dataset:' with 'format' and 'path' below it.")
        }
        if node.mapping != nil { return try DatasetManifest(YAMLMapping(node, in: map.document, name: "dataset"), fallbackName: pipeline) }
        guard let written = node.scalar?.string else { throw map.wrongType("dataset", node, needs: "a name or a map", example: "clinc150") }
        let isPath = written.contains("/") || written.hasSuffix(".yaml") || written.hasSuffix(".yml")
        let candidates = isPath ? [written] : ["../datasets/\(written).yaml", "datasets/\(written).yaml", "\(written).yaml"]
        let paths = candidates.map { ManifestPaths.tidy(ManifestPaths.resolve($0, against: map.document.path)) }
        guard let found = paths.first(where: ManifestPaths.exists) else {
            throw map.document.error(
                "manifest.missing-file", "The data set '\(written)' is not at \(paths.map { "'\($0)'" }.joined(separator: " or "))",
                at: node,
                remedy: "Check the name; paths start at the folder of \(map.document.path).")
        }
        return try DatasetManifest.load(found)
    }

    /// Stages whose input the pipeline does not name are off, unless it says that they are on: then that is a contradiction.
    private mutating func switchOffWhatHasNoInput(_ map: YAMLMapping) throws(AMAFError) {
        var off: [BuiltInStage] = []
        if labelingFunctions == nil { off += [.applyLabelingFunctions, .fitLabelModel] }
        if review.mode == .none { off += [.selectForReview, .review] }
        for stage in off { stages[stage].enabled = false }
        // The order graph is checked over what remains.
        if let cycle = stages.cycle() {
            throw map.error(
                "manifest.cyclic-stages", "The stages wait for each other: \(cycle.map(\.rawValue).joined(separator: " → "))", at: "stages",
                remedy: "Take one of these out of an 'after' list. An arrow points at what must come first.")
        }
        for stage in BuiltInStage.allCases where stages.runs(stage) {
            guard let missing = stage.needs.first(where: { !stages.runs($0) }), !off.contains(missing) else { continue }
            throw map.error(
                "manifest.stage-needs", "The stage '\(stage.rawValue)' is on but '\(missing.rawValue)', which it reads, is off",
                at: "stages",
                remedy: "Switch '\(missing.rawValue)' on or '\(stage.rawValue)' off.")
        }
    }

    private func checkRelations(_ map: YAMLMapping) throws(AMAFError) {
        try checkAugmentation(map)
        if review.mode == .simulated, !dataset.hasGold {
            throw map.error(
                "manifest.no-gold", "A simulated reviewer answers from gold labels, and the data set names no label field", at: "review",
                remedy: "Set 'review: {mode: file}' to ask people, or name the field with 'fields: {label: …}'.")
        }
        if !dataset.hasGold, dataset.classes == nil, review.mode == .file {
            throw map.error(
                "manifest.no-classes", "Nothing says which classes there are", at: "dataset",
                remedy: "List them under the data set: 'classes: [one, two]'.")
        }
        if !noisyReviewer.isEmpty, review.mode != .simulated {
            throw map.error(
                "manifest.unused-key", "Only simulated reviewers can be made noisy", at: "noisy-reviewer",
                remedy: "Leave 'noisy-reviewer' out.")
        }
    }
}

extension DatasetManifest {
    /// Whether rows of the pool can carry a gold label.
    package var hasGold: Bool {
        switch pool.kind {
        case .clinc150: true
        case .jsonl, .csv: pool.fields.label != nil
        case .textFolder, .textLines: false
        case .imageFolder, .idx, .npz: true
        case .imageCSV: pool.fields.label != nil || pool.images?.labels != nil
        case .chexpert: pool.images?.observation != nil || pool.images?.labels != nil
        }
    }
}

extension StageSwitches {
    /// `stages: {review: false, evaluate: {after: [export]}}`.
    mutating func read(_ map: consuming YAMLMapping) throws(AMAFError) {
        for key in map.keys {
            let stage = try Self.stage(key, at: map.keyNode(key), map)
            guard let node = map.value(key) else { continue }
            if node.scalar != nil {
                self[stage].enabled = try map.bool(key) ?? true
                continue
            }
            var part = try YAMLMapping(node, in: map.document, name: "stages.\(key)")
            self[stage].enabled = try part.bool("enabled") ?? true
            if let node = part.value("after") {
                var after: [BuiltInStage] = []
                for item in node.sequence.map(Array.init) ?? [node] {
                    guard let word = item.scalar?.string else { throw part.wrongType("after", item, needs: "a stage", example: "[ingest]") }
                    after.append(try Self.stage(word, at: item, map))
                }
                self[stage].after = after
            }
            try part.finish()
        }
    }

    private static func stage(_ word: String, at node: Node, _ map: YAMLMapping) throws(AMAFError) -> BuiltInStage {
        if let stage = BuiltInStage(rawValue: word) { return stage }
        let names = BuiltInStage.allCases.map(\.rawValue)
        throw map.document.error(
            "manifest.unknown-stage", "There is no stage '\(word)'", at: node,
            remedy: closest(to: word, among: names).map { "Did you mean '\($0)'?" } ?? "The stages are \(names.joined(separator: ", ")).")
    }
}

extension Defaults {
    /// Reads `configs/defaults.yaml` or a file like it; keys that are missing keep the built-in values.
    ///
    /// - Parameter base: what stays where the file says nothing.
    package static func load(_ path: String, over base: Defaults = Defaults()) throws(AMAFError) -> Defaults {
        let document = try YAMLDocument.load(path)
        var map = try YAMLMapping(document.root, in: document)
        var defaults = base
        try defaults.read(&map)
        if var part = try map.map("scheduler") { try defaults.scheduler.read(&part) }
        try map.finish()
        return defaults
    }
}
