package import Kernels
package import NeuralNetworks
package import Primitives

/// ResNet with bottleneck or basic blocks (He et al. 2016; stride on the 3×3 convolution, as torchvision and Hugging Face).
///
/// After training, every batch norm is folded into the convolution before it, so the forward pass is convolutions only.
package final class ResNet: Sendable {
    package struct Configuration: Sendable, Hashable, Decodable {
        package var num_channels = 3
        package var embedding_size = 64
        package var hidden_sizes = [256, 512, 1024, 2048]
        package var depths = [3, 4, 6, 3]
        /// `bottleneck` or `basic`
        package var layer_type = "bottleneck"
        package var labels = 1000
        /// 4 in every public bottleneck network.
        package var reduction = 4
        /// Whether a bottleneck's first convolution carries the stride, as in He et al. and Caffe, or its second (the rule today).
        package var downsample_in_bottleneck = false
        /// Where the max pool is padded; our own key.
        package var pool_padding = PoolPadding.both

        package enum PoolPadding: String, Sendable, Hashable, Codable {
            /// One place on every side.
            case both
            /// One place at the bottom and the right, TensorFlow's `SAME` on even sizes.
            case end
        }

        private enum CodingKeys: String, CodingKey {
            case num_channels, embedding_size, hidden_sizes, depths, layer_type, num_labels, id2label, downsample_in_bottleneck,
                downsample_in_first_stage, pool_padding, architecture, num_classes
        }
        package init() {}
        package init(from decoder: any Decoder) throws {
            let c = try decoder.container(keyedBy: CodingKeys.self)
            // timm names the whole shape in one word.
            if let architecture = try c.decodeIfPresent(String.self, forKey: .architecture) {
                guard let shape = Self.shapes[String(architecture.prefix { $0 != "." })] else {
                    throw DecodingError.dataCorruptedError(
                        forKey: .architecture, in: c,
                        debugDescription: "'\(architecture)' is none of \(Self.shapes.keys.sorted().joined(separator: ", "))")
                }
                (depths, layer_type) = (shape.depths, shape.isBasic ? "basic" : "bottleneck")
                if shape.isBasic { hidden_sizes = [64, 128, 256, 512] }
                labels = try c.decodeIfPresent(Int.self, forKey: .num_classes) ?? labels
            }
            guard try c.decodeIfPresent(Bool.self, forKey: .downsample_in_first_stage) != true else {
                throw DecodingError.dataCorruptedError(
                    forKey: .downsample_in_first_stage, in: c, debugDescription: "a stride in the first stage is not supported")
            }
            downsample_in_bottleneck = try c.decodeIfPresent(Bool.self, forKey: .downsample_in_bottleneck) ?? false
            pool_padding = try c.decodeIfPresent(PoolPadding.self, forKey: .pool_padding) ?? .both
            num_channels = try c.decodeIfPresent(Int.self, forKey: .num_channels) ?? num_channels
            embedding_size = try c.decodeIfPresent(Int.self, forKey: .embedding_size) ?? embedding_size
            hidden_sizes = try c.decodeIfPresent([Int].self, forKey: .hidden_sizes) ?? hidden_sizes
            depths = try c.decodeIfPresent([Int].self, forKey: .depths) ?? depths
            layer_type = try c.decodeIfPresent(String.self, forKey: .layer_type) ?? layer_type
            labels =
                try c.decodeIfPresent([String: String].self, forKey: .id2label)?.count
                ?? c.decodeIfPresent(Int.self, forKey: .num_labels) ?? labels
        }

        private static let shapes: [String: (depths: [Int], isBasic: Bool)] = [
            "resnet18": ([2, 2, 2, 2], true), "resnet34": ([3, 4, 6, 3], true), "resnet50": ([3, 4, 6, 3], false),
            "resnet101": ([3, 4, 23, 3], false), "resnet152": ([3, 8, 36, 3], false),
        ]

        /// - Throws: `model.configuration`.
        func validate() throws(AMAFError) {
            guard hidden_sizes.count == depths.count, !depths.isEmpty, ["basic", "bottleneck"].contains(layer_type) else {
                throw AMAFError(
                    "model.configuration", "Stages \(hidden_sizes) with depths \(depths) of \(layer_type) blocks",
                    remedy: "Correct hidden_sizes, depths and layer_type in config.json.")
            }
            try ModelFolder.requireSizes([("num_channels", num_channels), ("embedding_size", embedding_size)])
            try ModelFolder.requireSizes(hidden_sizes.map { ("hidden_sizes", $0) } + depths.map { ("depths", $0) })
            guard layer_type == "basic" || hidden_sizes.allSatisfy({ $0 % reduction == 0 }) else {
                throw AMAFError(
                    "model.configuration", "Bottlenecks of widths \(hidden_sizes), which \(reduction) does not divide",
                    remedy: "Correct hidden_sizes in config.json.")
            }
        }
    }

    /// Which names a checkpoint uses.
    package enum Naming: Sendable, Hashable {
        /// `resnet.embedder…`, `resnet.encoder.stages…`, `classifier.1`
        case huggingFace
        /// `conv1`, `bn1`, `layer1.0.conv1` …, `downsample.0`, `fc`: torchvision and timm.
        case torchvision
    }

    /// A convolution and the norm after it.
    private final class Unit: Sendable {
        let convolution: Convolution2D
        let norm: BatchNorm2D
        /// The folded convolution for inference; refreshed by `fold`.
        let folded: Convolution2D

        init(
            _ store: ParameterStore, _ convolutionName: String, _ normName: String, channels: Int, filters: Int, window: Int, stride: Int
        ) throws(AMAFError) {
            convolution = try Convolution2D(
                store, convolutionName, channels: channels, filters: filters, window: window, stride: stride, padding: window / 2,
                bias: false)
            norm = try BatchNorm2D(store, normName, columns: filters)
            let (weight, device) = (convolution.weight.value, store.device)
            folded = Convolution2D(
                weight: Parameter("folded", device.empty(weight.shape), isTrainable: false),
                bias: Parameter("folded", device.empty([filters]), isTrainable: false), stride: stride, padding: window / 2)
            fold()
        }

        func fold() {
            let (scale, offset) = norm.folded()
            var weights = convolution.weight.value.values()
            let patch = weights.count / scale.count
            for filter in scale.indices { for i in filter * patch..<(filter + 1) * patch { weights[i] *= scale[filter] } }
            folded.weight.value.assign(weights)
            folded.bias?.value.assign(offset)
        }

        func callAsFunction(_ x: Tensor, activation: UnaryFunction, residual: Tensor? = nil) -> Tensor {
            folded(x, activation: activation, residual: residual)
        }

        func train(_ x: Tensor, relu: Bool, tape: Tape?) -> Tensor {
            let y = norm.train(convolution(x, tape: tape), tape: tape)
            return relu ? Operations.unary(.relu, y, tape: tape) : y
        }
    }

    private struct Block: Sendable {
        let units: [Unit]
        let shortcut: Unit?

        func callAsFunction(_ x: Tensor) -> Tensor {
            let residual = shortcut.map { $0(x, activation: .identity) } ?? x
            var y = x
            for unit in units.dropLast() { y = unit(y, activation: .relu) }
            return units[units.count - 1](y, activation: .relu, residual: residual)
        }

        func train(_ x: Tensor, tape: Tape?) -> Tensor {
            let residual = shortcut.map { $0.train(x, relu: false, tape: tape) } ?? x
            var y = x
            for (i, unit) in units.enumerated() { y = unit.train(y, relu: i < units.count - 1, tape: tape) }
            return Operations.unary(.relu, Operations.combine(y, 1, residual, 1, tape: tape), tape: tape)
        }
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let stem: Unit
    private let pool: MaxPool2D
    private let blocks: [Block]
    private let classifier: Linear?

    /// - Parameter prefix: `resnet.` in front of Hugging Face's names, or empty for a bare backbone.
    package init(
        _ configuration: Configuration, naming: Naming = .huggingFace, prefix: String = "resnet.", _ store: ParameterStore
    ) throws(AMAFError) {
        let c = configuration
        try c.validate()
        self.configuration = c
        pool = MaxPool2D(size: 3, stride: 2, padding: c.pool_padding == .both ? 1 : 0)
        switch naming {
        case .huggingFace:
            stem = try Unit(
                store, "\(prefix)embedder.embedder.convolution", "\(prefix)embedder.embedder.normalization", channels: c.num_channels,
                filters: c.embedding_size, window: 7, stride: 2)
        case .torchvision:
            stem = try Unit(store, "conv1", "bn1", channels: c.num_channels, filters: c.embedding_size, window: 7, stride: 2)
        }
        var blocks: [Block] = []
        var channels = c.embedding_size
        for (stage, (width, depth)) in zip(c.hidden_sizes, c.depths).enumerated() {
            for index in 0..<depth {
                let step = index == 0 && stage > 0 ? 2 : 1
                let inner = c.layer_type == "bottleneck" ? width / c.reduction : width
                let shape: [(inputs: Int, outputs: Int, window: Int, stride: Int)] =
                    c.layer_type == "bottleneck"
                    ? [
                        (channels, inner, 1, c.downsample_in_bottleneck ? step : 1),
                        (inner, inner, 3, c.downsample_in_bottleneck ? 1 : step), (inner, width, 1, 1),
                    ]
                    : [(channels, width, 3, step), (width, width, 3, 1)]
                let block = naming == .huggingFace ? "\(prefix)encoder.stages.\(stage).layers.\(index)" : "layer\(stage + 1).\(index)"
                var units: [Unit] = []
                for (i, part) in shape.enumerated() {
                    let names =
                        naming == .huggingFace
                        ? ("\(block).layer.\(i).convolution", "\(block).layer.\(i).normalization")
                        : ("\(block).conv\(i + 1)", "\(block).bn\(i + 1)")
                    units.append(
                        try Unit(
                            store, names.0, names.1, channels: part.inputs, filters: part.outputs, window: part.window, stride: part.stride)
                    )
                }
                var shortcut: Unit?
                if channels != width || step != 1 {
                    let names =
                        naming == .huggingFace
                        ? ("\(block).shortcut.convolution", "\(block).shortcut.normalization")
                        : ("\(block).downsample.0", "\(block).downsample.1")
                    shortcut = try Unit(store, names.0, names.1, channels: channels, filters: width, window: 1, stride: step)
                }
                blocks.append(Block(units: units, shortcut: shortcut))
                channels = width
            }
        }
        self.blocks = blocks
        let head = naming == .huggingFace ? "classifier.1" : "fc"
        classifier = c.labels > 0 && store.has("\(head).weight") ? try Linear(store, head, inputs: channels, outputs: c.labels) : nil
        parameters = store.parameters
    }

    /// Reads a folder in Hugging Face's layout, or torchvision's names beside a config.json.
    package static func load(_ folder: ModelFolder, on device: any ComputeDevice) throws(AMAFError) -> ResNet {
        let configuration = try folder.configuration(Configuration.self)
        let weights = try folder.weights()
        let naming: Naming = weights.contains("conv1.weight") ? .torchvision : .huggingFace
        let prefix = weights.contains("resnet.embedder.embedder.convolution.weight") ? "resnet." : ""
        return try ResNet(configuration, naming: naming, prefix: prefix, ParameterStore(.checkpoint(weights, prefix: ""), on: device))
    }

    /// The width of `features`.
    package var featureCount: Int { configuration.hidden_sizes[configuration.hidden_sizes.count - 1] }

    /// Folds the batch norms again, after training or new weights.
    package func fold() {
        stem.fold()
        for block in blocks {
            for unit in block.units { unit.fold() }
            block.shortcut?.fold()
        }
    }

    /// Images (N, H, W, channels) → the mean over places of the last stage (N, featureCount).
    ///
    /// - Parameter trace: called with the input of the first block (0) and the output of every block.
    package func features(_ images: Tensor, trace: ((Int, Tensor) -> Void)? = nil) -> Tensor {
        var x = pooled(stem(images, activation: .relu))
        trace?(0, x)
        for (i, block) in blocks.enumerated() {
            x = block(x)
            trace?(i + 1, x)
        }
        return Operations.pool(x.reshaped([x.dimension(0), x.dimension(1) * x.dimension(2), x.dimension(3)]))
    }

    /// Logits, or features when the checkpoint has no classifier.
    package func callAsFunction(_ images: Tensor) -> Tensor {
        let x = features(images)
        return classifier.map { $0(x) } ?? x
    }

    /// The forward pass of training: batch statistics, everything on the tape. Call `fold` when training is over.
    package func train(_ images: Tensor, tape: Tape?) -> Tensor {
        let features = trainFeatures(images, tape: tape)
        return classifier.map { $0(features, tape: tape) } ?? features
    }

    /// `train` without the classifier: (N, featureCount).
    package func trainFeatures(_ images: Tensor, tape: Tape?) -> Tensor {
        var x = pooled(stem.train(images, relu: true, tape: tape), tape: tape)
        for block in blocks { x = block.train(x, tape: tape) }
        let flat = Operations.reshape(x, [x.dimension(0), x.dimension(1) * x.dimension(2), x.dimension(3)], tape: tape)
        return Operations.pool(flat, tape: tape)
    }

    /// The max pool. After a ReLU a border of zeros never wins over what is under the window, so zeros serve as padding.
    private func pooled(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        pool(configuration.pool_padding == .end ? Operations.padEnd(x, tape: tape) : x, tape: tape)
    }
}
