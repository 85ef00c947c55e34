/// How often two functions vote on one sample, and how often for one class: additive over blocks.
package struct PairwiseAgreement: Hashable, Sendable, Codable {
    package let functionCount: Int
    package let classCount: Int
    /// By function and function, symmetric; the diagonal holds the votes.
    package private(set) var together: [Int64]
    package private(set) var agreed: [Int64]

    package init(functionCount: Int, classCount: Int) {
        self.functionCount = functionCount
        self.classCount = classCount
        together = Array(repeating: 0, count: functionCount * functionCount)
        agreed = together
    }

    package mutating func add(_ rows: VoteRows) {
        precondition(rows.functionCount == functionCount, "\(rows.functionCount) columns of \(functionCount)")
        let m = functionCount
        together.withUnsafeMutableBufferPointer { together in
            agreed.withUnsafeMutableBufferPointer { agreed in
                for row in 0..<rows.rowCount {
                    let range = Int(rows.offsets[row])..<Int(rows.offsets[row + 1])
                    for a in range {
                        let i = Int(rows.functions[a])
                        for b in range {
                            let at = i * m + Int(rows.functions[b])
                            together[at] += 1
                            if rows.classes[a] == rows.classes[b] { agreed[at] += 1 }
                        }
                    }
                }
            }
        }
    }

    package mutating func merge(_ other: PairwiseAgreement) {
        precondition(other.functionCount == functionCount && other.classCount == classCount, "pairs of another matrix")
        for i in together.indices {
            together[i] += other.together[i]
            agreed[i] += other.agreed[i]
        }
    }

    /// A pair that says the same wherever it speaks.
    package struct Duplicate: Hashable, Sendable {
        package var first: Int
        package var second: Int
        /// Samples on which both vote, as a share of the votes of the rarer one.
        package var overlap: Double
        package var agreement: Double
    }

    /// Pairs that vote together on nearly all samples of the rarer one and nearly always alike: one opinion counted twice.
    package func nearDuplicates(overlap: Double = 0.95, agreement: Double = 0.98, minimumVotes: Int = 20) -> [Duplicate] {
        let m = functionCount
        var out: [Duplicate] = []
        for i in 0..<m {
            for j in i + 1..<max(i + 1, m) {
                let fewest = min(together[i * m + i], together[j * m + j])
                let most = max(together[i * m + i], together[j * m + j])
                let both = together[i * m + j]
                guard fewest >= Int64(minimumVotes), both > 0, Double(both) >= overlap * Double(most) else { continue }
                let alike = Double(agreed[i * m + j]) / Double(both)
                if alike >= agreement {
                    out.append(Duplicate(first: i, second: j, overlap: Double(both) / Double(fewest), agreement: alike))
                }
            }
        }
        return out
    }

    /// Accuracies in closed form (Fu et al., 2020, here for K classes with evenly spread errors).
    ///
    /// With bⱼ = (K·aⱼ − 1)/(K − 1), two independent functions agree with probability 1/K + (K − 1)/K·bᵢ·bⱼ, so the excess
    /// agreement M of a triplet gives |bᵢ| = √(Mᵢⱼ·Mᵢₗ/Mⱼₗ). The median over the triplets of the 16 partners with which a
    /// function shares most samples; the sign is taken to be positive, and b is drawn to the prior by `strength` votes.
    package func tripletAccuracies(priorAccuracy: Double, strength: Double) -> [Double] {
        let m = functionCount
        let k = Double(max(2, classCount))
        func excess(_ i: Int, _ j: Int) -> Double? {
            let both = together[i * m + j]
            guard both >= 10 else { return nil }
            return (Double(agreed[i * m + j]) / Double(both) - 1 / k) * k / (k - 1)
        }
        let prior = (k * priorAccuracy - 1) / (k - 1)
        return (0..<m).map { i in
            let partners = (0..<m).filter { $0 != i && together[i * m + $0] >= 10 }
                .sorted { (together[i * m + $1], $0) < (together[i * m + $0], $1) }.prefix(16)
            var found: [Double] = []
            for (a, j) in partners.enumerated() {
                for l in partners.dropFirst(a + 1) {
                    guard let ij = excess(i, j), let il = excess(i, l), let jl = excess(j, l), jl > 0.02, ij * il > 0 else { continue }
                    found.append(min(1, (ij * il / jl).squareRoot()))
                }
            }
            found.sort()
            let votes = Double(together[i * m + i])
            let median = found.isEmpty ? prior : found[found.count / 2]
            let b = found.isEmpty ? prior : (votes * median + strength * prior) / (votes + strength)
            return min(max((b * (k - 1) + 1) / k, 1e-3), 0.999)
        }
    }
}
