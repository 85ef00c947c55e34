package import Datasets
package import Manifests
package import Primitives
package import Scheduling
import WeakSupervision

/// Turns a checked pipeline and its indexed data into the stage graph. Pure: the same inputs give the same plan, name and all.
package struct Planner {
    let manifest: PipelineManifest
    let index: DatasetIndex
    let testIndex: DatasetIndex?
    let validationIndex: DatasetIndex?
    let functions: LabelingFunctionFile?
    let artifacts: PlanArtifacts
    private var stages: [StageSpec] = []

    package init(
        manifest: PipelineManifest, index: DatasetIndex, testIndex: DatasetIndex?, validationIndex: DatasetIndex? = nil,
        functions: LabelingFunctionFile?, artifacts: PlanArtifacts
    ) {
        self.validationIndex = validationIndex
        self.manifest = manifest
        self.index = index
        self.testIndex = testIndex
        self.functions = functions
        self.artifacts = artifacts
    }

    package static let ingest = StageID("ingest")
    package static let fitLabelModel = StageID("fit-label-model")
    /// The votes of all functions, block by block, whether it computes them or joins the bundles' columns.
    package static let votes = StageID("apply-labeling-functions")
    package static let export = StageID("export")
    package static let supervisedEvaluation = StageID("supervised/evaluate")
    package static func evaluation(of arm: RunArm) -> StageID { StageID("\(arm.name)/evaluate") }
    package static func aggregationEvidence(of arm: RunArm) -> StageID { StageID("\(arm.name)/fit-aggregation") }
    package static func review(of arm: RunArm, round: Int) -> StageID { StageID("\(arm.name)/round-\(twoDigits(round))/review") }
    package static func selection(of arm: RunArm, round: Int) -> StageID {
        StageID("\(arm.name)/round-\(twoDigits(round))/select-for-review")
    }
    static func twoDigits(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }

    // MARK: The plan

    package mutating func plan() throws(AMAFError) -> (RunPlan, RunAnnotation) {
        stages = []
        let classes = index.classNames.count
        guard classes >= 2 else {
            throw AMAFError(
                "plan.classes", "The data set names \(classes) classes; there must be at least two to tell apart", place: manifest.path,
                remedy: "List them under `classes:` in the data set's section of the pipeline.")
        }
        if readsImages { try imageStages() } else { textStages() }
        try checkLabelSets()
        functionStages()
        let arms = try self.arms()
        if hasLabelSets {
            for arm in arms { try addLabelSetStages(of: arm, isFirst: arm == arms.first) }
        } else {
            try addStages(of: arms)
        }
        if testIndex != nil && index.labelledRows > 0 { if hasLabelSets { addLabelSetReference() } else { addSupervisedReference() } }

        let annotation = RunAnnotation(
            pipeline: manifest.path, pipelineName: manifest.name, dataset: manifest.dataset.name, datasetDigest: index.sourceDigest,
            samples: index.samples, testSamples: testIndex?.samples ?? 0, classNames: index.classNames, hasGold: index.labelledRows > 0,
            quarantined: index.quarantineExamples.map { RunAnnotation.QuarantineNote(place: $0.place, code: $0.code, reason: $0.reason) },
            quarantinedRows: index.quarantinedRows, arms: arms, seeds: manifest.seeds, checkpoints: checkpoints, budget: budget,
            reviewMode: manifest.review.mode.rawValue, secondsPerItem: manifest.review.secondsPerItem,
            goldExamplesUsed: functions?.goldExamplesUsed ?? 0, functionNames: functions?.specs.map(\.name) ?? [],
            exports: manifest.export.map(\.rawValue), auditCount: auditCount, supervisedSamples: testIndex == nil ? 0 : index.labelledRows,
            modality: readsImages ? "image" : "text",
            classifier: readsImages ? imageClassifierName : "multinomial logistic regression on hashed TF-IDF",
            hasLabelSets: hasLabelSets ? true : nil, syntheticWeight: manifest.augmentation?.weight)
        // The run is named by what it computes: submitting it twice is submitting it once.
        var hasher = DigestHasher()
        hasher.update(field: CanonicalJSON.encode(stages))
        let id = RunID("\(manifest.name)-\(String(hasher.finish().hex.prefix(10)))")
        return (
            RunPlan(
                id: id, name: manifest.name, priority: manifest.priority, weight: manifest.weight, stages: stages,
                allowsMixedNumerics: manifest.numerics == .any, annotation: CanonicalJSON.encode(annotation)),
            annotation
        )
    }

    var budget: Int { max(1, manifest.review.budget.of(index.samples)) }
    /// Answers that are left after the gold examples that labeling functions were made from.
    var askable: Int { max(1, budget - (functions?.goldExamplesUsed ?? 0)) }
    var checkpoints: [Int] { manifest.checkpoints.map { $0.of(index.samples) }.filter { $0 > 0 && $0 < budget } }
    /// Questions of the last round that are drawn uniformly.
    var uniformCount: Int { min(200, askable / 10) }
    var auditCount: Int { manifest.review.mode == .file ? (manifest.audit?.of(index.samples) ?? 0) : 0 }

    // MARK: Stages

    mutating func add(
        _ id: StageID, _ kind: String, parameters: String = "{}", blocks: Int, _ inputs: [StageInput],
        placement: StagePlacement = StagePlacement(), performer: StageSpec.Performer = .workers
    ) {
        guard let version = StageRegistry.codeVersion(of: kind) else { preconditionFailure("no executor for '\(kind)'") }
        // Which samples lie behind the blocks, for the search of a sample that kills its process.
        let readsSamples = inputs.contains { $0.name == "samples" && $0.reach == .sameBlock } || kind == IngestStage.kind
        let data = id.rawValue.hasPrefix("test/") ? testIndex : id.rawValue.hasPrefix("validation/") ? validationIndex : index
        let range = readsSamples ? data?.plan : nil
        stages.append(
            StageSpec(
                id: id, kind: kind, codeVersion: version, parameters: parameters, blocks: blocks, inputs: inputs, placement: placement,
                performer: performer, samples: range?.samples ?? 0, blockSize: range?.blockSize ?? 0))
    }

    mutating func add(_ specs: [StageSpec]) { stages += specs }

    func same(_ name: String, _ stage: StageID) -> StageInput {
        StageInput(name, from: .stage(stage, output: name), reach: .sameBlock)
    }
    func whole(_ name: String, _ stage: StageID, output: String? = nil) -> StageInput {
        StageInput(name, from: .stage(stage, output: output ?? name), reach: .allBlocks)
    }
    func artifact(_ name: String, _ digest: Digest) -> StageInput {
        StageInput(name, from: .artifacts([digest]), reach: .allBlocks)
    }
    var indexInput: StageInput { artifact("index", artifacts.index) }
    var hasFunctions: Bool {
        (artifacts.functions != nil && manifest.stages.runs(.applyLabelingFunctions)) || votesZeroShot
    }

    static let features = StageID("extract-features")
    static let posterior = StageID("apply-label-model")
    static let testIngest = StageID("test/ingest")
    static let testFeatures = StageID("test/extract-features")
    static let validationIngest = StageID("validation/ingest")
}
