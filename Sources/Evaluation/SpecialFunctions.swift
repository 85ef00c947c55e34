internal import Glibc

/// The few functions behind every p value and interval here, in double precision.
package enum SpecialFunctions {
    /// ln Γ(x) for x > 0: Stirling's series at x ≥ 10, reached by Γ(x + 1) = x Γ(x) (Abramowitz and Stegun 6.1.40). Relative error ~1e-15.
    package static func logGamma(_ x: Double) -> Double {
        precondition(x > 0, "logGamma of \(x)")
        var shifted = x
        var product = 1.0
        while shifted < 10 {
            product *= shifted
            shifted += 1
        }
        let inverse = 1 / shifted
        let square = inverse * inverse
        let series =
            inverse
            * (1 / 12.0 - square
                * (1 / 360.0 - square
                    * (1 / 1260.0 - square * (1 / 1680.0 - square * (1 / 1188.0 - square * (691 / 360360.0 - square / 156))))))
        return (shifted - 0.5) * log(shifted) - shifted + 0.5 * log(2 * Double.pi) + series - log(product)
    }

    /// The regularised incomplete beta function I_x(a, b), a, b > 0, x in [0, 1].
    ///
    /// Continued fraction of DLMF 8.17.22 by the modified Lentz method, on the side where it converges fast: for
    /// x > (a + 1)/(a + b + 2) the reflection I_x(a, b) = 1 − I_{1−x}(b, a).
    package static func regularizedIncompleteBeta(_ x: Double, _ a: Double, _ b: Double) -> Double {
        precondition(a > 0 && b > 0 && x >= 0 && x <= 1, "I_\(x)(\(a), \(b))")
        if x == 0 { return 0 }
        if x == 1 { return 1 }
        if x > (a + 1) / (a + b + 2) { return 1 - incompleteBetaLower(1 - x, b, a) }
        return incompleteBetaLower(x, a, b)
    }

    private static func incompleteBetaLower(_ x: Double, _ a: Double, _ b: Double) -> Double {
        let front = exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * log(x) + b * log1p(-x)) / a
        // Lentz: f = C·D products of the even and odd terms; `tiny` keeps a zero denominator from ending the recursion.
        let tiny = 1e-300
        func guarded(_ value: Double) -> Double { abs(value) < tiny ? tiny : value }
        var c = 1.0
        var d = 1 / guarded(1 - (a + b) * x / (a + 1))
        var fraction = d
        // Converges in O(sqrt(max(a, b))) steps; the bound covers counts of 10⁹.
        for m in 1...100_000 {
            let k = Double(m)
            let even = k * (b - k) * x / ((a + 2 * k - 1) * (a + 2 * k))
            d = 1 / guarded(1 + even * d)
            c = guarded(1 + even / c)
            fraction *= d * c
            let odd = -(a + k) * (a + b + k) * x / ((a + 2 * k) * (a + 2 * k + 1))
            d = 1 / guarded(1 + odd * d)
            c = guarded(1 + odd / c)
            let delta = d * c
            fraction *= delta
            if abs(delta - 1) < 1e-16 { break }
        }
        return min(1, max(0, front * fraction))
    }

    /// x with I_x(a, b) = p, by bisection: slow and sure, to the last bit that matters.
    package static func inverseIncompleteBeta(_ p: Double, _ a: Double, _ b: Double) -> Double {
        precondition(p >= 0 && p <= 1, "a probability, not \(p)")
        if p == 0 { return 0 }
        if p == 1 { return 1 }
        var low = 0.0
        var high = 1.0
        for _ in 0..<200 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if regularizedIncompleteBeta(middle, a, b) < p { low = middle } else { high = middle }
        }
        return 0.5 * (low + high)
    }

    /// Φ(z), the standard normal distribution function.
    package static func normalCDF(_ z: Double) -> Double { 0.5 * erfc(-z / 2.0.squareRoot()) }

    /// z with Φ(z) = p, 0 < p < 1, by bisection on the lower tail, where Φ keeps its relative precision.
    package static func normalQuantile(_ p: Double) -> Double {
        precondition(p > 0 && p < 1, "a probability inside (0, 1), not \(p)")
        if p > 0.5 { return -normalQuantile(1 - p) }
        var low = -40.0
        var high = 0.0
        for _ in 0..<200 {
            let middle = 0.5 * (low + high)
            if middle == low || middle == high { break }
            if normalCDF(middle) < p { low = middle } else { high = middle }
        }
        return 0.5 * (low + high)
    }

    /// Two-sided p of Student's t: I_{ν/(ν+t²)}(ν/2, 1/2).
    package static func studentTwoSidedP(t: Double, degreesOfFreedom: Int) -> Double {
        precondition(degreesOfFreedom > 0, "\(degreesOfFreedom) degrees of freedom")
        if t.isInfinite { return 0 }
        let v = Double(degreesOfFreedom)
        return regularizedIncompleteBeta(v / (v + t * t), v / 2, 0.5)
    }

    /// t > 0 whose two-sided p is `p`: the half-width factor of a t interval of level 1 − p.
    package static func studentQuantile(twoSidedP p: Double, degreesOfFreedom: Int) -> Double {
        precondition(p > 0 && p < 1, "a probability inside (0, 1), not \(p)")
        let v = Double(degreesOfFreedom)
        let x = inverseIncompleteBeta(p, v / 2, 0.5)
        return (v * (1 - x) / x).squareRoot()
    }
}
