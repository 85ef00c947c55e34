package import Kernels

/// Remembers what was computed, so that slopes can be carried back through it (reverse-mode differentiation).
///
/// Operations given a tape record one step each; `backward` runs the steps in reverse and drops each when done, so the
/// memory of a step is free for the next. Without a tape the same operations keep nothing. A tape serves one forward and
/// one backward pass, on one thread.
package final class Tape {
    private var steps: [(Tape) -> Void] = []
    private var gradients: [Int: Tensor] = [:]
    private var tracked: Set<Int> = []

    package init() {}

    /// Whether slopes by `x` are wanted: it was made by a recorded operation, or watched.
    package func tracks(_ x: Tensor) -> Bool { tracked.contains(x.id) }

    /// Asks for the slope by an input, as gradient checks do.
    package func watch(_ x: Tensor) { tracked.insert(x.id) }

    /// Records how the slope by `y` reaches what y was made from.
    package func record(_ y: Tensor, _ step: @escaping (_ tape: Tape, _ dy: Tensor) -> Void) {
        tracked.insert(y.id)
        steps.append { tape in
            // An output that nothing used has no slope to pass on.
            guard let dy = tape.gradients.removeValue(forKey: y.id) else { return }
            step(tape, dy)
        }
    }

    /// Records an operation with several outputs, or none that carries a slope by itself.
    package func record(outputs: [Tensor], _ step: @escaping (_ tape: Tape) -> Void) {
        for output in outputs { tracked.insert(output.id) }
        steps.append(step)
    }

    /// The slope by `x` gathered so far.
    package func gradient(of x: Tensor) -> Tensor? { gradients[x.id] }

    /// Where to put (`accumulate` false: uninitialised) or add a slope by `x`; nil when nobody wants it.
    package func slot(for x: Tensor) -> (gradient: Tensor, accumulate: Bool)? {
        guard tracked.contains(x.id) else { return nil }
        if let known = gradients[x.id] { return (known, true) }
        let fresh = x.device.empty(x.shape)
        gradients[x.id] = fresh
        return (fresh, false)
    }

    /// Adds a slope by `x`. The tensor is taken over: the caller must not write to it afterwards.
    package func add(_ dx: Tensor, to x: Tensor) {
        guard tracked.contains(x.id) else { return }
        precondition(dx.count == x.count, "a slope of shape \(dx.shape) by a value of shape \(x.shape)")
        if let known = gradients[x.id] {
            x.device.enqueue(.combine(known.pointer, 1, dx.pointer, 1, to: known.pointer, count: x.count))
        } else {
            gradients[x.id] = dx.reshaped(x.shape)
        }
    }

    /// Carries slopes back to every parameter and watched input. Set the slopes of the results with `add` first.
    package func backward() {
        while let step = steps.popLast() { step(self) }
    }
}
