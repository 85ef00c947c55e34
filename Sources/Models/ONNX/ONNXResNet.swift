package import Foundation
package import NeuralNetworks
package import Primitives

/// Reads a residual network out of an ONNX graph: what each node is follows from how nodes hang together, not from their names.
///
/// stem convolution → ReLU → max pool, blocks of convolutions around a shortcut, mean over places, linear layer (→ softmax, which
/// is left to whoever reads the logits). Batch norms may still be there or be folded into the convolutions already; a folded one
/// becomes the norm that adds the bias and changes nothing else, so that the result is an ordinary checkpoint.
package struct ONNXResNet {
    package private(set) var tensors: [NamedTensor] = []
    package private(set) var configuration = ResNet.Configuration()

    private let graph: ONNXGraph
    private let consumers: [String: [Int]]

    /// A convolution with the norm behind it and the name of what comes out.
    private struct Unit {
        var weight: NamedTensor
        var stride: Int
        var padding: Int
        /// γ, β, mean, variance for ε = 1e-5.
        var norm: (scale: [Float], offset: [Float], mean: [Float], variance: [Float])
        var output: String
        var filters: Int { weight.shape[0] }
        var channels: Int { weight.shape[1] }
        var window: Int { weight.shape[2] }
    }

    /// What BatchNorm2D adds to the variance.
    private static let epsilon: Float = 1e-5

    /// - Throws: `onnx.unsupported`, naming the node that fits no residual network.
    package init(_ graph: ONNXGraph) throws(AMAFError) {
        self.graph = graph
        var consumers: [String: [Int]] = [:]
        for (index, node) in graph.nodes.enumerated() {
            for input in Set(node.inputs) { consumers[input, default: []].append(index) }
        }
        self.consumers = consumers
        guard graph.inputs.count == 1 else { throw unsupported("The graph has \(graph.inputs.count) inputs where one is needed") }
        let pooled = try stem(graph.inputs[0])
        let last = try blocks(pooled)
        try head(last)
    }

    private func unsupported(_ sentence: String) -> AMAFError {
        AMAFError(
            "onnx.unsupported", sentence, place: graph.place,
            remedy: "Only residual networks (ResNet-18 to 152, of any width) are converted from ONNX.")
    }

    private func users(_ value: String) -> [ONNXGraph.Node] { (consumers[value] ?? []).map { graph.nodes[$0] } }

    /// The one node that reads a value.
    private func next(_ value: String, _ operations: [String]) throws(AMAFError) -> ONNXGraph.Node {
        let nodes = users(value)
        guard nodes.count == 1, operations.contains(nodes[0].operation), let _ = nodes[0].outputs.first else {
            let found = nodes.map(\.title).joined(separator: ", ")
            throw unsupported(
                "After '\(value)' comes \(found.isEmpty ? "nothing" : found) where \(operations.joined(separator: " or ")) was expected")
        }
        return nodes[0]
    }

    private func initializer(_ name: String, of node: ONNXGraph.Node) throws(AMAFError) -> NamedTensor {
        guard let tensor = graph.initializers[name] else { throw unsupported("The input '\(name)' of \(node.title) is no constant") }
        return tensor
    }

    private func square(_ node: ONNXGraph.Node, _ attribute: String, default value: Int) throws(AMAFError) -> Int {
        let list = node.integers(attribute) ?? [value]
        guard let first = list.first, list.allSatisfy({ $0 == first }) else {
            throw unsupported("\(node.title) has \(attribute) \(list), not the same on all sides")
        }
        return first
    }

    /// The convolution `node` and its norm.
    private func unit(_ node: ONNXGraph.Node) throws(AMAFError) -> Unit {
        guard node.inputs.count >= 2, let output = node.outputs.first else { throw unsupported("\(node.title) has no weight") }
        let weight = try initializer(node.inputs[1], of: node)
        guard weight.shape.count == 4, weight.shape[2] == weight.shape[3], node.integer("group", default: 1) == 1,
            try square(node, "dilations", default: 1) == 1, node.attributes["auto_pad"].map({ $0 == .text("NOTSET") }) ?? true
        else { throw unsupported("\(node.title) with weights of shape \(weight.shape) is no plain square convolution") }
        let filters = weight.shape[0]
        var bias = [Float](repeating: 0, count: filters)
        if node.inputs.count > 2 { bias = try vector(node.inputs[2], filters, node) }
        // A norm that only adds the bias: (x − 0) / √(1 − ε + ε) · 1 + bias.
        let ones = [Float](repeating: 1, count: filters)
        var unit = Unit(
            weight: weight, stride: try square(node, "strides", default: 1), padding: try square(node, "pads", default: 0),
            norm: (ones, bias, [Float](repeating: 0, count: filters), [Float](repeating: 1 - Self.epsilon, count: filters)),
            output: output)
        let following = users(output)
        if following.count == 1, following[0].operation == "BatchNormalization", following[0].inputs.count == 5,
            let normed = following[0].outputs.first
        {
            let norm = following[0]
            let shift = norm.number("epsilon", default: 1e-5) - Self.epsilon
            unit.norm = (
                try vector(norm.inputs[1], filters, norm), try vector(norm.inputs[2], filters, norm),
                zip(try vector(norm.inputs[3], filters, norm), bias).map { $0 - $1 },
                try vector(norm.inputs[4], filters, norm).map { $0 + shift }
            )
            unit.output = normed
        }
        return unit
    }

    private func vector(_ name: String, _ count: Int, _ node: ONNXGraph.Node) throws(AMAFError) -> [Float] {
        let tensor = try initializer(name, of: node)
        guard tensor.shape == [count] else { throw unsupported("'\(name)' of \(node.title) has shape \(tensor.shape), not [\(count)]") }
        return tensor.values
    }

    private mutating func add(_ unit: Unit, _ convolution: String, _ normalization: String) {
        tensors.append(NamedTensor("\(convolution).weight", unit.weight.shape, unit.weight.values))
        for (part, values) in [
            ("weight", unit.norm.scale), ("bias", unit.norm.offset), ("running_mean", unit.norm.mean), ("running_var", unit.norm.variance),
        ] { tensors.append(NamedTensor("\(normalization).\(part)", [values.count], values)) }
    }

    /// From the input to the name of what the max pool gives.
    private mutating func stem(_ input: String) throws(AMAFError) -> String {
        var value = input
        // Networks from TensorFlow take channels last and turn them first.
        if let node = users(value).first, node.operation == "Transpose" {
            guard node.integers("perm") == [0, 3, 1, 2], let output = node.outputs.first else {
                throw unsupported("\(node.title) does not bring channels to the front")
            }
            value = output
        }
        let unit = try unit(next(value, ["Conv"]))
        guard unit.window == 7, unit.stride == 2, unit.padding == 3 else {
            throw unsupported(
                "The first convolution has a window of \(unit.window), stride \(unit.stride), padding \(unit.padding), not 7, 2, 3")
        }
        add(unit, "resnet.embedder.embedder.convolution", "resnet.embedder.embedder.normalization")
        (configuration.num_channels, configuration.embedding_size) = (unit.channels, unit.filters)
        let pool = try next(try next(unit.output, ["Relu"]).outputs[0], ["MaxPool"])
        guard try square(pool, "kernel_shape", default: 0) == 3, try square(pool, "strides", default: 1) == 2 else {
            throw unsupported("\(pool.title) is not over 3×3 places with stride 2")
        }
        switch pool.integers("pads") ?? [0, 0, 0, 0] {
        case [1, 1, 1, 1]: configuration.pool_padding = .both
        case [0, 0, 1, 1]: configuration.pool_padding = .end
        case let pads: throw unsupported("\(pool.title) pads \(pads)")
        }
        return pool.outputs[0]
    }

    /// All blocks after `value`; the name of what the last one gives.
    private mutating func blocks(_ start: String) throws(AMAFError) -> String {
        (configuration.hidden_sizes, configuration.depths) = ([], [])
        var value = start
        var kinds: Set<String> = []
        var reducesFirst: Set<Bool> = []
        while users(value).contains(where: { $0.operation == "Conv" }) {
            var main: [Unit] = []
            var shortcut: Unit?
            var sums: Set<String> = []
            for node in users(value) where node.operation == "Conv" {
                let (units, sum) = try path(node)
                sums.insert(sum.outputs[0])
                if units.count == 1, shortcut == nil {
                    shortcut = units[0]
                } else if main.isEmpty {
                    main = units
                } else {
                    throw unsupported("More than one path leaves '\(value)' besides the shortcut")
                }
            }
            let isIdentity = users(value).contains { $0.operation == "Add" && $0.outputs.first.map(sums.contains) == true }
            guard sums.count == 1, let sum = sums.first, main.count == 2 || main.count == 3, (shortcut == nil) == isIdentity,
                users(value).count == 2
            else { throw unsupported("What follows '\(value)' is no residual block") }
            let (stride, windows) = (main.reduce(1) { $0 * $1.stride }, main.map(\.window))
            guard windows == (main.count == 3 ? [1, 3, 1] : [3, 3]), main.allSatisfy({ $0.padding == $0.window / 2 }) else {
                throw unsupported("The block after '\(value)' has windows \(windows)")
            }
            let width = main[main.count - 1].filters
            let isNewStage = configuration.hidden_sizes.isEmpty || stride == 2
            guard stride == 1 || (stride == 2 && !configuration.hidden_sizes.isEmpty),
                shortcut.map({ $0.stride == stride && $0.window == 1 }) ?? true,
                isNewStage || width == configuration.hidden_sizes.last
            else { throw unsupported("The block after '\(value)' has stride \(stride) and width \(width)") }
            guard main.count == 2 || main[0].filters * configuration.reduction == width else {
                throw unsupported("The block after '\(value)' narrows \(width) to \(main[0].filters), not to a quarter")
            }
            if isNewStage {
                configuration.hidden_sizes.append(width)
                configuration.depths.append(0)
            }
            let stage = configuration.depths.count - 1
            let name = "resnet.encoder.stages.\(stage).layers.\(configuration.depths[stage])"
            configuration.depths[stage] += 1
            for (i, unit) in main.enumerated() { add(unit, "\(name).layer.\(i).convolution", "\(name).layer.\(i).normalization") }
            if let shortcut { add(shortcut, "\(name).shortcut.convolution", "\(name).shortcut.normalization") }
            kinds.insert(main.count == 3 ? "bottleneck" : "basic")
            if stride == 2, main.count == 3 { reducesFirst.insert(main[0].stride == 2) }
            value = try next(sum, ["Relu"]).outputs[0]
        }
        guard kinds.count == 1, let kind = kinds.first, reducesFirst.count <= 1 else {
            throw unsupported(kinds.isEmpty ? "No residual block follows the max pool" : "The blocks are of different kinds")
        }
        configuration.layer_type = kind
        configuration.downsample_in_bottleneck = reducesFirst.first ?? false
        return value
    }

    /// Convolutions with ReLUs between them, up to the sum that ends a block.
    private func path(_ first: ONNXGraph.Node) throws(AMAFError) -> ([Unit], sum: ONNXGraph.Node) {
        var units = [try unit(first)]
        while units.count <= 3 {
            let node = try next(units[units.count - 1].output, ["Relu", "Add"])
            if node.operation == "Add" { return (units, node) }
            units.append(try unit(next(node.outputs[0], ["Conv"])))
        }
        throw unsupported("More than three convolutions follow \(first.title)")
    }

    /// Mean over places, linear layer, softmax or nothing.
    private mutating func head(_ value: String) throws(AMAFError) {
        var node = try next(value, ["GlobalAveragePool", "AveragePool", "ReduceMean"])
        while ["GlobalAveragePool", "AveragePool", "ReduceMean", "Reshape", "Flatten", "Squeeze"].contains(node.operation) {
            node = try next(node.outputs[0], ["Reshape", "Flatten", "Squeeze", "MatMul", "Gemm"])
        }
        guard node.inputs.count >= 2 else { throw unsupported("\(node.title) has no weight") }
        let weight = try initializer(node.inputs[1], of: node)
        let features = configuration.hidden_sizes[configuration.hidden_sizes.count - 1]
        let isTransposed = node.operation == "Gemm" && node.integer("transB", default: 0) == 1
        guard weight.shape.count == 2, weight.shape[isTransposed ? 1 : 0] == features else {
            throw unsupported("\(node.title) has weights of shape \(weight.shape) after \(features) features")
        }
        let classes = weight.shape[isTransposed ? 0 : 1]
        var values = weight.values
        if !isTransposed {
            for row in 0..<classes {
                for column in 0..<features { values[row * features + column] = weight.values[column * classes + row] }
            }
        }
        var bias = [Float](repeating: 0, count: classes)
        var output = node.outputs[0]
        if node.operation == "Gemm" {
            guard node.number("alpha", default: 1) == 1, node.number("beta", default: 1) == 1, node.integer("transA", default: 0) == 0
            else {
                throw unsupported("\(node.title) scales its parts")
            }
            if node.inputs.count > 2 { bias = try vector(node.inputs[2], classes, node) }
        } else if let sum = users(output).first, sum.operation == "Add",
            let name = sum.inputs.first(where: { graph.initializers[$0] != nil })
        {
            bias = try vector(name, classes, sum)
            output = sum.outputs[0]
        }
        if let softmax = users(output).first {
            guard softmax.operation == "Softmax", let last = softmax.outputs.first else {
                throw unsupported("\(softmax.title) follows the classifier")
            }
            output = last
        }
        guard graph.outputs.contains(output) else { throw unsupported("The classifier's '\(output)' is no output of the graph") }
        configuration.labels = classes
        tensors.append(NamedTensor("classifier.1.weight", [classes, features], values))
        tensors.append(NamedTensor("classifier.1.bias", [classes], bias))
    }

    /// model.safetensors in Hugging Face's names.
    package func safetensors() -> Data { Safetensors.encode(tensors, metadata: ["format": "pt", "converted-from": "onnx"]) }

    /// config.json as transformers writes it, with our keys where the network differs from its.
    ///
    /// - Parameter labels: names of the classes, as many as there are; numbered when empty.
    /// - Throws: `onnx.labels`.
    package func configurationJSON(labels: [String] = []) throws(AMAFError) -> Data {
        let c = configuration
        guard labels.isEmpty || labels.count == c.labels else {
            throw AMAFError(
                "onnx.labels", "\(labels.count) labels for \(c.labels) classes", place: graph.place, remedy: "Name every class, or none.")
        }
        var fields: [String: Any] = [
            "model_type": "resnet", "architectures": ["ResNetForImageClassification"], "num_channels": c.num_channels,
            "embedding_size": c.embedding_size, "hidden_sizes": c.hidden_sizes, "depths": c.depths, "layer_type": c.layer_type,
            "hidden_act": "relu", "downsample_in_first_stage": false, "downsample_in_bottleneck": c.downsample_in_bottleneck,
        ]
        fields["id2label"] = Dictionary(
            uniqueKeysWithValues: (0..<c.labels).map { (String($0), labels.isEmpty ? "LABEL_\($0)" : labels[$0]) })
        if c.pool_padding != .both { fields["pool_padding"] = c.pool_padding.rawValue }
        do { return try JSONSerialization.data(withJSONObject: fields, options: [.sortedKeys, .prettyPrinted]) } catch {
            preconditionFailure("a configuration of plain values: \(error)")
        }
    }
}
