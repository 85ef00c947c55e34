import Foundation
package import NeuralNetworks
package import Primitives

/// The part of an ONNX file (Open Neural Network Exchange, IR version 3 and later) that a checkpoint needs: nodes in order,
/// initializers as Float32, names of inputs and outputs.
package struct ONNXGraph: Sendable {
    package enum Attribute: Sendable, Hashable {
        case integer(Int)
        case integers([Int])
        case number(Float)
        case text(String)
        /// A tensor, a graph or a list of them: kept as what it is, unread.
        case other
    }

    package struct Node: Sendable, Hashable {
        package var operation = ""
        package var name = ""
        package var inputs: [String] = []
        package var outputs: [String] = []
        package var attributes: [String: Attribute] = [:]

        package func integer(_ name: String, default value: Int) -> Int {
            if case .integer(let found)? = attributes[name] { found } else { value }
        }
        package func integers(_ name: String) -> [Int]? {
            if case .integers(let found)? = attributes[name] { found } else { nil }
        }
        package func number(_ name: String, default value: Float) -> Float {
            if case .number(let found)? = attributes[name] { found } else { value }
        }
        /// How messages call it.
        var title: String { name.isEmpty ? operation : "\(operation) '\(name)'" }
    }

    package let place: String
    package private(set) var nodes: [Node] = []
    package private(set) var initializers: [String: NamedTensor] = [:]
    /// Inputs that no initializer fills.
    package private(set) var inputs: [String] = []
    package private(set) var outputs: [String] = []

    /// - Throws: `onnx.unreadable`, `onnx.damaged`, `onnx.unsupported`.
    package init(path: String) throws(AMAFError) {
        guard let data = try? Data(contentsOf: URL(fileURLWithPath: path)) else {
            throw AMAFError("onnx.unreadable", "The ONNX file cannot be read", place: path, remedy: "Check the path.")
        }
        try self.init(bytes: [UInt8](data), place: path)
    }

    package init(bytes: [UInt8], place: String) throws(AMAFError) {
        self.place = place
        var model = ProtobufFields(bytes: bytes)
        var graph: [UInt8]?
        while let field = model.next() {
            if case (7, .bytes(let message)) = (field.number, field.value) { graph = message }
        }
        guard let graph, !model.isDamaged else { throw damaged("The file is no ONNX model, or is cut off") }
        var fields = ProtobufFields(bytes: graph)
        while let field = fields.next() {
            guard case .bytes(let message) = field.value else { continue }
            switch field.number {
            case 1: nodes.append(try node(message))
            case 5:
                let tensor = try tensor(message)
                guard initializers.updateValue(tensor, forKey: tensor.name) == nil else {
                    throw damaged("The graph holds the initializer '\(tensor.name)' twice")
                }
            case 11: inputs.append(try valueName(message))
            case 12: outputs.append(try valueName(message))
            default: continue
            }
        }
        guard !fields.isDamaged, !nodes.isEmpty else { throw damaged("The graph is cut off or empty after \(nodes.count) nodes") }
        // Before IR version 4 initializers had to be listed as inputs, too.
        inputs.removeAll { initializers[$0] != nil }
    }

    private func damaged(_ sentence: String) -> AMAFError {
        AMAFError("onnx.damaged", sentence, place: place, remedy: "Fetch the file again.")
    }

    private func node(_ bytes: [UInt8]) throws(AMAFError) -> Node {
        var node = Node()
        var fields = ProtobufFields(bytes: bytes)
        while let field = fields.next() {
            guard case .bytes(let message) = field.value else { continue }
            switch field.number {
            case 1: node.inputs.append(String(decoding: message, as: UTF8.self))
            case 2: node.outputs.append(String(decoding: message, as: UTF8.self))
            case 3: node.name = String(decoding: message, as: UTF8.self)
            case 4: node.operation = String(decoding: message, as: UTF8.self)
            case 5:
                let (name, value) = try attribute(message)
                node.attributes[name] = value
            default: continue
            }
        }
        guard !fields.isDamaged else { throw damaged("The node \(node.title) is damaged") }
        return node
    }

    private func attribute(_ bytes: [UInt8]) throws(AMAFError) -> (String, Attribute) {
        var (name, value, list) = ("", Attribute.other, [Int]())
        var fields = ProtobufFields(bytes: bytes)
        while let field = fields.next() {
            switch (field.number, field.value) {
            case (1, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
            case (2, .fixed32(let bits)): value = .number(Float(bitPattern: bits))
            case (3, .number(let number)): value = .integer(Int(truncatingIfNeeded: number))
            case (4, .bytes(let text)): value = .text(String(decoding: text, as: UTF8.self))
            case (8, let part): list += try integers(part)
            default: continue
            }
        }
        guard !fields.isDamaged else { throw damaged("The attribute '\(name)' is damaged") }
        return (name, list.isEmpty ? value : .integers(list))
    }

    /// A repeated integer, packed or one by one.
    private func integers(_ value: ProtobufFields.Value) throws(AMAFError) -> [Int] {
        switch value {
        case .number(let number): return [Int(truncatingIfNeeded: number)]
        case .bytes(let packed):
            guard let list = ProtobufFields.packedNumbers(packed) else { throw damaged("A list of numbers is damaged") }
            return list.map { Int(truncatingIfNeeded: $0) }
        case .fixed32, .fixed64: throw damaged("A list of numbers is damaged")
        }
    }

    private func valueName(_ bytes: [UInt8]) throws(AMAFError) -> String {
        var (fields, name) = (ProtobufFields(bytes: bytes), "")
        while let field = fields.next() {
            if case (1, .bytes(let text)) = (field.number, field.value) { name = String(decoding: text, as: UTF8.self) }
        }
        guard !fields.isDamaged else { throw damaged("The value '\(name)' is damaged") }
        return name
    }

    /// Element types of TensorProto.
    private static let (float32, int32, int64) = (1, 6, 7)

    private func tensor(_ bytes: [UInt8]) throws(AMAFError) -> NamedTensor {
        var (name, shape, type, isExternal) = ("", [Int](), 0, false)
        var raw: [UInt8]?
        var values: [Float] = []
        var fields = ProtobufFields(bytes: bytes)
        while let field = fields.next() {
            switch (field.number, field.value) {
            case (1, let part): shape += try integers(part)
            case (2, .number(let number)): type = Int(truncatingIfNeeded: number)
            case (4, .bytes(let packed)):
                guard packed.count % 4 == 0 else { throw damaged("The numbers of '\(name)' are cut off") }
                values += Self.floats(packed)
            case (4, .fixed32(let bits)): values.append(Float(bitPattern: bits))
            case (5, let part), (7, let part): values += try integers(part).map(Float.init)
            case (8, .bytes(let text)): name = String(decoding: text, as: UTF8.self)
            case (9, .bytes(let data)): raw = data
            case (14, .number(let location)): isExternal = location == 1
            default: continue
            }
        }
        guard !fields.isDamaged else { throw damaged("The initializer '\(name)' is damaged") }
        guard !isExternal else {
            throw AMAFError(
                "onnx.unsupported", "The initializer '\(name)' lies in a file of its own", place: place,
                remedy: "Save the model as one file ('save_as_external_data=False').")
        }
        guard [Self.float32, Self.int32, Self.int64].contains(type) else {
            throw AMAFError(
                "onnx.unsupported", "The initializer '\(name)' has the element type \(type); known are float (1), int32 (6) and int64 (7)",
                place: place, remedy: "Export the model as float32.")
        }
        if let raw {
            let size = type == Self.int64 ? 8 : 4
            guard raw.count % size == 0 else { throw damaged("The numbers of '\(name)' are cut off") }
            values =
                switch type {
                case Self.float32: Self.floats(raw)
                case Self.int32:
                    raw.withUnsafeBytes { raw in
                        (0..<raw.count / 4).map { Float(raw.loadUnaligned(fromByteOffset: 4 * $0, as: Int32.self)) }
                    }
                default:
                    raw.withUnsafeBytes { raw in
                        (0..<raw.count / 8).map { Float(raw.loadUnaligned(fromByteOffset: 8 * $0, as: Int64.self)) }
                    }
                }
        }
        var count = 1
        for size in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard size >= 0, !overflow else { throw damaged("The initializer '\(name)' claims the shape \(shape)") }
            count = product
        }
        guard count == values.count else {
            throw damaged("The initializer '\(name)' of shape \(shape) needs \(count) numbers and has \(values.count)")
        }
        return NamedTensor(name, shape, values)
    }

    private static func floats(_ bytes: [UInt8]) -> [Float] {
        bytes.withUnsafeBytes { raw in
            [Float](unsafeUninitializedCapacity: raw.count / 4) { target, written in
                UnsafeMutableRawBufferPointer(target).copyMemory(from: UnsafeRawBufferPointer(rebasing: raw[..<(raw.count / 4 * 4)]))
                written = raw.count / 4
            }
        }
    }
}
