import Kernels
import Primitives
import Testing

/// What one case computes: the outputs of a kernel on fixed inputs, on any device.
struct KernelCase: Sendable, CustomTestStringConvertible {
    var name: String
    var tolerance: Float = 2e-6
    var run: @Sendable (any ComputeDevice) -> [Tensor]
    var testDescription: String { name }
}

/// Numbers of a seeded stream, uniform in (−1, 1) · scale + offset.
func numbers(_ count: Int, _ seed: UInt64, scale: Float = 1, offset: Float = 0) -> [Float] {
    var generator = SeededGenerator(seed: seed)
    return (0..<count).map { _ in (Float(generator.uniform()) * 2 - 1) * scale + offset }
}

extension ComputeDevice {
    func random(_ shape: [Int], _ seed: UInt64, scale: Float = 1, offset: Float = 0) -> Tensor {
        tensor(numbers(shape.reduce(1, *), seed, scale: scale, offset: offset), shape)
    }
}

/// The largest difference over the largest magnitude: an error relative to the tensor, which is how an error travels on
/// through a network (a single tiny element may be relatively wrong without anybody noticing).
func relativeError(_ a: [Float], _ b: [Float]) -> Float {
    precondition(a.count == b.count, "\(a.count) values against \(b.count)")
    var worst: Float = 0
    var largest: Float = 1e-30
    for (x, y) in zip(a, b) {
        if x.isNaN != y.isNaN { return .infinity }
        if x.isNaN { continue }
        worst = max(worst, abs(x - y))
        largest = max(largest, abs(y))
    }
    return worst / largest
}

func gemmCase(_ m: Int, _ n: Int, _ k: Int, aT: Bool = false, bT: Bool = false, accumulate: Bool = false, full: Bool = false)
    -> KernelCase
{
    KernelCase(name: "gemm \(m)×\(n)×\(k)\(aT ? " Aᵀ" : "")\(bT ? " Bᵀ" : "")\(accumulate ? " +=" : "")\(full ? " epilogue" : "")") {
        device in
        let a = device.random([aT ? k : m, aT ? m : k], 1)
        let b = device.random([bT ? n : k, bT ? k : n], 2)
        let c = device.random([m, n], 3)
        let bias = device.random([n], 4)
        let residual = device.random([m, n], 5)
        var g = GEMM(
            m: m, n: n, k: k, a: MatrixView(a.pointer, stride: aT ? m : k, transposed: aT),
            b: MatrixView(b.pointer, stride: bT ? k : n, transposed: bT), c: c.pointer, cStride: n)
        g.accumulate = accumulate
        g.alpha = 0.5
        if full {
            g.bias = bias.pointer
            g.residual = MatrixView(residual.pointer, stride: n)
            g.activation = .gelu
        }
        device.enqueue(.gemm(g))
        return [c]
    }
}

func convolutionCase(_ window: Window, filters: Int) -> KernelCase {
    KernelCase(
        name: "convolution \(window.height)×\(window.width)×\(window.channels) → \(filters), window \(window.windowHeight), "
            + "stride \(window.stride)"
    ) { device in
        let x = device.random([window.inRows, window.channels], 1)
        let w = device.random([filters, window.patch], 2)
        let y = device.random([window.outRows, filters], 3)
        let bias = device.random([filters], 4)
        let residual = device.random([window.outRows, filters], 5)
        let dy = device.random([window.outRows, filters], 6)
        let channelBias = device.random([window.channels], 7)
        var forward = Convolution(window, filters: filters, x: x.pointer, w: w.pointer, y: y.pointer)
        forward.bias = bias.pointer
        forward.residual = residual.pointer
        forward.activation = .relu
        device.enqueue(.convolution(forward))
        let dx = device.random([window.inRows, window.channels], 8)
        var input = Convolution(window, filters: filters, x: dx.pointer, w: w.pointer, y: dy.pointer)
        input.accumulate = true
        device.enqueue(.convolutionInputGradient(input))
        let transposed = device.random([window.inRows, window.channels], 9)
        var up = Convolution(window, filters: filters, x: transposed.pointer, w: w.pointer, y: dy.pointer)
        up.bias = channelBias.pointer
        up.activation = .relu
        device.enqueue(.convolutionInputGradient(up))
        let dw = device.random([filters, window.patch], 10)
        device.enqueue(.convolutionWeightGradient(Convolution(window, filters: filters, x: x.pointer, w: dw.pointer, y: dy.pointer)))
        return [y, dx, transposed, dw]
    }
}

