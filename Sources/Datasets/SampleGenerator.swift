internal import Foundation
package import Primitives

/// Makes multi-modal data sets with gold labels: texts from intent grammars, small images, sensor series.
///
/// Sample i depends on the seed, the number of classes and i only, so a larger set begins with the smaller one; whether images,
/// sensors or labels are written changes no other file.
package struct SampleGenerator: Sendable {
    package struct Settings: Hashable, Sendable, Codable {
        package var samples: Int
        package var seed: UInt64
        /// 2 to 150.
        package var classes: Int
        /// Leaves the label field out.
        package var isUnlabelled: Bool
        /// Write image and sensor files beside the texts.
        package var hasImages: Bool
        package var hasSensors: Bool

        package init(
            samples: Int, seed: UInt64 = 1, classes: Int = 20, isUnlabelled: Bool = false, hasImages: Bool = true, hasSensors: Bool = true
        ) {
            self.samples = samples
            self.seed = seed
            self.classes = classes
            self.isUnlabelled = isUnlabelled
            self.hasImages = hasImages
            self.hasSensors = hasSensors
        }
    }

    package static let classLimit = 2...150
    /// Samples whose pictures share one file, and whose random streams begin together.
    static let partSize = 1000
    package static let rowsFile = "samples.jsonl"

    package let settings: Settings

    package init(_ settings: Settings) throws(AMAFError) {
        guard settings.samples > 0, Self.classLimit.contains(settings.classes) else {
            throw AMAFError(
                "sample.bad-settings", "No sample of \(settings.samples) rows in \(settings.classes) classes can be made",
                remedy: "Ask for at least one row and for \(Self.classLimit.lowerBound) to \(Self.classLimit.upperBound) classes.")
        }
        self.settings = settings
    }

    package var classNames: [String] { (0..<settings.classes).map(IntentGrammar.className).sorted() }

    /// Writes `samples.jsonl`, `classes.txt`, a README, and where asked `images/` and `sensors/`, into a folder that is made if needed.
    ///
    /// Every fifth row belongs to the split `test`, the others to `pool`.
    package func write(to folder: String) throws(AMAFError) {
        try makeFolder(folder)
        if settings.hasImages { try makeFolder(folder + "/images") }
        if settings.hasSensors { try makeFolder(folder + "/sensors") }
        let rows = try FileWriter("\(folder)/\(Self.rowsFile)")
        for part in 0..<(settings.samples + Self.partSize - 1) / Self.partSize {
            let positions = part * Self.partSize..<min(settings.samples, (part + 1) * Self.partSize)
            var texts = TextStream(settings, part: part)
            var classes: [Int] = []
            var lines: [UInt8] = []
            for position in positions {
                let sample = texts.next()
                classes.append(sample.classIndex)
                appendRow(position, part, sample, to: &lines)
            }
            try rows.write(lines)
            let name = Self.padded(part, 5)
            if settings.hasImages { try writeFile("\(folder)/images/part-\(name).pgm", SampleImages.part(classes, settings.seed, part)) }
            if settings.hasSensors { try writeFile("\(folder)/sensors/part-\(name).csv", SampleSensors.part(classes, settings.seed, part)) }
        }
        try rows.close()
        try writeFile("\(folder)/classes.txt", Array((classNames.joined(separator: "\n") + "\n").utf8))
        try writeFile("\(folder)/README.md", Array(readme.utf8))
    }

    /// Writes one file for each sample, without labels: `requests/0000/000017.txt`.
    ///
    /// - Parameter gold: a CSV (`id,label`) to write the labels to, outside of the folder; nil for none.
    package func writeTextFolder(to folder: String, gold: String? = nil) throws(AMAFError) {
        try makeFolder(folder)
        var labels: [UInt8] = Array("id,label\n".utf8)
        for part in 0..<(settings.samples + Self.partSize - 1) / Self.partSize {
            let group = Self.padded(part, 4)
            try makeFolder("\(folder)/\(group)")
            var texts = TextStream(settings, part: part)
            for position in part * Self.partSize..<min(settings.samples, (part + 1) * Self.partSize) {
                let sample = texts.next()
                let id = "\(group)/\(Self.padded(position, 6)).txt"
                try writeFile("\(folder)/\(id)", sample.text + [0x0A])
                labels += Array("\(id),\(IntentGrammar.className(sample.classIndex))\n".utf8)
            }
        }
        if let gold { try writeFile(gold, labels) }
    }

    private func appendRow(_ position: Int, _ part: Int, _ sample: TextStream.Made, to lines: inout [UInt8]) {
        // Everything below is lower-case ASCII without quotes or backslashes, so nothing needs an escape.
        lines += Array("{\"id\":\"s-\(Self.padded(position, 7))\",\"split\":\"\(position % 5 == 4 ? "test" : "pool")\",\"text\":\"".utf8)
        lines += sample.text
        if !settings.isUnlabelled { lines += Array("\",\"label\":\"\(IntentGrammar.className(sample.classIndex))".utf8) }
        let reference = "part-\(Self.padded(part, 5))"
        if settings.hasImages { lines += Array("\",\"image\":\"images/\(reference).pgm#\(position % Self.partSize)".utf8) }
        if settings.hasSensors { lines += Array("\",\"sensor\":\"sensors/\(reference).csv#\(position % Self.partSize)".utf8) }
        lines += Array("\",\"channel\":\"\(sample.channel)\"}\n".utf8)
    }

    private var readme: String {
        """
        # Made data

        Written by `amaf sample generate`: \(settings.samples) samples of \(settings.classes) classes from seed \(settings.seed). Nothing in it was \
        said or measured by anybody.

        - `samples.jsonl`: one object a line with `id`, `split` (pool, test), `text`\(settings.isUnlabelled ? "" : ", `label`"), references to \
        image and sensor series where there are any, and `channel`.
        - `images/part-NNNNN.pgm#K`: grey picture K (counted from 0) of a file that holds up to \(Self.partSize) PGM pictures of 16 x 16 pixels.
        - `sensors/part-NNNNN.csv#K`: the rows of that file whose first column is K; the others are step and three channels.
        - `classes.txt`: the names of the classes.

        """
    }

    private func makeFolder(_ path: String) throws(AMAFError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "dataset.unwritable-file", "The folder '\(path)' cannot be made: \(error.localizedDescription)",
                remedy: "Choose another place.")
        }
    }

    private func writeFile(_ path: String, _ bytes: [UInt8]) throws(AMAFError) {
        let out = try FileWriter(path)
        try out.write(bytes)
        try out.close()
    }

    static func padded(_ number: Int, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}

