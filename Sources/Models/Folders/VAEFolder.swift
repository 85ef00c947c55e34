internal import Datasets
import Foundation
package import Kernels
internal import NeuralNetworks
package import Primitives

/// A VAE as a folder: `config.json` with its configuration, `model.safetensors` with weights, optimizer and place in the
/// training, so that a training can go on where it stopped and ends with the bytes it would have ended with anyway.
package struct VAEFolder: Sendable {
    /// `model_type` of the folder.
    package static let kind = "vae"
    package let path: String

    package init(_ path: String) { self.path = path }

    private struct ConfigurationFile: Codable {
        var model_type: String
        var vae: VAE.Configuration
    }

    /// What a training was about: one that goes on must be about the same.
    package struct Progress: Sendable, Hashable {
        /// Epochs done.
        package var epochs: Int
        package var seed: UInt64
        package var batch: Int
        package var learningRate: Float
        /// Of the images and labels trained on.
        package var data: Digest

        package init(epochs: Int, seed: UInt64, batch: Int, learningRate: Float, data: Digest) {
            self.epochs = epochs
            self.seed = seed
            self.batch = batch
            self.learningRate = learningRate
            self.data = data
        }

        fileprivate var metadata: [String: String] {
            [
                "vae.epochs": String(epochs), "vae.seed": String(seed), "vae.batch": String(batch),
                "vae.learning-rate": String(learningRate.bitPattern), "vae.data": data.hex,
            ]
        }

        fileprivate init?(_ metadata: [String: String]) {
            guard let epochs = metadata["vae.epochs"].flatMap(Int.init), epochs >= 0,
                let seed = metadata["vae.seed"].flatMap({ UInt64($0) }), let batch = metadata["vae.batch"].flatMap(Int.init),
                let bits = metadata["vae.learning-rate"].flatMap({ UInt32($0) }), let data = metadata["vae.data"].flatMap(Digest.init(hex:))
            else { return nil }
            self.init(epochs: epochs, seed: seed, batch: batch, learningRate: Float(bitPattern: bits), data: data)
        }
    }

    package var exists: Bool { FileManager.default.fileExists(atPath: path + "/config.json") }

    /// Writes both files; each appears only when it is whole.
    package func save(_ trainer: VAETrainer, _ progress: Progress) throws(AMAFError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "model.unwritable-file", "The folder '\(path)' cannot be made: \(error.localizedDescription)", remedy: "Choose another.")
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        let file = ConfigurationFile(model_type: Self.kind, vae: trainer.network.configuration)
        guard let configuration = try? encoder.encode(file) else { preconditionFailure("a configuration that JSON cannot hold: \(file)") }
        try write(configuration, "config.json")
        try write(
            Checkpoint.encode(trainer.network.parameters, optimizer: trainer.optimizer, metadata: progress.metadata), "model.safetensors")
    }

    private func write(_ data: Data, _ name: String) throws(AMAFError) {
        let out = try FileWriter("\(path)/\(name)")
        try out.write([UInt8](data))
        try out.close()
    }

    /// The network alone.
    ///
    /// - Throws: `model.kind`, `vae.configuration`, and what a model's files can throw.
    package func load(on device: any ComputeDevice) throws(AMAFError) -> VAE {
        let folder = try ModelFolder(path)
        return try VAE(try configuration(folder), ParameterStore(.checkpoint(try folder.weights(), prefix: ""), on: device))
    }

    private func configuration(_ folder: ModelFolder) throws(AMAFError) -> VAE.Configuration {
        let kind = try folder.modelType()
        guard kind == Self.kind else {
            throw AMAFError(
                "model.kind", "A model of the kind '\(kind)' is no VAE", place: folder.file("config.json"),
                remedy: "Name a folder written by 'amaf vae train'.")
        }
        let c = try folder.configuration(ConfigurationFile.self).vae
        try ModelFolder.requireSizes([("height", c.height), ("width", c.width), ("channels", c.channels), ("latent", c.latent)])
        return c
    }

    /// Puts weights and optimizer into a fresh trainer and says how far the training was.
    ///
    /// - Throws: `model.not-resumable` when the folder's training was another one.
    package func resume(_ trainer: VAETrainer, _ wanted: Progress) throws(AMAFError) -> Progress {
        let folder = try ModelFolder(path)
        func refuse(_ sentence: String) -> AMAFError {
            AMAFError(
                "model.not-resumable", sentence, place: path,
                remedy: "Give the same data and options, or train into another folder.")
        }
        guard try configuration(folder) == trainer.network.configuration else { throw refuse("The folder's network has another shape") }
        let file = try folder.weights()
        guard let found = Progress(file.metadata) else { throw refuse("The checkpoint does not say how far its training was") }
        guard found.data == wanted.data else { throw refuse("The folder's network was trained on other images") }
        guard (found.seed, found.batch, found.learningRate) == (wanted.seed, wanted.batch, wanted.learningRate) else {
            throw refuse(
                "The folder's training had seed \(found.seed), batch \(found.batch) and learning rate \(found.learningRate), "
                    + "not \(wanted.seed), \(wanted.batch) and \(wanted.learningRate)")
        }
        try Checkpoint.restore(file, into: trainer.network.parameters, optimizer: trainer.optimizer)
        return found
    }
}
