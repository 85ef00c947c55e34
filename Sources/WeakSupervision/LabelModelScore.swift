internal import Foundation

/// How good posteriors are against known labels; covered rows apart from all rows.
package struct LabelModelScore: Hashable, Sendable, Codable {
    package struct Part: Hashable, Sendable, Codable {
        package var rows = 0
        /// Tied classes share the credit.
        package var accuracy = 0.0
        /// F1 of class 1 for two classes, else the mean over classes.
        package var f1 = 0.0
        /// Mean of −ln p(true class), p at least 10⁻⁹.
        package var logLoss = 0.0
        /// Expected calibration error over ten bins of equal width.
        package var calibrationError = 0.0
    }
    package var all: Part
    package var covered: Part

    /// - Parameter balance: what a row without votes is believed to be.
    package init(_ posteriors: [PosteriorBlock], balance: [Double], gold: (Int) -> Int?) {
        var all = Tally(classCount: balance.count)
        var covered = Tally(classCount: balance.count)
        let even = balance.map { Float($0) }
        for block in posteriors {
            for row in 0..<block.rowCount {
                guard let truth = gold(block.firstSample + row) else { continue }
                let isCovered = block.isCovered(row: row)
                let p = isCovered ? block[row].dense : even
                all.add(p, truth)
                if isCovered { covered.add(p, truth) }
            }
        }
        self.all = all.part
        self.covered = covered.part
    }

    private struct Tally {
        var rows = 0
        var right = 0.0
        var loss = 0.0
        var bins = [(rows: Int, right: Double, confidence: Double)](repeating: (0, 0, 0), count: 10)
        var truePositives: [Int]
        var predicted: [Int]
        var actual: [Int]

        init(classCount: Int) {
            truePositives = Array(repeating: 0, count: classCount)
            predicted = truePositives
            actual = truePositives
        }

        mutating func add(_ p: [Float], _ truth: Int) {
            let best = p.max() ?? 0
            let tied = p.indices.filter { p[$0] >= best - 1e-7 }
            let credit = tied.contains(truth) ? 1 / Double(tied.count) : 0
            rows += 1
            right += credit
            loss -= log(max(1e-9, Double(p[truth])))
            let bin = min(9, Int(best * 10))
            bins[bin].rows += 1
            bins[bin].right += credit
            bins[bin].confidence += Double(best)
            predicted[tied[0]] += 1
            actual[truth] += 1
            if tied[0] == truth { truePositives[truth] += 1 }
        }

        var part: Part {
            let n = Double(max(1, rows))
            let f1 = truePositives.indices.map { c -> Double in
                let sum = predicted[c] + actual[c]
                return sum > 0 ? 2 * Double(truePositives[c]) / Double(sum) : 0
            }
            return Part(
                rows: rows, accuracy: right / n, f1: f1.count == 2 ? f1[1] : f1.reduce(0, +) / Double(max(1, f1.count)), logLoss: loss / n,
                calibrationError: bins.reduce(0) { $0 + abs($1.right - $1.confidence) } / n)
        }
    }
}
