internal import CKernels

extension CPUDevice {
    /// Elements per part of a pointwise kernel: long enough to be worth a lane, short enough to stay in its cache.
    private static let pointwisePart = 8192

    /// Calls `body(first, count)` for fixed ranges of `count` elements.
    func pointwise(_ count: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
        let size = Self.pointwisePart
        if count <= size { return body(0, count) }
        pool.run((count + size - 1) / size) { part, _ in body(part * size, min(size, count - part * size)) }
    }

    /// Calls `body(firstRow, rows)` for fixed ranges of rows that together hold about a pointwise part.
    func rowwise(_ rows: Int, columns: Int, _ body: (_ first: Int, _ rows: Int) -> Void) {
        let size = max(1, Self.pointwisePart / max(columns, 1))
        if rows <= size { return body(0, rows) }
        pool.run((rows + size - 1) / size) { part, _ in body(part * size, min(size, rows - part * size)) }
    }

    func run(_ kernel: Kernel) {
        switch kernel {
        case .fill(let y, let value, let count):
            let y = y.floats
            pointwise(count) { first, n in amaf_fill(y + first, value, n) }
        case .copyRows(let x, let xStride, let y, let yStride, let rows, let columns, let accumulate):
            copyRows(x.floats, xStride, y.floats, yStride, rows, columns, accumulate)
        case .unary(let function, let x, let y, let count):
            let (x, y) = (x.floats, y.floats)
            pointwise(count) { first, n in amaf_unary(function.rawValue, x + first, y + first, n) }
        case .unaryBackward(let u):
            let (x, y, dy, dx) = (u.x.floats, u.y.floats, u.dy.floats, u.dx.floats)
            pointwise(u.count) { i, n in
                amaf_unary_backward(u.function.rawValue, x + i, y + i, dy + i, dx + i, n, u.accumulate ? 1 : 0)
            }
        case .combine(let x, let alpha, let y, let beta, let out, let count):
            let (x, y, out) = (x.floats, y.floats, out.floats)
            pointwise(count) { i, n in amaf_combine(x + i, alpha, y + i, beta, out + i, n) }
        case .multiply(let x, let y, let out, let count, let accumulate):
            let (x, y, out) = (x.floats, y.floats, out.floats)
            pointwise(count) { i, n in amaf_multiply(x + i, y + i, out + i, n, accumulate ? 1 : 0) }
        case .addRow(let x, let row, let out, let rows, let columns):
            let (x, row, out) = (x.floats, row.floats, out.floats)
            rowwise(rows, columns: columns) { r, n in amaf_add_row(x + r * columns, row, out + r * columns, n, columns) }
        case .sumRows(let x, let stride, let out, let rows, let columns, let accumulate):
            sumRows(x.floats, stride, out.floats, rows, columns, accumulate)
        case .gemm(let g): gemm(g)
        case .convolution(let c): convolution(c)
        case .convolutionInputGradient(let c): convolutionInputGradient(c)
        case .convolutionWeightGradient(let c): convolutionWeightGradient(c)
        case .attention(let a): attention(a)
        case .attentionBackward(let a): attentionBackward(a)
        case .softmax(let x, let y, let rows, let columns, let scale):
            let (x, y) = (x.floats, y.floats)
            rowwise(rows, columns: columns) { first, n in
                for r in first..<first + n { amaf_softmax_row(x + r * columns, y + r * columns, columns, columns, scale, nil, nil) }
            }
        case .softmaxBackward(let y, let dy, let dx, let rows, let columns, let scale):
            let (y, dy, dx) = (y.floats, dy.floats, dx.floats)
            rowwise(rows, columns: columns) { r, n in
                amaf_softmax_backward(y + r * columns, dy + r * columns, dx + r * columns, n, columns, scale)
            }
        case .crossEntropy(let l): rowLoss(l, amaf_cross_entropy)
        case .bernoulli(let l): rowLoss(l, amaf_bernoulli)
        case .gaussian(let l): rowLoss(l, amaf_gaussian)
        case .divergence(let d): divergence(d)
        case .layerNorm(let n):
            let (x, gamma, y, stats) = (n.x.floats, n.gamma.floats, n.y.floats, n.stats?.floats)
            guard let beta = n.beta?.floats else { preconditionFailure("a layer norm without β") }
            rowwise(n.rows, columns: n.columns) { r, count in
                amaf_layer_norm(
                    x + r * n.columns, gamma, beta, y + r * n.columns, stats.map { $0 + 2 * r }, count, n.columns, n.epsilon)
            }
        case .rmsNorm(let n):
            let (x, gamma, y, stats) = (n.x.floats, n.gamma.floats, n.y.floats, n.stats?.floats)
            rowwise(n.rows, columns: n.columns) { r, count in
                amaf_rms_norm(x + r * n.columns, gamma, y + r * n.columns, stats.map { $0 + r }, count, n.columns, n.epsilon)
            }
        case .layerNormBackward(let b): rowNormBackward(b, centred: true)
        case .rmsNormBackward(let b): rowNormBackward(b, centred: false)
        case .batchNorm(let n): batchNorm(n)
        case .batchNormBackward(let b): batchNormBackward(b)
        case .columnAffine(let x, let scale, let offset, let y, let rows, let columns, let function):
            precondition(function == .identity || function == .relu, "columnAffine knows no \(function)")
            let (x, scale, offset, y) = (x.floats, scale.floats, offset.floats, y.floats)
            rowwise(rows, columns: columns) { r, n in
                amaf_column_affine(x + r * columns, scale, offset, y + r * columns, n, columns, function.rawValue)
            }
        case .maxPool(let w, let x, let y, let indices):
            let (x, y, indices) = (x.floats, y.floats, indices?.integers)
            var window = w.c
            let (inSize, outSize) = (w.height * w.width * w.channels, w.outHeight * w.outWidth * w.channels)
            pool.run(w.images) { image, _ in
                amaf_max_pool(&window, x + image * inSize, y + image * outSize, indices.map { $0 + image * outSize }, 1)
            }
        case .maxPoolBackward(let w, let dy, let indices, let dx):
            let (dy, indices, dx) = (dy.floats, indices.integers, dx.floats)
            var window = w.c
            let (inSize, outSize) = (w.height * w.width * w.channels, w.outHeight * w.outWidth * w.channels)
            pool.run(w.images) { image, _ in
                amaf_max_pool_backward(&window, dy + image * outSize, indices + image * outSize, dx + image * inSize, 1)
            }
        case .gatherRows(let table, let indices, let y, let count, let columns):
            let (table, indices, y) = (table.floats, indices.integers, y.floats)
            rowwise(count, columns: columns) { i, n in amaf_gather_rows(table, indices + i, y + i * columns, n, columns) }
        case .scatterAddRows(let dy, let indices, let table, let count, let columns):
            let (dy, indices, table) = (dy.floats, indices.integers, table.floats)
            // Parts own columns, so equal indices add in their order whoever runs them.
            pool.run((columns + 63) / 64) { part, _ in
                amaf_scatter_add_rows(dy, indices, table, count, columns, part * 64, min(columns, part * 64 + 64))
            }
        case .normalizeRows(let x, let y, let rows, let columns, let epsilon):
            let (x, y) = (x.floats, y.floats)
            rowwise(rows, columns: columns) { r, n in amaf_normalize_rows(x + r * columns, y + r * columns, n, columns, epsilon) }
        case .pool(let p): meanPool(p)
        case .poolBackward(let p): meanPoolBackward(p)
        case .entropy(let p, let out, let rows, let columns):
            let (p, out) = (p.floats, out.floats)
            rowwise(rows, columns: columns) { r, n in amaf_entropy(p + r * columns, out + r, n, columns) }
        case .adam(let a):
            let (p, g, m, v) = (a.p.floats, a.g.floats, a.m.floats, a.v.floats)
            pointwise(a.count) { i, n in
                amaf_adam(
                    p + i, g + i, m + i, v + i, n, a.beta1, a.beta2, a.step, a.rootScale, a.epsilon, a.decay, a.gradientScale)
            }
        case .normal(let out, let seed, let stream, let count):
            let out = out.floats
            pointwise(count) { i, n in amaf_normal(seed, stream, i, out + i, n) }
        case .reparameterize(let mean, let logVariance, let noise, let z, let count):
            let (mean, logVariance, noise, z) = (mean.floats, logVariance.floats, noise.floats, z.floats)
            pointwise(count) { i, n in amaf_reparameterize(mean + i, logVariance + i, noise + i, z + i, n) }
        case .reparameterizeBackward(let dz, let logVariance, let noise, let dMean, let dLogVariance, let count):
            let (dz, v, e, dm, dv) = (dz.floats, logVariance.floats, noise.floats, dMean.floats, dLogVariance.floats)
            pointwise(count) { i, n in amaf_reparameterize_backward(dz + i, v + i, e + i, dm + i, dv + i, n) }
        }
    }

