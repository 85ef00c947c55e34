internal import CKernels

/// Weighted sums along the axes of an image in host memory.
package enum Resampling {
    /// Where the values of each output place come from: `start[i]` and the `count − 1` places behind it.
    package struct Taps: Sendable {
        package let start: [Int32]
        /// (start.count, count)
        package let weights: [Float]
        package let count: Int

        package init(start: [Int32], weights: [Float], count: Int) {
            self.start = start
            self.weights = weights
            self.count = count
        }
    }

    /// Both axes of interleaved bytes, each rounded to bytes: (height, width, channels) → (down.start.count, across.start.count, channels).
    ///
    /// `rows` and `columns` are its slow twins.
    package static func bytes(
        _ image: [UInt8], width: Int, height: Int, channels: Int, across: Taps, down: Taps
    ) -> [UInt8] {
        precondition(
            (1...4).contains(channels) && image.count == height * width * channels,
            "\(image.count) bytes for \(height)×\(width)×\(channels)")
        check(across.start, across.weights, across.count, limit: width)
        check(down.start, down.weights, down.count, limit: height)
        let count = across.start.count * down.start.count * channels
        return withUnsafeTemporaryAllocation(
            of: Float.self, capacity: amaf_resize_scratch(width, height, across.start.count, channels)
        ) { scratch in
            across.withPointers { across in
                down.withPointers { down in
                    [UInt8](unsafeUninitializedCapacity: count) { out, written in
                        amaf_resize_bytes(
                            image, width, height, channels, out.baseAddress, across.places, down.places, across.taps, down.taps,
                            scratch.baseAddress)
                        written = count
                    }
                }
            }
        }
    }

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

extension Resampling.Taps {
    fileprivate func withPointers<R>(_ body: ((places: Int, taps: amaf_taps)) -> R) -> R {
        start.withUnsafeBufferPointer { start in
            weights.withUnsafeBufferPointer { weights in
                body((start.count, amaf_taps(start: start.baseAddress, weights: weights.baseAddress, count: count)))
            }
        }
    }
}
