package import Kernels
package import NeuralNetworks
package import Primitives

/// A softmax classifier, linear or with one hidden layer, on frozen features, trained on soft labels.
package final class ClassifierHead: Sendable {
    package struct Configuration: Sendable, Hashable, Codable {
        package var features: Int
        package var classes: Int
        /// 0 for a linear head.
        package var hidden: Int
        package init(features: Int, classes: Int, hidden: Int = 0) {
            self.features = features
            self.classes = classes
            self.hidden = hidden
        }
    }

    package let configuration: Configuration
    package let parameters: [Parameter]
    private let hidden: Linear?
    private let output: Linear

    package init(_ configuration: Configuration, _ store: ParameterStore) throws(AMAFError) {
        let c = configuration
        guard c.features > 0, c.classes > 1, c.hidden >= 0 else {
            throw AMAFError(
                "model.configuration", "A head from \(c.features) features over \(c.hidden) to \(c.classes) classes",
                remedy: "Give features and classes of at least one.")
        }
        self.configuration = c
        hidden = c.hidden > 0 ? try Linear(store, "hidden", inputs: c.features, outputs: c.hidden) : nil
        output = try Linear(store, "output", inputs: c.hidden > 0 ? c.hidden : c.features, outputs: c.classes)
        parameters = store.parameters
    }

    /// x (n, features) → logits (n, classes)
    package func callAsFunction(_ x: Tensor, tape: Tape? = nil) -> Tensor {
        output(hidden.map { $0(x, activation: .gelu, tape: tape) } ?? x, tape: tape)
    }

    /// Probabilities, row by row, of features in rows.
    package func probabilities(_ features: [Float], batch: Int = 4096) -> [Float] {
        let width = configuration.features
        precondition(features.count % width == 0, "\(features.count) values are no rows of \(width)")
        let device = output.weight.value.device
        return stride(from: 0, to: features.count / width, by: batch).flatMap { start in
            let rows = min(batch, features.count / width - start)
            let x = device.tensor(Array(features[start * width..<(start + rows) * width]), [rows, width])
            return Operations.softmax(self(x)).values()
        }
    }
}

/// Trains any classifier by cross entropy with soft labels: heads on frozen features and whole networks alike.
package final class ClassifierTrainer {
    package struct Configuration: Sendable, Hashable {
        package var epochs: Int
        package var batch: Int
        package var adam: Adam.Configuration
        package var schedule: LearningRateSchedule
        /// Slopes longer than this (all parameters together) are shortened to it; 0 never.
        package var clip: Float
        package var seed: UInt64
        package init(
            epochs: Int, batch: Int = 64, adam: Adam.Configuration = .init(form: .pyTorch), schedule: LearningRateSchedule = .constant,
            clip: Float = 0, seed: UInt64
        ) {
            self.epochs = epochs
            self.batch = batch
            self.adam = adam
            self.schedule = schedule
            self.clip = clip
            self.seed = seed
        }
    }

    package let configuration: Configuration
    package let optimizer: Adam
    private let parameters: [Parameter]
    private let device: any ComputeDevice
    private let classes: Int
    /// As many zeros as the largest parameter has numbers; made at the first clipping.
    private var zeros: Tensor?

    /// - Parameter parameters: those that are to move.
    package init(_ parameters: [Parameter], classes: Int, on device: any ComputeDevice, _ configuration: Configuration) {
        precondition(configuration.epochs >= 0 && configuration.batch > 0, "\(configuration)")
        self.parameters = parameters
        self.configuration = configuration
        self.device = device
        self.classes = classes
        optimizer = Adam(parameters, configuration.adam)
    }

    /// - Parameters:
    ///   - targets: rows of class weights, (samples, classes); a row of zeros does not count.
    ///   - forward: logits for samples by position, on the tape.
    /// - Returns: the mean loss of each epoch.
    /// - Throws: `classifier.diverged`.
    @discardableResult
    package func train(targets: [Float], forward: (_ samples: ArraySlice<Int>, _ tape: Tape) throws(AMAFError) -> Tensor) throws(AMAFError)
        -> [Double]
    {
        let count = targets.count / classes
        precondition(targets.count == count * classes, "\(targets.count) targets are no rows of \(classes)")
        let steps = (count + configuration.batch - 1) / configuration.batch
        precondition(steps > 0 || configuration.epochs == 0, "no samples to train on")
        var losses: [Double] = []
        for epoch in 0..<configuration.epochs {
            var order = Array(0..<count)
            var generator = SeededGenerator(seed: configuration.seed, stream: "classifier", "order", String(epoch))
            generator.shuffle(&order)
            var rows: [Tensor] = []
            for start in stride(from: 0, to: count, by: configuration.batch) {
                let samples = order[start..<min(count, start + configuration.batch)]
                let tape = Tape()
                let logits = try forward(samples, tape)
                let batch = device.tensor(samples.flatMap { targets[$0 * classes..<($0 + 1) * classes] }, [samples.count, classes])
                rows.append(Losses.crossEntropy(logits, targets: batch, scale: 1 / Float(samples.count), tape: tape))
                tape.backward()
                let rate = configuration.adam.learningRate * configuration.schedule.factor(step: optimizer.step + 1)
                optimizer.update(learningRate: rate, gradientScale: clippingFactor())
            }
            let loss = rows.reduce(0.0) { $0 + $1.values().reduce(0.0) { $0 + Double($1) } } / Double(count)
            guard loss.isFinite else {
                throw AMAFError("classifier.diverged", "The loss of epoch \(epoch + 1) is \(loss)", remedy: "Lower the learning rate.")
            }
            losses.append(loss)
        }
        return losses
    }

    /// Trains a head on features in rows.
    @discardableResult
    package func train(_ head: ClassifierHead, features: [Float], targets: [Float]) throws(AMAFError) -> [Double] {
        let width = head.configuration.features
        precondition(
            features.count / width == targets.count / classes, "\(features.count / width) samples, \(targets.count / classes) targets")
        let all = device.tensor(features, [features.count / width, width])
        return try train(targets: targets) { (samples, tape) throws(AMAFError) in
            let index = device.tensor(indices: samples.map(Int32.init), [samples.count])
            let x = device.empty([samples.count, width])
            device.enqueue(.gatherRows(all.pointer, indices: index.pointer, to: x.pointer, count: samples.count, columns: width))
            return head(x, tape: tape)
        }
    }

    private func clippingFactor() -> Float {
        guard configuration.clip > 0 else { return 1 }
        // Row by row on the device, as the Gaussian loss ½ Σ (g − 0)²; only one number a row comes to the host.
        let zeros = zeros ?? device.zeros([parameters.map(\.value.count).max() ?? 1])
        self.zeros = zeros
        let rows = parameters.compactMap(\.gradient).map { gradient in
            let rows = gradient.rank > 1 ? gradient.dimension(0) : 1
            let half = device.empty([rows])
            device.enqueue(
                .gaussian(
                    RowLoss(
                        predicted: gradient.pointer, target: zeros.pointer, loss: half.pointer, slope: nil, rows: rows,
                        columns: gradient.count / rows, scale: 1)))
            return half
        }
        let length = Float((2 * rows.reduce(0.0) { $0 + $1.values().reduce(0.0) { $0 + Double($1) } }).squareRoot())
        return length > configuration.clip ? configuration.clip / length : 1
    }
}

