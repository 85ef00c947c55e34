package import Kernels
package import NeuralNetworks
package import Primitives

/// A perceptron over images with ReLU layers; what its last hidden layer says serves as features of an image.
///
/// It judges synthetic images and measures what they are worth; for labels themselves there are better classifiers.
package final class Perceptron: Sendable {
    package struct Configuration: Sendable, Hashable, Codable {
        package var inputs: Int
        /// Widths from the image on; the last is the width of the features.
        package var hidden: [Int]
        package var classes: Int

        package init(inputs: Int, hidden: [Int], classes: Int) {
            self.inputs = inputs
            self.hidden = hidden
            self.classes = classes
        }
    }

    /// How it is trained; the steps are given, not the epochs, so that sets of different sizes get the same number of updates.
    package struct Training: Sendable, Hashable, Codable {
        package var steps: Int
        package var batch: Int
        package var learningRate: Float
        package var seed: UInt64

        package init(steps: Int, batch: Int = 64, learningRate: Float = 1e-3, seed: UInt64) {
            self.steps = steps
            self.batch = batch
            self.learningRate = learningRate
            self.seed = seed
        }
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let layers: [Linear]
    private let output: Linear

    /// Tensor names: `layers.N`, `output`, each `.weight` and `.bias`.
    package init(_ configuration: Configuration, _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        guard c.inputs > 0, !c.hidden.isEmpty, c.hidden.allSatisfy({ $0 > 0 }), c.classes > 1 else {
            throw AMAFError(
                "model.configuration", "A perceptron from \(c.inputs) over \(c.hidden) to \(c.classes) classes",
                remedy: "Give widths and classes of at least one.")
        }
        self.configuration = c
        var layers: [Linear] = []
        var width = c.inputs
        for (i, next) in c.hidden.enumerated() {
            layers.append(try Linear(store, "layers.\(i)", inputs: width, outputs: next))
            width = next
        }
        self.layers = layers
        output = try Linear(store, "output", inputs: width, outputs: c.classes)
        parameters = store.parameters
    }

    /// x (n, inputs) → (n, last hidden width)
    package func features(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        layers.reduce(x) { $1($0, activation: .relu, tape: tape) }
    }

    /// x (n, inputs) → logits (n, classes)
    package func callAsFunction(_ x: Tensor, tape: Tape? = nil) -> Tensor { output(features(x, tape: tape), tape: tape) }

    /// Features and probabilities of images, row by row.
    package func read(_ images: ImageSet, batch: Int = 500) -> (features: [Float], probabilities: [Float]) {
        let device = output.weight.value.device
        var (features, probabilities): ([Float], [Float]) = ([], [])
        for start in stride(from: 0, to: images.count, by: batch) {
            let rows = start..<min(images.count, start + batch)
            let seen = self.features(device.tensor(images.floats(rows), [rows.count, images.pixels]))
            features += seen.values()
            probabilities += Operations.softmax(output(seen)).values()
        }
        return (features, probabilities)
    }

    /// The likeliest class of each image.
    package func predict(_ images: ImageSet) -> [Int] {
        let classes = configuration.classes
        let p = read(images).probabilities
        return (0..<images.count).map { row in
            (1..<classes).reduce(0) { p[row * classes + $1] > p[row * classes + $0] ? $1 : $0 }
        }
    }

    /// A perceptron trained on images with soft labels (rows of p(class)); batches wrap around the seeded order of each pass.
    ///
    /// - Throws: `classifier.diverged`.
    package static func trained(
        _ configuration: Configuration, on images: ImageSet, targets: [Float], _ training: Training, device: any ComputeDevice
    ) throws(AMAFError) -> Perceptron {
        let classes = configuration.classes
        precondition(
            images.count > 0 && targets.count == images.count * classes && images.pixels == configuration.inputs,
            "\(images.count) images of \(images.pixels), \(targets.count) targets for \(configuration)")
        let network = try Perceptron(configuration, ParameterStore(seed: training.seed, on: device))
        let optimizer = Adam(network.parameters, .init(form: .pyTorch, learningRate: training.learningRate))
        var (order, next, pass) = ([Int](), 0, 0)
        var last = 0.0
        for step in 0..<training.steps {
            var rows: [Int] = []
            while rows.count < min(training.batch, images.count) {
                if next == order.count {
                    order = Array(0..<images.count)
                    var generator = SeededGenerator(seed: training.seed, stream: "perceptron", "order", String(pass))
                    generator.shuffle(&order)
                    (next, pass) = (0, pass + 1)
                }
                rows.append(order[next])
                next += 1
            }
            let tape = Tape()
            let logits = network(device.tensor(images.floats(rows), [rows.count, images.pixels]), tape: tape)
            let wanted = device.tensor(rows.flatMap { targets[$0 * classes..<($0 + 1) * classes] }, [rows.count, classes])
            let loss = Losses.crossEntropy(logits, targets: wanted, scale: 1 / Float(rows.count), tape: tape)
            tape.backward()
            optimizer.update()
            if step == training.steps - 1 { last = loss.values().reduce(0) { $0 + Double($1) } }
        }
        guard last.isFinite else {
            throw AMAFError("classifier.diverged", "The loss is \(last) after \(training.steps) steps", remedy: "Lower the learning rate.")
        }
        return network
    }
}
