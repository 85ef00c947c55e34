import Foundation
import Kernels
import Primitives
import Testing

private let smallCases: [KernelCase] = {
    var cases: [KernelCase] = []
    for function in UnaryFunction.allCases {
        // A&S 7.1.26 inside GELU is good to 7.5e-8 of the distribution function; the rest is rounding.
        cases.append(
            KernelCase(name: "\(function) and its slope") { device in
                let x = device.random([33, 1001], 1, scale: function == .log ? 2 : 6, offset: function == .log ? 2.01 : 0)
                let (y, dy) = (device.zeros(x.shape), device.random(x.shape, 2))
                let (dx, added) = (device.zeros(x.shape), device.random(x.shape, 3))
                device.enqueue(.unary(function, x.pointer, to: y.pointer, count: x.count))
                for (target, accumulate) in [(dx, false), (added, true)] {
                    device.enqueue(
                        .unaryBackward(
                            UnaryBackward(
                                function, x: x.pointer, y: y.pointer, dy: dy.pointer, dx: target.pointer, count: x.count,
                                accumulate: accumulate)))
                }
                return [y, dx, added]
            })
    }
    cases += [
        gemmCase(1, 7, 5), gemmCase(17, 33, 9, aT: true), gemmCase(64, 80, 31, bT: true, full: true),
        gemmCase(130, 129, 64, aT: true, bT: true, accumulate: true), gemmCase(200, 96, 48, accumulate: true, full: true),
        convolutionCase(
            Window(images: 3, height: 9, width: 8, channels: 4, windowHeight: 3, windowWidth: 3, stride: 1, padding: 1), filters: 5),
        convolutionCase(
            Window(images: 2, height: 12, width: 12, channels: 3, windowHeight: 4, windowWidth: 4, stride: 2, padding: 1), filters: 8),
        convolutionCase(
            Window(images: 2, height: 7, width: 7, channels: 6, windowHeight: 1, windowWidth: 1, stride: 2, padding: 0), filters: 4),
        convolutionCase(
            Window(images: 2, height: 6, width: 6, channels: 8, windowHeight: 1, windowWidth: 1, stride: 1, padding: 0), filters: 9),
        convolutionCase(
            Window(images: 2, height: 15, width: 15, channels: 3, windowHeight: 7, windowWidth: 7, stride: 2, padding: 3), filters: 4),
        // Our own product: whole and partial tiles, panels and depths, and every way to end a tile.
        gemmCase(37, 70, 300, full: true), gemmCase(24, 64, 513, aT: true, accumulate: true), gemmCase(12, 32, 256, bT: true, full: true),
        gemmCase(121, 33, 1024, full: true), gemmCase(9, 8, 1, aT: true, bT: true, full: true),
        gemmCase(130, 200, 20, bT: true, accumulate: true), gemmCase(300, 70, 40, full: true), gemmCase(70, 100, 600, bT: true, full: true),
        convolutionCase(
            Window(images: 2, height: 13, width: 11, channels: 33, windowHeight: 3, windowWidth: 3, stride: 1, padding: 1), filters: 40),
        convolutionCase(
            Window(images: 3, height: 9, width: 9, channels: 1, windowHeight: 5, windowWidth: 5, stride: 2, padding: 2), filters: 16),
        convolutionCase(
            Window(images: 3, height: 19, width: 20, channels: 17, windowHeight: 3, windowWidth: 3, stride: 1, padding: 1), filters: 37),
        convolutionCase(
            Window(images: 2, height: 27, width: 25, channels: 32, windowHeight: 3, windowWidth: 3, stride: 1, padding: 0), filters: 16),
        convolutionCase(
            Window(images: 1, height: 4, width: 4, channels: 40, windowHeight: 4, windowWidth: 4, stride: 4, padding: 0), filters: 12),
        attentionCase(batch: 2, heads: 3, queries: 7, keys: 7, size: 4, biased: false, causal: nil),
        attentionCase(batch: 2, heads: 2, queries: 5, keys: 9, size: 8, biased: true, causal: nil),
        attentionCase(batch: 1, heads: 2, queries: 6, keys: 6, size: 8, biased: false, causal: 0),
        attentionCase(batch: 2, heads: 2, queries: 1, keys: 12, size: 8, biased: true, causal: 11),
        normCase(5, 37, centred: true, accumulate: false), normCase(300, 64, centred: true, accumulate: true),
        normCase(7, 48, centred: false, accumulate: true), normCase(130, 33, centred: false, accumulate: false),
    ]
    cases += [
        KernelCase(name: "fill, copy, combine, multiply, rows") { device in
            let (x, y) = (device.random([40, 500], 1), device.random([40, 500], 2))
            let (sum, product, rowSum) = (device.zeros(x.shape), device.random(x.shape, 3), device.zeros(x.shape))
            let (copied, columns) = (device.full([40, 600], 2), device.random([500], 4))
            device.enqueue(.combine(x.pointer, 0.5, y.pointer, -2, to: sum.pointer, count: x.count))
            device.enqueue(.multiply(x.pointer, y.pointer, to: product.pointer, count: x.count, accumulate: true))
            device.enqueue(.addRow(x.pointer, row: columns.pointer, to: rowSum.pointer, rows: 40, columns: 500))
            device.enqueue(
                .copyRows(
                    x.pointer, stride: 500, to: copied.pointer.advanced(by: 7), toStride: 600, rows: 40, columns: 500, accumulate: true))
            device.enqueue(.sumRows(x.pointer, stride: 500, to: columns.pointer, rows: 40, columns: 500, accumulate: true))
            return [sum, product, rowSum, copied, columns]
        },
        KernelCase(name: "column sums of a tall matrix") { device in
            let (x, out) = (device.random([5000, 24], 1), device.random([24], 2))
            device.enqueue(.sumRows(x.pointer, stride: 24, to: out.pointer, rows: 5000, columns: 24, accumulate: true))
            return [out]
        },
        KernelCase(name: "softmax and its slope") { device in
            let (x, y) = (device.random([50, 77], 1, scale: 20), device.zeros([50, 77]))
            device.enqueue(.softmax(x.pointer, to: y.pointer, rows: 50, columns: 77, scale: 0.7))
            let (dy, dx) = (device.random([50, 77], 2), device.zeros([50, 77]))
            device.enqueue(.softmaxBackward(y: y.pointer, dy: dy.pointer, dx: dx.pointer, rows: 50, columns: 77, scale: 0.7))
            return [y, dx]
        },
        KernelCase(name: "losses", tolerance: 4e-6) { device in
            let (x, t) = (device.random([20, 150], 1, scale: 8), device.random([20, 150], 2, scale: 0.5, offset: 0.5))
            var out: [Tensor] = []
            for make in [Kernel.crossEntropy, Kernel.bernoulli, Kernel.gaussian] {
                let (loss, slope) = (device.zeros([20]), device.zeros([20, 150]))
                device.enqueue(
                    make(
                        RowLoss(
                            predicted: x.pointer, target: t.pointer, loss: loss.pointer, slope: slope.pointer, rows: 20, columns: 150,
                            scale: 0.25)))
                out += [loss, slope]
            }
            return out
        },
        KernelCase(name: "divergence, reparameterisation") { device in
            let (both, noise) = (device.random([30, 64], 1, scale: 2), device.random([30, 32], 2))
            let (loss, slopes) = (device.zeros([30]), device.random([30, 64], 3))
            device.enqueue(
                .divergence(
                    Divergence(
                        mean: both.pointer, logVariance: both.pointer.advanced(by: 32), stride: 64, loss: loss.pointer,
                        dMean: slopes.pointer,
                        dLogVariance: slopes.pointer.advanced(by: 32), slopeStride: 64, rows: 30, columns: 32, scale: 0.3, accumulate: true)
                ))
            let (mean, v) = (device.random([960], 4), device.random([960], 5))
            let (z, dm, dv) = (device.zeros([960]), device.zeros([960]), device.zeros([960]))
            device.enqueue(
                .reparameterize(mean: mean.pointer, logVariance: v.pointer, noise: noise.pointer, to: z.pointer, count: 960))
            device.enqueue(
                .reparameterizeBackward(
                    dz: z.pointer, logVariance: v.pointer, noise: noise.pointer, dMean: dm.pointer, dLogVariance: dv.pointer, count: 960))
            return [loss, slopes, z, dm, dv]
        },
        KernelCase(name: "batch norm", tolerance: 1e-5) { device in
            let (rows, columns) = (400, 24)
            let x = device.random([rows, columns], 1, offset: 5)
            let (gamma, beta) = (device.random([columns], 2, offset: 1), device.random([columns], 3))
            let (y, mean, rstd) = (device.zeros([rows, columns]), device.zeros([columns]), device.zeros([columns]))
            let (runningMean, runningVariance) = (device.zeros([columns]), device.full([columns], 1))
            let n = BatchNorm(
                x: x.pointer, gamma: gamma.pointer, beta: beta.pointer, y: y.pointer, mean: mean.pointer, rstd: rstd.pointer,
                runningMean: runningMean.pointer, runningVariance: runningVariance.pointer, rows: rows, columns: columns, epsilon: 1e-5,
                momentum: 0.1)
            device.enqueue(.batchNorm(n))
            let (dy, dx) = (device.random([rows, columns], 4), device.random([rows, columns], 5))
            let (dGamma, dBeta) = (device.zeros([columns]), device.zeros([columns]))
            device.enqueue(
                .batchNormBackward(
                    BatchNormBackward(
                        n, dy: dy.pointer, dx: dx.pointer, dGamma: dGamma.pointer, dBeta: dBeta.pointer, accumulate: true)))
            let affine = device.zeros([rows, columns])
            device.enqueue(
                .columnAffine(
                    x.pointer, scale: gamma.pointer, offset: beta.pointer, to: affine.pointer, rows: rows, columns: columns, .relu))
            return [y, mean, rstd, runningMean, runningVariance, dx, dGamma, dBeta, affine]
        },
        KernelCase(name: "max pool") { device in
            let w = Window(images: 3, height: 9, width: 10, channels: 5, windowHeight: 3, windowWidth: 3, stride: 2, padding: 1)
            let (x, y) = (device.random([w.inRows, 5], 1), device.zeros([w.outRows, 5]))
            let (indices, dy, dx) = (device.zeros([w.outRows, 5]), device.random([w.outRows, 5], 2), device.zeros([w.inRows, 5]))
            device.enqueue(.maxPool(w, x.pointer, to: y.pointer, indices: indices.pointer))
            device.enqueue(.maxPoolBackward(w, dy: dy.pointer, indices: indices.pointer, dx: dx.pointer))
            return [y, dx]
        },
        KernelCase(name: "gather, scatter, normalise, pool") { device in
            let table = device.random([11, 70], 1)
            let indices = device.tensor(indices: (0..<40).map { Int32($0 * 7 % 11) }, [40])
            let (y, unit, dTable) = (device.zeros([40, 70]), device.zeros([40, 70]), device.random([11, 70], 2))
            device.enqueue(.gatherRows(table.pointer, indices: indices.pointer, to: y.pointer, count: 40, columns: 70))
            device.enqueue(.normalizeRows(y.pointer, to: unit.pointer, rows: 40, columns: 70, epsilon: 1e-12))
            device.enqueue(.scatterAddRows(unit.pointer, indices: indices.pointer, to: dTable.pointer, count: 40, columns: 70))
            let (weights, pooled, mean) = (device.random([4, 10], 3), device.zeros([4, 70]), device.zeros([4, 70]))
            var p = Pool(x: y.pointer, weights: weights.pointer, y: pooled.pointer, batch: 4, length: 10, columns: 70)
            device.enqueue(.pool(p))
            device.enqueue(.pool(Pool(x: y.pointer, weights: nil, y: mean.pointer, batch: 4, length: 10, columns: 70)))
            let dx = device.random([40, 70], 4)
            p.x = dx.pointer
            p.accumulate = true
            device.enqueue(.poolBackward(p))
            return [y, unit, dTable, pooled, mean, dx]
        },
        KernelCase(name: "entropy with zeros") { device in
            var p = numbers(60 * 150, 1, scale: 0.5, offset: 0.5)
            for i in stride(from: 0, to: p.count, by: 3) { p[i] = 0 }
            for r in 0..<60 {
                let sum = p[r * 150..<r * 150 + 150].reduce(0, +)
                for c in 0..<150 { p[r * 150 + c] /= sum }
            }
            let (x, out) = (device.tensor(p, [60, 150]), device.zeros([60]))
            device.enqueue(.entropy(x.pointer, to: out.pointer, rows: 60, columns: 150))
            return [out]
        },
        KernelCase(name: "Adam") { device in
            let (p, g) = (device.random([3000], 1), device.random([3000], 2))
            let (m, v) = (device.random([3000], 3), device.random([3000], 4, scale: 0.5, offset: 0.5))
            device.enqueue(
                .adam(
                    AdamStep(
                        p: p.pointer, g: g.pointer, m: m.pointer, v: v.pointer, count: 3000, beta1: 0.9, beta2: 0.999, step: 1e-2,
                        rootScale: 1.1, epsilon: 1e-7, decay: 1e-3, gradientScale: 0.5)))
            return [p, m, v]
        },
        KernelCase(name: "normal numbers", tolerance: 1e-6) { device in
            let out = device.zeros([40_003])
            device.enqueue(.normal(out.pointer, seed: 0x1234_5678_9ABC, stream: 42, count: 40_003))
            return [out]
        },
    ]
    return cases
}()

