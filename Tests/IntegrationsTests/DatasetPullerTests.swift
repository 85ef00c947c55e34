import Datasets
import Foundation
import Integrations
import Primitives
import Testing

@Suite(.serialized) final class DatasetPullerTests {
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-pull-\(UUID().uuidString)").path
    /// Larger than one socket buffer.
    private let content: [UInt8] = {
        var random = SeededGenerator(seed: 6)
        return (0..<400_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }()

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func file(_ url: String, byteCount: Int? = nil, mirrorPath: String? = nil, mirrorSHA256: Digest? = nil) -> PublicFile {
        PublicFile(
            dataset: "set", file: "data.bin", url: url, sha256: Digest.of(content), byteCount: byteCount ?? content.count,
            mirrorPath: mirrorPath,
            mirrorSHA256: mirrorSHA256)
    }

    private var target: String { folder + "/set/data.bin" }
    private func bytes(_ path: String) -> [UInt8]? { FileManager.default.contents(atPath: path).map { [UInt8]($0) } }
    private func write(_ path: String, _ bytes: [UInt8]) throws {
        try FileManager.default.createDirectory(atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }
    private func puller(_ mirror: String? = nil, attempts: Int = 3) -> DatasetPuller {
        DatasetPuller(dataFolder: folder, mirror: mirror, attempts: attempts, pause: { _ in })
    }
    private func failure(_ puller: DatasetPuller, _ file: PublicFile, sourceLocation: SourceLocation = #_sourceLocation) -> AMAFError? {
        do throws(AMAFError) {
            _ = try puller.pull(file)
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
            return nil
        } catch {
            #expect(!error.remedy.isEmpty, sourceLocation: sourceLocation)
            return error
        }
    }
    /// Nothing half-done lies beside the target.
    private func leftovers() -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: folder + "/set")) ?? []).filter { $0 != "data.bin" }.sorted()
    }

    @Test func downloadsOnceAndKeepsTheFile() throws {
        let server = try LoopbackServer { [content] in LoopbackServer.file(content, $0) }
        #expect(try puller().pull(file(server.url("/a"))) == target)
        #expect(bytes(target) == content)
        #expect(try puller().pull(file(server.url("/a"))) == target)
        #expect(server.requests.count == 1)
        #expect(leftovers().isEmpty)
    }

    @Test func goesOnAfterTheConnectionBroke() throws {
        let server = try LoopbackServer { [content] request in
            var answer = LoopbackServer.file(content, request)
            if request.number < 2 { answer.cutAfter = 150_000 }
            return answer
        }
        _ = try puller().pull(file(server.url("/a")))
        #expect(bytes(target) == content)
        let starts = server.requests.map { $0.from ?? 0 }
        #expect(starts.count == 3 && starts[0] == 0 && 0 < starts[1] && starts[1] < starts[2], "\(starts)")
        #expect(leftovers().isEmpty)
    }

    /// A later command goes on from the bytes that an earlier one left.
    @Test func truncationIsAnErrorThatKeepsThePart() throws {
        let cut = try LoopbackServer { [content] request in
            var answer = LoopbackServer.file(content, request)
            answer.cutAfter = 1000
            return answer
        }
        let error = failure(puller(attempts: 2), file(cut.url("/a")))
        #expect(error?.code == "dataset.truncated")
        #expect(error?.isTransient == true)
        #expect(bytes(target) == nil)
        #expect(leftovers() == ["data.bin.part"])
        let whole = try LoopbackServer { [content] in LoopbackServer.file(content, $0) }
        _ = try puller().pull(file(whole.url("/a")))
        #expect(whole.requests.map(\.from) == [2000])
        #expect(bytes(target) == content)
    }

    /// A server that says a short answer is the whole file.
    @Test func aShortFileIsTruncatedToo() throws {
        let server = try LoopbackServer { [content] _ in .init(body: Array(content.prefix(70))) }
        #expect(failure(puller(attempts: 2), file(server.url("/a")))?.code == "dataset.truncated")
    }

    @Test func wrongContentIsKeptAsBad() throws {
        let server = try LoopbackServer { [content] in LoopbackServer.file(content.reversed(), $0) }
        let error = failure(puller(), file(server.url("/a")))
        #expect(error?.code == "dataset.digest-mismatch")
        #expect(error?.message.contains(Digest.of(content).hex) == true)
        #expect(bytes(target) == nil)
        #expect(leftovers() == ["data.bin.bad"])
        #expect(bytes(target + ".bad") == content.reversed())
        #expect(server.requests.count == 1, "asking again cannot help")
    }

    @Test func moreThanPromisedIsNotStored() throws {
        let server = try LoopbackServer { [content] in LoopbackServer.file(content + [1], $0) }
        #expect(failure(puller(), file(server.url("/a")))?.code == "dataset.digest-mismatch")
        #expect(bytes(target) == nil)
    }

    @Test func aPartOfAnotherVersionIsDropped() throws {
        let server = try LoopbackServer { [content] in LoopbackServer.file(content, $0) }
        try write(target + ".part", [UInt8](repeating: 7, count: 100))
        _ = try puller().pull(file(server.url("/a")))
        #expect(bytes(target) == content)
        #expect(server.requests.map(\.from) == [100, nil])
        // Longer than the file: the server has nothing to send.
        try FileManager.default.removeItem(atPath: target)
        try write(target + ".part", [UInt8](repeating: 7, count: content.count + 5))
        _ = try puller().pull(file(server.url("/a")))
        #expect(bytes(target) == content)
    }

    @Test func serversWithoutRangesStartOver() throws {
        let server = try LoopbackServer { [content] _ in .init(body: content) }
        try write(target + ".part", Array(content.prefix(5000)))
        _ = try puller().pull(file(server.url("/a")))
        #expect(bytes(target) == content)
    }

    @Test func statusesDecideWhetherToTryAgain() throws {
        let missing = try LoopbackServer { _ in .init(status: 404, body: Array("no".utf8)) }
        #expect(failure(puller(), file(missing.url("/a")))?.code == "dataset.not-found")
        #expect(missing.requests.count == 1)
        let busy = try LoopbackServer { [content] in $0.number < 2 ? .init(status: 503) : LoopbackServer.file(content, $0) }
        _ = try puller().pull(file(busy.url("/a")))
        #expect(busy.requests.count == 3)
        #expect(bytes(target) == content)
    }

    @Test func nobodyListening() throws {
        let port = try LoopbackServer { _ in .init() }.port
        let error = failure(puller(attempts: 1), file("http://127.0.0.1:\(port)/a"))
        #expect(error?.code == "dataset.unreachable")
        #expect(error?.isTransient == true)
        #expect(failure(puller(), file("no address"))?.code == "dataset.bad-url")
    }

    @Test func aDamagedFileIsReplaced() throws {
        let server = try LoopbackServer { [content] in LoopbackServer.file(content, $0) }
        try write(target, [1, 2, 3])
        _ = try puller().pull(file(server.url("/a")))
        #expect(bytes(target) == content)
        #expect(bytes(target + ".bad") == [1, 2, 3])
    }

    // MARK: Mirrors

    @Test func mirrorsAreUsedInsteadOfTheNetwork() throws {
        try write(folder + "/mirror/set/data.bin", content)
        _ = try puller(folder + "/mirror").pull(
            file("http://127.0.0.1:1/never", mirrorPath: "set/data.bin", mirrorSHA256: Digest.of(content)))
        #expect(bytes(target) == content)
    }

    @Test func damagedMirrorsAreRefused() throws {
        let mirror = folder + "/mirror"
        #expect(failure(puller(mirror), file("http://x/a", mirrorPath: "set/none"))?.code == "dataset.missing-file")
        #expect(failure(puller(mirror), file("http://x/a"))?.code == "dataset.missing-file")
        try write(mirror + "/set/data.bin", content + [0])
        #expect(failure(puller(mirror), file("http://x/a", mirrorPath: "set/data.bin"))?.code == "dataset.digest-mismatch")
        #expect(
            failure(puller(mirror), file("http://x/a", mirrorPath: "set/data.bin", mirrorSHA256: Digest.of(content)))?.code
                == "dataset.digest-mismatch")
        // The first bytes of a gzip file, cut.
        try write(mirror + "/set/data.bin.gz", [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 2, 3, 0x4B])
        #expect(failure(puller(mirror), file("http://x/a", mirrorPath: "set/data.bin.gz"))?.code == "dataset.truncated")
        #expect(bytes(target) == nil)
        #expect(leftovers().isEmpty)
    }

    /// The repository's own manifest data against the real mirror, where the machine has it.
    @Test func theRealMirror() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let shared = ProcessInfo.processInfo.environment["AMAF_SHARED_DATA"] ?? root.appendingPathComponent("../shared/data").path
        guard FileManager.default.fileExists(atPath: shared + "/clinc150/data_full.json.gz"),
            let plain = Digest(hex: "36923c3705a59e08fe9c3883d8bc2dd966ef93e22cb78ac41171782a698d56e0"),
            let packed = Digest(hex: "01cce723a1b3a2a342158c5b4545e5255bc167fa6037c8a827b1908e504a9014")
        else {
            print("skipped: no CLINC150 at AMAF_SHARED_DATA")
            return
        }
        let file = PublicFile(
            dataset: "clinc150", file: "data_full.json", url: "https://example.invalid/", sha256: plain, byteCount: 2_495_390,
            mirrorPath: "clinc150/data_full.json.gz", mirrorSHA256: packed)
        let path = try puller(shared).pull(file)
        #expect(bytes(path)?.count == 2_495_390)
    }
}
