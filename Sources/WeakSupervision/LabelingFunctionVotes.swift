public import Datasets
internal import Primitives

/// What labeling functions written in Swift say of samples: for programs that are not part of AMAF. The written matrix is what
/// `amaf label-model fit` and other tools read.
public struct LabelingFunctionVotes: Sendable {
    private let matrix: LabelMatrix
    public let classNames: [String]
    public var functionNames: [String] { matrix.functions.map(\.name) }
    public let sampleCount: Int

    private static let blockSize = 16_384

    /// - Parameter classNames: a vote is an index into them.
    /// - Throws: when two functions have one name, two classes do, or there is nothing to vote on.
    public init(of functions: [any LabelingFunction], on samples: [Sample], classNames: [String]) throws {
        guard !functions.isEmpty, !samples.isEmpty, classNames.count >= 2 else {
            throw AMAFError(
                "labeling-function.nothing",
                "\(functions.count) labeling functions vote on \(samples.count) samples among \(classNames.count) classes",
                remedy: "Give a function, a sample and two classes at least.")
        }
        // No spec starts a program: these functions are the caller's own code.
        let set = try LabelingFunctionSet(
            specs: [], classNames: classNames, functions: functions, context: LabelingContext(allowsExec: false))
        var matrix = LabelMatrix(classCount: classNames.count, functions: set.ids)
        for first in stride(from: 0, to: samples.count, by: Self.blockSize) {
            let part = Array(samples[first..<min(samples.count, first + Self.blockSize)])
            try matrix.insert(set.apply(samples: part, firstSample: first))
        }
        self.matrix = matrix
        self.classNames = classNames
        sampleCount = samples.count
    }

    /// The class that a function voted for; nil where it abstained or failed.
    public subscript(sample: Int, function: Int) -> Int? {
        guard let vote = column(function, sample), vote >= 0 else { return nil }
        return vote
    }

    /// On how many samples a function failed, and the first reason.
    public func faults(of function: Int) -> (count: Int, first: String?) {
        var (count, first): (Int, String?) = (0, nil)
        for block in matrix.blocks {
            guard let faults = block.columns[function]?.faults else { continue }
            count += faults.count
            first = first ?? "\(faults.firstError)"
        }
        return (count, first)
    }

    private func column(_ function: Int, _ sample: Int) -> Int? {
        matrix.blocks.first { $0.samples.contains(sample) }.flatMap { block in
            block.columns[function].map { Int($0.votes[sample - block.firstSample]) }
        }
    }

    /// Writes Snorkel's matrix, samples × functions, −1 for abstentions and faults, with the names of functions and classes beside it.
    ///
    /// - Parameter path: ends with `.npz` or `.npy`.
    public func write(to path: String) throws {
        try matrix.writeNumPy(to: path)
        try LabelMatrixNames(matrix, classNames: classNames).write(besides: path)
    }
}
