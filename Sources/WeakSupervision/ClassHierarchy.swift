internal import Foundation
package import Primitives

/// Classes inside groups (intents inside domains, models inside makes), where a function may vote for a group: "something about travel".
package struct ClassHierarchy: Hashable, Sendable, Codable {
    package var classNames: [String]
    package var groupNames: [String]
    /// The group of each class.
    package var groupOf: [Int]

    /// - Throws: `hierarchy.*` when a class is in no group or in two, or a name is used twice.
    package init(_ groups: [(name: String, classes: [String])], classNames: [String]) throws(AMAFError) {
        let position = Dictionary(classNames.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
        var groupOf = [Int](repeating: -1, count: classNames.count)
        var names = Set(classNames)
        for (g, group) in groups.enumerated() {
            guard names.insert(group.name).inserted else {
                throw AMAFError("hierarchy.name", "'\(group.name)' is the name of two things", remedy: "Rename the group.")
            }
            for name in group.classes {
                guard let c = position[name] else {
                    throw AMAFError(
                        "hierarchy.unknown-class", "The group '\(group.name)' names '\(name)', which is no class", remedy: "Correct it.")
                }
                guard groupOf[c] < 0 else {
                    throw AMAFError(
                        "hierarchy.two-groups", "The class '\(name)' is in '\(groups[groupOf[c]].name)' and in '\(group.name)'",
                        remedy: "Leave it in one.")
                }
                groupOf[c] = g
            }
        }
        if let lost = groupOf.firstIndex(of: -1) {
            throw AMAFError("hierarchy.no-group", "The class '\(classNames[lost])' is in no group", remedy: "Put it in one.")
        }
        self.classNames = classNames
        groupNames = groups.map(\.name)
        self.groupOf = groupOf
    }

    /// What functions may vote for, by number: the classes, then the groups. A label matrix of this many classes holds such votes.
    package var votableNames: [String] { classNames + groupNames }

    /// p(group), from p(class).
    package func groups(of posterior: Posterior) -> [Float] {
        var out = [Float](repeating: 0, count: groupNames.count)
        for (c, p) in posterior.dense.enumerated() { out[groupOf[c]] += p }
        return out
    }
}

/// The log-linear model over classes when some votes are for groups.
///
/// Function j is right with aⱼ: a vote for class l weighs for that class, a vote for group g for each class in it. A wrong vote falls
/// evenly on the other classes, or the other groups:
///   score(y) = ln p(y) + Σ_j [l_j covers y]·ln((N − 1)·aⱼ/(1 − aⱼ)),  N the number of classes, or of groups.
/// Functions that vote on both levels have one accuracy for each. Fitted by EM from aⱼ = 0.7 with the log-linear model's prior.
package struct HierarchicalLabelModel: Hashable, Sendable, Codable {
    package var hierarchy: ClassHierarchy
    package var functions: [FunctionID]
    /// By function: for classes, for groups.
    package var classAccuracies: [Double]
    package var groupAccuracies: [Double]
    package var iterations: Int
    private var classWeights: [Int32]
    private var groupWeights: [Int32]

    /// - Parameter matrix: of `hierarchy.votableNames`.
    package init(_ matrix: LabelMatrix, hierarchy: ClassHierarchy, maximumIterations: Int = 100, tolerance: Double = 1e-4) {
        let k = hierarchy.classNames.count
        precondition(
            matrix.classCount == hierarchy.votableNames.count, "votes among \(matrix.classCount) for \(hierarchy.votableNames.count)")
        let m = matrix.functions.count
        self.hierarchy = hierarchy
        functions = matrix.functions
        let standard = LabelModelOptions(kind: .logLinear)
        classAccuracies = Array(repeating: standard.priorAccuracy, count: m)
        groupAccuracies = classAccuracies
        classWeights = []
        groupWeights = []
        iterations = 0
        setWeights()
        let blocks = matrix.blocks.map { VoteRows($0, classCount: matrix.classCount) }
        var votes = [Int64](repeating: 0, count: 2 * m)
        for block in blocks {
            for i in block.functions.indices { votes[2 * Int(block.functions[i]) + (Int(block.classes[i]) < k ? 0 : 1)] += 1 }
        }
        while iterations < maximumIterations {
            // Integer masses, as in every fit: sums have no order.
            var right = [Int64](repeating: 0, count: 2 * m)
            for block in blocks {
                for row in 0..<block.rowCount {
                    let cast = block.votes(row: row)
                    guard !cast.isEmpty else { continue }
                    let p = probabilities(cast)
                    for vote in cast {
                        let isGroup = vote.classIndex >= k
                        let mass =
                            isGroup
                            ? (0..<k).reduce(0.0) { $0 + (hierarchy.groupOf[$1] == vote.classIndex - k ? p[$1] : 0) } : p[vote.classIndex]
                        right[2 * vote.function + (isGroup ? 1 : 0)] += FixedPoint.mass(mass)
                    }
                }
            }
            var change = 0.0
            for j in 0..<m {
                for level in 0..<2 {
                    let s = standard.priorStrength
                    let next = min(
                        max(
                            (FixedPoint.probability(right[2 * j + level]) + s * standard.priorAccuracy)
                                / (Double(votes[2 * j + level]) + s), 1e-3),
                        0.999)
                    let old = level == 0 ? classAccuracies[j] : groupAccuracies[j]
                    change = max(change, abs(next - old))
                    if level == 0 { classAccuracies[j] = next } else { groupAccuracies[j] = next }
                }
            }
            setWeights()
            iterations += 1
            if change <= tolerance { break }
        }
    }

    private mutating func setWeights() {
        classWeights = LabelModelTrainer.weights(classAccuracies, classCount: hierarchy.classNames.count)
        groupWeights = LabelModelTrainer.weights(groupAccuracies, classCount: max(2, hierarchy.groupNames.count))
    }

    private func scores(_ votes: [Vote]) -> [Int64] {
        let k = hierarchy.classNames.count
        var score = [Int64](repeating: 0, count: k)
        for vote in votes {
            if vote.classIndex < k {
                score[vote.classIndex] += Int64(classWeights[vote.function])
            } else {
                for y in 0..<k where hierarchy.groupOf[y] == vote.classIndex - k { score[y] += Int64(groupWeights[vote.function]) }
            }
        }
        return score
    }

    private func probabilities(_ votes: [Vote]) -> [Double] {
        let score = scores(votes)
        let top = score.max() ?? 0
        let powers = score.map { exp(FixedPoint.nats($0 - top)) }
        let sum = powers.reduce(0, +)
        return powers.map { $0 / sum }
    }

    /// p(class | votes) of every row.
    package func posteriors(of rows: VoteRows, top: Int = 8) -> PosteriorBlock {
        let k = hierarchy.classNames.count
        var out = PosteriorBlock(firstSample: rows.firstSample, classCount: k)
        for row in 0..<rows.rowCount {
            let votes = rows.votes(row: row)
            guard !votes.isEmpty else {
                out.append(Posterior(classCount: k, entries: [], isCovered: false, isTied: false))
                continue
            }
            let p = probabilities(votes)
            let score = scores(votes)
            let order = (0..<k).sorted { (score[$1], $0) < (score[$0], $1) }
            out.append(
                Posterior(
                    classCount: k,
                    entries: order.prefix(k <= 16 ? k : top).map { .init(classIndex: $0, probability: Float(p[$0])) }, isCovered: true,
                    isTied: k > 1 && score[order[0]] == score[order[1]]))
        }
        return out
    }

    /// What each vote adds to the log-odds of one class against another.
    package func contributions(of votes: [Vote], for classIndex: Int, against other: Int) -> [Contribution] {
        votes.map { vote in
            let score = scores([vote])
            return Contribution(source: .vote(vote), logOdds: FixedPoint.nats(score[classIndex] - score[other]))
        }
    }
}
