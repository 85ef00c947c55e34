import Foundation

/// What every kernel computes, in the plainest loops and in double precision: the twin that tests compare the fast kernels
/// with, and the processor of `RemoteMemoryDevice`.
struct ReferenceKernels {
    /// Memory behind an address, checked to hold that many words.
    let memory: (_ pointer: DevicePointer, _ words: Int) -> UnsafeMutablePointer<UInt32>

    init(memory: @escaping (_ pointer: DevicePointer, _ words: Int) -> UnsafeMutablePointer<UInt32>) { self.memory = memory }

    func floats(_ pointer: DevicePointer, _ count: Int) -> UnsafeMutablePointer<Float> {
        UnsafeMutableRawPointer(memory(pointer, count)).assumingMemoryBound(to: Float.self)
    }
    func integers(_ pointer: DevicePointer, _ count: Int) -> UnsafeMutablePointer<Int32> {
        UnsafeMutableRawPointer(memory(pointer, count)).assumingMemoryBound(to: Int32.self)
    }
    /// Words from the first to the last element of a pitched matrix.
    static func extent(rows: Int, columns: Int, stride: Int) -> Int { rows == 0 ? 0 : (rows - 1) * stride + columns }

    static func value(_ function: UnaryFunction, _ x: Double) -> Double {
        switch function {
        case .identity: x
        case .relu: max(x, 0)
        case .gelu: 0.5 * x * erfc(-x / 2.0.squareRoot())
        case .geluTanh: 0.5 * x * (1 + Foundation.tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        case .quickGELU: x / (1 + Foundation.exp(-1.702 * x))
        case .tanh: Foundation.tanh(x)
        case .sigmoid: 1 / (1 + Foundation.exp(-x))
        case .exp: Foundation.exp(x)
        case .log: Foundation.log(max(x, Double(Float.leastNormalMagnitude)))
        case .softplus: max(x, 0) + log1p(Foundation.exp(-abs(x)))
        }
    }

    static func slope(_ function: UnaryFunction, x: Double, y: Double) -> Double {
        switch function {
        case .identity: return 1
        case .relu: return y > 0 ? 1 : 0
        case .gelu:
            return 0.5 * erfc(-x / 2.0.squareRoot()) + x * Foundation.exp(-x * x / 2) / (2 * Double.pi).squareRoot()
        case .geluTanh:
            let c = (2 / Double.pi).squareRoot()
            let t = Foundation.tanh(c * (x + 0.044715 * x * x * x))
            return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)
        case .quickGELU:
            let s = 1 / (1 + Foundation.exp(-1.702 * x))
            return s + 1.702 * x * s * (1 - s)
        case .tanh: return 1 - y * y
        case .sigmoid: return y * (1 - y)
        case .exp: return y
        case .log: return 1 / x
        case .softplus: return 1 / (1 + Foundation.exp(-x))
        }
    }

