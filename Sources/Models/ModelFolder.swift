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

    package func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }

    /// The architecture's `model_type`, for instance `bert`; `resnet` for timm's residual networks, which have none.
    package func modelType() throws(AMAFError) -> String {
        let found = try configuration(TypeOnly.self)
        return found.model_type ?? (found.architecture?.hasPrefix("resnet") == true ? "resnet" : "")
    }
    private struct TypeOnly: Decodable {
        var model_type: String?
        var architecture: String?
    }

    /// - Throws: `model.missing-file`, `model.configuration`.
    package func configuration<C: Decodable>(_ type: C.Type) throws(AMAFError) -> C { try decode("config.json", type) }

    func decode<C: Decodable>(_ name: String, _ type: C.Type) throws(AMAFError) -> C {
        let data = try data(name)
        do { return try JSONDecoder().decode(C.self, from: data) } catch {
            throw AMAFError(
                "model.configuration", "\(name) does not describe such a model: \(Self.reason(error))", place: file(name),
                remedy: "The folder holds another architecture, or a field is missing.")
        }
    }

    /// What a decoder found, without Swift's own spelling of it.
    private static func reason(_ error: any Error) -> String {
        func path(_ context: DecodingError.Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
        switch error as? DecodingError {
        case .keyNotFound(let key, _)?: return "the field '\(key.stringValue)' is missing"
        case .typeMismatch(_, let context)?, .valueNotFound(_, let context)?: return "the field '\(path(context))' is of another type"
        case .dataCorrupted(let context)?:
            return context.codingPath.isEmpty ? "it is no JSON" : "\(path(context)): \(context.debugDescription)"
        default: return error.localizedDescription
        }
    }

    /// Sizes out of a file that nobody has checked: at least 1, and small enough that no product of three overflows.
    ///
    /// - Throws: `model.configuration`.
    static func requireSizes(_ sizes: [(String, Int)]) throws(AMAFError) {
        guard let (name, size) = sizes.first(where: { $0.1 < 1 || $0.1 > 1 << 20 }) else { return }
        throw AMAFError(
            "model.configuration", "config.json gives \(name) as \(size)",
            remedy: "It must be between 1 and \(1 << 20): use the model's own file.")
    }

    package func weights() throws(AMAFError) -> Safetensors { try Safetensors(path: file("model.safetensors")) }

    /// The prefix under which the checkpoint keeps the tensor `name`: one of `candidates`, or empty when none fits (the
    /// missing tensor is then reported by name).
    static func prefix(of name: String, in source: any TensorSource, _ candidates: [String]) -> String {
        candidates.first { source.contains($0 + name) } ?? ""
    }
}
