internal import Foundation

/// The integers in which label models count.
///
/// Log-weights are multiples of 2⁻¹⁶ nats and probabilities multiples of 2⁻²⁴, so scores and sufficient statistics are sums
/// of integers. Integer sums have no order: a fit gives the same bits for any order of rows, blocks and functions and for any
/// split over workers, and two classes are tied exactly when their scores are equal. The price is an error of at most
/// 8·10⁻⁶ nats a vote and 3·10⁻⁸ a row, far below the sampling error of any data set that fits in memory.
package enum FixedPoint {
    package static let scoreScale = 65_536.0
    package static let massScale = 16_777_216.0
    /// Shares of a normaliser while it is summed.
    static let shareScale = 1_099_511_627_776.0

    /// Nats to score units, saturating well inside Int32 so that thousands of votes cannot overflow Int64.
    static func score(_ nats: Double) -> Int32 {
        precondition(!nats.isNaN, "a log-weight is not a number")
        return Int32(max(-2e9, min(2e9, (nats * scoreScale).rounded())))
    }
    static func nats(_ score: Int64) -> Double { Double(score) / scoreScale }
    static func nats(_ score: Int32) -> Double { Double(score) / scoreScale }

    static func mass(_ probability: Double) -> Int64 { Int64((probability * massScale).rounded()) }
    static func probability(_ mass: Int64) -> Double { Double(mass) / massScale }
}
