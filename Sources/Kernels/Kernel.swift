/// One operation on device memory, as a value: a device runs it, queues it, or sends it away.
///
/// Matrices are row-major. `accumulate` adds to the output instead of replacing it. Inputs and outputs do not overlap
/// unless the case says so. What each computes is defined by `ReferenceKernels`, the naive twin of every case.
package enum Kernel: Sendable {
    case fill(DevicePointer, value: Float, count: Int)
    /// (rows, columns) from one pitch to another.
    case copyRows(DevicePointer, stride: Int, to: DevicePointer, toStride: Int, rows: Int, columns: Int, accumulate: Bool)
    /// y = f(x); x and y may be the same.
    case unary(UnaryFunction, DevicePointer, to: DevicePointer, count: Int)
    case unaryBackward(UnaryBackward)
    /// out = α x + β y; out may be x or y.
    case combine(DevicePointer, Float, DevicePointer, Float, to: DevicePointer, count: Int)
    case multiply(DevicePointer, DevicePointer, to: DevicePointer, count: Int, accumulate: Bool)
    /// out[r, c] = x[r, c] + row[c]; out may be x.
    case addRow(DevicePointer, row: DevicePointer, to: DevicePointer, rows: Int, columns: Int)
    /// out[c] = Σ_r x[r, c]
    case sumRows(DevicePointer, stride: Int, to: DevicePointer, rows: Int, columns: Int, accumulate: Bool)
    case gemm(GEMM)
    case convolution(Convolution)
    /// The gradient by the input, which is also the forward pass of a transposed convolution.
    case convolutionInputGradient(Convolution)
    /// The gradient by the weights, added to `w`.
    case convolutionWeightGradient(Convolution)
    case attention(Attention)
    case attentionBackward(AttentionBackward)
    /// y = softmax(scale · x) of each row; y may be x.
    case softmax(DevicePointer, to: DevicePointer, rows: Int, columns: Int, scale: Float)
    /// dx = scale · y (dy − Σ y dy) of each row.
    case softmaxBackward(y: DevicePointer, dy: DevicePointer, dx: DevicePointer, rows: Int, columns: Int, scale: Float)
    case crossEntropy(RowLoss)
    case bernoulli(RowLoss)
    case gaussian(RowLoss)
    case divergence(Divergence)
    case layerNorm(RowNorm)
    case layerNormBackward(RowNormBackward)
    case rmsNorm(RowNorm)
    case rmsNormBackward(RowNormBackward)
    case batchNorm(BatchNorm)
    case batchNormBackward(BatchNormBackward)
    /// y = f(scale[c] x + offset[c]), f the identity or ReLU; y may be x.
    case columnAffine(DevicePointer, scale: DevicePointer, offset: DevicePointer, to: DevicePointer, rows: Int, columns: Int, UnaryFunction)
    /// y = max over each window; `indices` (Int32, as y) remembers the winners.
    case maxPool(Window, DevicePointer, to: DevicePointer, indices: DevicePointer?)
    /// dx += dy at the winners.
    case maxPoolBackward(Window, dy: DevicePointer, indices: DevicePointer, dx: DevicePointer)
    /// y[i] = table[indices[i]]
    case gatherRows(DevicePointer, indices: DevicePointer, to: DevicePointer, count: Int, columns: Int)
    /// table[indices[i]] += dy[i], in the order of i.
    case scatterAddRows(DevicePointer, indices: DevicePointer, to: DevicePointer, count: Int, columns: Int)
    /// y = x / max(‖x‖, ε) of each row; y may be x.
    case normalizeRows(DevicePointer, to: DevicePointer, rows: Int, columns: Int, epsilon: Float)
    /// y[b, c] = Σ_t w[b, t] x[b, t, c]; without w the mean over t.
    case pool(Pool)
    /// dx[b, t, c] (+)= w[b, t] dy[b, c]
    case poolBackward(Pool)
    /// out[r] = −Σ_c p ln p
    case entropy(DevicePointer, to: DevicePointer, rows: Int, columns: Int)
    case adam(AdamStep)
    /// Standard normal numbers of the stream (seed, stream), by position.
    case normal(DevicePointer, seed: UInt64, stream: UInt64, count: Int)
    /// z = μ + e^{v/2} ε
    case reparameterize(mean: DevicePointer, logVariance: DevicePointer, noise: DevicePointer, to: DevicePointer, count: Int)
    /// dμ = dz, dv = dz ε e^{v/2} / 2
    case reparameterizeBackward(
        dz: DevicePointer, logVariance: DevicePointer, noise: DevicePointer, dMean: DevicePointer, dLogVariance: DevicePointer, count: Int)
}

