import ArgumentParser
import Datasets
import Foundation
import Integrations
import Kernels
import Manifests
import Models
import Primitives

/// Where models lie and how they are found by name or path.
struct ModelLocation: ParsableArguments {
    @Option(help: "Folder with the catalogue's files.")
    var catalogue: String = "configs/models"

    /// The folder that pulled models lie in: AMAF_MODELS, by default ./models.
    static var modelsFolder: String {
        ProcessInfo.processInfo.environment["AMAF_MODELS"].flatMap { $0.isEmpty ? nil : $0 } ?? "models"
    }

    /// A path of a folder, or the name of a pulled model.
    static func folder(_ name: String) throws(AMAFError) -> ModelFolder {
        if FileManager.default.fileExists(atPath: name) { return try ModelFolder(name) }
        let pulled = "\(modelsFolder)/\(name.split(separator: "/").joined(separator: "--"))"
        guard FileManager.default.fileExists(atPath: pulled) else {
            throw AMAFError(
                "model.no-folder", "There is no model folder '\(name)', and no '\(pulled)'",
                remedy: "Name a folder with config.json and model.safetensors, or run 'amaf models pull \(name)'.")
        }
        return try ModelFolder(pulled)
    }
}

/// How many threads compute.
struct LaneOptions: ParsableArguments {
    @Option(help: "Threads; by default one for each processor. Results do not depend on it.")
    var lanes: Int?

    func device() throws(AMAFError) -> CPUDevice {
        let count = lanes ?? CPUDevice.availableLanes
        guard (1...256).contains(count) else {
            throw AMAFError("model.lanes", "--lanes is \(count)", remedy: "Give a number between 1 and 256.")
        }
        return CPUDevice(lanes: count)
    }
}

