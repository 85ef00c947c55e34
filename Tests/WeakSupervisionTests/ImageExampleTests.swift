import Datasets
import Foundation
import Primitives
import Testing
import WeakSupervision

/// Votes by likeness to example pictures.
@Suite struct ImageExampleTests {
    private static let classes = ["left", "right"]

    /// A bright half on a dark ground, with noise that the seed gives.
    private static func picture(_ side: Int, brightLeft: Bool, seed: UInt64, low: Int = 40, high: Int = 200) -> GreyImage {
        var noise = SeededGenerator(seed: seed)
        var pixels: [UInt8] = []
        for _ in 0..<side {
            for x in 0..<side {
                let bright = (x < side / 2) == brightLeft
                pixels.append(UInt8((bright ? high : low) + Int(noise.next() % 31) - 15))
            }
        }
        return GreyImage(width: side, height: side, pixels: pixels)
    }

    private static func write(_ image: GreyImage, _ name: String, _ scratch: Scratch) throws -> FileReference {
        let path = "\(scratch.path)/\(name)"
        try (Data("P5\n\(image.width) \(image.height)\n255\n".utf8) + Data(image.pixels)).write(to: URL(fileURLWithPath: path))
        return FileReference(path: path)
    }

    private static func sample(_ image: GreyImage?) -> Sample {
        Sample(id: "s", text: "", image: SampleImage(reference: "s", thumbnail: image))
    }

    private static func votes(_ rule: ImageExamplesRule, _ samples: [Sample?]) throws -> [Int16] {
        try LabelingFunctionSet(specs: [LabelingFunctionSpec(name: "f", kind: .imageExamples(rule))], classNames: classes)
            .apply(samples: samples, firstSample: 0).columns[0].votes.cells
    }

    @Test func theNearestExampleDecides() throws {
        let scratch = try Scratch()
        let rule = ImageExamplesRule(examples: [
            .init(className: "left", images: [try Self.write(Self.picture(40, brightLeft: true, seed: 1), "l.pgm", scratch)]),
            .init(className: "right", images: [try Self.write(Self.picture(64, brightLeft: false, seed: 2), "r.pgm", scratch)]),
        ])
        // Other sizes, other brightness and contrast: only the pattern counts. An even picture, none, and a masked row: no opinion.
        let samples: [Sample?] = [
            Self.sample(Self.picture(28, brightLeft: true, seed: 3)),
            Self.sample(Self.picture(28, brightLeft: false, seed: 4, low: 100, high: 140)),
            Self.sample(GreyImage(width: 28, height: 28, pixels: [UInt8](repeating: 77, count: 784))), Self.sample(nil), nil,
        ]
        #expect(try Self.votes(rule, samples) == [0, 1, -1, -1, -1])
        // An upper half resembles neither enough.
        let above = GreyImage(width: 28, height: 28, pixels: (0..<784).map { $0 < 392 ? 200 : 40 })
        #expect(try Self.votes(ImageExamplesRule(examples: rule.examples, threshold: 0.3), [Self.sample(above)]) == [-1])
        #expect(try Self.votes(ImageExamplesRule(examples: rule.examples, minimumMargin: 2.5), samples).prefix(1) == [-1])
    }

    @Test func mostOfTheNearestDecide() throws {
        let scratch = try Scratch()
        func files(_ brightLeft: Bool, _ count: Int) throws -> [FileReference] {
            try (0..<count).map {
                try Self.write(Self.picture(32, brightLeft: brightLeft, seed: UInt64($0)), "\(brightLeft)-\($0).pgm", scratch)
            }
        }
        // Two of the "right" examples are mislabelled.
        let rule = ImageExamplesRule(
            examples: [
                .init(className: "left", images: try files(true, 5)),
                .init(
                    className: "right",
                    images: try files(false, 3) + [try Self.write(Self.picture(32, brightLeft: true, seed: 9), "x.pgm", scratch)]),
            ], neighbours: 5, minimumShare: 0.6)
        #expect(try Self.votes(rule, [Self.sample(Self.picture(28, brightLeft: true, seed: 30))]) == [0])
        // Of five neighbours of a "right" picture three agree, which is enough, and all five cannot.
        #expect(try Self.votes(rule, [Self.sample(Self.picture(28, brightLeft: false, seed: 31))]) == [1])
        var unanimous = rule
        unanimous.minimumShare = 1
        #expect(try Self.votes(unanimous, [Self.sample(Self.picture(28, brightLeft: false, seed: 31))]) == [-1])
    }

    @Test func examplesAreKnownByTheirContent() throws {
        let scratch = try Scratch()
        let json = #"{"name": "f", "kind": "image-examples", "examples": [{"class": "left", "images": ["a.pgm"]}], "side": 8}"#
        func spec() throws -> LabelingFunctionSpec {
            var spec = try JSONDecoder().decode(LabelingFunctionSpec.self, from: Data(json.utf8))
            try spec.resolveFiles(against: scratch.path)
            return spec
        }
        _ = try Self.write(Self.picture(16, brightLeft: true, seed: 1), "a.pgm", scratch)
        let first = try spec()
        #expect(try JSONDecoder().decode(LabelingFunctionSpec.self, from: JSONEncoder().encode(first)) == first)
        #expect(first.classNames == ["left"])
        _ = try Self.write(Self.picture(16, brightLeft: true, seed: 2), "a.pgm", scratch)
        #expect(try spec().digest != first.digest)
        let changed = #expect(throws: AMAFError.self) { try LabelingFunctionSet(specs: [first], classNames: Self.classes) }
        #expect(changed?.code == "labeling-function.changed-file")
        try scratch.write("a.pgm", "P5\n4 4\n255\n" + String(repeating: "a", count: 16))
        let even = #expect(throws: AMAFError.self) { try LabelingFunctionSet(specs: [spec()], classNames: Self.classes) }
        #expect(even?.code == "labeling-function.even-example" && even?.place.hasSuffix("a.pgm") == true)
        for bad in [#""examples": []"#, #""examples": [{"class": "left", "images": ["a.pgm"]}], "neighbours": 2"#] {
            #expect(throws: DecodingError.self) {
                try JSONDecoder().decode(
                    LabelingFunctionSpec.self, from: Data("{\"name\": \"f\", \"kind\": \"image-examples\", \(bad)}".utf8))
            }
        }
    }
}
