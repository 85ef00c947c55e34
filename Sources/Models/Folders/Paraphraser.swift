package import Kernels
package import Primitives

/// A T5 folder with its SentencePiece model: texts in, other texts out.
package final class Paraphraser: Sendable {
    package enum Method: Sendable, Hashable {
        /// The likeliest token at every step.
        case greedy
        case beam(width: Int)
        /// From the smallest set of tokens with total probability `top`.
        case nucleus(top: Float, temperature: Float)
    }

    private let network: T5
    package let tokenizer: UnigramTokenizer
    /// The ids behind the tokenizer's last are the sentinels `<extra_id_N>`; they are no text.
    private static let batch = 16

    /// - Throws: `model.kind`, `model.vocabulary`, and what a model's files can throw.
    package init(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) {
        let kind = try folder.modelType()
        guard kind == "t5" else {
            throw AMAFError(
                "model.kind", "A model of the kind '\(kind)' writes no texts", place: folder.file("config.json"),
                remedy: "Texts are written by t5 models.")
        }
        network = try T5.load(folder, on: device)
        tokenizer = try UnigramTokenizer(path: folder.file("spiece.model"))
        try folder.checkVocabulary("spiece.model", pieces: tokenizer.pieces.count, rows: network.configuration.vocab_size)
    }

    /// `count` texts for each given one; only sampling can give more than one.
    ///
    /// - Parameters:
    ///   - prefix: stands before every text, as the model was trained: `paraphrase: `.
    ///   - limit: ids that are written at most.
    ///   - seed: of sampling. What comes out for a text depends on the seed, its position and itself, not on the others.
    package func paraphrase(
        _ texts: [String], prefix: String = "", count: Int = 1, method: Method, limit: Int = 64, seed: UInt64 = 1
    ) -> [[String]] {
        precondition(count > 0 && limit > 0, "\(count) texts of \(limit) ids")
        let ids = texts.map { tokenizer.encode(prefix + $0) }
        switch method {
        case .greedy:
            return stride(from: 0, to: ids.count, by: Self.batch).flatMap { start in
                network.greedy(Array(ids[start..<min(ids.count, start + Self.batch)]), limit: limit).map { [text($0)] }
            }
        case .beam(let width): return ids.map { [text(network.beamSearch([$0], beams: width, limit: limit)[0])] }
        case .nucleus(let top, let temperature):
            return ids.enumerated().map { index, ids in
                var generator = SeededGenerator(seed: seed, stream: "paraphrase", String(index))
                return network.sample(
                    [[Int32]](repeating: ids, count: count), limit: limit, top: top, temperature: temperature, seed: generator.next()
                ).map(text)
            }
        }
    }

    private func text(_ ids: [Int32]) -> String { tokenizer.decode(ids) }
}
