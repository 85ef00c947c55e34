package import Augmentation
import Datasets
import Primitives

/// What `pack-pictures` is told.
package struct PackPicturesParameters: Hashable, Sendable, Codable {
    /// Of the thumbnails.
    package var side: Int
    package var samples: Int
    package var heldOut: HeldOutRule

    package init(side: Int, samples: Int, heldOut: HeldOutRule) {
        self.side = side
        self.samples = samples
        self.heldOut = heldOut
    }
}

/// Which samples of the pool neither a generator nor a parent may come from, fixed before anybody has looked at one.
package struct HeldOutRule: Hashable, Sendable, Codable {
    package var share: Double
    package var seed: UInt64

    package init(share: Double, seed: UInt64) {
        precondition(share >= 0 && share < 1, "a share of \(share) is held out")
        self.share = share
        self.seed = seed
    }

    /// Positions below `samples`, ascending.
    package func heldOut(of samples: Int) -> [Int] {
        let count = Int(share * Double(samples))
        guard count > 0 else { return [] }
        var order = Array(0..<samples)
        var generator = SeededGenerator(seed: seed, stream: "augmentation", "held-out")
        generator.shuffle(&order)
        return order.prefix(count).sorted()
    }

    package func kept(of samples: Int) -> Int { samples - Int(share * Double(samples)) }
}

/// `pack-pictures`: all thumbnails of the pool in one file, and which of them a generator is trained on. It looks at no label.
///
/// A training counts its images before the run begins, and a picture that cannot be decoded is found out later: its place in the training
/// set goes to another picture, in turn.
/// - Inputs: `samples` (all blocks). Outputs: `images` (IDX; black where there is no picture), `positions` (`RowNumbers`).
package struct PackPicturesStage: StageExecutor {
    package static let kind = "pack-pictures"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: PackPicturesParameters.self)
        let (side, count) = (parameters.side, parameters.samples)
        var pixels = [UInt8](repeating: 0, count: count * side * side)
        var isThere = [Bool](repeating: false, count: count)
        try task.inputs.forEach("samples") { _, artifact in
            try task.checkCancellation()
            let block = try artifact.withBytes { try SampleBlock(decoding: $0) }
            for (position, sample) in zip(block.positions, block.samples) {
                guard let thumbnail = sample.image?.thumbnail else { continue }
                precondition(
                    thumbnail.width == side && thumbnail.height == side && position < count,
                    "a thumbnail of \(thumbnail.width) × \(thumbnail.height) at \(position) among \(count) of side \(side)")
                pixels.replaceSubrange(position * side * side..<(position + 1) * side * side, with: thumbnail.pixels)
                isThere[position] = true
            }
        }
        let held = Set(parameters.heldOut.heldOut(of: count))
        let wanted = (0..<count).filter { !held.contains($0) }
        let present = wanted.filter { isThere[$0] }
        guard !present.isEmpty else {
            throw AMAFError(
                "augmentation.no-pictures", "None of the \(wanted.count) pictures to train on can be decoded",
                remedy: "See the quarantined rows in the report.")
        }
        var next = 0
        let rows = wanted.map { position -> Int in
            if isThere[position] { return position }
            defer { next += 1 }
            return present[next % present.count]
        }
        try task.emit(
            block: 0,
            [
                StageOutput("images", IDXFile(shape: [count, side, side], values: pixels).encode()),
                StageOutput("positions", RowNumbers.encode(rows)),
            ], metrics: ["rows": Double(present.count)])
    }
}

