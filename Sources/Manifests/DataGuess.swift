package import Datasets
internal import Foundation
package import Primitives

/// The format of a data file that no manifest describes: by its ending, its column names and first rows, as `amaf init` does.
package enum DataGuess {
    /// - Throws: `dataset.missing-file`, or `init.unknown-format` for an ending that says nothing.
    package static func format(of path: String) throws(AMAFError) -> DatasetFormat {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        guard let type = attributes?[.type] as? FileAttributeType else {
            throw AMAFError("dataset.missing-file", "There is no data set at '\(path)'", remedy: "Check the path.")
        }
        if type == .typeDirectory { return .textFolder }
        let name = (path as NSString).lastPathComponent
        switch (path as NSString).pathExtension.lowercased() {
        case "csv", "tsv": return try FieldGuess.csv(try FieldGuess.head(of: path), name: name).0
        case "jsonl", "ndjson": return try FieldGuess.jsonl(try FieldGuess.head(of: path), name: name).0
        case "txt", "text": return .textLines
        default:
            throw AMAFError(
                "init.unknown-format", "'\(path)' is of no kind that can be guessed",
                remedy: "Give a folder of texts, or a file that ends with .csv, .tsv, .jsonl or .txt.")
        }
    }
}
