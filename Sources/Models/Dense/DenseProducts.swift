package import Kernels

/// Products of host matrices on a device, for the small dense mathematics of classifiers.
package struct DenseProducts {
    private let device: any ComputeDevice

    package init(on device: any ComputeDevice) { self.device = device }

    /// a (m, k) · bᵀ, b (n, k) → (m, n)
    package func rowsByRows(_ a: [Float], _ b: [Float], inner k: Int) -> [Float] {
        let (m, n) = (a.count / k, b.count / k)
        precondition(a.count == m * k && b.count == n * k, "\(a.count) and \(b.count) values in rows of \(k)")
        guard m > 0, n > 0 else { return [] }
        let (left, right, out) = (device.tensor(a, [m, k]), device.tensor(b, [n, k]), device.empty([m, n]))
        device.enqueue(
            .gemm(
                GEMM(
                    m: m, n: n, k: k, a: MatrixView(left.pointer, stride: k), b: MatrixView(right.pointer, stride: k, transposed: true),
                    c: out.pointer, cStride: n)))
        return out.values()
    }

    /// a (m, k) · b (k, n) → (m, n)
    package func rowsByColumns(_ a: [Float], _ b: [Float], inner k: Int) -> [Float] {
        let (m, n) = (a.count / k, b.count / k)
        precondition(a.count == m * k && b.count == n * k, "\(a.count) values in rows of \(k), \(b.count) in columns of \(k)")
        guard m > 0, n > 0 else { return [] }
        let (left, right, out) = (device.tensor(a, [m, k]), device.tensor(b, [k, n]), device.empty([m, n]))
        device.enqueue(
            .gemm(
                GEMM(
                    m: m, n: n, k: k, a: MatrixView(left.pointer, stride: k), b: MatrixView(right.pointer, stride: n), c: out.pointer,
                    cStride: n)))
        return out.values()
    }

    /// xᵀ x, x (rows, d) → (d, d)
    package func gram(_ x: [Float], columns d: Int) -> [Float] {
        let rows = x.count / d
        precondition(x.count == rows * d && rows > 0, "\(x.count) values in rows of \(d)")
        let (input, out) = (device.tensor(x, [rows, d]), device.empty([d, d]))
        device.enqueue(
            .gemm(
                GEMM(
                    m: d, n: d, k: rows, a: MatrixView(input.pointer, stride: d, transposed: true), b: MatrixView(input.pointer, stride: d),
                    c: out.pointer, cStride: d)))
        return out.values()
    }

    /// ‖aᵢ − bⱼ‖², a (m, d), b (n, d) → (m, n), never negative.
    package func squaredDistances(_ a: [Float], _ b: [Float], columns d: Int) -> [Float] {
        var products = rowsByRows(a, b, inner: d)
        let (normsA, normsB) = (Self.squaredNorms(a, columns: d), Self.squaredNorms(b, columns: d))
        let n = normsB.count
        for i in normsA.indices {
            for j in 0..<n { products[i * n + j] = max(0, normsA[i] + normsB[j] - 2 * products[i * n + j]) }
        }
        return products
    }

    private static func squaredNorms(_ x: [Float], columns d: Int) -> [Float] {
        (0..<x.count / d).map { row in x[row * d..<(row + 1) * d].reduce(0) { $0 + $1 * $1 } }
    }
}

/// Symmetric systems in Float64, on one thread, in a fixed order.
enum SymmetricSolver {
    /// The Cholesky factor L (lower, row-major, n × n) of a positive definite matrix; nil when a pivot is not positive.
    static func cholesky(_ a: [Double], _ n: Int) -> [Double]? {
        precondition(a.count == n * n, "\(a.count) values for \(n) × \(n)")
        var l = a
        let isDefinite = l.withUnsafeMutableBufferPointer { l -> Bool in
            let base = l.baseAddress.unsafelyUnwrapped
            for i in 0..<n {
                let rowI = base + i * n
                for j in 0..<i {
                    let rowJ = base + j * n
                    rowI[j] = (rowI[j] - dot(rowI, rowJ, j)) / rowJ[j]
                }
                let pivot = rowI[i] - dot(rowI, rowI, i)
                guard pivot > 0 else { return false }
                rowI[i] = pivot.squareRoot()
                for j in i + 1..<max(n, i + 1) { rowI[j] = 0 }
            }
            return true
        }
        return isDefinite ? l : nil
    }

    /// Four partial sums, so that additions overlap.
    private static func dot(_ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ n: Int) -> Double {
        var (s0, s1, s2, s3) = (0.0, 0.0, 0.0, 0.0)
        var k = 0
        while k + 4 <= n {
            s0 += a[k] * b[k]
            s1 += a[k + 1] * b[k + 1]
            s2 += a[k + 2] * b[k + 2]
            s3 += a[k + 3] * b[k + 3]
            k += 4
        }
        while k < n {
            s0 += a[k] * b[k]
            k += 1
        }
        return (s0 + s1) + (s2 + s3)
    }

    /// Solves L Lᵀ x = b.
    static func solve(_ l: [Double], _ n: Int, _ b: [Double]) -> [Double] {
        var x = forward(l, n, b)
        l.withUnsafeBufferPointer { l in
            for i in stride(from: n - 1, through: 0, by: -1) {
                x[i] /= l[i * n + i]
                for j in 0..<i { x[j] -= l[i * n + j] * x[i] }
            }
        }
        return x
    }

    /// Solves L y = b.
    static func forward(_ l: [Double], _ n: Int, _ b: [Double]) -> [Double] {
        precondition(b.count == n, "\(b.count) right-hand values for \(n)")
        var y = b
        l.withUnsafeBufferPointer { l in
            y.withUnsafeMutableBufferPointer { y in
                let (l, y) = (l.baseAddress.unsafelyUnwrapped, y.baseAddress.unsafelyUnwrapped)
                for i in 0..<n { y[i] = (y[i] - dot(l + i * n, y, i)) / l[i * n + i] }
            }
        }
        return y
    }

    /// The diagonal of (L Lᵀ)⁻¹ : columns of L⁻¹, squared and summed.
    static func inverseDiagonal(_ l: [Double], _ n: Int) -> [Double] {
        // Row-oriented inversion of L, so that inner loops run along rows: inverse[i] = (eᵢ − Σ_{j<i} L[i][j] inverse[j]) / L[i][i].
        var inverse = [Double](repeating: 0, count: n * n)
        inverse.withUnsafeMutableBufferPointer { inverse in
            l.withUnsafeBufferPointer { l in
                let (inv, l) = (inverse.baseAddress.unsafelyUnwrapped, l.baseAddress.unsafelyUnwrapped)
                for i in 0..<n {
                    let row = inv + i * n
                    for j in 0..<i {
                        let factor = l[i * n + j]
                        let other = inv + j * n
                        for k in 0...j { row[k] -= factor * other[k] }
                    }
                    row[i] = 1
                    let pivot = 1 / l[i * n + i]
                    for k in 0...i { row[k] *= pivot }
                }
            }
        }
        var diagonal = [Double](repeating: 0, count: n)
        for i in 0..<n {
            for k in 0...i { diagonal[k] += inverse[i * n + k] * inverse[i * n + k] }
        }
        return diagonal
    }
}