/// How many samples of which class by which method, once it is known what people answered.
package struct AllotmentRule: Hashable, Sendable, Codable {
    package var methods: [SynthesisMethod]
    /// Of each class; nil brings every class up to the one with the most answers.
    package var perClass: Int?
    /// Synthetic samples of a class for each answered one, at most.
    package var maximumRatio: Double
    package var rotation: RotationRules

    package init(methods: [SynthesisMethod], perClass: Int?, maximumRatio: Double, rotation: RotationRules) {
        self.methods = methods
        self.perClass = perClass
        self.maximumRatio = maximumRatio
        self.rotation = rotation
    }

    /// - Parameter counts: answered samples by class; a class with fewer than two has nothing to descend from.
    package func allotment(_ counts: [Int]) -> SynthesisAllotment {
        let goal = counts.max() ?? 0
        var shares: [SynthesisAllotment.Share] = []
        for (label, count) in counts.enumerated() where count > 1 {
            let rule = rotation.rule(label)
            let methods = methods.filter { $0 != .rotation || rule.maximumDegrees > 0 || rule.mayMirror }
            guard !methods.isEmpty else { continue }
            let wanted = min(perClass ?? goal - count, Int(Double(count) * maximumRatio))
            for (i, method) in methods.enumerated() {
                let part = wanted / methods.count + (i < wanted % methods.count ? 1 : 0)
                if part > 0 { shares.append(.init(label: label, method: method, count: part)) }
            }
        }
        return SynthesisAllotment(shares)
    }

    /// The most that an allotment of so many answers can ask for, as a plan must know it: an even spread over classes is the least.
    package func most(answers: Int, classes: Int) -> SynthesisAllotment {
        let each = min(perClass ?? answers, Int(Double(answers) * maximumRatio))
        return SynthesisAllotment((0..<classes).map { .init(label: $0, method: methods[0], count: each) })
    }
}

/// What `pack-answers` is told.
package struct PackAnswersParameters: Hashable, Sendable, Codable {
    package var classes: Int
    package var samples: Int
    package var heldOut: HeldOutRule
    package var rule: AllotmentRule

    package init(classes: Int, samples: Int, heldOut: HeldOutRule, rule: AllotmentRule) {
        self.classes = classes
        self.samples = samples
        self.heldOut = heldOut
        self.rule = rule
    }
}

/// `pack-answers`: the samples that people answered, as the training set of a synthesis. Nothing else of the pool has a label here, and
/// gold labels never come this way.
///
/// - Inputs: `pictures` (IDX of the whole pool), `answers.0…`.
/// - Outputs: `images` and `labels` (IDX), `identities` (positions in the pool, `RowNumbers`), `positions` (rows that parents are taken
///   from) and `held-out` (the others), `allotment` (`SynthesisAllotment`).
package struct PackAnswersStage: StageExecutor {
    package static let kind = "pack-answers"
    package static let codeVersion = 1
    package init() {}

    package func run(_ task: StageTask) throws {
        let parameters = try task.parameters(as: PackAnswersParameters.self)
        let pictures = try task.storedImages("pictures")
        let answers = try task.inputs.answers().flatMap(\.answers).sorted { $0.position < $1.position }
        let held = Set(parameters.heldOut.heldOut(of: parameters.samples))
        let (kept, heldOut) = (
            answers.indices.filter { !held.contains(answers[$0].position) }, answers.indices.filter { held.contains(answers[$0].position) }
        )
        var counts = [Int](repeating: 0, count: parameters.classes)
        for row in kept { counts[answers[row].label] += 1 }
        try task.emit(
            block: 0,
            [
                StageOutput(
                    "images",
                    IDXFile(
                        shape: [answers.count] + pictures.shape.dropFirst(), values: try pictures.bytes(answers.map(\.position))
                    ).encode()),
                StageOutput("labels", IDXFile(shape: [answers.count], values: answers.map { UInt8($0.label) }).encode()),
                StageOutput("identities", RowNumbers.encode(answers.map(\.position))),
                StageOutput("positions", RowNumbers.encode(kept)), StageOutput("held-out", RowNumbers.encode(heldOut)),
                StageOutput("allotment", Array(CanonicalJSON.encode(parameters.rule.allotment(counts)).utf8)),
            ], metrics: ["rows": Double(answers.count)])
    }
}
