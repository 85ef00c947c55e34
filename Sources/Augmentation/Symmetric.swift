internal import Kernels

/// Symmetric matrices of up to a few hundred rows, in Float64, row by row: what Gaussians and their distances need.
package enum Symmetric {
    /// The root of a positive semi-definite matrix; eigenvalues that rounding made negative count as 0.
    package static func squareRoot(_ matrix: [Double], _ n: Int) -> [Double] {
        let (values, vectors) = SymmetricEigen.decompose(matrix, n)
        let roots = values.map { max($0, 0).squareRoot() }
        var out = [Double](repeating: 0, count: n * n)
        for i in 0..<n {
            for j in 0...i {
                var sum = 0.0
                for k in 0..<n { sum += vectors[k][i] * roots[k] * vectors[k][j] }
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
        return SymmetricEigen.decompose(inner, n).values.reduce(0) { $0 + max($1, 0).squareRoot() }
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
