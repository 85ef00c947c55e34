/// Rows of few non-zero Float32 values (compressed sparse rows): `rows` × `columns`.
package struct SparseMatrix: Hashable, Sendable {
    package let columns: Int
    /// rows + 1 offsets into `columnIndices` and `values`.
    package private(set) var rowStarts: [Int32] = [0]
    package private(set) var columnIndices: [Int32] = []
    package private(set) var values: [Float] = []

    /// - Precondition: `columns` fits in 31 bits.
    package init(columns: Int) {
        precondition(columns >= 0 && columns <= Int(Int32.max), "a sparse matrix of \(columns) columns")
        self.columns = columns
    }

    package var rows: Int { rowStarts.count - 1 }

    package mutating func reserve(rows: Int, entries: Int) {
        rowStarts.reserveCapacity(rowStarts.count + rows)
        columnIndices.reserveCapacity(columnIndices.count + entries)
        values.reserveCapacity(values.count + entries)
    }

    /// Adds a row. A column may come twice; its values then add up wherever the row is multiplied.
    /// - Precondition: as many columns as values, all of them inside the matrix.
    package mutating func appendRow(columns indices: some Collection<Int32>, values newValues: some Collection<Float>) {
        precondition(indices.count == newValues.count, "\(indices.count) columns and \(newValues.count) values in one row")
        for column in indices { precondition(column >= 0 && Int(column) < columns, "column \(column) of \(columns)") }
        columnIndices.append(contentsOf: indices)
        values.append(contentsOf: newValues)
        rowStarts.append(Int32(columnIndices.count))
    }

    /// Adds one entry to the row that `endRow` will close: the form without a temporary array for each row.
    package mutating func appendEntry(column: Int32, value: Float) {
        precondition(column >= 0 && Int(column) < columns, "column \(column) of \(columns)")
        columnIndices.append(column)
        values.append(value)
    }
    package mutating func endRow() { rowStarts.append(Int32(columnIndices.count)) }

    package func entries(ofRow row: Int) -> Range<Int> { Int(rowStarts[row])..<Int(rowStarts[row + 1]) }

    /// The same rows over fewer columns.
    /// - Parameter map: the new number of each column; −1 drops its entries.
    package func mappingColumns(_ map: [Int32], columns newColumns: Int) -> SparseMatrix {
        precondition(map.count == columns, "a map of \(map.count) columns for a matrix of \(columns)")
        var result = SparseMatrix(columns: newColumns)
        result.reserve(rows: rows, entries: values.count)
        for row in 0..<rows {
            for entry in entries(ofRow: row) {
                let column = map[Int(columnIndices[entry])]
                if column >= 0 { result.appendEntry(column: column, value: values[entry]) }
            }
            result.endRow()
        }
        return result
    }
}
