import ArgumentParser
import Datasets
import Foundation
import Models
import Primitives

/// `amaf paraphrase`: a T5 says texts in other words.
struct Paraphrase: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say texts in other words with a T5, without a cluster.",
        discussion: """
            The folder holds config.json, model.safetensors and spiece.model. greedy takes the likeliest token, beam the likeliest of --beams \
            whole texts, nucleus draws from the smallest set of tokens with probability --top; the same seed gives the same texts.
            """)
    @Argument(help: "Texts.")
    var given: [String] = []
    @Option(help: ArgumentHelp("The model's folder, or the name of a pulled model.", valueName: "folder"))
    var model: String
    @Option(help: ArgumentHelp("More texts, one a line, UTF-8.", valueName: "file"))
    var texts: String?
    @Option(help: "greedy, beam or nucleus.")
    var method: String = "greedy"
    @Option(help: "Width of beam search, 1 to 64.")
    var beams: Int = 4
    @Option(help: "Probability that nucleus sampling keeps, above 0 and at most 1.")
    var top: Float = 0.9
    @Option(help: "Below 1 sampling is bolder for likely tokens, above 1 for unlikely ones.")
    var temperature: Float = 1
    @Option(help: "Texts for each one, with nucleus.")
    var count: Int = 1
    @Option(help: "Stands before every text, as the model was trained.")
    var prefix: String = "paraphrase: "
    @Option(help: "Tokens that are written at most.")
    var limit: Int = 64
    @Option(help: "Seed of nucleus.")
    var seed: UInt64 = 1
    @OptionGroup var lanes: LaneOptions
    @OptionGroup var output: OutputOptions

    private struct Row: Encodable {
        var text: String
        var paraphrases: [String]
    }

    func run() throws {
        try reporting(json: output.json) {
            let method = try chosen()
            var all = given
            if let texts {
                guard let data = FileManager.default.contents(atPath: texts), let whole = String(validating: data, as: UTF8.self) else {
                    throw AMAFError("paraphrase.input", "The texts cannot be read as UTF-8", place: texts, remedy: "Check the path.")
                }
                all += whole.split(whereSeparator: \.isNewline).map(String.init)
            }
            guard !all.isEmpty else {
                throw AMAFError("paraphrase.input", "There is no text", remedy: "Give texts as arguments or --texts FILE.")
            }
            let paraphraser = try Paraphraser(try ModelLocation.folder(model), on: try lanes.device())
            let made = paraphraser.paraphrase(all, prefix: prefix, count: count, method: method, limit: limit, seed: seed)
            let rows = zip(all, made).map { Row(text: $0, paraphrases: $1) }
            if output.json { return try Console.json(rows) }
            for row in rows { for text in row.paraphrases { Console.out(text) } }
        }
    }

    private func chosen() throws(AMAFError) -> Paraphraser.Method {
        func refuse(_ sentence: String, _ remedy: String) -> AMAFError { AMAFError("paraphrase.options", sentence, remedy: remedy) }
        guard (1...4096).contains(limit), (1...1024).contains(count) else {
            throw refuse("--limit is \(limit) and --count \(count)", "Give 1 to 4,096 tokens and 1 to 1,024 texts.")
        }
        guard count == 1 || method == "nucleus" else {
            throw refuse("\(method) gives one text for each", "Use --method nucleus for --count \(count).")
        }
        switch method {
        case "greedy": return .greedy
        case "beam":
            guard (1...64).contains(beams) else { throw refuse("--beams is \(beams)", "Give 1 to 64.") }
            return .beam(width: beams)
        case "nucleus":
            guard top > 0, top <= 1, temperature > 0, temperature.isFinite else {
                throw refuse(
                    "--top is \(top) and --temperature \(temperature)", "Give a share above 0 and at most 1, and a temperature above 0.")
            }
            return .nucleus(top: top, temperature: temperature)
        default: throw refuse("There is no method '\(method)'", "Choose greedy, beam or nucleus.")
        }
    }
}
