import Primitives
import Testing
import WorkerService

@Suite struct PendingOutputsTests {
    private let first = Fence(epoch: 1, counter: 1)
    private let second = Fence(epoch: 1, counter: 2)
    private let bytes: [UInt8] = [1, 2, 3]

    /// Once, the end of the older lease took the bytes along, and the newer one could never be committed.
    @Test func bytesStayUntilTheLastLeaseThatMadeThemIsSettled() {
        var pending = PendingOutputs()
        let digest = Digest.of(bytes)
        pending.add(digest, bytes, of: first)
        pending.add(digest, bytes, of: second)
        #expect(pending.settle(first) == [digest])
        #expect(pending[digest] == bytes)
        #expect(pending.settle(second) == [digest])
        #expect(pending[digest] == nil)
        #expect(pending.settle(second).isEmpty)
    }

    @Test func anOutputMadeTwiceByOneLeaseIsForgottenWithIt() {
        var pending = PendingOutputs()
        let digest = Digest.of(bytes)
        let large = Digest.of([9])
        pending.add(digest, bytes, of: first)
        pending.add(digest, bytes, of: first)
        pending.add(large, nil, of: first)
        #expect(pending[large] == nil)
        #expect(pending.settle(first) == [digest, digest, large])
        #expect(pending[digest] == nil)
    }
}