/// The texts of one part, in order.
private struct TextStream {
    struct Made {
        var classIndex: Int
        var text: [UInt8]
        var channel: String
    }
    private var random: SeededGenerator
    private let classes: Int

    init(_ settings: SampleGenerator.Settings, part: Int) {
        random = SeededGenerator(seed: settings.seed, stream: "sample", "text", String(settings.classes), String(part))
        classes = settings.classes
    }

    mutating func next() -> Made {
        let classIndex = random.index(below: classes)
        var text: [UInt8] = []
        text.reserveCapacity(96)
        IntentGrammar.append(classIndex, &random, to: &text)
        IntentGrammar.misspell(&text, &random)
        return Made(classIndex: classIndex, text: text, channel: ["phone", "chat", "mail"][random.index(below: 3)])
    }
}

/// Pictures of 16 × 16 grey pixels: ten shapes, told apart further by size, on a noisy ground.
enum SampleImages {
    static let side = 16

    /// PGM pictures one behind the other, as that format allows.
    static func part(_ classes: [Int], _ seed: UInt64, _ part: Int) -> [UInt8] {
        var random = SeededGenerator(seed: seed, stream: "sample", "image", String(part))
        let header = Array("P5\n\(side) \(side)\n255\n".utf8)
        var bytes: [UInt8] = []
        bytes.reserveCapacity(classes.count * (header.count + side * side))
        for classIndex in classes {
            bytes += header
            draw(classIndex, &random, into: &bytes)
        }
        return bytes
    }

    private static func draw(_ classIndex: Int, _ random: inout SeededGenerator, into bytes: inout [UInt8]) {
        let shape = classIndex % 10
        let radius = 3 + classIndex / 10 % 4
        let centreX = 7 + random.index(below: 3) - 1
        let centreY = 7 + random.index(below: 3) - 1
        let ink = 120 + (classIndex / 40) * 30
        for y in 0..<side {
            // Eight noise bytes from each number drawn.
            var noise = random.next()
            for x in 0..<side {
                if x == side / 2 { noise = random.next() }
                let grain = Int(noise & 63)
                noise >>= 8
                let isInk = covers(shape, x - centreX, y - centreY, radius)
                bytes.append(UInt8(min(255, (isInk ? ink : 0) + grain)))
            }
        }
    }

    private static func covers(_ shape: Int, _ x: Int, _ y: Int, _ radius: Int) -> Bool {
        let (ax, ay) = (abs(x), abs(y))
        guard max(ax, ay) <= radius else { return false }
        switch shape {
        case 0: return x * x + y * y <= radius * radius
        case 1: return true
        case 2: return ay <= radius && ax * 2 <= y + radius
        case 3: return min(ax, ay) <= 1
        case 4: return x * x + y * y <= radius * radius && x * x + y * y >= (radius - 2) * (radius - 2)
        case 5: return y & 1 == 0
        case 6: return x & 1 == 0
        case 7: return abs(x - y) <= 1
        case 8: return (x + y) & 1 == 0
        default: return ax + ay <= radius
        }
    }
}

/// Recordings of three channels over 24 steps: waves whose length and height tell the class, with noise, in thousandths.
enum SampleSensors {
    static let steps = 24

    static func part(_ classes: [Int], _ seed: UInt64, _ part: Int) -> [UInt8] {
        var random = SeededGenerator(seed: seed, stream: "sample", "sensor", String(part))
        var bytes = Array("sample,step,x,y,z\n".utf8)
        bytes.reserveCapacity(classes.count * steps * 24)
        for (sample, classIndex) in classes.enumerated() {
            let length = 4 + classIndex % 12
            let height = 300 + 60 * (classIndex / 12)
            let phase = random.index(below: length)
            for step in 0..<steps {
                append(sample, 0x2C, to: &bytes)
                append(step, 0x2C, to: &bytes)
                for channel in 0..<3 {
                    let wave = wave(step + phase + channel * length / 3, length: length, height: height)
                    append(wave + random.index(below: 201) - 100, channel == 2 ? 0x0A : 0x2C, to: &bytes)
                }
            }
        }
        return bytes
    }

    /// A parabola for each half of a wave. Whole numbers only: a sine from the C library may differ in its last bit between machines.
    private static func wave(_ step: Int, length: Int, height: Int) -> Int {
        let x = (step % length) * 1000 / length
        let half = x < 500 ? x : x - 500
        let arch = half * (500 - half) * height / 62_500
        return x < 500 ? arch : -arch
    }

    private static func append(_ number: Int, _ end: UInt8, to bytes: inout [UInt8]) {
        if number < 0 { bytes.append(0x2D) }
        var rest = number.magnitude
        var divisor: UInt = 1
        while rest / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            bytes.append(UInt8(48 + rest / divisor))
            rest %= divisor
            divisor /= 10
        }
        bytes.append(end)
    }
}
