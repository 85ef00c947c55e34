import Kernels
import Primitives
import Testing

/// The vectorised loops against their slow twin, to the last byte.
@Suite struct ResamplingTests {
    /// Sharpens, so that sums leave the range of a byte on both sides.
    private func taps(from: Int, to: Int, count: Int) -> Resampling.Taps {
        var weights: [Double] = []
        var start: [Int32] = []
        for i in 0..<to {
            start.append(Int32(min(i * from / to, from - count)))
            weights += (0..<count).map { $0 == i % count ? 1.8 : -0.8 / Double(count - 1) }
        }
        return Resampling.Taps(start: start, weights: weights, count: count)
    }

    /// 33 columns of three channels fill one block of the second loop and leave a rest.
    @Test(arguments: [1, 2, 3, 4], [false, true]) func bytesAgreeWithTheirTwin(channels: Int, columnsFirst: Bool) {
        var random = SeededGenerator(seed: 3, stream: "resampling")
        let (width, height) = (37, 29)
        let image = (0..<width * height * channels).map { _ in UInt8(random.index(below: 256)) }
        let (across, down) = (taps(from: width, to: 33, count: 5), taps(from: height, to: 17, count: 3))
        let fast = Resampling.bytes(
            image, width: width, height: height, channels: channels, across: across, down: down, columnsFirst: columnsFirst)
        let slow = Resampling.plainBytes(
            image, width: width, height: height, channels: channels, across: across, down: down, columnsFirst: columnsFirst)
        #expect(fast.count == 17 * 33 * channels && fast == slow)
        #expect(fast.contains(0) && fast.contains(255), "nothing was cut")
    }
}
