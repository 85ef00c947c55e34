import Foundation
import Kernels
import Models
import NeuralNetworks
import Primitives
import Testing

/// Model folders on disk for one test.
final class ScratchFolder {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-model-\(UUID().uuidString)").path

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(atPath: path) }

    var folder: ModelFolder { get throws { try ModelFolder(path) } }

    func write(_ name: String, _ text: String) throws { try write(name, Data(text.utf8)) }
    func write(_ name: String, _ data: Data) throws {
        let file = URL(fileURLWithPath: "\(path)/\(name)")
        try FileManager.default.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
        try data.write(to: file)
    }
}

@Suite struct ModelFolderTests {
    private static let device = CPUDevice(lanes: 1)
    static let pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "move", "money", "##s", "to", "savings", "weather"]
    private static let config = """
        {"model_type": "bert", "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
         "max_position_embeddings": 12, "type_vocab_size": 2}
        """

    private static func bert() throws -> [NamedTensor] {
        var c = BERT.Configuration()
        (c.vocab_size, c.hidden_size, c.num_hidden_layers, c.num_attention_heads) = (10, 8, 2, 2)
        (c.intermediate_size, c.max_position_embeddings) = (16, 12)
        return try BERT(c, ParameterStore(seed: 1, on: device)).parameters.namedTensors()
    }

    /// A whole small BERT, changed by the test.
    private func bertFolder(
        config: String = config, pieces: [String] = pieces, _ change: (inout [NamedTensor]) throws -> Void = { _ in }
    ) throws -> ScratchFolder {
        let scratch = try ScratchFolder()
        var tensors = try Self.bert()
        try change(&tensors)
        try scratch.write("config.json", config)
        try scratch.write("vocab.txt", pieces.joined(separator: "\n") + "\n")
        try scratch.write("model.safetensors", Safetensors.encode(tensors))
        return scratch
    }

    /// What verifying says; the error must name the file that is wrong and offer a remedy.
    private func refusal(_ scratch: ScratchFolder, sourceLocation: SourceLocation = #_sourceLocation) throws -> AMAFError {
        do throws(AMAFError) {
            _ = try ModelReport.verify(try ModelFolder(scratch.path), on: Self.device)
            Issue.record("the folder was accepted", sourceLocation: sourceLocation)
            throw AMAFError("accepted", "")
        } catch {
            #expect(error.place.hasPrefix(scratch.path) || error.code == "model.configuration", "\(error)", sourceLocation: sourceLocation)
            return error
        }
    }

    @Test func saysWhatAFolderHolds() throws {
        let scratch = try bertFolder { $0.append(NamedTensor("embeddings.position_ids", [12], (0..<12).map(Float.init))) }
        try scratch.write("SHA256SUMS", "\(Digest.of(Array(Self.config.utf8)).hex)  config.json\n")
        let report = try ModelReport.verify(scratch.folder, on: Self.device)
        #expect(report.kind == "bert" && report.unused == ["embeddings.position_ids"] && report.checkedSums == 1)
        #expect(report.vocabulary == "WordPiece, 10 pieces for 10 rows")
        #expect(try report.weights == Self.bert().reduce(0) { $0 + $1.values.count })
    }

    private static let tensor = "encoder.layer.1.attention.self.key.weight"

    @Test func aMissingTensorIsNamed() throws {
        let error = try refusal(bertFolder { $0.removeAll { $0.name == Self.tensor } })
        #expect(error.code == "model.missing-tensor" && error.message.contains(Self.tensor) && error.place.hasSuffix("model.safetensors"))
    }

    @Test func aWrongShapeIsNamed() throws {
        let error = try refusal(
            bertFolder { tensors in
                let place = try #require(tensors.firstIndex { $0.name == Self.tensor })
                tensors[place].shape = [4, 16]
            })
        #expect(error.code == "model.wrong-shape" && error.message.contains("'\(Self.tensor)' has shape [4, 16] where [8, 8]"))
    }

    @Test(arguments: [Float.nan, .infinity]) func aNumberThatIsNoneIsNamed(_ value: Float) throws {
        let used = try refusal(
            bertFolder { tensors in
                let place = try #require(tensors.firstIndex { $0.name == Self.tensor })
                tensors[place].values[5] = value
            })
        #expect(used.code == "model.not-finite" && used.message.contains("'\(Self.tensor)'") && used.message.contains("position 5"))
        // In a tensor that the network does not read, too.
        let unused = try refusal(bertFolder { $0.append(NamedTensor("extra", [2], [1, value])) })
        #expect(unused.code == "model.not-finite" && unused.message.contains("'extra'"))
    }

    @Test func aForeignVocabularyIsRefused() throws {
        let long = try refusal(bertFolder(pieces: Self.pieces + ["stranger"]))
        #expect(long.code == "model.vocabulary" && long.message.contains("11 pieces") && long.place.hasSuffix("vocab.txt"))
        // Rows padded to a round number are usual, a table of another model is not.
        let padded = Self.config.replacing("\"vocab_size\": 10", with: "\"vocab_size\": 64")
        func resized(_ rows: Int) -> (inout [NamedTensor]) -> Void {
            { tensors in
                for i in tensors.indices where tensors[i].name == "embeddings.word_embeddings.weight" {
                    tensors[i] = NamedTensor(tensors[i].name, [rows, 8], [Float](repeating: 0.1, count: rows * 8))
                }
            }
        }
        let roomy = try bertFolder(config: padded, resized(64))
        #expect(try ModelReport.verify(roomy.folder, on: Self.device).vocabulary == "WordPiece, 10 pieces for 64 rows")
        let short = try refusal(bertFolder(config: Self.config.replacing("\"vocab_size\": 10", with: "\"vocab_size\": 500"), resized(500)))
        #expect(short.code == "model.vocabulary")
        let special = try refusal(bertFolder(pieces: Self.pieces.filter { $0 != "[CLS]" }))
        #expect(special.code == "tokenizer.vocabulary")
    }

    @Test func aCutOffCheckpointIsRefused() throws {
        let scratch = try bertFolder()
        let whole = try Data(contentsOf: URL(fileURLWithPath: "\(scratch.path)/model.safetensors"))
        for count in [0, 7, 200, whole.count - 1] {
            try scratch.write("model.safetensors", whole.prefix(count))
            #expect(try refusal(scratch).code == "safetensors.header", "\(count) bytes")
        }
        try FileManager.default.removeItem(atPath: "\(scratch.path)/model.safetensors")
        #expect(try refusal(scratch).code == "safetensors.unreadable")
    }

    @Test func changedFilesAreFound() throws {
        let scratch = try bertFolder()
        try scratch.write("SHA256SUMS", "\(Digest.of([1] as [UInt8]).hex)  config.json\n")
        #expect(try refusal(scratch).code == "model.digest-mismatch")
        try scratch.write("SHA256SUMS", "\(Digest.of([1] as [UInt8]).hex)  ../config.json\n")
        #expect(try refusal(scratch).code == "model.missing-file")
        try scratch.write("SHA256SUMS", "hello\n")
        #expect(try refusal(scratch).code == "model.damaged-sums")
    }

    /// Sizes that would divide by zero, count backwards or overflow are refused before anything is made of them.
    @Test(arguments: [
        ("bert", #""num_attention_heads": 0"#), ("bert", #""num_hidden_layers": -1"#), ("bert", #""hidden_size": 4611686018427387904"#),
        ("bert", #""num_attention_heads": 3"#), ("bert", #""hidden_act": "swish""#), ("bert", #""vocab_size": "many""#),
        ("bert", #""vocab_size": 1"# + "}}"),
        ("clip_vision_model", #""num_attention_heads": 0"#), ("clip_vision_model", #""patch_size": 0"#),
        ("clip_vision_model", #""image_size": 10, "patch_size": 3"#), ("t5", #""num_heads": -2"#), ("t5", #""eos_token_id": 99999"#),
        ("t5", #""relative_attention_num_buckets": 0"#), ("t5", #""feed_forward_proj": "swiglu""#), ("resnet", #""depths": [1]"#),
        ("resnet", #""hidden_sizes": [0], "depths": [1]"#), ("resnet", #""hidden_sizes": [10], "depths": [1]"#),
        ("resnet", #""depths": [-1], "hidden_sizes": [16]"#), ("resnet", #""downsample_in_first_stage": true"#),
        ("resnet", #""architecture": "resnext50""#), ("vae", #""vae": {}"#),
        (
            "vae",
            #""vae": {"height": -1, "width": 4, "channels": 1, "architecture": {"dense": {"hidden": [4]}}, "latent": 2, "beta": 0.5, "likelihood": "bernoulli", "classes": 0}"#
        ),
    ]) func impossibleConfigurationsAreRefused(_ kind: String, _ fields: String) throws {
        let scratch = try ScratchFolder()
        // Later keys win, as JSON readers have it; the network's other sizes are small and right.
        var values: [String: Any] = [
            "model_type": kind, "vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "intermediate_size": 8,
        ]
        if let object = try? JSONSerialization.jsonObject(with: Data("{\(fields)}".utf8)) as? [String: Any] {
            values.merge(object) { $1 }
            try scratch.write("config.json", JSONSerialization.data(withJSONObject: values))
        } else {
            try scratch.write("config.json", "{\(fields)}")
        }
        try scratch.write("model.safetensors", Safetensors.encode([NamedTensor("a", [1], [1])]))
        #expect(try refusal(scratch).code == "model.configuration")
    }

    @Test func anUnknownKindIsNamed() throws {
        let scratch = try bertFolder(config: #"{"model_type": "llama"}"#)
        let error = try refusal(scratch)
        #expect(error.code == "model.kind" && error.message.contains("'llama'") && error.remedy.contains("bert"))
        try FileManager.default.removeItem(atPath: "\(scratch.path)/config.json")
        #expect(try refusal(scratch).code == "model.missing-file")
        #expect(throws: AMAFError.self) { try ModelFolder("/nowhere/at/all") }
    }

    @Test func textsAreEmbeddedAsTheFolderSays() throws {
        let scratch = try bertFolder()
        let folder = try scratch.folder
        let embedder = try TextEmbedder(folder, on: Self.device)
        #expect(embedder.ids("Move moneys to Savings") == [2, 4, 5, 6, 7, 8, 3] && embedder.width == 8 && embedder.limit == 12)
        let network = try BERT.load(folder, on: Self.device)
        let (ids, other): ([Int32], [Int32]) = ([2, 4, 5, 6, 7, 8, 3], [2, 9, 3])
        #expect(embedder.embed(["move moneys to savings", "weather"]) == network.embed([ids, other]))
        let first = Operations.normalizeRows(Operations.token(network(.init([ids])), at: 0)).values()
        #expect(try TextEmbedder(folder, pooling: .cls, on: Self.device).embed(["move moneys to savings"]) == first)
        // The folder's own word counts where nobody says otherwise.
        try scratch.write("1_Pooling/config.json", #"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}"#)
        try scratch.write("sentence_bert_config.json", #"{"max_seq_length": 5}"#)
        let told = try TextEmbedder(folder, on: Self.device)
        #expect(told.ids("move moneys to savings") == [2, 4, 5, 6, 3])
        #expect(told.embed(["weather"]) == Operations.normalizeRows(Operations.token(network(.init([other])), at: 0)).values())
        try scratch.write("1_Pooling/config.json", #"{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}"#)
        #expect(throws: AMAFError.self) { try TextEmbedder(folder, on: Self.device) }
    }

    /// Early CLIP configurations name 2 as the end mark, which is a letter; the end is the largest id all the same.
    @Test func clipsOldEndMarkIsNotTaken() throws {
        var c = CLIP.TextConfiguration()
        (c.hidden_size, c.intermediate_size, c.num_hidden_layers, c.num_attention_heads) = (8, 16, 1, 2)
        (c.vocab_size, c.max_position_embeddings, c.projection_dim, c.eos_token_id) = (20, 8, 4, 19)
        let right = try CLIPTextEncoder(c, ParameterStore(seed: 5, on: Self.device))
        c.eos_token_id = 2
        let old = try CLIPTextEncoder(c, ParameterStore(seed: 5, on: Self.device))
        let texts: [[Int32]] = [[18, 2, 7, 19], [18, 5, 2, 2, 3, 19]]
        #expect(old.embed(texts) == right.embed(texts))
    }

    @Test func preprocessorFilesAreRead() throws {
        let scratch = try ScratchFolder()
        func load(_ text: String) throws -> ImagePreprocessor {
            try scratch.write("preprocessor_config.json", text)
            return try .load(scratch.folder, fallback: .imageNet())
        }
        try scratch.write("config.json", "{}")
        #expect(try ImagePreprocessor.load(scratch.folder, fallback: .imageNet()) == .imageNet())
        let clip = """
            "resample": 3, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
            "do_center_crop": true
            """
        #expect(try load(#"{"size": 224, "crop_size": 224, \#(clip)}"#) == .clip())
        #expect(
            try load(
                #"{"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}, "rescale_factor": 0.00392156862745098, \#(clip)}"#
            )
                == .clip())
        let convNeXT = try load(#"{"size": {"shortest_edge": 224}, "crop_pct": 0.875, "resample": 2}"#)
        #expect(convNeXT == .imageNet())
        // Subtracting from bytes: mean 104, no division.
        let caffe = try load(
            #"{"size": 256, "crop_size": 224, "rescale_factor": 1, "image_mean": [104], "image_std": [1], "channel_order": "bgr"}"#)
        #expect(abs(caffe.mean[0] - 104.0 / 255) < 1e-6 && abs(caffe.deviation[0] - 1 / 255.0) < 1e-8 && caffe.isBGR)
        for made in [ImagePreprocessor.clip(), .imageNet(), caffe] {
            try scratch.write("preprocessor_config.json", made.fileData())
            #expect(try ImagePreprocessor.load(scratch.folder, fallback: .clip()) == made)
        }
        for bad in [
            #"{"size": 10, "crop_size": 20}"#, #"{"resample": 1}"#, #"{"image_std": [0, 1, 1]}"#, #"{"image_mean": [1]}"#, "[",
            #"{"size": "big"}"#,
        ] {
            #expect(throws: AMAFError.self, "\(bad)") { try load(bad) }
        }
        // timm keeps it in config.json.
        try FileManager.default.removeItem(atPath: "\(scratch.path)/preprocessor_config.json")
        try scratch.write(
            "config.json",
            #"{"architecture": "resnet18", "num_classes": 7, "pretrained_cfg": {"input_size": [3, 160, 160], "interpolation": "bicubic", "crop_pct": 0.95, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}"#
        )
        let timm = try ImagePreprocessor.load(scratch.folder, fallback: .imageNet())
        #expect(timm == ImagePreprocessor(size: 160, resizeTo: 168, filter: .bicubic, mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5]))
        let network = try scratch.folder.configuration(ResNet.Configuration.self)
        #expect(network.hidden_sizes == [64, 128, 256, 512] && network.layer_type == "basic" && network.labels == 7)
        #expect(try scratch.folder.modelType() == "resnet")
    }

    @Test func squashedImagesInBlueFirst() {
        // 2×1 pixels: red, then blue; one output pixel of a squashed, blue-first network.
        let preprocessor = ImagePreprocessor(
            size: 1, filter: .bilinear, mean: [0, 0, 0], deviation: [1.0 / 255, 1.0 / 255, 1.0 / 255], squashes: true, isBGR: true)
        let out = preprocessor([200, 0, 0, 0, 0, 100], width: 2, height: 1, channels: 3)
        #expect(out.map { $0.rounded() } == [50, 0, 100])
    }
}