    private func copyRows(
        _ x: UnsafeMutablePointer<Float>, _ xStride: Int, _ y: UnsafeMutablePointer<Float>, _ yStride: Int, _ rows: Int, _ columns: Int,
        _ accumulate: Bool
    ) {
        let add: Int32 = accumulate ? 1 : 0
        if rows == 1 {
            pointwise(columns) { i, n in amaf_copy_rows(x + i, n, y + i, n, 1, n, add) }
        } else {
            rowwise(rows, columns: columns) { r, n in
                amaf_copy_rows(x + r * xStride, xStride, y + r * yStride, yStride, n, columns, add)
            }
        }
    }

    /// Wide matrices fall into column stripes; tall ones into row groups whose sums are added in order.
    func sumRows(
        _ x: UnsafeMutablePointer<Float>, _ stride: Int, _ out: UnsafeMutablePointer<Float>, _ rows: Int, _ columns: Int, _ accumulate: Bool
    ) {
        let add: Int32 = accumulate ? 1 : 0
        if rows * columns <= 16384 { return amaf_sum_rows(x, stride, out, rows, columns, add) }
        if columns >= 256 || rows <= 1024 {
            let width = max(64, (columns / 8 + 63) / 64 * 64)
            pool.run((columns + width - 1) / width) { part, _ in
                amaf_sum_rows(x + part * width, stride, out + part * width, rows, min(width, columns - part * width), add)
            }
        } else {
            let size = (rows + 15) / 16
            let groups = (rows + size - 1) / size
            let partial = scratch.shared(floats: groups * columns)
            pool.run(groups) { part, _ in
                amaf_sum_rows(x + part * size * stride, stride, partial + part * columns, min(size, rows - part * size), columns, 0)
            }
            amaf_sum_rows(partial, columns, out, groups, columns, add)
        }
    }

