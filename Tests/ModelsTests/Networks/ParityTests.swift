import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

@Suite struct ParityTests {
    @Test func clip() throws {
        let golden = try Golden.load("clip")
        let weights = try Golden.Weights(golden)
        var vision = CLIP.VisionConfiguration()
        (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads) = (48, 96, 3, 4)
        (vision.image_size, vision.patch_size, vision.projection_dim) = (32, 8, 24)
        var text = CLIP.TextConfiguration()
        (text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.num_attention_heads) = (40, 80, 3, 4)
        (text.vocab_size, text.max_position_embeddings, text.eos_token_id, text.projection_dim) = (99, 16, 98, 24)
        try Golden.onEveryDevice { device in
            let images = try CLIPImageEncoder(vision, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            var layers: [Tensor] = []
            let out = images(device.tensor(Golden.images(2, 32), [2, 32, 32, 3])) { layers.append(($0, $1).1) }
            for (i, layer) in layers.enumerated() { try Golden.expect(layer.values(), like: golden, "vision.\(i)") }
            try Golden.expect(out.values(), like: golden, "image_embeds")

            let texts = try CLIPTextEncoder(text, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            let ids: [[Int32]] = [[97, 5, 17, 3, 98], [97, 1, 2, 3, 4, 50, 98]]
            layers = []
            let embedded = texts(ids) { layers.append(($0, $1).1) }
            for (i, layer) in layers.enumerated() { try Golden.expect(layer.values(), like: golden, "text.\(i)") }
            try Golden.expect(embedded.values(), like: golden, "text_embeds")
        }
    }

    @Test func clipBackpropagates() throws {
        // No golden slopes: the gradient check on the whole tower, with a short step because of its depth.
        var vision = CLIP.VisionConfiguration()
        (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads) = (8, 16, 2, 2)
        (vision.image_size, vision.patch_size, vision.projection_dim) = (8, 4, 5)
        let device = CPUDevice(lanes: 1)
        let network = try CLIPImageEncoder(vision, ParameterStore(seed: 3, on: device))
        let images = device.tensor(Golden.uniform("images", 2 * 8 * 8 * 3), [2, 8, 8, 3])
        let targets = device.tensor([0, 1, 0, 0, 0, 0, 0, 0.5, 0.5, 0], [2, 5])
        let result = GradientCheck.run(parameters: network.parameters, step: 3e-3) { tape in
            let loss = Losses.crossEntropy(network(images, tape: tape), targets: targets, scale: 1, tape: tape)
            tape?.backward()
            return loss.values().reduce(0) { $0 + Double($1) }
        }
        #expect(result.worst < 2e-2, "\(result.place)")
    }

    @Test(arguments: ["bottleneck", "basic"]) func resNet(_ kind: String) throws {
        let golden = try Golden.load("resnet-\(kind)")
        let weights = try Golden.Weights(golden)
        var configuration = ResNet.Configuration()
        (configuration.embedding_size, configuration.hidden_sizes, configuration.depths) = (8, [16, 32], [2, 2])
        (configuration.layer_type, configuration.labels) = (kind, 5)
        try Golden.onEveryDevice { device in
            let network = try ResNet(configuration, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            let images = device.tensor(Golden.images(2, 32), [2, 32, 32, 3])
            var blocks: [Tensor] = []
            let features = network.features(images) { blocks.append(($0, $1).1) }
            for (stage, block) in [0, 2, 4].enumerated() { try Golden.expect(blocks[block].values(), like: golden, "stage.\(stage)") }
            try Golden.expect(features.values(), like: golden, "features")
            try Golden.expect(network(images).values(), like: golden, "logits")

            let tape = Tape()
            let logits = network.train(images, tape: tape)
            let targets = device.tensor([0, 1, 0, 0, 0, 0, 0, 0, 0, 1], [2, 5])
            let loss = Losses.crossEntropy(logits, targets: targets, scale: 1, tape: tape)
            tape.backward()
            try Golden.expect([loss.values().reduce(0, +)], like: golden, "train.loss")
            try expectGradients(network.parameters, golden)
            func statistic(_ name: String) -> [Float] {
                network.parameters.first { $0.name == "resnet.embedder.embedder.normalization.\(name)" }?.value.values() ?? []
            }
            try Golden.expect(statistic("running_mean"), like: golden, "running_mean")
            try Golden.expect(statistic("running_var"), like: golden, "running_var")
        }
    }

    @Test func resNetUnderTorchvisionNames() throws {
        let golden = try Golden.load("resnet-torchvision")
        var configuration = ResNet.Configuration()
        (configuration.embedding_size, configuration.hidden_sizes, configuration.depths, configuration.labels) = (8, [16, 32], [2, 2], 5)
        try Golden.onEveryDevice { device in
            let store = ParameterStore(.checkpoint(try Golden.Weights(golden), prefix: ""), on: device)
            let network = try ResNet(configuration, naming: .torchvision, store)
            try Golden.expect(network(device.tensor(Golden.images(2, 32), [2, 32, 32, 3])).values(), like: golden, "logits")
        }
    }

    /// Every slope that the file holds, in the checkpoint's order. Slopes pass twice through the depth: ten times the tolerance
    /// would be natural; batch norm over two images needs three times.
    private func expectGradients(_ parameters: [Parameter], _ golden: Safetensors) throws {
        var found = 0
        for parameter in parameters where golden.contains("gradient.\(parameter.name)") {
            let gradient = try #require(parameter.gradient)
            let values = [Parameter("g", gradient, layout: parameter.layout)].namedTensors()[0].values
            try Golden.expect(values, like: golden, "gradient.\(parameter.name)", tolerance: 3e-4)
            found += 1
        }
        #expect(found == golden.names.filter { $0.hasPrefix("gradient.") }.count)
        parameters.forgetGradients()
    }

    @Test func bert() throws {
        let golden = try Golden.load("bert")
        let weights = try Golden.Weights(golden)
        var configuration = BERT.Configuration()
        (configuration.vocab_size, configuration.hidden_size, configuration.num_hidden_layers) = (120, 32, 3)
        (configuration.num_attention_heads, configuration.intermediate_size, configuration.max_position_embeddings) = (4, 64, 16)
        try Golden.onEveryDevice { device in
            let network = try BERT(configuration, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            let batch = BERT.Batch([[2, 17, 33, 100, 4, 9, 3], [2, 99, 41, 3]])
            let tape = Tape()
            var layers: [Tensor] = []
            let hidden = network(batch, tape: tape) { layers.append(($0, $1).1) }
            for (i, layer) in layers.enumerated() {
                // Padding's rows carry no meaning; the reference's are zeroed too.
                var values = layer.values()
                for j in (7 + 4) * 32..<14 * 32 { values[j] = 0 }
                try Golden.expect(values, like: golden, "hidden.\(i)")
            }
            let pooled = network.pooled(hidden, tape: tape)
            try Golden.expect(pooled.values(), like: golden, "pooled")
            try Golden.expect(network.meanPooled(hidden, batch).values(), like: golden, "mean")
            let logits = Operations.columns(pooled, 0..<5, tape: tape)
            let loss = Losses.crossEntropy(logits, targets: device.tensor([0, 1, 0, 0, 0, 0, 0, 0, 0, 1], [2, 5]), scale: 1, tape: tape)
            tape.backward()
            try Golden.expect([loss.values().reduce(0, +)], like: golden, "loss")
            try expectGradients(network.parameters, golden)
        }
    }

    private struct Generation: Decodable {
        var text: [Int32]
        var greedy: [Int32]
        var beam: [Int32]
    }

    @Test(arguments: ["relu", "gated-gelu"]) func t5(_ kind: String) throws {
        let golden = try Golden.load("t5-\(kind)")
        let weights = try Golden.Weights(golden)
        var configuration = T5.Configuration()
        (configuration.vocab_size, configuration.d_model, configuration.d_kv, configuration.d_ff) = (60, 32, 8, 64)
        (configuration.num_layers, configuration.num_heads, configuration.feed_forward_proj) = (2, 4, kind)
        (configuration.relative_attention_num_buckets, configuration.relative_attention_max_distance) = (8, 12)
        configuration.tie_word_embeddings = kind == "relu"
        let generations = try JSONDecoder().decode(
            [Generation].self, from: Data(contentsOf: URL(fileURLWithPath: "\(Golden.folder)/t5-\(kind).json")))
        try Golden.onEveryDevice { device in
            let network = try T5(configuration, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            let batch = BERT.Batch([Array(7...20) + [1], [5, 40, 33, 1]])
            let encoded = network.encode(batch)
            var values = encoded.values()
            for j in (15 + 4) * 32..<30 * 32 { values[j] = 0 }
            try Golden.expect(values, like: golden, "encoded")
            // The cached decoder, token by token, against the reference's whole pass.
            let decoder: [[Int32]] = [[0, 3, 14, 15, 9, 26, 5], [0, 44, 2, 2, 50, 1, 7]]
            let cache = network.cache(encoded, batch, capacity: 7)
            var logits = [Float](repeating: 0, count: 2 * 7 * 60)
            for step in 0..<7 {
                let out = network.next(decoder.map { $0[step] }, cache).values()
                for row in 0..<2 {
                    logits.replaceSubrange((row * 7 + step) * 60..<(row * 7 + step + 1) * 60, with: out[row * 60..<(row + 1) * 60])
                }
            }
            try Golden.expect(logits, like: golden, "logits")
            for generation in device is CPUDevice ? generations : Array(generations.prefix(2)) {
                #expect(network.greedy([generation.text], limit: 12) == [generation.greedy])
                #expect(network.beamSearch([generation.text], beams: 4, limit: 12) == [generation.beam], "text \(generation.text)")
            }
        }
        // Texts beside one another, shorter ones padded, come out as alone.
        let network = try T5(configuration, ParameterStore(.checkpoint(weights, prefix: ""), on: CPUDevice(lanes: 2)))
        #expect(network.greedy(generations.map(\.text), limit: 12) == generations.map(\.greedy))
        // A nucleus that holds one token only is greedy; seeds repeat.
        #expect(network.sample([generations[0].text], limit: 6, top: 1e-6, seed: 1) == [Array(generations[0].greedy.prefix(6))])
        let two = (0..<2).map { _ in network.sample(generations.map(\.text), limit: 12, top: 0.95, seed: 4) }
        #expect(two[0] == two[1])
        #expect(two[0] != generations.map(\.greedy))
    }

    @Test(arguments: ["dense", "convolutional"]) func vae(_ kind: String) throws {
        let golden = try Golden.load("vae-\(kind)")
        let weights = try Golden.Weights(golden)
        let configuration =
            kind == "dense"
            ? VAE.Configuration(height: 6, width: 6, architecture: .dense(hidden: [20, 12]), latent: 6)
            : VAE.Configuration(height: 8, width: 8, channels: 2, architecture: .convolutional(filters: [6, 8], hidden: 10), latent: 6)
        try Golden.onEveryDevice { device in
            let network = try VAE(configuration, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
            let images = device.tensor(
                Golden.images(3, configuration.height, configuration.channels).map { ($0 + 1) / 2 }, [3, configuration.pixels])
            let z = device.tensor(Golden.fill("input.z", [3, 6]), [3, 6])
            let tape = Tape()
            let (mean, logVariance) = network.encode(images, tape: tape)
            let logits = network.decode(z, tape: tape)
            let reconstruction = Losses.bernoulli(logits, targets: images, scale: 1, tape: tape)
            let divergence = Losses.divergence(mean: mean, logVariance: logVariance, scale: 0.5, tape: tape)
            for (tensor, name) in [
                (mean, "mean"), (logVariance, "log_variance"), (logits, "logits"), (reconstruction, "reconstruction"),
                (divergence, "divergence"),
            ] { try Golden.expect(tensor.values(), like: golden, name) }
            tape.backward()
            try expectGradients(network.parameters, golden)
        }
    }

    @Test(arguments: Adam.Form.allCases) func adam(_ form: Adam.Form) throws {
        let golden = try Golden.load(form == .pyTorch ? "adam" : "adam-tensorflow")
        try Golden.onEveryDevice { device in
            let parameter = Parameter("p", device.tensor(Golden.fill("adam.p", [40]), [40]))
            let optimizer = Adam([parameter], .init(form: form, learningRate: 1e-2))
            for step in 0..<3 {
                let gradient = Golden.fill("adam.g\(step)", [40]).enumerated().map { $1 * Float(pow(10.0, Double(-($0 % 9)))) }
                parameter.slot()?.gradient.assign(gradient)
                optimizer.update()
            }
            try Golden.expect(parameter.value.values(), like: golden, "p", tolerance: 1e-6)
        }
    }

    @Test func printsTheWorstErrors() throws {
        // Runs beside the other tests: what it prints is what was seen so far. AMAF_PARITY_REPORT asks for it.
        guard ProcessInfo.processInfo.environment["AMAF_PARITY_REPORT"] != nil else { return }
        try clip()
        for kind in ["bottleneck", "basic"] { try resNet(kind) }
        try resNetUnderTorchvisionNames()
        try bert()
        for kind in ["relu", "gated-gelu"] { try t5(kind) }
        for kind in ["dense", "convolutional"] { try vae(kind) }
        for form in Adam.Form.allCases { try adam(form) }
        for (name, error) in Golden.worstError.withLock({ $0 }).sorted(by: { $0.key < $1.key }) { print("epoch-parity \(name): \(error)") }
    }
}
