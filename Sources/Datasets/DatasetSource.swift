package import Primitives

/// A data set's bytes as one plain file: decompressed, and a folder of texts packed into one.
package struct DatasetSource: Sendable {
    /// Shown in messages: the name of the user's file or folder.
    package let name: String
    package let format: DatasetFormat
    /// The plain file: the user's own where that is plain already, otherwise one in the scratch folder.
    package let path: String
    /// The folder that image and sensor references are relative to.
    package let folder: String

    /// Decompresses a `.gz` file, or packs a folder of texts, into `scratch`; a plain file is used where it lies.
    package static func prepare(_ path: String, format: DatasetFormat, scratch: String) throws(AMAFError) -> DatasetSource {
        preconditionFailure()
    }

    /// One pass over the bytes. Memory: 16 bytes a row (id hashes) and the class names.
    ///
    /// - Parameter classNames: the classes when they are known before; rows with another label are then quarantined. Nil collects
    ///   the names that occur.
    package func index(blockSize: Int = BlockPlan.defaultBlockSize, classNames: [String]? = nil) throws(AMAFError) -> DatasetIndex {
        preconditionFailure()
    }
}
