import Datasets
import Foundation
import Manifests
import Primitives
import Scheduling
import Stages
import WeakSupervision

/// A pipeline with its data found, indexed and planned: all that can go wrong before anything runs has gone wrong here.
struct Preparation {
    let manifest: PipelineManifest
    let source: DatasetSource
    let index: DatasetIndex
    let test: (source: DatasetSource, index: DatasetIndex)?
    let validation: (source: DatasetSource, index: DatasetIndex)?
    /// The network that makes image features.
    let model: ModelFiles?
    private let artifacts: PlanArtifacts
    let functions: LabelingFunctionFile?
    let functionBundles: [[UInt8]]
    let plan: RunPlan
    let annotation: RunAnnotation

    /// - Parameter scratch: for unpacked data; may be deleted after the run.
    init(pipeline path: String, scratch: String) throws {
        let defaults = try Self.defaults(besides: path)
        manifest = try PipelineManifest.load(path, defaults: defaults)
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        let dataset = manifest.dataset
        let poolPath = try Self.locate(dataset.location, of: dataset, scratch: scratch)
        source = try DatasetSource.prepare(poolPath, format: dataset.pool, scratch: scratch)
        index = try source.index(blockSize: manifest.blockSize, classNames: dataset.classes)
        if let format = dataset.test {
            let testPath = try dataset.testLocation.map { try Self.locate($0, of: dataset, scratch: scratch) } ?? poolPath
            let testSource = try DatasetSource.prepare(testPath, format: format, scratch: scratch)
            test = (testSource, try testSource.index(blockSize: manifest.blockSize, classNames: index.classNames))
        } else {
            test = nil
        }
        if let format = dataset.validation {
            let validationSource = try DatasetSource.prepare(poolPath, format: format, scratch: scratch)
            validation = (validationSource, try validationSource.index(blockSize: manifest.blockSize, classNames: index.classNames))
        } else {
            validation = nil
        }
        if let file = manifest.labelingFunctions, manifest.stages.runs(.applyLabelingFunctions) {
            let loaded = try LabelingFunctionFile.load(file)
            try loaded.check(classNames: index.classNames)
            // Compiling finds what reading cannot: a regular expression that is none.
            // Whether programs may be started is for each worker to say.
            do {
                _ = try LabelingFunctionSet(
                    specs: loaded.specs, classNames: index.classNames, context: LabelingContext(allowsExec: true))
            } catch {
                throw loaded.located(error)
            }
            functions = loaded
            functionBundles = LabelingFunctionBundles.of(loaded.specs).map { Array(CanonicalJSON.encode($0).utf8) }
        } else {
            functions = nil
            functionBundles = []
        }
        if manifest.review.mode == .simulated && index.labelledRows == 0 {
            throw AMAFError(
                "pipeline.no-gold", "The simulated reviewer answers from gold labels, and '\(dataset.name)' has none", place: manifest.path,
                remedy: "Set `review: {mode: file}` to ask people.")
        }
        var artifacts = PlanArtifacts(
            source: index.sourceDigest, index: Digest.of(index.encode()), testSource: test?.index.sourceDigest,
            testIndex: test.map { Digest.of($0.index.encode()) }, functions: functionBundles.first.map { Digest.of($0) },
            moreFunctions: functionBundles.dropFirst().map { Digest.of($0) }, validationSource: validation?.index.sourceDigest,
            validationIndex: validation.map { Digest.of($0.index.encode()) })
        model = try manifest.features.images.model.map { try ModelFiles($0) }
        if let model {
            artifacts.modelConfiguration = Digest.of(model.configuration)
            artifacts.modelWeights = Digest.of(try MappedFile(model.weights))
            if let zeroShot = manifest.features.images.zeroShot {
                artifacts.zeroShotPrompts = try model.prompts(zeroShot, classNames: index.classNames, place: manifest.path)
            }
        }
        self.artifacts = artifacts
        var planner = Planner(
            manifest: manifest, index: index, testIndex: test?.index, validationIndex: validation?.index, functions: functions,
            artifacts: artifacts)
        (plan, annotation) = try planner.plan()
    }

    /// What must be stored before the plan is submitted: files by path, small ones by content.
    var uploads: [(digest: Digest, path: String?, bytes: [UInt8])] {
        var list: [(Digest, String?, [UInt8])] = [(index.sourceDigest, source.path, []), (Digest.of(index.encode()), nil, index.encode())]
        for part in [test, validation].compactMap({ $0 }) {
            list += [(part.index.sourceDigest, part.source.path, []), (Digest.of(part.index.encode()), nil, part.index.encode())]
        }
        if let model, let weights = artifacts.modelWeights {
            list += [(Digest.of(model.configuration), nil, model.configuration), (weights, model.weights, [])]
        }
        for bytes in functionBundles { list.append((Digest.of(bytes), nil, bytes)) }
        return list
    }

    /// `configs/defaults.yaml` above the pipeline's own folder; the built-in values are the same.
    static func defaults(besides pipeline: String) throws -> Defaults {
        let path = URL(fileURLWithPath: pipeline).deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent(
            "defaults.yaml"
        ).path
        return FileManager.default.fileExists(atPath: path) ? try Defaults.load(path) : Defaults()
    }

    /// Where pulled data sets lie.
    static var dataFolder: String { ProcessInfo.processInfo.environment["AMAF_DATA"] ?? "data" }

    /// The first of the files, all of which must be there.
    private static func pulled(_ files: [PublicFile], of dataset: DatasetManifest) throws -> String {
        let paths = files.map { $0.localPath(in: dataFolder) }
        guard let first = paths.first, paths.allSatisfy({ FileManager.default.fileExists(atPath: $0) }) else {
            throw AMAFError(
                "dataset.not-pulled", "The data set '\(dataset.name)' is not in '\(dataFolder)'", place: dataset.path,
                remedy: "Run `amaf dataset pull \(dataset.name)`.")
        }
        return first
    }

    private static func locate(_ location: DatasetManifest.Location, of dataset: DatasetManifest, scratch: String) throws -> String {
        switch location {
        case .local(let path): return path
        case .published(let file): return try pulled([file], of: dataset)
        case .publishedFolder(let files): return (try pulled(files, of: dataset) as NSString).deletingLastPathComponent
        case .dataFolder(let below):
            let mirror = ProcessInfo.processInfo.environment["AMAF_DATA_MIRROR"].map { [$0] } ?? []
            let candidates = ([dataFolder] + mirror).map { "\($0)/\(below)" }
            guard let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0) }) else {
                throw AMAFError(
                    "dataset.missing-file", "The data set '\(dataset.name)' is not at \(candidates.joined(separator: " or "))",
                    place: dataset.path, remedy: "Get it from its publisher and put it there; AMAF_DATA names another folder of data.")
            }
            return found
        case .generated(let settings):
            let folder = "\(scratch)/generated"
            let generator = try SampleGenerator(settings)
            try generator.write(to: folder)
            return "\(folder)/\(SampleGenerator.rowsFile)"
        }
    }
}