/// Pointwise functions; the raw value is CKernels' number.
package enum UnaryFunction: Int32, Sendable, CaseIterable {
    case identity = 0
    case relu
    /// x Φ(x), exact
    case gelu
    /// The tanh approximation of GELU (Hendrycks and Gimpel 2016), `gelu_new` in checkpoints.
    case geluTanh
    /// x σ(1.702 x), CLIP's
    case quickGELU
    case tanh
    case sigmoid
    case exp
    case log
    case softplus

    /// Whether the slope can be had from the result alone, so that the input need not be kept.
    package var slopeNeedsInput: Bool {
        switch self {
        case .identity, .relu, .tanh, .sigmoid, .exp: false
        case .gelu, .geluTanh, .quickGELU, .log, .softplus: true
        }
    }
}

/// dx (+)= dy f′(x), where y = f(x). dx may be dy unless it accumulates.
package struct UnaryBackward: Sendable {
    package var function: UnaryFunction
    package var x: DevicePointer
    package var y: DevicePointer
    package var dy: DevicePointer
    package var dx: DevicePointer
    package var count: Int
    package var accumulate: Bool

    package init(
        _ function: UnaryFunction, x: DevicePointer, y: DevicePointer, dy: DevicePointer, dx: DevicePointer, count: Int, accumulate: Bool
    ) {
        self.function = function
        self.x = x
        self.y = y
        self.dy = dy
        self.dx = dx
        self.count = count
        self.accumulate = accumulate
    }
}

/// A matrix operand: where it starts, its pitch, and whether it is read transposed.
package struct MatrixView: Sendable {
    package var pointer: DevicePointer
    package var stride: Int
    package var isTransposed: Bool

    package init(_ pointer: DevicePointer, stride: Int, transposed: Bool = false) {
        self.pointer = pointer
        self.stride = stride
        isTransposed = transposed
    }
}

/// C = f(α op(A) op(B) + C·accumulate + bias + residual): C (m, n), op(A) (m, k), op(B) (k, n), bias (n).
package struct GEMM: Sendable {
    package var m: Int
    package var n: Int
    package var k: Int
    package var a: MatrixView
    package var b: MatrixView
    package var c: DevicePointer
    package var cStride: Int
    package var alpha: Float = 1
    package var accumulate = false
    package var bias: DevicePointer?
    package var residual: MatrixView?
    package var activation = UnaryFunction.identity

    package init(m: Int, n: Int, k: Int, a: MatrixView, b: MatrixView, c: DevicePointer, cStride: Int) {
        precondition(m >= 0 && n >= 0 && k >= 0, "a product of \(m)×\(k) and \(k)×\(n)")
        self.m = m
        self.n = n
        self.k = k
        self.a = a
        self.b = b
        self.c = c
        self.cStride = cStride
    }
}

/// How windows move over a batch of NHWC images.
package struct Window: Sendable, Hashable {
    package var images: Int
    package var height: Int
    package var width: Int
    package var channels: Int
    package var windowHeight: Int
    package var windowWidth: Int
    package var stride: Int
    package var padding: Int
    package var outHeight: Int
    package var outWidth: Int

    /// Output size ⌊(size + 2 padding − window) / stride⌋ + 1.
    package init(
        images: Int, height: Int, width: Int, channels: Int, windowHeight: Int, windowWidth: Int, stride: Int, padding: Int
    ) {
        precondition(
            stride > 0 && padding >= 0 && windowHeight > 0 && windowWidth > 0 && height + 2 * padding >= windowHeight
                && width + 2 * padding >= windowWidth,
            "a \(windowHeight)×\(windowWidth) window, stride \(stride), padding \(padding), does not fit on \(height)×\(width)")
        self.images = images
        self.height = height
        self.width = width
        self.channels = channels
        self.windowHeight = windowHeight
        self.windowWidth = windowWidth
        self.stride = stride
        self.padding = padding
        outHeight = (height + 2 * padding - windowHeight) / stride + 1
        outWidth = (width + 2 * padding - windowWidth) / stride + 1
    }

    package var positions: Int { windowHeight * windowWidth }
    package var patch: Int { positions * channels }
    package var outRows: Int { images * outHeight * outWidth }
    package var inRows: Int { images * height * width }
}

