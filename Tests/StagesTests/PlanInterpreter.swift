import Foundation
import Primitives
import Scheduling
import Stages
import Testing

/// A cluster of one thread: runs a plan's stages in order and keeps every output by digest, as workers' caches do.
final class PlanInterpreter {
    private let folder: String
    private var outputs: [StageID: [Int: [String: Digest]]] = [:]
    private(set) var metrics: [StageID: [String: Double]] = [:]
    private var cache: ObjectCache
    /// A worker that never has anything in memory, as after a crash.
    var forgets = false
    /// Blocks of one lease at most.
    var leaseBlocks = Int.max

    init() throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-stages-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        cache = ObjectCache(limit: 64 << 20)
    }
    deinit { try? FileManager.default.removeItem(atPath: folder) }

    @discardableResult
    func store(_ bytes: [UInt8]) throws -> Digest {
        let digest = Digest.of(bytes)
        try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/\(digest.hex)"))
        return digest
    }

    func run(_ stages: [StageSpec]) throws {
        for spec in stages {
            let executor = try #require(StageRegistry.executor(for: spec.kind))
            for first in stride(from: 0, to: spec.blocks, by: min(leaseBlocks, spec.blocks)) {
                let blocks = first..<min(spec.blocks, first + min(leaseBlocks, spec.blocks))
                if forgets { cache = ObjectCache(limit: 64 << 20) }
                let task = StageTask(
                    parameters: spec.parameters, blocks: blocks, maskedSamples: [], batchShift: 0,
                    inputs: StageInputs(try spec.inputs.map { try grant($0, blocks) }, firstBlock: first) { [folder] digest in
                        try Artifact(digest: digest, path: "\(folder)/\(digest.hex)")
                    },
                    sources: SourceAccess(readRange: { [folder] digest, range in
                        [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(digest.hex)")))[range].map { $0 }
                    }), cache: cache, isCancelled: { false }
                ) { block, made, metrics in
                    for output in made {
                        self.outputs[spec.id, default: [:]][block, default: [:]][output.name] = try self.store(output.bytes)
                    }
                    self.metrics[spec.id] = metrics
                }
                try executor.run(task)
            }
        }
    }

    private func grant(_ input: StageInput, _ blocks: Range<Int>) throws -> LeaseGrant.Input {
        switch input.source {
        case .artifacts(let digests): return .init(name: input.name, reach: input.reach, digests: digests)
        case .stage(let stage, let output):
            let made = outputs[stage] ?? [:]
            let wanted = input.reach == .sameBlock ? Array(blocks) : made.keys.sorted()
            return .init(name: input.name, reach: input.reach, digests: try wanted.map { try #require(made[$0]?[output]) })
        }
    }

    func bytes(_ name: String, of stage: StageID, block: Int = 0) throws -> [UInt8] {
        let digest = try #require(outputs[stage]?[block]?[name], "\(stage) made no '\(name)'")
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(digest.hex)")))
    }
}
