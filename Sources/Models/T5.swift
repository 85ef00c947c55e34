import Foundation
package import Kernels
package import NeuralNetworks
package import Primitives

/// T5 (Raffel et al. 2020), encoder and decoder, with transformers' T5ForConditionalGeneration's names; 1.0 (ReLU, tied
/// head) and 1.1 (gated GELU, own head).
///
/// Attention adds a learned bias by relative position and does not scale scores; norms have no mean and no offset.
package final class T5: Sendable {
    package struct Configuration: Sendable, Hashable, Decodable {
        package var vocab_size = 32128
        package var d_model = 512
        package var d_kv = 64
        package var d_ff = 2048
        package var num_layers = 6
        package var num_decoder_layers: Int?
        package var num_heads = 8
        package var relative_attention_num_buckets = 32
        package var relative_attention_max_distance = 128
        package var layer_norm_epsilon: Float = 1e-6
        /// `relu` or `gated-gelu`
        package var feed_forward_proj = "relu"
        package var tie_word_embeddings = true
        package var decoder_start_token_id = 0
        package var eos_token_id = 1
        package var pad_token_id = 0

        private enum CodingKeys: String, CodingKey {
            case vocab_size, d_model, d_kv, d_ff, num_layers, num_decoder_layers, num_heads, relative_attention_num_buckets,
                relative_attention_max_distance, layer_norm_epsilon, feed_forward_proj, tie_word_embeddings, scale_decoder_outputs,
                decoder_start_token_id,
                eos_token_id,
                pad_token_id
        }
        package init() {}
        package init(from decoder: any Decoder) throws {
            let c = try decoder.container(keyedBy: CodingKeys.self)
            func read<T: Decodable>(_ key: CodingKeys, _ value: inout T) throws {
                value = try c.decodeIfPresent(T.self, forKey: key) ?? value
            }
            try read(.vocab_size, &vocab_size)
            try read(.d_model, &d_model)
            try read(.d_kv, &d_kv)
            try read(.d_ff, &d_ff)
            try read(.num_layers, &num_layers)
            num_decoder_layers = try c.decodeIfPresent(Int.self, forKey: .num_decoder_layers)
            try read(.num_heads, &num_heads)
            try read(.relative_attention_num_buckets, &relative_attention_num_buckets)
            try read(.relative_attention_max_distance, &relative_attention_max_distance)
            try read(.layer_norm_epsilon, &layer_norm_epsilon)
            try read(.feed_forward_proj, &feed_forward_proj)
            try read(.tie_word_embeddings, &tie_word_embeddings)
            // transformers 5 writes every head as tied and keeps what the checkpoint said under another name.
            try read(.scale_decoder_outputs, &tie_word_embeddings)
            try read(.decoder_start_token_id, &decoder_start_token_id)
            try read(.eos_token_id, &eos_token_id)
            try read(.pad_token_id, &pad_token_id)
        }
    }

    private struct SelfOrCross: Sendable {
        let q: Linear
        let k: Linear
        let v: Linear
        let o: Linear
        let norm: RMSNorm

        init(_ store: ParameterStore, _ name: String, _ part: String, _ c: Configuration) throws(AMAFError) {
            let inner = c.num_heads * c.d_kv
            func linear(_ which: String, _ inputs: Int, _ outputs: Int) throws(AMAFError) -> Linear {
                try Linear(store, "\(name).\(part).\(which)", inputs: inputs, outputs: outputs, bias: false, initializer: .normal(0.05))
            }
            q = try linear("q", c.d_model, inner)
            k = try linear("k", c.d_model, inner)
            v = try linear("v", c.d_model, inner)
            o = try linear("o", inner, c.d_model)
            norm = try RMSNorm(store, "\(name).layer_norm", columns: c.d_model, epsilon: c.layer_norm_epsilon)
        }
    }

    private struct FeedForward: Sendable {
        let up: Linear
        /// With a gate: gelu(gate x) · up x.
        let gate: Linear?
        let down: Linear
        let norm: RMSNorm

        init(_ store: ParameterStore, _ name: String, _ c: Configuration) throws(AMAFError) {
            func linear(_ which: String, _ inputs: Int, _ outputs: Int) throws(AMAFError) -> Linear {
                try Linear(
                    store, "\(name).DenseReluDense.\(which)", inputs: inputs, outputs: outputs, bias: false, initializer: .normal(0.05))
            }
            if c.feed_forward_proj == "gated-gelu" {
                gate = try linear("wi_0", c.d_model, c.d_ff)
                up = try linear("wi_1", c.d_model, c.d_ff)
            } else {
                gate = nil
                up = try linear("wi", c.d_model, c.d_ff)
            }
            down = try linear("wo", c.d_ff, c.d_model)
            norm = try RMSNorm(store, "\(name).layer_norm", columns: c.d_model, epsilon: c.layer_norm_epsilon)
        }

        func callAsFunction(_ x: Tensor) -> Tensor {
            let h = norm(x)
            let inner =
                if let gate { Operations.multiply(gate(h, activation: .geluTanh), up(h)) } else { up(h, activation: .relu) }
            return down(inner, residual: x)
        }
    }

    private struct EncoderBlock: Sendable {
        let attention: SelfOrCross
        let feedForward: FeedForward
    }
    private struct DecoderBlock: Sendable {
        let attention: SelfOrCross
        let cross: SelfOrCross
        let feedForward: FeedForward
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let shared: Embedding
    private let encoderBlocks: [EncoderBlock]
    private let decoderBlocks: [DecoderBlock]
    private let encoderNorm: RMSNorm
    private let decoderNorm: RMSNorm
    private let encoderBias: [Float]
    private let decoderBias: [Float]
    private let head: Parameter

    package init(_ configuration: Configuration, _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        guard ["relu", "gated-gelu"].contains(c.feed_forward_proj) else {
            throw AMAFError(
                "model.configuration", "T5 with feed-forward '\(c.feed_forward_proj)'", remedy: "Known are relu and gated-gelu.")
        }
        try ModelFolder.requireSizes([
            ("vocab_size", c.vocab_size), ("d_model", c.d_model), ("d_kv", c.d_kv), ("d_ff", c.d_ff), ("num_layers", c.num_layers),
            ("num_decoder_layers", c.num_decoder_layers ?? c.num_layers), ("num_heads", c.num_heads),
            ("relative_attention_num_buckets", c.relative_attention_num_buckets),
            ("relative_attention_max_distance", c.relative_attention_max_distance),
        ])
        guard c.relative_attention_num_buckets >= 4, c.relative_attention_max_distance > c.relative_attention_num_buckets / 2,
            [c.decoder_start_token_id, c.eos_token_id, c.pad_token_id].allSatisfy((0..<c.vocab_size).contains)
        else {
            throw AMAFError(
                "model.configuration",
                "\(c.relative_attention_num_buckets) buckets up to \(c.relative_attention_max_distance); start \(c.decoder_start_token_id), "
                    + "end \(c.eos_token_id) and padding \(c.pad_token_id) of \(c.vocab_size) pieces",
                remedy: "Use the model's own config.json.")
        }
        self.configuration = c
        shared = try Embedding(store, "shared", count: c.vocab_size, columns: c.d_model, initializer: .normal(1))
        func bias(_ stack: String) throws(AMAFError) -> [Float] {
            try store.parameter(
                "\(stack).block.0.layer.0.SelfAttention.relative_attention_bias.weight", [c.relative_attention_num_buckets, c.num_heads],
                .normal(0.1), isTrainable: false
            ).value.values()
        }
        var encoder: [EncoderBlock] = []
        for i in 0..<c.num_layers {
            encoder.append(
                EncoderBlock(
                    attention: try SelfOrCross(store, "encoder.block.\(i).layer.0", "SelfAttention", c),
                    feedForward: try FeedForward(store, "encoder.block.\(i).layer.1", c)))
        }
        encoderBias = try bias("encoder")
        encoderNorm = try RMSNorm(store, "encoder.final_layer_norm", columns: c.d_model, epsilon: c.layer_norm_epsilon)
        var decoder: [DecoderBlock] = []
        for i in 0..<(c.num_decoder_layers ?? c.num_layers) {
            decoder.append(
                DecoderBlock(
                    attention: try SelfOrCross(store, "decoder.block.\(i).layer.0", "SelfAttention", c),
                    cross: try SelfOrCross(store, "decoder.block.\(i).layer.1", "EncDecAttention", c),
                    feedForward: try FeedForward(store, "decoder.block.\(i).layer.2", c)))
        }
        decoderBias = try bias("decoder")
        decoderNorm = try RMSNorm(store, "decoder.final_layer_norm", columns: c.d_model, epsilon: c.layer_norm_epsilon)
        encoderBlocks = encoder
        decoderBlocks = decoder
        // Version 1.1 has a head of its own, but some saved copies leave it out and tie it after all.
        head =
            c.tie_word_embeddings || !store.has("lm_head.weight")
            ? shared.weight : try store.parameter("lm_head.weight", [c.vocab_size, c.d_model], .normal(0.05))
        parameters = store.parameters
    }

    package static func load(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> T5 {
        try T5(folder.configuration(Configuration.self), ParameterStore(.checkpoint(try folder.weights(), prefix: ""), on: device))
    }

    private var device: any ComputeDevice { shared.weight.value.device }

    /// The bucket of key position − query position: half for exact small distances, half logarithmic up to the maximum.
    static func bucket(_ distance: Int, buckets: Int, maximum: Int, bidirectional: Bool) -> Int {
        var (offset, buckets, n) = (0, buckets, -distance)
        if bidirectional {
            buckets /= 2
            if distance > 0 { offset = buckets }
            n = abs(distance)
        } else {
            n = max(n, 0)
        }
        let exact = buckets / 2
        if n < exact { return offset + n }
        // In Float32, as the reference computes it: the border cases round the same way.
        let scaled = logf(Float(n) / Float(exact)) / Float(Foundation.log(Double(maximum) / Double(exact))) * Float(buckets - exact)
        return offset + min(exact + Int(scaled), buckets - 1)
    }

    /// (heads, queries, keys) for queries at positions `first...`.
    private func positionBias(_ table: [Float], queries: Int, keys: Int, first: Int, bidirectional: Bool) -> Tensor {
        let c = configuration
        var out = [Float](repeating: 0, count: c.num_heads * queries * keys)
        for i in 0..<queries {
            for j in 0..<keys {
                let bucket = Self.bucket(
                    j - (i + first), buckets: c.relative_attention_num_buckets, maximum: c.relative_attention_max_distance,
                    bidirectional: bidirectional)
                for h in 0..<c.num_heads { out[(h * queries + i) * keys + j] = table[bucket * c.num_heads + h] }
            }
        }
        return device.tensor(out, [c.num_heads, queries, keys])
    }

    /// The encoder's output (count, length, d_model) for texts padded to one length.
    package func encode(_ batch: BERT.Batch) -> Tensor {
        let c = configuration
        var x = shared(batch.ids, [batch.count, batch.length])
        let keyBias = device.tensor(batch.mask(inside: { _ in 0 }, outside: -1e9), [batch.count, batch.length])
        let headBias = positionBias(encoderBias, queries: batch.length, keys: batch.length, first: 0, bidirectional: true)
        for block in encoderBlocks {
            let h = block.attention.norm(x)
            let attended = ScaledDotProduct.attend(
                q: block.attention.q(h), k: block.attention.k(h), v: block.attention.v(h), heads: c.num_heads, scale: 1, keyBias: keyBias,
                headBias: headBias)
            x = block.feedForward(block.attention.o(attended, residual: x))
        }
        return encoderNorm(x)
    }

    /// What the decoder keeps between tokens: keys and values of the tokens so far, and of the encoder's output.
    package final class Cache {
        fileprivate var own: [(k: Tensor, v: Tensor)]
        fileprivate let cross: [(k: Tensor, v: Tensor)]
        fileprivate let keyBias: Tensor
        package fileprivate(set) var length = 0
        let rows: Int
        let capacity: Int

        fileprivate init(own: [(k: Tensor, v: Tensor)], cross: [(k: Tensor, v: Tensor)], keyBias: Tensor, rows: Int, capacity: Int) {
            self.own = own
            self.cross = cross
            self.keyBias = keyBias
            self.rows = rows
            self.capacity = capacity
        }

        /// Row i goes on as a copy of what row `sources[i]` was: beams change places.
        fileprivate func reorder(_ sources: [Int]) {
            if sources == Array(0..<rows) { return }
            for i in own.indices {
                for keyPath in [\(k: Tensor, v: Tensor).k, \(k: Tensor, v: Tensor).v] {
                    let old = own[i][keyPath: keyPath]
                    let index = old.device.tensor(indices: sources.map(Int32.init), [rows])
                    let fresh = old.device.empty(old.shape)
                    let columns = old.count / rows
                    old.device.enqueue(
                        .gatherRows(old.pointer, indices: index.pointer, to: fresh.pointer, count: rows, columns: columns))
                    own[i] = keyPath == \(k: Tensor, v: Tensor).k ? (fresh, own[i].v) : (own[i].k, fresh)
                }
            }
        }
    }

    /// A cache for `beams` continuations of every text, with room for `capacity` tokens each.
    package func cache(_ encoded: Tensor, _ batch: BERT.Batch, beams: Int = 1, capacity: Int) -> Cache {
        let c = configuration
        let (rows, inner) = (batch.count * beams, c.num_heads * c.d_kv)
        var source = encoded
        if beams > 1 {
            let index = device.tensor(indices: (0..<rows).map { Int32($0 / beams) }, [rows])
            source = device.empty([rows, batch.length, c.d_model])
            device.enqueue(
                .gatherRows(encoded.pointer, indices: index.pointer, to: source.pointer, count: rows, columns: batch.length * c.d_model))
        }
        let mask = batch.mask(inside: { _ in 0 }, outside: -1e9)
        let keyBias = (0..<rows).flatMap { mask[($0 / beams) * batch.length..<($0 / beams + 1) * batch.length] }
        return Cache(
            own: decoderBlocks.map { _ in (device.zeros([rows, capacity, inner]), device.zeros([rows, capacity, inner])) },
            cross: decoderBlocks.map { ($0.cross.k(source), $0.cross.v(source)) }, keyBias: device.tensor(keyBias, [rows, batch.length]),
            rows: rows, capacity: capacity)
    }

    /// Logits (rows, vocabulary) after one more token per row.
    package func next(_ tokens: [Int32], _ cache: Cache) -> Tensor {
        let c = configuration
        precondition(
            tokens.count == cache.rows && cache.length < cache.capacity, "\(tokens.count) tokens at \(cache.length) of \(cache.capacity)")
        let (rows, inner, position) = (cache.rows, c.num_heads * c.d_kv, cache.length)
        var x = shared(tokens, [rows, 1])
        let headBias = positionBias(decoderBias, queries: 1, keys: position + 1, first: position, bidirectional: false)
        for (block, (own, cross)) in zip(decoderBlocks, zip(cache.own, cache.cross)) {
            let h = block.attention.norm(x)
            for (fresh, kept) in [(block.attention.k(h), own.k), (block.attention.v(h), own.v)] {
                device.enqueue(
                    .copyRows(
                        fresh.pointer, stride: inner, to: kept.pointer.advanced(by: position * inner), toStride: cache.capacity * inner,
                        rows: rows, columns: inner, accumulate: false))
            }
            let attended = ScaledDotProduct.attend(
                q: block.attention.q(h), k: own.k, v: own.v, heads: c.num_heads, scale: 1, headBias: headBias, keyLength: position + 1)
            x = block.attention.o(attended, residual: x)
            let crossed = ScaledDotProduct.attend(
                q: block.cross.q(block.cross.norm(x)), k: cross.k, v: cross.v, heads: c.num_heads, scale: 1, keyBias: cache.keyBias)
            x = block.feedForward(block.cross.o(crossed, residual: x))
        }
        cache.length += 1
        x = decoderNorm(x).reshaped([rows, c.d_model])
        // A tied head reads the embedding backwards, at the embedding's scale.
        if c.tie_word_embeddings { x = Operations.combine(x, 1 / Float(c.d_model).squareRoot(), x, 0) }
        return Operations.linear(x, weight: head)
    }

    func reorder(_ cache: Cache, _ sources: [Int]) { cache.reorder(sources) }
}
