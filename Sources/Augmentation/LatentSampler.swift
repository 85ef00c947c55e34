package import Primitives

/// How a synthetic image comes about.
package enum SynthesisMethod: String, Sendable, Hashable, Codable, CaseIterable {
    /// z from the class's aggregate posterior (`ClassPosteriors`): the default.
    case classPosterior = "class-posterior"
    /// z from q(z|x) of one image.
    case jitter
    /// z between the means of two images of one class.
    case interpolation
    /// z from N(0, I), the paper's recipe, kept for comparison: measured to make bias worse.
    case prior
    /// The image itself, turned by an angle that its class allows.
    case rotation
    /// Text: words replaced by synonyms.
    case thesaurus
    /// Text: rewritten by a language model.
    case paraphrase
}

/// One drawn latent with its label and parents; decoding it is the network's business.
package struct LatentDraw: Sendable, Hashable {
    package var z: [Float]
    package var label: Int
    /// Positions in the training set; none for draws from a distribution.
    package var parents: [Int]
}

/// Draws latents. Each item has a stream of its own, (seed, item), so what is drawn depends neither on blocks nor on who draws.
package struct LatentSampler: Sendable {
    package let posteriors: ClassPosteriors
    package let seed: UInt64

    package init(_ posteriors: ClassPosteriors, seed: UInt64) {
        self.posteriors = posteriors
        self.seed = seed
    }

    func generator(_ item: Int) -> SeededGenerator { SeededGenerator(seed: seed, stream: "synthesize", String(item)) }

    /// Which training images item `item` of this method descends from.
    ///
    /// - Throws: `augmentation.unknown-class`.
    package func parents(_ method: SynthesisMethod, label: Int, item: Int) throws(AMAFError) -> [Int] {
        switch method {
        case .prior, .classPosterior, .thesaurus, .paraphrase: return []
        case .jitter, .rotation:
            let members = try posteriors.gaussian(of: label).members
            var generator = generator(item)
            return [members[generator.index(below: members.count)]]
        case .interpolation:
            let members = try posteriors.gaussian(of: label).members
            var generator = generator(item)
            let first = generator.index(below: members.count)
            // Another image, never the same twice.
            let second = (first + 1 + generator.index(below: members.count - 1)) % members.count
            return [members[first], members[second]]
        }
    }

    /// - Parameters:
    ///   - rows: the parents' encodings, in the order of `parents`.
    /// - Throws: `augmentation.unknown-class`.
    package func draw(_ method: SynthesisMethod, label: Int, item: Int, parents: [Int], rows: LatentRows) throws(AMAFError) -> LatentDraw {
        precondition(rows.positions == parents, "rows of \(rows.positions) for parents \(parents)")
        let d = posteriors.width
        // The parents took the head of the stream; noise has its own.
        var noise = GaussianStream(SeededGenerator(seed: seed, stream: "synthesize", String(item), "noise"))
        var z = [Float](repeating: 0, count: d)
        switch method {
        case .prior:
            for i in 0..<d { z[i] = Float(noise.next()) }
        case .classPosterior:
            let gaussian = try posteriors.gaussian(of: label)
            let epsilon = (0..<d).map { _ in noise.next() }
            for i in 0..<d {
                var value = gaussian.mean[i]
                for j in 0...i { value += gaussian.factor[i * d + j] * epsilon[j] }
                z[i] = Float(value)
            }
        case .jitter:
            for i in 0..<d { z[i] = rows.mean[i] + Float(exponential(Double(rows.logVariance[i]) / 2) * noise.next()) }
        case .interpolation:
            let t = Float(noise.uniform())
            for i in 0..<d { z[i] = rows.mean[i] + t * (rows.mean[d + i] - rows.mean[i]) }
        case .rotation, .thesaurus, .paraphrase: preconditionFailure("\(method.rawValue) draws no latent")
        }
        return LatentDraw(z: z, label: label, parents: parents)
    }
}

/// Standard normal numbers from a seeded generator (Marsaglia's polar method, 1964).
package struct GaussianStream: Sendable {
    private var generator: SeededGenerator
    private var spare: Double?

    package init(_ generator: SeededGenerator) { self.generator = generator }

    package mutating func uniform() -> Double { generator.uniform() }

    package mutating func next() -> Double {
        if let value = spare {
            spare = nil
            return value
        }
        while true {
            let (a, b) = (generator.uniform() * 2 - 1, generator.uniform() * 2 - 1)
            let s = a * a + b * b
            if s >= 1 || s == 0 { continue }
            let factor = (-2 * naturalLogarithm(s) / s).squareRoot()
            spare = b * factor
            return a * factor
        }
    }
}
