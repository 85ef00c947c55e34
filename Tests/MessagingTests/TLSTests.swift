import Foundation
import Messaging
import Primitives
import Testing

/// An authority, a stranger's authority, and certificates of both, in a folder of its own.
struct CertificateFolder {
    let path: String
    static let day: Int64 = 86_400

    init() throws {
        path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-tls-\(UUID().uuidString)").path
        let now = Int64(time(nil))
        let valid = now - 3600..<now + 2 * Self.day
        for authority in ["ours", "stranger"] {
            try Certificates.makeAuthority(in: "\(path)/\(authority)", name: "authority \(authority)", validity: valid)
        }
        try issue("head", names: ["localhost", "127.0.0.1"], valid)
        try issue("worker", names: ["worker-1.example.org"], valid)
        try issue("intruder", from: "stranger", names: ["localhost"], valid)
        try issue("old", names: ["localhost", "127.0.0.1"], now - 3 * Self.day..<now - Self.day)
    }

    func issue(_ name: String, from authority: String = "ours", names: [String], _ validity: Range<Int64>) throws {
        try Certificates.issue(from: "\(path)/\(authority)", to: "\(path)/\(name)", names: names, validity: validity)
    }

    /// - Parameter trusting: the authority that the other side must have; its own by default.
    func identity(_ name: String, trusting authority: String? = nil, serverName: String? = nil, isCheckedFirst: Bool = true) -> TLSIdentity
    {
        var identity = TLSIdentity(folder: "\(path)/\(name)", serverName: serverName)
        if let authority { identity.authorityFile = "\(path)/\(authority)/authority.pem" }
        identity.isCheckedFirst = isCheckedFirst
        return identity
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

private func failure(_ body: () throws(AMAFError) -> Void) -> AMAFError? {
    do throws(AMAFError) {
        try body()
        return nil
    } catch { return error }
}

@Suite(.serialized) struct TLSTests {
    @Test func onlyMembersTalk() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let server = try EchoServer(url: "tls+tcp://127.0.0.1:0", tls: folder.identity("head"))
        defer { server.door.close() }
        let url = server.door.url
        #expect(url.hasPrefix("tls+tcp://127.0.0.1:") && server.door.port > 0)
        // Plain clients of tests that ended may still knock at a port they knew; nobody but us shakes hands.
        #expect(server.door.refusals().handshakes == 0)

        // By the address of the URL, and by a name.
        for name in [nil, "localhost"] {
            let worker = try client(url, tls: folder.identity("worker", serverName: name))
            let bytes = (0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            #expect(try worker.callAndWait(bytes, deadline: .seconds(20)) == bytes)
            worker.close()
        }
        #expect(server.door.refusals().handshakes == 0)

        let refused: [(String, TLSIdentity)] = [
            (
                "a certificate of another authority",
                folder.identity("intruder", trusting: "ours", serverName: "localhost", isCheckedFirst: false)
            ),
            ("a stranger who trusts strangers", folder.identity("intruder", serverName: "localhost")),
            ("an expired certificate", folder.identity("old", serverName: "localhost", isCheckedFirst: false)),
            ("another server name", folder.identity("worker", serverName: "elsewhere.example.org")),
        ]
        for (what, identity) in refused {
            let before = server.door.refusals().handshakes
            let door = try client(url, tls: identity)
            let error = failure { () throws(AMAFError) in _ = try door.callAndWait([1], deadline: .milliseconds(700)) }
            #expect(error?.code == "messaging.unreachable", "\(what)")
            #expect(error?.message.contains("TLS handshakes failed") == true, "\(what): \(error?.message ?? "")")
            #expect(server.door.refusals().handshakes > before, "\(what) is not seen on the head")
            door.close()
        }
        // Plain tcp to the TLS port, and a connection that never says anything.
        let plain = try client("tcp://127.0.0.1:\(server.door.port)")
        #expect(code { () throws(AMAFError) in try plain.callAndWait([1], deadline: .milliseconds(700)) } != nil)
        plain.close()
        let silent = try (0..<20).map { _ in try RawConnection(port: server.door.port) }
        let worker = try client(url, tls: folder.identity("worker"))
        #expect(try worker.callAndWait([2], deadline: .seconds(20)) == [2])
        worker.close()
        for connection in silent { connection.end() }
    }

    @Test func anExpiredHeadIsRefusedByItsWorkers() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let server = try EchoServer(url: "tls+tcp://127.0.0.1:0", tls: folder.identity("old", isCheckedFirst: false))
        defer { server.door.close() }
        let worker = try client(server.door.url, tls: folder.identity("worker"))
        defer { worker.close() }
        #expect(code { () throws(AMAFError) in try worker.callAndWait([1], deadline: .milliseconds(700)) } == "messaging.unreachable")
    }

    /// What can be known from the files is said before anything is dialled.
    @Test func ownMistakesAreNamedBeforeTheDoorOpens() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        func problem(_ identity: TLSIdentity) -> AMAFError? {
            let error = failure { () throws(AMAFError) in
                try ServerDoor(.control(url: "tls+tcp://127.0.0.1:0", tls: identity), onRequest: { _ in }).close()
            }
            let other = failure { () throws(AMAFError) in
                try ClientDoor(.control(url: "tls+tcp://127.0.0.1:1", tls: identity)).close()
            }
            #expect(error == other)
            return error
        }
        #expect(problem(folder.identity("head")) == nil)
        #expect(problem(folder.identity("old"))?.code == "tls.expired")
        #expect(problem(folder.identity("old"))?.place == folder.identity("old").certificateFile)
        #expect(problem(folder.identity("intruder", trusting: "ours"))?.code == "tls.foreign")
        var identity = folder.identity("head")
        identity.keyFile = folder.identity("worker").keyFile
        #expect(problem(identity)?.code == "tls.key-mismatch")
        identity.keyFile = identity.certificateFile
        #expect(problem(identity)?.place == identity.certificateFile)
        identity = folder.identity("head", trusting: "nobody")
        #expect(problem(identity)?.place == identity.authorityFile)
        identity = folder.identity("head")
        identity.authorityFile = identity.keyFile
        #expect(problem(identity)?.place == identity.authorityFile)
        let now = Int64(time(nil))
        try folder.issue("early", names: ["localhost"], now + 3600..<now + 7200)
        #expect(problem(folder.identity("early"))?.code == "tls.not-yet-valid")
        #expect(problem(folder.identity("early", isCheckedFirst: false)) == nil)
    }

