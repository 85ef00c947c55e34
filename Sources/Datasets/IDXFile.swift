package import Primitives

/// An IDX file of unsigned bytes, the format of MNIST and its relatives: a shape and its values, row-major.
///
/// Layout, big-endian: two zero bytes, the type (0x08), the number of dimensions, each dimension as UInt32, the values.
/// Read plain or gzipped, whatever the name says. (THE MNIST DATABASE, "FILE FORMATS".)
package struct IDXFile: Hashable, Sendable {
    /// Items first: (count) for labels, (count, height, width) for grey images, (count, height, width, channels) for colour.
    package let shape: [Int]
    package let values: [UInt8]

    /// What a plain file may hold at most: a damaged or hostile gzip must not fill the memory.
    package static let byteLimit = 4 << 30

    /// - Precondition: as many values as the shape says.
    package init(shape: [Int], values: [UInt8]) {
        precondition(
            !shape.isEmpty && shape.count < 256 && shape.allSatisfy { $0 >= 0 && $0 <= Int(UInt32.max) }
                && shape.reduce(1, *) == values.count, "\(values.count) values for shape \(shape)")
        self.shape = shape
        self.values = values
    }

    package var count: Int { shape[0] }
    /// Bytes of one item.
    package var itemByteCount: Int { shape.dropFirst().reduce(1, *) }

    /// - Throws: `dataset.idx` when it is no IDX file of unsigned bytes or its length differs from what its header promises;
    ///   a file's and gzip's errors.
    package init(contentsOf path: String) throws(AMAFError) {
        let bytes =
            try Gzip.isCompressed(path)
            ? try Gzip.decompressed(path, limit: Self.byteLimit)
            : try MappedFile(path).withBytes { (bytes) throws(AMAFError) in [UInt8](bytes) }
        try self.init(decoding: bytes, place: path)
    }

    /// - Throws: `dataset.idx`.
    package init(decoding bytes: [UInt8], place: String) throws(AMAFError) {
        let (shape, offset) = try Self.header(bytes.prefix(4 + 4 * 255), byteCount: bytes.count, place: place)
        self.init(shape: shape, values: Array(bytes[offset...]))
    }

    /// Reads and checks the header of a file of `byteCount` bytes that begins with `start`: its shape and where its values begin.
    ///
    /// - Throws: `dataset.idx`.
    package static func header(
        _ start: some Collection<UInt8>, byteCount: Int, place: String
    ) throws(AMAFError) -> (shape: [Int], offset: Int) {
        func refuse(_ sentence: String) -> AMAFError {
            AMAFError(
                "dataset.idx", sentence, place: place, remedy: "Give an IDX file of unsigned bytes, as MNIST's are; it may be gzipped.")
        }
        let bytes = Array(start)
        guard bytes.count >= 4, bytes[0] == 0, bytes[1] == 0 else { throw refuse("The file does not begin as an IDX file does") }
        guard bytes[2] == 0x08 else { throw refuse("The values are of IDX type \(bytes[2]), not unsigned bytes (8)") }
        let dimensions = Int(bytes[3])
        let header = 4 + 4 * dimensions
        guard dimensions > 0, bytes.count >= header else { throw refuse("The header of \(dimensions) dimensions is cut off") }
        var shape: [Int] = []
        var expected = 1
        for at in stride(from: 4, to: header, by: 4) {
            let size = bytes[at..<at + 4].reduce(0) { $0 << 8 | Int($1) }
            shape.append(size)
            let (product, overflows) = expected.multipliedReportingOverflow(by: size)
            guard !overflows else { throw refuse("The shape \(shape) is beyond any file") }
            expected = product
        }
        guard byteCount - header == expected else {
            throw refuse("The header promises \(expected) values of shape \(shape), the file holds \(byteCount - header)")
        }
        return (shape, header)
    }

    package func encode() -> [UInt8] {
        var bytes: [UInt8] = [0, 0, 0x08, UInt8(shape.count)]
        for size in shape { bytes += [UInt8(size >> 24 & 255), UInt8(size >> 16 & 255), UInt8(size >> 8 & 255), UInt8(size & 255)] }
        return bytes + values
    }
}
