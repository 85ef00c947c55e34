import Foundation

/// eˣ, so that other files need not import Foundation for it.
func exponential(_ x: Double) -> Double { exp(x) }