    @Test func keysAreReadByTheirOwnerOnly() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        func mode(_ file: String) throws -> Int {
            let attributes = try FileManager.default.attributesOfItem(atPath: folder.path + "/" + file)
            return (attributes[.posixPermissions] as? Int ?? 0) & 0o777
        }
        #expect(try mode("ours/authority.key") == 0o600)
        #expect(try mode("head/host.key") == 0o600)
        #expect(try mode("ours") == 0o700 && mode("head") == 0o700)
        // What goes to a machine does not let it sign for others.
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path + "/head").sorted()
        #expect(files == ["authority.pem", "host.key", "host.pem"])
    }

    @Test func anAuthorityIsNeverOverwrittenAndAHostIsRenewed() throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let now = Int64(time(nil))
        let again = failure { () throws(AMAFError) in
            try Certificates.makeAuthority(in: "\(folder.path)/ours", name: "again", validity: now..<now + 60)
        }
        #expect(again?.code == "tls.exists")
        let authority = try Certificates.facts(ofFile: "\(folder.path)/ours/authority.pem")
        #expect(authority.subject == "authority ours" && authority.issuer == "authority ours")
        try folder.issue("head", names: ["head-2"], now..<now + 100 * CertificateFolder.day)
        let facts = try folder.identity("head").check(now: now)
        #expect(facts.subject == "head-2" && facts.issuer == "authority ours" && facts.notBefore == now)
        // Never longer than the authority that signed it.
        #expect(facts.notAfter == authority.notAfter)
        let late = failure { () throws(AMAFError) in
            try Certificates.issue(
                from: "\(folder.path)/ours", to: "\(folder.path)/late", names: ["x"], validity: authority.notAfter..<authority.notAfter + 9)
        }
        #expect(late?.code == "tls.expired")
    }

    @Test(arguments: ["", "a b", "head,DNS:evil", "-x", "a..b", "ümlaut", "*", "*.org", "a/b", "1.2.3.4.example.org\n"])
    func namesThatAreNone(name: String) throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let error = failure { () throws(AMAFError) in
            try Certificates.issue(from: "\(folder.path)/ours", to: "\(folder.path)/x", names: [name], validity: 0..<9_000_000_000)
        }
        #expect(error?.code == "tls.bad-name", "\(name)")
    }

    @Test(arguments: [["fd00::5"], ["*.workers.example.org"], ["10.0.0.5", "head"], [String(repeating: "a", count: 63) + ".example.org"]])
    func namesOfEveryKind(names: [String]) throws {
        let folder = try CertificateFolder()
        defer { folder.remove() }
        let now = Int64(time(nil))
        try folder.issue("x", names: names, now - 5..<now + 60)
        #expect(try folder.identity("x").check(now: now).subject == String(names[0].prefix(64)))
    }
}

@Suite struct PeerAddresses {
    @Test func aRequestTellsWhereItCameFrom() throws {
        let server = try EchoServer(answer: { _ in nil })
        defer { server.door.close() }
        let door = try client(server.door.url)
        door.call([1], deadline: .seconds(5)) { _ in }
        #expect(server.parked.waitFor(1))
        #expect(server.parked.items.first?.peerAddress == "127.0.0.1")
        door.close()
        #expect(server.removedPipes.waitFor(1))
        #expect(server.parked.takeAll().first?.peerAddress == nil)
    }

    @Test func peersOfAnotherProtocolAreCounted() throws {
        let server = try EchoServer()
        defer { server.door.close() }
        let raw = try RawConnection(port: server.door.port)
        raw.send(Array("GET / HTTP/1.1\r\n\r\n".utf8))
        var refusals = DoorRefusals()
        for _ in 0..<3000 where refusals.total == 0 {
            usleep(20_000)
            refusals = server.door.refusals()
        }
        raw.end()
        #expect(refusals.total > 0)
    }
}
