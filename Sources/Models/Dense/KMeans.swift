package import Kernels
internal import Primitives

/// Lloyd's k-means from k-means++ starts; the same seed gives the same clusters.
package enum KMeans {
    /// For each cluster, largest first, the row nearest to its centre. Rows are distinct; fewer than `k` when clusters run empty.
    ///
    /// - Parameters:
    ///   - x: (rows, columns)
    ///   - rounds: of assignment and mean; it stops earlier when nothing moves.
    package static func typicalRows(
        _ x: [Float], columns: Int, k: Int, seed: UInt64, rounds: Int = 25, on device: any ComputeDevice
    ) -> [Int] {
        let n = x.count / columns
        precondition(x.count == n * columns && k > 0, "\(x.count) values in rows of \(columns), \(k) clusters")
        guard n > 0 else { return [] }
        let products = DenseProducts(on: device)
        var centres = plusPlus(x, columns, min(k, n), seed, products)
        var assignment = [Int](repeating: -1, count: n)
        var nearest = [Float](repeating: .infinity, count: n)
        for _ in 0..<rounds {
            let isSame = assign(x, columns, centres, products, &assignment, &nearest)
            if isSame { break }
            centres = means(x, columns, assignment, centres)
        }
        _ = assign(x, columns, centres, products, &assignment, &nearest)
        let count = centres.count / columns
        var sizes = [Int](repeating: 0, count: count)
        var best = [Int](repeating: -1, count: count)
        for row in 0..<n {
            let cluster = assignment[row]
            sizes[cluster] += 1
            if best[cluster] < 0 || nearest[row] < nearest[best[cluster]] { best[cluster] = row }
        }
        return (0..<count).filter { sizes[$0] > 0 }.sorted { (sizes[$0], $1) > (sizes[$1], $0) }.map { best[$0] }
    }

    private static func assign(
        _ x: [Float], _ columns: Int, _ centres: [Float], _ products: DenseProducts, _ assignment: inout [Int], _ nearest: inout [Float]
    ) -> Bool {
        let (n, k) = (x.count / columns, centres.count / columns)
        var isSame = true
        for start in stride(from: 0, to: n, by: 4096) {
            let rows = start..<min(n, start + 4096)
            let distances = products.squaredDistances(
                Array(x[rows.lowerBound * columns..<rows.upperBound * columns]), centres, columns: columns)
            for (i, row) in rows.enumerated() {
                var (cluster, least) = (0, Float.infinity)
                for j in 0..<k where distances[i * k + j] < least { (cluster, least) = (j, distances[i * k + j]) }
                isSame = isSame && assignment[row] == cluster
                assignment[row] = cluster
                nearest[row] = least
            }
        }
        return isSame
    }

    /// An empty cluster keeps its centre.
    private static func means(_ x: [Float], _ columns: Int, _ assignment: [Int], _ centres: [Float]) -> [Float] {
        let k = centres.count / columns
        var sums = [Double](repeating: 0, count: centres.count)
        var counts = [Int](repeating: 0, count: k)
        for (row, cluster) in assignment.enumerated() {
            counts[cluster] += 1
            for c in 0..<columns { sums[cluster * columns + c] += Double(x[row * columns + c]) }
        }
        return centres.indices.map { i in
            counts[i / columns] == 0 ? centres[i] : Float(sums[i] / Double(counts[i / columns]))
        }
    }

    /// Each next centre is drawn with probability proportional to its squared distance from those before (Arthur and Vassilvitskii 2007).
    private static func plusPlus(_ x: [Float], _ columns: Int, _ k: Int, _ seed: UInt64, _ products: DenseProducts) -> [Float] {
        let n = x.count / columns
        var random = SeededGenerator(seed: seed, stream: "k-means")
        var row = random.index(below: n)
        var centres = Array(x[row * columns..<(row + 1) * columns])
        var nearest = [Float](repeating: .infinity, count: n)
        for _ in 1..<max(k, 1) {
            let distances = products.squaredDistances(x, Array(centres.suffix(columns)), columns: columns)
            var total = 0.0
            for i in 0..<n {
                nearest[i] = min(nearest[i], distances[i])
                total += Double(nearest[i])
            }
            // All rows are centres already: further ones would be copies.
            guard total > 0 else { break }
            var target = Double(random.next() >> 11) / Double(1 << 53) * total
            row = n - 1
            for i in 0..<n {
                target -= Double(nearest[i])
                if target < 0 {
                    row = i
                    break
                }
            }
            centres += x[row * columns..<(row + 1) * columns]
        }
        return centres
    }
}
