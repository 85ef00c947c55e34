import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

/// Writes protobuf messages for tests: an independent, forgetful twin of the reader.
struct ProtobufBytes {
    var bytes: [UInt8] = []

    mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 128 {
            bytes.append(UInt8(rest & 127) | 128)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
    mutating func number(_ field: Int, _ value: Int) {
        varint(UInt64(field << 3))
        varint(UInt64(bitPattern: Int64(value)))
    }
    mutating func float(_ field: Int, _ value: Float) {
        varint(UInt64(field << 3 | 5))
        withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes += $0 }
    }
    mutating func message(_ field: Int, _ content: [UInt8]) {
        varint(UInt64(field << 3 | 2))
        varint(UInt64(content.count))
        bytes += content
    }
    mutating func text(_ field: Int, _ text: String) { message(field, Array(text.utf8)) }
}

/// Builds ONNX graphs of residual networks for tests.
struct ONNXBuilder {
    private var graph = ProtobufBytes()
    private var count = 0
    /// Attributes of the next node.
    enum Value {
        case int(Int)
        case ints([Int])
        case float(Float)
    }

    mutating func initializer(_ name: String, _ shape: [Int], _ values: [Float], packed: Bool = false) {
        var tensor = ProtobufBytes()
        for size in shape { tensor.number(1, size) }
        tensor.number(2, 1)
        tensor.text(8, name)
        let raw = values.withUnsafeBytes { Array($0) }
        tensor.message(packed ? 4 : 9, raw)
        graph.message(5, tensor.bytes)
    }

    mutating func node(_ operation: String, _ inputs: [String], _ attributes: [(String, Value)] = []) -> String {
        count += 1
        let output = "value.\(count)"
        var node = ProtobufBytes()
        for input in inputs { node.text(1, input) }
        node.text(2, output)
        node.text(3, "node.\(count)")
        node.text(4, operation)
        for (name, value) in attributes {
            var attribute = ProtobufBytes()
            attribute.text(1, name)
            switch value {
            case .int(let value): attribute.number(3, value)
            case .ints(let list): for value in list { attribute.number(8, value) }
            case .float(let value): attribute.float(2, value)
            }
            node.message(5, attribute.bytes)
        }
        graph.message(1, node.bytes)
        return output
    }

    mutating func finish(input: String, output: String) -> [UInt8] {
        for (field, name) in [(11, input), (12, output)] {
            var value = ProtobufBytes()
            value.text(1, name)
            graph.message(field, value.bytes)
        }
        var model = ProtobufBytes()
        model.number(1, 4)
        model.message(7, graph.bytes)
        return model.bytes
    }

