package import Primitives

extension DatasetIndex {
    /// Reads one block from the whole source.
    package func readBlock(_ block: Int, from source: MappedFile) throws(AMAFError) -> BlockContents { preconditionFailure() }

    /// Reads one block from its own bytes: one array for each of `blocks[block]`, in that order.
    package func readBlock(_ block: Int, segments: [[UInt8]]) throws(AMAFError) -> BlockContents { preconditionFailure() }
}
