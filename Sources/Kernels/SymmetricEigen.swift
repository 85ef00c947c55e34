/// The decomposition of small symmetric matrices, in Float64 and in a fixed order, so that everybody gets the same bits.
///
/// LAPACK would be faster and one more door; the matrices here have as many rows as a feature has components.
package enum SymmetricEigen {
    /// Eigenvalues, largest first, and their vectors by cyclic Jacobi rotations (Golub and Van Loan, Matrix Computations, section 8.5).
    ///
    /// - Parameter a: (n, n), row by row.
    /// - Returns: n values; vector i belongs to value i.
    package static func decompose(_ a: [Double], _ n: Int) -> (values: [Double], vectors: [[Double]]) {
        precondition(a.count == n * n, "\(a.count) numbers for \(n) × \(n)")
        var a = a
        var v = [Double](repeating: 0, count: n * n)
        for i in 0..<n { v[i * n + i] = 1 }
        for _ in 0..<60 {
            var off = 0.0
            var whole = 0.0
            for i in 0..<n {
                for j in 0..<n { if i != j { off += a[i * n + j] * a[i * n + j] } else { whole += a[i * n + i] * a[i * n + i] } }
            }
            if off <= 1e-22 * max(whole, 1e-300) { break }
            for p in 0..<n {
                for q in p + 1..<max(n, p + 1) where a[p * n + q] != 0 {
                    let theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q])
                    let t = (theta >= 0 ? 1.0 : -1.0) / (abs(theta) + (theta * theta + 1).squareRoot())
                    let c = 1 / (t * t + 1).squareRoot()
                    let s = t * c
                    for k in 0..<n {
                        let (akp, akq) = (a[k * n + p], a[k * n + q])
                        a[k * n + p] = c * akp - s * akq
                        a[k * n + q] = s * akp + c * akq
                    }
                    for k in 0..<n {
                        let (apk, aqk) = (a[p * n + k], a[q * n + k])
                        a[p * n + k] = c * apk - s * aqk
                        a[q * n + k] = s * apk + c * aqk
                        let (vpk, vqk) = (v[p * n + k], v[q * n + k])
                        v[p * n + k] = c * vpk - s * vqk
                        v[q * n + k] = s * vpk + c * vqk
                    }
                }
            }
        }
        let order = (0..<n).sorted { (a[$0 * n + $0], $1) > (a[$1 * n + $1], $0) }
        return (order.map { a[$0 * n + $0] }, order.map { Array(v[$0 * n..<($0 + 1) * n]) })
    }
}
