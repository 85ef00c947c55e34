package import Kernels

/// Fréchet's distance between Gaussians fitted to features: ‖m₁ − m₂‖² + tr(C₁ + C₂ − 2 (C₁C₂)^½) (Heusel et al. 2017).
///
/// In our own feature space, so numbers compare only with each other; the distance of real to real is the floor.
package enum FrechetDistance {
    package static func between(_ a: FeatureRows, _ b: FeatureRows) -> Double {
        precondition(a.width == b.width, "features of \(a.width) against \(b.width)")
        let (first, second) = (a.moments(), b.moments())
        let d = a.width
        let shift = zip(first.mean, second.mean).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        let trace = (0..<d).reduce(0.0) { $0 + first.covariance[$1 * d + $1] + second.covariance[$1 * d + $1] }
        return max(0, shift + trace - 2 * Symmetric.traceOfProductRoot(first.covariance, second.covariance, d))
    }
}

/// What balls around k nearest neighbours say (Kynkäänniemi et al. 2019; Naeem et al. 2020).
package struct NeighbourScores: Sendable, Hashable, Codable {
    /// Share of synthetic samples inside some real sample's ball: do they look real?
    package var precision: Double
    /// Share of real samples inside some synthetic sample's ball: is the variety there?
    package var recall: Double
    /// Mean number of real balls that a synthetic sample lies in, over k; may exceed 1.
    package var density: Double
    /// Share of real samples whose ball holds a synthetic one.
    package var coverage: Double

    package init(precision: Double, recall: Double, density: Double, coverage: Double) {
        self.precision = precision
        self.recall = recall
        self.density = density
        self.coverage = coverage
    }

    /// - Precondition: more than k rows on both sides.
    package init(real: FeatureRows, synthetic: FeatureRows, neighbours k: Int = 5, on device: any ComputeDevice) {
        precondition(k > 0 && real.count > k && synthetic.count > k, "\(k) neighbours of \(real.count) and \(synthetic.count) rows")
        let realRadii = Self.radii(real, k, device)
        let syntheticRadii = Self.radii(synthetic, k, device)
        var (inside, hits) = (0, 0)
        var isRecalled = [Bool](repeating: false, count: real.count)
        var isCovered = [Bool](repeating: false, count: real.count)
        synthetic.forEachDistances(to: real, on: device) { row, squared in
            let radius = syntheticRadii[row]
            var mine = 0
            for (i, distance) in squared.enumerated() {
                if distance < realRadii[i] {
                    mine += 1
                    isCovered[i] = true
                }
                if distance < radius { isRecalled[i] = true }
            }
            hits += mine
            if mine > 0 { inside += 1 }
        }
        self.init(
            precision: Double(inside) / Double(synthetic.count), recall: Double(isRecalled.count { $0 }) / Double(real.count),
            density: Double(hits) / Double(k * synthetic.count), coverage: Double(isCovered.count { $0 }) / Double(real.count))
    }

    /// Squared distance of each row to its k-th neighbour, itself not counted.
    static func radii(_ rows: FeatureRows, _ k: Int, _ device: any ComputeDevice) -> [Float] {
        var out = [Float](repeating: 0, count: rows.count)
        rows.forEachDistances(to: rows, on: device) { row, squared in
            var nearest: [Float] = []
            for (i, distance) in squared.enumerated() where i != row {
                if nearest.count == k, distance >= nearest[k - 1] { continue }
                let at = nearest.firstIndex { $0 > distance } ?? nearest.count
                nearest.insert(distance, at: at)
                if nearest.count > k { nearest.removeLast() }
            }
            out[row] = nearest.last ?? 0
        }
        return out
    }
}

/// Whether synthetic samples are copies: their distance to the nearest training sample against that of real samples nobody
/// trained on. About 1 is well; near 0 the generator has learned its training set by heart.
package struct Memorisation: Sendable, Hashable, Codable {
    /// Medians of nearest-neighbour distances.
    package var syntheticDistance: Double
    package var heldOutDistance: Double
    package var ratio: Double { heldOutDistance > 0 ? syntheticDistance / heldOutDistance : .infinity }
    /// Synthetic samples nearer to a training sample than a tenth of the held-out median.
    package var copies: Int

    /// - Parameters:
    ///   - training: what the generator learned from.
    ///   - heldOut: real samples that it never saw.
    package init(training: FeatureRows, heldOut: FeatureRows, synthetic: FeatureRows, on device: any ComputeDevice) {
        let mine = Self.nearest(synthetic, to: training, device)
        let others = Self.nearest(heldOut, to: training, device)
        syntheticDistance = Self.median(mine)
        heldOutDistance = Self.median(others)
        let limit = heldOutDistance / 10
        copies = mine.count { $0 < limit }
    }

    static func nearest(_ rows: FeatureRows, to others: FeatureRows, _ device: any ComputeDevice) -> [Double] {
        var out = [Double](repeating: 0, count: rows.count)
        rows.forEachDistances(to: others, on: device) { row, squared in out[row] = Double(squared.min() ?? 0).squareRoot() }
        return out
    }

    static func median(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        guard !sorted.isEmpty else { return 0 }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }
}
