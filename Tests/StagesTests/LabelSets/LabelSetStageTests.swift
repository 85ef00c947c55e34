import Primitives
import Stages
import Testing

@Suite struct LabelSetStageTests {
    @Test func answersTravelWithWhatWasLeftOpen() throws {
        let block = LabelAnswerBlock(
            labels: 3,
            [
                .init(position: 9, values: [true, nil, false], seconds: 4), .init(position: 2, values: [nil, nil, true], seconds: 1),
            ], skipped: [7, 1])
        #expect(block.answers.map(\.position) == [2, 9] && block.skipped == [1, 7] && Set(block.asked) == [1, 2, 7, 9])
        #expect(try LabelAnswerBlock(decoding: block.encode()) == block)
        var bytes = block.encode()
        bytes[16 + 12] = 3
        #expect(throws: AMAFError.self) { try LabelAnswerBlock(decoding: bytes) }
        #expect(throws: AMAFError.self) { try LabelAnswerBlock(decoding: Array(block.encode().dropLast())) }
    }

    @Test func classifiersTravel() throws {
        for classifier in [LabelClassifier.silent, .constant(0.25)] {
            #expect(try LabelClassifier(decoding: classifier.encode()) == classifier)
        }
        #expect(throws: AMAFError.self) { try LabelClassifier(decoding: [7]) }
        #expect(throws: AMAFError.self) { try LabelClassifier(decoding: []) }
    }
}
