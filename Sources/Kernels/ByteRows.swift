internal import CKernels

/// Rows of bytes as numbers.
package enum ByteRows {
    /// Row after row of `bytes` (…, columns), times `scale`: (indices.count, columns).
    package static func floats(_ bytes: [UInt8], columns: Int, _ indices: some Collection<Int>, scale: Float) -> [Float] {
        precondition(columns > 0 && bytes.count % columns == 0, "\(bytes.count) bytes are no whole number of rows of \(columns)")
        let count = bytes.count / columns
        let rows = indices.map { index in
            precondition(index >= 0 && index < count, "row \(index) of \(count)")
            return Int64(index)
        }
        return [Float](unsafeUninitializedCapacity: rows.count * columns) { target, written in
            amaf_gather_bytes(bytes, columns, rows, rows.count, scale, target.baseAddress)
            written = rows.count * columns
        }
    }
}
