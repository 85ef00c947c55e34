package import Kernels
package import Primitives

extension SoftmaxRegression {
    /// Settings of the training, part of its identity.
    package struct TrainingConfiguration: Hashable, Sendable, Codable {
        package var classes: Int
        /// λ in λ/2 ‖W‖² + Σᵢ cᵢ · cross-entropyᵢ.
        package var l2: Float
        /// Passes over the examples; with a warm start few are enough.
        package var epochs: Int
        /// The value of a constant feature, regularised like the others; 0 for no intercept.
        package var intercept: Float

        package init(classes: Int, l2: Float = 0.05, epochs: Int = 4, intercept: Float = 0) {
            self.classes = classes
            self.l2 = l2
            self.epochs = epochs
            self.intercept = intercept
        }

        /// Throws `classifier.configuration` when a value makes no sense.
        package func validate() throws(AMAFError) {
            guard classes >= 1, classes <= Int(UInt16.max), l2 > 0, l2.isFinite, (1...1000).contains(epochs), intercept >= 0,
                intercept.isFinite
            else {
                throw AMAFError(
                    "classifier.configuration",
                    "No classifier can be trained with \(classes) classes, l2 \(l2), \(epochs) epochs, intercept \(intercept)",
                    remedy: "Classes lie in 1...65535, l2 above 0, epochs in 1...1000, the intercept at 0 or above.")
            }
        }
    }

    /// What the labelled examples are: features with their positions in the data set, and what each should be.
    package struct Examples: Sendable {
        package enum Targets: Sendable {
            case classes([Int])
            /// rows × classes, each row a distribution.
            case distributions([Float])
        }
        package var features: SparseMatrix
        /// Ascending and unique.
        package var positions: [Int]
        package var targets: Targets
        /// Importance of each example; nil for 1.
        package var weights: [Float]?

        package init(features: SparseMatrix, positions: [Int], targets: Targets, weights: [Float]? = nil) {
            precondition(features.rows == positions.count, "\(features.rows) rows of features for \(positions.count) positions")
            precondition(zip(positions, positions.dropFirst()).allSatisfy { $0 < $1 }, "positions of examples must ascend")
            precondition(
                weights.map { $0.count == positions.count } ?? true, "\(weights?.count ?? 0) weights for \(positions.count) examples")
            self.features = features
            self.positions = positions
            self.targets = targets
            self.weights = weights
        }
    }

    package struct Training: Sendable {
        package var model: SoftmaxRegression
        /// What the next round starts from.
        package var state: SoftmaxRegressionState
        /// Mean ‖Δα‖₁ of each epoch; falls towards 0.
        package var changes: [Double]
    }

    /// Stochastic dual coordinate ascent (Prox-SDCA, Shalev-Shwartz and Zhang, "Accelerated proximal stochastic dual coordinate
    /// ascent for regularized loss minimization", 2014, option V): each step moves one example's dual variables αᵢ ∈ ℝᴷ towards
    /// cᵢ(yᵢ − p(xᵢ)), their value at the optimum, by a length that cannot overshoot. No learning rate, no state for any weight,
    /// and a warm start that is exact: α of known examples, 0 for new ones.
    ///
    /// Single-threaded; the result depends on nothing but the arguments (and the numerics class).
    package static func train(
        _ examples: Examples, warmStart: SoftmaxRegressionState? = nil, configuration: TrainingConfiguration, seed: UInt64
    ) -> Training {
        let (classes, rows) = (configuration.classes, examples.positions.count)
        let pitch = SparseKernels.pitch(classes: classes)
        let (map, present) = compactColumns(of: examples.features)
        let targets: SparseKernels.Targets
        switch examples.targets {
        case .classes(let labels): targets = .classes(labels.map { Int32($0) })
        case .distributions(let values):
            precondition(values.count == rows * classes, "\(values.count) target values for \(rows) examples of \(classes) classes")
            targets = .distributions(pad(values, rows: rows, classes: classes, pitch: pitch))
        }
        var problem = SparseKernels.DualProblem(
            examples: examples.features.mappingColumns(map, columns: present.count), targets: targets,
            costs: examples.weights ?? [Float](repeating: 1, count: rows), classes: classes, l2: configuration.l2,
            intercept: configuration.intercept,
            dual: warmStart.map { $0.dual(at: examples.positions, classes: classes, pitch: pitch) } ?? [])
        var generator = SeededGenerator(seed: seed, stream: "train-classifier")
        var order = (0..<rows).map { Int32($0) }
        var changes: [Double] = []
        for _ in 0..<configuration.epochs {
            generator.shuffle(&order)
            changes.append(problem.epoch(order: order))
        }
        let model = SoftmaxRegression(
            quantizing: problem.weights, columnOfRow: present, bias: problem.bias.map { $0 * configuration.intercept }, classes: classes,
            columns: examples.features.columns)
        let state = SoftmaxRegressionState(dual: problem.dual, positions: examples.positions, classes: classes, pitch: pitch)
        return Training(model: model, state: state, changes: changes)
    }

