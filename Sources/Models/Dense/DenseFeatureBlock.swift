package import Primitives

/// Features of consecutive samples: (rows, columns) Float32. A masked sample's row is zeros.
package struct DenseFeatureBlock: Hashable, Sendable {
    package var firstPosition: Int
    package var columns: Int
    package var values: [Float]

    package init(firstPosition: Int, columns: Int, values: [Float]) {
        precondition(columns > 0 && values.count.isMultiple(of: columns), "\(values.count) values in rows of \(columns)")
        self.firstPosition = firstPosition
        self.columns = columns
        self.values = values
    }

    package var rows: Int { values.count / columns }
    package var positions: Range<Int> { firstPosition..<firstPosition + rows }
    package subscript(row row: Int) -> ArraySlice<Float> { values[row * columns..<(row + 1) * columns] }

    private static let magic: UInt32 = 0x3146_4441  // "ADF1"

    /// Little-endian: magic, columns, first position, rows; then the values.
    package func encode() -> [UInt8] {
        var writer = ByteWriter(reserving: 20 + 4 * values.count)
        writer.write(Self.magic)
        writer.write(UInt32(columns))
        writer.write(UInt64(firstPosition))
        writer.write(UInt32(rows))
        writer.write(array: values)
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        self = try ByteReader.reading(bytes, of: "block of dense features") { (reader) throws(AMAFError) in
            let magic = try reader.read(UInt32.self)
            let columns = Int(try reader.read(UInt32.self))
            let first = try reader.read(UInt64.self)
            let rows = Int(try reader.read(UInt32.self))
            guard magic == Self.magic, columns > 0, first <= UInt64(Int.max / 2), reader.remaining == rows * columns * 4 else {
                throw AMAFError.damaged("block of dense features")
            }
            return DenseFeatureBlock(firstPosition: Int(first), columns: columns, values: try reader.readArray(count: rows * columns))
        }
    }
}
