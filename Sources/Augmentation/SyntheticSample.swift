package import Primitives

/// A sample that nobody observed, with all that is needed to doubt it.
///
/// It has no position in any data set: review, evaluation and export go by positions, so none of them can ever meet it. It may
/// only be learned from.
package struct SyntheticSample: Sendable, Hashable {
    package var method: SynthesisMethod
    /// Positions of its parents in the training set; empty when it was drawn from a distribution fitted to all of them.
    package var parents: [Int]
    /// p(class): inherited from the parents, or the class asked for.
    package var label: [Float]
    package var image: [UInt8]

    package init(method: SynthesisMethod, parents: [Int], label: [Float], image: [UInt8]) {
        self.method = method
        self.parents = parents
        self.label = label
        self.image = image
    }

    /// The likeliest class; the first of several.
    package var top: Int { label.indices.max { (label[$0], $1) < (label[$1], $0) } ?? 0 }

    /// The soft label of samples with these parents: the mean of theirs.
    package static func inherited(_ labels: [[Float]]) -> [Float] {
        precondition(!labels.isEmpty && labels.allSatisfy { $0.count == labels[0].count }, "no parents to inherit from")
        return labels[0].indices.map { k in labels.reduce(0) { $0 + $1[k] } / Float(labels.count) }
    }
}

/// Synthetic samples of one block, as an artifact.
package struct SyntheticBlock: Sendable, Hashable {
    package var classes: Int
    package var pixels: Int
    package var samples: [SyntheticSample]

    package init(classes: Int, pixels: Int, samples: [SyntheticSample] = []) {
        self.classes = classes
        self.pixels = pixels
        self.samples = samples
    }

    private static let magic: UInt32 = 0x3153_5941  // "AYS1"

    /// Magic, classes, pixels, count; by sample: method, parents, label, image.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 16 + samples.count * (pixels + 4 * classes + 16))
        writer.write(Self.magic)
        writer.write(UInt32(classes))
        writer.write(UInt32(pixels))
        writer.write(UInt32(samples.count))
        for sample in samples {
            precondition(sample.image.count == pixels && sample.label.count == classes, "a sample of another shape")
            writer.write(sample.method.rawValue)
            writer.write(UInt8(sample.parents.count))
            writer.write(array: sample.parents.map { UInt32($0) })
            writer.write(array: sample.label)
            writer.write(array: sample.image)
        }
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "synthetic block") { (reader) throws(AMAFError) in
            let damaged = AMAFError(
                "artifact.damaged", "This is no block of synthetic samples", remedy: "The file was written by another version; run again.")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            var block = SyntheticBlock(classes: Int(try reader.read(UInt32.self)), pixels: Int(try reader.read(UInt32.self)))
            for _ in 0..<Int(try reader.read(UInt32.self)) {
                guard let method = SynthesisMethod(rawValue: try reader.readString()) else { throw damaged }
                let parents = try reader.readArray(UInt32.self, count: Int(try reader.read(UInt8.self))).map(Int.init)
                let label = try reader.readArray(Float.self, count: block.classes)
                let image = try reader.readArray(UInt8.self, count: block.pixels)
                block.samples.append(SyntheticSample(method: method, parents: parents, label: label, image: image))
            }
            return block
        }
    }
}

/// How many synthetic samples of which class by which method: the items of a synthesis, in order.
package struct SynthesisAllotment: Sendable, Hashable, Codable {
    package struct Share: Sendable, Hashable, Codable {
        package var label: Int
        package var method: SynthesisMethod
        package var count: Int
        package init(label: Int, method: SynthesisMethod, count: Int) {
            self.label = label
            self.method = method
            self.count = count
        }
    }
    package var shares: [Share]

    package init(_ shares: [Share]) { self.shares = shares }

    package var count: Int { shares.reduce(0) { $0 + $1.count } }

    /// What item `item` is.
    package func item(_ item: Int) -> (label: Int, method: SynthesisMethod) {
        var left = item
        for share in shares {
            if left < share.count { return (share.label, share.method) }
            left -= share.count
        }
        preconditionFailure("item \(item) of \(count)")
    }

    /// Fills classes up to the largest one, but never beyond `maximumRatio` synthetic samples for each real one.
    ///
    /// - Parameters:
    ///   - counts: real samples by class.
    ///   - methods: shared evenly, earlier ones first where it does not come out even.
    package static func balancing(_ counts: [Int], methods: [SynthesisMethod], maximumRatio: Double) -> SynthesisAllotment {
        precondition(!methods.isEmpty, "no method to make samples by")
        let goal = counts.max() ?? 0
        var shares: [Share] = []
        for (label, count) in counts.enumerated() where count > 1 {
            let wanted = min(goal - count, Int(Double(count) * maximumRatio))
            for (i, method) in methods.enumerated() {
                let part = wanted / methods.count + (i < wanted % methods.count ? 1 : 0)
                if part > 0 { shares.append(Share(label: label, method: method, count: part)) }
            }
        }
        return SynthesisAllotment(shares)
    }
}