    private typealias RowLossFunction = (
        UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, UnsafeMutablePointer<Float>?, Int, Int, Float
    ) -> Void

    private func rowLoss(_ l: RowLoss, _ function: RowLossFunction) {
        let (predicted, target, loss, slope) = (l.predicted.floats, l.target.floats, l.loss.floats, l.slope?.floats)
        let columns = l.columns
        rowwise(l.rows, columns: columns) { r, n in
            function(predicted + r * columns, target + r * columns, loss + r, slope.map { $0 + r * columns }, n, columns, l.scale)
        }
    }

    private func divergence(_ d: Divergence) {
        let (mean, v, loss, dm, dv) = (d.mean.floats, d.logVariance.floats, d.loss.floats, d.dMean?.floats, d.dLogVariance?.floats)
        rowwise(d.rows, columns: d.columns) { r, n in
            amaf_kl(
                mean + r * d.stride, v + r * d.stride, d.stride, loss + r, dm.map { $0 + r * d.slopeStride },
                dv.map { $0 + r * d.slopeStride },
                d.slopeStride, n, d.columns, d.scale, d.accumulate ? 1 : 0)
        }
    }

    /// Row groups add their share of dγ and dβ to their own partial sums, which are then added in order.
    private func rowNormBackward(_ b: RowNormBackward, centred: Bool) {
        let n = b.forward
        let columns = n.columns
        let size = max(16, (n.rows + 15) / 16)
        let groups = (n.rows + size - 1) / size
        let partial = scratch.shared(floats: groups * 2 * columns)
        amaf_fill(partial, 0, groups * 2 * columns)
        let (x, gamma, dy, dx, stats) = (n.x.floats, n.gamma.floats, b.dy.floats, b.dx.floats, n.stats!.floats)
        let add: Int32 = b.accumulate ? 1 : 0
        pool.run(groups) { part, _ in
            let r = part * size
            let rows = min(size, n.rows - r)
            let sums = partial + part * 2 * columns
            if centred {
                amaf_layer_norm_backward(
                    dy + r * columns, x + r * columns, gamma, stats + 2 * r, dx + r * columns, sums, sums + columns, rows, columns, add)
            } else {
                amaf_rms_norm_backward(dy + r * columns, x + r * columns, gamma, stats + r, dx + r * columns, sums, rows, columns, add)
            }
        }
        amaf_sum_rows(partial, 2 * columns, b.dGamma.floats, groups, columns, 1)
        if let dBeta = b.dBeta?.floats { amaf_sum_rows(partial + columns, 2 * columns, dBeta, groups, columns, 1) }
    }

