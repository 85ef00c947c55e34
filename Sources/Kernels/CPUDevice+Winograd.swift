internal import CKernels

/// 3×3 convolution of stride 1 with 2.25 times fewer multiplications; see winograd.c. Its sums of four numbers before and
/// after the products cost about one more bit of rounding than direct convolution.
extension CPUDevice {
    /// Tiles transformed at a time: whole register tiles of the product, and small enough for the second-level cache where
    /// channels are few.
    private static let block = 48

    /// The weights' transform, 16 numbers for 9, must be worth it: below about a thousand output pixels it is not.
    func suitsWinograd(_ c: Convolution) -> Bool {
        let w = c.window
        return w.windowHeight == 3 && w.windowWidth == 3 && w.stride == 1 && w.outRows >= 1024 && w.channels >= 16 && c.filters >= 16
            && (c.activation == .identity || c.activation == .relu) && matrixKernel.suits(m: Self.block, n: c.filters, k: 16 * w.channels)
    }

    func winograd(_ c: Convolution) {
        let w = c.window
        var window = w.c
        let (kernel, block, channels, filters) = (matrixKernel, Self.block, w.channels, c.filters)
        let (x, weights, y, bias, residual) = (c.x.floats, c.w.floats, c.y.floats, c.bias?.floats, c.residual?.floats)
        let panels = kernel.panels(filters)
        let (place, packedPlace) = (filters * channels, panels * channels * kernel.panel)
        let widest = (max(channels, filters) + 15) / 16 * 16
        // Zeros, the transformed weights packed for the product, and before that as matrices.
        let zeros = scratch.shared(floats: widest + 16 * packedPlace + 16 * place)
        let (packed, plain) = (zeros + widest, zeros + widest + 16 * packedPlace)
        amaf_fill(zeros, 0, widest)
        rowwise(filters, columns: 9 * channels) { first, n in
            amaf_winograd_weights(weights, channels, filters, first, first + n, plain)
        }
        pool.run(16) { part, _ in
            amaf_gemm_pack(kernel.level, plain + part * place, channels, 1, channels, filters, packed + part * packedPlace, 0, panels)
        }
        let tiles = w.images * ((w.outHeight + 1) / 2) * ((w.outWidth + 1) / 2)
        let room = 16 * block
        pool.run((tiles + block - 1) / block) { part, lane in
            let first = part * block
            let count = min(block, tiles - first)
            let spill = scratch.ofLane(lane, floats: 4 * widest + room * (channels + filters) + Int(amaf_gemm_scratch()))
            let input = spill + 4 * widest
            let (products, gathered) = (input + room * channels, input + room * (channels + filters))
            amaf_winograd_input(&window, x, zeros, first, count, block, input)
            var product = amaf_product()
            (product.rows, product.k, product.n, product.alpha) = (count, channels, filters, 1)
            (product.a_stride, product.c_stride) = (channels, filters)
            for t in 0..<16 {
                product.a = UnsafePointer(input + t * block * channels)
                product.packed = UnsafePointer(packed + t * packedPlace)
                product.c = products + t * block * filters
                amaf_gemm_multiply(kernel.level, &product, 0, count, 0, panels, gathered)
            }
            amaf_winograd_output(
                &window, products, filters, first, count, block, zeros, bias, residual, c.activation == .relu ? 1 : 0, y, spill)
        }
    }
}
