/// The naive twins of matrix products, convolution, attention, norms and pooling.
extension ReferenceKernels {
    func gemm(_ g: GEMM) {
        let a = floats(
            g.a.pointer, Self.extent(rows: g.a.isTransposed ? g.k : g.m, columns: g.a.isTransposed ? g.m : g.k, stride: g.a.stride))
        let b = floats(
            g.b.pointer, Self.extent(rows: g.b.isTransposed ? g.n : g.k, columns: g.b.isTransposed ? g.k : g.n, stride: g.b.stride))
        let c = floats(g.c, Self.extent(rows: g.m, columns: g.n, stride: g.cStride))
        let bias = g.bias.map { floats($0, g.n) }
        let residual = g.residual.map { floats($0.pointer, Self.extent(rows: g.m, columns: g.n, stride: $0.stride)) }
        for i in 0..<g.m {
            for j in 0..<g.n {
                var sum = 0.0
                for l in 0..<g.k {
                    let left = a[g.a.isTransposed ? l * g.a.stride + i : i * g.a.stride + l]
                    let right = b[g.b.isTransposed ? j * g.b.stride + l : l * g.b.stride + j]
                    sum += Double(left) * Double(right)
                }
                sum *= Double(g.alpha)
                if g.accumulate { sum += Double(c[i * g.cStride + j]) }
                if let bias { sum += Double(bias[j]) }
                if let residual { sum += Double(residual[i * g.residual!.stride + j]) }
                c[i * g.cStride + j] = Float(Self.value(g.activation, sum))
            }
        }
    }

    /// Calls `body(output row, window position, input row)` for every place where a window lies on the image.
    private func forEachOverlap(_ w: Window, _ body: (_ out: Int, _ position: Int, _ input: Int) -> Void) {
        for image in 0..<w.images {
            for oy in 0..<w.outHeight {
                for ox in 0..<w.outWidth {
                    for ky in 0..<w.windowHeight {
                        for kx in 0..<w.windowWidth {
                            let (iy, ix) = (oy * w.stride + ky - w.padding, ox * w.stride + kx - w.padding)
                            if iy < 0 || ix < 0 || iy >= w.height || ix >= w.width { continue }
                            body(
                                (image * w.outHeight + oy) * w.outWidth + ox, ky * w.windowWidth + kx,
                                (image * w.height + iy) * w.width + ix)
                        }
                    }
                }
            }
        }
    }

    private func operands(_ c: Convolution) -> (
        x: UnsafeMutablePointer<Float>, w: UnsafeMutablePointer<Float>, y: UnsafeMutablePointer<Float>
    ) {
        (
            floats(c.x, c.window.inRows * c.window.channels), floats(c.w, c.filters * c.window.patch),
            floats(c.y, c.window.outRows * c.filters)
        )
    }

    func convolution(_ c: Convolution) {
        let (x, w, y) = operands(c)
        let channels = c.window.channels
        var sums = [Double](repeating: 0, count: c.window.outRows * c.filters)
        forEachOverlap(c.window) { out, position, input in
            for filter in 0..<c.filters {
                for channel in 0..<channels {
                    sums[out * c.filters + filter] +=
                        Double(x[input * channels + channel]) * Double(w[filter * c.window.patch + position * channels + channel])
                }
            }
        }
        let bias = c.bias.map { floats($0, c.filters) }
        let residual = c.residual.map { floats($0, sums.count) }
        for i in sums.indices {
            let sum = sums[i] + (bias.map { Double($0[i % c.filters]) } ?? 0) + (residual.map { Double($0[i]) } ?? 0)
            y[i] = Float(Self.value(c.activation, sum))
        }
    }

    func convolutionInputGradient(_ c: Convolution) {
        let (x, w, y) = operands(c)
        let channels = c.window.channels
        var sums = [Double](repeating: 0, count: c.window.inRows * channels)
        forEachOverlap(c.window) { out, position, input in
            for filter in 0..<c.filters {
                for channel in 0..<channels {
                    sums[input * channels + channel] +=
                        Double(y[out * c.filters + filter]) * Double(w[filter * c.window.patch + position * channels + channel])
                }
            }
        }
        let bias = c.bias.map { floats($0, channels) }
        for i in sums.indices {
            let sum = sums[i] + (bias.map { Double($0[i % channels]) } ?? 0) + (c.accumulate ? Double(x[i]) : 0)
            x[i] = Float(Self.value(c.activation, sum))
        }
    }

    func convolutionWeightGradient(_ c: Convolution) {
        let (x, w, y) = operands(c)
        let channels = c.window.channels
        var sums = [Double](repeating: 0, count: c.filters * c.window.patch)
        forEachOverlap(c.window) { out, position, input in
            for filter in 0..<c.filters {
                for channel in 0..<channels {
                    sums[filter * c.window.patch + position * channels + channel] +=
                        Double(y[out * c.filters + filter]) * Double(x[input * channels + channel])
                }
            }
        }
        for i in sums.indices { w[i] = Float(Double(w[i]) + sums[i]) }
    }

