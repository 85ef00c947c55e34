import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

@Suite struct HeadTests {
    /// Points around class centres, far enough apart to be told apart.
    private func blobs(_ count: Int, classes: Int, width: Int, seed: UInt64) -> (features: [Float], labels: [Int]) {
        var generator = SeededGenerator(seed: seed)
        var centres = SeededGenerator(seed: 77)
        let middle = (0..<classes * width).map { _ in Float(centres.uniform() * 4 - 2) }
        let labels = (0..<count).map { _ in generator.index(below: classes) }
        return (labels.flatMap { label in (0..<width).map { middle[label * width + $0] + Float(generator.uniform() - 0.5) * 2 } }, labels)
    }

    private func accuracy(_ p: [Float], _ labels: [Int], classes: Int) -> Double {
        let right = labels.indices.count { row in
            let slice = p[row * classes..<(row + 1) * classes]
            return slice.firstIndex(of: slice.max() ?? 0).map { $0 - slice.startIndex } == labels[row]
        }
        return Double(right) / Double(labels.count)
    }

    @Test(arguments: [0, 16]) func learnsFromSoftLabelsAndRepeats(_ hidden: Int) throws {
        let (features, labels) = blobs(400, classes: 3, width: 8, seed: 1)
        // Labels that are right with 80 %.
        let targets = labels.flatMap { label in (0..<3).map { Float($0 == label ? 0.8 : 0.1) } }
        func train(_ lanes: Int) throws -> ([Float], [Double]) {
            let device = CPUDevice(lanes: lanes)
            let head = try ClassifierHead(.init(features: 8, classes: 3, hidden: hidden), ParameterStore(seed: 1, on: device))
            let trainer = ClassifierTrainer(
                head.parameters, classes: 3, on: device,
                .init(epochs: 30, adam: .init(form: .pyTorch, learningRate: 1e-2), clip: 1, seed: 2))
            let losses = try trainer.train(head, features: features, targets: targets)
            let test = blobs(300, classes: 3, width: 8, seed: 9)
            let p = head.probabilities(test.features)
            #expect(accuracy(p, test.labels, classes: 3) > 0.97)
            return (p, losses)
        }
        let (p, losses) = try train(1)
        #expect(losses[29] < losses[0])
        // The entropy of the soft labels is the floor: 0.639 nats.
        #expect(losses[29] > 0.63 && losses[29] < 0.72)
        // A soft-label head is as unsure as its teachers.
        let confidence = stride(from: 0, to: p.count, by: 3).reduce(0) { $0 + (p[$1..<$1 + 3].max() ?? 0) } / Float(p.count / 3)
        #expect(confidence > 0.7 && confidence < 0.9)
        let other = try train(2)
        #expect(other.0 == p && other.1 == losses)
    }

    @Test func bertFineTunesAsAWhole() throws {
        var c = BERT.Configuration()
        (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads) = (40, 16, 2, 2)
        (c.intermediate_size, c.max_position_embeddings) = (32, 12)
        let device = CPUDevice(lanes: 2)
        let encoder = try BERT(c, ParameterStore(seed: 4, on: device))
        // The class is whether token 7 stands anywhere.
        var generator = SeededGenerator(seed: 5)
        let texts = (0..<200).map { i in
            [2] + (0..<4 + generator.index(below: 5)).map { _ in Int32(8 + generator.index(below: 30)) } + (i % 2 == 0 ? [7] : [9]) + [3]
        }
        let labels = texts.map { $0.contains(7) ? 1 : 0 }
        let targets = labels.flatMap { [Float(1 - $0), Float($0)] }
        let classifier = try BERTClassifier(encoder, classes: 2, pooling: .mean, seed: 6)
        let before = encoder.parameters[5].value.values()
        let losses = try classifier.fineTune(
            texts, targets: targets,
            .init(
                epochs: 12, batch: 20, adam: .init(form: .pyTorch, learningRate: 3e-3, weightDecay: 0.01),
                schedule: .linear(warmup: 10, total: 120), seed: 7))
        #expect(losses[losses.count - 1] < 0.1)
        #expect(accuracy(classifier.probabilities(texts), labels, classes: 2) > 0.97)
        #expect(encoder.parameters[5].value.values() != before)
    }