    /// The golden ResNet (8; 16, 32; two blocks each) as a graph.
    ///
    /// - Parameter folds: norms into convolutions, as exporters do.
    static func resNet(_ weights: Golden.Weights, bottleneck: Bool, folds: Bool, poolPads: [Int] = [1, 1, 1, 1]) throws -> [UInt8] {
        var builder = ONNXBuilder()
        func unit(_ input: String, _ convolution: String, _ norm: String, _ shape: [Int], stride: Int) throws -> String {
            let filters = shape[0]
            var kernel = try weights.floats("\(convolution).weight", shape: shape)
            let statistics = try ["weight", "bias", "running_mean", "running_var"].map {
                try weights.floats("\(norm).\($0)", shape: [filters])
            }
            let attributes: [(String, Value)] = [
                ("strides", .ints([stride, stride])), ("pads", .ints([Int](repeating: shape[2] / 2, count: 4))),
                ("kernel_shape", .ints([shape[2], shape[2]])),
            ]
            if folds {
                let scale = zip(statistics[0], statistics[3]).map { $0 / ($1 + 1e-5).squareRoot() }
                for i in kernel.indices { kernel[i] *= scale[i / (kernel.count / filters)] }
                builder.initializer("\(convolution).w", shape, kernel)
                builder.initializer(
                    "\(convolution).b", [filters], (0..<filters).map { statistics[1][$0] - statistics[2][$0] * scale[$0] }, packed: true)
                return builder.node("Conv", [input, "\(convolution).w", "\(convolution).b"], attributes)
            }
            builder.initializer("\(convolution).w", shape, kernel)
            let made = builder.node("Conv", [input, "\(convolution).w"], attributes)
            for (name, values) in zip(["g", "b", "m", "v"], statistics) { builder.initializer("\(norm).\(name)", [filters], values) }
            return builder.node("BatchNormalization", [made] + ["g", "b", "m", "v"].map { "\(norm).\($0)" }, [("epsilon", .float(1e-5))])
        }
        let prefix = "resnet.embedder.embedder"
        var x = try unit("image", "\(prefix).convolution", "\(prefix).normalization", [8, 3, 7, 7], stride: 2)
        x = builder.node("Relu", [x])
        x = builder.node("MaxPool", [x], [("kernel_shape", .ints([3, 3])), ("strides", .ints([2, 2])), ("pads", .ints(poolPads))])
        var channels = 8
        for (stage, width) in [16, 32].enumerated() {
            for index in 0..<2 {
                let name = "resnet.encoder.stages.\(stage).layers.\(index)"
                let stride = stage > 0 && index == 0 ? 2 : 1
                let shapes: [([Int], Int)] =
                    bottleneck
                    ? [([width / 4, channels, 1, 1], 1), ([width / 4, width / 4, 3, 3], stride), ([width, width / 4, 1, 1], 1)]
                    : [([width, channels, 3, 3], stride), ([width, width, 3, 3], 1)]
                var shortcut = x
                if channels != width || stride != 1 {
                    shortcut = try unit(
                        x, "\(name).shortcut.convolution", "\(name).shortcut.normalization", [width, channels, 1, 1], stride: stride)
                }
                var y = x
                for (i, (shape, stride)) in shapes.enumerated() {
                    y = try unit(y, "\(name).layer.\(i).convolution", "\(name).layer.\(i).normalization", shape, stride: stride)
                    if i < shapes.count - 1 { y = builder.node("Relu", [y]) }
                }
                x = builder.node("Relu", [builder.node("Add", [y, shortcut])])
                channels = width
            }
        }
        x = builder.node("Flatten", [builder.node("GlobalAveragePool", [x])], [("axis", .int(1))])
        builder.initializer("fc.w", [5, 32], try weights.floats("classifier.1.weight", shape: [5, 32]))
        builder.initializer("fc.b", [5], try weights.floats("classifier.1.bias", shape: [5]))
        x = builder.node("Gemm", [x, "fc.w", "fc.b"], [("transB", .int(1))])
        return builder.finish(input: "image", output: x)
    }
}

@Suite struct ONNXTests {
    private func load(_ scratch: ScratchFolder, _ graph: [UInt8]) throws -> ResNet {
        let made = try ONNXResNet(ONNXGraph(bytes: graph, place: "test.onnx"))
        try scratch.write("config.json", made.configurationJSON(labels: []))
        try scratch.write("model.safetensors", made.safetensors())
        return try ResNet.load(scratch.folder, on: CPUDevice(lanes: 1))
    }

    /// A graph made of the golden network's weights gives the golden network's logits.
    @Test(arguments: [true, false], [true, false]) func graphsBecomeTheReferencesNetwork(_ bottleneck: Bool, _ folds: Bool) throws {
        let golden = try Golden.load("resnet-\(bottleneck ? "bottleneck" : "basic")")
        let scratch = try ScratchFolder()
        let network = try load(scratch, ONNXBuilder.resNet(Golden.Weights(golden), bottleneck: bottleneck, folds: folds))
        #expect(network.configuration.hidden_sizes == [16, 32] && network.configuration.depths == [2, 2])
        #expect(network.configuration.labels == 5 && network.configuration.pool_padding == .both)
        let device = CPUDevice(lanes: 1)
        try Golden.expect(network(device.tensor(Golden.images(2, 32), [2, 32, 32, 3])).values(), like: golden, "logits")
        let report = try ModelReport.verify(scratch.folder, on: device)
        #expect(report.unused.isEmpty && report.tensors == network.parameters.count)
    }

