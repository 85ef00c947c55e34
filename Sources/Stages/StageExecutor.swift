import Datasets
import Foundation
package import Primitives
package import Scheduling

/// The work of one stage kind, as a slot process runs it. An executor reads artifacts, computes, and emits the outputs of
/// each block; it knows nothing of leases, workers or the network.
///
/// The same inputs and parameters must give the same bytes, whoever runs it and however its blocks are cut into leases.
package protocol StageExecutor: Sendable {
    /// The name in `StageSpec.kind`.
    static var kind: String { get }
    /// Raised whenever the output changes for the same input.
    static var codeVersion: Int { get }
    /// Inputs of which the executor reads byte ranges through `StageTask.sources`; they are not fetched before it starts.
    static var rangedInputs: [String] { get }
    init()
    /// Computes every block of `task.blocks`, in order, and calls `task.emit` for each.
    func run(_ task: StageTask) throws
}

extension StageExecutor {
    package static var rangedInputs: [String] { [] }
}

/// One lease as an executor sees it.
package struct StageTask {
    package let parameters: String
    package let blocks: Range<Int>
    /// Samples (positions in the data set) to leave out in place; sorted.
    package let maskedSamples: [Int]
    /// Batches are divided by 2^shift after the slot ran out of memory.
    package let batchShift: Int
    package let inputs: StageInputs
    package let sources: SourceAccess
    /// Parsed objects that outlive the lease, by digest.
    package let cache: ObjectCache
    private let emitBlock: (Int, [StageOutput], [String: Double]) throws -> Void
    private let cancelled: () -> Bool

    package init(
        parameters: String, blocks: Range<Int>, maskedSamples: [Int], batchShift: Int, inputs: StageInputs,
        sources: SourceAccess = SourceAccess(), cache: ObjectCache, isCancelled: @escaping () -> Bool,
        emit: @escaping (Int, [StageOutput], [String: Double]) throws -> Void
    ) {
        self.parameters = parameters
        self.blocks = blocks
        self.maskedSamples = maskedSamples
        self.batchShift = batchShift
        self.inputs = inputs
        self.sources = sources
        self.cache = cache
        self.cancelled = isCancelled
        self.emitBlock = emit
    }

    /// Hands over the finished outputs of one block. Throws `CancellationError` when the lease was taken away.
    package func emit(block: Int, _ outputs: [StageOutput], metrics: [String: Double] = [:]) throws {
        try checkCancellation()
        try emitBlock(block, outputs, metrics)
    }

    /// Long loops call this between batches.
    package func checkCancellation() throws {
        if cancelled() { throw CancellationError() }
    }

    /// The parameters as the executor's own type.
    package func parameters<P: Decodable>(as type: P.Type) throws -> P {
        try CanonicalJSON.decode(type, from: parameters, what: "stage's parameters")
    }
}

/// One named result of a block.
package struct StageOutput {
    package var name: String
    package var bytes: [UInt8]

    package init(_ name: String, _ bytes: [UInt8]) {
        self.name = name
        self.bytes = bytes
    }
}

