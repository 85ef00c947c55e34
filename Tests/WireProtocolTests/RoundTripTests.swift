import Primitives
import Scheduling
import Testing
import WireProtocol

@Suite struct RoundTripTests {
    let id = SampleMessages.id

    @Test(arguments: SampleMessages.requests) func request(_ request: Request) throws {
        let frame = try Frame.decode(request.encoded(requestID: id, session: 77))
        #expect(try Request.decode(frame) == request)
        #expect(frame.header.requestID == id)
        #expect(frame.header.session == 77)
        #expect(frame.header.version == .current)
        #expect(throws: AMAFError.self) { try Response.decode(frame) }
    }

    @Test(arguments: SampleMessages.responses) func response(_ response: Response) throws {
        let frame = try Frame.decode(response.encoded(requestID: id, session: .max))
        #expect(try Response.decode(frame) == response)
        #expect(frame.header.requestID == id)
        #expect(frame.header.session == .max)
        #expect(throws: AMAFError.self) { try Request.decode(frame) }
    }

    /// The type numbers are a promise to peers of other builds.
    @Test func typeNumbersStay() throws {
        let requests = try Set(SampleMessages.requests.map { try Frame.decode($0.encoded(requestID: id)).header.type })
        let responses = try Set(SampleMessages.responses.map { try Frame.decode($0.encoded(requestID: id)).header.type })
        #expect(requests.sorted() == Array(0x01...0x03) + Array(0x10...0x15) + Array(0x20...0x22) + Array(0x30...0x3F))
        #expect(
            responses.sorted() == Array(0x8001...0x8003) + Array(0x8010...0x8013) + Array(0x8020...0x8022) + Array(0x8030...0x8033)
                + [0xFFFE, 0xFFFF])
    }

    @Test func metricsHaveOneOrder() {
        let names = (0..<50).map { "metric-\($0)" }
        func commit(_ order: [String]) -> [UInt8] {
            var metrics: [String: Double] = [:]
            for name in order { metrics[name] = Double(name.utf8.count) }
            let result = BlockResult(block: 0, outputs: [], metrics: metrics)
            return Request.commit([LeaseCommit(fence: Fence(epoch: 1, counter: 1), results: [result], isLast: true)], inline: []).encoded(
                requestID: id)
        }
        #expect(commit(names) == commit(names.reversed()))
    }

    @Test func longErrorTextsAreCut() throws {
        let long = AMAFError("stage.noisy", String(repeating: "é", count: 100_000), remedy: String(repeating: "x", count: 8192))
        let frame = try Frame.decode(Response.failed(long).encoded(requestID: id))
        guard case .failed(let error) = try Response.decode(frame) else { return #expect(Bool(false), "another message came back") }
        #expect(error.message == String(repeating: "é", count: WireLimits.errorTextByteCount / 2))
        #expect(error.remedy == long.remedy)
    }

    /// A commit of 1,000 blocks with one output each: the columns keep it near its information, 32 bytes of digest and a few more.
    @Test func manyResultsAreCompact() throws {
        let results = (0..<1000).map { block in
            BlockResult(
                block: block, outputs: [TaskOutput(name: "votes", digest: Digest.of(Array("\(block)".utf8)), byteCount: 4000)],
                metrics: ["rows": 256])
        }
        let request = Request.commit([LeaseCommit(fence: Fence(epoch: 1, counter: 1), results: results, isLast: true)], inline: [])
        let bytes = request.encoded(requestID: id)
        #expect(bytes.count < 1000 * 50)
        #expect(try Request.decode(Frame.decode(bytes)) == request)
    }
}
