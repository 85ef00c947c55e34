import Kernels
import Primitives
import Testing

/// The sparse kernels beside slow twins written from their doc comments.
@Suite struct SparseTests {
    // MARK: n-grams

    /// Words of a text as the hasher's doc comment has them.
    static func words(_ text: String) -> [[Unicode.Scalar]] {
        let isASCII = text.unicodeScalars.allSatisfy { $0.value < 0x80 }
        let scalars = Array((isASCII ? text : text.lowercased()).unicodeScalars)
        func isWord(_ s: Unicode.Scalar) -> Bool {
            switch s.value {
            case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
            case ..<0x80: false
            case 0xAA, 0xB5, 0xBA: true
            case 0x80...0xBF, 0xD7, 0xF7, 0x2000...0x206F, 0x3000...0x303F, 0xFF00...0xFF0F: false
            default: true
            }
        }
        var (all, word): ([[Unicode.Scalar]], [Unicode.Scalar]) = ([], [])
        for (i, s) in scalars.enumerated() {
            if isWord(s) {
                word.append(s.isASCII ? Unicode.Scalar(UInt8(ascii: s) | ((0x41...0x5A).contains(s.value) ? 0x20 : 0)) : s)
            } else if s == "'" || s == "\u{2019}", !word.isEmpty, i + 1 < scalars.count, isWord(scalars[i + 1]) {
                word.append("'")
            } else if !word.isEmpty {
                all.append(word)
                word = []
            }
        }
        return word.isEmpty ? all : all + [word]
    }

    /// (bucket, count) of words, then of characters, in the order of first occurrence.
    static func naive(_ text: String, bits: Int, words wordMaximum: Int, characters: ClosedRange<Int>?, seed: UInt64) -> [[(UInt32, Int)]] {
        func bucket(_ scalars: [Unicode.Scalar], _ family: UInt8) -> UInt32 {
            var hash = NGramHasher.basis(seed: seed, family: family)
            for byte in String(String.UnicodeScalarView(scalars)).utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            return UInt32(((hash ^ (hash >> 32)) &* 0x9E37_79B9_7F4A_7C15) >> UInt64(64 - bits))
        }
        func tally(_ buckets: [UInt32]) -> [(UInt32, Int)] {
            var order: [UInt32] = []
            var counts: [UInt32: Int] = [:]
            for b in buckets {
                if counts[b] == nil { order.append(b) }
                counts[b, default: 0] += 1
            }
            return order.map { ($0, min(counts[$0]!, 255)) }
        }
        let all = words(text)
        var byWord: [UInt32] = []
        for i in all.indices {
            for n in stride(from: 1, through: wordMaximum, by: 1) where i + n <= all.count {
                byWord.append(bucket(Array(all[i..<i + n].joined(separator: [" "])), UInt8(ascii: "w")))
            }
        }
        var byCharacter: [UInt32] = []
        if let characters {
            for word in all {
                let padded = [" "] + word + [" "]
                for i in padded.indices {
                    for n in characters where i + n <= padded.count {
                        byCharacter.append(bucket(Array(padded[i..<i + n]), UInt8(ascii: "c")))
                    }
                }
            }
        }
        return [tally(byWord), tally(byCharacter)]
    }

    @Test(arguments: [
        "", " ", "?!", "a", "Hi", "what's my PIN, please?", "it's 'quoted' o' clock''s", "one two one two one", "über Straße ÄÖÜ çédille",
        "日本語のテキスト、です。 abc", "don\u{2019}t \u{2019}x", "5\u{00D7}4 µm x\u{00A0}y \u{2014}z", "🙂 emoji🙂s", "ÉTÉ O'NEIL",
        String(repeating: "aaa ", count: 300), String(repeating: "x", count: 1000), "tab\tand\nline", "a-b_c/d",
    ]) func ngramsMatchTheNaiveTwin(_ text: String) {
        for (bits, wordMaximum, characters) in [(16, 2, 2...5), (8, 1, nil), (20, 0, 3...3), (12, 3, 1...2)]
            as [(Int, Int, ClosedRange<Int>?)]
        {
            var hasher = NGramHasher(bucketBits: bits, words: wordMaximum, characters: characters, seed: 7)
            // Twice, with another text in between: the tables must come back clean.
            for _ in 0..<2 {
                var (buckets, counts): ([UInt32], [UInt8]) = ([], [])
                let split = hasher.append(text, buckets: &buckets, counts: &counts)
                let expected = Self.naive(text, bits: bits, words: wordMaximum, characters: characters, seed: 7)
                #expect(split == expected[0].count)
                #expect(buckets == (expected[0] + expected[1]).map(\.0))
                #expect(counts.map { Int($0) } == (expected[0] + expected[1]).map(\.1))
                _ = hasher.append("another text 42", buckets: &buckets, counts: &counts)
            }
        }
    }

