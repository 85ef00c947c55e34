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
        let artifacts = PlanArtifacts(
            source: index.sourceDigest, index: Digest.of(index.encode()), testSource: test?.index.sourceDigest,
            testIndex: test.map { Digest.of($0.index.encode()) }, functions: functionBundles.first.map { Digest.of($0) },
            moreFunctions: functionBundles.dropFirst().map { Digest.of($0) })
        var planner = Planner(manifest: manifest, index: index, testIndex: test?.index, functions: functions, artifacts: artifacts)
        (plan, annotation) = try planner.plan()
    }

    /// What must be stored before the plan is submitted: files by path, small ones by content.
    var uploads: [(digest: Digest, path: String?, bytes: [UInt8])] {
        var list: [(Digest, String?, [UInt8])] = [(index.sourceDigest, source.path, []), (Digest.of(index.encode()), nil, index.encode())]
        if let test {
            list += [(test.index.sourceDigest, test.source.path, []), (Digest.of(test.index.encode()), nil, test.index.encode())]
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

    private static func locate(_ location: DatasetManifest.Location, of dataset: DatasetManifest, scratch: String) throws -> String {
        switch location {
        case .local(let path): return path
        case .published(let file):
            let path = file.localPath(in: dataFolder)
            guard FileManager.default.fileExists(atPath: path) else {
                throw AMAFError(
                    "dataset.not-pulled", "The data set '\(dataset.name)' is not in '\(dataFolder)'", place: dataset.path,
                    remedy: "Run `amaf dataset pull \(file.dataset)`.")
            }
            return path
        case .generated(let settings):
            let folder = "\(scratch)/generated"
            let generator = try SampleGenerator(settings)
            try generator.write(to: folder)
            return "\(folder)/\(SampleGenerator.rowsFile)"
        }
    }
}
