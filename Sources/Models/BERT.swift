package import Kernels
package import NeuralNetworks
package import Primitives

/// BERT (Devlin et al. 2019): a post-norm transformer encoder, with transformers' BertModel's names.
package final class BERT: Sendable {
    package struct Configuration: Sendable, Hashable, Decodable {
        package var vocab_size = 30522
        package var hidden_size = 768
        package var num_hidden_layers = 12
        package var num_attention_heads = 12
        package var intermediate_size = 3072
        package var hidden_act = "gelu"
        package var max_position_embeddings = 512
        package var type_vocab_size = 2
        package var layer_norm_eps: Float = 1e-12

        private enum CodingKeys: String, CodingKey {
            case vocab_size, hidden_size, num_hidden_layers, num_attention_heads, intermediate_size, hidden_act, max_position_embeddings,
                type_vocab_size, layer_norm_eps
        }
        package init() {}
        package init(from decoder: any Decoder) throws {
            let c = try decoder.container(keyedBy: CodingKeys.self)
            vocab_size = try c.decode(Int.self, forKey: .vocab_size)
            hidden_size = try c.decode(Int.self, forKey: .hidden_size)
            num_hidden_layers = try c.decode(Int.self, forKey: .num_hidden_layers)
            num_attention_heads = try c.decode(Int.self, forKey: .num_attention_heads)
            intermediate_size = try c.decode(Int.self, forKey: .intermediate_size)
            hidden_act = try c.decodeIfPresent(String.self, forKey: .hidden_act) ?? hidden_act
            max_position_embeddings = try c.decodeIfPresent(Int.self, forKey: .max_position_embeddings) ?? max_position_embeddings
            type_vocab_size = try c.decodeIfPresent(Int.self, forKey: .type_vocab_size) ?? type_vocab_size
            layer_norm_eps = try c.decodeIfPresent(Float.self, forKey: .layer_norm_eps) ?? layer_norm_eps
        }
    }

    private struct Layer: Sendable {
        let q: Linear
        let k: Linear
        let v: Linear
        let out: Linear
        let norm1: LayerNorm
        let up: Linear
        let down: Linear
        let norm2: LayerNorm
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let words: Embedding
    private let positions: Parameter
    private let types: Embedding
    private let norm: LayerNorm
    private let layers: [Layer]
    private let pooler: Linear?
    private let activation: UnaryFunction

    /// - Parameter prefix: `bert.` in checkpoints with a head, empty in bare ones.
    package init(_ configuration: Configuration, prefix: String = "", _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        try ModelFolder.requireSizes([
            ("vocab_size", c.vocab_size), ("hidden_size", c.hidden_size), ("num_hidden_layers", c.num_hidden_layers),
            ("num_attention_heads", c.num_attention_heads), ("intermediate_size", c.intermediate_size),
            ("max_position_embeddings", c.max_position_embeddings), ("type_vocab_size", c.type_vocab_size),
        ])
        guard c.hidden_size % c.num_attention_heads == 0 else {
            throw AMAFError(
                "model.configuration", "\(c.num_attention_heads) heads on a width of \(c.hidden_size)",
                remedy: "Correct num_attention_heads and hidden_size in config.json.")
        }
        self.configuration = c
        activation = try UnaryFunction(checkpointName: c.hidden_act)
        let embeddings = "\(prefix)embeddings"
        words = try Embedding(store, "\(embeddings).word_embeddings", count: c.vocab_size, columns: c.hidden_size)
        positions = try store.parameter(
            "\(embeddings).position_embeddings.weight", [c.max_position_embeddings, c.hidden_size], .normal(0.02))
        types = try Embedding(store, "\(embeddings).token_type_embeddings", count: c.type_vocab_size, columns: c.hidden_size)
        norm = try LayerNorm(store, "\(embeddings).LayerNorm", columns: c.hidden_size, epsilon: c.layer_norm_eps)
        var layers: [Layer] = []
        for i in 0..<c.num_hidden_layers {
            let name = "\(prefix)encoder.layer.\(i)"
            func linear(_ part: String, _ inputs: Int, _ outputs: Int) throws(AMAFError) -> Linear {
                try Linear(store, "\(name).\(part)", inputs: inputs, outputs: outputs, initializer: .normal(0.02))
            }
            layers.append(
                Layer(
                    q: try linear("attention.self.query", c.hidden_size, c.hidden_size),
                    k: try linear("attention.self.key", c.hidden_size, c.hidden_size),
                    v: try linear("attention.self.value", c.hidden_size, c.hidden_size),
                    out: try linear("attention.output.dense", c.hidden_size, c.hidden_size),
                    norm1: try LayerNorm(store, "\(name).attention.output.LayerNorm", columns: c.hidden_size, epsilon: c.layer_norm_eps),
                    up: try linear("intermediate.dense", c.hidden_size, c.intermediate_size),
                    down: try linear("output.dense", c.intermediate_size, c.hidden_size),
                    norm2: try LayerNorm(store, "\(name).output.LayerNorm", columns: c.hidden_size, epsilon: c.layer_norm_eps)))
        }
        self.layers = layers
        pooler =
            store.has("\(prefix)pooler.dense.weight")
            ? try Linear(store, "\(prefix)pooler.dense", inputs: c.hidden_size, outputs: c.hidden_size, initializer: .normal(0.02)) : nil
        parameters = store.parameters
    }

    package static func load(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> BERT {
        let weights = try folder.weights()
        let prefix = ModelFolder.prefix(of: "embeddings.word_embeddings.weight", in: weights, ["", "bert."])
        return try BERT(
            try folder.configuration(Configuration.self), prefix: prefix, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
    }

    package var device: any ComputeDevice { positions.value.device }

    /// The parameters that learn when `frozen` layers and the embeddings stay as they are; all of them for 0.
    package func parameters(above frozen: Int) -> [Parameter] {
        guard frozen > 0 else { return parameters }
        let upper = (frozen..<max(frozen, layers.count)).map { ".layer.\($0)." }
        return parameters.filter { parameter in
            parameter.name.contains("pooler.") || upper.contains { parameter.name.contains($0) }
        }
    }

    /// Texts of ids padded to one length, with what is padding.
    package struct Batch: Sendable {
        package var ids: [Int32]
        package var count: Int
        package var length: Int
        package var lengths: [Int]

        /// - Precondition: no text is empty.
        package init(_ texts: [[Int32]], padding: Int32 = 0) {
            let length = texts.map(\.count).max() ?? 0
            precondition(texts.allSatisfy { !$0.isEmpty }, "an empty text in a batch")
            ids = texts.flatMap { $0 + [Int32](repeating: padding, count: length - $0.count) }
            count = texts.count
            self.length = length
            lengths = texts.map(\.count)
        }

        /// `inside` for tokens and `outside` for padding, (count, length).
        func mask(inside: (Int) -> Float, outside: Float) -> [Float] {
            lengths.flatMap { n in (0..<length).map { $0 < n ? inside(n) : outside } }
        }
    }

    /// The last layer's output (count, length, hidden); all token types are 0.
    /// - Parameters:
    ///   - frozen: so many layers, and the embeddings below them, are left off the tape. With 0 everything is on it.
    ///   - trace: called with the input of the first layer (0) and the output of every layer.
    package func callAsFunction(
        _ batch: Batch, tape whole: Tape? = nil, frozen: Int = 0, trace: ((Int, Tensor) -> Void)? = nil
    ) -> Tensor {
        let c = configuration
        var tape = frozen > 0 ? nil : whole
        precondition(
            batch.length <= c.max_position_embeddings, "texts of \(batch.length) tokens for \(c.max_position_embeddings) positions")
        let shape = [batch.count, batch.length]
        var x = Operations.combine(
            words(batch.ids, shape, tape: tape), 1, types([Int32](repeating: 0, count: batch.ids.count), shape, tape: tape), 1, tape: tape)
        x = norm(Operations.addLeadingRows(x, positions, rows: batch.length, tape: tape), tape: tape)
        let isPadded = batch.lengths.contains { $0 < batch.length }
        let keyBias = isPadded ? device.tensor(batch.mask(inside: { _ in 0 }, outside: -1e9), shape) : nil
        let scale = 1 / Float(c.hidden_size / c.num_attention_heads).squareRoot()
        trace?(0, x)
        for (i, layer) in layers.enumerated() {
            if i >= frozen { tape = whole }
            let attended = ScaledDotProduct.attend(
                q: layer.q(x, tape: tape), k: layer.k(x, tape: tape), v: layer.v(x, tape: tape), heads: c.num_attention_heads, scale: scale,
                keyBias: keyBias, tape: tape)
            x = layer.norm1(layer.out(attended, residual: x, tape: tape), tape: tape)
            x = layer.norm2(layer.down(layer.up(x, activation: activation, tape: tape), residual: x, tape: tape), tape: tape)
            trace?(i + 1, x)
        }
        return x
    }

    /// tanh(W x[CLS] + b): (count, length, hidden) → (count, hidden), what BERT's classifiers stand on.
    package func pooled(_ hidden: Tensor, tape: Tape? = nil) -> Tensor {
        guard let pooler else { preconditionFailure("this checkpoint has no pooler") }
        return pooler(Operations.token(hidden, at: 0, tape: tape), activation: .tanh, tape: tape)
    }

    /// The mean over each text's tokens: sentence embeddings of sentence-transformers.
    package func meanPooled(_ hidden: Tensor, _ batch: Batch, tape: Tape? = nil) -> Tensor {
        let weights = device.tensor(batch.mask(inside: { 1 / Float($0) }, outside: 0), [batch.count, batch.length])
        return Operations.pool(hidden, weights: weights, tape: tape)
    }

    /// Sentence embeddings of unit length, in the order of the texts, row by row.
    ///
    /// Texts of like length share a batch, so little is spent on padding; a text's batch depends on the texts given, its
    /// numbers only within rounding.
    /// - Parameter firstTokenOnly: the first token's output instead of the mean over tokens.
    package func embed(_ texts: [[Int32]], batch size: Int = 32, firstTokenOnly: Bool = false) -> [Float] {
        let order = texts.indices.sorted { (texts[$0].count, $0) < (texts[$1].count, $1) }
        let width = configuration.hidden_size
        var out = [Float](repeating: 0, count: texts.count * width)
        for start in stride(from: 0, to: order.count, by: size) {
            let rows = order[start..<min(order.count, start + size)]
            let batch = Batch(rows.map { texts[$0] })
            let hidden = self(batch)
            let pooled = firstTokenOnly ? Operations.token(hidden, at: 0) : meanPooled(hidden, batch)
            let values = Operations.normalizeRows(pooled).values()
            for (i, row) in rows.enumerated() {
                out.replaceSubrange(row * width..<(row + 1) * width, with: values[i * width..<(i + 1) * width])
            }
        }
        return out
    }
}
