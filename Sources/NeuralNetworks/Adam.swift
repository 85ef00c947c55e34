import Foundation
internal import Kernels
package import Primitives

/// Adam (Kingma and Ba 2015). "Adam" names two algorithms that differ in where ε stands; both are here, by name.
package final class Adam {
    package enum Form: String, Sendable, Hashable, CaseIterable {
        /// ε beside the corrected root: p −= α m̂ / (√v̂ + ε). The paper's Algorithm 1; default ε 1e-8.
        case pyTorch
        /// ε beside the uncorrected root: p −= α √(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε). The paper's section 2 form; default ε 1e-7.
        case tensorFlow
    }

    package struct Configuration: Sendable, Hashable {
        package var form: Form
        package var learningRate: Float
        package var beta1: Float
        package var beta2: Float
        package var epsilon: Float
        /// Decoupled (AdamW, Loshchilov and Hutter 2019); 0 is plain Adam.
        package var weightDecay: Float

        package init(
            form: Form = .tensorFlow, learningRate: Float = 1e-3, beta1: Float = 0.9, beta2: Float = 0.999, epsilon: Float? = nil,
            weightDecay: Float = 0
        ) {
            self.form = form
            self.learningRate = learningRate
            self.beta1 = beta1
            self.beta2 = beta2
            self.epsilon = epsilon ?? (form == .pyTorch ? 1e-8 : 1e-7)
            self.weightDecay = weightDecay
        }
    }

    package let parameters: [Parameter]
    package var configuration: Configuration
    /// Steps taken.
    package private(set) var step = 0
    private var moments: [(m: Tensor, v: Tensor)]

    package init(_ parameters: [Parameter], _ configuration: Configuration = Configuration()) {
        self.parameters = parameters.filter(\.isTrainable)
        self.configuration = configuration
        moments = self.parameters.map { ($0.value.device.zeros($0.value.shape), $0.value.device.zeros($0.value.shape)) }
    }

    /// One step along the gathered slopes, which are forgotten. Parameters without a slope stay as they are.
    ///
    /// - Parameters:
    ///   - learningRate: of this step, from a schedule; the configured one by default.
    ///   - gradientScale: slopes are multiplied by it first (clipping, averaging).
    package func update(learningRate: Float? = nil, gradientScale: Float = 1) {
        step += 1
        let c = configuration
        let rate = learningRate ?? c.learningRate
        let correction1 = 1 - Foundation.pow(Double(c.beta1), Double(step))
        let root2 = (1 - Foundation.pow(Double(c.beta2), Double(step))).squareRoot()
        let (stepSize, rootScale): (Double, Double) =
            switch c.form {
            case .pyTorch: (Double(rate) / correction1, 1 / root2)
            case .tensorFlow: (Double(rate) * root2 / correction1, 1)
            }
        for (parameter, moment) in zip(parameters, moments) {
            guard let gradient = parameter.gradient else { continue }
            parameter.value.device.enqueue(
                .adam(
                    AdamStep(
                        p: parameter.value.pointer, g: gradient.pointer, m: moment.m.pointer, v: moment.v.pointer, count: gradient.count,
                        beta1: c.beta1, beta2: c.beta2, step: Float(stepSize), rootScale: Float(rootScale), epsilon: c.epsilon,
                        decay: rate * c.weightDecay, gradientScale: gradientScale)))
            parameter.forgetGradient()
        }
    }

    /// Everything a resumed training needs: both moments by parameter name.
    package func state() -> [NamedTensor] {
        zip(parameters, moments).flatMap { parameter, moment in
            [
                NamedTensor("adam.m.\(parameter.name)", moment.m.shape, moment.m.values()),
                NamedTensor("adam.v.\(parameter.name)", moment.v.shape, moment.v.values()),
            ]
        }
    }

    /// - Throws: `model.missing-tensor` and `model.wrong-shape`.
    package func restore(_ source: any TensorSource, step: Int) throws(AMAFError) {
        for (parameter, moment) in zip(parameters, moments) {
            moment.m.assign(try source.floats("adam.m.\(parameter.name)", shape: moment.m.shape))
            moment.v.assign(try source.floats("adam.v.\(parameter.name)", shape: moment.v.shape))
        }
        self.step = step
    }
}

/// Learning rates over steps.
package enum LearningRateSchedule: Sendable, Hashable {
    case constant
    /// Up from 0 over `warmup` steps, then down to 0 at `total`.
    case linear(warmup: Int, total: Int)
    /// Up from 0 over `warmup` steps, then half a cosine down to 0 at `total`.
    case cosine(warmup: Int, total: Int)

    /// The factor of step 1, 2, ….
    package func factor(step: Int) -> Float {
        func ramp(_ warmup: Int, _ total: Int, _ tail: (Double) -> Double) -> Float {
            if step <= warmup { return Float(Double(step) / Double(max(warmup, 1))) }
            return Float(tail(min(1, Double(step - warmup) / Double(max(total - warmup, 1)))))
        }
        switch self {
        case .constant: return 1
        case .linear(let warmup, let total): return ramp(warmup, total) { 1 - $0 }
        case .cosine(let warmup, let total): return ramp(warmup, total) { (1 + Foundation.cos(.pi * $0)) / 2 }
        }
    }
}
