import Foundation
import Kernels
import NeuralNetworks
import Primitives
import Testing

/// Tests/Parity/golden: what the reference implementations computed on seeded networks (Tests/Parity/generate.py).
enum Golden {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../Parity/golden")
        .standardized.path

    static func load(_ name: String) throws -> Safetensors { try Safetensors(path: "\(folder)/\(name).safetensors") }

    /// Numbers in [−1, 1) from a name; `uniform` in generate.py.
    static func uniform(_ name: String, _ count: Int) -> [Float] {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        return (1...max(count, 1)).prefix(count).map { i in
            var z = hash &+ UInt64(i) &* 0x9E37_79B9_7F4A_7C15
            z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
            z = z ^ (z >> 31)
            return Float(Double(z >> 40) / 8_388_608 - 1)
        }
    }

    /// A weight; `fill` in generate.py.
    static func fill(_ name: String, _ shape: [Int]) -> [Float] {
        var u = uniform(name, shape.reduce(1, *))
        if name.hasSuffix("running_var") {
            for i in u.indices { u[i] = 1 + 0.5 * u[i] }
        } else if shape.count == 1 {
            for i in u.indices { u[i] = name.hasSuffix("weight") ? 1 + 0.3 * u[i] : 0.3 * u[i] }
        } else {
            let scale = Float((3 / Double(shape.dropFirst().reduce(1, *))).squareRoot())
            for i in u.indices { u[i] *= scale }
            if name == "shared.weight" || name == "lm_head.weight" { for i in shape[1]..<2 * shape[1] { u[i] *= 3 } }
        }
        return u
    }

    /// Images (n, size, size, channels) as the reference saw them.
    static func images(_ n: Int, _ size: Int, _ channels: Int = 3) -> [Float] {
        let scale = Float((Double(size * size * channels) / 3).squareRoot())
        return fill("input.images", [n, size, size, channels]).map { $0 * scale }
    }

    /// The weights that the reference network had, by name.
    struct Weights: TensorSource {
        var place = "generate.py"
        var names: Set<String>

        init(_ golden: Safetensors) throws {
            names = Set(try JSONDecoder().decode([String].self, from: Data((golden.metadata["names"] ?? "").utf8)))
        }
        func contains(_ name: String) -> Bool { names.contains(name) }
        func floats(_ name: String, shape: [Int]) throws(AMAFError) -> [Float] {
            guard contains(name) else { throw AMAFError("model.missing-tensor", "The reference network has no '\(name)'", place: place) }
            return Golden.fill(name, shape)
        }
    }

    /// The difference relative to the largest magnitude of the expected tensor.
    ///
    /// The tolerance everywhere is 1e-4: Float32 sums of a few hundred products differ by about 1e-6 between two orders of
    /// addition, and some ten layers in a row, each norming away scale, carry at most a few tens of it.
    static func expect(
        _ values: [Float], like golden: Safetensors, _ name: String, tolerance: Float = 1e-4,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let expected = try golden.floats(name)
        #expect(values.count == expected.count, "\(name): \(values.count) values against \(expected.count)", sourceLocation: sourceLocation)
        guard values.count == expected.count else { return }
        var (worst, largest): (Float, Float) = (0, 1e-30)
        for (a, b) in zip(values, expected) {
            worst = max(worst, (a - b).isNaN ? .infinity : abs(a - b))
            largest = max(largest, abs(b))
        }
        worstError.withLock { $0[name] = max($0[name] ?? 0, worst / largest) }
        #expect(worst / largest <= tolerance, "\(name): relative error \(worst / largest)", sourceLocation: sourceLocation)
    }

    /// Every golden test runs on the fast device and on the one that behaves like a graphics card.
    static func onEveryDevice(_ body: (any ComputeDevice) throws -> Void) throws {
        for device in [CPUDevice(lanes: 2), RemoteMemoryDevice()] as [any ComputeDevice] { try body(device) }
    }

    /// Largest relative error seen by tensor, for reports.
    static let worstError = Locked<[String: Float]>([:])
}

/// A value behind a lock.
final class Locked<Value>: @unchecked Sendable {
    private let lock = NSLock()
    private var value: Value
    init(_ value: Value) { self.value = value }
    func withLock<R>(_ body: (inout Value) -> R) -> R {
        lock.lock()
        defer { lock.unlock() }
        return body(&value)
    }
}
