internal import CKernels
internal import COpenBLAS

/// Matrix products, convolution and attention: everything that ends in OpenBLAS.
///
/// Parts are rectangles of the output whose borders depend on the shape alone. Rows of convolution patches are gathered
/// per part into the lane's scratch, so the whole patch matrix never exists.
extension CPUDevice {
    /// One single-threaded product of plain pointers.
    private func sgemm(
        _ m: Int, _ n: Int, _ k: Int, _ alpha: Float, _ a: UnsafePointer<Float>, _ aStride: Int, _ aT: Bool, _ b: UnsafePointer<Float>,
        _ bStride: Int, _ bT: Bool, _ beta: Float, _ c: UnsafeMutablePointer<Float>, _ cStride: Int
    ) {
        cblas_sgemm(
            CblasRowMajor, aT ? CblasTrans : CblasNoTrans, bT ? CblasTrans : CblasNoTrans, Int32(m), Int32(n), Int32(k), alpha, a,
            Int32(aStride), b, Int32(bStride), beta, c, Int32(cStride))
    }

    /// Into how many rectangles a product falls: 1, 2, 4 or 8 by its work, each cut across the longer side.
    ///
    /// Cutting rows packs op(B) once more, cutting columns packs op(A) once more; halving the longer side costs least.
    static func grid(m: Int, n: Int, k: Int) -> (rows: Int, columns: Int) {
        let work = 2.0 * Double(m) * Double(n) * Double(k)
        let wanted = work < 1e6 ? 1 : work < 3e8 ? 2 : work < 3e9 ? 4 : 8
        var (rows, columns) = (1, 1)
        while rows * columns < wanted {
            if m / rows >= n / columns {
                if m / rows < 64 { break }
                rows *= 2
            } else {
                if n / columns < 64 { break }
                columns *= 2
            }
        }
        return (rows, columns)
    }

    /// Part `index` of `parts` of a side, borders at multiples of 16.
    private static func cut(_ side: Int, _ index: Int, of parts: Int) -> Range<Int> {
        func border(_ i: Int) -> Int { i == parts ? side : (side * i / parts + 15) / 16 * 16 }
        return border(index)..<border(index + 1)
    }

    func gemm(_ g: GEMM) {
        if g.m == 0 || g.n == 0 { return }
        let (a, b, c) = (g.a.pointer.floats, g.b.pointer.floats, g.c.floats)
        let (bias, residual) = (g.bias?.floats, g.residual?.pointer.floats)
        let needsEpilogue = bias != nil || residual != nil || g.activation != .identity
        let (rowParts, columnParts) = Self.grid(m: g.m, n: g.n, k: g.k)
        pool.run(rowParts * columnParts) { part, _ in
            let rows = Self.cut(g.m, part / columnParts, of: rowParts)
            let columns = Self.cut(g.n, part % columnParts, of: columnParts)
            if rows.isEmpty || columns.isEmpty { return }
            let target = c + rows.lowerBound * g.cStride + columns.lowerBound
            sgemm(
                rows.count, columns.count, g.k, g.alpha, a + rows.lowerBound * (g.a.isTransposed ? 1 : g.a.stride), g.a.stride,
                g.a.isTransposed, b + columns.lowerBound * (g.b.isTransposed ? g.b.stride : 1), g.b.stride, g.b.isTransposed,
                g.accumulate ? 1 : 0, target, g.cStride)
            if needsEpilogue {
                amaf_epilogue(
                    target, g.cStride, bias.map { $0 + columns.lowerBound },
                    residual.map { $0 + rows.lowerBound * g.residual!.stride + columns.lowerBound }, g.residual?.stride ?? 0,
                    g.activation.rawValue, rows.count, columns.count)
            }
        }
    }

    /// Patch rows gathered at a time: about 4 MB of patches, an even number of parts.
    private static func patchRows(_ window: Window) -> Int {
        let target = max(128, (1 << 20) / max(window.patch, 1))
        let parts = max(2, (window.outRows + target - 1) / target)
        let even = (parts + 1) / 2 * 2
        return max(16, (window.outRows + even - 1) / even + 15) / 16 * 16
    }

