import Primitives

/// Results of block tasks, packed: names are kept once per layout, so that a million results with one output each take
/// 52 MB and not several hundred. A result is named by its handle and never changes.
struct ResultArchive: Sendable, Hashable {
    private struct Layout: Hashable, Sendable {
        var outputs: [String]
        /// Sorted.
        var metrics: [String]
    }
    private struct Entry: Hashable, Sendable {
        var layout: Int32
        var firstOutput: Int32
        var firstMetric: Int32
    }
    private struct Output: Hashable, Sendable {
        var digest: Digest
        var byteCount: Int64
    }
    private var layouts: [Layout] = []
    private var layoutIndex: [Layout: Int32] = [:]
    private var entries: [Entry] = []
    private var outputs: [Output] = []
    private var metrics: [Double] = []

    var count: Int { entries.count }

    /// One output each, as most have.
    mutating func reserve(_ more: Int) {
        entries.reserveCapacity(entries.count + more)
        outputs.reserveCapacity(outputs.count + more)
    }

    mutating func append(_ result: BlockResult) -> Int32 {
        let layout = Layout(outputs: result.outputs.map(\.name), metrics: result.metrics.keys.sorted())
        let index: Int32
        if let last = entries.last?.layout, layouts[Int(last)] == layout {
            index = last
        } else if let known = layoutIndex[layout] {
            index = known
        } else {
            index = Int32(layouts.count)
            layouts.append(layout)
            layoutIndex[layout] = index
        }
        entries.append(Entry(layout: index, firstOutput: Int32(outputs.count), firstMetric: Int32(metrics.count)))
        for output in result.outputs { outputs.append(Output(digest: output.digest, byteCount: Int64(output.byteCount))) }
        for name in layout.metrics { metrics.append(result.metrics[name] ?? 0) }
        return Int32(entries.count - 1)
    }

    func result(_ handle: Int32, block: Int) -> BlockResult {
        let entry = entries[Int(handle)]
        let layout = layouts[Int(entry.layout)]
        var list: [TaskOutput] = []
        list.reserveCapacity(layout.outputs.count)
        for (i, name) in layout.outputs.enumerated() {
            let stored = outputs[Int(entry.firstOutput) + i]
            list.append(TaskOutput(name: name, digest: stored.digest, byteCount: Int(stored.byteCount)))
        }
        var values: [String: Double] = [:]
        for (i, name) in layout.metrics.enumerated() { values[name] = metrics[Int(entry.firstMetric) + i] }
        return BlockResult(block: block, outputs: list, metrics: values)
    }

    /// Digest and size of the output of that name.
    func output(_ handle: Int32, named name: String) -> (digest: Digest, byteCount: Int)? {
        let entry = entries[Int(handle)]
        guard let i = layouts[Int(entry.layout)].outputs.firstIndex(of: name) else { return nil }
        let stored = outputs[Int(entry.firstOutput) + i]
        return (stored.digest, Int(stored.byteCount))
    }

    /// Whether names and digests are the same: the equality that `BlockResult.digest` stands for, without hashing.
    func isSame(_ handle: Int32, as result: BlockResult) -> Bool {
        let entry = entries[Int(handle)]
        let names = layouts[Int(entry.layout)].outputs
        guard names.count == result.outputs.count else { return false }
        for (i, output) in result.outputs.enumerated() {
            guard names[i] == output.name, outputs[Int(entry.firstOutput) + i].digest == output.digest else { return false }
        }
        return true
    }
}

/// Result handles by task identity: an open-addressing table of indices, a third of the size of a dictionary of digests.
struct IdentityCache: Sendable, Hashable {
    private var slots: [Int32] = []
    private var identities: [Digest] = []
    private var handles: [Int32] = []

    var count: Int { identities.count }
    var isEmpty: Bool { identities.isEmpty }

    mutating func reserve(_ more: Int) {
        identities.reserveCapacity(identities.count + more)
        handles.reserveCapacity(handles.count + more)
        while (identities.count + more) * 4 > slots.count * 3 { grow() }
    }

    /// SHA-256 is uniform, so some of its bits are the hash.
    private func slot(of identity: Digest) -> Int {
        let mask = slots.count - 1
        var i = Int(truncatingIfNeeded: identity.leadingBits) & mask
        while slots[i] >= 0, identities[Int(slots[i])] != identity { i = (i + 1) & mask }
        return i
    }

    subscript(identity: Digest) -> Int32? {
        guard !slots.isEmpty else { return nil }
        let entry = slots[slot(of: identity)]
        return entry < 0 ? nil : handles[Int(entry)]
    }

    /// False when the identity is there already: the first result stays.
    mutating func insert(_ identity: Digest, handle: Int32) -> Bool {
        if (identities.count + 1) * 4 > slots.count * 3 { grow() }
        let i = slot(of: identity)
        guard slots[i] < 0 else { return false }
        slots[i] = Int32(identities.count)
        identities.append(identity)
        handles.append(handle)
        return true
    }

    private mutating func grow() {
        slots = Array(repeating: -1, count: max(16, slots.count * 2))
        for (entry, identity) in identities.enumerated() { slots[slot(of: identity)] = Int32(entry) }
    }
}
