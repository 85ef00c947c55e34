import Foundation
import Primitives
import Scheduling
import Testing
import WireProtocol

/// Numbers, not checks: `AMAF_BENCH=1 AMAF_ROOM=WireProtocol swift test -c release --filter CodingBenchmarks`.
@Suite(.serialized, .enabled(if: ProcessInfo.processInfo.environment["AMAF_BENCH"] == "1")) struct CodingBenchmarks {
    func seconds(_ rounds: Int, _ body: () throws -> Void) rethrows -> Double {
        try body()
        let start = ContinuousClock.now
        for _ in 0..<rounds { try body() }
        return (ContinuousClock.now - start).seconds / Double(rounds)
    }

    @Test func checksum() {
        let bytes = [UInt8](repeating: 5, count: 4 << 20)
        var value: UInt32 = 0
        let time = seconds(50) { value ^= CRC32C.of(bytes) }
        print("CRC-32C: \(Int(4 / time)) MiB/s (\(value))")
    }

    @Test func putOfAChunk() throws {
        let request = Request.put(SampleMessages.digest(1), offset: 0, total: 4 << 20, chunk: [UInt8](repeating: 5, count: 4 << 20)[...])
        var bytes: [UInt8] = []
        let encode = seconds(50) { bytes = request.encoded(requestID: SampleMessages.id) }
        let decode = try seconds(50) { _ = try Request.decode(Frame.decode(bytes)) }
        print("PUT of 4 MiB: encode \(Int(4 / encode)) MiB/s, decode \(Int(4 / decode)) MiB/s")
    }

    @Test func commitsAndGrants() throws {
        let commits = (0..<1000).map { i in
            let result = BlockResult(
                block: i, outputs: [TaskOutput(name: "out", digest: SampleMessages.digest(UInt8(i % 256)), byteCount: i)],
                metrics: ["rows": 256])
            return LeaseCommit(fence: Fence(epoch: 1, counter: UInt64(i)), results: [result], isLast: true)
        }
        let request = Request.commit(commits, inline: [])
        var bytes: [UInt8] = []
        let encode = seconds(100) { bytes = request.encoded(requestID: SampleMessages.id) }
        let decode = try seconds(100) { _ = try Request.decode(Frame.decode(bytes)) }
        print(
            "COMMIT of 1,000 leases of one block: encode \(Int(1000 / encode)) tasks/s, decode \(Int(1000 / decode)) tasks/s, \(bytes.count / 1000) bytes a task"
        )

        let grants = Response.worker(.grants(Array(repeating: SampleMessages.grant, count: 1000), retryAfter: .zero), commands: [])
        let write = seconds(100) { bytes = grants.encoded(requestID: SampleMessages.id) }
        let read = try seconds(100) { _ = try Response.decode(Frame.decode(bytes)) }
        print(
            "GRANTS of 1,000 leases of 5 blocks: encode \(Int(1000 / write)) leases/s, decode \(Int(1000 / read)) leases/s, \(bytes.count / 1000) bytes a lease"
        )
    }
}
