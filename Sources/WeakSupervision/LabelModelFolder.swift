internal import Foundation
internal import Primitives

/// The folder that `amaf label-model fit` writes, file by file.
struct LabelModelFolder {
    let path: String
    private(set) var files: [String] = []

    init(_ path: String) throws(AMAFError) {
        self.path = path
        do { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) } catch {
            throw Self.failed(path, error)
        }
    }

    private static func failed(_ path: String, _ error: any Error) -> AMAFError {
        AMAFError(
            "label-model.unwritable", "The file cannot be written: \(error.localizedDescription)", place: path, remedy: "Check the folder.")
    }

    mutating func put(_ bytes: [UInt8], _ name: String) throws(AMAFError) {
        do { try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)")) } catch { throw Self.failed("\(path)/\(name)", error) }
        files.append(name)
    }

    /// Sorted keys, so that the same fit writes the same bytes.
    mutating func put(json value: some Encodable, _ name: String) throws(AMAFError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let json = try? encoder.encode(value) else { preconditionFailure("'\(name)' did not become JSON") }
        try put([UInt8](json), name)
    }

    /// A file of another kind of fit that an earlier run left would be taken for this one's.
    func remove(_ names: [String]) {
        for name in names { try? FileManager.default.removeItem(atPath: "\(path)/\(name)") }
    }

    /// Fields of labels.csv beyond the common ones.
    struct MoreColumns {
        var header: [String] = []
        var fields: (Posterior) -> [String] = { _ in [] }
    }

    /// `posteriors.npy` (samples × classes, float32; rows without votes hold the balance) and `labels.csv` (item, label, confidence, covered,
    /// tied; no label where there is no vote or a tie). Block by block: posteriors of many classes are never all in memory.
    mutating func writeLabels(
        of matrix: LabelMatrix, items: [String], classNames: [String], balance: [Float], more: MoreColumns = MoreColumns(),
        posterior: (LabelMatrix.Block) -> PosteriorBlock
    ) throws(AMAFError) {
        let k = classNames.count
        var array = try NumPyWriter(
            path: "\(path)/posteriors.npy", shape: [matrix.sampleCount, k], type: "<f4", itemSize: 4, entry: nil)
        var csv = (["item,label,confidence,covered,tied"] + more.header.map(CSVText.quoted)).joined(separator: ",") + "\n"
        var next = 0
        for votes in matrix.blocks {
            let block = posterior(votes)
            for _ in next..<block.firstSample { try array.append(array: balance) }
            var dense: [Float] = []
            dense.reserveCapacity(block.rowCount * k)
            for row in 0..<block.rowCount {
                let posterior = block[row]
                dense += posterior.isCovered ? posterior.dense : balance
                let item = items.isEmpty ? "\(block.firstSample + row)" : CSVText.quoted(items[block.firstSample + row])
                let label = posterior.label.map { CSVText.quoted(classNames[$0]) } ?? ""
                csv +=
                    "\(item),\(label),\(posterior.entries.first?.probability ?? 0),\(posterior.isCovered ? 1 : 0),\(posterior.isTied ? 1 : 0)"
                for field in more.fields(posterior) { csv += "," + CSVText.quoted(field) }
                csv += "\n"
            }
            try array.append(array: dense)
            next = block.samples.upperBound
        }
        try array.finish()
        files.append("posteriors.npy")
        try put(Array(csv.utf8), "labels.csv")
    }
}
