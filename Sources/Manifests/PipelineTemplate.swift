package import Datasets
internal import Foundation
package import Primitives

/// Writes a commented pipeline for data that nobody has described yet: what `amaf init` prints into a file.
package enum PipelineTemplate {
    /// What a look at the data found.
    package struct Findings: Hashable, Sendable {
        package var format: DatasetFormat
        package var samples: Int
        package var labelledSamples: Int
        package var quarantinedRows: Int
        /// From labels or from the names of subfolders; empty when nothing names any.
        package var classes: [String]
        package var classesComeFrom: String
        /// Columns or fields that play no part.
        package var otherFields: [String]
    }

    /// - Parameters:
    ///   - data: a folder of texts, a CSV, a JSONL or a text file with one sample a line.
    ///   - classes: the class names when the user gave them.
    ///   - path: where the pipeline is going to lie; the data's path in it starts there.
    /// - Throws: `init.unknown-format`, or what reading the data throws.
    package static func text(for data: String, classes: [String]? = nil, at path: String) throws(AMAFError) -> String {
        let findings = try inspect(data)
        return compose(data: data, at: path, findings, classes: classes)
    }

    /// Looks at names and the first rows to guess the format and the fields, then reads everything once to count.
    package static func inspect(_ data: String) throws(AMAFError) -> Findings {
        let attributes = try? FileManager.default.attributesOfItem(atPath: data)
        guard let type = attributes?[.type] as? FileAttributeType else {
            throw AMAFError("dataset.missing-file", "There is nothing at '\(data)'", remedy: "Check the path.")
        }
        var format: DatasetFormat
        var fields: [String] = []
        if type == .typeDirectory {
            format = FolderGuess.format(of: data)
        } else if (data as NSString).pathExtension.lowercased() == "npz" {
            format = DatasetFormat(.npz)
        } else {
            let head = try FieldGuess.head(of: data)
            switch (data as NSString).pathExtension.lowercased() {
            case "csv", "tsv":
                (format, fields) = try FieldGuess.csv(head, name: (data as NSString).lastPathComponent)
            case "jsonl", "ndjson": (format, fields) = try FieldGuess.jsonl(head, name: (data as NSString).lastPathComponent)
            case "txt", "text": format = .textLines
            default:
                throw AMAFError(
                    "init.unknown-format", "'\(data)' is of no kind that can be guessed",
                    remedy: "Give a folder of texts or pictures, or a file that ends with .csv, .tsv, .jsonl, .txt or .npz.")
            }
        }
        let scratch = NSTemporaryDirectory() + "amaf-init-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: scratch) }
        do {
            try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "init.no-scratch", "The folder '\(scratch)' cannot be made: \(error.localizedDescription)",
                remedy: "Set TMPDIR to a folder that can be written.")
        }
        if format.kind == .npz {
            // MedMNIST's names; an archive that has none of them is one part.
            format.splits = ["train", "val", "test"].filter { split in
                (try? DatasetSource.prepare(data, format: DatasetFormat(.npz, splits: [split]), scratch: scratch)) != nil
            }
        }
        var pool = format
        pool.splits = poolSplit(of: format.splits).map { [$0] } ?? []
        let index = try DatasetSource.prepare(data, format: pool, scratch: scratch).index()
        var findings = Findings(
            format: format, samples: index.samples, labelledSamples: index.labelledRows, quarantinedRows: index.quarantinedRows,
            classes: [],
            classesComeFrom: "", otherFields: [])
        if format.kind.holdsImages {
            if (2...1000).contains(index.classNames.count) {
                findings.classes = index.classNames
                findings.classesComeFrom = format.kind == .imageFolder ? "the names of the subfolders" : "the labels beside the pictures"
            } else {
                findings.labelledSamples = 0
            }
        } else if let label = format.fields.label, (2...1000).contains(index.classNames.count) {
            (findings.classes, findings.classesComeFrom) = (index.classNames, "the values of '\(label)'")
        } else {
            // A column of which every value is another, or always the same, is no label.
            findings.format.fields.label = nil
            findings.labelledSamples = 0
        }
        if format.kind == .textFolder {
            let folders = FolderGuess.subfolders(of: data)
            if (2...50).contains(folders.count), !folders.allSatisfy({ Int($0) != nil }) {
                (findings.classes, findings.classesComeFrom) = (DatasetIndex.sortedClassNames(folders), "the names of the subfolders")
            }
        }
        let used = [format.fields.id, format.fields.text, findings.format.fields.label].compactMap { $0 }
        findings.otherFields = fields.filter { !used.contains($0) }
        return findings
    }

    private static func compose(data: String, at path: String, _ findings: Findings, classes: [String]?) -> String {
        let name = safeName((data as NSString).lastPathComponent)
        let names = classes ?? findings.classes
        let isFullyLabelled = findings.labelledSamples > 0 && findings.labelledSamples + findings.quarantinedRows == findings.samples
        let usable = max(1, findings.samples - findings.quarantinedRows)
        let budget = max(1, min(usable, max(60, usable / 10)))
        let initial = max(1, min(budget, max(20, 3 * names.count)))
        var lines = [
            "# A pipeline for \(quoted((data as NSString).lastPathComponent)), written by 'amaf init'. Next: amaf check FILE, amaf run FILE.",
            "# Found: \(findings.samples) samples, \(findings.labelledSamples) of them labelled"
                + (findings.quarantinedRows > 0 ? ", \(findings.quarantinedRows) that cannot be used ('amaf check' says why)." : "."), "",
            "name: \(quoted(name))", "", "dataset:", "  format: \(findings.format.kind.rawValue)",
            "  # Relative to this file.", "  path: \(quoted(relative(data, to: path)))",
        ]
        if findings.format.kind == .csv, findings.format.delimiter != "," {
            lines.append("  delimiter: \(quoted(findings.format.delimiter))")
        }
        if findings.format.kind == .csv || findings.format.kind == .jsonl {
            lines.append("  fields:")
            if let id = findings.format.fields.id { lines.append("    id: \(quoted(id))") }
            lines.append("    text: \(quoted(findings.format.fields.text))")
            if let label = findings.format.fields.label { lines.append("    label: \(quoted(label))") }
            if !findings.otherFields.isEmpty {
                lines.append("    # Kept as metadata: \(findings.otherFields.map(quoted).joined(separator: ", "))")
            }
        }
        if let pool = poolSplit(of: findings.format.splits) {
            let test = findings.format.splits.first { $0.lowercased() == "test" && $0 != pool }
            let validation = findings.format.splits.first { $0.lowercased().hasPrefix("val") && $0 != pool }
            let others = [test.map { "test: \(quoted($0))" }, validation.map { "validation: \(quoted($0))" }].compactMap { $0 }
            lines.append("  splits: {\((["pool: \(quoted(pool))"] + others).joined(separator: ", "))}")
        }
        if !names.isEmpty {
            lines.append("  # \(classes != nil ? "As given" : "From \(findings.classesComeFrom)"): every label must be one of these.")
            lines.append("  classes: [\(names.map(quoted).joined(separator: ", "))]")
        } else {
            lines.append("  # TODO: name your classes; 'amaf check' refuses the file until you have.")
            lines.append("  classes: [TODO-first, TODO-second]")
        }
        lines += [
            "", "# Labeling functions are optional: rules that vote, as in configs/labeling-functions. Name their file here.",
            "# labeling-functions: functions.yaml", "",
        ]
        lines += review(isFullyLabelled: isFullyLabelled, budget: budget, initial: initial, usable: usable)
        lines += [
            "", "# Everything else has a default; configs/defaults.yaml lists every knob.", "acquisition: margin    # or entropy, random",
            "seeds: [1]", "export: [jsonl, csv, npz]", "",
        ]
        return lines.joined(separator: "\n")
    }

    /// What is annotated where the data are split already.
    private static func poolSplit(of splits: [String]) -> String? { splits.first { $0.lowercased() == "train" } ?? splits.first }

    private static func review(isFullyLabelled: Bool, budget: Int, initial: Int, usable: Int) -> [String] {
        if isFullyLabelled {
            return [
                "# All samples are labelled, so a reviewer can be simulated from the labels: a rehearsal. For people write 'mode: file'.",
                "review:",
                "  mode: simulated", "  error-rate: 0", "  # All answers together: a count, or a share such as 20 %.",
                "  budget: \(budget)",
                "  # Asked before there is a classifier.", "  initial: \(initial)", "  rounds: 5", "control: random",
            ]
        }
        return [
            "# People answer: each round the run writes a CSV of questions and waits for 'amaf review import FILE'.", "review:",
            "  mode: file",
            "  # All answers together: a count, or a share such as 20 %.", "  budget: \(budget)", "  # Asked before there is a classifier.",
            "  initial: \(initial)", "  rounds: 3",
            "# Asked beside these, drawn uniformly, to estimate the accuracy of the labels with an interval.",
            "audit: \(max(1, min(100, usable / 4)))", "control: none",
        ]
    }

    /// A YAML double-quoted string; JSON's escapes are a part of YAML's.
    private static func quoted(_ text: String) -> String { CanonicalJSON.encode(text) }

    private static func safeName(_ file: String) -> String {
        let stem = (file as NSString).deletingPathExtension
        let safe = String(
            stem.unicodeScalars.map { $0.isASCII && ($0.properties.isAlphabetic || (48...57).contains($0.value)) ? Character($0) : "-" })
        let trimmed = safe.drop { $0 == "-" }
        return trimmed.isEmpty ? "my-data" : String(trimmed)
    }

    /// Beside or below the manifest's folder the path is relative, so that both can be moved together; otherwise it is absolute.
    private static func relative(_ data: String, to manifest: String) -> String {
        func parts(_ path: String) -> [String] {
            let whole = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
            return ManifestPaths.tidy(whole).split(separator: "/").map(String.init)
        }
        let folder = parts((manifest as NSString).deletingLastPathComponent)
        let target = parts(data)
        guard target.count > folder.count, target.starts(with: folder) else { return "/" + target.joined(separator: "/") }
        return target[folder.count...].joined(separator: "/")
    }
}
