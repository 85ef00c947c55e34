import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

/// A result must not depend on how many lanes computed it, at every shape that a public network brings: whole networks of
/// full width, only less deep, and whole training steps. Five images make the last tile of every product a partial one.
@Suite struct LaneTests {
    private func expectSameBits(_ name: String, _ run: (CPUDevice) throws -> [Float]) throws {
        let one = try run(CPUDevice(lanes: 1)).map(\.bitPattern)
        #expect(one.allSatisfy { Float(bitPattern: $0).isFinite }, "\(name) gives no numbers")
        #expect(Set(one).count > 1, "\(name) gives one number over and over")
        for lanes in [2, 3] { #expect(try run(CPUDevice(lanes: lanes)).map(\.bitPattern) == one, "\(name) on \(lanes) lanes") }
    }

    private func noise(_ shape: [Int], _ device: CPUDevice) -> Tensor {
        let x = device.empty(shape)
        device.enqueue(.normal(x.pointer, seed: 1, stream: 0, count: x.count))
        return x
    }

    @Test func clip() throws {
        var c = CLIP.VisionConfiguration()
        c.num_hidden_layers = 1
        try expectSameBits("CLIP ViT-B/32") { device in
            let network = try CLIPImageEncoder(c, ParameterStore(seed: 1, on: device))
            return [1, 5].flatMap { network(noise([$0, 224, 224, 3], device)).values() }
        }
    }

    @Test func resNet() throws {
        var c = ResNet.Configuration()
        c.depths = [2, 2, 2, 2]
        try expectSameBits("ResNet-50") { device in
            let network = try ResNet(c, ParameterStore(seed: 1, on: device))
            return [1, 3].flatMap { network(noise([$0, 224, 224, 3], device)).values() }
        }
    }

    @Test func bert() throws {
        var c = BERT.Configuration()
        (c.vocab_size, c.num_hidden_layers) = (100, 1)
        try expectSameBits("BERT-base") { device in
            let network = try BERT(c, ParameterStore(seed: 1, on: device))
            return [(1, 7), (5, 32), (3, 128)].flatMap { count, length in
                let texts = (0..<count).map { text in (0..<length - text).map { Int32(($0 * 7 + text) % 100) } }
                return network.pooled(network(BERT.Batch(texts))).values()
            }
        }
    }

    @Test func t5() throws {
        var c = T5.Configuration()
        (c.vocab_size, c.num_layers) = (100, 1)
        try expectSameBits("T5-small") { device in
            let network = try T5(c, ParameterStore(seed: 1, on: device))
            let batch = BERT.Batch([[5, 9, 40, 3, 1], [17, 1]])
            let encoded = network.encode(batch)
            let cache = network.cache(encoded, batch, capacity: 4)
            return encoded.values() + (0..<3).flatMap { network.next([Int32($0), 2], cache).values() }
        }
    }

    @Test(arguments: [
        VAE.Configuration(height: 28, width: 28, architecture: .dense(hidden: [512, 256])),
        VAE.Configuration(height: 28, width: 28, architecture: .convolutional(filters: [32, 64], hidden: 256)),
        VAE.Configuration(height: 64, width: 64, architecture: .convolutional(filters: [32, 64, 128, 256], hidden: 0)),
    ])
    func training(_ configuration: VAE.Configuration) throws {
        var generator = SeededGenerator(seed: 1)
        let count = configuration.height == 28 ? 128 + 37 : 21
        let bytes = (0..<count * configuration.pixels).map { _ in UInt8(generator.index(below: 256)) }
        try expectSameBits("\(configuration.architecture)") { device in
            let trainer = VAETrainer(try VAE(configuration, ParameterStore(seed: 1, on: device)), .init(seed: 1))
            _ = try trainer.trainEpoch(ImageSet(bytes: bytes, pixels: configuration.pixels), epoch: 1)
            return trainer.network.parameters.flatMap { $0.value.values() }
        }
    }
}
