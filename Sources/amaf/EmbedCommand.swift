import ArgumentParser
import Datasets
import Foundation
import Kernels
import Models
import Primitives
import WeakSupervision

/// `amaf embed`: a row of numbers for every text or image, without a cluster.
struct Embed: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Turn texts or images into rows of numbers with a network, without a cluster.",
        discussion: """
            Texts (one a line) by bert and clip models, images by clip and resnet models. --out gets a float32 matrix: row i is line i, or \
            the i-th image by name, whose names stand in OUT.rows.txt. Rows of bert and clip have unit length, so their dot product is the \
            cosine. Images that cannot be decoded are left out and named.
            """)
    @Option(help: ArgumentHelp("The model's folder, or the name of a pulled model.", valueName: "folder"))
    var model: String
    @Option(help: ArgumentHelp("UTF-8 texts, one a line.", valueName: "file"))
    var texts: String?
    @Option(help: ArgumentHelp("A folder of JPEG, PNG and PGM files.", valueName: "folder"))
    var images: String?
    @Option(name: .shortAndLong, help: ArgumentHelp("Matrix to write (.npy).", valueName: "file"))
    var out: String
    @Option(help: "How a bert's tokens become one row: mean or cls; by default as the folder says, else mean.")
    var pooling: String?
    @Flag(help: "Print the token ids of every text.")
    var printIds = false
    @OptionGroup var lanes: LaneOptions
    @OptionGroup var output: OutputOptions

    private struct Report: Encodable {
        var rows: Int
        var width: Int
        var seconds: Double
        var rowsPerSecond: Double
        var skipped: [String] = []
    }

    func run() throws {
        try reporting(json: output.json) {
            let started = ContinuousClock().now
            let folder = try ModelLocation.folder(model)
            let device = try lanes.device()
            var report: Report
            switch (texts, images) {
            case (let file?, nil): report = try embedTexts(file, folder, device)
            case (nil, let images?): report = try embedImages(images, folder, device)
            case (nil, nil), (_?, _?):
                throw AMAFError("embed.input", "Texts or images are needed, and not both", remedy: "Give --texts FILE or --images FOLDER.")
            }
            report.seconds = (ContinuousClock().now - started).seconds
            report.rowsPerSecond = Double(report.rows) / max(report.seconds, 1e-9)
            if output.json { return try Console.json(report) }
            Console.out(
                "\(out): \(Text.count(report.rows)) rows of \(report.width) in \(Text.seconds(report.seconds)), "
                    + "\(Text.fixed(report.rowsPerSecond, 1)) a second")
        }
    }

    /// So many texts are tokenised, sorted by length and embedded at a time: memory does not grow with the file.
    private static let piece = 4096

    private func embedTexts(_ file: String, _ folder: ModelFolder, _ device: CPUDevice) throws(AMAFError) -> Report {
        var chosen: TextEmbedder.Pooling?
        if let pooling {
            guard let known = TextEmbedder.Pooling(rawValue: pooling) else {
                throw AMAFError("embed.pooling", "There is no pooling '\(pooling)'", remedy: "Choose mean or cls.")
            }
            chosen = known
        }
        let embedder = try TextEmbedder(folder, pooling: chosen, on: device)
        guard let data = FileManager.default.contents(atPath: file) else {
            throw AMAFError("embed.unreadable", "The texts cannot be read", place: file, remedy: "Check the path.")
        }
        guard let whole = String(validating: data, as: UTF8.self) else {
            throw AMAFError("embed.not-utf8", "The file is not UTF-8", place: file, remedy: "Convert it to UTF-8.")
        }
        var lines = whole.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).map(String.init)
        if lines.last == "" { lines.removeLast() }
        guard !lines.isEmpty else { throw AMAFError("embed.input", "The file has no lines", place: file, remedy: "One text a line.") }
        if printIds { for line in lines { Console.note(embedder.ids(line).map(String.init).joined(separator: " ")) } }
        var writer = try NumPyWriter(path: out, shape: [lines.count, embedder.width], type: "<f4", itemSize: 4, entry: nil)
        for start in stride(from: 0, to: lines.count, by: Self.piece) {
            try writer.append(array: embedder.embed(Array(lines[start..<min(lines.count, start + Self.piece)])))
        }
        try writer.finish()
        return Report(rows: lines.count, width: embedder.width, seconds: 0, rowsPerSecond: 0)
    }

    private func embedImages(_ images: String, _ folder: ModelFolder, _ device: CPUDevice) throws(AMAFError) -> Report {
        let embedder = try ImageEmbedder(folder, on: device)
        let names = try ImageFolder.names(images)
        var (rows, kept, skipped): ([Float], [String], [String]) = ([], [], [])
        for start in stride(from: 0, to: names.count, by: 32) {
            var (batch, count): ([Float], Int) = ([], 0)
            for name in names[start..<min(names.count, start + 32)] {
                do throws(AMAFError) {
                    let image = try ImageFolder.read("\(images)/\(name)")
                    batch += embedder.preprocessor.prepare(image)
                    count += 1
                    kept.append(name)
                } catch {
                    Console.note("left out: \(error)")
                    skipped.append(name)
                }
            }
            if count > 0 { rows += embedder.embed(batch, count: count) }
        }
        guard !kept.isEmpty else {
            throw AMAFError("embed.input", "None of \(names.count) images can be decoded", place: images, remedy: "See the lines above.")
        }
        var writer = try NumPyWriter(path: out, shape: [kept.count, embedder.width], type: "<f4", itemSize: 4, entry: nil)
        try writer.append(array: rows)
        try writer.finish()
        let list = try FileWriter("\(out.hasSuffix(".npy") ? String(out.dropLast(4)) : out).rows.txt")
        try list.write(Array(kept.map { $0 + "\n" }.joined().utf8))
        try list.close()
        return Report(rows: kept.count, width: embedder.width, seconds: 0, rowsPerSecond: 0, skipped: skipped)
    }
}
