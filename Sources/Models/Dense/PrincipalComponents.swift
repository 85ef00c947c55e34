package import Kernels
package import Primitives

/// The directions in which features vary most, and how far samples lie apart along them.
package struct PrincipalComponents: Hashable, Sendable {
    package let mean: [Float]
    /// (components, columns), orthonormal rows, most variance first; each row's largest entry is positive.
    package let directions: [Float]
    package let variances: [Float]
    /// The median of ‖xᵢ − xⱼ‖² between projected samples: the natural unit of a kernel's width.
    package let medianSquaredDistance: Float

    package var columns: Int { mean.count }
    package var components: Int { variances.count }

    /// (rows, columns) → (rows, components)
    package func project(_ values: [Float], on device: any ComputeDevice) -> [Float] {
        let d = columns
        precondition(values.count.isMultiple(of: d), "\(values.count) values in rows of \(d)")
        var centred = values
        centred.withUnsafeMutableBufferPointer { centred in
            for start in stride(from: 0, to: centred.count, by: d) {
                for j in 0..<d { centred[start + j] -= mean[j] }
            }
        }
        return DenseProducts(on: device).rowsByRows(centred, directions, inner: d)
    }

    private static let magic: UInt32 = 0x3143_5041  // "APC1"

    /// Little-endian: magic, columns, components, median distance; mean, variances, directions.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 16 + 4 * (mean.count + variances.count + directions.count))
        writer.write(Self.magic)
        writer.write(UInt32(columns))
        writer.write(UInt32(components))
        writer.write(medianSquaredDistance)
        for part in [mean, variances, directions] { writer.write(array: part) }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "projection") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let (columns, components) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let distance = try reader.readFloat()
            guard magic == Self.magic, columns > 0, components > 0, components <= columns, distance > 0,
                reader.remaining == 4 * (columns + components + columns * components)
            else { throw AMAFError.damaged("projection") }
            return PrincipalComponents(
                mean: try reader.readArray(count: columns), variances: try reader.readArray(count: components),
                directions: try reader.readArray(count: columns * components), medianSquaredDistance: distance)
        }
    }

    private init(mean: [Float], variances: [Float], directions: [Float], medianSquaredDistance: Float) {
        self.mean = mean
        self.variances = variances
        self.directions = directions
        self.medianSquaredDistance = medianSquaredDistance
    }
}

