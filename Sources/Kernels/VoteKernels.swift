internal import CKernels

/// Loops over blocks of votes, the E-steps of label models. What they compute, in integers whose sums have no order, is written in
/// `labelmodel.h`; whose masses and scores they are, in WeakSupervision.
///
/// Scores are multiples of 2⁻¹⁶ nats, masses multiples of 2⁻²⁴.
package enum VoteKernels {
    /// Rows of one call of `twoClassStep` at most.
    package static let twoClassRows = Int(AMAF_TWO_CLASS_ROWS)

    /// Two classes, any table of log-likelihoods.
    ///
    /// - Parameters:
    ///   - votes: `functions` columns of `rows` cells, `stride` apart: 0, 1, or below 0 where the function is silent.
    ///   - base: score of class 1 over class 0 before any vote.
    ///   - against: what a vote of each function for class 0 adds to it.
    ///   - favour: the same for class 1.
    ///   - gold: class by row, below 0 where unknown; nil where none is known.
    ///   - zero: receives, added, the mass of class 1 over the rows that vote for class 0, by function.
    ///   - one: the same over the rows that vote for class 1.
    ///   - total: receives, added, the mass of class 1 over all rows.
    ///   - mass: receives the mass of class 1 by row.
    /// - Precondition: at most `twoClassRows` rows.
    package static func twoClassStep(
        votes: UnsafePointer<Int8>, stride: Int, rows: Int, functions: Int, base: Int32, against: [Int32], favour: [Int32],
        gold: UnsafePointer<Int8>?, zero: inout [Int64], one: inout [Int64], total: inout Int64, mass: UnsafeMutablePointer<Int32>?
    ) {
        precondition(
            rows <= twoClassRows && against.count == functions && favour.count == functions && zero.count == functions
                && one.count == functions, "\(rows) rows, \(against.count) and \(favour.count) scores for \(functions) functions")
        amaf_two_class_step(votes, stride, rows, functions, base, against, favour, gold, &zero, &one, &total, mass)
    }

    /// Sums of the agreement form, where a vote for class c adds its function's weight to the score of c.
    package struct AgreementSums: Sendable {
        /// Mass of the class that each function votes for.
        package var agreed: [Int64]
        /// Mass of each class where it is voted for.
        package var classMass: [Int64]
        /// By class: the part of `outside` that falls on rows which vote for it.
        package var outsideVoted: [Int64]
        /// Factor of the balance's share for classes nobody votes for; 0 unless asked for.
        package var outside: Int64
        /// Rows with votes or a known class.
        package var covered: Int64
    }

    /// - Parameters:
    ///   - offsets: where each row's votes begin in `functions` and `votes`, and after them the end: rows + 1 numbers.
    ///   - weights: by function.
    ///   - base: log balance by class; `share` is exp(base − `largest`) · 2⁴⁰ and `shareSum` their sum.
    ///   - gold: class by row, below 0 where unknown.
    ///   - wantsOutside: whether the mass of classes that nobody votes for is gathered, for a learned balance.
    package static func agreementStep(
        offsets: [UInt32], functions: [UInt16], votes: [UInt16], weights: [Int32], base: [Int64], share: [Int64], shareSum: Int64,
        largest: Int64, gold: [Int16]?, wantsOutside: Bool
    ) -> AgreementSums {
        let k = base.count
        precondition(share.count == k && !offsets.isEmpty && functions.count == votes.count, "\(share.count) shares of \(k) classes")
        var agreed = [Int64](repeating: 0, count: weights.count)
        var classMass = [Int64](repeating: 0, count: k)
        var outsideVoted = classMass
        var (outside, covered) = (Int64(0), Int64(0))
        var scratch = [Int64](repeating: 0, count: 4 * k)
        func run(_ gold: UnsafePointer<Int16>?) {
            withUnsafeMutablePointer(to: &outside) { outside in
                amaf_agreement_step(
                    offsets, functions, votes, offsets.count - 1, k, weights, base, share, shareSum, largest, gold, &agreed, &classMass,
                    &outsideVoted, wantsOutside ? outside : nil, &covered, &scratch)
            }
        }
        if let gold { gold.withUnsafeBufferPointer { run($0.baseAddress) } } else { run(nil) }
        return AgreementSums(agreed: agreed, classMass: classMass, outsideVoted: outsideVoted, outside: outside, covered: covered)
    }
}
