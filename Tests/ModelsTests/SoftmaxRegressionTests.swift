import Foundation
import Kernels
import Models
import Primitives
import Testing

@Suite struct SoftmaxRegressionTests {
    typealias Examples = SoftmaxRegression.Examples
    typealias Configuration = SoftmaxRegression.TrainingConfiguration

    /// Rows of length 1 whose class is told by some columns, with noise columns between.
    static func problem(rows: Int, classes: Int, seed: UInt64) -> (x: SparseMatrix, labels: [Int]) {
        var generator = SeededGenerator(seed: seed)
        var x = SparseMatrix(columns: 200)
        var labels: [Int] = []
        for _ in 0..<rows {
            let label = generator.index(below: classes)
            labels.append(label)
            var columns = (0..<3).map { _ in Int32(label * 8 + generator.index(below: 8)) }
            columns += (0..<5).map { _ in Int32(100 + generator.index(below: 100)) }
            x.appendRow(columns: columns, values: columns.map { _ in 1 / Float(8).squareRoot() })
        }
        return (x, labels)
    }

    /// λ/2 ‖W‖² + Σ cᵢ · cross-entropyᵢ, with W read back through the scores of unit vectors (no intercept).
    static func objective(_ model: SoftmaxRegression, _ examples: Examples, labels: [Int], l2: Double) -> Double {
        let classes = model.classes
        let p = model.probabilities(examples.features)
        var loss = 0.0
        for (row, label) in labels.enumerated() {
            loss -= Double(examples.weights?[row] ?? 1) * log(Double(p[row * classes + label]))
        }
        // Softmax fixes scores up to a constant; the optimum's rows sum to zero, so centred log-probabilities are the weights.
        var unit = SparseMatrix(columns: examples.features.columns)
        for column in 0..<examples.features.columns { unit.appendRow(columns: [Int32(column)], values: [1]) }
        let q = model.probabilities(unit)
        var norm = 0.0
        for column in 0..<unit.rows {
            let logs = (0..<classes).map { log(Double(q[column * classes + $0])) }
            let mean = logs.reduce(0, +) / Double(classes)
            norm += logs.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        }
        return loss + l2 / 2 * norm
    }

    @Test func ascentReachesTheOptimumThatGradientDescentFinds() {
        let (x, labels) = Self.problem(rows: 60, classes: 4, seed: 1)
        let examples = Examples(features: x, positions: Array(0..<60), targets: .classes(labels))
        let training = SoftmaxRegression.train(examples, configuration: Configuration(classes: 4, l2: 0.5, epochs: 60), seed: 9)
        // An independent optimiser in Double: full-batch gradient descent.
        var w = [Double](repeating: 0, count: 200 * 4)
        var best = Double.infinity
        for _ in 0..<3000 {
            var gradient = w.map { 0.5 * $0 }
            var value = w.reduce(0) { $0 + 0.25 * $1 * $1 }
            for row in 0..<60 {
                var z = [Double](repeating: 0, count: 4)
                for e in x.entries(ofRow: row) { for k in 0..<4 { z[k] += Double(x.values[e]) * w[Int(x.columnIndices[e]) * 4 + k] } }
                let sum = z.reduce(0) { $0 + exp($1) }
                value -= z[labels[row]] - log(sum)
                for e in x.entries(ofRow: row) {
                    for k in 0..<4 {
                        gradient[Int(x.columnIndices[e]) * 4 + k] += Double(x.values[e]) * (exp(z[k]) / sum - (k == labels[row] ? 1 : 0))
                    }
                }
            }
            best = min(best, value)
            for i in w.indices { w[i] -= 0.05 * gradient[i] }
        }
        let reached = Self.objective(training.model, examples, labels: labels, l2: 0.5)
        #expect(abs(reached - best) < 1e-3 * best, "\(reached) against \(best)")
        #expect(training.changes.last! < 0.01 * training.changes[0])
    }

