internal import CKernels

/// Convolutions as products over patches, which are gathered part by part and never stand in memory as a whole.
extension CPUDevice {
    /// Patch rows gathered at a time for OpenBLAS: about 4 MB of patches, an even number of parts.
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
        if suitsWinograd(c) { return winograd(c) }
        if matrixKernel.suits(m: w.outRows, n: c.filters, k: w.patch) {
            return withUnsafePointer(to: &window) { multiply(PackedProduct(c, window: $0)) }
        }
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
        let kernel = matrixKernel
        let plane = w.outHeight * w.outWidth
        let (inSize, outSize) = (w.height * w.width * w.channels, plane * c.filters)
        // Whole images per part, since neighbouring windows of one image write the same pixels; about 512 KB of patches,
        // which the second-level cache holds until they are added up.
        let wanted = max(1, min((1 << 17) / max(plane * w.patch, 1), (w.images + 1) / 2))
        let parts = ((w.images + wanted - 1) / wanted + 1) / 2 * 2
        let size = (w.images + parts - 1) / parts
        let (x, weights, y, bias) = (c.x.floats, c.w.floats, c.y.floats, c.bias?.floats)
        let isPacked = kernel.suits(m: size * plane, n: w.patch, k: c.filters)
        let packed = isPacked ? pack(weights, stride: w.patch, transposed: false, k: c.filters, n: w.patch) : nil
        let room = (size * plane * w.patch + 15) / 16 * 16
        pool.run((w.images + size - 1) / size) { part, lane in
            let first = part * size
            let images = min(size, w.images - first)
            let rows = images * plane
            let patches = scratch.ofLane(lane, floats: room + (isPacked ? Int(amaf_gemm_scratch()) : 0))
            if let packed {
                var product = amaf_product()
                (product.rows, product.k, product.n, product.alpha) = (rows, c.filters, w.patch, 1)
                (product.a, product.a_stride, product.packed) = (UnsafePointer(y + first * outSize), c.filters, packed)
                (product.c, product.c_stride) = (patches, w.patch)
                amaf_gemm_multiply(kernel.level, &product, 0, rows, 0, kernel.panels(w.patch), patches + room)
            } else {
                sgemm(rows, w.patch, c.filters, 1, y + first * outSize, c.filters, false, weights, w.patch, false, 0, patches, w.patch)
            }
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
        let kernel = matrixKernel
        let isPacked = kernel.suits(m: c.filters, n: w.patch, k: 256)
        let size = isPacked ? 256 : max(128, (1 << 19) / max(w.patch, 1))
        // Row groups with their own sums; few where the weights are large, since every group needs a copy of them.
        let weightCount = c.filters * w.patch
        let groups = max(1, min(weightCount > 1 << 18 ? 2 : 8, (w.outRows + size - 1) / size))
        let groupRows = (w.outRows + groups - 1) / groups
        let partial = scratch.shared(floats: groups * weightCount)
        let columns = isPacked ? kernel.panels(w.patch) * kernel.panel : 0
        pool.run(groups) { part, lane in
            let sums = partial + part * weightCount
            let end = min(w.outRows, (part + 1) * groupRows)
            var isFirst = true
            let patches = scratch.ofLane(lane, floats: isPacked ? (size + 1) * columns + Int(amaf_gemm_scratch()) : size * w.patch)
            for first in stride(from: part * groupRows, to: end, by: size) {
                let rows = min(size, end - first)
                if isPacked {
                    amaf_gemm_pack_patches(kernel.level, &window, x, first, rows, patches, patches + size * columns)
                    var product = amaf_product()
                    (product.rows, product.k, product.n, product.alpha) = (c.filters, rows, w.patch, 1)
                    (product.a, product.a_stride, product.a_transposed) = (UnsafePointer(y + first * c.filters), c.filters, 1)
                    (product.packed, product.accumulate) = (UnsafePointer(patches), isFirst ? 0 : 1)
                    (product.c, product.c_stride) = (sums, w.patch)
                    amaf_gemm_multiply(kernel.level, &product, 0, c.filters, 0, kernel.panels(w.patch), patches + (size + 1) * columns)
                } else {
                    amaf_im2col(&window, x, patches, first, first + rows, 0, w.positions)
                    sgemm(
                        c.filters, w.patch, rows, 1, y + first * c.filters, c.filters, true, patches, w.patch, false, isFirst ? 0 : 1, sums,
                        w.patch)
                }
                isFirst = false
            }
            if isFirst { amaf_fill(sums, 0, weightCount) }
        }
        pointwise(weightCount) { i, n in
            for group in 0..<groups { amaf_combine(weights + i, 1, partial + group * weightCount + i, 1, weights + i, n) }
        }
    }
}
