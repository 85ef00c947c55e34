import Primitives

/// Bytes by digest, the newest up to a limit.
struct RecentOutputs {
    private let limit: Int
    private var bytes: [Digest: [UInt8]] = [:]
    /// In the order they came; the first `gone` are no longer there.
    private var order: [Digest] = []
    private var gone = 0
    private var held = 0

    /// - Parameter limit: bytes kept at most.
    init(limit: Int) { self.limit = limit }

    subscript(digest: Digest) -> [UInt8]? { bytes[digest] }

    mutating func add(_ digest: Digest, _ new: [UInt8]) {
        guard bytes.updateValue(new, forKey: digest) == nil else { return }
        order.append(digest)
        // What the entry itself costs counts too, or a million empty outputs would be free.
        held += new.count + 128
        while held > limit, gone < order.count {
            if let old = bytes.removeValue(forKey: order[gone]) { held -= old.count + 128 }
            gone += 1
        }
        if gone > 1024, gone * 2 > order.count {
            order.removeFirst(gone)
            gone = 0
        }
    }
}
