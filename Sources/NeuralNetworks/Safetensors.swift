package import Foundation
internal import Kernels
package import Primitives

/// Numbers with a name and a shape, on the host.
package struct NamedTensor: Sendable {
    package var name: String
    package var shape: [Int]
    package var values: [Float]

    package init(_ name: String, _ shape: [Int], _ values: [Float]) {
        precondition(shape.reduce(1, *) == values.count, "'\(name)': \(values.count) values for shape \(shape)")
        self.name = name
        self.shape = shape
        self.values = values
    }
}

/// A file in the safetensors format: 8 bytes of header length, a JSON header, the numbers.
///
/// The header is checked before anything is believed: every tensor's extent must fit its type and shape, and together they
/// must tile the data without holes or overlaps. The file is mapped, not read.
package struct Safetensors: TensorSource {
    package enum ElementType: String, Sendable {
        case f64 = "F64"
        case f32 = "F32"
        case f16 = "F16"
        case bf16 = "BF16"
        case i64 = "I64"
        case i32 = "I32"
        case i16 = "I16"
        case i8 = "I8"
        case u8 = "U8"
        case bool = "BOOL"

        var byteCount: Int {
            switch self {
            case .f64, .i64: 8
            case .f32, .i32: 4
            case .f16, .bf16, .i16: 2
            case .i8, .u8, .bool: 1
            }
        }
    }

    package struct Entry: Sendable {
        package var type: ElementType
        package var shape: [Int]
        var range: Range<Int>
    }

    package let place: String
    package let metadata: [String: String]
    private let entries: [String: Entry]
    private let data: Data
    private let start: Int

    /// Longer headers are refused; the largest public checkpoints stay below a tenth of it.
    static let headerLimit = 64 << 20

    /// - Throws: `safetensors.unreadable`, `safetensors.header`.
    package init(path: String) throws(AMAFError) {
        let data: Data
        do {
            data = try Data(contentsOf: URL(fileURLWithPath: path), options: .alwaysMapped)
        } catch {
            throw AMAFError(
                "safetensors.unreadable", "The checkpoint cannot be read: \(error.localizedDescription)", place: path,
                remedy: "Check the path and its permissions.")
        }
        try self.init(data: data, place: path)
    }

    package init(data: Data, place: String) throws(AMAFError) {
        func refuse(_ sentence: String) -> AMAFError {
            AMAFError(
                "safetensors.header", sentence, place: place, remedy: "The file is damaged or not a safetensors file; fetch it again.")
        }
        guard data.count >= 8 else { throw refuse("The file has \(data.count) bytes, fewer than the header's length field") }
        let length = data.prefix(8).enumerated().reduce(UInt64(0)) { $0 | UInt64($1.element) << (8 * UInt64($1.offset)) }
        guard length >= 2, length <= UInt64(Self.headerLimit), length <= UInt64(data.count - 8) else {
            throw refuse("The header claims \(length) bytes; the file has \(data.count) and at most \(Self.headerLimit) are accepted")
        }
        let start = 8 + Int(length)
        let header = data.subdata(in: data.startIndex + 8..<data.startIndex + start)
        guard let parsed = try? JSONSerialization.jsonObject(with: header), let object = parsed as? [String: Any] else {
            throw refuse("The header is not a JSON object")
        }
        var entries: [String: Entry] = [:]
        var metadata: [String: String] = [:]
        for (name, value) in object {
            if name == "__metadata__" {
                guard let texts = value as? [String: String] else { throw refuse("The header's metadata is not a map of texts") }
                metadata = texts
                continue
            }
            entries[name] = try Self.entry(name, value, dataBytes: data.count - start, refuse)
        }
        // Sorted by place, each extent must begin where the last one ended.
        var end = 0
        for (name, entry) in entries.sorted(by: {
            ($0.value.range.lowerBound, $0.value.range.upperBound, $0.key) < ($1.value.range.lowerBound, $1.value.range.upperBound, $1.key)
        }) {
            guard entry.range.lowerBound == end else {
                throw refuse("Tensor '\(name)' begins at byte \(entry.range.lowerBound) where \(end) was expected")
            }
            end = entry.range.upperBound
        }
        guard end == data.count - start else { throw refuse("The tensors end at byte \(end) of \(data.count - start)") }
        self.place = place
        self.metadata = metadata
        self.entries = entries
        self.data = data
        self.start = data.startIndex + start
    }

    private static func entry(_ name: String, _ value: Any, dataBytes: Int, _ refuse: (String) -> AMAFError) throws(AMAFError) -> Entry {
        guard let fields = value as? [String: Any], let typeName = fields["dtype"] as? String else {
            throw refuse("Tensor '\(name)' has no type")
        }
        guard let type = ElementType(rawValue: typeName) else { throw refuse("Tensor '\(name)' has the unknown type '\(typeName)'") }
        guard let shape = fields["shape"] as? [Int], shape.allSatisfy({ $0 >= 0 }), shape.count <= 16 else {
            throw refuse("Tensor '\(name)' has no valid shape")
        }
        guard let offsets = fields["data_offsets"] as? [Int], offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1],
            offsets[1] <= dataBytes
        else { throw refuse("Tensor '\(name)' lies outside the \(dataBytes) bytes of data") }
        var bytes = type.byteCount
        for dimension in shape {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: dimension)
            guard !overflow else { throw refuse("Tensor '\(name)' of shape \(shape) is too large") }
            bytes = product
        }
        guard bytes == offsets[1] - offsets[0] else {
            throw refuse("Tensor '\(name)' of shape \(shape) needs \(bytes) bytes and has \(offsets[1] - offsets[0])")
        }
        return Entry(type: type, shape: shape, range: offsets[0]..<offsets[1])
    }

    package var names: [String] { entries.keys.sorted() }
    package func entry(_ name: String) -> Entry? { entries[name] }
    package func contains(_ name: String) -> Bool { entries[name] != nil }

    package func floats(_ name: String, shape: [Int]) throws(AMAFError) -> [Float] {
        guard let entry = entries[name] else {
            throw AMAFError(
                "model.missing-tensor", "Tensor '\(name)' is missing among \(entries.count)", place: place,
                remedy: "The checkpoint is of another architecture, or was saved with other names.")
        }
        guard entry.shape == shape else {
            throw AMAFError(
                "model.wrong-shape", "Tensor '\(name)' has shape \(entry.shape) where \(shape) is needed", place: place,
                remedy: "config.json and the checkpoint do not belong together.")
        }
        return floats(entry)
    }

    /// The numbers of a tensor of any shape, as Float32.
    package func floats(_ name: String) throws(AMAFError) -> [Float] { try floats(name, shape: entries[name]?.shape ?? []) }

    private func floats(_ entry: Entry) -> [Float] {
        let count = entry.shape.reduce(1, *)
        return data.withUnsafeBytes { bytes in
            let raw = UnsafeRawBufferPointer(
                rebasing: bytes[(start - data.startIndex) + entry.range.lowerBound..<(start - data.startIndex) + entry.range.upperBound])
            func convert<T>(_ type: T.Type, _ body: (T) -> Float) -> [Float] {
                (0..<count).map { body(raw.loadUnaligned(fromByteOffset: $0 * MemoryLayout<T>.size, as: T.self)) }
            }
            switch entry.type {
            case .f32:
                return [Float](unsafeUninitializedCapacity: count) { target, written in
                    UnsafeMutableRawBufferPointer(target).copyMemory(from: raw)
                    written = count
                }
            case .f64: return convert(Double.self) { Float($0) }
            case .f16: return convert(UInt16.self) { Float(Float16(bitPattern: $0)) }
            case .bf16: return convert(UInt16.self) { Float(bitPattern: UInt32($0) << 16) }
            case .i64: return convert(Int64.self) { Float($0) }
            case .i32: return convert(Int32.self) { Float($0) }
            case .i16: return convert(Int16.self) { Float($0) }
            case .i8: return convert(Int8.self) { Float($0) }
            case .u8, .bool: return convert(UInt8.self) { Float($0) }
            }
        }
    }

    /// The bytes of a safetensors file: tensors by name, so equal contents give equal bytes.
    package static func encode(_ tensors: [NamedTensor], metadata: [String: String] = [:]) -> Data {
        func quoted(_ text: String) -> String {
            var out = "\""
            for scalar in text.unicodeScalars {
                switch scalar {
                case "\"": out += "\\\""
                case "\\": out += "\\\\"
                case _ where scalar.value < 0x20:
                    let hex = String(scalar.value, radix: 16)
                    out += "\\u" + String(repeating: "0", count: 4 - hex.count) + hex
                default: out.unicodeScalars.append(scalar)
                }
            }
            return out + "\""
        }
        let sorted = tensors.sorted { $0.name < $1.name }
        var fields: [String] = []
        if !metadata.isEmpty {
            let pairs = metadata.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\(quoted($0.value))" }
            fields.append("\"__metadata__\":{\(pairs.joined(separator: ","))}")
        }
        var offset = 0
        for tensor in sorted {
            let end = offset + tensor.values.count * 4
            let shape = tensor.shape.map(String.init).joined(separator: ",")
            fields.append("\(quoted(tensor.name)):{\"dtype\":\"F32\",\"shape\":[\(shape)],\"data_offsets\":[\(offset),\(end)]}")
            offset = end
        }
        var header = Array("{\(fields.joined(separator: ","))}".utf8)
        while header.count % 8 != 0 { header.append(0x20) }
        var data = Data(capacity: 8 + header.count + offset)
        for shift in 0..<8 { data.append(UInt8(truncatingIfNeeded: header.count >> (8 * shift))) }
        data.append(contentsOf: header)
        for tensor in sorted { tensor.values.withUnsafeBytes { data.append(contentsOf: $0) } }
        return data
    }
}

extension Sequence<Parameter> {
    /// The values under their checkpoint names and in the checkpoint's order.
    package func namedTensors() -> [NamedTensor] {
        map { parameter in
            let (values, shape) = parameter.layout.toCheckpoint(parameter.value.values(), parameter.value.shape)
            return NamedTensor(parameter.name, shape, values)
        }
    }
}
