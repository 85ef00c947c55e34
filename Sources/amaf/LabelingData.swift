import ArgumentParser
import Datasets
import Foundation
import Manifests
import Primitives
import WeakSupervision

/// Data that labeling functions are tried on without a pipeline.
struct LabelingDataOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The samples: JSONL, CSV, a text file with one sample a line, or a folder of texts.", valueName: "file"))
    var data: String
    @Option(help: ArgumentHelp("Field or column of the text; guessed when it is not given.", valueName: "field"))
    var text: String?
    @Option(help: ArgumentHelp("Field or column of the id.", valueName: "field"))
    var id: String?
    @Option(help: ArgumentHelp("Field or column of the gold label, for analysis; functions never see it.", valueName: "field"))
    var label: String?
    @Option(help: ArgumentHelp("Field or column that refers to a sensor recording, for example recordings.csv#3.", valueName: "field"))
    var sensor: String?
    @Option(
        help: ArgumentHelp(
            "Class names in the order of their numbers, separated by commas; by default the gold labels' or those that the functions name.",
            valueName: "names"))
    var classes: String?
    @Flag(help: "Let labeling functions start programs (kinds 'command' and 'snorkel'). Read them first.")
    var allowExec = false

    var context: LabelingContext {
        var context = LabelingContext.ofEnvironment
        context.allowsExec = context.allowsExec || allowExec
        return context
    }
}

/// Functions and data brought together, with everything checked that can be checked before a function runs.
struct LabelingData {
    let file: LabelingFunctionFile
    let source: DatasetSource
    let index: DatasetIndex
    let classNames: [String]
    let blockSize: Int
    private let readsAttachments: Bool

    /// - Parameter cache: a folder that keeps the index of data that did not change since an earlier call.
    init(functions path: String, _ options: LabelingDataOptions, blockSize: Int, scratch: String, cache: String? = nil) throws {
        file = try LabelingFunctionFile.load(path)
        self.blockSize = blockSize
        var format = try DataGuess.format(of: options.data)
        let isLabelGuessed = options.label == nil
        if let text = options.text { format.fields.text = text }
        if let id = options.id { format.fields.id = id }
        if let label = options.label { format.fields.label = label }
        if let sensor = options.sensor { format.fields.sensor = sensor }
        try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        let given = options.classes.map { text in
            text.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        }
        var source = try DatasetSource.prepare(options.data, format: format, scratch: scratch)
        let kept = try cache.map { try VoteCache(folder: $0, classNames: []) }
        var index = try Self.index(source, blockSize: blockSize, classNames: given, kept)
        let spoken = Set(file.specs.flatMap(\.classNames))
        // A column that was taken for the label and is none must not decide what the classes are; one mistyped class must not undo it.
        if given == nil, isLabelGuessed, format.fields.label != nil,
            index.classNames.count > 1000 || (!spoken.isEmpty && spoken.isDisjoint(with: index.classNames))
        {
            format.fields.label = nil
            source = try DatasetSource.prepare(options.data, format: format, scratch: scratch)
            index = try Self.index(source, blockSize: blockSize, classNames: nil, kept)
        }
        classNames = given ?? (index.labelledRows > 0 ? index.classNames : spoken.sorted())
        guard classNames.count >= 2 else {
            throw AMAFError(
                "lf.classes", "There must be at least two classes, and the functions and labels name \(classNames.joined(separator: ", "))",
                place: path, remedy: "Name them: --classes one,two.")
        }
        try file.check(classNames: classNames)
        self.source = source
        self.index = index
        readsAttachments = format.fields.sensor != nil
    }

