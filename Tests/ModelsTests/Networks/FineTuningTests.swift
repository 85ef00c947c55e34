import Datasets
import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

@Suite struct FineTuningTests {
    private func accuracy(_ p: [Float], _ labels: [Int], classes: Int) -> Double {
        let right = labels.indices.count { row in
            let slice = p[row * classes..<(row + 1) * classes]
            return slice.firstIndex(of: slice.max() ?? 0).map { $0 - slice.startIndex } == labels[row]
        }
        return Double(right) / Double(labels.count)
    }

    /// `count` images of each of some classes, from `first` on; labels count from 0.
    private func images(_ set: ImageSet, _ classes: Range<Int>, count: Int, skip: Int = 0) -> (values: [Float], labels: [Int]) {
        let all = set.labels ?? []
        var chosen: [Int] = []
        for label in classes { chosen += all.indices.filter { all[$0] == label }.dropFirst(skip).prefix(count) }
        return (set.floats(chosen), chosen.map { all[$0] - classes.lowerBound })
    }

    /// A network that has seen five kinds of clothing meets five others: as a whole it learns them better than through a new
    /// head on what it saw before.
    @Test(.enabled(if: FashionMNIST.folder != nil, "Fashion-MNIST is not beside the package"))
    func aResNetLearnsNewClassesBetterAsAWhole() throws {
        let (train, test) = (try FashionMNIST.load("train"), try FashionMNIST.load("t10k"))
        var c = ResNet.Configuration()
        (c.num_channels, c.embedding_size, c.hidden_sizes, c.depths, c.layer_type, c.labels) = (1, 16, [16, 32], [1, 1], "basic", 5)
        let device = CPUDevice()
        let network = try ResNet(c, ParameterStore(seed: 1, on: device))
        func tensor(_ values: [Float], _ samples: some Collection<Int>) -> Tensor {
            device.tensor(samples.flatMap { values[$0 * 784..<($0 + 1) * 784] }, [samples.count, 28, 28, 1])
        }
        let old = images(train, 0..<5, count: 80)
        let pretraining = ClassifierTrainer(
            network.parameters, classes: 5, on: device,
            .init(epochs: 3, batch: 32, adam: .init(form: .pyTorch, learningRate: 3e-3), seed: 1))
        try pretraining.train(targets: VAETrainer.oneHot(old.labels, classes: 5)) { (samples, tape) throws(AMAFError) in
            network.train(tensor(old.values, samples), tape: tape)
        }
        network.fold()

        let new = images(train, 5..<10, count: 40)
        let unseen = images(test, 5..<10, count: 60)
        let targets = VAETrainer.oneHot(new.labels, classes: 5)
        let classifier = try ResNetClassifier(network, classes: 5, seed: 2, on: device)
        let features = network.features(tensor(new.values, 0..<new.labels.count)).values()
        let headTrainer = ClassifierTrainer(
            classifier.head.parameters, classes: 5, on: device,
            .init(epochs: 60, batch: 32, adam: .init(form: .pyTorch, learningRate: 1e-2), seed: 3))
        try headTrainer.train(classifier.head, features: features, targets: targets)
        let test5 = tensor(unseen.values, 0..<unseen.labels.count)
        let frozen = accuracy(classifier.probabilities(test5), unseen.labels, classes: 5)

        let losses = try classifier.fineTune(
            targets: targets, on: device, .init(epochs: 8, batch: 20, adam: .init(form: .pyTorch, learningRate: 1e-3), seed: 4)
        ) { tensor(new.values, $0) }
        let whole = accuracy(classifier.probabilities(test5), unseen.labels, classes: 5)
        print("ResNet on new classes: frozen head \(frozen), as a whole \(whole), losses \(losses)")
        #expect(losses[7] < 0.5 * losses[0])
        #expect(whole > frozen + 0.02)
    }

    private struct Clinc: Decodable {
        var train: [[String]]
        var test: [[String]]

        static let path: String? = {
            let environment = ProcessInfo.processInfo.environment
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../..").standardized.path
            let path =
                (environment["AMAF_DATA_MIRROR"] ?? environment["AMAF_SHARED_DATA"] ?? root + "/shared/data")
                + "/clinc150/data_full.json.gz"
            return FileManager.default.fileExists(atPath: path) ? path : nil
        }()

        static func load() throws -> Clinc {
            let plain = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-\(UUID().uuidString)").path
            defer { try? FileManager.default.removeItem(atPath: plain) }
            try Gzip.decompress(#require(path), to: plain)
            return try JSONDecoder().decode(Clinc.self, from: Data(contentsOf: URL(fileURLWithPath: plain)))
        }
    }

