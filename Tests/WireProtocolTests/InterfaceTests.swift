import Primitives
import Scheduling
import Testing
import WireProtocol

/// Every field of what the scheduler and the workers say to each other crosses the wire: random values, none of them a default, come
/// back equal. A new field makes `everyFieldIsKnown` fail until it is drawn here.
@Suite struct InterfaceTests {
    struct Draw {
        var random: SeededGenerator
        init(_ seed: UInt64) { random = SeededGenerator(seed: seed, stream: "interface") }

        mutating func int(_ bound: Int) -> Int { 1 + random.index(below: bound) }
        mutating func word() -> UInt64 { random.next() | 1 }
        mutating func text() -> String { "t-\(random.index(below: 1 << 30))-ü" }
        mutating func fence() -> Fence { Fence(rawValue: word()) }
        mutating func digest() -> Digest { Digest.of(Array(text().utf8)) }
        mutating func list<T>(_ make: (inout Draw) -> T) -> [T] { (0..<int(5)).map { _ in make(&self) } }
        mutating func blocks() -> Range<Int> {
            let first = int(1 << 40)
            return first..<first + int(1 << 20)
        }

        mutating func hello() -> WorkerHello {
            WorkerHello(
                worker: WorkerID(text()), bootNonce: word(), tags: list { $0.text() }, slots: int(1 << 20), memoryBytes: word(),
                numericsClass: NumericsClass(text()), build: text(), host: text(), heldFences: list { $0.fence() },
                heldLeases: list { $0.held() })
        }
        mutating func held() -> HeldLease {
            HeldLease(fence: fence(), run: RunID(text()), stage: StageID(text()), blocks: blocks(), isMasked: true)
        }
        mutating func grant() -> LeaseGrant {
            LeaseGrant(
                fence: fence(), run: RunID(text()), stage: StageID(text()), kind: text(), codeVersion: int(1 << 30), parameters: text(),
                blocks: blocks(), maskedSamples: list { $0.int(1 << 40) }, batchShift: int(30), inputs: list { $0.input() },
                timeToLive: .nanoseconds(int(1 << 50)))
        }
        mutating func input() -> LeaseGrant.Input {
            LeaseGrant.Input(
                name: text(), reach: random.index(below: 2) == 0 ? .allBlocks : .sameBlock, digests: list { $0.digest() })
        }
        mutating func result() -> BlockResult {
            var metrics: [String: Double] = [:]
            for name in list({ $0.text() }) { metrics[name] = Double(int(1 << 40)) / 3 }
            return BlockResult(
                block: int(1 << 40), outputs: list { TaskOutput(name: $0.text(), digest: $0.digest(), byteCount: $0.int(1 << 40)) },
                metrics: metrics)
        }
        mutating func commit() -> LeaseCommit { LeaseCommit(fence: fence(), results: list { $0.result() }, isLast: true) }
        mutating func error() -> AMAFError { AMAFError(text(), text(), place: text(), remedy: text(), isTransient: true) }
        mutating func report() -> FailureReport {
            let classes: [FailureClass] = [.transient, .permanent, .resource, .crash]
            return FailureReport(classes[random.index(below: classes.count)], error(), block: int(1 << 40))
        }
        mutating func verdicts() -> [CommitVerdict] {
            let all: [CommitVerdict] = [.accepted, .duplicate, .conflict, .fenced]
            return list { all[$0.random.index(below: 4)] }
        }
        mutating func command() -> WorkerCommand { [.drain, .drop(fence()), .rejoin, .ask][random.index(below: 4)] }

