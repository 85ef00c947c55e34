import Datasets
import Foundation
import Kernels
import Models
import Primitives
import Testing

@Suite struct DenseTests {
    private let device = CPUDevice(lanes: 1)

    private func normal(_ random: inout SeededGenerator) -> Float {
        (0..<12).reduce(Float(-6)) { sum, _ in sum + Float(random.next() >> 40) / Float(1 << 24) }
    }

    /// Data that vary along two known directions: they are found, in order, and the rest is noise.
    @Test func componentsAreRecovered() throws {
        var random = SeededGenerator(seed: 5, stream: "pca")
        let d = 30
        var a = [Float](repeating: 0, count: d)
        var b = a
        for j in 0..<d {
            a[j] = j < 15 ? 1 / Float(15).squareRoot() : 0
            b[j] = j < 15 ? 0 : (j % 2 == 0 ? 1 : -1) / Float(15).squareRoot()
        }
        var fitter = PrincipalComponents.Fitter(columns: d, on: device)
        var rows: [Float] = []
        for _ in 0..<500 {
            let (u, v) = (3 * normal(&random), 1.5 * normal(&random))
            for j in 0..<d { rows.append(2 + u * a[j] + v * b[j] + 0.1 * normal(&random)) }
        }
        fitter.add(Array(rows[..<(200 * d)]))
        fitter.add(Array(rows[(200 * d)...]))
        let pca = try fitter.fit(components: 3)
        let first = (0..<d).reduce(Float(0)) { $0 + pca.directions[$1] * a[$1] }
        let second = (0..<d).reduce(Float(0)) { $0 + pca.directions[d + $1] * b[$1] }
        #expect(abs(first) > 0.999 && abs(second) > 0.999)
        #expect(abs(pca.variances[0] - 9) < 1.5 && abs(pca.variances[1] - 2.25) < 0.4 && pca.variances[2] < 0.05)
        #expect(pca.mean.allSatisfy { abs($0 - 2) < 0.6 })
        #expect(try PrincipalComponents(decoding: pca.encode()) == pca)
        // E ‖x − y‖² = 2 Σ variance; its median lies below.
        #expect(pca.medianSquaredDistance > 4 && pca.medianSquaredDistance < 24)
        #expect(throws: AMAFError.self) {
            var flat = PrincipalComponents.Fitter(columns: 4, on: device)
            flat.add([Float](repeating: 1, count: 40))
            _ = try flat.fit(components: 2)
        }
    }

    /// Two rings, which no line divides.
    private func rings(_ count: Int, seed: UInt64) -> (x: [Float], targets: [Float], labels: [Int]) {
        var random = SeededGenerator(seed: seed, stream: "rings")
        var (x, targets, labels): ([Float], [Float], [Int]) = ([], [], [])
        for i in 0..<count {
            let radius: Float = i % 2 == 0 ? 1 : 2.2
            let angle = Float(random.index(below: 10_000)) / 10_000 * 2 * Float.pi
            x += [radius * cosf(angle) + 0.15 * normal(&random), radius * sinf(angle) + 0.15 * normal(&random)]
            targets += i % 2 == 0 ? [1, 0] : [0, 1]
            labels.append(i % 2)
        }
        return (x, targets, labels)
    }

    private func accuracy(_ model: KernelClassifier, _ data: (x: [Float], targets: [Float], labels: [Int])) -> Double {
        let p = model.probabilities(data.x, on: device)
        return Double(data.labels.indices.count { (p[2 * $0 + 1] > 0.5 ? 1 : 0) == data.labels[$0] }) / Double(data.labels.count)
    }

    @Test(arguments: [1024, 60]) func ringsAreTold(landmarks: Int) throws {
        let (train, test) = (rings(200, seed: 1), rings(400, seed: 2))
        let model = try KernelClassifier.fit(
            train.x, targets: train.targets, classes: 2, unit: 4, .init(width: 4, ridge: 0.1, landmarks: landmarks), on: device)
        #expect(accuracy(model, test) > 0.97)
        let again = try KernelClassifier(decoding: model.encode())
        #expect(again == model && again.probabilities(test.x, on: device) == model.probabilities(test.x, on: device))
        // Leave-one-out sharpness: the mean confidence is near the accuracy, on samples never seen.
        let p = model.probabilities(test.x, on: device)
        let confidence = test.labels.indices.reduce(0.0) { $0 + Double(max(p[2 * $1], p[2 * $1 + 1])) } / Double(test.labels.count)
        #expect(abs(confidence - accuracy(model, test)) < 0.05)
    }

    /// Against the plain formula: scores with each sample left out, by fitting without it.
    @Test func exactFitSolvesItsEquations() throws {
        let train = rings(40, seed: 3)
        let model = try KernelClassifier.fit(train.x, targets: train.targets, classes: 2, unit: 1, .init(width: 1, ridge: 0.5), on: device)
        let f = model.scores(train.x, on: device)
        // λ α = y − f at the examples.
        let zero = try KernelClassifier.fit(train.x, targets: train.targets, classes: 2, unit: 1, .init(width: 1, ridge: 1e6), on: device)
        let flat = zero.scores(train.x, on: device)
        for i in 0..<40 {
            #expect(abs(f[2 * i] + f[2 * i + 1]) < 1e-4, "binary scores mirror each other")
            #expect(abs(flat[2 * i]) < 1e-3, "an endless ridge leaves the prior, here even")
            #expect((f[2 * i] > f[2 * i + 1]) == (train.labels[i] == 0))
        }
    }

    /// An example of weight 2 is two examples; one of next to no weight is none; and weights are measured by the ridge.
    @Test func weightsCount() throws {
        let train = rings(24, seed: 5)
        func fit(_ rows: [Int], weights: [Float]? = nil, ridge: Double = 0.4, landmarks: Int = 1024) throws -> [Float] {
            try KernelClassifier.fit(
                rows.flatMap { train.x[2 * $0..<2 * $0 + 2] }, targets: rows.flatMap { train.targets[2 * $0..<2 * $0 + 2] },
                weights: weights, classes: 2, unit: 1, .init(width: 2, ridge: ridge, landmarks: landmarks), on: device
            ).scores(train.x, on: device)
        }
        func expectNear(_ a: [Float], _ b: [Float], _ tolerance: Float, sourceLocation: SourceLocation = #_sourceLocation) {
            #expect(zip(a, b).allSatisfy { abs($0 - $1) < tolerance }, "\(a) \(b)", sourceLocation: sourceLocation)
        }
        let all = Array(0..<24)
        let weights = all.map { $0 % 3 == 0 ? Float(2) : 1 }
        expectNear(try fit(all, weights: weights), try fit(all.flatMap { [Int](repeating: $0, count: Int(weights[$0])) }), 1e-3)
        for landmarks in [1024, 12] {
            expectNear(
                try fit(all, weights: all.map { _ in 2 }, ridge: 0.8, landmarks: landmarks), try fit(all, landmarks: landmarks), 1e-2)
        }
        // Every second example is a landmark of twelve.
        let even = all.filter { $0 % 2 == 0 }
        expectNear(try fit(all, weights: all.map { $0 % 2 == 0 ? 1 : 1e-6 }, landmarks: 12), try fit(even), 2e-2)

        let settings = KernelClassifier.Configuration(width: 2, ridge: 0.4)
        let weighted = try KernelClassifier.fit(
            train.x, targets: train.targets, weights: weights, classes: 2, unit: 1, settings, on: device)
        let plain = try KernelClassifier.fit(train.x, targets: train.targets, classes: 2, unit: 1, settings, on: device)
        let ones = try KernelClassifier.fit(
            train.x, targets: train.targets, weights: [Float](repeating: 1, count: 24), judged: 24, classes: 2, unit: 1, settings,
            on: device)
        #expect(plain == ones && plain != weighted)
        // Confidence is learned from the first examples alone; the function is the same.
        let judged = try KernelClassifier.fit(
            train.x, targets: train.targets, judged: 8, classes: 2, unit: 1, settings, on: device)
        #expect(judged.scores(train.x, on: device) == plain.scores(train.x, on: device) && judged.sharpness != plain.sharpness)
    }

    @Test func kMeansFindsIslands() {
        var random = SeededGenerator(seed: 9, stream: "islands")
        var x: [Float] = []
        for i in 0..<300 { x += [Float(i % 3) * 10 + normal(&random), normal(&random)] }
        let rows = KMeans.typicalRows(x, columns: 2, k: 3, seed: 4, on: device)
        #expect(Set(rows.map { $0 % 3 }) == [0, 1, 2])
        #expect(rows == KMeans.typicalRows(x, columns: 2, k: 3, seed: 4, on: device))
        // Of each island the point nearest to the island's mean, by the plain formula.
        for row in rows {
            let island = Array(stride(from: row % 3, to: 300, by: 3))
            let mean = (0..<2).map { c in island.reduce(Float(0)) { $0 + x[2 * $1 + c] } / Float(island.count) }
            func distance(_ i: Int) -> Float {
                (x[2 * i] - mean[0]) * (x[2 * i] - mean[0]) + (x[2 * i + 1] - mean[1]) * (x[2 * i + 1] - mean[1])
            }
            #expect(island.allSatisfy { distance($0) >= distance(row) - 1e-3 }, "\(mean) \(x[2 * row]) \(x[2 * row + 1])")
        }
        #expect(KMeans.typicalRows([1, 1, 1], columns: 1, k: 3, seed: 1, on: device).count == 1)
        #expect(KMeans.typicalRows([1, 2], columns: 1, k: 9, seed: 1, on: device).sorted() == [0, 1])
    }

    /// An edge that runs upright has its gradient along x: the first orientation's two neighbours share it.
    @Test func gradientsOfAnEdge() throws {
        let features = try PlainImageFeatures(parts: [.gradients], side: 8, cell: 4)
        let upright = features(GreyImage(width: 8, height: 8, pixels: (0..<64).map { $0 % 8 < 4 ? 0 : 255 }))
        #expect(upright.count == 36 && features.columns == 36)
        let (first, last) = (upright[0], upright[8])
        #expect(first == last && first > 0.3 && upright[1...7].allSatisfy { $0 == 0 })
        let lying = features(GreyImage(width: 8, height: 8, pixels: (0..<64).map { $0 < 32 ? 0 : 255 }))
        #expect(lying[4] > 0.3 && lying[0] == 0)
        #expect(features(GreyImage(width: 8, height: 8, pixels: [UInt8](repeating: 7, count: 64))).allSatisfy { $0 == 0 })
        #expect(throws: AMAFError.self) { _ = try PlainImageFeatures(side: 28, cell: 5) }
        #expect(try PlainImageFeatures().columns == 36 * 36 + 784)
    }

    @Test func blocksAreKept() throws {
        let block = DenseFeatureBlock(firstPosition: 512, columns: 2, values: [1, 2, 3, 4])
        #expect(try DenseFeatureBlock(decoding: block.encode()) == block)
        #expect(throws: AMAFError.self) { try DenseFeatureBlock(decoding: Array(block.encode().dropLast())) }
    }
}