    /// The index, taken from the cache where the bytes are those of an earlier call.
    private static func index(
        _ source: DatasetSource, blockSize: Int, classNames: [String]?, _ cache: VoteCache?
    ) throws(AMAFError) -> DatasetIndex {
        guard let cache else { return try source.index(blockSize: blockSize, classNames: classNames) }
        var hasher = DigestHasher()
        hasher.update(field: "index of \(AMAFVersion.current)")
        hasher.update(field: source.name)
        hasher.update(field: CanonicalJSON.encode(source.format))
        hasher.update(integer: UInt64(blockSize))
        hasher.update(field: classNames.map { CanonicalJSON.encode($0) } ?? "")
        try MappedFile(source.path).withBytes { hasher.update($0) }
        let name = hasher.finish()
        if let bytes = cache.document(name), let index = try? DatasetIndex(decoding: bytes) { return index }
        let index = try source.index(blockSize: blockSize, classNames: classNames)
        try cache.store(document: index.encode(), name)
        return index
    }

    /// Compiles everything, so that a mistake is named with its line.
    func compile(_ context: LabelingContext) throws {
        do throws(AMAFError) { _ = try LabelingFunctionSet(specs: file.specs, classNames: classNames, context: context) } catch {
            throw file.located(error)
        }
    }

    func samples(ofBlock block: Int, from bytes: MappedFile) throws -> [Sample?] {
        var contents = try index.readBlock(block, from: bytes).samples
        if readsAttachments {
            var attachments = SampleAttachments(folder: source.folder)
            attachments.load(into: &contents)
        }
        let masked = contents.masked()
        return zip(contents.samples, masked).map { $1 ? nil : $0 }
    }

    /// All blocks, read when they are asked for.
    func commandSource() throws -> LabelingFunctionCommand.Source {
        let bytes = try MappedFile(source.path)
        let digests = (0..<index.plan.blockCount).map { block in
            var hasher = DigestHasher()
            hasher.update(field: CanonicalJSON.encode(index.format))
            hasher.update(integer: UInt64(index.plan.range(ofBlock: block).lowerBound))
            hasher.update(digest: index.blockDigests?[block] ?? index.sourceDigest)
            // Whether a row repeats an earlier id is not in the block's own bytes.
            let range = index.plan.range(ofBlock: block)
            for position in index.duplicates where range.contains(position) { hasher.update(integer: UInt64(position)) }
            return hasher.finish()
        }
        return LabelingFunctionCommand.Source(
            blocks: (0..<index.plan.blockCount).map { index.plan.range(ofBlock: $0) }, digests: digests,
            read: { block in try samples(ofBlock: block, from: bytes) })
    }

    /// Samples of evenly spread blocks, about `count` of them, with their positions and gold labels.
    func spread(_ count: Int) throws -> (samples: [Sample?], positions: [Int], gold: [Int?]) {
        let bytes = try MappedFile(source.path)
        let wanted = max(1, min(index.plan.blockCount, (count + blockSize - 1) / blockSize))
        var samples: [Sample?] = []
        var positions: [Int] = []
        var gold: [Int?] = []
        for i in 0..<wanted {
            let block = i * index.plan.blockCount / wanted
            samples += try self.samples(ofBlock: block, from: bytes)
            positions += index.plan.range(ofBlock: block)
            gold += try labels(ofBlock: block, from: bytes)
        }
        return (Array(samples.prefix(count)), Array(positions.prefix(count)), Array(gold.prefix(count)))
    }

    private func labels(ofBlock block: Int, from bytes: MappedFile) throws -> [Int?] {
        guard index.labelledRows > 0 else { return Array(repeating: nil, count: index.plan.range(ofBlock: block).count) }
        // The run's classes may be given in another order than the index found them.
        let position = Dictionary(classNames.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        return try index.readBlock(block, from: bytes).gold.labels.map { $0 >= 0 ? position[index.classNames[Int($0)]] : nil }
    }

    func gold() throws -> [Int?] {
        guard index.labelledRows > 0 else { return [] }
        let bytes = try MappedFile(source.path)
        return try (0..<index.plan.blockCount).flatMap { try labels(ofBlock: $0, from: bytes) }
    }
}

/// High-water mark of this process's memory.
enum PeakMemory {
    static var bytes: Int {
        var usage = rusage()
        getrusage(numericCast(RUSAGE_SELF.rawValue), &usage)
        return usage.ru_maxrss << 10
    }
}
