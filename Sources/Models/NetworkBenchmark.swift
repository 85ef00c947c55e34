package import Kernels
internal import NeuralNetworks
package import Primitives

/// How fast the networks are here: the shapes of Benchmarks/networks.py, so that lines can be laid side by side.
package enum NetworkBenchmark {
    package struct Row: Sendable {
        package var name: String
        package var items: String
        /// Items per second: the best of the rounds, and all of them.
        package var best: Double
        package var rounds: [Double]
        /// Items per second of processor time, all rounds together: with one lane, the rate on a machine without neighbours.
        package var perProcessorSecond: Double
        /// Floating-point operations per item, 0 where memory decides.
        package var flopsPerItem: Double

        package func line(peak: Double) -> String {
            func short(_ value: Double) -> String { value >= 1000 ? String(Int(value)) : String((value * 100).rounded() / 100) }
            let rate = best * flopsPerItem / 1e9
            let share = flopsPerItem == 0 ? "" : ", \(short(rate)) GFLOP/s = \(Int((rate / peak * 100).rounded())) % of \(short(peak))"
            return
                "\(name): \(short(best)) \(items)/s (\(rounds.map(short).joined(separator: ", "))), \(short(perProcessorSecond)) per processor second\(share)"
        }
    }

    package enum Case: String, CaseIterable, Sendable {
        case vaeDense28 = "vae-mlp28"
        case vaeConvolutional28 = "vae-conv28"
        case vaeConvolutional64 = "vae-conv64"
        case clip = "clip-vit-b32"
        case resNet = "resnet50"
        case bert32 = "bert-base-seq32"
        case entropy = "entropy-1Mx150"
        case gemm = "gemm-1024"
    }

    /// - Parameter seconds: of each round; every case runs one round to warm up and then `rounds`.
    package static func run(_ which: Case, on device: CPUDevice, batch: Int? = nil, rounds: Int = 3, seconds: Double = 1) throws(AMAFError)
        -> Row
    {
        switch which {
        case .vaeDense28:
            return try vae(
                which, .init(height: 28, width: 28, architecture: .dense(hidden: [512, 256])), device, rounds, seconds, flops: 6.2e6)
        case .vaeConvolutional28:
            let c = VAE.Configuration(height: 28, width: 28, architecture: .convolutional(filters: [32, 64], hidden: 256))
            return try vae(which, c, device, rounds, seconds, flops: 30.7e6)
        case .vaeConvolutional64:
            let c = VAE.Configuration(height: 64, width: 64, architecture: .convolutional(filters: [32, 64, 128, 256], hidden: 0))
            return try vae(which, c, device, rounds, seconds, flops: 318e6)
        case .clip:
            let n = batch ?? 32
            let network = try CLIPImageEncoder(CLIP.VisionConfiguration(), ParameterStore(seed: 1, on: device))
            let x = noise([n, 224, 224, 3], device)
            return measure(which, "images", n, rounds, seconds, flops: 8.73e9) { _ = network(x).values() }
        case .resNet:
            let n = batch ?? 32
            let network = try ResNet(ResNet.Configuration(), ParameterStore(seed: 1, on: device))
            let x = noise([n, 224, 224, 3], device)
            return measure(which, "images", n, rounds, seconds, flops: 8.18e9) { _ = network(x).values() }
        case .bert32:
            let n = batch ?? 32
            let network = try BERT(BERT.Configuration(), ParameterStore(seed: 1, on: device))
            var generator = SeededGenerator(seed: 1)
            let texts = (0..<n).map { _ in (0..<32).map { _ in Int32(generator.index(below: 30000)) } }
            let input = BERT.Batch(texts)
            return measure(which, "texts", n, rounds, seconds, flops: 5.44e9) { _ = network.pooled(network(input)).values() }
        case .entropy:
            let rows = 1_000_000
            let p = device.full([rows, 150], 1 / 150)
            let out = device.empty([rows])
            return measure(which, "rows", rows, rounds, seconds, flops: 0) {
                device.enqueue(.entropy(p.pointer, to: out.pointer, rows: rows, columns: 150))
            }
        case .gemm:
            let n = 1024
            let (a, b, c) = (noise([n, n], device), noise([n, n], device), device.empty([n, n]))
            let g = GEMM(
                m: n, n: n, k: n, a: MatrixView(a.pointer, stride: n), b: MatrixView(b.pointer, stride: n), c: c.pointer, cStride: n)
            return measure(which, "products", 1, rounds, seconds, flops: 2 * 1024 * 1024 * 1024) { device.enqueue(.gemm(g)) }
        }
    }

    private static func noise(_ shape: [Int], _ device: CPUDevice) -> Tensor {
        let x = device.empty(shape)
        device.enqueue(.normal(x.pointer, seed: 1, stream: 0, count: x.count))
        return x
    }

    private static func vae(
        _ which: Case, _ configuration: VAE.Configuration, _ device: CPUDevice, _ rounds: Int, _ seconds: Double, flops: Double
    ) throws(AMAFError) -> Row {
        let trainer = VAETrainer(try VAE(configuration, ParameterStore(seed: 1, on: device)), .init(seed: 1))
        // Soft blobs, as the peers' synthetic set; only their number of pixels matters for speed.
        var generator = SeededGenerator(seed: 1)
        let images = ImageSet(
            bytes: (0..<1280 * configuration.pixels).map { _ in UInt8(generator.index(below: 256)) }, pixels: configuration.pixels)
        var position = 0
        return measure(which, "images", 128, rounds, seconds, flops: flops) {
            trainer.step(images, position * 128..<(position + 1) * 128)
            position = (position + 1) % 10
        }
    }

    private static func measure(
        _ which: Case, _ items: String, _ count: Int, _ rounds: Int, _ seconds: Double, flops: Double, _ body: () -> Void
    ) -> Row {
        let clock = ContinuousClock()
        body()
        var rates: [Double] = []
        let processorStart = CPUDevice.processorSeconds
        var total = 0
        for _ in 0..<rounds {
            let start = clock.now
            var done = 0
            repeat {
                body()
                done += count
            } while (clock.now - start).seconds < seconds
            rates.append(Double(done) / (clock.now - start).seconds)
            total += done
        }
        return Row(
            name: which.rawValue, items: items, best: rates.max() ?? 0, rounds: rates,
            perProcessorSecond: Double(total) / (CPUDevice.processorSeconds - processorStart), flopsPerItem: flops)
    }
}
