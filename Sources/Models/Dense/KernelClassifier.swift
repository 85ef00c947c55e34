package import Kernels
package import Primitives
import Foundation

/// Kernel ridge regression on class targets with calibrated probabilities: what a support vector machine with a radial basis reaches,
/// with one solution in closed form, the same on every machine of a numerics class.
///
/// f_c(x) = b_c + Σᵢ αᵢ_c exp(−γ ‖x − zᵢ‖²), (K + λ I) α = y − b, y = 2 p − 1 (Saunders, Gammerman and Vovk 1998; Suykens and Vandewalle
/// 1999); p(c | x) = softmax(t f(x)), t by maximum likelihood on leave-one-out scores, so that no sample judges itself.
package struct KernelClassifier: Hashable, Sendable {
    package struct Configuration: Hashable, Sendable, Codable {
        /// γ in units of 1 / median squared distance.
        package var width: Float
        /// λ.
        package var ridge: Double
        /// With more examples than this, so many of them are the z, spread evenly over the examples (subset of regressors).
        package var landmarks: Int

        package init(width: Float = 1, ridge: Double = 0.3, landmarks: Int = 1024) {
            self.width = width
            self.ridge = ridge
            self.landmarks = landmarks
        }
    }

    package let classes: Int
    package let columns: Int
    let gamma: Float
    /// t; with it scores become logits.
    package let sharpness: Float
    let bias: [Float]
    /// (n, columns)
    let points: [Float]
    /// (n, classes)
    let weights: [Float]

    /// - Returns: (rows, classes) probabilities of x (rows, columns).
    package func probabilities(_ x: [Float], on device: any ComputeDevice) -> [Float] {
        var scores = self.scores(x, on: device)
        for start in stride(from: 0, to: scores.count, by: classes) { Self.softmax(&scores, start, classes, sharpness) }
        return scores
    }

    /// f, before the softmax.
    package func scores(_ x: [Float], on device: any ComputeDevice) -> [Float] {
        precondition(x.count.isMultiple(of: columns), "\(x.count) values in rows of \(columns)")
        let products = DenseProducts(on: device)
        var kernel = products.squaredDistances(x, points, columns: columns)
        for i in kernel.indices { kernel[i] = expf(-gamma * kernel[i]) }
        var scores = products.rowsByColumns(kernel, weights, inner: points.count / columns)
        for i in scores.indices { scores[i] += bias[i % classes] }
        return scores
    }

    private static func softmax(_ values: inout [Float], _ start: Int, _ classes: Int, _ sharpness: Float) {
        let range = start..<start + classes
        let largest = values[range].max() ?? 0
        var sum: Float = 0
        for i in range {
            values[i] = expf(sharpness * (values[i] - largest))
            sum += values[i]
        }
        for i in range { values[i] /= sum }
    }

    /// - Parameters:
    ///   - x: (n, columns)
    ///   - targets: (n, classes) probabilities of the classes, ones and zeros for answers of people.
    ///   - weights: (n) what each example counts in the loss Σ wᵢ (yᵢ − fᵢ)² + λ |f|²; all of them 1 by default.
    ///   - judged: so many of the first examples set t; all by default. Synthetic examples come after them: they were made to be likely.
    ///   - unit: `PrincipalComponents.medianSquaredDistance`.
    package static func fit(
        _ x: [Float], targets: [Float], weights: [Float]? = nil, judged: Int? = nil, classes: Int, unit: Float,
        _ configuration: Configuration, on device: any ComputeDevice
    ) throws(AMAFError) -> KernelClassifier {
        let n = targets.count / classes
        let w = weights?.map(Double.init) ?? [Double](repeating: 1, count: n)
        precondition(w.count == n && w.allSatisfy { $0 > 0 }, "\(w.count) weights for \(n) examples")
        let total = w.reduce(0, +)
        precondition(n > 0 && targets.count == n * classes && x.count.isMultiple(of: n), "\(x.count) values, \(targets.count) targets")
        let columns = x.count / n
        let gamma = configuration.width / unit
        let y = targets.map { 2 * Double($0) - 1 }
        let bias = (0..<classes).map { c in (0..<n).reduce(0.0) { $0 + w[$1] * y[$1 * classes + c] } / total }
        let problem = Problem(
            x: x, y: y, w: w, bias: bias, n: n, judged: min(n, judged ?? n), classes: classes, columns: columns, gamma: gamma,
            ridge: configuration.ridge)
        let (points, coefficients, left) =
            n <= configuration.landmarks
            ? try problem.exact(on: device) : try problem.reduced(to: configuration.landmarks, on: device)
        return KernelClassifier(
            classes: classes, columns: columns, gamma: gamma, sharpness: Float(problem.sharpness(left)), bias: bias.map(Float.init),
            points: points, weights: coefficients.map(Float.init))
    }

    // MARK: Coding

    private static let magic: UInt32 = 0x3143_4B41  // "AKC1"

    /// Little-endian: magic, classes, columns, points, γ, t; bias, points, weights.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 24 + 4 * (bias.count + points.count + weights.count))
        writer.write(Self.magic)
        for number in [classes, columns, points.count / columns] { writer.write(UInt32(number)) }
        writer.write(gamma)
        writer.write(sharpness)
        for part in [bias, points, weights] { writer.write(array: part) }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "kernel classifier") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let (classes, columns) = (Int(try reader.read(UInt32.self)), Int(try reader.read(UInt32.self)))
            let count = Int(try reader.read(UInt32.self))
            let (gamma, sharpness) = (try reader.readFloat(), try reader.readFloat())
            guard magic == Self.magic, (2...Int(UInt16.max)).contains(classes), columns > 0, count > 0, gamma > 0, sharpness > 0,
                reader.remaining == 4 * (classes + count * columns + count * classes)
            else { throw AMAFError.damaged("kernel classifier") }
            return KernelClassifier(
                classes: classes, columns: columns, gamma: gamma, sharpness: sharpness, bias: try reader.readArray(count: classes),
                points: try reader.readArray(count: count * columns), weights: try reader.readArray(count: count * classes))
        }
    }

    private init(classes: Int, columns: Int, gamma: Float, sharpness: Float, bias: [Float], points: [Float], weights: [Float]) {
        self.classes = classes
        self.columns = columns
        self.gamma = gamma
        self.sharpness = sharpness
        self.bias = bias
        self.points = points
        self.weights = weights
    }
}

