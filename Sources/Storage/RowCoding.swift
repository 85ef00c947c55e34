internal import Foundation
internal import Primitives
internal import Scheduling

// The compact form of what rarely needs a query of its own: one blob a row instead of tables of outputs and metrics.
// The first byte is the version of the form, so that a later form can live beside this one without a migration.
private let resultForm: UInt8 = 1
private let errorForm: UInt8 = 1
private let samplesForm: UInt8 = 1

/// Encodes one blob after another in the same memory.
struct RowBuffer {
    private var bytes: [UInt8] = []

    /// The bytes are those of this call until the next one.
    mutating func encode(_ result: BlockResult) -> [UInt8] {
        bytes.removeAll(keepingCapacity: true)
        bytes.append(resultForm)
        append(Int64(result.block))
        append(UInt16(result.outputs.count))
        for output in result.outputs {
            append(output.name)
            bytes.append(contentsOf: output.digest.bytes)
            append(Int64(output.byteCount))
        }
        append(UInt16(result.metrics.count))
        // Sorted, so that the same result is the same blob.
        for (name, value) in result.metrics.count < 2 ? Array(result.metrics) : result.metrics.sorted(by: { $0.key < $1.key }) {
            append(name)
            append(value.bitPattern)
        }
        return bytes
    }

    private mutating func append<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    private mutating func append(_ text: String) {
        append(UInt32(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }
}

func decodeResult(_ data: Data) throws(AMAFError) -> BlockResult {
    try decoding(data, form: resultForm, of: "stored result") { (reader) throws(AMAFError) in
        let block = Int(try reader.read(Int64.self))
        let outputCount = Int(try reader.read(UInt16.self))
        var outputs: [TaskOutput] = []
        outputs.reserveCapacity(outputCount)
        for _ in 0..<outputCount {
            let name = try reader.readString()
            let digest = Digest(bytes: try reader.readRaw(Digest.byteCount))
            outputs.append(TaskOutput(name: name, digest: digest, byteCount: Int(try reader.read(Int64.self))))
        }
        let metricCount = Int(try reader.read(UInt16.self))
        var metrics: [String: Double] = [:]
        metrics.reserveCapacity(metricCount)
        for _ in 0..<metricCount {
            let name = try reader.readString()
            metrics[name] = try reader.readDouble()
        }
        return BlockResult(block: block, outputs: outputs, metrics: metrics)
    }
}

func encode(_ error: AMAFError) -> [UInt8] {
    var writer = ByteWriter(reserving: 128)
    writer.write(errorForm)
    writer.write(error.code)
    writer.write(error.message)
    writer.write(error.place)
    writer.write(error.remedy)
    writer.write(UInt8(error.isTransient ? 1 : 0))
    return writer.bytes
}

func decodeError(_ data: Data) throws(AMAFError) -> AMAFError {
    try decoding(data, form: errorForm, of: "stored error") { (reader) throws(AMAFError) in
        AMAFError(
            try reader.readString(), try reader.readString(), place: try reader.readString(), remedy: try reader.readString(),
            isTransient: try reader.read(UInt8.self) != 0)
    }
}

/// Positions of samples.
func encode(samples: [Int]) -> [UInt8] {
    var writer = ByteWriter(reserving: 5 + samples.count * 8)
    writer.write(samplesForm)
    writer.write(UInt32(samples.count))
    for sample in samples { writer.write(Int64(sample)) }
    return writer.bytes
}

func decodeSamples(_ data: Data) throws(AMAFError) -> [Int] {
    try decoding(data, form: samplesForm, of: "stored list of samples") { (reader) throws(AMAFError) in
        let count = try reader.read(UInt32.self)
        var samples: [Int] = []
        for _ in 0..<count { samples.append(Int(try reader.read(Int64.self))) }
        return samples
    }
}

private func decoding<T>(_ data: Data, form: UInt8, of what: String, _ body: (inout ByteReader) throws(AMAFError) -> T) throws(AMAFError)
    -> T
{
    let result: Result<T, AMAFError> = data.withUnsafeBytes { bytes in
        do throws(AMAFError) {
            var reader = ByteReader(bytes, of: what)
            let found = try reader.read(UInt8.self)
            guard found == form else {
                throw AMAFError(
                    "store.newer", "A \(what) has form \(found), this build knows \(form)",
                    remedy: "Open the store with the newer build that wrote it.")
            }
            return .success(try body(&reader))
        } catch {
            return .failure(error)
        }
    }
    return try result.get()
}

func encodeJSON(_ value: some Encodable) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}

func decodeJSON<T: Decodable>(_ type: T.Type, _ text: String, of what: String) throws -> T {
    do {
        return try JSONDecoder().decode(type, from: Data(text.utf8))
    } catch {
        throw AMAFError("store.corrupt", "The stored \(what) cannot be read: \(error)", remedy: "Restore a backup.")
    }
}