    // MARK: scores

    static func matrix(rows: Int, columns: Int, entries: Int, _ generator: inout SeededGenerator) -> SparseMatrix {
        var x = SparseMatrix(columns: columns)
        for row in 0..<rows {
            // Lengths 0, 1, 2 … so that every remainder of the unrolled loops occurs.
            for _ in 0..<(row % (entries + 1)) {
                x.appendEntry(column: Int32(generator.index(below: columns)), value: Float(generator.uniform()) - 0.3)
            }
            x.endRow()
        }
        return x
    }

    @Test(arguments: [1, 2, 3, 15, 16, 17, 150]) func scoresAndSummariesMatchTheNaiveTwin(classes: Int) {
        var generator = SeededGenerator(seed: UInt64(classes))
        let (columns, rows) = (40, 30)
        let pitch = SparseKernels.pitch(classes: classes)
        let x = Self.matrix(rows: rows, columns: columns, entries: 11, &generator)
        // Every third column has no weights.
        var (rowOf, weightRows): ([Int32], Int) = ([], 0)
        for column in 0..<columns {
            rowOf.append(column % 3 == 0 ? -1 : Int32(weightRows))
            if column % 3 != 0 { weightRows += 1 }
        }
        var numbers = [Int16](repeating: 0, count: weightRows * pitch)
        var bias = [Float](repeating: 0, count: pitch)
        for k in 0..<classes {
            bias[k] = Float(generator.uniform())
            for row in 0..<weightRows { numbers[row * pitch + k] = Int16(generator.index(below: 65535) - 32767) }
        }
        let weights = SparseKernels.FixedPointRows(rowOfColumn: rowOf, numbers: numbers, scale: 1e-4, bias: bias)
        let range = 5..<rows
        var z = [Float](repeating: .nan, count: range.count * pitch)
        SparseKernels.scores(x, rows: range, weights: weights, into: &z)
        let summaries = SparseKernels.summaries(z, rows: range.count, classes: classes)
        var probabilities = z
        SparseKernels.softmax(&probabilities, rows: range.count, classes: classes)
        for (i, row) in range.enumerated() {
            var expected = (0..<classes).map { Double(bias[$0]) }
            for entry in x.entries(ofRow: row) {
                let weightRow = Int(rowOf[Int(x.columnIndices[entry])])
                guard weightRow >= 0 else { continue }
                let value = Double(x.values[entry]) * 1e-4
                for k in 0..<classes { expected[k] += value * Double(numbers[weightRow * pitch + k]) }
            }
            for k in 0..<classes { #expect(abs(Double(z[i * pitch + k]) - expected[k]) < 1e-4) }
            // The twin of softmax starts from the kernel's own scores, so that only softmax is compared.
            let scores = (0..<classes).map { Double(z[i * pitch + $0]) }
            let sum = scores.reduce(0) { $0 + naiveExp($1) }
            let p = scores.map { naiveExp($0) / sum }
            for k in 0..<classes { #expect(abs(Double(probabilities[i * pitch + k]) - p[k]) < 1e-6) }
            for k in classes..<pitch { #expect(probabilities[i * pitch + k] == 0) }
            let order = (0..<classes).sorted { a, b in scores[a] != scores[b] ? scores[a] > scores[b] : a < b }
            #expect(summaries[i].top == order[0])
            #expect(abs(Double(summaries[i].topProbability) - p[order[0]]) < 1e-6)
            if classes > 1 {
                #expect(summaries[i].second == order[1])
                #expect(abs(Double(summaries[i].secondProbability) - p[order[1]]) < 1e-6)
            }
            var entropy = 0.0
            for q in p where q > 0 { entropy -= q * naiveLog(q) }
            #expect(abs(Double(summaries[i].entropy) - entropy) < 2e-5)
        }
    }

    @Test func equalAndExtremeScores() {
        let pitch = SparseKernels.pitch(classes: 20)
        let flat = SparseKernels.summaries([Float](repeating: 3, count: pitch), rows: 1, classes: 20)[0]
        #expect(flat.top == 0 && flat.second == 1 && abs(flat.topProbability - 0.05) < 1e-7)
        #expect(abs(flat.entropy - 2.9957323) < 1e-5)
        var z = [Float](repeating: -1e30, count: pitch)
        z[7] = 1e30
        let sharp = SparseKernels.summaries(z, rows: 1, classes: 20)[0]
        #expect(sharp.top == 7 && sharp.topProbability == 1 && sharp.secondProbability < 1e-30 && sharp.entropy < 1e-30)
    }

    // MARK: training

    @Test(arguments: [false, true]) func dualEpochMatchesTheNaiveTwin(soft: Bool) {
        var generator = SeededGenerator(seed: 3)
        let (rows, columns, classes) = (24, 30, 19)
        let pitch = SparseKernels.pitch(classes: classes)
        let x = Self.matrix(rows: rows, columns: columns, entries: 9, &generator)
        let labels = (0..<rows).map { _ in Int32(generator.index(below: classes)) }
        let costs = (0..<rows).map { _ in Float(generator.uniform()) + 0.5 }
        var distributions = [Float](repeating: 0, count: rows * pitch)
        for row in 0..<rows {
            distributions[row * pitch + Int(labels[row])] += 0.75
            distributions[row * pitch + generator.index(below: classes)] += 0.25
        }
        let (l2, intercept): (Float, Float) = (0.3, 0.5)
        var problem = SparseKernels.DualProblem(
            examples: x, targets: soft ? .distributions(distributions) : .classes(labels), costs: costs, classes: classes, l2: l2,
            intercept: intercept)
        var dual = [[Double]](repeating: [Double](repeating: 0, count: classes), count: rows)
        var weights = [[Double]](repeating: [Double](repeating: 0, count: classes), count: columns)
        var bias = [Double](repeating: 0, count: classes)
        var order = (0..<rows).map { Int32($0) }
        for _ in 0..<3 {
            generator.shuffle(&order)
            let change = problem.epoch(order: order)
            var moved = 0.0
            for row in order.map({ Int($0) }) {
                var z = bias.map { $0 * Double(intercept) }
                var norm = Double(intercept * intercept)
                for entry in x.entries(ofRow: row) {
                    let (column, value) = (Int(x.columnIndices[entry]), Double(x.values[entry]))
                    norm += value * value
                    for k in 0..<classes { z[k] += value * weights[column][k] }
                }
                let sum = z.reduce(0) { $0 + naiveExp($1) }
                let cost = Double(costs[row])
                let step = 1 / (1 + 0.5 * cost * norm / Double(l2))
                for k in 0..<classes {
                    let target = soft ? Double(distributions[row * pitch + k]) : (k == Int(labels[row]) ? 1 : 0)
                    let t = step * (cost * (target - naiveExp(z[k]) / sum) - dual[row][k])
                    dual[row][k] += t
                    moved += abs(t)
                    for entry in x.entries(ofRow: row) {
                        weights[Int(x.columnIndices[entry])][k] += Double(x.values[entry]) * t / Double(l2)
                    }
                    bias[k] += Double(intercept) * t / Double(l2)
                }
            }
            #expect(abs(change - moved / Double(rows)) < 1e-4)
        }
        for row in 0..<rows { for k in 0..<classes { #expect(abs(Double(problem.dual[row * pitch + k]) - dual[row][k]) < 1e-5) } }
        for column in 0..<columns {
            for k in 0..<classes { #expect(abs(Double(problem.weights[column * pitch + k]) - weights[column][k]) < 1e-4) }
        }
        // Weights made from the dual variables are the weights that training arrived at.
        let again = SparseKernels.DualProblem(
            examples: x, targets: .classes(labels), costs: costs, classes: classes, l2: l2, intercept: intercept, dual: problem.dual)
        for (a, b) in zip(again.weights, problem.weights) { #expect(abs(a - b) < 1e-4) }
        for (a, b) in zip(again.bias, problem.bias) { #expect(abs(a - b) < 1e-4) }
    }

    @Test func matrixRowsAndColumnMap() {
        var x = SparseMatrix(columns: 5)
        x.appendRow(columns: [4, 0], values: [1, 2])
        x.appendRow(columns: [], values: [])
        x.appendRow(columns: [2], values: [3])
        #expect(x.rows == 3 && x.entries(ofRow: 1).isEmpty)
        let y = x.mappingColumns([1, -1, -1, -1, 0], columns: 2)
        #expect(y.rowStarts == [0, 2, 2, 2] && y.columnIndices == [0, 1] && y.values == [1, 2])
    }
}

/// e^x by halving the argument and its series: slow and independent of the platform's library.
private func naiveExp(_ x: Double) -> Double {
    if abs(x) > 0.5 {
        let half = naiveExp(x / 2)
        return half * half
    }
    var (sum, term) = (1.0, 1.0)
    for n in 1...20 {
        term *= x / Double(n)
        sum += term
    }
    return sum
}

/// ln x by Newton's method on e^y = x.
private func naiveLog(_ x: Double) -> Double {
    var y = 0.0
    for _ in 0..<200 {
        let step = 2 * (x - naiveExp(y)) / (x + naiveExp(y))
        y += step
        if abs(step) < 1e-14 { break }
    }
    return y
}
