import Foundation
import Manifests
import Primitives
import Testing

/// Manifest files of one test, gone after it.
final class ManifestFolder {
    let path: String

    init(_ files: [String: String] = [:]) throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-manifests-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (name, text) in files { try write(name, text) }
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    @discardableResult
    func write(_ name: String, _ text: String) throws -> String {
        let file = "\(path)/\(name)"
        try FileManager.default.createDirectory(atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(text.utf8).write(to: URL(fileURLWithPath: file))
        return file
    }

    /// Loads `p.yaml` with these lines.
    func pipeline(_ text: String) throws -> PipelineManifest { try PipelineManifest.load(write("p.yaml", text)) }
}

/// The repository that these tests belong to.
let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

/// What `body` throws: an error of ours, on one line, with a remedy.
func failure<T>(sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> T) -> AMAFError? {
    do {
        let value = try body()
        Issue.record("nothing was thrown, but \(value) returned", sourceLocation: sourceLocation)
    } catch let error as AMAFError {
        #expect(!error.description.contains("\n") && !error.remedy.isEmpty, "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("\(error)", sourceLocation: sourceLocation)
    }
    return nil
}