    func run(_ kernel: Kernel) {
        switch kernel {
        case .fill(let y, let value, let count):
            let y = floats(y, count)
            for i in 0..<count { y[i] = value }
        case .copyRows(let x, let xStride, let y, let yStride, let rows, let columns, let accumulate):
            let source = floats(x, Self.extent(rows: rows, columns: columns, stride: xStride))
            let target = floats(y, Self.extent(rows: rows, columns: columns, stride: yStride))
            for r in 0..<rows {
                for c in 0..<columns {
                    target[r * yStride + c] = source[r * xStride + c] + (accumulate ? target[r * yStride + c] : 0)
                }
            }
        case .unary(let function, let x, let y, let count):
            let (x, y) = (floats(x, count), floats(y, count))
            for i in 0..<count { y[i] = Float(Self.value(function, Double(x[i]))) }
        case .unaryBackward(let u):
            let x = u.function.slopeNeedsInput ? floats(u.x, u.count) : floats(u.y, u.count)
            let (y, dy, dx) = (floats(u.y, u.count), floats(u.dy, u.count), floats(u.dx, u.count))
            for i in 0..<u.count {
                let d = Double(dy[i]) * Self.slope(u.function, x: Double(x[i]), y: Double(y[i]))
                dx[i] = Float(d + (u.accumulate ? Double(dx[i]) : 0))
            }
        case .combine(let x, let alpha, let y, let beta, let out, let count):
            let (x, y, out) = (floats(x, count), floats(y, count), floats(out, count))
            for i in 0..<count { out[i] = Float(Double(alpha) * Double(x[i]) + Double(beta) * Double(y[i])) }
        case .multiply(let x, let y, let out, let count, let accumulate):
            let (x, y, out) = (floats(x, count), floats(y, count), floats(out, count))
            for i in 0..<count { out[i] = Float(Double(x[i]) * Double(y[i]) + (accumulate ? Double(out[i]) : 0)) }
        case .addRow(let x, let row, let out, let rows, let columns):
            let (x, row, out) = (floats(x, rows * columns), floats(row, columns), floats(out, rows * columns))
            for i in 0..<rows * columns { out[i] = x[i] + row[i % columns] }
        case .sumRows(let x, let stride, let out, let rows, let columns, let accumulate):
            let source = floats(x, Self.extent(rows: rows, columns: columns, stride: stride))
            let target = floats(out, columns)
            for c in 0..<columns {
                let sum = (0..<rows).reduce(0.0) { $0 + Double(source[$1 * stride + c]) }
                target[c] = Float(sum + (accumulate ? Double(target[c]) : 0))
            }
        case .gemm(let g): gemm(g)
        case .convolution(let c): convolution(c)
        case .convolutionInputGradient(let c): convolutionInputGradient(c)
        case .convolutionWeightGradient(let c): convolutionWeightGradient(c)
        case .attention(let a): attention(a)
        case .attentionBackward(let b): attentionBackward(b)
        case .softmax(let x, let y, let rows, let columns, let scale):
            let (x, y) = (floats(x, rows * columns), floats(y, rows * columns))
            for r in 0..<rows {
                let p = Self.softmax((0..<columns).map { Double(scale) * Double(x[r * columns + $0]) })
                for c in 0..<columns { y[r * columns + c] = Float(p[c]) }
            }
        case .softmaxBackward(let y, let dy, let dx, let rows, let columns, let scale):
            let (y, dy, dx) = (floats(y, rows * columns), floats(dy, rows * columns), floats(dx, rows * columns))
            for r in 0..<rows {
                let at = r * columns
                let dot = (0..<columns).reduce(0.0) { $0 + Double(y[at + $1]) * Double(dy[at + $1]) }
                for c in at..<at + columns { dx[c] = Float(Double(scale) * Double(y[c]) * (Double(dy[c]) - dot)) }
            }
        case .crossEntropy(let l):
            rowLoss(l) { x, t in
                let (p, mass) = (Self.softmax(x), t.reduce(0, +))
                let loss = zip(p, t).reduce(0.0) { $0 - ($1.1 == 0 ? 0 : $1.1 * Foundation.log($1.0)) }
                return (loss, zip(p, t).map { $0 * mass - $1 })
            }
        case .bernoulli(let l):
            rowLoss(l) { o, x in
                (
                    zip(o, x).reduce(0.0) { $0 + Self.value(.softplus, $1.0) - $1.1 * $1.0 },
                    zip(o, x).map { Self.value(.sigmoid, $0) - $1 }
                )
            }
        case .gaussian(let l):
            rowLoss(l) { m, x in (zip(m, x).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) / 2 }, zip(m, x).map { $0 - $1 }) }
        case .divergence(let d): divergence(d)
        case .layerNorm(let n): rowNorm(n, centred: true)
        case .rmsNorm(let n): rowNorm(n, centred: false)
        case .layerNormBackward(let b): rowNormBackward(b, centred: true)
        case .rmsNormBackward(let b): rowNormBackward(b, centred: false)
        case .batchNorm(let n): batchNorm(n)
        case .batchNormBackward(let b): batchNormBackward(b)
        case .columnAffine(let x, let scale, let offset, let y, let rows, let columns, let function):
            let (x, scale, offset, y) = (
                floats(x, rows * columns), floats(scale, columns), floats(offset, columns), floats(y, rows * columns)
            )
            for i in 0..<rows * columns {
                y[i] = Float(Self.value(function, Double(x[i]) * Double(scale[i % columns]) + Double(offset[i % columns])))
            }
        case .maxPool(let w, let x, let y, let indices): maxPool(w, x, y, indices)
        case .maxPoolBackward(let w, let dy, let indices, let dx):
            let outputs = w.outRows * w.channels
            let (dy, indices, dx) = (floats(dy, outputs), integers(indices, outputs), floats(dx, w.inRows * w.channels))
            for i in 0..<outputs {
                let (image, channel) = (i / (w.outHeight * w.outWidth * w.channels), i % w.channels)
                dx[(image * w.height * w.width + Int(indices[i])) * w.channels + channel] += dy[i]
            }
        case .gatherRows(let table, let indices, let y, let count, let columns):
            let (indices, y) = (integers(indices, count), floats(y, count * columns))
            for i in 0..<count {
                let row = floats(table.advanced(by: Int(indices[i]) * columns), columns)
                for c in 0..<columns { y[i * columns + c] = row[c] }
            }
        case .scatterAddRows(let dy, let indices, let table, let count, let columns):
            let (indices, dy) = (integers(indices, count), floats(dy, count * columns))
            for i in 0..<count {
                let row = floats(table.advanced(by: Int(indices[i]) * columns), columns)
                for c in 0..<columns { row[c] += dy[i * columns + c] }
            }
        case .normalizeRows(let x, let y, let rows, let columns, let epsilon):
            let (x, y) = (floats(x, rows * columns), floats(y, rows * columns))
            for r in 0..<rows {
                let at = r * columns
                let norm = (at..<at + columns).reduce(0.0) { $0 + Double(x[$1]) * Double(x[$1]) }.squareRoot()
                for i in at..<at + columns { y[i] = Float(Double(x[i]) / max(norm, Double(epsilon))) }
            }
        case .pool(let p):
            let (x, y) = (floats(p.x, p.batch * p.length * p.columns), floats(p.y, p.batch * p.columns))
            let w = p.weights.map { floats($0, p.batch * p.length) }
            for b in 0..<p.batch {
                for c in 0..<p.columns {
                    y[b * p.columns + c] = Float(
                        (0..<p.length).reduce(0.0) { sum, t in
                            let at = b * p.length + t
                            return sum + Double(x[at * p.columns + c]) * (w.map { Double($0[at]) } ?? 1 / Double(p.length))
                        })
                }
            }
        case .poolBackward(let p):
            let (dx, dy) = (floats(p.x, p.batch * p.length * p.columns), floats(p.y, p.batch * p.columns))
            let w = p.weights.map { floats($0, p.batch * p.length) }
            for at in 0..<p.batch * p.length {
                for c in 0..<p.columns {
                    let d = (w.map { $0[at] } ?? 1 / Float(p.length)) * dy[at / p.length * p.columns + c]
                    dx[at * p.columns + c] = d + (p.accumulate ? dx[at * p.columns + c] : 0)
                }
            }
        case .entropy(let p, let out, let rows, let columns):
            let (p, out) = (floats(p, rows * columns), floats(out, rows))
            for r in 0..<rows {
                out[r] = Float(
                    (0..<columns).reduce(0.0) { sum, c in
                        let value = Double(p[r * columns + c])
                        return value == 0 ? sum : sum - value * Foundation.log(value)
                    })
            }
        case .adam(let a):
            let (p, g, m, v) = (floats(a.p, a.count), floats(a.g, a.count), floats(a.m, a.count), floats(a.v, a.count))
            for i in 0..<a.count {
                let gradient = Double(g[i]) * Double(a.gradientScale)
                let first = Double(a.beta1) * Double(m[i]) + (1 - Double(a.beta1)) * gradient
                let second = Double(a.beta2) * Double(v[i]) + (1 - Double(a.beta2)) * gradient * gradient
                m[i] = Float(first)
                v[i] = Float(second)
                p[i] = Float(
                    Double(p[i]) * (1 - Double(a.decay)) - Double(a.step) * first
                        / (second.squareRoot() * Double(a.rootScale) + Double(a.epsilon)))
            }
        case .normal(let out, let seed, let stream, let count): normal(floats(out, count), seed, stream, count)
        case .reparameterize(let mean, let logVariance, let noise, let z, let count):
            let (m, v, e, z) = (floats(mean, count), floats(logVariance, count), floats(noise, count), floats(z, count))
            for i in 0..<count { z[i] = Float(Double(m[i]) + Foundation.exp(Double(v[i]) / 2) * Double(e[i])) }
        case .reparameterizeBackward(let dz, let logVariance, let noise, let dMean, let dLogVariance, let count):
            let (dz, v, e) = (floats(dz, count), floats(logVariance, count), floats(noise, count))
            let (dm, dv) = (floats(dMean, count), floats(dLogVariance, count))
            for i in 0..<count {
                dm[i] = dz[i]
                dv[i] = Float(Double(dz[i]) * Double(e[i]) * Foundation.exp(Double(v[i]) / 2) / 2)
            }
        }
    }

    static func softmax(_ x: [Double]) -> [Double] {
        let top = x.max() ?? 0
        let e = x.map { Foundation.exp($0 - top) }
        let sum = e.reduce(0, +)
        return e.map { $0 / sum }
    }

    private func rowLoss(_ l: RowLoss, _ body: (_ predicted: [Double], _ target: [Double]) -> (loss: Double, slope: [Double])) {
        let size = l.rows * l.columns
        let (predicted, target, loss) = (floats(l.predicted, size), floats(l.target, size), floats(l.loss, l.rows))
        let slope = l.slope.map { floats($0, size) }
        for r in 0..<l.rows {
            let range = r * l.columns..<(r + 1) * l.columns
            let result = body(range.map { Double(predicted[$0]) }, range.map { Double(target[$0]) })
            loss[r] = Float(result.loss)
            if let slope { for (i, d) in zip(range, result.slope) { slope[i] = Float(Double(l.scale) * d) } }
        }
    }

    private func divergence(_ d: Divergence) {
        let size = Self.extent(rows: d.rows, columns: d.columns, stride: d.stride)
        let slopes = Self.extent(rows: d.rows, columns: d.columns, stride: d.slopeStride)
        let (mean, v, loss) = (floats(d.mean, size), floats(d.logVariance, size), floats(d.loss, d.rows))
        let (dm, dv) = (d.dMean.map { floats($0, slopes) }, d.dLogVariance.map { floats($0, slopes) })
        for r in 0..<d.rows {
            var sum = 0.0
            for c in 0..<d.columns {
                let (m, v) = (Double(mean[r * d.stride + c]), Double(v[r * d.stride + c]))
                sum += m * m + Foundation.exp(v) - 1 - v
                if let dm, let dv {
                    let at = r * d.slopeStride + c
                    dm[at] = Float(Double(d.scale) * m + (d.accumulate ? Double(dm[at]) : 0))
                    dv[at] = Float(Double(d.scale) * (Foundation.exp(v) - 1) / 2 + (d.accumulate ? Double(dv[at]) : 0))
                }
            }
            loss[r] = Float(sum / 2)
        }
    }

    /// One counter at a time, in double precision after the integer rounds.
    private func normal(_ out: UnsafeMutablePointer<Float>, _ seed: UInt64, _ stream: UInt64, _ count: Int) {
        for block in 0..<(count + 3) / 4 {
            let words = Philox.block(seed: seed, stream: stream, position: UInt64(block))
            let radius1 = (-2 * Foundation.log(Double((words.0 >> 8) + 1) * 0x1p-24)).squareRoot()
            let radius2 = (-2 * Foundation.log(Double((words.2 >> 8) + 1) * 0x1p-24)).squareRoot()
            let (turn1, turn2) = (2 * Double.pi * Double(words.1 >> 8) * 0x1p-24, 2 * Double.pi * Double(words.3 >> 8) * 0x1p-24)
            let values = [radius1 * cos(turn1), radius1 * sin(turn1), radius2 * cos(turn2), radius2 * sin(turn2)]
            for i in 0..<min(4, count - 4 * block) { out[4 * block + i] = Float(values[i]) }
        }
    }
}

/// Philox 4×32-10 (Salmon, Moraes, Dror and Shaw, SC 2011) in Swift.
enum Philox {
    static func block(seed: UInt64, stream: UInt64, position: UInt64) -> (UInt32, UInt32, UInt32, UInt32) {
        var (c0, c1) = (UInt32(truncatingIfNeeded: position), UInt32(truncatingIfNeeded: position >> 32))
        var (c2, c3) = (UInt32(truncatingIfNeeded: stream), UInt32(truncatingIfNeeded: stream >> 32))
        var (k0, k1) = (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
        for _ in 0..<10 {
            let a = UInt64(0xD251_1F53) * UInt64(c0)
            let b = UInt64(0xCD9E_8D57) * UInt64(c2)
            (c0, c1, c2, c3) = (
                UInt32(truncatingIfNeeded: b >> 32) ^ c1 ^ k0, UInt32(truncatingIfNeeded: b),
                UInt32(truncatingIfNeeded: a >> 32) ^ c3 ^ k1, UInt32(truncatingIfNeeded: a)
            )
            k0 &+= 0x9E37_79B9
            k1 &+= 0xBB67_AE85
        }
        return (c0, c1, c2, c3)
    }
}
