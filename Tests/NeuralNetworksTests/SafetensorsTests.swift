import Foundation
import Kernels
import NeuralNetworks
import Primitives
import Testing

@Suite struct SafetensorsTests {
    private func file(_ header: String, data: Int = 0) -> Data {
        var out = Data()
        for shift in 0..<8 { out.append(UInt8(truncatingIfNeeded: header.utf8.count >> (8 * shift))) }
        out.append(contentsOf: Array(header.utf8))
        out.append(Data(count: data))
        return out
    }

    private func code(_ data: Data) -> String {
        do {
            _ = try Safetensors(data: data, place: "hostile.safetensors")
            return "accepted"
        } catch {
            return error.place == "hostile.safetensors" ? error.code : "no place"
        }
    }

    @Test func writesAndReads() throws {
        let tensors = [
            NamedTensor("b \"quoted\"", [2, 2], [1, -2, 3.5, .pi]), NamedTensor("a", [3], [0, 1, 2]), NamedTensor("empty", [0], []),
        ]
        let data = Safetensors.encode(tensors, metadata: ["step": "3"])
        #expect(data == Safetensors.encode(tensors.reversed(), metadata: ["step": "3"]))
        let file = try Safetensors(data: data, place: "memory")
        #expect(file.names == ["a", "b \"quoted\"", "empty"])
        #expect(file.metadata == ["step": "3"])
        for tensor in tensors { #expect(try file.floats(tensor.name, shape: tensor.shape) == tensor.values) }
    }

    @Test func readsHalfPrecisionAndIntegers() throws {
        let header =
            #"{"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[4,6]},"i":{"dtype":"I64","shape":[1],"data_offsets":[6,14]}}"#
        var data = file(header)
        data.append(contentsOf: [0x00, 0x3C, 0x00, 0xC0, 0x80, 0x3F, 7, 0, 0, 0, 0, 0, 0, 0])
        let parsed = try Safetensors(data: data, place: "memory")
        #expect(try parsed.floats("h") == [1, -2])
        #expect(try parsed.floats("b") == [1])
        #expect(try parsed.floats("i") == [7])
    }

    @Test(arguments: [
        ("no header", ""), ("not JSON", "{{{{"), ("an array", "[1,2]"), ("no dtype", #"{"a":{"shape":[1],"data_offsets":[0,4]}}"#),
        ("unknown dtype", #"{"a":{"dtype":"F8","shape":[4],"data_offsets":[0,4]}}"#),
        ("negative shape", #"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#),
        ("fractional shape", #"{"a":{"dtype":"F32","shape":[0.5],"data_offsets":[0,4]}}"#),
        ("overflowing shape", #"{"a":{"dtype":"F32","shape":[4611686018427387904,8],"data_offsets":[0,4]}}"#),
        ("beyond the data", #"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#),
        ("backwards", #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#),
        ("size mismatch", #"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}}"#),
        ("hole", #"{"a":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}"#),
        ("overlap", #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}}"#),
        ("unclaimed bytes", #"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#),
        ("metadata of numbers", #"{"__metadata__":{"a":1}}"#),
    ]) func refusesAHostileHeader(_ what: String, _ header: String) {
        #expect(code(file(header, data: 4)) == "safetensors.header", "\(what)")
    }

    @Test func refusesImpossibleLengths() {
        #expect(code(Data([1, 2, 3])) == "safetensors.header")
        #expect(code(Data([255, 255, 255, 255, 255, 255, 255, 127, 0x7B, 0x7D])) == "safetensors.header")
        #expect(code(file(#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#, data: 4).dropLast(2)) == "safetensors.header")
    }

    @Test func everyTruncationIsRefused() {
        let whole = Safetensors.encode([NamedTensor("a", [2], [1, 2]), NamedTensor("b", [1], [3])])
        for count in 0..<whole.count { #expect(code(whole.prefix(count)) == "safetensors.header") }
    }

    @Test func aNetworkNamesWhatACheckpointLacks() throws {
        let device = CPUDevice(lanes: 1)
        func load(_ tensors: [NamedTensor]) -> AMAFError? {
            do {
                let file = try Safetensors(data: Safetensors.encode(tensors), place: "model.safetensors")
                _ = try Linear(ParameterStore(.checkpoint(file, prefix: "net."), on: device), "fc", inputs: 2, outputs: 1)
                return nil
            } catch { return error }
        }
        let bias = NamedTensor("net.fc.bias", [1], [0])
        #expect(load([NamedTensor("net.fc.weight", [1, 2], [1, 2]), bias]) == nil)
        let missing = load([bias])
        #expect(
            missing?.code == "model.missing-tensor" && missing?.message.contains("net.fc.weight") == true
                && missing?.place == "model.safetensors")
        #expect(load([NamedTensor("net.fc.weight", [2, 1], [1, 2]), bias])?.code == "model.wrong-shape")
        #expect(load([NamedTensor("net.fc.weight", [1, 2], [1, .nan]), bias])?.code == "model.not-finite")
    }
}
