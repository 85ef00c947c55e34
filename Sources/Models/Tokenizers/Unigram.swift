import Foundation
package import Primitives

/// SentencePiece's unigram tokenizer (Kudo 2018), as T5 uses it: the segmentation of the highest total score, by Viterbi.
package struct UnigramTokenizer: Sendable {
    package enum Kind: Int, Sendable { case normal = 1, unknown, control, userDefined, unused, byte }
    package struct Piece: Sendable, Hashable {
        package var text: String
        package var score: Float
        package var kind: Kind
        package init(_ text: String, _ score: Float, _ kind: Kind = .normal) {
            self.text = text
            self.score = score
            self.kind = kind
        }
    }

    package let pieces: [Piece]
    package let unknown: Int32
    package let end: Int32
    private let ids: [String: Int32]
    private let longest: Int
    private let unknownScore: Float
    private static let blank: Character = "\u{2581}"

    /// - Throws: `tokenizer.vocabulary` without an unknown piece or `</s>`.
    package init(pieces: [Piece], place: String = "spiece.model") throws(AMAFError) {
        guard let unknown = pieces.firstIndex(where: { $0.kind == .unknown }), let end = pieces.firstIndex(where: { $0.text == "</s>" })
        else {
            throw AMAFError(
                "tokenizer.vocabulary", "The vocabulary of \(pieces.count) pieces lacks <unk> or </s>", place: place,
                remedy: "Get the tokenizer file again from where the model came from.")
        }
        self.pieces = pieces
        self.unknown = Int32(unknown)
        self.end = Int32(end)
        var ids: [String: Int32] = [:]
        var lowest: Float = 0
        var longest = 1
        for (i, piece) in pieces.enumerated() where piece.kind == .normal || piece.kind == .userDefined {
            ids[piece.text] = Int32(i)
            lowest = min(lowest, piece.score)
            longest = max(longest, piece.text.unicodeScalars.count)
        }
        self.ids = ids
        self.longest = longest
        // SentencePiece puts an unknown character ten below the worst piece.
        unknownScore = lowest - 10
    }

    /// Reads a SentencePiece model file (`spiece.model`): a protobuf message whose field 1 repeats the pieces.
    ///
    /// - Throws: `tokenizer.unreadable`, `tokenizer.vocabulary`.
    package init(path: String) throws(AMAFError) {
        guard let data = try? Data(contentsOf: URL(fileURLWithPath: path)) else {
            throw AMAFError(
                "tokenizer.unreadable", "The SentencePiece model cannot be read", place: path,
                remedy: "Get spiece.model again from where the model came from.")
        }
        var reader = ProtobufFields(bytes: [UInt8](data))
        var pieces: [Piece] = []
        var isWhole = true
        while let field = reader.next() {
            guard field.number == 1, case .bytes(let message) = field.value else { continue }
            var inner = ProtobufFields(bytes: message)
            var piece = Piece("", 0)
            while let field = inner.next() {
                switch (field.number, field.value) {
                case (1, .bytes(let text)): piece.text = String(decoding: text, as: UTF8.self)
                case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
                case (3, .number(let kind)): piece.kind = Kind(rawValue: Int(truncatingIfNeeded: kind)) ?? .normal
                default: continue
                }
            }
            isWhole = isWhole && !inner.isDamaged
            pieces.append(piece)
        }
        guard isWhole, !reader.isDamaged else {
            throw AMAFError(
                "tokenizer.vocabulary", "The SentencePiece model is damaged after \(pieces.count) pieces", place: path,
                remedy: "Fetch the file again.")
        }
        try self.init(pieces: pieces, place: path)
    }

    /// Pieces and the end mark, cut to `limit` ids in all.
    package func encode(_ text: String, limit: Int = 512) -> [Int32] { Array(segment(text).prefix(max(limit - 1, 0))) + [end] }

    /// The text of ids; control pieces are left out.
    package func decode(_ ids: some Sequence<Int32>) -> String {
        var text = ""
        for id in ids where id >= 0 && id < pieces.count {
            let piece = pieces[Int(id)]
            switch piece.kind {
            case .normal, .userDefined, .unused: text += piece.text
            case .unknown: text += " \u{2047} "
            case .control, .byte: continue
            }
        }
        let plain = String(text.map { $0 == Self.blank ? " " : $0 })
        return plain.hasPrefix(" ") ? String(plain.dropFirst()) : plain
    }

    /// Compatibility-composed text, blanks squeezed and made visible, one in front (SentencePiece's nmt_nfkc, dummy prefix).
    static func normalized(_ text: String) -> [Unicode.Scalar] {
        var out: [Unicode.Scalar] = []
        let mark = Unicode.Scalar(0x2581) ?? " "
        var pendingBlank = true
        for scalar in text.precomposedStringWithCompatibilityMapping.unicodeScalars {
            if scalar.properties.isWhitespace || scalar.value == 0x200B || scalar.value == 0xFEFF {
                pendingBlank = true
            } else if scalar.properties.generalCategory == .control {
                continue
            } else {
                if pendingBlank { out.append(mark) }
                pendingBlank = false
                out.append(scalar)
            }
        }
        return out
    }

    private func segment(_ text: String) -> [Int32] {
        let scalars = Self.normalized(text)
        let count = scalars.count
        if count == 0 { return [] }
        // best[i]: the highest score of a segmentation of the first i characters, and its last piece.
        var best = [Float](repeating: -.infinity, count: count + 1)
        var last: [(start: Int, id: Int32)] = Array(repeating: (0, unknown), count: count + 1)
        best[0] = 0
        for from in 0..<count {
            var hasSingle = false
            var key = String.UnicodeScalarView()
            for to in from + 1...min(count, from + longest) {
                key.append(scalars[to - 1])
                guard let id = ids[String(key)] else { continue }
                if to == from + 1 { hasSingle = true }
                let score = best[from] + pieces[Int(id)].score
                if score > best[to] {
                    best[to] = score
                    last[to] = (from, id)
                }
            }
            if !hasSingle, best[from] + unknownScore > best[from + 1] {
                best[from + 1] = best[from] + unknownScore
                last[from + 1] = (from, unknown)
            }
        }
        var out: [Int32] = []
        var at = count
        while at > 0 {
            // Neighbouring unknown characters are one unknown piece.
            if !(last[at].id == unknown && out.last == unknown) { out.append(last[at].id) }
            at = last[at].start
        }
        return out.reversed()
    }
}
