package import Kernels

/// Compares slopes from the tape with differences of the loss.
package enum GradientCheck {
    package struct Result: Sendable {
        /// The worst difference of a directional slope from its estimate, relative to the slope's length.
        package var worst: Double
        /// The parameter or input it was found at.
        package var place: String
    }

    /// For every tensor, the slope of the loss along a random direction d: (L(x + h d) − L(x − h d)) / 2h against g · d.
    ///
    /// A direction sums over all elements, so one check per tensor sees every element, and Float32's rounding of L matters
    /// less than with one element at a time.
    ///
    /// - Parameters:
    ///   - parameters: whose slopes are checked; each must receive one.
    ///   - inputs: further tensors to check.
    ///   - step: h, relative to the direction's elements of size about 1.
    ///   - loss: computes the scalar loss (as the sum of the values returned) and, with a tape, runs its backward pass.
    package static func run(
        parameters: [Parameter], inputs: [(String, Tensor)] = [], step: Float = 1e-2, seed: UInt64 = 1, loss: (Tape?) -> Double
    ) -> Result {
        parameters.forgetGradients()
        let tape = Tape()
        for (_, input) in inputs { tape.watch(input) }
        _ = loss(tape)
        var result = Result(worst: 0, place: "")
        var checks: [(String, Tensor, [Float])] = parameters.filter(\.isTrainable).map { parameter in
            guard let gradient = parameter.gradient else { preconditionFailure("\(parameter.name) received no slope") }
            return (parameter.name, parameter.value, gradient.values())
        }
        for (name, input) in inputs {
            guard let gradient = tape.gradient(of: input) else { preconditionFailure("input \(name) received no slope") }
            checks.append((name, input, gradient.values()))
        }
        func length(_ gradient: [Float]) -> Double { gradient.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot() }
        // Some slopes are zero by construction (a key bias under softmax); those are judged against the others.
        let longest = checks.map { length($0.2) }.max() ?? 0
        for (index, (name, tensor, gradient)) in checks.enumerated() {
            let direction = Initializer.uniform(1).values(tensor.count, seed: seed &+ UInt64(index), name: name)
            let original = tensor.values()
            func shifted(_ h: Float) -> Double {
                tensor.assign(zip(original, direction).map { $0 + h * $1 })
                return loss(nil)
            }
            let (up, down) = (shifted(step), shifted(-step))
            tensor.assign(original)
            let measured = (up - down) / (2 * Double(step))
            let expected = zip(gradient, direction).reduce(0) { $0 + Double($1.0) * Double($1.1) }
            // A slope is judged against its own length: g · d has standard deviation |g| / √3 over directions.
            let difference = abs(measured - expected) / max(length(gradient), longest / 10, 1e-6) * 3.0.squareRoot()
            if difference > result.worst { result = Result(worst: difference, place: name) }
        }
        parameters.forgetGradients()
        return result
    }
}
