package import Primitives

/// The samples that may be asked about: all scored positions without those already asked and those left out (quarantined, masked).
package struct CandidatePool: Sendable {
    package struct Candidate: Hashable, Sendable {
        /// The sample's number inside its data set: it is part of the data set's content and never changes, so ties go by it.
        package var position: Int
        package var score: SampleScore

        package init(position: Int, score: SampleScore) {
            self.position = position
            self.score = score
        }
    }

    package let classes: Int
    /// Ascending by position.
    package let candidates: [Candidate]

    /// - Parameters:
    ///   - blocks: in any order.
    ///   - asked: positions that have an answer or wait for one, in any order.
    /// Throws `review.overlapping-scores` when two blocks hold the same position: it could be asked and paid twice.
    package init(_ blocks: [ScoreBlock], asked: some Sequence<Int>, excluding excluded: some Sequence<Int> = [Int]()) throws(AMAFError) {
        let sorted = blocks.sorted { $0.firstPosition < $1.firstPosition }
        for (a, b) in zip(sorted, sorted.dropFirst()) where a.positions.upperBound > b.firstPosition {
            throw AMAFError(
                "review.overlapping-scores", "Two score blocks both hold sample \(b.firstPosition)", remedy: "Give each block once.")
        }
        for block in sorted where block.classes != sorted[0].classes {
            throw AMAFError(
                "review.class-count", "Score blocks of \(sorted[0].classes) and of \(block.classes) classes meet in one selection",
                place: "sample \(block.firstPosition)", remedy: "The blocks come from different runs; submit the run again.")
        }
        classes = sorted.first?.classes ?? 0
        let barred = (Array(asked) + Array(excluded)).sorted()
        var next = 0
        var kept: [Candidate] = []
        kept.reserveCapacity(sorted.reduce(0) { $0 + $1.scores.count })
        for block in sorted {
            for (position, score) in zip(block.positions, block.scores) {
                while next < barred.count && barred[next] < position { next += 1 }
                if next < barred.count && barred[next] == position { continue }
                kept.append(Candidate(position: position, score: score))
            }
        }
        candidates = kept
    }

    /// A pool without scores, for policies that need none.
    package init(positions: Range<Int>, classes: Int, asked: some Sequence<Int>, excluding excluded: some Sequence<Int> = [Int]()) {
        self.classes = classes
        let barred = Set(asked).union(excluded)
        let unknown = SampleScore(top: 0, second: 0, topProbability: 0, secondProbability: 0, entropy: 0)
        candidates = positions.filter { !barred.contains($0) }.map { Candidate(position: $0, score: unknown) }
    }
}
