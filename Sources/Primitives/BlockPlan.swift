/// How a data set of `samples` rows falls into blocks: fixed ranges, set once per data set and never by the cluster.
package struct BlockPlan: Hashable, Sendable, Codable {
    package static let defaultBlockSize = 256

    package var samples: Int
    package var blockSize: Int

    package init(samples: Int, blockSize: Int = BlockPlan.defaultBlockSize) {
        precondition(samples >= 0 && blockSize > 0, "\(samples) samples in blocks of \(blockSize)")
        self.samples = samples
        self.blockSize = blockSize
    }

    package var blockCount: Int { (samples + blockSize - 1) / blockSize }

    /// The sample positions of one block; the last may be short.
    package func range(ofBlock block: Int) -> Range<Int> {
        precondition(block >= 0 && block < blockCount, "block \(block) of \(blockCount)")
        return block * blockSize..<min(samples, (block + 1) * blockSize)
    }

    package func block(ofSample sample: Int) -> Int { sample / blockSize }
}
