package import Kernels
package import Primitives

/// A trained multinomial logistic regression over sparse features: p(c | x) = softmax(xᵀW + b).
///
/// Weights are kept in 16-bit fixed point with one scale, and only for buckets that have any: 150 classes over 30,000 buckets
/// are 9 MB to ship to every worker, and half the memory traffic of Float32 when scoring. The error of a weight is at most
/// max|W| / 65534.
package struct SoftmaxRegression: Sendable {
    package let classes: Int
    /// Columns of the matrices that it scores.
    package let columns: Int
    let weights: SparseKernels.FixedPointRows

    init(classes: Int, columns: Int, weights: SparseKernels.FixedPointRows) {
        self.classes = classes
        self.columns = columns
        self.weights = weights
    }

    /// - Parameters:
    ///   - rows: count × pitch weights of the columns in `columnOfRow`.
    ///   - bias: pitch, already multiplied by the intercept's feature.
    init(quantizing rows: [Float], columnOfRow: [Int32], bias: [Float], classes: Int, columns: Int) {
        let pitch = SparseKernels.pitch(classes: classes)
        precondition(
            rows.count == columnOfRow.count * pitch && bias.count == pitch, "\(rows.count) weights for \(columnOfRow.count) columns")
        var largest: Float = 0
        for value in rows { largest = max(largest, abs(value)) }
        let inverse: Float = largest > 0 ? 32767 / largest : 0
        var rowOfColumn = [Int32](repeating: -1, count: columns)
        var numbers: [Int16] = []
        numbers.reserveCapacity(rows.count)
        // Rows that round to zero everywhere are not kept.
        for (row, column) in columnOfRow.enumerated() {
            let start = numbers.count
            var isZero = true
            for k in row * pitch..<(row + 1) * pitch {
                let number = Int16((rows[k] * inverse).rounded())
                isZero = isZero && number == 0
                numbers.append(number)
            }
            if isZero {
                numbers.removeLast(pitch)
            } else {
                rowOfColumn[Int(column)] = Int32(start / pitch)
            }
        }
        self.init(
            classes: classes, columns: columns,
            weights: SparseKernels.FixedPointRows(rowOfColumn: rowOfColumn, numbers: numbers, scale: largest / 32767, bias: bias))
    }

    /// A classifier without training: the score of a class is `sharpness` times the cosine between the sample and the class's name.
    ///
    /// It costs no human answer, so it starts active learning where classes have telling names. With names that share nothing
    /// with the texts all scores are equal, and a selection by class falls back to chance.
    /// - Parameter names: one row of length 1 for each class.
    package init(classNames names: SparseMatrix, sharpness: Float = 20) {
        let classes = names.rows
        let pitch = SparseKernels.pitch(classes: classes)
        let present = Set(names.columnIndices).sorted()
        var rowOf: [Int32: Int] = [:]
        for (row, column) in present.enumerated() { rowOf[column] = row }
        var rows = [Float](repeating: 0, count: present.count * pitch)
        for k in 0..<classes {
            for entry in names.entries(ofRow: k) { rows[rowOf[names.columnIndices[entry]]! * pitch + k] += sharpness * names.values[entry] }
        }
        self.init(
            quantizing: rows, columnOfRow: present, bias: [Float](repeating: 0, count: pitch), classes: classes, columns: names.columns)
    }

    /// How many columns have weights.
    package var weightRows: Int { weights.numbers.count / weights.bias.count }

    /// rows × classes probabilities.
    package func probabilities(_ x: SparseMatrix) -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(x.rows * classes)
        forEachBatch(of: x) { rows, z in
            SparseKernels.softmax(&z, rows: rows, classes: classes)
            let pitch = weights.bias.count
            for row in 0..<rows { result.append(contentsOf: z[row * pitch..<row * pitch + classes]) }
        }
        return result
    }

    /// The two likeliest classes and the entropy of each row, in one pass: what `score-uncertainty` and the final labels need.
    package func summaries(_ x: SparseMatrix) -> [ClassSummary] {
        var result: [ClassSummary] = []
        result.reserveCapacity(x.rows)
        forEachBatch(of: x) { rows, z in result += SparseKernels.summaries(z, rows: rows, classes: classes) }
        return result
    }

    /// Scores 64 rows at a time, so that the scratch memory does not grow with the block.
    private func forEachBatch(of x: SparseMatrix, _ body: (_ rows: Int, _ z: inout [Float]) -> Void) {
        precondition(x.columns == columns, "\(x.columns) columns meet a classifier of \(columns)")
        var z = [Float](repeating: 0, count: min(64, max(x.rows, 1)) * weights.bias.count)
        for start in stride(from: 0, to: x.rows, by: 64) {
            let rows = start..<min(start + 64, x.rows)
            SparseKernels.scores(x, rows: rows, weights: weights, into: &z)
            body(rows.count, &z)
        }
    }
}

extension SoftmaxRegression {
    private static let magic: UInt32 = 0x3152_5341  // "ASR1"

    /// Little-endian: magic, classes, columns, rows, scale; bias (classes × Float); the columns that have weights (ascending
    /// UInt32); their weights (rows × classes × Int16).
    package func encode() -> [UInt8] {
        let pitch = weights.bias.count
        var writer = ByteWriter(reserving: 32 + classes * 4 + weightRows * (4 + 2 * classes))
        let present = weights.rowOfColumn.indices.filter { weights.rowOfColumn[$0] >= 0 }
        writer.write(Self.magic)
        writer.write(UInt32(classes))
        writer.write(UInt32(columns))
        writer.write(UInt32(present.count))
        writer.write(weights.scale)
        writer.write(array: Array(weights.bias[..<classes]))
        writer.write(array: present.map { UInt32($0) })
        var row: [Int16] = []
        for column in present {
            let start = Int(weights.rowOfColumn[column]) * pitch
            row = Array(weights.numbers[start..<start + classes])
            writer.write(array: row)
        }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "classifier") { (reader) throws(AMAFError) in
            let damaged = AMAFError.damaged("classifier")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            let classes = Int(try reader.read(UInt32.self))
            let columns = Int(try reader.read(UInt32.self))
            let rows = Int(try reader.read(UInt32.self))
            let scale = try reader.readFloat()
            guard classes > 0, classes <= Int(UInt16.max), columns <= 1 << 24, rows <= columns, scale.isFinite else { throw damaged }
            let pitch = SparseKernels.pitch(classes: classes)
            let bias: [Float] = try reader.readArray(count: classes)
            let present: [UInt32] = try reader.readArray(count: rows)
            guard reader.remaining == rows * classes * 2 else { throw damaged }
            var rowOfColumn = [Int32](repeating: -1, count: columns)
            for (row, column) in present.enumerated() {
                guard column < columns else { throw damaged }
                rowOfColumn[Int(column)] = Int32(row)
            }
            var numbers = [Int16](repeating: 0, count: rows * pitch)
            for row in 0..<rows {
                let values: [Int16] = try reader.readArray(count: classes)
                numbers.replaceSubrange(row * pitch..<row * pitch + classes, with: values)
            }
            return SoftmaxRegression(
                classes: classes, columns: columns,
                weights: SparseKernels.FixedPointRows(
                    rowOfColumn: rowOfColumn, numbers: numbers, scale: scale,
                    bias: bias + [Float](repeating: 0, count: pitch - classes)))
        }
    }
}
