import Datasets
import Primitives
import Stages
import Testing

@Suite struct RegistryTests {
    @Test func everyKindIsThereOnce() {
        #expect(Set(StageRegistry.kinds).count == StageRegistry.kinds.count)
        for kind in StageRegistry.kinds { #expect(StageRegistry.executor(for: kind) != nil) }
        #expect(StageRegistry.executor(for: "no-such-stage") == nil)
        #expect(StageRegistry.codeVersion(of: "no-such-stage") == nil)
    }
}

@Suite struct AnswerBlockTests {
    @Test func survivesItsBytes() throws {
        let block = AnswerBlock(
            [.init(position: 70, label: 3, seconds: 2.5), .init(position: 4, label: 0, seconds: 0)], skipped: [12, 9])
        let copy = try AnswerBlock(decoding: block.encode())
        #expect(copy == block)
        #expect(copy.answers.map(\.position) == [4, 70])
        #expect(copy.skipped == [9, 12])
    }
    @Test func refusesEveryTruncation() {
        let bytes = AnswerBlock([.init(position: 1, label: 2, seconds: 3)], skipped: [5]).encode()
        for count in bytes.indices {
            #expect(throws: AMAFError.self) { () throws -> Void in _ = try AnswerBlock(decoding: Array(bytes[..<count])) }
        }
    }
}

@Suite struct TextFormTests {
    @Test func jsonStringsEscapeWhatTheyMust() {
        #expect(JSONString.quoted("a\"b\\c\n\u{1}é") == "\"a\\\"b\\\\c\\n\\u0001é\"")
    }
    @Test func csvFieldsQuoteOnlyWhereNeeded() {
        #expect(CSVField.quoted("plain") == "plain")
        #expect(CSVField.quoted("a,\"b\"") == "\"a,\"\"b\"\"\"")
    }
}

@Suite struct ObjectCacheTests {
    @Test func keepsWhatWasUsedLast() {
        let cache = ObjectCache(limit: 100)
        var made: [UInt8] = []
        func ask(_ name: UInt8) {
            _ = cache.object("test", Digest.of([name]), cost: { (_: UInt8) in 40 }) {
                made.append(name)
                return name
            }
        }
        ask(1)
        ask(2)
        ask(1)
        ask(3)
        // 2 was the least recently used when 3 came.
        ask(1)
        ask(2)
        #expect(made == [1, 2, 3, 2])
    }
}