    /// MiniLM on CLINC150's intents: a head on frozen features against training as a whole, each from a fresh head.
    ///
    /// AMAF_FINE_TUNE=full takes all 150 intents with 20 queries each and every layer; by default 30 with 10 and the upper four
    /// layers. The recipe was chosen on the validation queries.
    @Test(.enabled(if: RealModels.miniLM != nil && Clinc.path != nil, "all-minilm-l6-v2 or CLINC150 is not here"))
    func aBERTLearnsIntentsBetterAsAWhole() throws {
        let isFull = ProcessInfo.processInfo.environment["AMAF_FINE_TUNE"] == "full"
        let data = try Clinc.load()
        let intents = Array(Set(data.train.map { $0[1] })).sorted()
        let names = isFull ? intents : Array(intents.prefix(30))
        let device = CPUDevice()
        let folder = try ModelFolder(#require(RealModels.miniLM))
        let tokenizer = try WordPieceTokenizer(path: folder.file("vocab.txt"))
        func chosen(_ rows: [[String]], _ count: Int) -> (texts: [[Int32]], labels: [Int]) {
            var (texts, labels, seen) = ([[Int32]](), [Int](), [Int: Int]())
            for row in rows {
                guard let label = names.firstIndex(of: row[1]), seen[label, default: 0] < count else { continue }
                seen[label, default: 0] += 1
                texts.append(tokenizer.encode(row[0], limit: 48))
                labels.append(label)
            }
            return (texts, labels)
        }
        let (train, test) = (chosen(data.train, isFull ? 20 : 10), chosen(data.test, 30))
        let classes = names.count
        let targets = VAETrainer.oneHot(train.labels, classes: classes)
        func fresh() throws -> BERTClassifier {
            try BERTClassifier(BERT.load(folder, on: device), classes: classes, pooling: .mean, seed: 1)
        }
        func trainHead(_ classifier: BERTClassifier, epochs: Int) throws {
            let trainer = ClassifierTrainer(
                classifier.head.parameters, classes: classes, on: device,
                .init(epochs: epochs, batch: 64, adam: .init(form: .pyTorch, learningRate: 1e-2), seed: 2))
            try trainer.train(classifier.head, features: classifier.features(train.texts), targets: targets)
        }
        let headOnly = try fresh()
        try trainHead(headOnly, epochs: isFull ? 40 : 60)
        let frozen = accuracy(headOnly.probabilities(test.texts), test.labels, classes: classes)

        let classifier = try fresh()
        // A head that knows nothing would first drag the encoder anywhere; one that knows all would leave it nothing to learn.
        try trainHead(classifier, epochs: 1)
        let (epochs, batch) = (isFull ? 3 : 5, isFull ? 32 : 16)
        let total = epochs * ((train.texts.count + batch - 1) / batch)
        let losses = try classifier.fineTune(
            train.texts, targets: targets, frozen: isFull ? 0 : 2,
            .init(
                epochs: epochs, batch: batch, adam: .init(form: .pyTorch, learningRate: 1e-4, weightDecay: 0.01),
                schedule: .linear(warmup: total / 10, total: total + 1), clip: 1, seed: 3))
        let whole = accuracy(classifier.probabilities(test.texts), test.labels, classes: classes)
        print("MiniLM on \(classes) intents: frozen head \(frozen), as a whole \(whole), losses \(losses)")
        #expect(losses[epochs - 1] < losses[0])
        #expect(whole > frozen)
    }

    /// Frozen layers keep their bits, the layers above them move, and slopes of those are the same as on a whole tape.
    @Test func frozenLayersStayAsTheyAre() throws {
        var c = BERT.Configuration()
        (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads) = (30, 8, 3, 2)
        (c.intermediate_size, c.max_position_embeddings) = (16, 8)
        let device = CPUDevice(lanes: 1)
        let encoder = try BERT(c, ParameterStore(seed: 1, on: device))
        let batch = BERT.Batch([[2, 5, 9, 3], [2, 7, 3]])
        func gradients(frozen: Int) -> [String: [Float]] {
            let tape = Tape()
            let pooled = encoder.meanPooled(encoder(batch, tape: tape, frozen: frozen), batch, tape: tape)
            _ = Losses.crossEntropy(pooled, targets: device.tensor(VAETrainer.oneHot([1, 4], classes: 8), [2, 8]), scale: 1, tape: tape)
            tape.backward()
            defer { encoder.parameters.forgetGradients() }
            return Dictionary(uniqueKeysWithValues: encoder.parameters.compactMap { p in p.gradient.map { (p.name, $0.values()) } })
        }
        let (whole, upper) = (gradients(frozen: 0), gradients(frozen: 2))
        #expect(upper.count == 16 && upper.keys.allSatisfy { $0.hasPrefix("encoder.layer.2.") })
        for (name, gradient) in upper { #expect(whole[name] == gradient, "\(name)") }
        #expect(encoder.parameters(above: 2).map(\.name).filter { !$0.hasPrefix("pooler") }.sorted() == upper.keys.sorted())

        let before = encoder.parameters.map { ($0.name, $0.value.values()) }
        let classifier = try BERTClassifier(encoder, classes: 2, pooling: .mean, seed: 3)
        try classifier.fineTune([[2, 5, 3], [2, 6, 3]], targets: [1, 0, 0, 1], frozen: 2, .init(epochs: 2, batch: 2, seed: 1))
        for ((name, old), parameter) in zip(before, encoder.parameters) {
            #expect((parameter.value.values() != old) == name.hasPrefix("encoder.layer.2."), "\(name)")
        }
    }
}
