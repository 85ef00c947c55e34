import Kernels
import Primitives
import Testing

/// The fused loop against its slow twins, one axis after the other.
@Suite struct ResamplingTests {
    private func taps(from: Int, to: Int, count: Int) -> Resampling.Taps {
        var weights: [Float] = []
        var start: [Int32] = []
        for i in 0..<to {
            start.append(Int32(min(i * from / to, from - count)))
            let raw = (0..<count).map { Float(1 + ($0 + i) % 3) - 0.25 }
            weights += raw.map { $0 / raw.reduce(0, +) }
        }
        return Resampling.Taps(start: start, weights: weights, count: count)
    }

    private func rounded(_ values: [Float]) -> [Float] { values.map { min(255, max(0, ($0 + 0.5).rounded(.down))) } }

    @Test(arguments: [1, 2, 3, 4]) func bytesAgreeWithTwins(channels: Int) {
        var random = SeededGenerator(seed: 3, stream: "resampling")
        let (width, height) = (37, 29)
        let image = (0..<width * height * channels).map { _ in UInt8(random.index(below: 256)) }
        let (across, down) = (taps(from: width, to: 17, count: 5), taps(from: height, to: 33, count: 3))
        let fused = Resampling.bytes(image, width: width, height: height, channels: channels, across: across, down: down)
        var slow = Resampling.rows(
            image.map(Float.init), width: width, rows: height, channels: channels, across.start, across.weights, across.count)
        slow = rounded(slow)
        slow = rounded(Resampling.columns(slow, rowFloats: 17 * channels, down.start, down.weights, down.count))
        #expect(fused.count == 17 * 33 * channels)
        // Sums in another order may round to the neighbouring byte where they end in a half.
        #expect(zip(fused, slow).allSatisfy { abs(Float($0) - $1) <= 1 } && zip(fused, slow).count { Float($0) != $1 } < fused.count / 100)
    }
}
