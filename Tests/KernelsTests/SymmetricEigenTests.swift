import Kernels
import Testing

@Suite struct SymmetricEigenTests {
    @Test func eigenvaluesOfAKnownMatrix() {
        // [[2, 1, 0], [1, 2, 1], [0, 1, 2]]: 2, 2 ± √2.
        let (values, vectors) = SymmetricEigen.decompose([2, 1, 0, 1, 2, 1, 0, 1, 2], 3)
        for (found, known) in zip(values, [2 + 2.0.squareRoot(), 2, 2 - 2.0.squareRoot()]) { #expect(abs(found - known) < 1e-12) }
        // V Λ Vᵀ is the matrix again.
        for i in 0..<3 {
            for j in 0..<3 {
                let sum = (0..<3).reduce(0.0) { $0 + vectors[$1][i] * values[$1] * vectors[$1][j] }
                #expect(abs(sum - [2, 1, 0, 1, 2, 1, 0, 1, 2][i * 3 + j]) < 1e-12)
            }
        }
    }
}
