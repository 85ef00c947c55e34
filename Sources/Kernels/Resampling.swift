internal import CKernels

/// Weighted sums along one axis of an image in host memory.
package enum Resampling {
    /// (rows, width, channels) → (rows, start.count, channels): out[i] = Σ_k weights[i, k] in[start[i] + k].
    package static func rows(
        _ image: [Float], width: Int, rows: Int, channels: Int, _ start: [Int32], _ weights: [Float], _ taps: Int
    ) -> [Float] {
        check(start, weights, taps, limit: width)
        precondition(image.count == rows * width * channels, "\(image.count) values for \(rows)×\(width)×\(channels)")
        return [Float](unsafeUninitializedCapacity: rows * start.count * channels) { out, written in
            amaf_resample_rows(image, width, out.baseAddress, start.count, rows, channels, start, weights, taps)
            written = rows * start.count * channels
        }
    }

    /// (height, rowFloats) → (start.count, rowFloats)
    package static func columns(_ image: [Float], rowFloats: Int, _ start: [Int32], _ weights: [Float], _ taps: Int) -> [Float] {
        precondition(rowFloats > 0 && image.count % rowFloats == 0, "\(image.count) values in rows of \(rowFloats)")
        check(start, weights, taps, limit: image.count / rowFloats)
        return [Float](unsafeUninitializedCapacity: start.count * rowFloats) { out, written in
            amaf_resample_columns(image, out.baseAddress, start.count, rowFloats, start, weights, taps)
            written = start.count * rowFloats
        }
    }

    private static func check(_ start: [Int32], _ weights: [Float], _ taps: Int, limit: Int) {
        precondition(weights.count == start.count * taps, "\(weights.count) weights for \(start.count) places of \(taps)")
        precondition(start.allSatisfy { $0 >= 0 && Int($0) + taps <= limit }, "taps outside \(limit) places")
    }
}
