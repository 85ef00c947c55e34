/// Who can have an opinion on a sample. Raw values are bit numbers in `SourceSet` and part of the label file format.
package enum OpinionSource: UInt8, CaseIterable, Hashable, Sendable, Codable {
    case human = 0
    case classifier = 1
    case labelModel = 2
    case languageModel = 3

    /// As exports and reports name it.
    package var name: String {
        switch self {
        case .human: "human"
        case .classifier: "classifier"
        case .labelModel: "label-model"
        case .languageModel: "language-model"
        }
    }
}

/// The sources that took part in a label, one bit each.
package struct SourceSet: OptionSet, Hashable, Sendable, Codable {
    package var rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package init(_ source: OpinionSource) { rawValue = 1 << source.rawValue }

    package static let human = SourceSet(.human)
    package static let classifier = SourceSet(.classifier)
    package static let labelModel = SourceSet(.labelModel)
    package static let languageModel = SourceSet(.languageModel)

    /// Names in bit order, for exports.
    package var names: [String] { OpinionSource.allCases.filter { contains(SourceSet($0)) }.map(\.name) }
}

/// What one source thinks of one sample, over classes 0..<K.
package enum Opinion: Hashable, Sendable {
    /// No opinion: an uncovered row, a failed request. It neither helps nor hurts a class.
    case absent
    /// K probabilities that sum to about 1.
    case distribution([Float])
    /// The two most probable classes; what is left is spread evenly over the other K − 2.
    case topTwo(first: Int, firstProbability: Float, second: Int, secondProbability: Float)

    package var isPresent: Bool { if case .absent = self { false } else { true } }
}

/// Several opinions on one sample, restricted to the classes that any of them finds likely.
///
/// Every source brings its `perSource` most probable classes; all other classes share one entry per source, the mean of
/// what is left. For K ≤ `perSource` + 1 and for top-two opinions nothing is lost; for 150 classes it makes pooling and
/// its fit some ten times cheaper. Fit and use go through the same restriction, so they mean the same thing.
struct OpinionSupport {
    static let perSource = 8
    /// Probabilities are kept above this, so that one source alone can never veto a class with certainty.
    static let floor = 1e-6

    /// Ascending.
    var classes: [Int]
    /// How many classes stand behind the last, shared entry; 0 when `classes` are all.
    var others: Int
    /// Per source: natural logarithms for `classes`, then for the shared entry; empty for an absent opinion.
    var logs: [[Double]]

    /// - Parameter including: classes that must be in the support: human answers, the reviewed label.
    init(_ opinions: [Opinion], classCount: Int, including: [Int]) {
        var wanted = including
        for opinion in opinions {
            switch opinion {
            case .absent: break
            case .topTwo(let first, _, let second, _): wanted += [first, second]
            case .distribution(let p): wanted += Self.mostProbable(p)
            }
        }
        for index in wanted { precondition(index >= 0 && index < classCount, "class \(index) of \(classCount)") }
        wanted.sort()
        var distinct: [Int] = []
        for index in wanted where distinct.last != index { distinct.append(index) }
        classes = distinct
        others = classCount - distinct.count
        let shared = Double(max(1, others))
        logs = opinions.map { opinion in
            var values: [Double]
            switch opinion {
            case .absent: return []
            case .topTwo(let first, let p1, let second, let p2):
                let rest = max(0, 1 - Double(p1) - Double(p2)) / Double(max(1, classCount - 2))
                values = distinct.map { $0 == first ? Double(p1) : ($0 == second ? Double(p2) : rest) }
                values.append(rest)
            case .distribution(let p):
                precondition(p.count == classCount, "\(p.count) probabilities for \(classCount) classes")
                values = distinct.map { Double(p[$0]) }
                values.append(max(0, 1 - values.reduce(0, +)) / shared)
            }
            return values.map { naturalLog(max(Self.floor, $0)) }
        }
    }

    /// Indices of the `perSource` largest entries; ties go to the lower class.
    private static func mostProbable(_ p: [Float]) -> [Int] {
        var best: [Int] = []
        for index in p.indices {
            if best.count == perSource, let last = best.last, p[index] <= p[last] { continue }
            let place = best.firstIndex { p[$0] < p[index] } ?? best.count
            best.insert(index, at: place)
            if best.count > perSource { best.removeLast() }
        }
        return best
    }
}
