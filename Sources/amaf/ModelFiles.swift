import Datasets
import Foundation
import Manifests
import Models
import Primitives

/// The files of a model's folder that a run takes with it.
struct ModelFiles {
    let configuration: [UInt8]
    /// Path of the weights.
    let weights: String
    private let folder: ModelFolder

    init(_ path: String) throws(AMAFError) {
        folder = try ModelFolder(path)
        configuration = [UInt8](try folder.data("config.json"))
        weights = folder.file("model.safetensors")
        guard FileManager.default.fileExists(atPath: weights) else {
            throw AMAFError(
                "model.missing-file", "The model has no 'model.safetensors'", place: path, remedy: "Fetch the whole folder again.")
        }
    }

    /// Token ids of every class's sentence.
    func prompts(_ zeroShot: ImageFeatureSettings.ZeroShot, classNames: [String], place: String) throws(AMAFError) -> [[Int32]] {
        let tokenizer = try BytePairTokenizer(path: folder.file("merges.txt"))
        let limit = try folder.configuration(CLIP.Configuration.self).text_config.max_position_embeddings
        var prompts: [[Int32]] = []
        for name in classNames {
            guard let prompt = zeroShot.prompts.first(where: { $0.className == name }) else {
                throw AMAFError(
                    "manifest.missing-key", "No sentence is written for the class '\(name)'", place: place,
                    remedy: "Add it under 'features.images.zero-shot.prompts'.")
            }
            prompts.append(tokenizer.encode(prompt.sentence, limit: limit))
        }
        return prompts
    }
}
