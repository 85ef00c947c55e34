package import Kernels

/// Feature vectors in rows.
package struct FeatureRows: Sendable, Hashable {
    package var width: Int
    package var values: [Float]

    package init(width: Int, values: [Float] = []) {
        precondition(width > 0 && values.count % width == 0, "\(values.count) values are no rows of \(width)")
        self.width = width
        self.values = values
    }

    package var count: Int { values.count / width }

    package func rows(_ indices: some Sequence<Int>) -> FeatureRows {
        FeatureRows(width: width, values: indices.flatMap { values[$0 * width..<($0 + 1) * width] })
    }

    /// Mean and covariance (n − 1), row by row.
    package func moments() -> (mean: [Double], covariance: [Double]) {
        let (n, d) = (count, width)
        var mean = [Double](repeating: 0, count: d)
        for row in 0..<n { for i in 0..<d { mean[i] += Double(values[row * d + i]) } }
        for i in 0..<d { mean[i] /= Double(max(n, 1)) }
        var covariance = [Double](repeating: 0, count: d * d)
        var centred = [Double](repeating: 0, count: d)
        for row in 0..<n {
            for i in 0..<d { centred[i] = Double(values[row * d + i]) - mean[i] }
            for i in 0..<d {
                let x = centred[i]
                for j in 0...i { covariance[i * d + j] += x * centred[j] }
            }
        }
        let share = 1 / Double(max(n - 1, 1))
        for i in 0..<d {
            for j in 0...i {
                covariance[i * d + j] *= share
                covariance[j * d + i] = covariance[i * d + j]
            }
        }
        return (mean, covariance)
    }

    /// Squared Euclidean distances to all of `others`, given row after row: ‖a‖² + ‖b‖² − 2ab, products on the device.
    package func forEachDistances(
        to others: FeatureRows, on device: any ComputeDevice, _ body: (_ row: Int, _ squared: ArraySlice<Float>) -> Void
    ) {
        precondition(width == others.width, "rows of \(width) against rows of \(others.width)")
        guard count > 0, others.count > 0 else { return }
        let squares = Self.squares(self)
        let otherSquares = Self.squares(others)
        let all = device.tensor(others.values, [others.count, width])
        for start in stride(from: 0, to: count, by: 512) {
            let rows = min(512, count - start)
            let part = device.tensor(Array(values[start * width..<(start + rows) * width]), [rows, width])
            let out = device.empty([rows, others.count])
            device.enqueue(
                .gemm(
                    GEMM(
                        m: rows, n: others.count, k: width, a: MatrixView(part.pointer, stride: width),
                        b: MatrixView(all.pointer, stride: width, transposed: true), c: out.pointer, cStride: others.count)))
            var products = out.values()
            for row in 0..<rows {
                let at = row * others.count
                for j in 0..<others.count { products[at + j] = max(0, squares[start + row] + otherSquares[j] - 2 * products[at + j]) }
                body(start + row, products[at..<at + others.count])
            }
        }
    }

    private static func squares(_ rows: FeatureRows) -> [Float] {
        (0..<rows.count).map { row in
            rows.values[row * rows.width..<(row + 1) * rows.width].reduce(0) { $0 + $1 * $1 }
        }
    }
}