func attentionCase(batch: Int, heads: Int, queries: Int, keys: Int, size: Int, biased: Bool, causal: Int?) -> KernelCase {
    KernelCase(
        name: "attention \(batch)×\(heads)×\(queries)×\(keys)×\(size)\(biased ? " biased" : "")\(causal.map { " causal \($0)" } ?? "")"
    ) {
        device in
        let width = heads * size
        // Queries, keys and values in one row, as a fused projection leaves them (when there are as many of each).
        let q = device.random([batch, queries, width], 1)
        let kv = device.random([batch, keys, 2 * width], 2)
        let out = device.zeros([batch, queries, width])
        let kept = device.zeros([batch, heads, queries, keys])
        let keyBias = device.tensor((0..<batch * keys).map { $0 % 5 == 4 ? -1e9 : 0 }, [batch, keys])
        let headBias = device.random([heads, queries, keys], 3)
        func rows(_ t: Tensor, _ length: Int, _ stride: Int, at column: Int = 0) -> Attention.Operand {
            Attention.Operand(t.pointer.advanced(by: column), rowStride: stride, batchStride: length * stride)
        }
        var a = Attention(
            batch: batch, heads: heads, queries: queries, keys: keys, headSize: size, q: rows(q, queries, width),
            k: rows(kv, keys, 2 * width), v: rows(kv, keys, 2 * width, at: width), out: rows(out, queries, width), scale: 0.3)
        if biased {
            a.keyBias = keyBias.pointer
            a.headBias = headBias.pointer
        }
        a.causalOffset = causal
        a.probabilities = kept.pointer
        device.enqueue(.attention(a))
        let dOut = device.random([batch, queries, width], 4)
        let dq = device.random([batch, queries, width], 5)
        let dkv = device.random([batch, keys, 2 * width], 6)
        device.enqueue(
            .attentionBackward(
                AttentionBackward(
                    a, dOut: rows(dOut, queries, width), dq: rows(dq, queries, width), dk: rows(dkv, keys, 2 * width),
                    dv: rows(dkv, keys, 2 * width, at: width), accumulate: biased)))
        return [out, kept, dq, dkv]
    }
}

func normCase(_ rows: Int, _ columns: Int, centred: Bool, accumulate: Bool) -> KernelCase {
    KernelCase(name: "\(centred ? "layer" : "rms") norm \(rows)×\(columns)\(accumulate ? " +=" : "")", tolerance: 5e-6) { device in
        let x = device.random([rows, columns], 1, offset: 3)
        let (gamma, beta) = (device.random([columns], 2, offset: 1), device.random([columns], 3))
        let (y, stats) = (device.zeros([rows, columns]), device.zeros([rows, 2]))
        let n = RowNorm(
            x: x.pointer, gamma: gamma.pointer, beta: centred ? beta.pointer : nil, y: y.pointer, stats: stats.pointer, rows: rows,
            columns: columns, epsilon: 1e-5)
        device.enqueue(centred ? .layerNorm(n) : .rmsNorm(n))
        let (dy, dx) = (device.random([rows, columns], 4), device.random([rows, columns], 5))
        let (dGamma, dBeta) = (device.random([columns], 6), device.random([columns], 7))
        let b = RowNormBackward(
            n, dy: dy.pointer, dx: dx.pointer, dGamma: dGamma.pointer, dBeta: centred ? dBeta.pointer : nil, accumulate: accumulate)
        device.enqueue(centred ? .layerNormBackward(b) : .rmsNormBackward(b))
        return [y, stats, dx, dGamma, dBeta]
    }
}