/// The equations of one fit. Scores that leave their own sample out come from the same factor (Allen 1974): with H the matrix that makes
/// f of y, f₍₋ᵢ₎ᵢ = (fᵢ − Hᵢᵢ yᵢ) / (1 − Hᵢᵢ).
private struct Problem {
    let x: [Float]
    let y: [Double]
    let w: [Double]
    let bias: [Double]
    let n: Int
    /// So many of the first rows are scored without themselves.
    let judged: Int
    let classes: Int
    let columns: Int
    let gamma: Float
    let ridge: Double

    typealias Solution = (points: [Float], weights: [Double], leftOut: [(row: Int, scores: [Double])])

    private static let notDefinite = AMAFError(
        "classifier.ill-conditioned", "The kernel matrix has no Cholesky factor", remedy: "Raise 'classifier.ridge'.")
    /// Rows whose left-out scores set the sharpness, with landmarks.
    private static let judgedLimit = 1000

    private func kernel(_ a: [Float], _ b: [Float], on device: any ComputeDevice) -> [Float] {
        var values = DenseProducts(on: device).squaredDistances(a, b, columns: columns)
        for i in values.indices { values[i] = expf(-gamma * values[i]) }
        return values
    }

    /// y − b of one class.
    private func centred(_ c: Int) -> [Double] { (0..<n).map { y[$0 * classes + c] - bias[c] } }

    func exact(on device: any ComputeDevice) throws(AMAFError) -> Solution {
        var k = kernel(x, x, on: device).map(Double.init)
        for i in 0..<n { k[i * n + i] = 1 + ridge / w[i] }
        guard let factor = SymmetricSolver.cholesky(k, n) else { throw Self.notDefinite }
        let diagonal = SymmetricSolver.inverseDiagonal(factor, n)
        var weights = [Double](repeating: 0, count: n * classes)
        var left = (0..<n).map { (row: $0, scores: [Double](repeating: 0, count: classes)) }
        for c in 0..<classes {
            let alpha = SymmetricSolver.solve(factor, n, centred(c))
            for i in 0..<n {
                weights[i * classes + c] = alpha[i]
                // yᵢ − f₍₋ᵢ₎ᵢ = αᵢ / (K + λ)⁻¹ᵢᵢ
                left[i].scores[c] = y[i * classes + c] - alpha[i] / diagonal[i]
            }
        }
        return (x, weights, Array(left.prefix(judged)))
    }

