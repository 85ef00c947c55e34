import Aggregation
import Datasets
import Foundation
import Primitives
import WeakSupervision

package struct ExportParameters: Hashable, Sendable, Codable {
    /// `jsonl`, `csv`, `npz`.
    package var formats: [String]

    package init(formats: [String]) { self.formats = formats }
}

/// `export`: labels and the label matrix in the forms that other programs read.
///
/// - Inputs: `index`, `samples` and `labels` (all blocks), `votes` (all blocks) for `npz`.
/// - Outputs: `labels.jsonl`, `labels.csv`, `label-matrix.npz`, as asked for.
package struct ExportStage: StageExecutor {
    package static let kind = "export"
    package static let codeVersion = 1

    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: ExportParameters.self)
        let classNames = try task.datasetIndex().classNames
        let wantsLines = parameters.formats.contains("jsonl")
        let wantsCSV = parameters.formats.contains("csv")
        var jsonl: [UInt8] = []
        var csv: [UInt8] = Array("id,label,confidence,sources\r\n".utf8)
        let labels = try task.inputs.digests("labels")
        var rows = 0
        try task.inputs.forEach("samples") { number, artifact in
            let block = try artifact.withBytes { try SampleBlock(decoding: $0) }
            let finals = try FinalLabelCodec.decode(try task.inputs.artifact(labels[number]).bytes)
            for (sample, final) in zip(block.samples, finals) {
                rows += 1
                let label = final.label.map { classNames[$0] }
                let confidence = Decimals.six(final.confidence)
                let sources = final.sources.names
                if wantsLines {
                    let names = sources.map { "\"\($0)\"" }.joined(separator: ",")
                    let line =
                        "{\"id\":\(JSONString.quoted(sample.id)),\"label\":\(label.map(JSONString.quoted) ?? "null"),\"confidence\":\(confidence),\"sources\":[\(names)]}\n"
                    jsonl.append(contentsOf: line.utf8)
                }
                if wantsCSV {
                    let fields = [sample.id, label ?? "", confidence, sources.joined(separator: "+")]
                    csv.append(contentsOf: (fields.map(CSVField.quoted).joined(separator: ",") + "\r\n").utf8)
                }
            }
        }
        var outputs: [StageOutput] = []
        if wantsLines { outputs.append(StageOutput("labels.jsonl", jsonl)) }
        if wantsCSV { outputs.append(StageOutput("labels.csv", csv)) }
        if parameters.formats.contains("npz") && task.inputs.contains("votes") {
            let path = NSTemporaryDirectory() + "amaf-\(getpid())-\(task.blocks.lowerBound)-label-matrix.npz"
            defer { unlink(path) }
            try task.labelMatrix().writeNumPy(to: path)
            outputs.append(StageOutput("label-matrix.npz", [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))))
        }
        try task.emit(block: 0, outputs, metrics: ["rows": Double(rows)])
    }
}

/// JSON strings as RFC 8259 wants them, without a library's choices changing our bytes.
package enum JSONString {
    package static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20:
                let hex = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}

/// Probabilities with six decimals, rounded half up: the same text everywhere.
enum Decimals {
    static func six(_ value: Float) -> String {
        let scaled = Int((Double(min(max(value, 0), 1)) * 1_000_000 + 0.5).rounded(.down))
        let fraction = String(scaled % 1_000_000)
        return "\(scaled / 1_000_000).\(String(repeating: "0", count: 6 - fraction.count))\(fraction)"
    }
}
