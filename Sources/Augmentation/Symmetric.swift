/// Symmetric matrices of up to a few hundred rows, in Float64, row by row: what Gaussians and their distances need.
///
/// LAPACK would be faster and one more door; the largest matrix here has as many rows as a feature has components.
package enum Symmetric {
    /// Eigenvalues and eigenvectors by cyclic Jacobi rotations (Golub and Van Loan, section 8.5).
    ///
    /// - Returns: values in no particular order; vector j is column j of `vectors`.
    package static func eigen(_ matrix: [Double], _ n: Int) -> (values: [Double], vectors: [Double]) {
        precondition(matrix.count == n * n, "\(matrix.count) numbers for \(n) × \(n)")
        var a = matrix
        var v = identity(n)
        let scale = a.reduce(0) { max($0, abs($1)) }
        // Quadratic convergence: a handful of sweeps; sixty would mean numbers that are none.
        for _ in 0..<60 {
            var off = 0.0
            for i in 0..<n { for j in 0..<i { off = max(off, abs(a[i * n + j])) } }
            if off <= 1e-14 * scale { break }
            for p in 0..<n {
                for q in (p + 1)..<max(n, p + 1) {
                    let apq = a[p * n + q]
                    if abs(apq) <= 1e-300 { continue }
                    let theta = (a[q * n + q] - a[p * n + p]) / (2 * apq)
                    let t = (theta >= 0 ? 1.0 : -1.0) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    let s = t * c
                    for k in 0..<n {
                        let (x, y) = (a[k * n + p], a[k * n + q])
                        a[k * n + p] = c * x - s * y
                        a[k * n + q] = s * x + c * y
                    }
                    for k in 0..<n {
                        let (x, y) = (a[p * n + k], a[q * n + k])
                        a[p * n + k] = c * x - s * y
                        a[q * n + k] = s * x + c * y
                    }
                    for k in 0..<n {
                        let (x, y) = (v[k * n + p], v[k * n + q])
                        v[k * n + p] = c * x - s * y
                        v[k * n + q] = s * x + c * y
                    }
                }
            }
        }
        return ((0..<n).map { a[$0 * n + $0] }, v)
    }

    /// The root of a positive semi-definite matrix; eigenvalues that rounding made negative count as 0.
    package static func squareRoot(_ matrix: [Double], _ n: Int) -> [Double] {
        let (values, vectors) = eigen(matrix, n)
        let roots = values.map { max($0, 0).squareRoot() }
        var out = [Double](repeating: 0, count: n * n)
        for i in 0..<n {
            for j in 0...i {
                var sum = 0.0
                for k in 0..<n { sum += vectors[i * n + k] * roots[k] * vectors[j * n + k] }
                out[i * n + j] = sum
                out[j * n + i] = sum
            }
        }
        return out
    }

    /// tr((A B)^½) of two positive semi-definite matrices, as the sum of roots of the eigenvalues of A^½ B A^½.
    package static func traceOfProductRoot(_ a: [Double], _ b: [Double], _ n: Int) -> Double {
        let root = squareRoot(a, n)
        let inner = product(product(root, b, n), root, n)
        return eigen(inner, n).values.reduce(0) { $0 + max($1, 0).squareRoot() }
    }

    /// The lower factor L with L Lᵀ = A, given by its lower triangle. Pivots below `floor` are raised to it.
    package static func cholesky(_ a: [Double], _ n: Int, floor: Double = 1e-12) -> [Double] {
        var l = [Double](repeating: 0, count: n * n)
        for i in 0..<n {
            for j in 0...i {
                var sum = a[i * n + j]
                for k in 0..<j { sum -= l[i * n + k] * l[j * n + k] }
                l[i * n + j] = i == j ? max(sum, floor).squareRoot() : sum / l[j * n + j]
            }
        }
        return l
    }

    /// x with A x = b for a positive definite A.
    package static func solve(_ a: [Double], _ b: [Double]) -> [Double] {
        let n = b.count
        let l = cholesky(a, n)
        var x = b
        for i in 0..<n {
            for k in 0..<i { x[i] -= l[i * n + k] * x[k] }
            x[i] /= l[i * n + i]
        }
        for i in (0..<n).reversed() {
            for k in (i + 1)..<max(n, i + 1) { x[i] -= l[k * n + i] * x[k] }
            x[i] /= l[i * n + i]
        }
        return x
    }

    static func identity(_ n: Int) -> [Double] {
        var out = [Double](repeating: 0, count: n * n)
        for i in 0..<n { out[i * n + i] = 1 }
        return out
    }

    static func product(_ a: [Double], _ b: [Double], _ n: Int) -> [Double] {
        var out = [Double](repeating: 0, count: n * n)
        for i in 0..<n {
            for k in 0..<n {
                let x = a[i * n + k]
                if x == 0 { continue }
                for j in 0..<n { out[i * n + j] += x * b[k * n + j] }
            }
        }
        return out
    }
}
