package import Kernels
package import NeuralNetworks
package import Primitives

/// CLIP (Radford et al. 2021): an image and a text transformer whose outputs are compared by cosine.
///
/// Names and numbers as transformers' CLIPModel. Blocks are pre-norm: x + attention(norm(x)), then x + mlp(norm(x)).
package enum CLIP {
    package struct Configuration: Sendable, Hashable, Decodable {
        package var vision_config: VisionConfiguration
        package var text_config: TextConfiguration
        package var projection_dim: Int?
    }

    package struct VisionConfiguration: Sendable, Hashable, Decodable {
        package var hidden_size = 768
        package var intermediate_size = 3072
        package var num_hidden_layers = 12
        package var num_attention_heads = 12
        package var num_channels = 3
        package var image_size = 224
        package var patch_size = 32
        package var hidden_act = "quick_gelu"
        package var layer_norm_eps: Float = 1e-5
        package var projection_dim = 512

        private enum CodingKeys: String, CodingKey {
            case hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_channels, image_size, patch_size, hidden_act,
                layer_norm_eps, projection_dim
        }
        package init() {}
        package init(from decoder: any Decoder) throws {
            let c = try decoder.container(keyedBy: CodingKeys.self)
            func read<T: Decodable>(_ key: CodingKeys, _ value: inout T) throws {
                value = try c.decodeIfPresent(T.self, forKey: key) ?? value
            }
            try read(.hidden_size, &hidden_size)
            try read(.intermediate_size, &intermediate_size)
            try read(.num_hidden_layers, &num_hidden_layers)
            try read(.num_attention_heads, &num_attention_heads)
            try read(.num_channels, &num_channels)
            try read(.image_size, &image_size)
            try read(.patch_size, &patch_size)
            try read(.hidden_act, &hidden_act)
            try read(.layer_norm_eps, &layer_norm_eps)
            try read(.projection_dim, &projection_dim)
        }
    }

    package struct TextConfiguration: Sendable, Hashable, Decodable {
        package var hidden_size = 512
        package var intermediate_size = 2048
        package var num_hidden_layers = 12
        package var num_attention_heads = 8
        package var vocab_size = 49408
        package var max_position_embeddings = 77
        package var hidden_act = "quick_gelu"
        package var layer_norm_eps: Float = 1e-5
        package var eos_token_id = 49407
        package var projection_dim = 512

        /// The end mark. Early configurations say 2, which is the number sign; the reference takes the largest id then.
        package var endToken: Int { eos_token_id == 2 ? vocab_size - 1 : eos_token_id }

        private enum CodingKeys: String, CodingKey {
            case hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size, max_position_embeddings, hidden_act,
                layer_norm_eps, eos_token_id, projection_dim
        }
        package init() {}
        package init(from decoder: any Decoder) throws {
            let c = try decoder.container(keyedBy: CodingKeys.self)
            func read<T: Decodable>(_ key: CodingKeys, _ value: inout T) throws {
                value = try c.decodeIfPresent(T.self, forKey: key) ?? value
            }
            try read(.hidden_size, &hidden_size)
            try read(.intermediate_size, &intermediate_size)
            try read(.num_hidden_layers, &num_hidden_layers)
            try read(.num_attention_heads, &num_attention_heads)
            try read(.vocab_size, &vocab_size)
            try read(.max_position_embeddings, &max_position_embeddings)
            try read(.hidden_act, &hidden_act)
            try read(.layer_norm_eps, &layer_norm_eps)
            try read(.eos_token_id, &eos_token_id)
            try read(.projection_dim, &projection_dim)
        }
    }

    /// One pre-norm transformer block.
    struct Block: Sendable {
        let norm1: LayerNorm
        let norm2: LayerNorm
        let q: Linear
        let k: Linear
        let v: Linear
        let out: Linear
        let up: Linear
        let down: Linear
        let heads: Int
        let activation: UnaryFunction

        init(
            _ store: ParameterStore, _ name: String, width: Int, inner: Int, heads: Int, activation: UnaryFunction, epsilon: Float
        ) throws(AMAFError) {
            norm1 = try LayerNorm(store, "\(name).layer_norm1", columns: width, epsilon: epsilon)
            norm2 = try LayerNorm(store, "\(name).layer_norm2", columns: width, epsilon: epsilon)
            func linear(_ part: String, _ inputs: Int, _ outputs: Int) throws(AMAFError) -> Linear {
                try Linear(store, "\(name).\(part)", inputs: inputs, outputs: outputs, initializer: .normal(0.02))
            }
            q = try linear("self_attn.q_proj", width, width)
            k = try linear("self_attn.k_proj", width, width)
            v = try linear("self_attn.v_proj", width, width)
            out = try linear("self_attn.out_proj", width, width)
            up = try linear("mlp.fc1", width, inner)
            down = try linear("mlp.fc2", inner, width)
            self.heads = heads
            self.activation = activation
        }

        /// x (B, T, D) → (B, T, D)
        func callAsFunction(_ x: Tensor, causal: Bool, tape: Tape?) -> Tensor {
            let width = x.columns
            let h = norm1(x, tape: tape)
            let attended = ScaledDotProduct.attend(
                q: q(h, tape: tape), k: k(h, tape: tape), v: v(h, tape: tape), heads: heads, scale: 1 / Float(width / heads).squareRoot(),
                causalOffset: causal ? 0 : nil, tape: tape)
            let y = out(attended, residual: x, tape: tape)
            return down(up(norm2(y, tape: tape), activation: activation, tape: tape), residual: y, tape: tape)
        }
    }
}