    func reduced(to m: Int, on device: any ComputeDevice) throws(AMAFError) -> Solution {
        var points: [Float] = []
        points.reserveCapacity(m * columns)
        for i in 0..<m {
            let row = i * n / m
            points += x[row * columns..<(row + 1) * columns]
        }
        // (Φᵀ W Φ + λ K) α = Φᵀ W (y − b), Φ (n, m), summed over chunks in order.
        var normal = kernel(points, points, on: device).map { ridge * Double($0) }
        for i in 0..<m { normal[i * m + i] += 1e-6 * Double(n) }
        var right = [[Double]](repeating: [Double](repeating: 0, count: m), count: classes)
        let products = DenseProducts(on: device)
        for start in stride(from: 0, to: n, by: 1024) {
            let rows = start..<min(n, start + 1024)
            var phi = kernel(Array(x[rows.lowerBound * columns..<rows.upperBound * columns]), points, on: device)
            let roots = rows.map { Float(w[$0].squareRoot()) }
            if roots.contains(where: { $0 != 1 }) {
                for i in roots.indices { for j in 0..<m { phi[i * m + j] *= roots[i] } }
            }
            let gram = products.gram(phi, columns: m)
            for i in normal.indices { normal[i] += Double(gram[i]) }
            for (i, row) in rows.enumerated() {
                for c in 0..<classes {
                    // Φ is √W Φ by now.
                    let target = (y[row * classes + c] - bias[c]) * Double(roots[i])
                    for j in 0..<m { right[c][j] += Double(phi[i * m + j]) * target }
                }
            }
        }
        guard let factor = SymmetricSolver.cholesky(normal, m) else { throw Self.notDefinite }
        var weights = [Double](repeating: 0, count: m * classes)
        for c in 0..<classes {
            let alpha = SymmetricSolver.solve(factor, m, right[c])
            for j in 0..<m { weights[j * classes + c] = alpha[j] }
        }
        return (points, weights, leftOut(points, weights, factor, m, on: device))
    }

    private func leftOut(
        _ points: [Float], _ weights: [Double], _ factor: [Double], _ m: Int, on device: any ComputeDevice
    ) -> [(row: Int, scores: [Double])] {
        let count = min(judged, Self.judgedLimit)
        let rows = (0..<count).map { $0 * judged / count }
        let phi = kernel(rows.flatMap { x[$0 * columns..<($0 + 1) * columns] }, points, on: device).map(Double.init)
        return rows.enumerated().map { i, row in
            let features = Array(phi[i * m..<(i + 1) * m])
            let half = SymmetricSolver.forward(factor, m, features)
            let leverage = min(w[row] * half.reduce(0) { $0 + $1 * $1 }, 0.999)
            let scores = (0..<classes).map { c in
                let f = (0..<m).reduce(0.0) { $0 + features[$1] * weights[$1 * classes + c] }
                return bias[c] + (f - leverage * (y[row * classes + c] - bias[c])) / (1 - leverage)
            }
            return (row, scores)
        }
    }

    /// The t of least cross entropy. The loss is convex in t: golden sections of ln t, a fixed number of them.
    func sharpness(_ left: [(row: Int, scores: [Double])]) -> Double {
        func loss(_ logT: Double) -> Double {
            let t = exp(logT)
            return left.reduce(0.0) { sum, item in
                let logits = item.scores.map { $0 * t }
                let largest = logits.max() ?? 0
                let normaliser = largest + log(logits.reduce(0) { $0 + exp($1 - largest) })
                return sum
                    + logits.enumerated().reduce(0.0) { $0 + (y[item.row * classes + $1.offset] + 1) / 2 * (normaliser - $1.element) }
            }
        }
        var (low, high) = (log(0.25), log(64.0))
        let ratio = (5.0.squareRoot() - 1) / 2
        var (a, b) = (high - ratio * (high - low), low + ratio * (high - low))
        var (lossA, lossB) = (loss(a), loss(b))
        for _ in 0..<24 {
            if lossA <= lossB {
                (high, b, lossB) = (b, a, lossA)
                a = high - ratio * (high - low)
                lossA = loss(a)
            } else {
                (low, a, lossA) = (a, b, lossB)
                b = low + ratio * (high - low)
                lossB = loss(b)
            }
        }
        return exp((low + high) / 2)
    }
}
