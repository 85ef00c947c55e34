import Primitives
import Scheduling
import Testing
import WireProtocol

/// Whole frames, byte by byte. The expected bytes were not written by this code: the bodies come from `protoc --encode` over text,
/// header and checksum from a few lines of Python. A change here is a change of the protocol and needs a new version.
@Suite struct GoldenBytesTests {
    let session: UInt64 = 0x2A
    let id = SampleMessages.id

    func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    @Test func bye() { #expect(hex(Request.bye.encoded(requestID: id, session: session)) == Self.bye) }

    @Test func hello() {
        var hello = SampleMessages.hello
        hello.host = "h"
        hello.heldFences = [Fence(epoch: 3, counter: 9)]
        hello.heldLeases = []
        #expect(hex(Request.hello(hello, proof: SampleMessages.digest(5)).encoded(requestID: id)) == Self.hello)
    }

    @Test func helloWithHeldLeases() {
        var hello = SampleMessages.hello
        hello.host = "h"
        hello.heldFences = [Fence(epoch: 3, counter: 9)]
        hello.heldLeases = [
            HeldLease(fence: Fence(epoch: 3, counter: 9), run: RunID("run-1"), stage: StageID("ingest"), blocks: 4..<9, isMasked: true)
        ]
        #expect(hex(Request.hello(hello, proof: SampleMessages.digest(5)).encoded(requestID: id)) == Self.helloWithHeldLeases)
    }

    @Test func history() {
        let query = HistoryQuery(
            run: RunID("run-1"), stage: StageID("ingest"), worker: WorkerID("box-3"), after: 70_000, limit: 500, newestFirst: true)
        #expect(hex(Request.history(query).encoded(requestID: id, session: session)) == Self.history)
        #expect(hex(Request.history(HistoryQuery(limit: 0)).encoded(requestID: id, session: session)) == Self.emptyHistory)
    }

    @Test func commit() {
        let result = BlockResult(
            block: 300, outputs: [TaskOutput(name: "votes", digest: SampleMessages.digest(1), byteCount: 1234)], metrics: ["rows": 256])
        let request = Request.commit(
            [
                LeaseCommit(fence: Fence(epoch: 3, counter: 10), results: [result], isLast: false),
                LeaseCommit(fence: Fence(epoch: 3, counter: 11), results: [], isLast: true),
            ], inline: [InlineArtifact(digest: SampleMessages.digest(1), bytes: [1, 2, 3])])
        #expect(hex(request.encoded(requestID: id, session: session)) == Self.commit)
    }

    @Test func fail() {
        let error = AMAFError("slot.died", "signal 9", isTransient: true)
        let request = Request.fail(Fence(epoch: 3, counter: 10), FailureReport(.crash, error, block: 0))
        #expect(hex(request.encoded(requestID: id, session: session)) == Self.fail)
    }

    @Test func put() {
        let request = Request.put(SampleMessages.digest(1), offset: 5, total: 8, chunk: [6, 7, 8])
        #expect(hex(request.encoded(requestID: id, session: session)) == Self.put)
    }

    @Test func grants() {
        let grant = LeaseGrant(
            fence: Fence(epoch: 3, counter: 10), run: RunID("run-1"), stage: StageID("ingest"), kind: "ingest", codeVersion: 2,
            parameters: "{}",
            blocks: 4..<6, maskedSamples: [1030], batchShift: 1,
            inputs: [LeaseGrant.Input(name: "text", reach: .sameBlock, digests: [SampleMessages.digest(0), SampleMessages.digest(1)])],
            timeToLive: .seconds(15))
        let response = Response.worker(
            .grants([grant], retryAfter: .milliseconds(50)), commands: [.drop(Fence(epoch: 3, counter: 4)), .drain])
        #expect(hex(response.encoded(requestID: id, session: session)) == Self.grants)
    }

    @Test func beatReply() {
        let response = Response.worker(.beat(timeToLive: .seconds(15), next: .milliseconds(2990)), commands: [.ask])
        #expect(hex(response.encoded(requestID: id, session: session)) == Self.beatReply)
    }

    @Test func committed() {
        let response = Response.worker(.committed([[.accepted, .duplicate], [.conflict, .fenced]]), commands: [])
        #expect(hex(response.encoded(requestID: id, session: session)) == Self.committed)
    }

    @Test func unsupported() {
        #expect(hex(Response.unsupported(type: 4095, versions: .supported).encoded(requestID: id)) == Self.unsupported)
    }

    static let bye =
        "414d41460101150000000000080706050403020118171615141312112a000000000000000000000000000000e20f7f9a"
    static let beatReply =
        "414d41460101118000000000080706050403020118171615141312112a000000000000001000000000000000b93e66690a0222001080acc7f037"
        + "18808fdf910b"
    static let hello =
        "414d414601010200000000000807060504030201181716151413121100000000000000006300000000000000a7b7e54f0a05626f782d3311"
        + "ffffffffffffffff1a036370751a0367707520082880808080802032086370752d76342d313a05302e312e304201684a0809000000000300"
        + "00522005060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324"
    static let commit =
        "414d41460101120000000000080706050403020118171615141312112a000000000000008e000000030000009118f82a0a100a0000000003"
        + "00000b00000000030000120200011a020100224d0a02ac021205766f7465731204726f77731a01012201002a200102030405060708090a0b"
        + "0c0d0e0f101112131415161718191a1b1c1d1e1f203202d2093a01014201014a0800000000000070402a200102030405060708090a0b0c0d"
        + "0e0f101112131415161718191a1b1c1d1e1f20320103010203"
    static let fail =
        "414d41460101130000000000080706050403020118171615141312112a00000000000000260000000000000029754bbe090a000000000300"
        + "0010041a170a09736c6f742e6469656412087369676e616c203928012000"
    static let grants =
        "414d41460101108000000000080706050403020118171615141312112a00000000000000990000000000000058dde3fa0a09110400000000"
        + "0300000a020a00128201090a00000000030000120572756e2d311a06696e676573742206696e67657374280232027b7d380440024a028608"
        + "50015a4a0a047465787410011a40000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0102030405060708090a"
        + "0b0c0d0e0f101112131415161718191a1b1c1d1e1f206080acc7f0371880e1eb17"
    static let committed =
        "414d41460101128000000000080706050403020118171615141312112a000000000000000a00000000000000ee16d0d0120202021a040102"
        + "0304"
    static let put =
        "414d41460101210000000000080706050403020118171615141312112a000000000000002600000003000000870c984b0a20010203040506"
        + "0708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2010051808060708"
    static let unsupported =
        "414d41460101feff000000000807060504030201181716151413121100000000000000000f00000000000000554b176008ff1f120a0a0208"
        + "01120408011001"
    static let helloWithHeldLeases =
        "414d41460101020000000000080706050403020118171615141312110000000000000000830000000000000060026eaa0a05626f782d3311"
        + "ffffffffffffffff1a036370751a0367707520082880808080802032086370752d76342d313a05302e312e304201684a0809000000000300"
        + "00522005060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223245a1e090900000000030000120572756e2d311a0669"
        + "6e67657374200428053001"
    static let history =
        "414d414601013e0000000000080706050403020118171615141312112a000000000000001f000000000000000512a3b60a0572756e2d3112"
        + "06696e676573741a05626f782d3320f0a20428f4033001"
    static let emptyHistory =
        "414d414601013e0000000000080706050403020118171615141312112a000000000000000000000000000000e8b0dd17"
}
