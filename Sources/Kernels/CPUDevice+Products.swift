internal import CKernels
internal import COpenBLAS

/// Products of single rows, of few columns and inside attention: everything that ends in OpenBLAS.
///
/// Parts are rectangles of the output whose borders depend on the shape alone.
extension CPUDevice {
    /// One single-threaded product of plain pointers.
    func sgemm(
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
        if matrixKernel.suits(m: g.m, n: g.n, k: g.k) { return multiply(PackedProduct(g)) }
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
