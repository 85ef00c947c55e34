package import Primitives

/// Encoded images: μ and v = log σ² of q(z|x) row by row, with where each row came from and its label.
package struct LatentRows: Sendable, Hashable {
    /// Latent components of a row.
    package var width: Int
    /// Positions of the images in their training set.
    package var positions: [Int]
    package var labels: [Int]
    package var mean: [Float]
    package var logVariance: [Float]

    package init(width: Int, positions: [Int] = [], labels: [Int] = [], mean: [Float] = [], logVariance: [Float] = []) {
        precondition(
            positions.count == labels.count && mean.count == positions.count * width && logVariance.count == mean.count,
            "\(positions.count) rows, \(labels.count) labels, \(mean.count) means of width \(width)")
        self.width = width
        self.positions = positions
        self.labels = labels
        self.mean = mean
        self.logVariance = logVariance
    }

    package var count: Int { positions.count }

    /// Row `row` alone.
    package func row(_ row: Int) -> LatentRows {
        LatentRows(
            width: width, positions: [positions[row]], labels: [labels[row]], mean: Array(mean[row * width..<(row + 1) * width]),
            logVariance: Array(logVariance[row * width..<(row + 1) * width]))
    }

    package mutating func append(_ other: LatentRows) {
        precondition(width == other.width, "rows of \(other.width) latents among \(width)")
        positions += other.positions
        labels += other.labels
        mean += other.mean
        logVariance += other.logVariance
    }

    private static let magic: UInt32 = 0x3152_4C41  // "ALR1"

    /// Magic, width, count, positions, labels, means, log variances.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 12 + count * (8 + 8 * width))
        writer.write(Self.magic)
        writer.write(UInt32(width))
        writer.write(UInt32(count))
        writer.write(array: positions.map { UInt32($0) })
        writer.write(array: labels.map { Int32($0) })
        writer.write(array: mean)
        writer.write(array: logVariance)
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "block of latents") { (reader) throws(AMAFError) in
            guard try reader.read(UInt32.self) == Self.magic else {
                throw AMAFError(
                    "artifact.damaged", "This is no block of latents", remedy: "The file was written by another version; run again.")
            }
            let (width, count) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let (values, overflows) = width.multipliedReportingOverflow(by: count)
            return LatentRows(
                width: width, positions: try reader.readArray(UInt32.self, count: count).map(Int.init),
                labels: try reader.readArray(Int32.self, count: count).map(Int.init),
                mean: try reader.readArray(count: overflows ? .max : values),
                logVariance: try reader.readArray(count: overflows ? .max : values))
        }
    }
}

