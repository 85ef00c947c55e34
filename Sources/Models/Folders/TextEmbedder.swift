package import Kernels
package import Primitives

/// Texts → vectors of unit length, by a BERT or CLIP folder with its tokenizer.
package final class TextEmbedder: Sendable {
    /// What of a BERT's output stands for the text.
    package enum Pooling: String, Sendable, Hashable, CaseIterable {
        /// The mean over tokens, sentence-transformers' default.
        case mean
        /// The first token's output, as BGE and others were trained.
        case cls
    }
    private enum Network {
        case bert(BERT, WordPieceTokenizer, Pooling)
        case clip(CLIPTextEncoder, BytePairTokenizer)
    }
    private let network: Network
    /// Longer texts are cut to so many ids, marks included.
    package let limit: Int

    /// - Parameter pooling: by default what the folder's `1_Pooling/config.json` says, else the mean.
    /// - Throws: `model.kind`, `model.vocabulary`, and what a model's files can throw.
    package init(_ folder: ModelFolder, pooling: Pooling? = nil, on device: any ComputeDevice) throws(AMAFError) {
        switch try folder.modelType() {
        case "bert":
            let bert = try BERT.load(folder, on: device)
            let tokenizer = try WordPieceTokenizer(path: folder.file("vocab.txt"), lowercases: try Self.lowercases(folder))
            try folder.checkVocabulary("vocab.txt", pieces: tokenizer.vocabulary.count, rows: bert.configuration.vocab_size)
            let longest = try folder.optional("sentence_bert_config.json", SentenceFile.self)?.max_seq_length
            limit = max(3, min(longest ?? .max, bert.configuration.max_position_embeddings))
            var stated = pooling
            if stated == nil { stated = try Self.pooling(folder) }
            network = .bert(bert, tokenizer, stated ?? .mean)
        case "clip":
            let clip = try CLIPTextEncoder.load(folder, on: device)
            let tokenizer = try BytePairTokenizer(path: folder.file("merges.txt"))
            try folder.checkVocabulary("merges.txt", pieces: tokenizer.vocabularySize, rows: clip.configuration.vocab_size)
            limit = clip.configuration.max_position_embeddings
            network = .clip(clip, tokenizer)
        case let kind:
            throw AMAFError(
                "model.kind", "A model of the kind '\(kind)' reads no texts", place: folder.file("config.json"),
                remedy: "Texts are embedded by bert and clip models.")
        }
    }

    private struct SentenceFile: Decodable { var max_seq_length: Int? }
    private struct TokenizerFile: Decodable { var do_lower_case: Bool? }
    private struct PoolingFile: Decodable {
        var pooling_mode_cls_token: Bool?
        var pooling_mode_mean_tokens: Bool?
    }

    static func lowercases(_ folder: ModelFolder) throws(AMAFError) -> Bool {
        try folder.optional("tokenizer_config.json", TokenizerFile.self)?.do_lower_case ?? true
    }

    private static func pooling(_ folder: ModelFolder) throws(AMAFError) -> Pooling {
        guard let file = try folder.optional("1_Pooling/config.json", PoolingFile.self) else { return .mean }
        switch (file.pooling_mode_mean_tokens ?? false, file.pooling_mode_cls_token ?? false) {
        case (true, false): return .mean
        case (false, true): return .cls
        case (true, true), (false, false):
            throw AMAFError(
                "model.configuration", "The pooling is neither the mean nor the first token", place: folder.file("1_Pooling/config.json"),
                remedy: "Choose one with --pooling mean or --pooling cls.")
        }
    }

    package var width: Int {
        switch network {
        case .bert(let bert, _, _): bert.configuration.hidden_size
        case .clip(let clip, _): clip.embeddingWidth
        }
    }

    /// The ids that the network sees.
    package func ids(_ text: String) -> [Int32] {
        switch network {
        case .bert(_, let tokenizer, _): tokenizer.encode(text, limit: limit)
        case .clip(_, let tokenizer): tokenizer.encode(text, limit: limit)
        }
    }

    /// Rows of `width` numbers in the order of the texts.
    package func embed(_ texts: [String], batch: Int = 32) -> [Float] {
        let ids = texts.map(ids)
        switch network {
        case .bert(let bert, _, let pooling): return bert.embed(ids, batch: batch, firstTokenOnly: pooling == .cls)
        case .clip(let clip, _): return clip.embed(ids, batch: batch)
        }
    }
}

extension ModelFolder {
    /// A JSON file that not every folder has.
    ///
    /// - Throws: `model.configuration` when it is there and damaged.
    func optional<T: Decodable>(_ name: String, _ type: T.Type) throws(AMAFError) -> T? {
        guard has(name) else { return nil }
        return try decode(name, type)
    }

    /// A tokenizer may have fewer pieces than the network has rows, because tables are padded; never more.
    ///
    /// - Throws: `model.vocabulary`.
    func checkVocabulary(_ name: String, pieces: Int, rows: Int) throws(AMAFError) {
        // The largest padding seen in public checkpoints is T5's: 32,000 pieces, 32,128 rows.
        guard pieces <= rows, rows - pieces <= 128 else {
            throw AMAFError(
                "model.vocabulary", "\(name) has \(pieces) pieces where the embedding in model.safetensors has \(rows) rows",
                place: file(name), remedy: "Vocabulary and weights belong to different models: fetch both from one place.")
        }
    }
}
