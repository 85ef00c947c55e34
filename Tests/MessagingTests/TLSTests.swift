import Foundation
import Messaging
import Primitives
import Testing

/// Certificates made with the openssl command, ECDSA P-256, in a folder of its own.
struct CertificateFolder {
    let path: String
    static var opensslPath: String? {
        ["/usr/bin/openssl", "/usr/local/bin/openssl"].first { FileManager.default.isExecutableFile(atPath: $0) }
    }

    init(openssl: String) throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-tls-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for authority in ["ca", "stranger"] {
            try run(
                openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                "/CN=\(authority)", "-keyout", "\(authority).key", "-out", "\(authority).pem")
        }
        for (name, authority) in [("head", "ca"), ("worker", "ca"), ("intruder", "stranger")] {
            try run(
                openssl, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=\(name)", "-keyout",
                "\(name).key",
                "-out", "\(name).csr")
            try "subjectAltName=DNS:localhost,IP:127.0.0.1\n".write(toFile: "\(path)/names", atomically: true, encoding: .utf8)
            try run(
                openssl, "x509", "-req", "-in", "\(name).csr", "-CA", "\(authority).pem", "-CAkey", "\(authority).key", "-CAcreateserial",
                "-days", "2",
                "-extfile", "names", "-out", "\(name).pem")
        }
    }

    func identity(_ name: String, authority: String = "ca", serverName: String? = nil) -> TLSIdentity {
        TLSIdentity(
            certificateFile: "\(path)/\(name).pem", keyFile: "\(path)/\(name).key", authorityFile: "\(path)/\(authority).pem",
            serverName: serverName)
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }

    private func run(_ command: String, _ arguments: String...) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: command)
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw AMAFError("test.openssl", arguments.joined(separator: " ")) }
    }
}

@Suite(.serialized, .enabled(if: CertificateFolder.opensslPath != nil, "there is no openssl command")) struct TLSTests {
    @Test func onlyMembersTalk() throws {
        let folder = try CertificateFolder(openssl: try #require(CertificateFolder.opensslPath))
        defer { folder.remove() }
        let server = try EchoServer(url: "tls+tcp://127.0.0.1:0", tls: folder.identity("head"))
        defer { server.door.close() }
        let url = server.door.url
        #expect(url.hasPrefix("tls+tcp://127.0.0.1:") && server.door.port > 0)

        let worker = try client(url, tls: folder.identity("worker", serverName: "localhost"))
        defer { worker.close() }
        let bytes = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(try worker.callAndWait(bytes, deadline: .seconds(20)) == bytes)

        let refused: [(String, TLSIdentity)] = [
            ("a certificate of another authority", folder.identity("intruder", serverName: "localhost")),
            ("a server that another authority signed", folder.identity("worker", authority: "stranger", serverName: "localhost")),
            ("another server name", folder.identity("worker", serverName: "elsewhere.example.org")),
        ]
        for (what, identity) in refused {
            let door = try client(url, tls: identity)
            #expect(
                code { () throws(AMAFError) in try door.callAndWait([1], deadline: .milliseconds(700)) } == "messaging.unreachable",
                "\(what)")
            door.close()
        }
        // Plain tcp to the TLS port, and a connection that never says anything.
        let plain = try client("tcp://127.0.0.1:\(server.door.port)")
        #expect(code { () throws(AMAFError) in try plain.callAndWait([1], deadline: .milliseconds(700)) } != nil)
        plain.close()
        let silent = try (0..<20).map { _ in try RawConnection(port: server.door.port) }
        #expect(try worker.callAndWait([2], deadline: .seconds(20)) == [2])
        for connection in silent { connection.end() }
    }

    @Test func wrongFilesAreNamed() throws {
        let folder = try CertificateFolder(openssl: try #require(CertificateFolder.opensslPath))
        defer { folder.remove() }
        func place(_ identity: TLSIdentity) -> String? {
            do throws(AMAFError) {
                try ServerDoor(.control(url: "tls+tcp://127.0.0.1:0", tls: identity), onRequest: { _ in }).close()
                return nil
            } catch {
                #expect(error.code == "messaging.tls")
                return error.place
            }
        }
        var identity = folder.identity("head")
        identity.keyFile = "\(folder.path)/worker.csr"
        #expect(place(identity) == identity.certificateFile)
        identity = folder.identity("head", authority: "nobody")
        #expect(place(identity) == identity.authorityFile)
        identity = folder.identity("head")
        identity.authorityFile = identity.keyFile
        #expect(place(identity) == identity.authorityFile)
    }
}