    private func operand(_ o: Attention.Operand, _ a: Attention, rows: Int, sample: Int, head: Int) -> UnsafeMutablePointer<Float> {
        floats(
            o.pointer.advanced(by: sample * o.batchStride + head * a.headSize),
            Self.extent(rows: rows, columns: a.headSize, stride: o.rowStride))
    }

    func attention(_ a: Attention) {
        let keyBias = a.keyBias.map { floats($0, a.batch * a.keys) }
        let headBias = a.headBias.map { floats($0, a.heads * a.queries * a.keys) }
        let kept = a.probabilities.map { floats($0, a.batch * a.heads * a.queries * a.keys) }
        for sample in 0..<a.batch {
            for head in 0..<a.heads {
                let q = operand(a.q, a, rows: a.queries, sample: sample, head: head)
                let k = operand(a.k, a, rows: a.keys, sample: sample, head: head)
                let v = operand(a.v, a, rows: a.keys, sample: sample, head: head)
                let out = operand(a.out, a, rows: a.queries, sample: sample, head: head)
                for i in 0..<a.queries {
                    let limit = a.causalOffset.map { max(0, min(a.keys, i + $0 + 1)) } ?? a.keys
                    var p = [Double](repeating: 0, count: a.keys)
                    let scores = (0..<limit).map { j in
                        var sum = 0.0
                        for d in 0..<a.headSize { sum += Double(q[i * a.q.rowStride + d]) * Double(k[j * a.k.rowStride + d]) }
                        sum *= Double(a.scale)
                        if let keyBias { sum += Double(keyBias[sample * a.keys + j]) }
                        if let headBias { sum += Double(headBias[(head * a.queries + i) * a.keys + j]) }
                        return sum
                    }
                    if limit > 0 { p.replaceSubrange(0..<limit, with: Self.softmax(scores)) }
                    if let kept {
                        for j in 0..<a.keys { kept[((sample * a.heads + head) * a.queries + i) * a.keys + j] = Float(p[j]) }
                    }
                    for d in 0..<a.headSize {
                        out[i * a.out.rowStride + d] = Float((0..<a.keys).reduce(0.0) { $0 + p[$1] * Double(v[$1 * a.v.rowStride + d]) })
                    }
                }
            }
        }
    }

    func attentionBackward(_ b: AttentionBackward) {
        let a = b.forward
        let kept = floats(a.probabilities!, a.batch * a.heads * a.queries * a.keys)
        for sample in 0..<a.batch {
            for head in 0..<a.heads {
                let q = operand(a.q, a, rows: a.queries, sample: sample, head: head)
                let k = operand(a.k, a, rows: a.keys, sample: sample, head: head)
                let v = operand(a.v, a, rows: a.keys, sample: sample, head: head)
                let dOut = operand(b.dOut, a, rows: a.queries, sample: sample, head: head)
                let dq = operand(b.dq, a, rows: a.queries, sample: sample, head: head)
                let dk = operand(b.dk, a, rows: a.keys, sample: sample, head: head)
                let dv = operand(b.dv, a, rows: a.keys, sample: sample, head: head)
                let p = kept + (sample * a.heads + head) * a.queries * a.keys
                if !b.accumulate {
                    for d in 0..<a.headSize {
                        for i in 0..<a.queries { dq[i * b.dq.rowStride + d] = 0 }
                        for j in 0..<a.keys {
                            dk[j * b.dk.rowStride + d] = 0
                            dv[j * b.dv.rowStride + d] = 0
                        }
                    }
                }
                for i in 0..<a.queries {
                    let dp = (0..<a.keys).map { j in
                        (0..<a.headSize).reduce(0.0) {
                            $0 + Double(dOut[i * b.dOut.rowStride + $1]) * Double(v[j * a.v.rowStride + $1])
                        }
                    }
                    let dot = (0..<a.keys).reduce(0.0) { $0 + Double(p[i * a.keys + $1]) * dp[$1] }
                    for j in 0..<a.keys {
                        let probability = Double(p[i * a.keys + j])
                        let ds = Double(a.scale) * probability * (dp[j] - dot)
                        for d in 0..<a.headSize {
                            dv[j * b.dv.rowStride + d] += Float(probability * Double(dOut[i * b.dOut.rowStride + d]))
                            dq[i * b.dq.rowStride + d] += Float(ds * Double(k[j * a.k.rowStride + d]))
                            dk[j * b.dk.rowStride + d] += Float(ds * Double(q[i * a.q.rowStride + d]))
                        }
                    }
                }
            }
        }
    }

