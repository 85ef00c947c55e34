/// Counts of (gold, predicted) over K classes, with one more column for samples that got no label. Merges by addition.
package struct ConfusionCounts: Hashable, Sendable, Codable, Mergeable {
    package let classCount: Int
    // classCount rows of classCount + 1 counts; the last column is "no label".
    private var counts: [Int]

    package init(classCount: Int) {
        precondition(classCount > 0, "\(classCount) classes")
        self.classCount = classCount
        counts = [Int](repeating: 0, count: classCount * (classCount + 1))
    }

    /// - Parameters: classes in 0..<classCount; `predicted` nil for an abstain or a rejection, which counts as wrong.
    package mutating func add(gold: Int, predicted: Int?) {
        precondition(gold >= 0 && gold < classCount, "gold class \(gold) of \(classCount)")
        let column = predicted ?? classCount
        precondition(column >= 0 && column <= classCount, "predicted class \(column) of \(classCount)")
        counts[gold * (classCount + 1) + column] += 1
    }

    package mutating func add(gold: [Int], predicted: [Int?]) {
        precondition(gold.count == predicted.count, "\(gold.count) gold labels, \(predicted.count) predictions")
        for (truth, answer) in zip(gold, predicted) { add(gold: truth, predicted: answer) }
    }

    package mutating func merge(_ other: ConfusionCounts) {
        precondition(classCount == other.classCount, "\(classCount) classes cannot merge with \(other.classCount)")
        for i in counts.indices { counts[i] += other.counts[i] }
    }

    package func count(gold: Int, predicted: Int?) -> Int { counts[gold * (classCount + 1) + (predicted ?? classCount)] }

    package var total: Int { counts.reduce(0, +) }
    package var covered: Int { total - (0..<classCount).reduce(0) { $0 + count(gold: $1, predicted: nil) } }
    package var correct: Int { (0..<classCount).reduce(0) { $0 + count(gold: $1, predicted: $1) } }

    /// Correct over all samples; nil without samples.
    package var accuracy: Double? { ratio(correct, total) }
    /// Correct over the samples that got a label; always printed with `coverage`.
    package var coveredAccuracy: Double? { ratio(correct, covered) }
    package var coverage: Double? { ratio(covered, total) }

    package struct ClassScore: Hashable, Sendable {
        /// Samples of this class.
        package var support: Int
        package var predicted: Int
        package var truePositives: Int
        package var precision: Double
        package var recall: Double
        package var f1: Double
        /// Some quotient was 0/0 and set to 0.
        package var undefined: Bool
    }

    /// Precision, recall and F1 of each class; 0/0 is 0 and marked.
    package func perClass() -> [ClassScore] {
        var predicted = [Int](repeating: 0, count: classCount)
        for gold in 0..<classCount {
            for column in 0..<classCount { predicted[column] += counts[gold * (classCount + 1) + column] }
        }
        return (0..<classCount).map { index in
            let support = (0...classCount).reduce(0) { $0 + counts[index * (classCount + 1) + $1] }
            let hits = count(gold: index, predicted: index)
            let f1Denominator = support + predicted[index]
            return ClassScore(
                support: support, predicted: predicted[index], truePositives: hits,
                precision: predicted[index] > 0 ? Double(hits) / Double(predicted[index]) : 0,
                recall: support > 0 ? Double(hits) / Double(support) : 0,
                f1: f1Denominator > 0 ? 2 * Double(hits) / Double(f1Denominator) : 0,
                undefined: predicted[index] == 0 || support == 0)
        }
    }

    /// Mean of the per-class F1 with 0/0 = 0, and how many classes had a 0/0.
    package func macroF1() -> (value: Double, undefinedClasses: Int) {
        let scores = perClass()
        return (scores.map(\.f1).reduce(0, +) / Double(classCount), scores.count(where: \.undefined))
    }

    /// F1 over pooled decisions: 2 TP / (predicted + samples). It equals accuracy when every sample has a label.
    package var microF1: Double { total + covered > 0 ? 2 * Double(correct) / Double(total + covered) : 0 }

    private func ratio(_ a: Int, _ b: Int) -> Double? { b > 0 ? Double(a) / Double(b) : nil }
}
