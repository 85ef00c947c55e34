package import Primitives

/// A file of a public data set: where it comes from and what its bytes must be.
package struct PublicFile: Hashable, Sendable, Codable {
    /// Of the data set: `clinc150`.
    package var dataset: String
    /// The name that the file has once it is here, below the data set's folder.
    package var file: String
    /// Empty where the file lies in mirrors only.
    package var url: String
    /// SHA-256 of the plain file, which is what the URL delivers, or, where it ends with `.gz`, the gzip of it.
    package var sha256: Digest
    /// Of the plain file; 0 when unknown.
    package var byteCount: Int
    /// Below a mirror folder: `clinc150/data_full.json.gz`. Decompressed when it ends with `.gz`.
    package var mirrorPath: String?
    /// SHA-256 of the mirror's file as it lies there.
    package var mirrorSHA256: Digest?

    package init(
        dataset: String, file: String, url: String, sha256: Digest, byteCount: Int = 0, mirrorPath: String? = nil,
        mirrorSHA256: Digest? = nil
    ) {
        self.dataset = dataset
        self.file = file
        self.url = url
        self.sha256 = sha256
        self.byteCount = byteCount
        self.mirrorPath = mirrorPath
        self.mirrorSHA256 = mirrorSHA256
    }

    /// Where the file lies below the folder of all data: `DATA/clinc150/data_full.json`.
    package func localPath(in dataFolder: String) -> String { "\(dataFolder)/\(dataset)/\(file)" }
}