    /// Numbers the columns that occur, the most frequent first so that hot weight rows share pages; equal counts by column.
    private static func compactColumns(of x: SparseMatrix) -> (map: [Int32], present: [Int32]) {
        var counts = [Int32](repeating: 0, count: x.columns)
        for column in x.columnIndices { counts[Int(column)] += 1 }
        let present = counts.indices.filter { counts[$0] > 0 }.sorted { (counts[$1], $0) < (counts[$0], $1) }.map { Int32($0) }
        var map = [Int32](repeating: -1, count: x.columns)
        for (row, column) in present.enumerated() { map[Int(column)] = Int32(row) }
        return (map, present)
    }

    private static func pad(_ values: [Float], rows: Int, classes: Int, pitch: Int) -> [Float] {
        var padded = [Float](repeating: 0, count: rows * pitch)
        for row in 0..<rows {
            padded.replaceSubrange(row * pitch..<row * pitch + classes, with: values[row * classes..<(row + 1) * classes])
        }
        return padded
    }
}

/// The dual variables of a trained classifier by sample position, in 16-bit fixed point: what a later round starts from. 0.9 MB for
/// 3,000 examples of 150 classes.
package struct SoftmaxRegressionState: Hashable, Sendable {
    package let classes: Int
    /// Ascending.
    package let positions: [Int]
    private let scale: Float
    /// positions × classes.
    private let numbers: [Int16]

    init(dual: [Float], positions: [Int], classes: Int, pitch: Int) {
        self.classes = classes
        self.positions = positions
        var largest: Float = 0
        for value in dual { largest = max(largest, abs(value)) }
        let inverse: Float = largest > 0 ? 32767 / largest : 0
        scale = largest / 32767
        var numbers: [Int16] = []
        numbers.reserveCapacity(positions.count * classes)
        for row in positions.indices {
            for k in row * pitch..<row * pitch + classes { numbers.append(Int16((dual[k] * inverse).rounded())) }
        }
        self.numbers = numbers
    }

    /// count × pitch dual variables of these positions (ascending), 0 for positions that were not trained on.
    func dual(at wanted: [Int], classes: Int, pitch: Int) -> [Float] {
        precondition(classes == self.classes, "a state of \(self.classes) classes starts a training of \(classes)")
        var result = [Float](repeating: 0, count: wanted.count * pitch)
        var row = 0
        for (i, position) in wanted.enumerated() {
            while row < positions.count && positions[row] < position { row += 1 }
            guard row < positions.count else { break }
            if positions[row] == position {
                for k in 0..<classes { result[i * pitch + k] = Float(numbers[row * classes + k]) * scale }
            }
        }
        return result
    }

    private static let magic: UInt32 = 0x3153_5341  // "ASS1"

    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 24 + positions.count * (8 + 2 * classes))
        writer.write(Self.magic)
        writer.write(UInt32(classes))
        writer.write(UInt32(positions.count))
        writer.write(scale)
        writer.write(array: positions.map { UInt64($0) })
        writer.write(array: numbers)
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "classifier state") { (reader) throws(AMAFError) in
            let damaged = AMAFError.damaged("classifier state")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            let (classes, rows) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let scale = try reader.readFloat()
            let positions: [UInt64] = try reader.readArray(count: rows)
            guard classes > 0, classes <= Int(UInt16.max), scale.isFinite, reader.remaining == rows * classes * 2,
                positions.allSatisfy({ $0 < UInt64(Int.max) }), zip(positions, positions.dropFirst()).allSatisfy({ $0 < $1 })
            else { throw damaged }
            return SoftmaxRegressionState(
                classes: classes, positions: positions.map { Int($0) }, scale: scale, numbers: try reader.readArray(count: rows * classes))
        }
    }

    private init(classes: Int, positions: [Int], scale: Float, numbers: [Int16]) {
        self.classes = classes
        self.positions = positions
        self.scale = scale
        self.numbers = numbers
    }
}