    @Test func warmStartGoesOnWhereTheLastRoundEnded() throws {
        let (x, labels) = Self.problem(rows: 200, classes: 10, seed: 2)
        let half = Array(stride(from: 0, to: 200, by: 2))
        var part = SparseMatrix(columns: 200)
        for row in half { part.appendRow(columns: x.columnIndices[x.entries(ofRow: row)], values: x.values[x.entries(ofRow: row)]) }
        let configuration = Configuration(classes: 10, l2: 0.05, epochs: 6)
        let first = SoftmaxRegression.train(
            Examples(features: part, positions: half, targets: .classes(half.map { labels[$0] })), configuration: configuration, seed: 1)
        let all = Examples(features: x, positions: Array(0..<200), targets: .classes(labels))
        let state = try SoftmaxRegressionState(decoding: first.state.encode())
        #expect(state == first.state)
        let cold = SoftmaxRegression.train(all, configuration: configuration, seed: 2)
        let warm = SoftmaxRegression.train(all, warmStart: state, configuration: configuration, seed: 2)
        #expect(warm.changes[0] < cold.changes[0])
        let goal = SoftmaxRegression.train(all, configuration: Configuration(classes: 10, l2: 0.05, epochs: 100), seed: 3)
        func distance(_ training: SoftmaxRegression.Training) -> Float {
            zip(training.model.probabilities(x), goal.model.probabilities(x)).map { abs($0 - $1) }.max()!
        }
        // One epoch on all examples is worth more after six on half of them.
        let one = Configuration(classes: 10, l2: 0.05, epochs: 1)
        #expect(
            distance(SoftmaxRegression.train(all, warmStart: state, configuration: one, seed: 2))
                < distance(SoftmaxRegression.train(all, configuration: one, seed: 2)))
        // Many epochs later both starts have come to the same classifier.
        let later = SoftmaxRegression.train(
            all, warmStart: state, configuration: Configuration(classes: 10, l2: 0.05, epochs: 100), seed: 4)
        #expect(distance(later) < 2e-3)
    }

    @Test func sameArgumentsSameBytes() {
        let (x, labels) = Self.problem(rows: 120, classes: 7, seed: 4)
        func bytes(_ seed: UInt64) -> [UInt8] {
            let examples = Examples(features: x, positions: Array(0..<120), targets: .classes(labels))
            let training = SoftmaxRegression.train(examples, configuration: Configuration(classes: 7), seed: seed)
            return training.model.encode() + training.state.encode()
        }
        #expect(bytes(1) == bytes(1))
        #expect(bytes(1) != bytes(2))
    }

    @Test func softTargetsAndWeightsMeanWhatTheySay() {
        let (x, labels) = Self.problem(rows: 80, classes: 3, seed: 5)
        let configuration = Configuration(classes: 3, l2: 0.2, epochs: 80)
        func train(_ targets: Examples.Targets, weights: [Float]? = nil, rows: [Int] = Array(0..<80)) -> SoftmaxRegression {
            var part = SparseMatrix(columns: 200)
            for row in rows { part.appendRow(columns: x.columnIndices[x.entries(ofRow: row)], values: x.values[x.entries(ofRow: row)]) }
            return SoftmaxRegression.train(
                Examples(features: part, positions: Array(rows.indices), targets: targets, weights: weights), configuration: configuration,
                seed: 1
            ).model
        }
        func agree(_ a: SoftmaxRegression, _ b: SoftmaxRegression) -> Bool {
            zip(a.probabilities(x), b.probabilities(x)).allSatisfy { abs($0 - $1) < 2e-3 }
        }
        var hot = [Float](repeating: 0, count: 80 * 3)
        for (row, label) in labels.enumerated() { hot[row * 3 + label] = 1 }
        let plain = train(.classes(labels))
        #expect(agree(plain, train(.distributions(hot))))
        // An example of weight 2 is that example twice.
        let doubled = train(.classes(labels + [labels[0]]), rows: Array(0..<80) + [0])
        #expect(agree(doubled, train(.classes(labels), weights: [2] + [Float](repeating: 1, count: 79))))
        #expect(!agree(doubled, plain))
        // Targets without information teach nothing.
        let even = train(.distributions([Float](repeating: 1 / 3, count: 240)))
        #expect(even.probabilities(x).allSatisfy { abs($0 - 1 / 3) < 1e-4 })
    }

    @Test func interceptLearnsHowFrequentClassesAre() {
        // Features say nothing; 3 of 4 examples are class 1.
        var x = SparseMatrix(columns: 10)
        for _ in 0..<400 { x.endRow() }
        let labels = (0..<400).map { $0 % 4 == 0 ? 0 : 1 }
        let model = SoftmaxRegression.train(
            Examples(features: x, positions: Array(0..<400), targets: .classes(labels)),
            configuration: Configuration(classes: 2, l2: 1, epochs: 60, intercept: 1), seed: 1
        ).model
        var empty = SparseMatrix(columns: 10)
        empty.endRow()
        #expect(abs(model.probabilities(empty)[1] - 0.75) < 0.01)
    }

    @Test func modelsSurviveTheWire() throws {
        let (x, labels) = Self.problem(rows: 90, classes: 5, seed: 6)
        let model = SoftmaxRegression.train(
            Examples(features: x, positions: Array(0..<90), targets: .classes(labels)), configuration: Configuration(classes: 5), seed: 1
        ).model
        let bytes = model.encode()
        let copy = try SoftmaxRegression(decoding: bytes)
        #expect(copy.encode() == bytes && copy.summaries(x) == model.summaries(x))
        #expect(bytes.count < 40 + 5 * 4 + model.weightRows * 14)
        for length in stride(from: 0, to: bytes.count, by: 11) {
            #expect(throws: AMAFError.self) { try SoftmaxRegression(decoding: Array(bytes[..<length])) }
        }
        #expect(throws: AMAFError.self) { try SoftmaxRegressionState(decoding: bytes) }
        for bad in [Configuration(classes: 0), Configuration(classes: 3, l2: 0), Configuration(classes: 3, epochs: 0)] {
            #expect(throws: AMAFError.self) { try bad.validate() }
        }
    }

    @Test func classNamesClassifyWithoutTraining() throws {
        var featurizer = try TextFeaturizer()
        let block = featurizer.block(["what is my account balance", "book a flight to rome", "zzz qqq"], firstPosition: 0)
        let idf = InverseDocumentFrequency(DocumentFrequency(of: block))
        let model = SoftmaxRegression(classNames: featurizer.matrix(["book flight", "balance", "weather"], idf: idf))
        let summaries = model.summaries(block.scaled(by: idf))
        #expect(summaries[0].top == 1 && summaries[1].top == 0)
        #expect(summaries[2].topProbability == summaries[2].secondProbability)
    }
}
