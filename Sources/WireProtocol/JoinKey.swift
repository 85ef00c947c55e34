package import Primitives
package import Scheduling

/// The secret that a cluster's members share. It never crosses the wire: HELLO proves it over the coordinator's nonce.
///
/// TLS in NNG 1.5.2 shows the peer's certificate to nobody, so this is what tells the coordinator who it talks to. The
/// proof covers all of HELLO, so that a relay cannot change the worker's name or tags.
package struct JoinKey: Sendable, CustomStringConvertible {
    package static let nonceByteCount = 32

    private let secret: [UInt8]

    /// - Throws: `wire.join-key` when it is shorter than 16 bytes; white space at its ends (a file's last line feed) does not count.
    package init(_ text: String) throws(AMAFError) {
        let white: Set<UInt8> = [9, 10, 13, 32]
        var bytes = Array(text.utf8)
        while let last = bytes.last, white.contains(last) { bytes.removeLast() }
        bytes = Array(bytes.drop { white.contains($0) })
        guard bytes.count >= 16 else {
            throw AMAFError(
                "wire.join-key", "The join key has \(bytes.count) bytes and needs at least 16",
                remedy: "Make one with 'openssl rand -hex 32'.")
        }
        secret = bytes
    }

    /// For one box: coordinator and workers of one `amaf run` share a key drawn at its start.
    package init(using generator: inout some RandomNumberGenerator) {
        var writer = ByteWriter()
        for _ in 0..<4 { writer.write(generator.next() as UInt64) }
        secret = writer.bytes
    }

    package static func nonce(using generator: inout some RandomNumberGenerator) -> [UInt8] {
        var writer = ByteWriter()
        for _ in 0..<nonceByteCount / 8 { writer.write(generator.next() as UInt64) }
        return writer.bytes
    }

    package func proof(of hello: WorkerHello, challenge nonce: [UInt8]) -> Digest {
        HMACSHA256.code(of: Self.statement(of: hello, nonce), key: secret)
    }
    package func proof(operator name: String, challenge nonce: [UInt8]) -> Digest {
        HMACSHA256.code(of: Self.statement(operator: name, nonce), key: secret)
    }
    package func verifies(_ proof: Digest, of hello: WorkerHello, challenge nonce: [UInt8]) -> Bool {
        HMACSHA256.verify(proof, of: Self.statement(of: hello, nonce), key: secret)
    }
    package func verifies(_ proof: Digest, operator name: String, challenge nonce: [UInt8]) -> Bool {
        HMACSHA256.verify(proof, of: Self.statement(operator: name, nonce), key: secret)
    }

    /// What the proof of a worker covers: a label, the nonce and every field of HELLO, each with its length, so that no
    /// two different greetings have the same statement. It does not pass through protobuf, whose bytes are not canonical.
    private static func statement(of hello: WorkerHello, _ nonce: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write("amaf worker 1")
        writer.write(nonce)
        writer.write(hello.worker.rawValue)
        writer.write(hello.bootNonce)
        writer.write(UInt32(hello.tags.count))
        for tag in hello.tags { writer.write(tag) }
        writer.write(Int64(hello.slots))
        writer.write(hello.memoryBytes)
        writer.write(hello.numericsClass.rawValue)
        writer.write(hello.build)
        writer.write(hello.host)
        writer.write(UInt32(hello.heldFences.count))
        for fence in hello.heldFences { writer.write(fence.rawValue) }
        // Written only when there are any, so that it is the statement of protocol 1.0 without them.
        for (i, held) in hello.heldLeases.enumerated() {
            if i == 0 { writer.write(UInt32(hello.heldLeases.count)) }
            writer.write(held.fence.rawValue)
            writer.write(held.run.rawValue)
            writer.write(held.stage.rawValue)
            writer.write(Int64(held.blocks.lowerBound))
            writer.write(Int64(held.blocks.upperBound))
            writer.write(UInt8(held.isMasked ? 1 : 0))
        }
        return writer.bytes
    }

    private static func statement(operator name: String, _ nonce: [UInt8]) -> [UInt8] {
        var writer = ByteWriter()
        writer.write("amaf operator 1")
        writer.write(nonce)
        writer.write(name)
        return writer.bytes
    }

    /// Never the secret.
    package var description: String { "JoinKey(\(secret.count) bytes)" }
}