    /// A pool padded at its end only: the same as padding the image of the stem by hand.
    @Test func poolsPaddedAtTheEnd() throws {
        let golden = try Golden.load("resnet-basic")
        let scratch = try ScratchFolder()
        let network = try load(
            scratch, ONNXBuilder.resNet(Golden.Weights(golden), bottleneck: false, folds: true, poolPads: [0, 0, 1, 1]))
        #expect(network.configuration.pool_padding == .end)
        for device in [CPUDevice(lanes: 2), RemoteMemoryDevice()] as [any ComputeDevice] {
            let x = device.tensor((1...9).map(Float.init), [1, 3, 3, 1])
            let tape = Tape()
            tape.watch(x)
            let padded = Operations.padEnd(x, tape: tape)
            #expect(padded.values() == [1, 2, 3, 0, 4, 5, 6, 0, 7, 8, 9, 0, 0, 0, 0, 0])
            tape.add(device.tensor((0..<16).map(Float.init), [1, 4, 4, 1]), to: padded)
            tape.backward()
            #expect(tape.gradient(of: x)?.values() == [0, 1, 2, 4, 5, 6, 8, 9, 10])
        }
    }

    @Test func whatIsNoResidualNetworkIsRefused() throws {
        func code(_ build: (inout ONNXBuilder) -> String) -> String {
            var builder = ONNXBuilder()
            let output = build(&builder)
            do {
                _ = try ONNXResNet(ONNXGraph(bytes: builder.finish(input: "image", output: output), place: "test.onnx"))
                return "accepted"
            } catch {
                return error.place == "test.onnx" ? error.code : "no place"
            }
        }
        #expect(code { $0.node("Relu", ["image"]) } == "onnx.unsupported")
        #expect(code { $0.node("Conv", ["image"]) } == "onnx.unsupported")
        #expect(code { $0.node("Conv", ["image", "nowhere"]) } == "onnx.unsupported")
        #expect(
            code { builder in
                builder.initializer("w", [8, 3, 3, 3], [Float](repeating: 0, count: 216))
                return builder.node("Conv", ["image", "w"], [("strides", .ints([2, 2]))])
            } == "onnx.unsupported")
        #expect(
            code { builder in
                builder.initializer("w", [8, 3, 7, 7], [1, 2])
                return builder.node("Conv", ["image", "w"])
            } == "onnx.damaged")
        #expect(
            code { builder in
                builder.initializer("w", [-1, 2], [])
                return builder.node("Conv", ["image", "w"])
            } == "onnx.damaged")
        #expect(
            code { builder in
                builder.initializer("w", [1 << 40, 1 << 40], [])
                return builder.node("Conv", ["image", "w"])
            } == "onnx.damaged")
        // A pool of windows that are not ours.
        let golden = try Golden.load("resnet-basic")
        let odd = try ONNXBuilder.resNet(Golden.Weights(golden), bottleneck: false, folds: true, poolPads: [0, 0, 0, 0])
        #expect(throws: AMAFError.self) { try ONNXResNet(ONNXGraph(bytes: odd, place: "test.onnx")) }
    }

    /// Cut off anywhere, a file is refused or gives no network; nothing is read beyond its end.
    @Test func cutOffFilesAreRefused() throws {
        let golden = try Golden.load("resnet-basic")
        let whole = try ONNXBuilder.resNet(Golden.Weights(golden), bottleneck: false, folds: true)
        for count in stride(from: 0, to: whole.count, by: 997) {
            #expect(throws: AMAFError.self, "\(count) bytes") {
                try ONNXResNet(ONNXGraph(bytes: Array(whole.prefix(count)), place: "test.onnx"))
            }
        }
        #expect(throws: AMAFError.self) { try ONNXGraph(path: "/nowhere.onnx") }
    }
}
