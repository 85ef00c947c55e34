/// A loss per row of `predicted` (rows, columns) against `target`, and, scaled, its slope by `predicted`.
package struct RowLoss: Sendable {
    package var predicted: DevicePointer
    package var target: DevicePointer
    package var loss: DevicePointer
    package var slope: DevicePointer?
    package var rows: Int
    package var columns: Int
    package var scale: Float

    package init(
        predicted: DevicePointer, target: DevicePointer, loss: DevicePointer, slope: DevicePointer?, rows: Int, columns: Int, scale: Float
    ) {
        self.predicted = predicted
        self.target = target
        self.loss = loss
        self.slope = slope
        self.rows = rows
        self.columns = columns
        self.scale = scale
    }
}

/// loss[r] = ½ Σ μ² + e^v − 1 − v: the divergence of N(μ, e^v) from N(0, 1); slopes, times scale, are added or set.
package struct Divergence: Sendable {
    package var mean: DevicePointer
    package var logVariance: DevicePointer
    package var stride: Int
    package var loss: DevicePointer
    package var dMean: DevicePointer?
    package var dLogVariance: DevicePointer?
    package var slopeStride: Int
    package var rows: Int
    package var columns: Int
    package var scale: Float
    package var accumulate: Bool

    package init(
        mean: DevicePointer, logVariance: DevicePointer, stride: Int, loss: DevicePointer, dMean: DevicePointer?,
        dLogVariance: DevicePointer?,
        slopeStride: Int, rows: Int, columns: Int, scale: Float, accumulate: Bool
    ) {
        self.mean = mean
        self.logVariance = logVariance
        self.stride = stride
        self.loss = loss
        self.dMean = dMean
        self.dLogVariance = dLogVariance
        self.slopeStride = slopeStride
        self.rows = rows
        self.columns = columns
        self.scale = scale
        self.accumulate = accumulate
    }
}

/// y = (x − mean) / √(variance + ε) · γ + β of each row (LayerNorm: Ba, Kiros and Hinton 2016), or without mean and β
/// (RMSNorm: Zhang and Sennrich 2019). `stats` keeps (mean, 1/√…) or (1/√…) per row.
package struct RowNorm: Sendable {
    package var x: DevicePointer
    package var gamma: DevicePointer
    package var beta: DevicePointer?
    package var y: DevicePointer
    package var stats: DevicePointer?
    package var rows: Int
    package var columns: Int
    package var epsilon: Float

    package init(
        x: DevicePointer, gamma: DevicePointer, beta: DevicePointer?, y: DevicePointer, stats: DevicePointer?, rows: Int, columns: Int,
        epsilon: Float
    ) {
        self.x = x
        self.gamma = gamma
        self.beta = beta
        self.y = y
        self.stats = stats
        self.rows = rows
        self.columns = columns
        self.epsilon = epsilon
    }
}

/// dx (+)=, dγ += and dβ += of a row norm.
package struct RowNormBackward: Sendable {
    package var forward: RowNorm
    package var dy: DevicePointer
    package var dx: DevicePointer
    package var dGamma: DevicePointer
    package var dBeta: DevicePointer?
    package var accumulate: Bool

    package init(
        _ forward: RowNorm, dy: DevicePointer, dx: DevicePointer, dGamma: DevicePointer, dBeta: DevicePointer?, accumulate: Bool
    ) {
        precondition(forward.stats != nil, "the norm kept no statistics")
        self.forward = forward
        self.dy = dy
        self.dx = dx
        self.dGamma = dGamma
        self.dBeta = dBeta
        self.accumulate = accumulate
    }
}

/// Batch normalisation over rows in training (Ioffe and Szegedy 2015): y = (x − mean) rstd γ + β; writes mean and rstd
/// (columns each) and moves the running mean and (unbiased) variance by `momentum`.
package struct BatchNorm: Sendable {
    package var x: DevicePointer
    package var gamma: DevicePointer
    package var beta: DevicePointer
    package var y: DevicePointer
    package var mean: DevicePointer
    package var rstd: DevicePointer
    package var runningMean: DevicePointer
    package var runningVariance: DevicePointer
    package var rows: Int
    package var columns: Int
    package var epsilon: Float
    package var momentum: Float

    package init(
        x: DevicePointer, gamma: DevicePointer, beta: DevicePointer, y: DevicePointer, mean: DevicePointer, rstd: DevicePointer,
        runningMean: DevicePointer, runningVariance: DevicePointer, rows: Int, columns: Int, epsilon: Float, momentum: Float
    ) {
        precondition(rows > 1, "batch normalisation in training needs more than \(rows) rows")
        self.x = x
        self.gamma = gamma
        self.beta = beta
        self.y = y
        self.mean = mean
        self.rstd = rstd
        self.runningMean = runningMean
        self.runningVariance = runningVariance
        self.rows = rows
        self.columns = columns
        self.epsilon = epsilon
        self.momentum = momentum
    }
}

package struct BatchNormBackward: Sendable {
    package var forward: BatchNorm
    package var dy: DevicePointer
    package var dx: DevicePointer
    package var dGamma: DevicePointer
    package var dBeta: DevicePointer
    package var accumulate: Bool

    package init(
        _ forward: BatchNorm, dy: DevicePointer, dx: DevicePointer, dGamma: DevicePointer, dBeta: DevicePointer, accumulate: Bool
    ) {
        self.forward = forward
        self.dy = dy
        self.dx = dx
        self.dGamma = dGamma
        self.dBeta = dBeta
        self.accumulate = accumulate
    }
}

/// Weighted sums over the middle dimension of x (batch, length, columns).
package struct Pool: Sendable {
    package var x: DevicePointer
    package var weights: DevicePointer?
    package var y: DevicePointer
    package var batch: Int
    package var length: Int
    package var columns: Int
    /// Backward only.
    package var accumulate = false

    package init(x: DevicePointer, weights: DevicePointer?, y: DevicePointer, batch: Int, length: Int, columns: Int) {
        self.x = x
        self.weights = weights
        self.y = y
        self.batch = batch
        self.length = length
        self.columns = columns
    }
}

/// m = β₁ m + (1 − β₁) g, v = β₂ v + (1 − β₂) g², p = p (1 − decay) − step · m / (√v · rootScale + ε), with g scaled first.
package struct AdamStep: Sendable {
    package var p: DevicePointer
    package var g: DevicePointer
    package var m: DevicePointer
    package var v: DevicePointer
    package var count: Int
    package var beta1: Float
    package var beta2: Float
    package var step: Float
    package var rootScale: Float
    package var epsilon: Float
    package var decay: Float
    package var gradientScale: Float

    package init(
        p: DevicePointer, g: DevicePointer, m: DevicePointer, v: DevicePointer, count: Int, beta1: Float, beta2: Float, step: Float,
        rootScale: Float, epsilon: Float, decay: Float, gradientScale: Float
    ) {
        self.p = p
        self.g = g
        self.m = m
        self.v = v
        self.count = count
        self.beta1 = beta1
        self.beta2 = beta2
        self.step = step
        self.rootScale = rootScale
        self.epsilon = epsilon
        self.decay = decay
        self.gradientScale = gradientScale
    }
}