/// y (N, outH, outW, filters) = f(x ∗ w + bias + residual), x (N, H, W, C), w (filters, kh, kw, C).
///
/// The input gradient reads y, writes x = f(yᵀ∗w + bias); the weight gradient reads x and y and adds to w.
package struct Convolution: Sendable {
    package var window: Window
    package var filters: Int
    package var x: DevicePointer
    package var w: DevicePointer
    package var y: DevicePointer
    package var bias: DevicePointer?
    package var residual: DevicePointer?
    package var activation = UnaryFunction.identity
    /// For the input gradient: add to x instead of replacing it.
    package var accumulate = false

    package init(_ window: Window, filters: Int, x: DevicePointer, w: DevicePointer, y: DevicePointer) {
        self.window = window
        self.filters = filters
        self.x = x
        self.w = w
        self.y = y
    }
}

/// softmax(scale · Q Kᵀ + biases) V for every sample and head: Q (B, Tq, H·d), K and V (B, Tk, H·d), each with its own
/// row pitch and its own step from sample to sample; head h uses columns h·d ..< (h+1)·d.
package struct Attention: Sendable {
    package struct Operand: Sendable {
        package var pointer: DevicePointer
        package var rowStride: Int
        package var batchStride: Int
        package init(_ pointer: DevicePointer, rowStride: Int, batchStride: Int) {
            self.pointer = pointer
            self.rowStride = rowStride
            self.batchStride = batchStride
        }
    }
    package var batch: Int
    package var heads: Int
    package var queries: Int
    package var keys: Int
    package var headSize: Int
    package var q: Operand
    package var k: Operand
    package var v: Operand
    package var out: Operand
    package var scale: Float
    /// (B, Tk), added to every query's scores: 0 or a large negative number.
    package var keyBias: DevicePointer?
    /// (H, Tq, Tk), added for every sample: relative positions.
    package var headBias: DevicePointer?
    /// Query i sees keys 0 ... i + causalOffset.
    package var causalOffset: Int?
    /// (B, H, Tq, Tk): the probabilities, kept for the backward pass.
    package var probabilities: DevicePointer?

    package init(
        batch: Int, heads: Int, queries: Int, keys: Int, headSize: Int, q: Operand, k: Operand, v: Operand, out: Operand, scale: Float
    ) {
        self.batch = batch
        self.heads = heads
        self.queries = queries
        self.keys = keys
        self.headSize = headSize
        self.q = q
        self.k = k
        self.v = v
        self.out = out
        self.scale = scale
    }
}

/// Gradients of `Attention` with its kept probabilities; dq, dk and dv (+)=.
package struct AttentionBackward: Sendable {
    package var forward: Attention
    package var dOut: Attention.Operand
    package var dq: Attention.Operand
    package var dk: Attention.Operand
    package var dv: Attention.Operand
    package var accumulate: Bool

    package init(
        _ forward: Attention, dOut: Attention.Operand, dq: Attention.Operand, dk: Attention.Operand, dv: Attention.Operand, accumulate: Bool
    ) {
        precondition(forward.probabilities != nil, "attention kept no probabilities")
        self.forward = forward
        self.dOut = dOut
        self.dq = dq
        self.dk = dk
        self.dv = dv
        self.accumulate = accumulate
    }
}

extension Kernel {
    /// Kind and, where it decides the time, shape: for profiles.
    package var label: String {
        switch self {
        case .gemm(let g): "gemm \(g.m)×\(g.n)×\(g.k)\(g.a.isTransposed ? " Aᵀ" : "")\(g.b.isTransposed ? " Bᵀ" : "")"
        case .convolution(let c): "convolution \(c.label)"
        case .convolutionInputGradient(let c): "convolutionInputGradient \(c.label)"
        case .convolutionWeightGradient(let c): "convolutionWeightGradient \(c.label)"
        case .attention(let a): "attention \(a.batch)×\(a.heads)×\(a.queries)×\(a.keys)×\(a.headSize)"
        default: String(String(describing: self).prefix { $0 != "(" })
        }
    }
}

extension Convolution {
    fileprivate var label: String {
        "\(window.images)×\(window.height)×\(window.width)×\(window.channels) → \(filters), \(window.windowHeight)×\(window.windowWidth)/\(window.stride)"
    }
}