/// BERT with a classifier on its pooled output, fine-tuned as a whole or only in its head.
package final class BERTClassifier: Sendable {
    package enum Pooling: String, Sendable, Hashable, Codable {
        /// tanh(W x[CLS] + b)
        case pooler
        case mean
    }
    package let encoder: BERT
    package let head: ClassifierHead
    package let pooling: Pooling

    package init(_ encoder: BERT, classes: Int, pooling: Pooling, seed: UInt64) throws(AMAFError) {
        self.encoder = encoder
        self.pooling = pooling
        head = try ClassifierHead(
            .init(features: encoder.configuration.hidden_size, classes: classes), ParameterStore(seed: seed, on: encoder.device))
    }

    /// - Parameter frozen: layers, with the embeddings below them, that the tape does not see.
    package func logits(_ texts: [[Int32]], tape: Tape? = nil, frozen: Int = 0) -> Tensor {
        head(pooled(texts, tape: tape, frozen: frozen), tape: tape)
    }

    private func pooled(_ texts: [[Int32]], tape: Tape?, frozen: Int) -> Tensor {
        let batch = BERT.Batch(texts)
        let hidden = encoder(batch, tape: tape, frozen: frozen)
        return pooling == .pooler ? encoder.pooled(hidden, tape: tape) : encoder.meanPooled(hidden, batch, tape: tape)
    }

    /// What the head sees, row by row: features to train it alone on.
    package func features(_ texts: [[Int32]], batch: Int = 32) -> [Float] {
        stride(from: 0, to: texts.count, by: batch).flatMap { start in
            pooled(Array(texts[start..<min(texts.count, start + batch)]), tape: nil, frozen: 0).values()
        }
    }

    /// Trains encoder and head together; with a pooling that leaves the pooler out, the pooler stays as it is.
    ///
    /// - Parameter frozen: so many layers, and the embeddings, stay as they are; all layers would leave the head alone.
    @discardableResult
    package func fineTune(
        _ texts: [[Int32]], targets: [Float], frozen: Int = 0, _ configuration: ClassifierTrainer.Configuration
    ) throws(AMAFError) -> [Double] {
        let trainer = ClassifierTrainer(
            encoder.parameters(above: frozen) + head.parameters, classes: head.configuration.classes, on: encoder.device, configuration)
        return try trainer.train(targets: targets) { (samples, tape) throws(AMAFError) in
            logits(samples.map { texts[$0] }, tape: tape, frozen: frozen)
        }
    }

    /// Probabilities row by row, in the order of the texts.
    package func probabilities(_ texts: [[Int32]], batch: Int = 32) -> [Float] {
        stride(from: 0, to: texts.count, by: batch).flatMap { start in
            Operations.softmax(logits(Array(texts[start..<min(texts.count, start + batch)]))).values()
        }
    }
}
