internal import Foundation
internal import Primitives

extension PairwiseAgreement {
    /// Copies give the same answer nine times in ten beyond chance, and more of that than 0.7 is not the truth's doing.
    private static let repeated = 0.85
    private static let copy = 0.7
    /// Standard errors by which two functions must agree beyond chance to be witnesses about others.
    private static let seen = 4.0

    /// How far two functions repeat each other beyond what the truth makes them say alike, 0 to 1, by function and function.
    ///
    /// With bⱼ = (K·aⱼ − 1)/(K − 1), functions that are independent given the class have excess agreement Mᵢⱼ = bᵢ·bⱼ, and others give the
    /// same product without looking at the pair: Mᵢₗ·Mⱼₗ′/Mₗₗ′ (Spearman's tetrads), where each of the three is clearly above chance: the
    /// product of what functions that answer at random have in common says nothing. Copies of i among the others only raise it, so the
    /// lower quartile over all (l, l′) is taken. The dependence is (Mᵢⱼ − that)/(1 − that), where it is larger than chance by five
    /// standard errors, above 0.7, and Mᵢⱼ itself above 0.85: copies. Likeness below that comes from samples that mislead many, which
    /// subtypes describe. Functions that speak for one class agree with their like by design; of them only near-duplicates
    /// count: pairs of which nine in ten votes fall on the same samples.
    func dependence(isUnipolar: [Bool]) -> [Double] {
        let m = functionCount
        let k = Double(max(2, classCount))
        func both(_ i: Int, _ j: Int) -> Double { Double(together[i * m + j]) }
        func excess(_ i: Int, _ j: Int) -> (value: Double, error: Double) {
            let alike = Double(agreed[i * m + j]) / both(i, j)
            let p = min(max(alike, 0.05), 0.95)
            return ((alike - 1 / k) * k / (k - 1), (p * (1 - p) / both(i, j)).squareRoot() * k / (k - 1))
        }
        func witness(_ i: Int, _ j: Int) -> Double? {
            guard both(i, j) >= 50 else { return nil }
            let found = excess(i, j)
            return found.value > Self.seen * found.error ? found.value : nil
        }
        var out = [Double](repeating: 0, count: m * m)
        for i in 0..<m {
            for j in i + 1..<max(i + 1, m) where both(i, j) >= 200 {
                let found: Double
                if isUnipolar[i] || isUnipolar[j] {
                    let union = both(i, i) + both(j, j) - both(i, j)
                    let alike = Double(agreed[i * m + j]) / both(i, j)
                    found = both(i, j) >= 0.9 * union && alike > 0.98 ? both(i, j) / union : 0
                } else {
                    let own = excess(i, j)
                    guard own.value > Self.repeated else { continue }
                    let others = (0..<m).filter { $0 != i && $0 != j && !isUnipolar[$0] && witness(i, $0) != nil && witness(j, $0) != nil }
                        .sorted { (both(i, $1) + both(j, $1), $0) < (both(i, $0) + both(j, $0), $1) }.prefix(12)
                    var products: [Double] = []
                    for l in others {
                        for other in others where other != l {
                            guard let il = witness(i, l), let jl = witness(j, other), let ll = witness(l, other) else { continue }
                            products.append(min(1, il * jl / ll))
                        }
                    }
                    guard products.count >= 6 else { continue }
                    products.sort()
                    let expected = products[products.count / 4]
                    let value = (own.value - expected) / max(1e-9, 1 - expected)
                    found = own.value - expected > 5 * own.error && value > Self.copy ? min(1, value) : 0
                }
                out[i * m + j] = found
                out[j * m + i] = found
            }
        }
        return out
    }

    /// What one vote of each function is worth beside votes of those that repeat it: 1/(1 + Σᵢ ρᵢⱼ·P(i votes | j votes)), Kish's design
    /// effect (1965) for correlated answers. Five copies of one function count for little more than one.
    func discounts(isUnipolar: [Bool]) -> [Double] {
        let m = functionCount
        let dependence = dependence(isUnipolar: isUnipolar)
        return (0..<m).map { j in
            let votes = Double(max(1, together[j * m + j]))
            let repeated = (0..<m).filter { $0 != j }.reduce(0.0) { $0 + dependence[$1 * m + j] * Double(together[$1 * m + j]) / votes }
            return 1 / (1 + repeated)
        }
    }
}
