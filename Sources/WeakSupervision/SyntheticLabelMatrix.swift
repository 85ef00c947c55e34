internal import Foundation
package import Primitives

/// A label matrix whose truth we made: for tests of recovery, benchmarks and `amaf sample`.
///
/// Every block draws from a stream of its own, so any block can be made alone.
package struct SyntheticLabelMatrix: Sendable {
    package enum Style: Hashable, Sendable {
        /// A function votes with probability `coverage`, is right with its accuracy, else picks another class evenly.
        case multipolar
        /// Function j speaks for class j mod K only: it fires on that class with its accuracy and elsewhere at a low rate.
        case unipolar
        /// As multipolar, but the last `copies` functions repeat function 0 with probability 0.95.
        case correlated(copies: Int)
    }
    package var samples: Int
    package var classCount: Int
    package var accuracies: [Double]
    package var coverage: Double
    package var style: Style
    package var classBalance: [Double]
    package var seed: UInt64
    package var blockSize: Int

    package init(
        samples: Int, classCount: Int, accuracies: [Double], coverage: Double = 0.3, style: Style = .multipolar,
        classBalance: [Double]? = nil, seed: UInt64 = 0, blockSize: Int = 16_384
    ) {
        precondition(classBalance.map { $0.count == classCount } ?? true, "a balance of other classes")
        self.samples = samples
        self.classCount = classCount
        self.accuracies = accuracies
        self.coverage = coverage
        self.style = style
        self.classBalance = classBalance ?? Array(repeating: 1 / Double(classCount), count: classCount)
        self.seed = seed
        self.blockSize = blockSize
    }

    /// m accuracies spread evenly between two bounds.
    package static func spread(_ m: Int, from low: Double = 0.55, to high: Double = 0.9) -> [Double] {
        (0..<m).map { low + (high - low) * Double($0) / Double(max(1, m - 1)) }
    }

    package var functions: [FunctionID] {
        accuracies.indices.map { FunctionID(name: "lf\($0)", digest: Digest.of(Array("synthetic/\(seed)/\($0)".utf8))) }
    }

    package func truth(block: Int) -> [Int] {
        var chance = SeededGenerator(seed: seed, stream: "truth", "\(block)")
        let range = BlockPlan(samples: samples, blockSize: blockSize).range(ofBlock: block)
        return range.map { _ in
            var u = chance.uniform()
            for (c, p) in classBalance.enumerated() {
                u -= p
                if u < 0 { return c }
            }
            return classCount - 1
        }
    }

    package func block(_ block: Int) -> VoteBlock {
        let truth = truth(block: block)
        let k = classCount
        var first: [Int16] = []
        let ids = functions
        let columns = accuracies.indices.map { j -> VoteColumn in
            var chance = SeededGenerator(seed: seed, stream: "votes", "\(block)", "\(j)")
            let a = accuracies[j]
            func wrong(_ y: Int) -> Int16 { Int16((y + 1 + chance.index(below: k - 1)) % k) }
            func multipolar(_ y: Int) -> Int16 {
                guard chance.uniform() < coverage else { return VoteCode.abstain }
                return chance.uniform() < a ? Int16(y) : wrong(y)
            }
            var cells = truth.map { y -> Int16 in
                switch style {
                case .multipolar, .correlated: return multipolar(y)
                case .unipolar:
                    let own = j % k
                    let rate = y == own ? a : (1 - a) * 0.5 / Double(max(1, k - 1)) * (k == 2 ? 1 : 3)
                    return chance.uniform() < rate ? Int16(own) : VoteCode.abstain
                }
            }
            if case .correlated(let copies) = style, j > 0, j >= accuracies.count - copies {
                for row in cells.indices where chance.uniform() < 0.95 { cells[row] = first[row] }
            }
            if j == 0 { first = cells }
            return VoteColumn(function: ids[j], votes: PackedVotes(cells: cells))
        }
        return VoteBlock(firstSample: block * blockSize, rowCount: truth.count, classCount: k, columns: columns)
    }

    package func make() throws(AMAFError) -> (matrix: LabelMatrix, truth: [Int]) {
        var matrix = LabelMatrix(classCount: classCount, functions: functions)
        var all: [Int] = []
        for b in 0..<BlockPlan(samples: samples, blockSize: blockSize).blockCount {
            try matrix.insert(block(b))
            all += truth(block: b)
        }
        return (matrix, all)
    }
}