/// Where the encodings of each class lie: a Gaussian per class with mean E[μ] and covariance Cov[μ] + diag(E[e^v]).
///
/// With β < 1 encodings do not fill N(0, I), so drawing z from N(0, I), as the paper does, lands where the decoder never was
/// trained; drawing from the class's own aggregate posterior does not. Sums are gathered block by block and merge.
package struct ClassPosteriors: Sendable, Hashable {
    package struct Gaussian: Sendable, Hashable {
        package var mean: [Double]
        /// Lower triangle L with L Lᵀ = covariance, row by row.
        package var factor: [Double]
        /// Positions of the class's images, ascending: parents for interpolation and jitter.
        package var members: [Int]
    }

    package let width: Int
    package let classes: [Int: Gaussian]

    package init(width: Int, classes: [Int: Gaussian]) {
        self.width = width
        self.classes = classes
    }

    /// Sums of one class.
    package struct Sums: Sendable {
        var count = 0
        var mean: [Double]
        var square: [Double]
        var variance: [Double]
        var members: [Int] = []

        init(width d: Int) {
            mean = [Double](repeating: 0, count: d)
            square = [Double](repeating: 0, count: d * d)
            variance = [Double](repeating: 0, count: d)
        }
    }

    /// Adds rows in their order; classes below 0 are unlabelled and left out.
    package struct Gatherer {
        package let width: Int
        private var sums: [Int: Sums] = [:]

        package init(width: Int) { self.width = width }

        package mutating func add(_ rows: LatentRows) {
            precondition(rows.width == width, "rows of \(rows.width) latents among \(width)")
            let d = width
            for row in 0..<rows.count where rows.labels[row] >= 0 {
                var sum = sums.removeValue(forKey: rows.labels[row]) ?? Sums(width: d)
                sum.count += 1
                sum.members.append(rows.positions[row])
                for i in 0..<d {
                    let value = Double(rows.mean[row * d + i])
                    sum.mean[i] += value
                    sum.variance[i] += exponential(Double(rows.logVariance[row * d + i]))
                    for j in 0...i { sum.square[i * d + j] += value * Double(rows.mean[row * d + j]) }
                }
                sums[rows.labels[row]] = sum
            }
        }

        /// Classes with fewer than two images have no covariance and are left out.
        package func posteriors() -> ClassPosteriors {
            let d = width
            var classes: [Int: Gaussian] = [:]
            for (label, sum) in sums where sum.count > 1 {
                let n = Double(sum.count)
                let mean = sum.mean.map { $0 / n }
                var covariance = [Double](repeating: 0, count: d * d)
                for i in 0..<d {
                    for j in 0...i { covariance[i * d + j] = sum.square[i * d + j] / n - mean[i] * mean[j] }
                    covariance[i * d + i] += sum.variance[i] / n + 1e-9
                }
                classes[label] = Gaussian(mean: mean, factor: Symmetric.cholesky(covariance, d), members: sum.members.sorted())
            }
            return ClassPosteriors(width: d, classes: classes)
        }
    }

    /// - Throws: `augmentation.unknown-class` for a class without a Gaussian.
    package func gaussian(of label: Int) throws(AMAFError) -> Gaussian {
        guard let found = classes[label] else {
            throw AMAFError(
                "augmentation.unknown-class", "Class \(label) has fewer than two labelled images, so nothing can be drawn for it",
                remedy: "Leave the class out, or label more of its images.")
        }
        return found
    }
}

extension ClassPosteriors {
    private static let magic: UInt32 = 0x3150_4341  // "ACP1"

    /// Magic, width, classes; by class ascending: label, mean, factor (lower triangle), members.
    package func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(Self.magic)
        writer.write(UInt32(width))
        writer.write(UInt32(classes.count))
        for (label, gaussian) in classes.sorted(by: { $0.key < $1.key }) {
            writer.write(UInt32(label))
            writer.write(array: gaussian.mean)
            for i in 0..<width { writer.write(array: Array(gaussian.factor[i * width...i * width + i])) }
            writer.write(UInt32(gaussian.members.count))
            writer.write(array: gaussian.members.map { UInt32($0) })
        }
        return writer.bytes
    }

    /// - Throws: `artifact.truncated`, `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "class posteriors") { (reader) throws(AMAFError) in
            let damaged = AMAFError(
                "artifact.damaged", "These are no class posteriors", remedy: "The file was written by another version; run again.")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            let (d, count) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            guard d > 0, d <= 1 << 16 else { throw damaged }
            var classes: [Int: Gaussian] = [:]
            for _ in 0..<count {
                let label = Int(try reader.read(UInt32.self))
                let mean = try reader.readArray(Double.self, count: d)
                guard d * (d + 1) / 2 * 8 <= reader.remaining else { throw damaged }
                var factor = [Double](repeating: 0, count: d * d)
                for i in 0..<d { factor.replaceSubrange(i * d...i * d + i, with: try reader.readArray(Double.self, count: i + 1)) }
                let members = try reader.readArray(UInt32.self, count: Int(try reader.read(UInt32.self))).map(Int.init)
                guard classes.updateValue(Gaussian(mean: mean, factor: factor, members: members), forKey: label) == nil else {
                    throw damaged
                }
            }
            return ClassPosteriors(width: d, classes: classes)
        }
    }
}
