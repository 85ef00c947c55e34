import Datasets
import Primitives

/// `ingest`: reads each block's rows from the data set's source into samples, and gold labels apart from them.
///
/// - Inputs: `index` (the `DatasetIndex`), `source` (the plain bytes, of which it reads the ranges of its blocks).
/// - Outputs: `samples` (`SampleBlock`), `gold` (`GoldBlock`), `masked` (positions of quarantined rows, Int64 each),
///   `quarantine` (the same rows with their reasons, JSON list of `QuarantinedRow`), and `label-sets`
///   (`LabelSetBlock`) where samples have several labels each. Images are decoded to thumbnails on the way.
package struct IngestStage: StageExecutor {
    package static let kind = "ingest"
    package static let codeVersion = 2
    package static let rangedInputs = ["source"]

    package init() {}

    package func run(_ task: StageTask) throws {
        let index = try task.datasetIndex()
        let digest = try task.inputs.digests("source")[0]
        let thumbnails = Thumbnails(try task.parameters(as: IngestParameters.self))
        var reader = SourceReader(index, digest: digest, access: task.sources)
        for block in task.blocks {
            let fetchedBefore = reader.fetchedBytes
            let segments = try reader.segments(ofBlock: block)
            var contents = try index.readBlock(block, segments: segments)
            try thumbnails.fill(&contents)
            var masked = ByteWriter()
            for row in contents.samples.quarantined { masked.write(Int64(row.position)) }
            try task.emit(
                block: block,
                [
                    StageOutput("samples", contents.samples.encode()), StageOutput("gold", contents.gold.encode()),
                    StageOutput("masked", masked.bytes),
                    StageOutput("quarantine", Array(CanonicalJSON.encode(contents.samples.quarantined).utf8)),
                ] + (contents.labelSets.map { [StageOutput("label-sets", $0.encode())] } ?? []),
                metrics: [
                    "rows": Double(contents.samples.samples.count), "quarantined": Double(contents.samples.quarantined.count),
                    "source_bytes_fetched": Double(reader.fetchedBytes - fetchedBefore),
                ])
        }
    }
}

extension StageTask {
    /// The samples of one block, parsed once.
    func samples(_ block: Int) throws -> SampleBlock {
        let artifact = try inputs.sameBlock("samples", block)
        return try artifact.withBytes { try SampleBlock(decoding: $0) }
    }

    /// The block's texts; nil where a sample is masked or quarantined.
    func texts(_ block: Int) throws -> [String?] {
        let samples = try samples(block)
        let masked = samples.masked(alsoMasked: maskedSamples)
        return zip(samples.samples, masked).map { $1 ? nil : $0.text }
    }

    /// Gold labels of the whole data set, −1 where unknown. Only evaluation and the simulated reviewer ask for them.
    func gold(_ name: String = "gold") throws -> [Int32] {
        try cache.object("gold", try inputs.combinedDigest(name), cost: { $0.count * 4 }) {
            var labels: [Int32] = []
            try inputs.forEach(name) { _, artifact in
                labels += try artifact.withBytes { try GoldBlock(decoding: $0) }.labels
            }
            return labels
        }
    }
}