/// The artifacts that a lease may read, opened when asked for.
package struct StageInputs {
    private let grants: [LeaseGrant.Input]
    private let firstBlock: Int
    private let open: (Digest) throws -> Artifact

    package init(_ grants: [LeaseGrant.Input], firstBlock: Int, open: @escaping (Digest) throws -> Artifact) {
        self.grants = grants
        self.firstBlock = firstBlock
        self.open = open
    }

    private func grant(_ name: String) throws -> LeaseGrant.Input {
        guard let grant = grants.first(where: { $0.name == name }) else {
            throw AMAFError(
                "stage.missing-input", "The stage was given no input '\(name)'; it has \(grants.map(\.name).joined(separator: ", "))",
                remedy: "The plan and this worker are of different versions; update the older one.")
        }
        return grant
    }

    package func contains(_ name: String) -> Bool { grants.contains { $0.name == name && !$0.digests.isEmpty } }

    /// All digests of an input, in block order.
    package func digests(_ name: String) throws -> [Digest] { try grant(name).digests }

    /// One digest that stands for all artifacts of the input: a cache key.
    package func combinedDigest(_ name: String) throws -> Digest {
        var hasher = DigestHasher()
        for digest in try grant(name).digests { hasher.update(digest: digest) }
        return hasher.finish()
    }

    /// The artifact of an input that has exactly one.
    package func single(_ name: String) throws -> Artifact {
        let grant = try grant(name)
        precondition(grant.digests.count == 1, "input '\(name)' has \(grant.digests.count) artifacts, not one")
        return try open(grant.digests[0])
    }

    /// What the other stage made for `block` of this lease.
    package func sameBlock(_ name: String, _ block: Int) throws -> Artifact {
        let grant = try grant(name)
        precondition(grant.reach == .sameBlock, "input '\(name)' reaches over all blocks")
        return try open(grant.digests[block - firstBlock])
    }

    /// Every artifact of the input, in block order, one at a time.
    package func forEach(_ name: String, _ body: (Int, Artifact) throws -> Void) throws {
        for (index, digest) in try grant(name).digests.enumerated() { try body(index, open(digest)) }
    }

    package func artifact(_ digest: Digest) throws -> Artifact { try open(digest) }
}

/// Read-only bytes of one artifact, mapped from the worker's cache.
///
/// `@unchecked Sendable`: the memory is mapped read-only once in `init` and unmapped in `deinit`; nothing mutates it.
package final class Artifact: @unchecked Sendable {
    package let digest: Digest
    /// Where the worker keeps it; for readers that open files themselves.
    package let path: String
    private let base: UnsafeMutableRawPointer?
    package let byteCount: Int

    package init(digest: Digest, path: String) throws(AMAFError) {
        self.digest = digest
        self.path = path
        let descriptor = Foundation.open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw AMAFError("artifact.missing", "Artifact \(digest) is not in the cache", place: path, isTransient: true)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw AMAFError("artifact.unreadable", "Artifact \(digest) cannot be inspected", place: path, isTransient: true)
        }
        byteCount = Int(status.st_size)
        guard byteCount > 0 else {
            base = nil
            return
        }
        let mapped = mmap(nil, byteCount, PROT_READ, MAP_PRIVATE, descriptor, 0)
        guard let mapped, mapped != MAP_FAILED else {
            throw AMAFError(
                "artifact.unreadable", "Artifact \(digest) of \(byteCount) bytes cannot be mapped", place: path, isTransient: true)
        }
        base = mapped
    }

    deinit {
        if let base = base { munmap(base, byteCount) }
    }

    package func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        try withExtendedLifetime(self) { try body(UnsafeRawBufferPointer(start: base, count: byteCount)) }
    }

    package var bytes: [UInt8] { withBytes { [UInt8]($0) } }
}

/// Parsed forms of artifacts that several leases of one slot read: feature matrices, weights, gold labels.
///
/// Least recently used goes first once the stated costs exceed the limit. Owner: the slot's one thread.
package final class ObjectCache {
    private struct Entry {
        var value: Any
        var cost: Int
        var lastUse: UInt64
    }
    private let limit: Int
    private var entries: [String: Entry] = [:]
    private var used = 0
    private var clock: UInt64 = 0

    /// - Parameter limit: bytes.
    package init(limit: Int) { self.limit = limit }

    /// The object of this kind and digest, made and kept if it is not there.
    package func object<T>(_ kind: String, _ digest: Digest, cost: (T) -> Int, make: () throws -> T) rethrows -> T {
        clock += 1
        let key = "\(kind)/\(digest.hex)"
        if let entry = entries[key], let value = entry.value as? T {
            entries[key]?.lastUse = clock
            return value
        }
        let value = try make()
        let bytes = cost(value)
        guard bytes <= limit else { return value }
        // Ties cannot happen: the clock rises with every use.
        while used + bytes > limit, let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse }) {
            used -= oldest.value.cost
            entries[oldest.key] = nil
        }
        entries[key] = Entry(value: value, cost: bytes, lastUse: clock)
        used += bytes
        return value
    }
}