    /// Adds fixed row groups' `columns · kinds` sums in order into `total` (zeroed first).
    private func columnSums(
        rows: Int, columns: Int, kinds: Int, into total: UnsafeMutablePointer<Float>,
        _ body: (_ first: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
    ) {
        let size = max(64, (rows + 15) / 16)
        let groups = (rows + size - 1) / size
        let width = columns * kinds
        let partial = total + width
        amaf_fill(partial, 0, groups * width)
        pool.run(groups) { part, _ in body(part * size, min(size, rows - part * size), partial + part * width) }
        amaf_sum_rows(partial, width, total, groups, width, 0)
    }

    private func batchNorm(_ n: BatchNorm) {
        let columns = n.columns
        let (x, y, mean, rstd) = (n.x.floats, n.y.floats, n.mean.floats, n.rstd.floats)
        let total = scratch.shared(floats: columns * (2 * 17 + 3))
        let shift = total + columns * 2 * 17
        // Moments about the first row: the variance of nearly constant columns does not cancel away.
        amaf_copy_rows(x, columns, shift, columns, 1, columns, 0)
        columnSums(rows: n.rows, columns: columns, kinds: 2, into: total) { first, rows, sums in
            amaf_column_moments(x + first * columns, shift, sums, sums + columns, rows, columns)
        }
        let (gamma, beta, runningMean, runningVariance) = (n.gamma.floats, n.beta.floats, n.runningMean.floats, n.runningVariance.floats)
        let (scale, offset) = (shift + columns, shift + 2 * columns)
        let count = Float(n.rows)
        for c in 0..<columns {
            let centre = total[c] / count
            let variance = max(0, total[columns + c] / count - centre * centre)
            mean[c] = shift[c] + centre
            rstd[c] = 1 / (variance + n.epsilon).squareRoot()
            runningMean[c] += n.momentum * (mean[c] - runningMean[c])
            runningVariance[c] += n.momentum * (variance * count / (count - 1) - runningVariance[c])
            scale[c] = gamma[c] * rstd[c]
            offset[c] = beta[c] - mean[c] * scale[c]
        }
        rowwise(n.rows, columns: columns) { r, rows in
            amaf_column_affine(x + r * columns, scale, offset, y + r * columns, rows, columns, UnaryFunction.identity.rawValue)
        }
    }

    /// dx = γ rstd (dy − mean(dy) − h mean(dy h)) with h = (x − mean) rstd, as one multiply-add per column.
    private func batchNormBackward(_ b: BatchNormBackward) {
        let n = b.forward
        let columns = n.columns
        let (x, dy, dx, mean, rstd) = (n.x.floats, b.dy.floats, b.dx.floats, n.mean.floats, n.rstd.floats)
        let total = scratch.shared(floats: columns * (2 * 17 + 3))
        columnSums(rows: n.rows, columns: columns, kinds: 2, into: total) { first, rows, sums in
            amaf_batch_norm_sums(dy + first * columns, x + first * columns, mean, rstd, sums, sums + columns, rows, columns)
        }
        let a = total + columns * 2 * 17
        let (by, by0) = (a + columns, a + 2 * columns)
        let (gamma, dGamma, dBeta) = (n.gamma.floats, b.dGamma.floats, b.dBeta.floats)
        let count = Float(n.rows)
        for c in 0..<columns {
            dBeta[c] += total[c]
            dGamma[c] += total[columns + c]
            a[c] = gamma[c] * rstd[c]
            by[c] = -a[c] * rstd[c] * total[columns + c] / count
            by0[c] = -a[c] * total[c] / count - by[c] * mean[c]
        }
        rowwise(n.rows, columns: columns) { r, rows in
            amaf_column_combine(dy + r * columns, a, x + r * columns, by, by0, dx + r * columns, rows, columns, b.accumulate ? 1 : 0)
        }
    }

    private func meanPool(_ p: Pool) {
        let (x, w, y) = (p.x.floats, p.weights?.floats, p.y.floats)
        let columns = p.columns
        pool.run(p.batch) { b, _ in
            let target = y + b * columns
            amaf_fill(target, 0, columns)
            for t in 0..<p.length {
                let weight = w.map { $0[b * p.length + t] } ?? 1 / Float(p.length)
                if weight == 0 { continue }
                amaf_combine(target, 1, x + (b * p.length + t) * columns, weight, target, columns)
            }
        }
    }

    private func meanPoolBackward(_ p: Pool) {
        let (dx, w, dy) = (p.x.floats, p.weights?.floats, p.y.floats)
        let columns = p.columns
        pool.run(p.batch) { b, _ in
            for t in 0..<p.length {
                let weight = w.map { $0[b * p.length + t] } ?? 1 / Float(p.length)
                let target = dx + (b * p.length + t) * columns
                if p.accumulate {
                    amaf_combine(target, 1, dy + b * columns, weight, target, columns)
                } else {
                    amaf_combine(dy + b * columns, weight, dy + b * columns, 0, target, columns)
                }
            }
        }
    }
}

extension Window {
    /// The same in C.
    var c: amaf_window {
        amaf_window(
            height: height, width: width, channels: channels, out_height: outHeight, out_width: outWidth, window_height: windowHeight,
            window_width: windowWidth, stride: stride, padding: padding)
    }
}
