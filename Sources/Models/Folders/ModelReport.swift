internal import Datasets
import Foundation
package import Kernels
import NeuralNetworks
package import Primitives

/// What a model folder holds, found by reading all of it.
package struct ModelReport: Sendable, Encodable, Hashable {
    /// config.json's `model_type`, or `resnet` for timm's.
    package var kind: String
    /// `6 layers of 384, 12 heads, …`
    package var architecture: String
    /// Tensors and numbers that the network reads.
    package var tensors = 0
    package var weights = 0
    /// Tensors of the file that it does not read.
    package var unused: [String] = []
    package var vocabulary: String?
    /// Files whose SHA-256 was compared with `SHA256SUMS`; 0 when the folder has none.
    package var checkedSums = 0

    /// Reads a folder as whoever uses it would, and more: every tensor that the network asks for must be there, of the right
    /// shape and finite, the others finite; vocabulary and embedding must fit; files must be what `SHA256SUMS` says.
    ///
    /// - Throws: `model.missing-tensor`, `model.wrong-shape`, `model.not-finite`, `model.vocabulary`, `model.configuration`,
    ///   `model.kind`, `model.digest-mismatch`, `safetensors.*`, `tokenizer.*`.
    package static func verify(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> ModelReport {
        var report = ModelReport(kind: try folder.modelType(), architecture: "")
        report.checkedSums = try checkSums(folder)
        let parameters: [Parameter]
        switch report.kind {
        case "bert":
            let bert = try BERT.load(folder, on: device)
            let c = bert.configuration
            parameters = bert.parameters
            report.architecture =
                "BERT: \(c.num_hidden_layers) layers of \(c.hidden_size), \(c.num_attention_heads) heads, feed-forward \(c.intermediate_size), \(c.max_position_embeddings) positions"
            if folder.has("vocab.txt") {
                let pieces = try WordPieceTokenizer(path: folder.file("vocab.txt"), lowercases: try TextEmbedder.lowercases(folder))
                try folder.checkVocabulary("vocab.txt", pieces: pieces.vocabulary.count, rows: c.vocab_size)
                report.vocabulary = "WordPiece, \(pieces.vocabulary.count) pieces for \(c.vocab_size) rows"
            }
        case "clip":
            let (images, texts) = (try CLIPImageEncoder.load(folder, on: device), try CLIPTextEncoder.load(folder, on: device))
            let (v, t) = (images.configuration, texts.configuration)
            parameters = images.parameters + texts.parameters
            report.architecture =
                "CLIP: images of \(v.image_size) in patches of \(v.patch_size), \(v.num_hidden_layers) layers of \(v.hidden_size); "
                + "texts up to \(t.max_position_embeddings), \(t.num_hidden_layers) layers of \(t.hidden_size); embeddings of \(images.embeddingWidth)"
            guard images.embeddingWidth == texts.embeddingWidth else {
                throw AMAFError(
                    "model.wrong-shape", "Images are embedded in \(images.embeddingWidth) numbers and texts in \(texts.embeddingWidth)",
                    place: folder.path, remedy: "The projections are missing or of another model.")
            }
            if folder.has("merges.txt") {
                let tokenizer = try BytePairTokenizer(path: folder.file("merges.txt"))
                try folder.checkVocabulary("merges.txt", pieces: tokenizer.vocabularySize, rows: t.vocab_size)
                report.vocabulary = "byte pairs, \(tokenizer.vocabularySize) pieces for \(t.vocab_size) rows"
            }
        case "clip_vision_model":
            let images = try CLIPImageEncoder.load(folder, on: device)
            let v = images.configuration
            parameters = images.parameters
            report.architecture =
                "CLIP image tower: images of \(v.image_size) in patches of \(v.patch_size), \(v.num_hidden_layers) layers of \(v.hidden_size)"
        case "resnet":
            let resNet = try ResNet.load(folder, on: device)
            let c = resNet.configuration
            parameters = resNet.parameters
            report.architecture =
                "ResNet: stages \(c.depths) of \(c.hidden_sizes) in \(c.layer_type) blocks, features of \(resNet.featureCount), \(c.labels) classes"
        case "t5":
            let t5 = try T5.load(folder, on: device)
            let c = t5.configuration
            parameters = t5.parameters
            report.architecture =
                "T5: \(c.num_layers) and \(c.num_decoder_layers ?? c.num_layers) layers of \(c.d_model), \(c.num_heads) heads of \(c.d_kv), feed-forward \(c.d_ff) (\(c.feed_forward_proj))"
            if folder.has("spiece.model") {
                let tokenizer = try UnigramTokenizer(path: folder.file("spiece.model"))
                try folder.checkVocabulary("spiece.model", pieces: tokenizer.pieces.count, rows: c.vocab_size)
                report.vocabulary = "unigram, \(tokenizer.pieces.count) pieces for \(c.vocab_size) rows"
            }
        case VAEFolder.kind:
            let vae = try VAEFolder(folder.path).load(on: device)
            let c = vae.configuration
            parameters = vae.parameters
            report.architecture =
                "VAE: images of \(c.height)×\(c.width)×\(c.channels), \(c.architecture), \(c.latent) latents, β \(c.beta), \(c.likelihood.rawValue)"
                + (c.classes > 0 ? ", \(c.classes) classes" : "")
        case let kind:
            throw AMAFError(
                "model.kind", "config.json names the kind '\(kind)'", place: folder.file("config.json"),
                remedy: "Known are bert, clip, clip_vision_model, resnet (also timm's), t5 and vae.")
        }
        report.tensors = parameters.count
        report.weights = parameters.weightCount
        let used = Set(parameters.map(\.name))
        let file = try folder.weights()
        report.unused = file.names.filter { !used.contains($0) }
        for name in report.unused {
            let values = try file.floats(name)
            if let bad = values.firstIndex(where: { !$0.isFinite }) {
                throw AMAFError(
                    "model.not-finite", "Tensor '\(name)' holds \(values[bad]) at position \(bad)", place: file.place,
                    remedy: "The checkpoint is damaged or its training diverged; take an earlier one.")
            }
        }
        return report
    }

    /// Compares files with `SHA256SUMS` as `sha256sum` writes it; how many there were.
    private static func checkSums(_ folder: ModelFolder) throws(AMAFError) -> Int {
        let name = "SHA256SUMS"
        guard folder.has(name) else { return 0 }
        var checked = 0
        for line in String(decoding: try folder.data(name), as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            guard parts.count == 2, let expected = Digest(hex: String(parts[0])) else {
                throw AMAFError(
                    "model.damaged-sums", "'\(line.prefix(80))' is no line of sha256sum", place: folder.file(name),
                    remedy: "Pull the model again.")
            }
            let file = String(parts[1].drop { $0 == " " || $0 == "*" })
            guard PublicModel.staysInside(file), folder.has(file) else {
                throw AMAFError(
                    "model.missing-file", "The model has no readable '\(file)'", place: folder.path, remedy: "Pull the model again.")
            }
            let found = Digest.of(try MappedFile(folder.file(file)))
            guard found == expected else {
                throw AMAFError(
                    "model.digest-mismatch", "The SHA-256 of '\(file)' is \(found.hex) where \(expected.hex) was recorded",
                    place: folder.path, remedy: "The file was changed or damaged: pull the model again.")
            }
            checked += 1
        }
        return checked
    }
}