    @Test func resNetLearnsAndFolds() throws {
        var c = ResNet.Configuration()
        (c.embedding_size, c.hidden_sizes, c.depths, c.labels) = (8, [16, 16], [1, 1], 2)
        let device = CPUDevice(lanes: 2)
        let network = try ResNet(c, ParameterStore(seed: 1, on: device))
        // Bright left half or bright right half.
        var generator = SeededGenerator(seed: 3)
        let labels = (0..<64).map { _ in generator.index(below: 2) }
        let images = labels.map { label in
            (0..<16 * 16 * 3).map { i in Float(generator.uniform()) * 0.5 + (((i / 3) % 16 < 8) == (label == 0) ? 1 : 0) }
        }
        let trainer = ClassifierTrainer(network.parameters, classes: 2, on: device, .init(epochs: 8, batch: 16, seed: 1))
        let losses = try trainer.train(targets: labels.flatMap { [Float(1 - $0), Float($0)] }) { (samples, tape) throws(AMAFError) in
            network.train(device.tensor(samples.flatMap { images[$0] }, [samples.count, 16, 16, 3]), tape: tape)
        }
        #expect(losses[7] < 0.5 * losses[0])
        network.fold()
        let p = Operations.softmax(network(device.tensor(images.flatMap { $0 }, [64, 16, 16, 3]))).values()
        #expect(accuracy(p, labels, classes: 2) > 0.9)
    }

    @Test func imagesFromThePriorAndNearOthers() throws {
        let device = CPUDevice(lanes: 1)
        let network = try VAE(
            .init(height: 4, width: 4, architecture: .dense(hidden: [8]), latent: 3, classes: 2), ParameterStore(seed: 1, on: device))
        var generator = SeededGenerator(seed: 2)
        let images = ImageSet(
            bytes: (0..<80 * 16).map { _ in UInt8(generator.index(below: 256)) }, labels: (0..<80).map { $0 % 2 }, pixels: 16)
        let sampler = VAESampler(network)
        let made = sampler.fromPrior(20, label: 1, seed: 1, stream: 0)
        #expect(made.count == 320 && made.allSatisfy { $0 >= 0 && $0 <= 1 })
        #expect(made == sampler.fromPrior(20, label: 1, seed: 1, stream: 0))
        #expect(sampler.fromPrior(2, label: 0, seed: 1, stream: 0) != sampler.fromPrior(2, label: 1, seed: 1, stream: 0))
        let near = sampler.neighbours(of: images, [3, 4], seed: 1, stream: 0)
        #expect(near.count == 32 && near != sampler.neighbours(of: images, [5, 6], seed: 1, stream: 0))
    }

    /// Pictures of odd sizes, prepared as transformers and Pillow prepare them, to the last byte.
    @Test func picturesArePreparedAsTheReferencesAre() throws {
        let golden = try Golden.load("preprocessing")
        for (i, (height, width)) in [(23, 38), (41, 25), (16, 16), (9, 12), (70, 30)].enumerated() {
            let pixels = Golden.uniform("input.pixels\(i)", height * width * 3).map { UInt8((($0 + 1) * 128).rounded(.down)) }
            let made = ImagePreprocessor.clip(size: 16)(pixels, width: width, height: height, channels: 3)
            try Golden.expect(made, like: golden, "clip.\(i)", tolerance: 1e-6)
        }
    }

    @Test func resizeKeepsConstantsAndMeans() {
        let grey = [UInt8](repeating: 200, count: 31 * 17 * 3)
        let out = ImagePreprocessor.resize(grey, width: 31, height: 17, channels: 3, toWidth: 9, toHeight: 8, .bicubic)
        #expect(out == [UInt8](repeating: 200, count: 9 * 8 * 3))
        let batch = ImagePreprocessor.clip(size: 8)(grey, width: 31, height: 17, channels: 3)
        #expect(batch.count == 8 * 8 * 3 && abs(batch[0] - (200.0 / 255 - 0.48145466) / 0.26862954) < 1e-5)
    }
}
