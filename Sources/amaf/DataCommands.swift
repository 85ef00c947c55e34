import ArgumentParser
import Datasets
import Foundation
import Integrations
import Manifests
import Primitives

struct DatasetCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dataset", abstract: "Get published data sets.", subcommands: [Pull.self])

    struct Pull: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Get a published data set, checked by its SHA-256.",
            discussion: """
                From a mirror folder when AMAF_DATA_MIRROR is set, else from its public source; an interrupted download goes on where it stopped. \
                The data go to the folder AMAF_DATA, by default ./data.
                """)
        @Argument(help: "A name below configs/datasets, for example clinc150.")
        var name: String
        @Option(help: "Folder with data set files.")
        var configs: String = "configs/datasets"
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                let path = "\(configs)/\(name).yaml"
                guard FileManager.default.fileExists(atPath: path) else {
                    let known = ((try? FileManager.default.contentsOfDirectory(atPath: configs)) ?? []).filter { $0.hasSuffix(".yaml") }
                        .map { String($0.dropLast(5)) }.sorted()
                    throw AMAFError(
                        "dataset.unknown", "There is no data set '\(name)' in \(configs)",
                        remedy: known.isEmpty ? "Run this in the repository's folder." : "Known: \(known.joined(separator: ", ")).")
                }
                let manifest = try DatasetManifest.load(path)
                let environment = ProcessInfo.processInfo.environment
                let isJSON = output.json
                let puller = DatasetPuller(
                    dataFolder: Preparation.dataFolder, mirror: environment["AMAF_DATA_MIRROR"].flatMap { $0.isEmpty ? nil : $0 },
                    report: { if !isJSON { Console.note($0) } })
                var files: [String] = []
                for location in [manifest.location, manifest.testLocation] {
                    switch location {
                    case .published(let file): files.append(try puller.pull(file))
                    case .publishedFolder(let several): for file in several { files.append(try puller.pull(file)) }
                    case .local, .dataFolder, .generated, nil: break
                    }
                }
                guard !files.isEmpty else {
                    throw AMAFError(
                        "dataset.not-published", "The data set '\(name)' has no public source", place: path,
                        remedy: "Name a data set with a 'url', or copy the files to the 'path' that it names.")
                }
                if isJSON {
                    try Console.json(["files": files])
                } else {
                    for file in files { Console.out(file) }
                }
            }
        }
    }
}

struct SampleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sample", abstract: "Make data without a download.", subcommands: [Generate.self])

    struct Generate: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a multi-modal data set with gold labels, of any size, from a seed.",
            discussion: "Texts from intent grammars, small grey images and sensor series; the same seed gives the same bytes.")
        @Option(help: "Rows.")
        var samples: Int = 1000
        @Option(help: "Classes, 2 to 150.")
        var classes: Int = 20
        @Option(help: "Seed.")
        var seed: UInt64 = 1
        @Flag(help: "Leave the labels out.")
        var unlabelled = false
        @Flag(help: "Texts only: neither images nor sensor series.")
        var textOnly = false
        @Option(name: .shortAndLong, help: "Folder to write.")
        var output: String = "sample-data"
        @OptionGroup var format: OutputOptions

        func run() throws {
            try reporting(json: format.json) {
                var settings = SampleGenerator.Settings(samples: samples, seed: seed, classes: classes)
                settings.isUnlabelled = unlabelled
                settings.hasImages = !textOnly
                settings.hasSensors = !textOnly
                try SampleGenerator(settings).write(to: output)
                let file = "\(output)/\(SampleGenerator.rowsFile)"
                if format.json { try Console.json(["file": file]) } else { Console.out(file) }
            }
        }
    }
}
