import ArgumentParser
import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import WeakSupervision

/// `amaf vae`: trains an autoencoder on images and makes new ones, without a cluster.
struct VAECommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "vae", abstract: "Train a variational autoencoder on images and make new ones, without a cluster.",
        subcommands: [Train.self, Sample.self])

    // MARK: train

    struct Train: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Train on images, writing a checkpoint after every epoch.",
            discussion: """
                --images is an IDX file as MNIST's (plain or .gz), or a folder of JPEG, PNG and PGM files, which are squeezed to --size. The loss is \
                the reconstruction error plus beta times the divergence, summed over pixels and latents, the mean over images. --resume goes on \
                after the last epoch and ends with the very bytes that an uninterrupted training gives.
                """)
        @Option(help: ArgumentHelp("Images to train on: IDX file or folder.", valueName: "path"))
        var images: String
        @Option(help: ArgumentHelp("Their classes (IDX file): makes the network conditional.", valueName: "file"))
        var labels: String?
        @Option(help: ArgumentHelp("Images that only measure: IDX file or folder.", valueName: "path"))
        var testImages: String?
        @Option(help: ArgumentHelp("Their classes (IDX file), for a conditional network.", valueName: "file"))
        var testLabels: String?
        @Option(name: .shortAndLong, help: "Folder to write.")
        var out: String
        @Option(help: "Passes over the images, those of a resumed training included.")
        var epochs: Int = 10
        @Option(help: "Images a step.")
        var batch: Int = 128
        @Option(help: ArgumentHelp("Widths of hidden layers, separated by commas.", valueName: "widths"))
        var hidden: String = "400"
        @Option(
            help: ArgumentHelp(
                "Filters of 4x4 convolutions with stride 2, separated by commas: makes the network convolutional.", valueName: "counts"))
        var filters: String?
        @Option(help: "Latents.")
        var latent: Int = 128
        @Option(help: "Weight of the divergence.")
        var beta: Float = 0.5
        @Option(help: "bernoulli or gaussian.")
        var likelihood: String = "bernoulli"
        @Option(help: "Adam's step.")
        var learningRate: Float = 1e-3
        @Option(help: "Seed of weights, order and noise.")
        var seed: UInt64 = 1
        @Option(help: "Side of the squares that a folder's images become.")
        var size: Int = 64
        @Flag(help: "A folder's images keep their colours.")
        var colour = false
        @Flag(help: "Go on with the training in --out.")
        var resume = false
        @OptionGroup var lanes: LaneOptions
        @OptionGroup var output: OutputOptions

        private struct Epoch: Encodable {
            var epoch: Int
            var loss: Double
            var reconstruction: Double
            var divergence: Double
            var testLoss: Double?
            var testDivergence: Double?
            var imagesPerSecond: Double
        }

        func run() throws {
            try reporting(json: output.json) {
                guard epochs >= 0, batch > 0, batch <= 1 << 16, learningRate > 0, learningRate.isFinite, (1...4096).contains(size) else {
                    throw AMAFError(
                        "vae.options", "--epochs \(epochs), --batch \(batch), --learning-rate \(learningRate), --size \(size)",
                        remedy: "Give positive numbers.")
                }
                let data = try VAEImages.load(images, labels: labels, side: size, colour: colour)
                let test = try testImages.map { path throws(AMAFError) in
                    try VAEImages.load(path, labels: testLabels, side: size, colour: colour)
                }
                let configuration = try network(data)
                if let test {
                    guard (test.height, test.width, test.channels) == (data.height, data.width, data.channels) else {
                        throw AMAFError("vae.images", "The test images have another size", place: testImages ?? "", remedy: "Use one size.")
                    }
                    guard (test.classes > 0) == (data.classes > 0), test.classes <= data.classes else {
                        throw AMAFError(
                            "vae.images", "A conditional network is measured on labelled images of its own classes",
                            place: testLabels ?? testImages ?? "", remedy: "Give --labels and --test-labels, or neither.")
                    }
                }
                let device = try lanes.device()
                let vae = try VAE(configuration, ParameterStore(seed: seed, on: device))
                let trainer = VAETrainer(vae, .init(batch: batch, adam: .init(learningRate: learningRate), seed: seed))
                let folder = VAEFolder(out)
                var progress = VAEFolder.Progress(
                    epochs: 0, seed: seed, batch: batch, learningRate: learningRate, data: data.digest)
                if resume {
                    progress = try folder.resume(trainer, progress)
                    note("going on after epoch \(progress.epochs)")
                } else if folder.exists {
                    throw AMAFError(
                        "vae.exists", "'\(out)' holds a network already", remedy: "Give --resume to go on with it, or another folder.")
                } else if data.set.count > 0 {
                    let first = trainer.firstBatchLoss(data.set)
                    note("before the first step: \(Text.fixed(first, 1)) on \(min(batch, data.set.count)) images")
                }
                try train(trainer, folder, progress, data.set, test?.set)
            }
        }

        private func note(_ line: String) { if !output.json { Console.note(line) } }

        private func train(
            _ trainer: VAETrainer, _ folder: VAEFolder, _ start: VAEFolder.Progress, _ images: ImageSet, _ test: ImageSet?
        ) throws(AMAFError) {
            var progress = start
            let log = try TrainingLog("\(out)/training.jsonl", keeping: progress.epochs)
            for epoch in progress.epochs..<max(progress.epochs, epochs) {
                let clock = ContinuousClock()
                let began = clock.now
                let result = try trainer.trainEpoch(images, epoch: epoch)
                let seconds = (clock.now - began).seconds
                let tested = test.map { trainer.evaluate($0) }
                progress.epochs = epoch + 1
                try folder.save(trainer, progress)
                let row = Epoch(
                    epoch: epoch + 1, loss: result.loss, reconstruction: result.reconstruction, divergence: result.divergence,
                    testLoss: tested?.loss, testDivergence: tested?.divergence, imagesPerSecond: Double(result.images) / seconds)
                try log.append(row)
                let measured = tested.map { "; test \(Text.fixed($0.loss, 2)), KL \(Text.fixed($0.divergence, 2))" } ?? ""
                note(
                    "epoch \(epoch + 1): loss \(Text.fixed(result.loss, 2)) = \(Text.fixed(result.reconstruction, 2)) + \(trainer.network.configuration.beta) × "
                        + "\(Text.fixed(result.divergence, 2))\(measured); \(Text.count(Int(row.imagesPerSecond))) images/s")
            }
            Console.out(out)
        }

        private func network(_ images: VAEImages) throws(AMAFError) -> VAE.Configuration {
            func numbers(_ text: String, _ option: String) throws(AMAFError) -> [Int] {
                let parts = text.split(separator: ",").map { Int($0.trimmingCharacters(in: .whitespaces)) }
                guard parts.allSatisfy({ ($0 ?? 0) > 0 && ($0 ?? 0) <= 1 << 16 }) else {
                    throw AMAFError("vae.options", "\(option) is '\(text)'", remedy: "Write positive numbers separated by commas.")
                }
                return parts.compactMap { $0 }
            }
            guard let kind = VAE.Configuration.Likelihood(rawValue: likelihood) else {
                throw AMAFError("vae.options", "There is no likelihood '\(likelihood)'", remedy: "Choose bernoulli or gaussian.")
            }
            let widths = hidden == "0" ? [] : try numbers(hidden, "--hidden")
            var architecture = VAE.Configuration.Architecture.dense(hidden: widths)
            if let filters {
                guard widths.count <= 1 else {
                    throw AMAFError(
                        "vae.options", "A convolutional network has one hidden layer at most",
                        remedy: "Give one --hidden width, or 0 for none.")
                }
                architecture = .convolutional(filters: try numbers(filters, "--filters"), hidden: widths.first ?? 0)
            }
            guard (1...1 << 16).contains(latent) else {
                throw AMAFError("vae.options", "--latent is \(latent)", remedy: "Give a number from 1 to 65,536.")
            }
            let configuration = VAE.Configuration(
                height: images.height, width: images.width, channels: images.channels, architecture: architecture, latent: latent,
                beta: beta, likelihood: kind, classes: images.classes)
            try configuration.validate()
            return configuration
        }
    }

    // MARK: sample

    struct Sample: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make new images with a trained autoencoder.",
            discussion: """
                A .png or .pgm file gets all images on one sheet, a .npy file gets rows of pixels from 0 to 1. Latents are drawn from N(0, I), \
                or, with --near, from what the encoder says about given images: neighbours of them.
                """)
        @Option(help: ArgumentHelp("Folder written by 'amaf vae train'.", valueName: "folder"))
        var model: String
        @Option(help: "Images to make.")
        var count: Int = 64
        @Option(name: .customLong("class"), help: ArgumentHelp("Class to make, of a conditional network.", valueName: "number"))
        var label: Int?
        @Option(help: ArgumentHelp("IDX file: neighbours of its first images instead.", valueName: "file"))
        var near: String?
        @Option(help: ArgumentHelp("Classes of those images (IDX file), for a conditional network.", valueName: "file"))
        var nearLabels: String?
        @Option(help: "Seed.")
        var seed: UInt64 = 1
        @Option(name: .shortAndLong, help: ArgumentHelp("File to write: .png, .pgm or .npy.", valueName: "file"))
        var out: String
        @OptionGroup var lanes: LaneOptions
        @OptionGroup var output: OutputOptions

        func run() throws {
            try reporting(json: output.json) {
                guard (1...1_000_000).contains(count) else {
                    throw AMAFError("vae.options", "--count is \(count)", remedy: "Give a number from 1 to 1,000,000.")
                }
                let vae = try VAEFolder(try ModelLocation.folder(model).path).load(on: try lanes.device())
                let c = vae.configuration
                guard near != nil || (label == nil) == (c.classes == 0), label.map({ (0..<c.classes).contains($0) }) ?? true else {
                    throw AMAFError(
                        "vae.options", c.classes > 0 ? "The network makes images of \(c.classes) classes" : "The network knows no classes",
                        remedy: c.classes > 0 ? "Give --class 0 to \(c.classes - 1)." : "Leave --class out.")
                }
                let sampler = VAESampler(vae)
                let pixels = try made(sampler, c)
                let images = pixels.count / c.pixels
                if out.hasSuffix(".npy") {
                    var writer = try NumPyWriter(path: out, shape: [images, c.pixels], type: "<f4", itemSize: 4, entry: nil)
                    try writer.append(array: pixels)
                    try writer.finish()
                } else {
                    try writeSheet(pixels, images, c)
                }
                if output.json { return try Console.json(["file": out]) }
                Console.out("\(out): \(images) images of \(c.width)×\(c.height)")
            }
        }

        private func made(_ sampler: VAESampler, _ c: VAE.Configuration) throws(AMAFError) -> [Float] {
            guard let near else { return sampler.fromPrior(count, label: label, seed: seed, stream: 0) }
            let given = try VAEImages.load(near, labels: nearLabels, side: c.width, colour: c.channels == 3)
            guard given.set.pixels == c.pixels, given.set.count > 0,
                c.classes == 0 || given.set.labels?.allSatisfy({ $0 < c.classes }) == true
            else {
                throw AMAFError(
                    "vae.images", "The given images are of another size, or lack classes that the network needs", place: near,
                    remedy: "Give images as the network was trained on, with --near-labels where it is conditional.")
            }
            return sampler.neighbours(of: given.set, Array(0..<min(count, given.set.count)), seed: seed, stream: 0)
        }

        private func writeSheet(_ pixels: [Float], _ images: Int, _ c: VAE.Configuration) throws(AMAFError) {
            let isNetpbm = out.hasSuffix(".pgm") || out.hasSuffix(".ppm")
            guard isNetpbm || out.hasSuffix(".png"), c.channels == 1 || c.channels == 3 else {
                throw AMAFError(
                    "vae.options", "'\(out)' is no .png, .pgm or .npy file, or images of \(c.channels) channels are no pictures",
                    remedy: "Name a .npy file for anything but grey and RGB images.")
            }
            let bytes = pixels.map { UInt8((min(1, max(0, $0)) * 255).rounded()) }
            let sheet = ImageWriter.sheet(
                bytes, count: images, columns: Int(Double(images).squareRoot().rounded(.up)), width: c.width, height: c.height,
                channels: c.channels)
            let file = try FileWriter(out)
            let encode = isNetpbm ? ImageWriter.netpbm : ImageWriter.encode
            try file.write(encode(sheet.pixels, sheet.width, sheet.height, c.channels))
            try file.close()
        }
    }
}