extension PrincipalComponents {
    /// Sums over blocks, in the order in which they are added: second moments in Float64, each block's own product in Float32.
    package struct Fitter {
        private let columns: Int
        private let device: any ComputeDevice
        private var count = 0
        private var sums: [Double]
        private var moments: [Double]
        /// Rows kept for the median distance: the first few of each block.
        private var kept: [Float] = []
        private static let keptLimit = 600
        private static let keptPerBlock = 32

        package init(columns: Int, on device: any ComputeDevice) {
            self.columns = columns
            self.device = device
            sums = [Double](repeating: 0, count: columns)
            moments = [Double](repeating: 0, count: columns * columns)
        }

        /// - Parameter rows: (n, columns), masked samples left out.
        package mutating func add(_ rows: [Float]) {
            precondition(rows.count.isMultiple(of: columns), "\(rows.count) values in rows of \(columns)")
            guard !rows.isEmpty else { return }
            count += rows.count / columns
            for start in stride(from: 0, to: rows.count, by: columns) {
                for j in 0..<columns { sums[j] += Double(rows[start + j]) }
            }
            let product = DenseProducts(on: device).gram(rows, columns: columns)
            moments.withUnsafeMutableBufferPointer { moments in
                product.withUnsafeBufferPointer { product in for i in moments.indices { moments[i] += Double(product[i]) } }
            }
            let room = min(Self.keptPerBlock, Self.keptLimit - kept.count / columns, rows.count / columns)
            if room > 0 { kept += rows.prefix(room * columns) }
        }

        /// By subspace iteration from a seeded start and a Rayleigh-Ritz step (Golub and Van Loan, 8.2): 24 products with the covariance
        /// find the leading directions of thousands of columns in a second where a full decomposition takes minutes.
        ///
        /// - Throws: `features.no-variance` when the samples do not differ.
        package func fit(components wanted: Int) throws(AMAFError) -> PrincipalComponents {
            let d = columns
            let k = min(wanted, d, max(1, count - 1))
            guard count >= 2 else { throw Self.noVariance }
            let mean = sums.map { $0 / Double(count) }
            var covariance = [Float](repeating: 0, count: d * d)
            var trace = 0.0
            for i in 0..<d {
                for j in 0..<d { covariance[i * d + j] = Float(moments[i * d + j] / Double(count) - mean[i] * mean[j]) }
                trace += Double(covariance[i * d + i])
            }
            guard trace > 1e-9 * Double(d) else { throw Self.noVariance }
            let width = min(d, k + 12)
            var random = SeededGenerator(seed: 1, stream: "principal-components")
            // Rows are the basis: (width, d).
            var basis = (0..<width * d).map { _ in Float(Int(random.next() >> 40)) / Float(1 << 23) - 1 }
            Self.orthonormalise(&basis, rows: width, columns: d)
            let products = DenseProducts(on: device)
            for _ in 0..<24 {
                basis = products.rowsByRows(basis, covariance, inner: d)
                Self.orthonormalise(&basis, rows: width, columns: d)
            }
            let image = products.rowsByRows(basis, covariance, inner: d)
            let small = products.rowsByRows(image, basis, inner: d)
            var symmetric = [Double](repeating: 0, count: width * width)
            for i in 0..<width {
                for j in 0..<width { symmetric[i * width + j] = Double(small[i * width + j] + small[j * width + i]) / 2 }
            }
            let (values, vectors) = SymmetricEigen.decompose(symmetric, width)
            var directions = products.rowsByColumns(vectors.prefix(k).flatMap { $0.map(Float.init) }, basis, inner: width)
            for row in 0..<k {
                let range = row * d..<(row + 1) * d
                let largest = directions[range].max { abs($0) < abs($1) } ?? 0
                if largest < 0 { for j in range { directions[j] = -directions[j] } }
            }
            let found = PrincipalComponents(
                mean: mean.map(Float.init), variances: values.prefix(k).map { Float(max($0, 0)) }, directions: directions,
                medianSquaredDistance: 1)
            return PrincipalComponents(
                mean: found.mean, variances: found.variances, directions: found.directions, medianSquaredDistance: median(found))
        }

        /// Between the even and the odd ones of the kept samples.
        private func median(_ projection: PrincipalComponents) -> Float {
            let k = projection.components
            let points = projection.project(kept, on: device)
            var halves: [[Float]] = [[], []]
            for row in 0..<points.count / k { halves[row & 1] += points[row * k..<(row + 1) * k] }
            guard !halves[1].isEmpty else { return 1 }
            let distances = DenseProducts(on: device).squaredDistances(halves[0], halves[1], columns: k).sorted()
            return max(distances[distances.count / 2], .leastNormalMagnitude)
        }

        private static var noVariance: AMAFError {
            AMAFError(
                "features.no-variance", "The samples' features do not differ",
                remedy: "Check that the images are not all the same or empty.")
        }

        /// Modified Gram-Schmidt, twice, in Float64.
        private static func orthonormalise(_ basis: inout [Float], rows: Int, columns: Int) {
            var wide = basis.map(Double.init)
            wide.withUnsafeMutableBufferPointer { wide in
                for i in 0..<rows {
                    let row = wide.baseAddress.unsafelyUnwrapped + i * columns
                    for _ in 0..<2 {
                        for j in 0..<i {
                            let other = wide.baseAddress.unsafelyUnwrapped + j * columns
                            let along = sum(row, other, columns)
                            for c in 0..<columns { row[c] -= along * other[c] }
                        }
                    }
                    let norm = sum(row, row, columns).squareRoot()
                    let scale = norm > 0 ? 1 / norm : 0
                    for c in 0..<columns { row[c] *= scale }
                }
            }
            basis = wide.map { Float($0) }
        }

        private static func sum(_ a: UnsafePointer<Double>, _ b: UnsafePointer<Double>, _ n: Int) -> Double {
            var (even, odd) = (0.0, 0.0)
            var k = 0
            while k + 2 <= n {
                even += a[k] * b[k]
                odd += a[k + 1] * b[k + 1]
                k += 2
            }
            if k < n { even += a[k] * b[k] }
            return even + odd
        }
    }
}
