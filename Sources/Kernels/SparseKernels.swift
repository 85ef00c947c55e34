internal import CKernels

/// The two likeliest classes of one sample, their probabilities and the entropy in nats.
package struct ClassSummary: Hashable, Sendable {
    package var top: Int
    package var second: Int
    package var topProbability: Float
    package var secondProbability: Float
    package var entropy: Float

    package init(top: Int, second: Int, topProbability: Float, secondProbability: Float, entropy: Float) {
        self.top = top
        self.second = second
        self.topProbability = topProbability
        self.secondProbability = secondProbability
        self.entropy = entropy
    }
}

/// Loops over sparse rows and class scores. Rows of scores are padded to a `pitch` of whole 16-float vectors.
package enum SparseKernels {
    package static func pitch(classes: Int) -> Int { (classes + 15) / 16 * 16 }

    /// Weights in 16-bit fixed point: only the columns that have any, each row `pitch` numbers, value = number × `scale`.
    package struct FixedPointRows: Sendable {
        /// For each column of the matrices its row here, or −1.
        package var rowOfColumn: [Int32]
        package var numbers: [Int16]
        package var scale: Float
        /// pitch.
        package var bias: [Float]

        package init(rowOfColumn: [Int32], numbers: [Int16], scale: Float, bias: [Float]) {
            precondition(
                bias.count % 16 == 0 && !bias.isEmpty && numbers.count % bias.count == 0, "\(numbers.count) weights, \(bias.count) a row")
            let rows = numbers.count / bias.count
            for row in rowOfColumn { precondition(Int(row) < rows, "weight row \(row) of \(rows)") }
            self.rowOfColumn = rowOfColumn
            self.numbers = numbers
            self.scale = scale
            self.bias = bias
        }
    }

    /// z: rows × pitch, z = X W + b for the given rows of X.
    package static func scores(_ x: SparseMatrix, rows: Range<Int>, weights: FixedPointRows, into z: inout [Float]) {
        let pitch = weights.bias.count
        precondition(x.columns == weights.rowOfColumn.count, "\(x.columns) columns meet weights for \(weights.rowOfColumn.count)")
        precondition(rows.lowerBound >= 0 && rows.upperBound <= x.rows && z.count >= rows.count * pitch, "rows \(rows) of \(x.rows)")
        x.rowStarts.withUnsafeBufferPointer { starts in
            guard let base = starts.baseAddress else { return }
            amaf_sparse_scores(
                base + rows.lowerBound, x.columnIndices, x.values, rows.count, weights.rowOfColumn, weights.numbers, weights.scale,
                weights.bias, pitch, &z)
        }
    }

    /// Probabilities over the first `classes` of each row, in place; the padding becomes 0.
    package static func softmax(_ z: inout [Float], rows: Int, classes: Int) {
        let pitch = pitch(classes: classes)
        precondition(classes > 0 && z.count >= rows * pitch, "\(z.count) scores for \(rows) rows of \(pitch)")
        z.withUnsafeMutableBufferPointer { z in
            guard let base = z.baseAddress else { return }
            amaf_sparse_softmax(base, rows, classes, pitch, base)
        }
    }

    /// Summaries of softmax(z); classes with equal scores come in their order.
    package static func summaries(_ z: [Float], rows: Int, classes: Int) -> [ClassSummary] {
        let pitch = pitch(classes: classes)
        precondition(classes > 0 && classes <= Int(UInt16.max) && z.count >= rows * pitch, "\(z.count) scores for \(rows) rows of \(pitch)")
        var raw = [amaf_class_summary](repeating: amaf_class_summary(), count: rows)
        amaf_softmax_summary(z, rows, classes, pitch, &raw)
        return raw.map {
            ClassSummary(
                top: Int($0.top), second: Int($0.second), topProbability: $0.top_probability, secondProbability: $0.second_probability,
                entropy: $0.entropy)
        }
    }

    /// What examples should be: a class each, or a distribution each (rows × pitch).
    package enum Targets: Sendable {
        case classes([Int32])
        case distributions([Float])
    }

    /// A multinomial logistic regression in training by dual coordinate ascent: minimises
    /// λ/2 ‖W‖² + Σᵢ cᵢ · cross-entropy(yᵢ, softmax(Wᵀxᵢ)) with W = (1/λ) Σᵢ xᵢ αᵢᵀ.
    package struct DualProblem: Sendable {
        package let examples: SparseMatrix
        package let targets: Targets
        /// cᵢ.
        package let costs: [Float]
        package let classes: Int
        package let pitch: Int
        /// λ.
        package let l2: Float
        /// The value of a constant feature; 0 for no intercept.
        package let intercept: Float
        private let norms: [Float]
        /// α, rows × pitch.
        package private(set) var dual: [Float]
        /// W, columns × pitch.
        package private(set) var weights: [Float]
        /// pitch; times `intercept` in every score.
        package private(set) var bias: [Float]

        /// - Parameter dual: rows × pitch to go on from; empty to start from zero.
        package init(
            examples: SparseMatrix, targets: Targets, costs: [Float], classes: Int, l2: Float, intercept: Float, dual: [Float] = []
        ) {
            let pitch = SparseKernels.pitch(classes: classes)
            precondition(classes > 0 && l2 > 0 && costs.count == examples.rows, "\(costs.count) weights for \(examples.rows) examples")
            switch targets {
            case .classes(let labels):
                precondition(labels.count == examples.rows, "\(labels.count) labels for \(examples.rows) examples")
                for label in labels { precondition(label >= 0 && Int(label) < classes, "class \(label) of \(classes)") }
            case .distributions(let rows):
                precondition(rows.count == examples.rows * pitch, "\(rows.count) target values for \(examples.rows) examples")
            }
            precondition(dual.isEmpty || dual.count == examples.rows * pitch, "\(dual.count) dual values for \(examples.rows) examples")
            self.examples = examples
            self.targets = targets
            self.costs = costs
            self.classes = classes
            self.pitch = pitch
            self.l2 = l2
            self.intercept = intercept
            norms = (0..<examples.rows).map { row in
                examples.entries(ofRow: row).reduce(into: intercept * intercept) { $0 += examples.values[$1] * examples.values[$1] }
            }
            weights = [Float](repeating: 0, count: examples.columns * pitch)
            bias = [Float](repeating: 0, count: pitch)
            self.dual = dual.isEmpty ? [Float](repeating: 0, count: examples.rows * pitch) : dual
            if !dual.isEmpty {
                let (rows, columns) = (examples.rows, examples.columns)
                withProblem { amaf_softmax_primal(&$0, rows, columns) }
            }
        }

        /// One pass over the examples in this order.
        /// - Returns: the mean of ‖Δαᵢ‖₁, which tends to 0 as the optimum is approached.
        package mutating func epoch(order: [Int32]) -> Double {
            for row in order { precondition(row >= 0 && Int(row) < examples.rows, "example \(row) of \(examples.rows)") }
            guard !order.isEmpty else { return 0 }
            var change = 0.0
            withProblem { change = amaf_softmax_dual_epoch(&$0, order, order.count) }
            return change / Double(order.count)
        }

        private mutating func withProblem(_ body: (inout amaf_softmax_problem) -> Void) {
            var labels: [Int32] = []
            var distributions: [Float] = []
            switch targets {
            case .classes(let rows): labels = rows
            case .distributions(let rows): distributions = rows
            }
            let usesLabels = distributions.isEmpty
            let (classes, pitch, l2, intercept, norms, costs) = (classes, pitch, l2, intercept, norms, costs)
            let examples = examples
            dual.withUnsafeMutableBufferPointer { dual in
                weights.withUnsafeMutableBufferPointer { weights in
                    bias.withUnsafeMutableBufferPointer { bias in
                        examples.rowStarts.withUnsafeBufferPointer { starts in
                            examples.columnIndices.withUnsafeBufferPointer { columns in
                                examples.values.withUnsafeBufferPointer { values in
                                    norms.withUnsafeBufferPointer { norms in
                                        costs.withUnsafeBufferPointer { costs in
                                            labels.withUnsafeBufferPointer { labels in
                                                distributions.withUnsafeBufferPointer { distributions in
                                                    var problem = amaf_softmax_problem(
                                                        starts: starts.baseAddress, columns: columns.baseAddress,
                                                        values: values.baseAddress,
                                                        norms: norms.baseAddress, costs: costs.baseAddress,
                                                        labels: usesLabels ? labels.baseAddress : nil,
                                                        targets: usesLabels ? nil : distributions.baseAddress, dual: dual.baseAddress,
                                                        weights: weights.baseAddress, bias: bias.baseAddress, classes: classes,
                                                        pitch: pitch,
                                                        inverse_l2: 1 / l2, intercept: intercept)
                                                    body(&problem)
                                                }
                                            }
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
