import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

@Suite struct VAEFolderTests {
    private static let configuration = VAE.Configuration(height: 4, width: 4, architecture: .dense(hidden: [6]), latent: 3, classes: 2)
    private static let images: ImageSet = {
        var generator = SeededGenerator(seed: 4)
        return ImageSet(
            bytes: (0..<50 * 16).map { _ in UInt8(generator.index(below: 256)) }, labels: (0..<50).map { $0 % 2 }, pixels: 16)
    }()
    private static let start = VAEFolder.Progress(epochs: 0, seed: 3, batch: 16, learningRate: 1e-3, data: Digest.of(images.bytes))

    private func trainer(seed: UInt64 = 3) throws -> VAETrainer {
        VAETrainer(
            try VAE(Self.configuration, ParameterStore(seed: seed, on: CPUDevice(lanes: 1))),
            .init(batch: 16, adam: .init(learningRate: 1e-3), seed: 3))
    }

    private func train(_ trainer: VAETrainer, _ folder: VAEFolder, _ progress: VAEFolder.Progress, until end: Int) throws {
        var progress = progress
        for epoch in progress.epochs..<end {
            try trainer.trainEpoch(Self.images, epoch: epoch)
            progress.epochs = epoch + 1
            try folder.save(trainer, progress)
        }
    }

    private func bytes(_ scratch: ScratchFolder) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: "\(scratch.path)/model.safetensors"))
    }

    /// Stopped after two epochs and gone on by another process, a training ends with the bytes of one that never stopped.
    @Test func goesOnToTheSameBytes() throws {
        let (whole, parts) = (try ScratchFolder(), try ScratchFolder())
        try train(trainer(), VAEFolder(whole.path), Self.start, until: 4)
        let folder = VAEFolder(parts.path)
        try train(trainer(), folder, Self.start, until: 2)
        // Other weights to begin with: all of them must come from the folder.
        let second = try trainer(seed: 99)
        let progress = try folder.resume(second, Self.start)
        #expect(progress.epochs == 2)
        try train(second, folder, progress, until: 4)
        #expect(try bytes(whole) == bytes(parts))
        let network = try folder.load(on: CPUDevice(lanes: 1))
        #expect(network.configuration == Self.configuration)
        #expect(zip(network.parameters, second.network.parameters).allSatisfy { $0.value.values() == $1.value.values() })
        let report = try ModelReport.verify(parts.folder, on: CPUDevice(lanes: 1))
        #expect(report.kind == "vae" && report.unused.allSatisfy { $0.hasPrefix("adam.") })
    }

    @Test func anotherTrainingIsRefused() throws {
        let scratch = try ScratchFolder()
        let folder = VAEFolder(scratch.path)
        try train(trainer(), folder, Self.start, until: 1)
        func code(_ change: (inout VAEFolder.Progress) -> Void) throws -> String {
            var wanted = Self.start
            change(&wanted)
            do throws(AMAFError) {
                _ = try folder.resume(try trainerOrTrap(), wanted)
                return "accepted"
            } catch { return error.code }
        }
        #expect(try code { _ in } == "accepted")
        #expect(try code { $0.data = Digest.of([1] as [UInt8]) } == "model.not-resumable")
        #expect(try code { $0.seed = 4 } == "model.not-resumable")
        #expect(try code { $0.batch = 8 } == "model.not-resumable")
        #expect(try code { $0.learningRate = 1e-4 } == "model.not-resumable")
        // Weights without a training.
        try scratch.write("model.safetensors", Safetensors.encode(try trainer().network.parameters.namedTensors()))
        #expect(try code { _ in } == "model.not-resumable")
        try scratch.write("model.safetensors", Data())
        #expect(try code { _ in } == "safetensors.header")
    }

    private func trainerOrTrap() throws(AMAFError) -> VAETrainer {
        VAETrainer(
            try VAE(Self.configuration, ParameterStore(seed: 3, on: CPUDevice(lanes: 1))),
            .init(batch: 16, adam: .init(learningRate: 1e-3), seed: 3))
    }

    @Test func aFreshNetworkKnowsNothing() throws {
        // ln 2 a pixel, give or take what fresh weights say.
        let loss = try trainer().firstBatchLoss(Self.images)
        #expect(abs(loss - 16 * log(2.0)) < 1.5, "\(loss)")
    }
}
