package import Foundation
package import NeuralNetworks
package import Primitives

/// A folder as public hubs lay it out: `config.json` beside `model.safetensors` (or one file of another name).
package struct ModelFolder: Sendable {
    package let path: String

    /// - Throws: `model.no-folder`.
    package init(_ path: String) throws(AMAFError) {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder), isFolder.boolValue else {
            throw AMAFError(
                "model.no-folder", "There is no model folder '\(path)'", place: path,
                remedy: "Name a folder with config.json and model.safetensors.")
        }
        self.path = path
    }

    package func file(_ name: String) -> String { path + "/" + name }

    package func data(_ name: String) throws(AMAFError) -> Data {
        do { return try Data(contentsOf: URL(fileURLWithPath: file(name))) } catch {
            throw AMAFError(
                "model.missing-file", "The model has no readable '\(name)'", place: path, remedy: "Fetch the whole folder again.")
        }
    }

    /// The architecture's `model_type`, for instance `bert`.
    package func modelType() throws(AMAFError) -> String { try configuration(TypeOnly.self).model_type ?? "" }
    private struct TypeOnly: Decodable { var model_type: String? }

    /// - Throws: `model.configuration`.
    package func configuration<C: Decodable>(_ type: C.Type) throws(AMAFError) -> C {
        let data = try data("config.json")
        do { return try JSONDecoder().decode(C.self, from: data) } catch {
            throw AMAFError(
                "model.configuration", "config.json does not describe a \(C.self): \(error)", place: file("config.json"),
                remedy: "The folder holds another architecture, or a field is missing.")
        }
    }

    package func weights() throws(AMAFError) -> Safetensors { try Safetensors(path: file("model.safetensors")) }

    /// The prefix under which the checkpoint keeps the tensor `name`: one of `candidates`, or empty when none fits (the
    /// missing tensor is then reported by name).
    static func prefix(of name: String, in source: any TensorSource, _ candidates: [String]) -> String {
        candidates.first { source.contains($0 + name) } ?? ""
    }
}