    func convolution(_ c: Convolution) {
        let w = c.window
        if w.outRows == 0 { return }
        if w.positions == 1, w.stride == 1, w.padding == 0 {
            var g = GEMM(
                m: w.outRows, n: c.filters, k: w.channels, a: MatrixView(c.x, stride: w.channels),
                b: MatrixView(c.w, stride: w.channels, transposed: true), c: c.y, cStride: c.filters)
            g.bias = c.bias
            g.residual = c.residual.map { MatrixView($0, stride: c.filters) }
            g.activation = c.activation
            return gemm(g)
        }
        var window = w.c
        let (x, weights, y, bias, residual) = (c.x.floats, c.w.floats, c.y.floats, c.bias?.floats, c.residual?.floats)
        let size = Self.patchRows(w)
        pool.run((w.outRows + size - 1) / size) { part, lane in
            let first = part * size
            let rows = min(size, w.outRows - first)
            let patches = scratch.ofLane(lane, floats: size * w.patch)
            amaf_im2col(&window, x, patches, first, first + rows, 0, w.positions)
            let target = y + first * c.filters
            sgemm(rows, c.filters, w.patch, 1, patches, w.patch, false, weights, w.patch, true, 0, target, c.filters)
            if bias != nil || residual != nil || c.activation != .identity {
                amaf_epilogue(
                    target, c.filters, bias, residual.map { $0 + first * c.filters }, c.filters, c.activation.rawValue, rows, c.filters)
            }
        }
    }

    func convolutionInputGradient(_ c: Convolution) {
        let w = c.window
        if w.images == 0 { return }
        var window = w.c
        let plane = w.outHeight * w.outWidth
        let (inSize, outSize) = (w.height * w.width * w.channels, plane * c.filters)
        // Whole images per part, since neighbouring windows of one image write the same pixels.
        let wanted = max(1, min((1 << 20) / max(plane * w.patch, 1), (w.images + 1) / 2))
        let parts = ((w.images + wanted - 1) / wanted + 1) / 2 * 2
        let size = (w.images + parts - 1) / parts
        let (x, weights, y, bias) = (c.x.floats, c.w.floats, c.y.floats, c.bias?.floats)
        pool.run((w.images + size - 1) / size) { part, lane in
            let first = part * size
            let images = min(size, w.images - first)
            let rows = images * plane
            let patches = scratch.ofLane(lane, floats: size * plane * w.patch)
            sgemm(rows, w.patch, c.filters, 1, y + first * outSize, c.filters, false, weights, w.patch, false, 0, patches, w.patch)
            for i in 0..<images {
                let image = x + (first + i) * inSize
                if !c.accumulate { amaf_fill(image, 0, inSize) }
                amaf_col2im(&window, patches + i * plane * w.patch, image)
            }
            if bias != nil || c.activation != .identity {
                amaf_epilogue(
                    x + first * inSize, w.channels, bias, nil, 0, c.activation.rawValue, images * w.height * w.width, w.channels)
            }
        }
    }

    func convolutionWeightGradient(_ c: Convolution) {
        let w = c.window
        if w.outRows == 0 { return }
        if w.positions == 1, w.stride == 1, w.padding == 0 {
            var g = GEMM(
                m: c.filters, n: w.channels, k: w.outRows, a: MatrixView(c.y, stride: c.filters, transposed: true),
                b: MatrixView(c.x, stride: w.channels), c: c.w, cStride: w.channels)
            g.accumulate = true
            return gemm(g)
        }
        var window = w.c
        let (x, weights, y) = (c.x.floats, c.w.floats, c.y.floats)
        let size = max(128, (1 << 19) / max(w.patch, 1))
        // Row groups with their own sums; few where the weights are large, since every group needs a copy of them.
        let weightCount = c.filters * w.patch
        let groups = max(1, min(weightCount > 1 << 18 ? 2 : 8, (w.outRows + size - 1) / size))
        let groupRows = (w.outRows + groups - 1) / groups
        let partial = scratch.shared(floats: groups * weightCount)
        pool.run(groups) { part, lane in
            let sums = partial + part * weightCount
            let end = min(w.outRows, (part + 1) * groupRows)
            var beta: Float = 0
            let patches = scratch.ofLane(lane, floats: size * w.patch)
            for first in stride(from: part * groupRows, to: end, by: size) {
                let rows = min(size, end - first)
                amaf_im2col(&window, x, patches, first, first + rows, 0, w.positions)
                sgemm(
                    c.filters, w.patch, rows, 1, y + first * c.filters, c.filters, true, patches, w.patch, false, beta, sums, w.patch)
                beta = 1
            }
            if beta == 0 { amaf_fill(sums, 0, weightCount) }
        }
        pointwise(weightCount) { i, n in
            for group in 0..<groups { amaf_combine(weights + i, 1, partial + group * weightCount + i, 1, weights + i, n) }
        }
    }

