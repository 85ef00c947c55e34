import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

/// Features of networks on a real cluster: the same bytes from one worker, from two, and from those that are left.
@Suite(.serialized) struct NetworkFeaturesTests {
    private static let device = CPUDevice(lanes: 1)
    private static let networks = ["clip", "resnet", "vae-folder", "vae"]

    /// Bars that stand and bars that lie, as a folder of IDX files.
    private func writePictures(_ folder: String, count: Int) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        var images: [UInt8] = [0, 0, 8, 3, 0, 0, UInt8(count >> 8), UInt8(count & 255), 0, 0, 0, 20, 0, 0, 0, 20]
        var labels: [UInt8] = [0, 0, 8, 1, 0, 0, UInt8(count >> 8), UInt8(count & 255)]
        for i in 0..<count {
            for pixel in 0..<400 {
                let at = i % 2 == 0 ? pixel % 20 : pixel / 20
                images.append(at == i / 2 % 20 ? 220 : UInt8((i * 7 + pixel * 13) % 40))
            }
            labels.append(UInt8(i % 2))
        }
        try Data(images).write(to: URL(fileURLWithPath: "\(folder)/train-images-idx3-ubyte"))
        try Data(labels).write(to: URL(fileURLWithPath: "\(folder)/train-labels-idx1-ubyte"))
    }

    private func write(_ folder: String, config: String, _ tensors: [NamedTensor]) throws {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        try Data(config.utf8).write(to: URL(fileURLWithPath: "\(folder)/config.json"))
        try Safetensors.encode(tensors).write(to: URL(fileURLWithPath: "\(folder)/model.safetensors"))
    }

    /// Small networks with seeded weights, in the layout of public hubs.
    private func writeModels(_ folder: String) throws {
        var clip = CLIP.VisionConfiguration()
        (clip.hidden_size, clip.intermediate_size, clip.num_hidden_layers, clip.num_attention_heads) = (32, 64, 2, 2)
        (clip.image_size, clip.patch_size, clip.projection_dim) = (32, 8, 24)
        try write(
            "\(folder)/clip",
            config: """
                {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
                 "image_size": 32, "patch_size": 8, "projection_dim": 24}
                """, try CLIPImageEncoder(clip, ParameterStore(seed: 1, on: Self.device)).parameters.namedTensors())
        var resnet = ResNet.Configuration()
        (resnet.embedding_size, resnet.hidden_sizes, resnet.depths, resnet.layer_type, resnet.labels) = (4, [8, 16], [1, 1], "basic", 2)
        try write(
            "\(folder)/resnet",
            config: """
                {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_labels": 2}
                """, try ResNet(resnet, ParameterStore(seed: 2, on: Self.device)).parameters.namedTensors())
        let vae = try VAE(
            VAE.Configuration(height: 16, width: 16, architecture: .dense(hidden: [32]), latent: 8),
            ParameterStore(seed: 3, on: Self.device))
        try VAEFolder("\(folder)/vae-folder").save(
            VAETrainer(vae, .init(seed: 3)), .init(epochs: 0, seed: 3, batch: 128, learningRate: 1e-3, data: Digest.of([])))
    }

    private func pipelines(_ programs: Programs) throws -> [String] {
        try writePictures("\(programs.folder)/pictures", count: 192)
        try writeModels("\(programs.folder)/models")
        return try Self.networks.map { name in
            let network = name.hasPrefix("vae") ? "vae" : name
            let model = name == "vae" ? "" : ", model: models/\(name)"
            let text = """
                name: features-of-\(name)
                dataset:
                  format: idx
                  path: pictures
                  splits: {pool: train}
                block-size: 16
                features: {images: {network: \(network)\(model), side: 16, components: 8}}
                vae: {latent: 6, hidden: 24, epochs: 2, batch: 64, replicas: 3, steps-per-round: 3, mode: synchronous}
                control: none
                review: {mode: simulated, budget: 40, initial: 20, rounds: 2}
                """
            let path = "\(programs.folder)/\(name).yaml"
            try Data((text + "\n").utf8).write(to: URL(fileURLWithPath: path))
            return path
        }
    }

    private struct Task: Decodable {
        var block: Int
        var outputs: [String: String]?
    }

    /// Digests of the features of every block, and the labels.
    private func results(_ cluster: TestCluster, _ run: String) throws -> (features: [String], labels: Data) {
        let text = try cluster.amaf(["tasks", run, "--stage", "extract-features", "--json", "--limit", "1000"])
        let tasks = try JSONDecoder().decode([Task].self, from: Data(text.utf8)).sorted { $0.block < $1.block }
        return (try tasks.map { try #require($0.outputs?["features"]) }, try cluster.export(run))
    }

    @Test func sameFeaturesFromOneWorkerTwoAndSurvivors() throws {
        let programs = try Programs("features")
        defer { programs.remove() }
        let pipelines = try pipelines(programs)
        var found: [[(features: [String], labels: Data)]] = []
        for (workers, kills) in [(1, 0), (2, 0), (1, 3)] {
            let cluster = try TestCluster(programs, store: "\(programs.folder)/store-\(found.count)")
            defer { cluster.stop() }
            let runs = try pipelines.map { try cluster.submit($0) }
            // With the tag that networks prefer, which would be waited for.
            for _ in 0..<workers { try cluster.startWorker(nil, ["--slots", "1", "--emulate-gpu"]) }
            // The only worker there is, so that nothing goes on without it; several times, so that one of them had work in hand.
            for victim in 0..<kills {
                let progress = try #require(try cluster.wait(runs[1], share: 0.05 + 0.15 * Double(victim)))
                #expect(victim > 0 || progress.done < progress.blocks, "the run was over before anything was killed")
                cluster.killWorker(victim)
                try cluster.startWorker(nil, ["--slots", "1", "--emulate-gpu"])
            }
            for run in runs {
                let end = try #require(try cluster.wait(run, share: 1))
                #expect(end.state == "succeeded", "\(run) \(end.state)")
                if kills > 0, run == runs.last { #expect(end.revoked > 0) }
            }
            found.append(try runs.map { try results(cluster, $0) })
        }
        for (i, name) in Self.networks.enumerated() {
            #expect(found[0][i].features.count == 12 && Set(found[0][i].features).count == 12, "\(name)")
            for (other, who) in [(1, "two workers"), (2, "survivors")] {
                #expect(found[0][i].features == found[other][i].features, "\(name): features of \(who)")
                #expect(found[0][i].labels == found[other][i].labels && !found[0][i].labels.isEmpty, "\(name): labels of \(who)")
            }
        }
    }
}