/// The image tower: images → embeddings in the space shared with texts.
package final class CLIPImageEncoder: Sendable {
    package let configuration: CLIP.VisionConfiguration
    package let parameters: [Parameter]
    private let patches: Convolution2D
    private let classEmbedding: Parameter
    private let positions: Parameter
    private let preNorm: LayerNorm
    private let blocks: [CLIP.Block]
    private let postNorm: LayerNorm
    private let projection: Linear?

    /// Tensor names as `vision_model.…` and `visual_projection.weight`.
    package init(_ configuration: CLIP.VisionConfiguration, _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        try ModelFolder.requireSizes([
            ("hidden_size", c.hidden_size), ("intermediate_size", c.intermediate_size), ("num_hidden_layers", c.num_hidden_layers),
            ("num_attention_heads", c.num_attention_heads), ("num_channels", c.num_channels), ("image_size", c.image_size),
            ("patch_size", c.patch_size), ("projection_dim", c.projection_dim),
        ])
        guard c.image_size % c.patch_size == 0, c.hidden_size % c.num_attention_heads == 0 else {
            throw AMAFError(
                "model.configuration", "Patches of \(c.patch_size) on \(c.image_size), \(c.num_attention_heads) heads on \(c.hidden_size)",
                remedy: "Correct image_size and patch_size in config.json.")
        }
        self.configuration = c
        let activation = try UnaryFunction(checkpointName: c.hidden_act)
        classEmbedding = try store.parameter("vision_model.embeddings.class_embedding", [c.hidden_size], .normal(0.02))
        patches = try Convolution2D(
            store, "vision_model.embeddings.patch_embedding", channels: c.num_channels, filters: c.hidden_size, window: c.patch_size,
            stride: c.patch_size, bias: false)
        let side = c.image_size / c.patch_size
        positions = try store.parameter(
            "vision_model.embeddings.position_embedding.weight", [side * side + 1, c.hidden_size], .normal(0.02))
        // The checkpoints really spell it so.
        preNorm = try LayerNorm(store, "vision_model.pre_layrnorm", columns: c.hidden_size, epsilon: c.layer_norm_eps)
        var blocks: [CLIP.Block] = []
        for i in 0..<c.num_hidden_layers {
            blocks.append(
                try CLIP.Block(
                    store, "vision_model.encoder.layers.\(i)", width: c.hidden_size, inner: c.intermediate_size,
                    heads: c.num_attention_heads,
                    activation: activation, epsilon: c.layer_norm_eps))
        }
        self.blocks = blocks
        postNorm = try LayerNorm(store, "vision_model.post_layernorm", columns: c.hidden_size, epsilon: c.layer_norm_eps)
        projection =
            store.has("visual_projection.weight")
            ? try Linear(
                store, "visual_projection", inputs: c.hidden_size, outputs: c.projection_dim, bias: false, initializer: .normal(0.02))
            : nil
        parameters = store.parameters
    }

    /// Reads a folder in Hugging Face's layout.
    package static func load(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> CLIPImageEncoder {
        let configuration =
            try folder.modelType() == "clip_vision_model"
            ? folder.configuration(CLIP.VisionConfiguration.self) : folder.configuration(CLIP.Configuration.self).vision()
        return try CLIPImageEncoder(configuration, ParameterStore(.checkpoint(try folder.weights(), prefix: ""), on: device))
    }

    /// Images (N, size, size, channels), normalised → embeddings (N, projection), not yet of unit length.
    /// - Parameter trace: called with the input of the first block (0) and the output of every block.
    package func callAsFunction(_ images: Tensor, tape: Tape? = nil, trace: ((Int, Tensor) -> Void)? = nil) -> Tensor {
        let c = configuration
        precondition(
            images.shape.dropFirst() == [c.image_size, c.image_size, c.num_channels],
            "images of shape \(images.shape) for \(c.image_size)×\(c.image_size)×\(c.num_channels)")
        let (batch, device, width) = (images.dimension(0), images.device, c.hidden_size)
        let grid = patches(images, tape: tape)
        let count = grid.dimension(1) * grid.dimension(2)
        // The class token goes before the patches of every image.
        let tokens = device.empty([batch, count + 1, width])
        device.enqueue(
            .copyRows(
                classEmbedding.value.pointer, stride: 0, to: tokens.pointer, toStride: (count + 1) * width, rows: batch, columns: width,
                accumulate: false))
        device.enqueue(
            .copyRows(
                grid.pointer, stride: count * width, to: tokens.pointer.advanced(by: width), toStride: (count + 1) * width, rows: batch,
                columns: count * width, accumulate: false))
        tape?.record(tokens) { [classEmbedding] tape, dy in
            if let (gradient, accumulate) = classEmbedding.slot() {
                device.enqueue(
                    .sumRows(
                        dy.pointer, stride: (count + 1) * width, to: gradient.pointer, rows: batch, columns: width, accumulate: accumulate))
            }
            guard let (dx, accumulate) = tape.slot(for: grid) else { return }
            device.enqueue(
                .copyRows(
                    dy.pointer.advanced(by: width), stride: (count + 1) * width, to: dx.pointer, toStride: count * width, rows: batch,
                    columns: count * width, accumulate: accumulate))
        }
        var x = preNorm(Operations.addRow(tokens, positions, tape: tape), tape: tape)
        trace?(0, x)
        for (i, block) in blocks.enumerated() {
            x = block(x, causal: false, tape: tape)
            trace?(i + 1, x)
        }
        let pooled = postNorm(Operations.token(x, at: 0, tape: tape), tape: tape)
        return projection.map { $0(pooled, tape: tape) } ?? pooled
    }

    /// The width of an embedding: of the shared space, or the tower's own where the checkpoint has no projection.
    package var embeddingWidth: Int { projection == nil ? configuration.hidden_size : configuration.projection_dim }

    /// Embeddings of unit length for images (N, size, size, channels) from `ImagePreprocessor`, on the host, row by row.
    package func embed(_ images: [Float], count: Int, batch: Int = 32) -> [Float] {
        let c = configuration
        let size = c.image_size * c.image_size * c.num_channels
        precondition(images.count == count * size, "\(images.count) values for \(count) images of \(size)")
        let device = classEmbedding.value.device
        var out: [Float] = []
        for start in stride(from: 0, to: count, by: batch) {
            let n = min(batch, count - start)
            let x = device.tensor(Array(images[start * size..<(start + n) * size]), [n, c.image_size, c.image_size, c.num_channels])
            out += Operations.normalizeRows(self(x)).values()
        }
        return out
    }
}

extension CLIP.Configuration {
    func vision() -> CLIP.VisionConfiguration {
        var c = vision_config
        if let projection_dim { c.projection_dim = projection_dim }
        return c
    }
    func text() -> CLIP.TextConfiguration {
        var c = text_config
        if let projection_dim { c.projection_dim = projection_dim }
        return c
    }
}

/// The text tower: token ids → embeddings in the space shared with images.
package final class CLIPTextEncoder: Sendable {
    package let configuration: CLIP.TextConfiguration
    package let parameters: [Parameter]
    private let tokens: Embedding
    private let positions: Parameter
    private let blocks: [CLIP.Block]
    private let finalNorm: LayerNorm
    private let projection: Linear?

    /// Tensor names as `text_model.…` and `text_projection.weight`.
    package init(_ configuration: CLIP.TextConfiguration, _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        try ModelFolder.requireSizes([
            ("hidden_size", c.hidden_size), ("intermediate_size", c.intermediate_size), ("num_hidden_layers", c.num_hidden_layers),
            ("num_attention_heads", c.num_attention_heads), ("vocab_size", c.vocab_size),
            ("max_position_embeddings", c.max_position_embeddings), ("projection_dim", c.projection_dim),
        ])
        guard c.hidden_size % c.num_attention_heads == 0, (0..<c.vocab_size).contains(c.eos_token_id) else {
            throw AMAFError(
                "model.configuration",
                "\(c.num_attention_heads) heads on \(c.hidden_size), end mark \(c.eos_token_id) of \(c.vocab_size) pieces",
                remedy: "Correct num_attention_heads and hidden_size in config.json.")
        }
        self.configuration = c
        let activation = try UnaryFunction(checkpointName: c.hidden_act)
        tokens = try Embedding(store, "text_model.embeddings.token_embedding", count: c.vocab_size, columns: c.hidden_size)
        positions = try store.parameter(
            "text_model.embeddings.position_embedding.weight", [c.max_position_embeddings, c.hidden_size], .normal(0.02))
        var blocks: [CLIP.Block] = []
        for i in 0..<c.num_hidden_layers {
            blocks.append(
                try CLIP.Block(
                    store, "text_model.encoder.layers.\(i)", width: c.hidden_size, inner: c.intermediate_size, heads: c.num_attention_heads,
                    activation: activation, epsilon: c.layer_norm_eps))
        }
        self.blocks = blocks
        finalNorm = try LayerNorm(store, "text_model.final_layer_norm", columns: c.hidden_size, epsilon: c.layer_norm_eps)
        projection =
            store.has("text_projection.weight")
            ? try Linear(
                store, "text_projection", inputs: c.hidden_size, outputs: c.projection_dim, bias: false, initializer: .normal(0.02))
            : nil
        parameters = store.parameters
    }

    package static func load(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> CLIPTextEncoder {
        let configuration = try folder.configuration(CLIP.Configuration.self).text()
        return try CLIPTextEncoder(configuration, ParameterStore(.checkpoint(try folder.weights(), prefix: ""), on: device))
    }

    /// Ids of each text, with start and end markers, all of one length or padded to it after the end marker.
    ///
    /// Attention is causal, so what stands after the end marker does not reach the embedding taken there.
    /// - Parameter trace: called with the input of the first block (0) and the output of every block.
    package func callAsFunction(_ ids: [[Int32]], tape: Tape? = nil, trace: ((Int, Tensor) -> Void)? = nil) -> Tensor {
        let c = configuration
        let length = ids.map(\.count).max() ?? 0
        precondition(
            length > 0 && length <= c.max_position_embeddings, "texts of \(length) tokens for \(c.max_position_embeddings) positions")
        let end = Int32(c.endToken)
        let padded = ids.flatMap { $0 + [Int32](repeating: end, count: length - $0.count) }
        let device = positions.value.device
        var x = tokens(padded, [ids.count, length], tape: tape)
        x = addPositions(x, length: length, tape: tape)
        trace?(0, x)
        for (i, block) in blocks.enumerated() {
            x = block(x, causal: true, tape: tape)
            trace?(i + 1, x)
        }
        x = finalNorm(x, tape: tape)
        // The end marker has the largest id in CLIP's vocabulary; its first place is where the text is summed up.
        let places = ids.enumerated().map { row, ids in
            Int32(row * length + (ids.firstIndex(of: end) ?? ids.indices.max(by: { ids[$0] < ids[$1] }) ?? 0))
        }
        let index = device.tensor(indices: places, [ids.count])
        let pooled = device.empty([ids.count, c.hidden_size])
        device.enqueue(.gatherRows(x.pointer, indices: index.pointer, to: pooled.pointer, count: ids.count, columns: c.hidden_size))
        tape?.record(pooled) { tape, dy in
            guard let (dx, accumulate) = tape.slot(for: x) else { return }
            if !accumulate { device.enqueue(.fill(dx.pointer, value: 0, count: dx.count)) }
            device.enqueue(.scatterAddRows(dy.pointer, indices: index.pointer, to: dx.pointer, count: dy.rows, columns: dy.columns))
        }
        return projection.map { $0(pooled, tape: tape) } ?? pooled
    }

    private func addPositions(_ x: Tensor, length: Int, tape: Tape?) -> Tensor {
        Operations.addLeadingRows(x, positions, rows: length, tape: tape)
    }

    /// As the image tower's.
    package var embeddingWidth: Int { projection == nil ? configuration.hidden_size : configuration.projection_dim }

    /// Embeddings of unit length, row by row.
    package func embed(_ ids: [[Int32]], batch: Int = 32) -> [Float] {
        stride(from: 0, to: ids.count, by: batch).flatMap { start in
            Operations.normalizeRows(self(Array(ids[start..<min(ids.count, start + batch)]))).values()
        }
    }
}

extension UnaryFunction {
    /// By the name in config.json.
    ///
    /// - Throws: `model.configuration`.
    package init(checkpointName name: String) throws(AMAFError) {
        switch name {
        case "gelu": self = .gelu
        case "gelu_new", "gelu_pytorch_tanh", "gelu_fast": self = .geluTanh
        case "quick_gelu": self = .quickGELU
        case "relu": self = .relu
        case "tanh": self = .tanh
        default:
            throw AMAFError(
                "model.configuration", "config.json asks for the unknown activation '\(name)'",
                remedy: "Known are gelu, gelu_new, quick_gelu, relu and tanh.")
        }
    }
}
