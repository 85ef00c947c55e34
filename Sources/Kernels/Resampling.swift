internal import CKernels

/// Weighted sums along the axes of an image in host memory.
///
/// In whole numbers, as Pillow reckons (its `Resample.c`): weights are computed in Double, scaled by 2²² and rounded away from zero;
/// a sum begins at one half, is shifted and cut to a byte. The result is therefore the same to the last byte, here and in every order of addition.
package enum Resampling {
    /// Where the values of each output place come from: `start[i]` and the `count − 1` places behind it.
    package struct Taps: Sendable {
        package let start: [Int32]
        /// (start.count, count), in units of 2⁻²²
        package let weights: [Int32]
        package let count: Int

        /// - Parameter weights: (start.count, count); those of one place sum to one, and the positive ones to less than two.
        package init(start: [Int32], weights: [Double], count: Int) {
            self.start = start
            self.weights = weights.map { Int32(($0 * Double(1 << amaf_weight_bits)).rounded(.toNearestOrAwayFromZero)) }
            self.count = count
        }
    }

    /// Both axes of interleaved bytes, along rows, then along columns unless `columnsFirst`, each rounded to bytes:
    /// (height, width, channels) → (down.start.count, across.start.count, channels).
    ///
    /// `plainBytes` is its slow twin.
    package static func bytes(
        _ image: [UInt8], width: Int, height: Int, channels: Int, across: Taps, down: Taps, columnsFirst: Bool = false
    ) -> [UInt8] {
        check(image, width, height, channels, across, down)
        let count = across.start.count * down.start.count * channels
        return withUnsafeTemporaryAllocation(
            byteCount: amaf_resize_scratch(width, height, across.start.count, down.start.count, channels), alignment: 64
        ) { scratch in
            across.withPointers { across in
                down.withPointers { down in
                    [UInt8](unsafeUninitializedCapacity: count) { out, written in
                        amaf_resize_bytes(
                            image, width, height, channels, out.baseAddress, across.places, down.places, across.taps, down.taps,
                            columnsFirst ? 1 : 0, scratch.baseAddress)
                        written = count
                    }
                }
            }
        }
    }

    package static func plainBytes(
        _ image: [UInt8], width: Int, height: Int, channels: Int, across: Taps, down: Taps, columnsFirst: Bool = false
    ) -> [UInt8] {
        check(image, width, height, channels, across, down)
        /// The value of place `i` from values `stride` apart from `first` on.
        func sum(_ values: [UInt8], _ first: Int, _ stride: Int, _ taps: Taps, _ i: Int) -> UInt8 {
            var sum = 1 << (amaf_weight_bits - 1)
            for k in 0..<taps.count {
                sum += Int(taps.weights[i * taps.count + k]) * Int(values[first + (Int(taps.start[i]) + k) * stride])
            }
            return UInt8(clamping: sum >> amaf_weight_bits)
        }
        func alongRows(_ image: [UInt8]) -> [UInt8] {
            var out: [UInt8] = []
            for row in stride(from: 0, to: image.count, by: width * channels) {
                for i in across.start.indices { for c in 0..<channels { out.append(sum(image, row + c, channels, across, i)) } }
            }
            return out
        }
        func alongColumns(_ image: [UInt8]) -> [UInt8] {
            var out: [UInt8] = []
            let row = image.count / height
            for i in down.start.indices { for x in 0..<row { out.append(sum(image, x, row, down, i)) } }
            return out
        }
        return columnsFirst ? alongRows(alongColumns(image)) : alongColumns(alongRows(image))
    }

    private static func check(_ image: [UInt8], _ width: Int, _ height: Int, _ channels: Int, _ across: Taps, _ down: Taps) {
        precondition(
            (1...4).contains(channels) && image.count == height * width * channels,
            "\(image.count) bytes for \(height)×\(width)×\(channels)")
        for (taps, limit) in [(across, width), (down, height)] {
            precondition(
                taps.weights.count == taps.start.count * taps.count,
                "\(taps.weights.count) weights for \(taps.start.count) places of \(taps.count)")
            precondition(taps.start.allSatisfy { $0 >= 0 && Int($0) + taps.count <= limit }, "taps outside \(limit) places")
        }
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