    func rowNorm(_ n: RowNorm, centred: Bool) {
        let (x, gamma, y) = (floats(n.x, n.rows * n.columns), floats(n.gamma, n.columns), floats(n.y, n.rows * n.columns))
        let beta = n.beta.map { floats($0, n.columns) }
        let stats = n.stats.map { floats($0, n.rows * (centred ? 2 : 1)) }
        for r in 0..<n.rows {
            let row = (0..<n.columns).map { Double(x[r * n.columns + $0]) }
            let mean = centred ? row.reduce(0, +) / Double(n.columns) : 0
            let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n.columns)
            let rstd = 1 / (variance + Double(n.epsilon)).squareRoot()
            for c in 0..<n.columns {
                y[r * n.columns + c] = Float((row[c] - mean) * rstd * Double(gamma[c]) + (beta.map { Double($0[c]) } ?? 0))
            }
            if centred { stats?[2 * r] = Float(mean) }
            stats?[centred ? 2 * r + 1 : r] = Float(rstd)
        }
    }

    func rowNormBackward(_ b: RowNormBackward, centred: Bool) {
        let n = b.forward
        let size = n.rows * n.columns
        let (x, gamma, dy, dx) = (floats(n.x, size), floats(n.gamma, n.columns), floats(b.dy, size), floats(b.dx, size))
        let dGamma = floats(b.dGamma, n.columns)
        let dBeta = b.dBeta.map { floats($0, n.columns) }
        let stats = floats(n.stats!, n.rows * (centred ? 2 : 1))
        for r in 0..<n.rows {
            let mean = centred ? Double(stats[2 * r]) : 0
            let rstd = Double(stats[centred ? 2 * r + 1 : r])
            let at = r * n.columns
            let h = (0..<n.columns).map { (Double(x[at + $0]) - mean) * rstd }
            let g = (0..<n.columns).map { Double(dy[at + $0]) * Double(gamma[$0]) }
            let meanG = centred ? g.reduce(0, +) / Double(n.columns) : 0
            let meanGH = zip(g, h).reduce(0) { $0 + $1.0 * $1.1 } / Double(n.columns)
            for c in 0..<n.columns {
                let d = rstd * (g[c] - meanG - h[c] * meanGH)
                dx[at + c] = Float(d + (b.accumulate ? Double(dx[at + c]) : 0))
                dGamma[c] += Float(Double(dy[at + c]) * h[c])
                dBeta?[c] += dy[at + c]
            }
        }
    }

    func batchNorm(_ n: BatchNorm) {
        let size = n.rows * n.columns
        let (x, y, gamma, beta) = (floats(n.x, size), floats(n.y, size), floats(n.gamma, n.columns), floats(n.beta, n.columns))
        let (mean, rstd) = (floats(n.mean, n.columns), floats(n.rstd, n.columns))
        let (runningMean, runningVariance) = (floats(n.runningMean, n.columns), floats(n.runningVariance, n.columns))
        for c in 0..<n.columns {
            let column = (0..<n.rows).map { Double(x[$0 * n.columns + c]) }
            let m = column.reduce(0, +) / Double(n.rows)
            let variance = column.reduce(0) { $0 + ($1 - m) * ($1 - m) } / Double(n.rows)
            let r = 1 / (variance + Double(n.epsilon)).squareRoot()
            mean[c] = Float(m)
            rstd[c] = Float(r)
            runningMean[c] += n.momentum * (Float(m) - runningMean[c])
            runningVariance[c] += n.momentum * (Float(variance * Double(n.rows) / Double(n.rows - 1)) - runningVariance[c])
            for i in 0..<n.rows { y[i * n.columns + c] = Float((column[i] - m) * r * Double(gamma[c]) + Double(beta[c])) }
        }
    }

    func batchNormBackward(_ b: BatchNormBackward) {
        let n = b.forward
        let size = n.rows * n.columns
        let (x, dy, dx, gamma) = (floats(n.x, size), floats(b.dy, size), floats(b.dx, size), floats(n.gamma, n.columns))
        let (mean, rstd) = (floats(n.mean, n.columns), floats(n.rstd, n.columns))
        let (dGamma, dBeta) = (floats(b.dGamma, n.columns), floats(b.dBeta, n.columns))
        for c in 0..<n.columns {
            let r = Double(rstd[c])
            let h = (0..<n.rows).map { (Double(x[$0 * n.columns + c]) - Double(mean[c])) * r }
            let g = (0..<n.rows).map { Double(dy[$0 * n.columns + c]) }
            let (sumG, sumGH) = (g.reduce(0, +), zip(g, h).reduce(0) { $0 + $1.0 * $1.1 })
            dBeta[c] += Float(sumG)
            dGamma[c] += Float(sumGH)
            for i in 0..<n.rows {
                let d = Double(gamma[c]) * r * (g[i] - sumG / Double(n.rows) - h[i] * sumGH / Double(n.rows))
                dx[i * n.columns + c] = Float(d + (b.accumulate ? Double(dx[i * n.columns + c]) : 0))
            }
        }
    }

    func maxPool(_ w: Window, _ x: DevicePointer, _ y: DevicePointer, _ indices: DevicePointer?) {
        let (x, y) = (floats(x, w.inRows * w.channels), floats(y, w.outRows * w.channels))
        let indices = indices.map { integers($0, w.outRows * w.channels) }
        var seen = [Bool](repeating: false, count: w.outRows)
        forEachOverlap(w) { out, _, input in
            for c in 0..<w.channels {
                let value = x[input * w.channels + c]
                if !seen[out] || value > y[out * w.channels + c] {
                    y[out * w.channels + c] = value
                    indices?[out * w.channels + c] = Int32(input % (w.height * w.width))
                }
            }
            seen[out] = true
        }
    }
}
