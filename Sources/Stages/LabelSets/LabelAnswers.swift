package import Primitives

/// What people answered in one round where an image has several labels: all labels of an image at once.
package struct LabelAnswerBlock: Hashable, Sendable {
    package struct Answer: Hashable, Sendable {
        package var position: Int
        /// One for each label: present, absent, or nil where the reviewer could not say.
        package var values: [Bool?]
        /// Of the whole image.
        package var seconds: Float

        package init(position: Int, values: [Bool?], seconds: Float) {
            self.position = position
            self.values = values
            self.seconds = seconds
        }
    }
    package let labels: Int
    /// Ascending by position, each once, each with one value at least.
    package let answers: [Answer]
    /// Asked, and not answered for any label: never asked again.
    package let skipped: [Int]

    package init(labels: Int, _ answers: [Answer], skipped: [Int] = []) {
        self.labels = labels
        self.answers = answers.sorted { $0.position < $1.position }
        self.skipped = skipped.sorted()
        precondition(answers.allSatisfy { $0.values.count == labels }, "an answer that does not speak of \(labels) labels")
        precondition(
            zip(self.answers, self.answers.dropFirst()).allSatisfy { $0.position < $1.position }, "two answers for one image in one round")
    }

    /// Positions that need not be asked again.
    package var asked: [Int] { answers.map(\.position) + skipped }

    private static let magic: UInt32 = 0x3142_4C41  // "ALB1"

    /// Little-endian: magic, labels, counts; position, seconds and a byte a label (0 absent, 1 present, 2 nothing) of each answer;
    /// skipped positions.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 16 + answers.count * (12 + labels) + skipped.count * 8)
        writer.write(Self.magic)
        for number in [labels, answers.count, skipped.count] { writer.write(UInt32(number)) }
        for answer in answers {
            writer.write(Int64(answer.position))
            writer.write(answer.seconds)
            writer.append(raw: answer.values.map { $0.map { $0 ? 1 : 0 } ?? 2 })
        }
        for position in skipped { writer.write(Int64(position)) }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "block of label answers") { (reader) throws(AMAFError) in
            let damaged = AMAFError("artifact.damaged", "These bytes are no block of label answers", remedy: "Import the answers again.")
            guard try reader.read(UInt32.self) == Self.magic else { throw damaged }
            let labels = Int(try reader.read(UInt32.self))
            let count = Int(try reader.read(UInt32.self))
            let skippedCount = Int(try reader.read(UInt32.self))
            guard labels > 0, reader.remaining == count * (12 + labels) + skippedCount * 8 else { throw damaged }
            var answers: [Answer] = []
            for _ in 0..<count {
                let position = Int(try reader.read(Int64.self))
                let seconds = try reader.readFloat()
                let values = try reader.readRaw(labels)
                guard position >= 0, values.allSatisfy({ $0 <= 2 }), position > answers.last?.position ?? -1 else { throw damaged }
                answers.append(Answer(position: position, values: values.map { $0 == 2 ? nil : $0 == 1 }, seconds: seconds))
            }
            var skipped: [Int] = []
            for _ in 0..<skippedCount { skipped.append(Int(try reader.read(Int64.self))) }
            return LabelAnswerBlock(labels: labels, answers, skipped: skipped)
        }
    }
}

extension StageInputs {
    /// `answers.0`, `answers.1` … in the order of rounds, where samples have several labels.
    func labelAnswers() throws -> [LabelAnswerBlock] {
        var rounds: [LabelAnswerBlock] = []
        while contains("answers.\(rounds.count)") {
            rounds.append(try LabelAnswerBlock(decoding: try single("answers.\(rounds.count)").bytes))
        }
        return rounds
    }
}
