package import Primitives

/// What people answered in one round, by position; a sample that was skipped has no entry.
package struct AnswerBlock: Hashable, Sendable {
    package struct Answer: Hashable, Sendable {
        package var position: Int
        package var label: Int
        package var seconds: Float

        package init(position: Int, label: Int, seconds: Float) {
            self.position = position
            self.label = label
            self.seconds = seconds
        }
    }
    /// Ascending by position, each once.
    package private(set) var answers: [Answer]
    /// Asked, and not answered (skipped by the reviewer, or without gold in a simulation): never asked again.
    package private(set) var skipped: [Int]

    package init(_ answers: [Answer], skipped: [Int] = []) {
        self.answers = answers.sorted { $0.position < $1.position }
        self.skipped = skipped.sorted()
        precondition(
            zip(self.answers, self.answers.dropFirst()).allSatisfy { $0.position < $1.position }, "two answers for one sample in one round")
    }

    private static let magic: UInt32 = 0x3142_4141  // "AAB1"

    /// Little-endian: magic, counts, then position, label, seconds of each answer, then skipped positions.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 12 + answers.count * 16)
        writer.write(Self.magic)
        writer.write(UInt32(answers.count))
        writer.write(UInt32(skipped.count))
        for answer in answers {
            writer.write(Int64(answer.position))
            writer.write(Int32(answer.label))
            writer.write(answer.seconds)
        }
        for position in skipped { writer.write(Int64(position)) }
        return writer.bytes
    }

    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        let result: Result<AnswerBlock, AMAFError> = bytes.withUnsafeBytes { buffer in
            do throws(AMAFError) {
                return .success(try AnswerBlock(decoding: buffer))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    package init(decoding bytes: UnsafeRawBufferPointer) throws(AMAFError) {
        var reader = ByteReader(bytes, of: "block of answers")
        guard try reader.read(UInt32.self) == Self.magic else {
            throw AMAFError("artifact.damaged", "These bytes are no block of answers", remedy: "Import the answers again.")
        }
        let count = Int(try reader.read(UInt32.self))
        let skippedCount = Int(try reader.read(UInt32.self))
        var answers: [Answer] = []
        for _ in 0..<count {
            let position = Int(try reader.read(Int64.self))
            let label = Int(try reader.read(Int32.self))
            answers.append(Answer(position: position, label: label, seconds: try reader.readFloat()))
        }
        var skipped: [Int] = []
        for _ in 0..<skippedCount { skipped.append(Int(try reader.read(Int64.self))) }
        self.init(answers, skipped: skipped)
    }
}

extension StageInputs {
    /// `answers.0`, `answers.1` … as far as the plan gave them to this stage, in the order of rounds.
    func answers() throws -> [AnswerBlock] {
        var rounds: [AnswerBlock] = []
        while contains("answers.\(rounds.count)") {
            rounds.append(try single("answers.\(rounds.count)").withBytes { try AnswerBlock(decoding: $0) })
        }
        return rounds
    }
}
