package import Primitives

/// What the leases of this box have made and the coordinator has not judged yet: small outputs by their bytes, larger ones by digest.
///
/// Two leases may hold the same output: a block whose lease was split and split again comes back to the worker that made it first. The bytes
/// stay until the last of them is settled.
package struct PendingOutputs {
    private var bytes: [Digest: (bytes: [UInt8], leases: Int)] = [:]
    private var outputs: [Fence: [Digest]] = [:]

    package init() {}

    package subscript(digest: Digest) -> [UInt8]? { bytes[digest]?.bytes }

    /// - Parameter small: the bytes of an output that needs no file; nil where the cache holds it.
    package mutating func add(_ digest: Digest, _ small: [UInt8]?, of fence: Fence) {
        outputs[fence, default: []].append(digest)
        if let small { bytes[digest] = (small, 1 + (bytes[digest]?.leases ?? 0)) }
    }

    /// Forgets a lease and returns its outputs, each as often as it was added.
    package mutating func settle(_ fence: Fence) -> [Digest] {
        let made = outputs.removeValue(forKey: fence) ?? []
        for digest in made {
            guard let leases = bytes[digest]?.leases else { continue }
            if leases > 1 { bytes[digest]?.leases = leases - 1 } else { bytes[digest] = nil }
        }
        return made
    }
}
