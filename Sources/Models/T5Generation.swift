import Foundation
internal import Kernels
internal import Primitives

extension T5 {
    /// The most likely token at every step, for each text; ids after the start token, with the end token when it came.
    package func greedy(_ texts: [[Int32]], limit: Int) -> [[Int32]] {
        choose(texts, limit: limit) { logits, _ in
            var best = 0
            for i in logits.indices where logits[i] > logits[best] { best = i }
            return best
        }
    }

    /// Nucleus sampling (Holtzman et al. 2020): from the smallest set of tokens with total probability `top`.
    package func sample(_ texts: [[Int32]], limit: Int, top: Float = 0.9, temperature: Float = 1, seed: UInt64) -> [[Int32]] {
        precondition(top > 0 && top <= 1 && temperature > 0, "nucleus \(top) at temperature \(temperature)")
        var generators = texts.indices.map { SeededGenerator(seed: seed, stream: "t5", "sample", String($0)) }
        return choose(texts, limit: limit) { logits, row in
            let largest = logits.max() ?? 0
            let weights = logits.map { Foundation.exp(Double(($0 - largest) / temperature)) }
            let total = weights.reduce(0, +)
            let order = weights.indices.sorted { (-weights[$0], $0) < (-weights[$1], $1) }
            var (kept, mass) = (0, 0.0)
            while kept < order.count, kept == 0 || mass < Double(top) * total {
                mass += weights[order[kept]]
                kept += 1
            }
            var draw = generators[row].uniform() * mass
            for index in order.prefix(kept) {
                draw -= weights[index]
                if draw < 0 { return index }
            }
            return order[kept - 1]
        }
    }

    private func choose(_ texts: [[Int32]], limit: Int, _ pick: (_ logits: [Float], _ row: Int) -> Int) -> [[Int32]] {
        let c = configuration
        let batch = BERT.Batch(texts, padding: Int32(c.pad_token_id))
        let cache = cache(encode(batch), batch, capacity: limit)
        var out = [[Int32]](repeating: [], count: texts.count)
        var tokens = [Int32](repeating: Int32(c.decoder_start_token_id), count: texts.count)
        var isDone = [Bool](repeating: false, count: texts.count)
        for _ in 0..<limit {
            let logits = next(tokens, cache).values()
            for row in texts.indices where !isDone[row] {
                tokens[row] = Int32(pick(Array(logits[row * c.vocab_size..<(row + 1) * c.vocab_size]), row))
                out[row].append(tokens[row])
                isDone[row] = Int(tokens[row]) == c.eos_token_id
            }
            if isDone.allSatisfy({ $0 }) { break }
        }
        return out
    }

    /// The best of `beams` continuations by log probability / lengthᵖ, p = `lengthPenalty`; stops when no open beam can win.
    package func beamSearch(_ texts: [[Int32]], beams: Int, limit: Int, lengthPenalty: Double = 1) -> [[Int32]] {
        texts.map { beamSearch($0, beams: beams, limit: limit, lengthPenalty: lengthPenalty) }
    }

    private struct Hypothesis {
        var ids: [Int32]
        var score: Double
    }

    private func beamSearch(_ text: [Int32], beams: Int, limit: Int, lengthPenalty: Double) -> [Int32] {
        precondition(beams > 0 && limit > 0, "\(beams) beams of \(limit) tokens")
        let c = configuration
        let batch = BERT.Batch([text], padding: Int32(c.pad_token_id))
        let cache = cache(encode(batch), batch, beams: beams, capacity: limit)
        // All beams start alike; only the first may be continued in the first step.
        var open = (0..<beams).map { Hypothesis(ids: [], score: $0 == 0 ? 0 : -1e9) }
        var finished: [Hypothesis] = []
        for step in 0..<limit {
            let tokens = open.map { $0.ids.last ?? Int32(c.decoder_start_token_id) }
            let logits = next(tokens, cache).values()
            var candidates: [(score: Double, beam: Int, token: Int)] = []
            for beam in open.indices {
                let row = logits[beam * c.vocab_size..<(beam + 1) * c.vocab_size]
                let largest = Double(row.max() ?? 0)
                let normalizer = largest + Foundation.log(row.reduce(0.0) { $0 + Foundation.exp(Double($1) - largest) })
                for (token, logit) in row.enumerated() { candidates.append((open[beam].score + Double(logit) - normalizer, beam, token)) }
            }
            // Twice as many as beams, so that enough remain open even if half of them end.
            candidates.sort { ($0.score, -$0.beam, -$0.token) > ($1.score, -$1.beam, -$1.token) }
            var next: [(Hypothesis, source: Int)] = []
            for (rank, candidate) in candidates.prefix(2 * beams).enumerated() {
                let ids = open[candidate.beam].ids + [Int32(candidate.token)]
                if candidate.token == c.eos_token_id {
                    // An ending counts only among the best `beams` candidates.
                    if rank < beams {
                        finished.append(Hypothesis(ids: ids, score: candidate.score / pow(Double(ids.count), lengthPenalty)))
                    }
                } else if next.count < beams {
                    next.append((Hypothesis(ids: ids, score: candidate.score), candidate.beam))
                }
            }
            finished.sort { ($0.score, $1.ids.count) > ($1.score, $0.ids.count) }
            finished = Array(finished.prefix(beams))
            reorder(cache, next.map(\.source))
            open = next.map(\.0)
            if finished.count == beams, let worst = finished.last?.score, let best = open.first {
                // The reference's rule: no open beam, ended now, would enter the list.
                if best.score / pow(Double(step + 1), lengthPenalty) <= worst { break }
            }
        }
        if finished.count < beams {
            finished += open.map { Hypothesis(ids: $0.ids, score: $0.score / pow(Double($0.ids.count), lengthPenalty)) }
        }
        return finished.max { $0.score < $1.score }?.ids ?? []
    }
}