/// Shapes that the networks use, too large for the naive twins: only the number of lanes changes.
private let largeCases: [KernelCase] = [
    gemmCase(128, 512, 784, bT: true, full: true), gemmCase(512, 784, 128, aT: true), gemmCase(128, 784, 512),
    gemmCase(400, 768, 768, bT: true, full: true), gemmCase(512, 3072, 768, bT: true, full: true), gemmCase(1, 512, 768, bT: true),
    convolutionCase(
        Window(images: 16, height: 28, width: 28, channels: 1, windowHeight: 4, windowWidth: 4, stride: 2, padding: 1), filters: 32),
    convolutionCase(
        Window(images: 2, height: 56, width: 56, channels: 64, windowHeight: 3, windowWidth: 3, stride: 1, padding: 1), filters: 64),
    attentionCase(batch: 8, heads: 12, queries: 50, keys: 50, size: 64, biased: false, causal: nil),
    normCase(1600, 768, centred: true, accumulate: true),
]

@Suite struct DenseKernelTests {
    @Test(arguments: smallCases) func agreesWithItsNaiveTwinOnRemoteMemory(_ kernel: KernelCase) {
        let fast = kernel.run(CPUDevice(lanes: 2)).map { $0.values() }
        let naive = kernel.run(RemoteMemoryDevice()).map { $0.values() }
        for (i, (a, b)) in zip(fast, naive).enumerated() {
            let error = relativeError(a, b)
            #expect(error <= kernel.tolerance, "output \(i) of \(kernel.name): \(error)")
        }
    }