        mutating func request() -> Request {
            switch random.index(below: 5) {
            case 0: .hello(hello(), proof: digest())
            case 1: .lease(freeSlots: int(1 << 20))
            case 2: .commit(list { $0.commit() }, inline: list { InlineArtifact(digest: $0.digest(), bytes: Array($0.text().utf8)) })
            case 3: .fail(fence(), report())
            default: .release(list { $0.fence() })
            }
        }
        mutating func reply() -> WorkerReply {
            switch random.index(below: 5) {
            case 0:
                .welcome(
                    epoch: word(), beatInterval: .nanoseconds(int(1 << 50)), keep: list { $0.fence() }, drop: list { $0.fence() })
            case 1: .grants(list { $0.grant() }, retryAfter: .nanoseconds(int(1 << 50)))
            case 2: .beat(timeToLive: .nanoseconds(int(1 << 50)), next: int(2) == 1 ? nil : .nanoseconds(int(1 << 50)))
            case 3: .committed(list { $0.verdicts() })
            default: .noted
            }
        }
    }

    @Test func everythingSurvives() throws {
        for seed in 0..<400 as Range<UInt64> {
            var draw = Draw(seed)
            let request = draw.request()
            #expect(try Request.decode(Frame.decode(request.encoded(requestID: SampleMessages.id))) == request)
            let response = Response.worker(draw.reply(), commands: draw.list { $0.command() })
            #expect(try Response.decode(Frame.decode(response.encoded(requestID: SampleMessages.id))) == response)
        }
    }

    @Test func everyFieldIsKnown() {
        var draw = Draw(1)
        func fields(_ value: Any) -> [String] { Mirror(reflecting: value).children.compactMap(\.label) }
        #expect(
            fields(draw.hello()) == [
                "worker", "bootNonce", "tags", "slots", "memoryBytes", "numericsClass", "build", "host", "heldFences", "heldLeases",
            ])
        #expect(fields(draw.held()) == ["fence", "run", "stage", "blocks", "isMasked"])
        #expect(
            fields(draw.grant()) == [
                "fence", "run", "stage", "kind", "codeVersion", "parameters", "blocks", "maskedSamples", "batchShift", "inputs",
                "timeToLive",
            ])
        #expect(fields(draw.input()) == ["name", "reach", "digests"])
        #expect(fields(draw.result()) == ["block", "outputs", "metrics"])
        #expect(fields(draw.commit()) == ["fence", "results", "isLast"])
        #expect(fields(draw.report()) == ["failureClass", "error", "block"])
        #expect(fields(draw.error()) == ["code", "message", "place", "remedy", "isTransient"])
    }

    /// The proof covers every field of HELLO: a relay cannot change one.
    @Test func theProofCoversEveryField() throws {
        let key = try JoinKey("0123456789abcdef0123456789abcdef")
        var draw = Draw(3)
        let hello = draw.hello()
        let nonce = JoinKey.nonce(using: &draw.random)
        let proof = key.proof(of: hello, challenge: nonce)
        #expect(key.verifies(proof, of: hello, challenge: nonce))
        let changes: [(inout WorkerHello) -> Void] = [
            { $0.worker = WorkerID("other") }, { $0.bootNonce ^= 1 }, { $0.tags.append("gpu") }, { $0.slots += 1 }, { $0.memoryBytes ^= 1 },
            { $0.numericsClass = NumericsClass("other") }, { $0.build += "x" }, { $0.host += "x" }, { $0.heldFences.removeLast() },
            { $0.heldLeases.removeLast() }, { $0.heldLeases[0].fence = Fence(rawValue: 0) }, { $0.heldLeases[0].run = RunID("other") },
            { $0.heldLeases[0].stage = StageID("other") },
            { $0.heldLeases[0].blocks = 0..<$0.heldLeases[0].blocks.upperBound },
            { $0.heldLeases[0].blocks = $0.heldLeases[0].blocks.lowerBound..<Int.max }, { $0.heldLeases[0].isMasked = false },
        ]
        for (i, change) in changes.enumerated() {
            var other = hello
            change(&other)
            #expect(other != hello && !key.verifies(proof, of: other, challenge: nonce), "change \(i)")
        }
    }
}
