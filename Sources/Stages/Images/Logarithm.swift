import Foundation

/// ln x, so that other files need not import Foundation for it.
func naturalLogarithm(_ x: Float) -> Float { logf(x) }
