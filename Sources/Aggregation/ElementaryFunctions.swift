internal import Glibc

// The C library's functions under names that say which logarithm it is; the only place that imports it.
func naturalLog(_ x: Double) -> Double { log(x) }
func exponential(_ x: Double) -> Double { exp(x) }

/// ln Σ mᵢ exp(xᵢ) without overflow; entries with multiplicity 0 take no part.
func logSumExp(_ x: [Double], multiplicities: (Int) -> Double) -> Double {
    var top = -Double.infinity
    for i in x.indices where multiplicities(i) > 0 { top = max(top, x[i]) }
    var sum = 0.0
    for i in x.indices { sum += multiplicities(i) * exponential(x[i] - top) }
    return top + naturalLog(sum)
}