struct ModelsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "models", abstract: "Get, convert and check networks' weights.",
        subcommands: [List.self, Pull.self, Convert.self, Verify.self])

    // MARK: list

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List the catalogue's models and which of them are here.")
        @OptionGroup var location: ModelLocation
        @OptionGroup var output: OutputOptions

        private struct Row: Encodable {
            var name: String
            var architecture: String
            var description: String
            var licence: String
            var source: String
            var folder: String?
        }

        func run() throws {
            try reporting(json: output.json) {
                let rows = try ModelManifest.catalogue(location.catalogue).map { manifest in
                    let folder = "\(ModelLocation.modelsFolder)/\(manifest.name)"
                    return Row(
                        name: manifest.name, architecture: manifest.architecture, description: manifest.description,
                        licence: manifest.licence, source: manifest.sourceText,
                        folder: FileManager.default.fileExists(atPath: "\(folder)/model.safetensors") ? folder : nil)
                }
                if output.json { return try Console.json(rows) }
                guard !rows.isEmpty else {
                    throw AMAFError(
                        "model.no-catalogue", "There is no catalogue at '\(location.catalogue)'",
                        remedy: "Run this in the repository's folder, or name it with --catalogue.")
                }
                Console.out(
                    Text.table(
                        ["name", "kind", "what it gives", "licence", "source", "here"],
                        rows.map { [$0.name, $0.architecture, $0.description, $0.licence, $0.source, $0.folder ?? "no"] }))
            }
        }
    }

    // MARK: pull

    struct Pull: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Get a model, checked by its SHA-256.",
            discussion: """
                NAME is a model of the catalogue, or OWNER/NAME on the public hub with the SHA-256 of its model.safetensors (the hub's page \
                shows it). Python packages come from the index that pip is configured for (PIP_INDEX_URL, pip.conf), hub models from \
                HF_ENDPOINT, by default https://huggingface.co. An interrupted download goes on where it stopped. Models go to the folder \
                AMAF_MODELS, by default ./models.
                """)
        @Argument(help: "A model's name, or OWNER/NAME.")
        var name: String
        @Option(help: ArgumentHelp("SHA-256 of model.safetensors, for OWNER/NAME.", valueName: "digest"))
        var sha256: String?
        @Option(help: "Branch or commit, for OWNER/NAME.")
        var revision: String = "main"
        @Option(help: ArgumentHelp("A wheel or a folder that is here already, instead of the network.", valueName: "path"))
        var from: String?
        @OptionGroup var location: ModelLocation
        @OptionGroup var output: OutputOptions

        private struct Result: Encodable {
            var folder: String
            var report: ModelReport
        }

        func run() throws {
            try reporting(json: output.json) {
                let isJSON = output.json
                let environment = ProcessInfo.processInfo.environment
                let home = environment["HOME"] ?? "/"
                let hub = environment["HF_ENDPOINT"].flatMap { $0.isEmpty ? nil : $0 } ?? "https://huggingface.co"
                let puller = ModelPuller(
                    modelsFolder: ModelLocation.modelsFolder, index: .configured(environment: environment, home: home), hub: hub,
                    report: { if !isJSON { Console.note($0) } })
                let (model, conversion) = try wanted()
                let folder = try puller.pull(model, from: from)
                if let conversion {
                    let made = try ModelConversion.convert("\(folder)/\(conversion.file)", into: folder, conversion)
                    try ModelPuller.record(model.files.map(\.name) + made, in: folder)
                }
                let report = try ModelReport.verify(try ModelFolder(folder), on: CPUDevice())
                if isJSON { return try Console.json(Result(folder: folder, report: report)) }
                Console.note(report.architecture)
                Console.out(folder)
            }
        }

        private func wanted() throws(AMAFError) -> (PublicModel, ModelManifest.Conversion?) {
            if name.contains("/") {
                guard name.split(separator: "/", omittingEmptySubsequences: false).count == 2, PublicModel.staysInside(name),
                    PublicModel.staysInside(revision)
                else { throw AMAFError("model.unknown", "'\(name)' is no model of a hub", remedy: "Write OWNER/NAME.") }
                guard let digest = sha256.flatMap({ Digest(hex: $0.lowercased()) }) else {
                    throw AMAFError(
                        "model.no-digest", "A hub's model is pulled by name and digest, and no SHA-256 is given",
                        remedy: "Give that of model.safetensors with --sha256; the hub shows it on the file's page.")
                }
                return (PublicModel(repository: name, revision: revision, weights: digest), nil)
            }
            let catalogue = try ModelManifest.catalogue(location.catalogue)
            guard let manifest = catalogue.first(where: { $0.name == name }) else {
                throw AMAFError(
                    "model.unknown", "There is no model '\(name)' in \(location.catalogue)",
                    remedy: catalogue.isEmpty
                        ? "Run this in the repository's folder." : "Known: \(catalogue.map(\.name).joined(separator: ", ")); or OWNER/NAME."
                )
            }
            return (manifest.model, manifest.conversion)
        }
    }

    // MARK: convert

    struct Convert: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Turn an ONNX residual network into model.safetensors and config.json.",
            discussion: "ResNet-18 to ResNet-152 of any width are recognised by their graph; batch norms may be folded into convolutions.")
        @Argument(help: "The ONNX file.")
        var file: String
        @Option(name: .shortAndLong, help: "Folder to write.")
        var out: String
        @Option(help: ArgumentHelp("The classes' names, separated by commas.", valueName: "names"))
        var labels: String?
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                let conversion = ModelManifest.Conversion(
                    file: file, labels: labels?.split(separator: ",").map(String.init) ?? [], preprocessing: nil)
                try ModelConversion.convert(file, into: out, conversion)
                let report = try ModelReport.verify(try ModelFolder(out), on: CPUDevice())
                if output.json { return try Console.json(report) }
                Console.note(report.architecture)
                Console.out(out)
            }
        }
    }

    // MARK: verify

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Read all of a model's folder and say what it is, or what is wrong with it.",
            discussion: """
                Every tensor that the network needs must be there, of the right shape and finite; the vocabulary must fit the embedding; \
                files must be what SHA256SUMS beside them says, when it is there.
                """)
        @Argument(help: "A model's folder, or the name of a pulled model.")
        var model: String
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                let folder = try ModelLocation.folder(model)
                let report = try ModelReport.verify(folder, on: CPUDevice())
                if output.json { return try Console.json(report) }
                Console.out("\(folder.path): \(report.architecture)")
                Console.out(
                    "\(Text.count(report.tensors)) tensors of \(Text.count(report.weights)) numbers: all there, of the right shape, finite")
                if !report.unused.isEmpty {
                    let shown = report.unused.prefix(6).joined(separator: ", ") + (report.unused.count > 6 ? " …" : "")
                    Console.out("\(Text.count(report.unused.count)) more tensors that the network does not read: \(shown)")
                }
                if let vocabulary = report.vocabulary { Console.out("vocabulary: \(vocabulary)") }
                Console.out(
                    report.checkedSums > 0
                        ? "\(report.checkedSums) files have the SHA-256 recorded in SHA256SUMS" : "no SHA256SUMS: digests were not compared"
                )
            }
        }
    }
}

extension ModelManifest {
    /// Where the model comes from, for people.
    var sourceText: String {
        switch model.source {
        case .wheel(let wheel): "package \(wheel.package)"
        case .hub(let repository, let revision): "hub \(repository)@\(revision.prefix(12))"
        }
    }
}

/// From a foreign format to a folder of our own.
enum ModelConversion {
    /// - Returns: the names of the files written.
    @discardableResult
    static func convert(_ file: String, into folder: String, _ conversion: ModelManifest.Conversion) throws(AMAFError) -> [String] {
        let made = try ONNXResNet(ONNXGraph(path: file))
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "model.unwritable-file", "The folder '\(folder)' cannot be made: \(error.localizedDescription)", remedy: "Choose another.")
        }
        if let p = conversion.preprocessing {
            // Means are subtracted from bytes: (v − m) = (v/255 − m/255) / (1/255).
            let preprocessor = ImagePreprocessor(
                size: p.crop, resizeTo: p.resize, filter: .bilinear, mean: p.mean.map { Float($0) / 255 },
                deviation: p.mean.map { _ in Float(1.0 / 255) }, squashes: p.squashes, isBGR: p.isBGR)
            try write(preprocessor.fileData(), "\(folder)/preprocessor_config.json")
        }
        try write(try made.configurationJSON(labels: conversion.labels), "\(folder)/config.json")
        try write(made.safetensors(), "\(folder)/model.safetensors")
        return ["config.json", "model.safetensors"] + (conversion.preprocessing == nil ? [] : ["preprocessor_config.json"])
    }

    private static func write(_ data: Data, _ path: String) throws(AMAFError) {
        let out = try FileWriter(path)
        try out.write([UInt8](data))
        try out.close()
    }
}