    @Test(arguments: [0, 1]) func everyMatrixKernelAgreesWithTheNaiveTwin(_ level: Int) {
        for kernel in smallCases where kernel.name.hasPrefix("gemm") || kernel.name.hasPrefix("convolution") {
            let fast = kernel.run(CPUDevice(lanes: 2, matrixLevel: level)).map { $0.values() }
            let naive = kernel.run(RemoteMemoryDevice()).map { $0.values() }
            for (i, (a, b)) in zip(fast, naive).enumerated() {
                let error = relativeError(a, b)
                #expect(error <= kernel.tolerance, "output \(i) of \(kernel.name) at level \(level): \(error)")
            }
        }
    }

    @Test(arguments: smallCases + largeCases) func doesNotDependOnTheNumberOfLanes(_ kernel: KernelCase) {
        func bits(_ lanes: Int) -> [[UInt32]] { kernel.run(CPUDevice(lanes: lanes)).map { $0.values().map(\.bitPattern) } }
        let one = bits(1)
        #expect(bits(2) == one)
        #expect(bits(3) == one)
    }

    /// Few rows take another way through the cache than many; an element's bits must not show it.
    @Test(arguments: [(false, false), (false, true), (true, false)], [1, Int.max])
    func aRowsBitsDoNotDependOnItsNeighbours(_ transposed: (a: Bool, b: Bool), _ level: Int) {
        let device = CPUDevice(lanes: 2, matrixLevel: level)
        let (m, n, k) = (300, 70, 600)
        let a = device.random(transposed.a ? [k, m] : [m, k], 1)
        let b = device.random(transposed.b ? [n, k] : [k, n], 2)
        func product(_ rows: Int) -> [UInt32] {
            let c = device.zeros([rows, n])
            device.enqueue(
                .gemm(
                    GEMM(
                        m: rows, n: n, k: k, a: MatrixView(a.pointer, stride: transposed.a ? m : k, transposed: transposed.a),
                        b: MatrixView(b.pointer, stride: transposed.b ? k : n, transposed: transposed.b), c: c.pointer, cStride: n)))
            return c.values().map(\.bitPattern)
        }
        #expect(product(100) == Array(product(m).prefix(100 * n)))
    }

