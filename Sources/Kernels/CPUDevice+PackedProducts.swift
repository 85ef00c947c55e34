internal import CKernels

/// CKernels' matrix kernel at one instruction level.
struct MatrixKernel: Sendable {
    let level: Int32
    /// Columns in one panel of a packed matrix; 0 where there is no kernel.
    let panel: Int

    init(level: Int32) {
        self.level = level
        panel = Int(amaf_gemm_panel(level))
    }

    func panels(_ columns: Int) -> Int { (columns + panel - 1) / panel }

    /// False where OpenBLAS does better: few rows or columns waste most of a tile, and a very deep op(B) is not worth a copy.
    func suits(m: Int, n: Int, k: Int) -> Bool { panel > 0 && m >= 8 && n >= 8 && k > 0 && n * k <= 1 << 25 }
}

/// A product for CKernels' own matrix kernel, which packs op(B) once for all lanes and ends a tile with bias, residual and
/// activation while it is still in registers.
///
/// An element's bits depend on k alone, so the product may fall into any parts.
struct PackedProduct {
    var product: amaf_product
    var b: UnsafePointer<Float>
    var bStride: Int
    var bTransposed: Bool

    init(_ g: GEMM) {
        product = amaf_product(
            rows: g.m, k: g.k, n: g.n, a: UnsafePointer(g.a.pointer.floats), a_stride: g.a.stride, a_transposed: g.a.isTransposed ? 1 : 0,
            window: nil, packed: nil, alpha: g.alpha, accumulate: g.accumulate ? 1 : 0, bias: g.bias.map { UnsafePointer($0.floats) },
            residual: g.residual.map { UnsafePointer($0.pointer.floats) }, residual_stride: g.residual?.stride ?? 0,
            function: g.activation.rawValue, c: g.c.floats, c_stride: g.cStride)
        (b, bStride, bTransposed) = (UnsafePointer(g.b.pointer.floats), g.b.stride, g.b.isTransposed)
    }

    /// y = f(patches(x) wᵀ + bias + residual).
    init(_ c: Convolution, window: UnsafePointer<amaf_window>) {
        let w = c.window
        product = amaf_product(
            rows: w.outRows, k: w.patch, n: c.filters, a: UnsafePointer(c.x.floats), a_stride: w.channels, a_transposed: 0, window: window,
            packed: nil, alpha: 1, accumulate: 0, bias: c.bias.map { UnsafePointer($0.floats) },
            residual: c.residual.map { UnsafePointer($0.floats) }, residual_stride: c.filters, function: c.activation.rawValue,
            c: c.y.floats, c_stride: c.filters)
        (b, bStride, bTransposed) = (UnsafePointer(c.w.floats), w.patch, true)
    }

    /// Whether all rows of op(A) and one panel of op(B) stay in a core's second-level cache (1 MB, of which half is left to them).
    func hasFewRows(panel: Int) -> Bool {
        product.window == nil && product.rows <= 256 && amaf_gemm_gathered(product.rows, product.k) + product.k * panel <= 150_000
    }

    /// Into how many row and panel ranges: enough for lanes to share, none below about 40 µs of work.
    func grid(panels: Int) -> (rows: Int, panels: Int) {
        let m = product.rows
        let work = 2.0 * Double(m) * Double(product.n) * Double(product.k)
        let wanted = work < 4e6 ? 1 : work < 1.6e7 ? 2 : work < 3e8 ? 4 : work < 3e9 ? 8 : 16
        // Cutting rows is free; cutting columns gathers A's rows again.
        let rows = max(1, min(wanted, m / 60))
        return (rows, max(1, min(panels, wanted / rows)))
    }
}

extension CPUDevice {
    /// Packs op(B) into the shared scratch; a part packs 64 KB or more.
    func pack(_ b: UnsafePointer<Float>, stride: Int, transposed: Bool, k: Int, n: Int) -> UnsafePointer<Float> {
        let kernel = matrixKernel
        let panels = kernel.panels(n)
        let packed = scratch.shared(floats: panels * k * kernel.panel)
        let size = max((panels + 7) / 8, 16384 / max(1, k * kernel.panel))
        pool.run((panels + size - 1) / size) { part, _ in
            amaf_gemm_pack(kernel.level, b, stride, transposed ? 1 : 0, k, n, packed, part * size, min(panels, part * size + size))
        }
        return UnsafePointer(packed)
    }

    func multiply(_ p: PackedProduct) {
        if p.hasFewRows(panel: matrixKernel.panel) { return multiplyFewRows(p) }
        var product = p.product
        product.packed = pack(p.b, stride: p.bStride, transposed: p.bTransposed, k: product.k, n: product.n)
        let (m, panels, level) = (product.rows, matrixKernel.panels(product.n), matrixKernel.level)
        let (rowParts, panelParts) = p.grid(panels: panels)
        func border(_ i: Int) -> Int { i == rowParts ? m : m * i / rowParts / 4 * 4 }
        pool.run(rowParts * panelParts) { part, lane in
            let (r, c) = (part / panelParts, part % panelParts)
            amaf_gemm_multiply(
                level, &product, border(r), border(r + 1), panels * c / panelParts, panels * (c + 1) / panelParts,
                scratch.ofLane(lane, floats: Int(amaf_gemm_scratch())))
        }
    }

    /// Each lane gathers op(A) once and packs op(B) panel by panel, just before it is used: no packed copy goes through memory, and lanes
    /// wait for one another once.
    private func multiplyFewRows(_ p: PackedProduct) {
        var product = p.product
        let (kernel, k) = (matrixKernel, product.k)
        let panels = kernel.panels(product.n)
        // As many parts for every lane, two if they have some 40 µs of work each. Bits do not depend on it.
        let work = 2 * Double(product.rows) * Double(k) * Double(product.n)
        let parts = min(panels, work < 4e6 ? 1 : work < 8e6 * Double(pool.lanes) ? pool.lanes : 2 * pool.lanes)
        let gathered = (Int(amaf_gemm_gathered(product.rows, k)) + 15) / 16 * 16
        withUnsafeTemporaryAllocation(of: Bool.self, capacity: pool.lanes) { hasGathered in
            hasGathered.initialize(repeating: false)
            pool.run(parts) { part, lane in
                let memory = scratch.ofLane(lane, floats: gathered + k * kernel.panel)
                amaf_gemm_multiply_few_rows(
                    kernel.level, &product, p.b, p.bStride, p.bTransposed ? 1 : 0, panels * part / parts, panels * (part + 1) / parts,
                    memory,
                    hasGathered[lane] ? 1 : 0, memory + gathered)
                hasGathered[lane] = true
            }
        }
    }
}