    func attention(_ a: Attention) {
        let (q, k, v, out) = (a.q.pointer.floats, a.k.pointer.floats, a.v.pointer.floats, a.out.pointer.floats)
        let (keyBias, headBias, kept) = (a.keyBias?.floats, a.headBias?.floats, a.probabilities?.floats)
        pool.run(a.batch * a.heads) { part, lane in
            let (sample, head) = (part / a.heads, part % a.heads)
            let column = head * a.headSize
            let scores =
                kept.map { $0 + part * a.queries * a.keys } ?? scratch.ofLane(lane, floats: a.queries * a.keys)
            sgemm(
                a.queries, a.keys, a.headSize, 1, q + sample * a.q.batchStride + column, a.q.rowStride, false,
                k + sample * a.k.batchStride + column, a.k.rowStride, true, 0, scores, a.keys)
            for row in 0..<a.queries {
                let limit = a.causalOffset.map { max(0, min(a.keys, row + $0 + 1)) } ?? a.keys
                amaf_softmax_row(
                    scores + row * a.keys, scores + row * a.keys, a.keys, limit, a.scale, keyBias.map { $0 + sample * a.keys },
                    headBias.map { $0 + (head * a.queries + row) * a.keys })
            }
            sgemm(
                a.queries, a.headSize, a.keys, 1, scores, a.keys, false, v + sample * a.v.batchStride + column, a.v.rowStride, false, 0,
                out + sample * a.out.batchStride + column, a.out.rowStride)
        }
    }

    /// dV = Pᵀ dO, dP = dO Vᵀ, dS = scale · P (dP − Σ P dP), dQ = dS K, dK = dSᵀ Q.
    func attentionBackward(_ b: AttentionBackward) {
        let a = b.forward
        let (q, k, v) = (a.q.pointer.floats, a.k.pointer.floats, a.v.pointer.floats)
        let (dOut, dq, dk, dv) = (b.dOut.pointer.floats, b.dq.pointer.floats, b.dk.pointer.floats, b.dv.pointer.floats)
        let kept = a.probabilities!.floats
        let beta: Float = b.accumulate ? 1 : 0
        pool.run(a.batch * a.heads) { part, lane in
            let (sample, head) = (part / a.heads, part % a.heads)
            let column = head * a.headSize
            let p = kept + part * a.queries * a.keys
            let ds = scratch.ofLane(lane, floats: a.queries * a.keys)
            let gradient = dOut + sample * b.dOut.batchStride + column
            sgemm(
                a.keys, a.headSize, a.queries, 1, p, a.keys, true, gradient, b.dOut.rowStride, false, beta,
                dv + sample * b.dv.batchStride + column, b.dv.rowStride)
            sgemm(
                a.queries, a.keys, a.headSize, 1, gradient, b.dOut.rowStride, false, v + sample * a.v.batchStride + column, a.v.rowStride,
                true,
                0, ds, a.keys)
            amaf_softmax_backward(p, ds, ds, a.queries, a.keys, a.scale)
            sgemm(
                a.queries, a.headSize, a.keys, 1, ds, a.keys, false, k + sample * a.k.batchStride + column, a.k.rowStride, false, beta,
                dq + sample * b.dq.batchStride + column, b.dq.rowStride)
            sgemm(
                a.keys, a.headSize, a.queries, 1, ds, a.keys, true, q + sample * a.q.batchStride + column, a.q.rowStride, false, beta,
                dk + sample * b.dk.batchStride + column, b.dk.rowStride)
        }
    }
}