    @Test func byteRowsAreTheirBytesTimesAScale() {
        let bytes = (0..<7 * 37).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        let rows = ByteRows.floats(bytes, columns: 37, [6, 0, 6], scale: 1 / 255)
        let scale: Float = 1 / 255
        var expected: [Float] = []
        for row in [6, 0, 6] { for c in 0..<37 { expected.append(Float(bytes[row * 37 + c]) * scale) } }
        #expect(rows == expected)
    }

    @Test func remoteMemoryRunsNothingBeforeSomebodyWaits() {
        let device = RemoteMemoryDevice()
        let x = device.tensor([1, 2, 3], [3])
        device.enqueue(.unary(.exp, x.pointer, to: x.pointer, count: 3))
        #expect(device.executedKernels == 0)
        #expect(relativeError(x.values(), [2.7182817, 7.389056, 20.085537]) < 1e-6)
        #expect(device.executedKernels == 1)
    }

    @Test func philoxGivesItsPublishedNumbers() {
        // Random123's known answer for counter 0 and key 0, seen through Box-Muller: r = √(−2 ln u).
        let device = CPUDevice(lanes: 1)
        let out = device.zeros([4])
        device.enqueue(.normal(out.pointer, seed: 0, stream: 0, count: 4))
        let words: [UInt32] = [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        let values = out.values().map(Double.init)
        for pair in 0..<2 {
            let square = values[2 * pair] * values[2 * pair] + values[2 * pair + 1] * values[2 * pair + 1]
            let u = Double((words[2 * pair] >> 8) + 1) * 0x1p-24
            #expect(abs(square + 2 * log(u)) < 1e-5)
        }
    }

    @Test func normalNumbersAreStandardNormal() {
        let device = CPUDevice(lanes: 2)
        let count = 1 << 20
        let out = device.empty([count])
        device.enqueue(.normal(out.pointer, seed: 9, stream: 1, count: count))
        var (m1, m2, m4) = (0.0, 0.0, 0.0)
        for v in out.values() {
            let x = Double(v)
            m1 += x
            m2 += x * x
            m4 += x * x * x * x
        }
        // Five standard errors of each moment.
        let n = Double(count)
        #expect(abs(m1 / n) < 5 / n.squareRoot())
        #expect(abs(m2 / n - 1) < 5 * (2 / n).squareRoot())
        #expect(abs(m4 / n - 3) < 5 * (96 / n).squareRoot())
    }

    @Test func freedMemoryIsUsedAgain() {
        let device = CPUDevice(lanes: 1)
        for _ in 0..<100 { _ = device.zeros([1 << 20]) }
        #expect(device.allocatedBytes <= 8 << 20)
    }
}
