internal import CZlib
package import Foundation
package import Primitives

/// A NumPy array as read from `.npy`: numbers in C order, widened to Double or Int64 by whoever asks.
///
/// Format: numpy.lib.format, versions 1.0 to 3.0; little-endian booleans, integers and floats, at most two dimensions.
package struct NumPyArray {
    package let shape: [Int]
    /// `b1`, `i1` … `i8`, `u1` … `u8`, `f4`, `f8`.
    package let type: String
    private let data: Data
    private let start: Int
    private let isFortranOrder: Bool

    package init(npy data: Data, place: String) throws(AMAFError) {
        func damaged(_ what: String) -> AMAFError {
            AMAFError("numpy.unreadable", "A NumPy array \(what)", place: place, remedy: "Save it again with numpy.save.")
        }
        guard data.count >= 12, data.prefix(6).elementsEqual([0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59]) else {
            throw damaged("does not begin as one")
        }
        let base = data.startIndex
        let wide = data[base + 6] >= 2
        let lengthBytes = wide ? 4 : 2
        let length = (0..<lengthBytes).reduce(0) { $0 | Int(data[base + 8 + $1]) << (8 * $1) }
        let begin = 8 + lengthBytes
        guard begin + length <= data.count else { throw damaged("ends inside its header") }
        let header = String(decoding: data[base + begin..<base + begin + length], as: UTF8.self)
        func value(_ key: String) -> Substring? {
            guard let range = header.range(of: "'\(key)':") else { return nil }
            return header[range.upperBound...].drop { $0 == " " }
        }
        guard let descr = value("descr"), descr.first == "'", let order = value("fortran_order"), let shapeText = value("shape"),
            shapeText.first == "(", let shapeEnd = shapeText.firstIndex(of: ")")
        else { throw damaged("has the header \(header.prefix(120))") }
        let dtype = descr.dropFirst().prefix { $0 != "'" }
        guard dtype.first == "<" || dtype.first == "|" else { throw damaged("is of the type '\(dtype)', which is not little-endian") }
        type = String(dtype.dropFirst())
        guard ["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"].contains(type) else {
            throw damaged("holds '\(dtype)', not plain numbers")
        }
        isFortranOrder = order.hasPrefix("True")
        var shape: [Int] = []
        for part in shapeText[..<shapeEnd].dropFirst().split(separator: ",") {
            guard let size = Int(part.trimmingCharacters(in: .whitespaces)), size >= 0 else {
                throw damaged("has the shape \(shapeText.prefix(40))")
            }
            shape.append(size)
        }
        guard shape.count <= 2 else { throw damaged("has \(shape.count) dimensions, where a matrix has two") }
        var count = Int(type.dropFirst()) ?? 1
        for size in shape {
            let (product, overflow) = count.multipliedReportingOverflow(by: size)
            guard !overflow else { throw damaged("claims the shape \(shape)") }
            count = product
        }
        guard begin + length + count <= data.count else {
            throw damaged("is cut short: \(data.count) bytes where \(begin + length + count) are needed")
        }
        self.shape = shape
        self.data = data
        start = base + begin + length
    }

    /// Element (row, column); a vector is one column.
    private func forEach<T>(_ load: (UnsafeRawBufferPointer, Int) -> T, _ body: (Int, Int, T) -> Void) {
        let rows = shape.first ?? 1
        let columns = shape.count > 1 ? shape[1] : 1
        data.withUnsafeBytes { whole in
            let raw = UnsafeRawBufferPointer(rebasing: whole[(start - data.startIndex)...])
            for i in 0..<rows { for j in 0..<columns { body(i, j, load(raw, isFortranOrder ? j * rows + i : i * columns + j)) } }
        }
    }

    /// Calls `body` row by row with whole numbers; floats that are none count as `Int64.min`.
    package func forEachInteger(_ body: (_ row: Int, _ column: Int, _ value: Int64) -> Void) {
        switch type {
        case "b1", "u1": forEach({ Int64($0.load(fromByteOffset: $1, as: UInt8.self)) }, body)
        case "i1": forEach({ Int64($0.load(fromByteOffset: $1, as: Int8.self)) }, body)
        case "i2": forEach({ Int64($0.loadUnaligned(fromByteOffset: 2 * $1, as: Int16.self)) }, body)
        case "u2": forEach({ Int64($0.loadUnaligned(fromByteOffset: 2 * $1, as: UInt16.self)) }, body)
        case "i4": forEach({ Int64($0.loadUnaligned(fromByteOffset: 4 * $1, as: Int32.self)) }, body)
        case "u4": forEach({ Int64($0.loadUnaligned(fromByteOffset: 4 * $1, as: UInt32.self)) }, body)
        case "i8": forEach({ $0.loadUnaligned(fromByteOffset: 8 * $1, as: Int64.self) }, body)
        case "u8": forEach({ Int64(clamping: $0.loadUnaligned(fromByteOffset: 8 * $1, as: UInt64.self)) }, body)
        case "f4": forEach({ Int64(exactly: $0.loadUnaligned(fromByteOffset: 4 * $1, as: Float.self)) ?? .min }, body)
        default: forEach({ Int64(exactly: $0.loadUnaligned(fromByteOffset: 8 * $1, as: Double.self)) ?? .min }, body)
        }
    }

    /// Elements as Float, row by row.
    package var floats: [Float] {
        var out: [Float] = []
        out.reserveCapacity(shape.reduce(1, *))
        switch type {
        case "f4": forEach({ $0.loadUnaligned(fromByteOffset: 4 * $1, as: Float.self) }) { _, _, value in out.append(value) }
        case "f8": forEach({ $0.loadUnaligned(fromByteOffset: 8 * $1, as: Double.self) }) { _, _, value in out.append(Float(value)) }
        default: forEachInteger { _, _, value in out.append(Float(value)) }
        }
        return out
    }

    package var integers: [Int64] {
        var out: [Int64] = []
        out.reserveCapacity(shape.reduce(1, *))
        forEachInteger { _, _, value in out.append(value) }
        return out
    }
}

/// Writes one array to a `.npy` file, or to an `.npz` (a ZIP archive of stored entries) that holds it under a name, piece by
/// piece: the array never lies in memory.
package struct NumPyWriter {
    private let file: FileHandle
    private let path: String
    private let header: [UInt8]
    private let entryName: String?
    private let byteCount: Int
    private var written = 0
    private var crc: UInt

    /// - Parameters:
    ///   - type: NumPy's dtype, for example `<i8`.
    ///   - entry: the array's name in the archive; nil writes a bare `.npy`.
    package init(path: String, shape: [Int], type: String, itemSize: Int, entry: String?) throws(AMAFError) {
        let tuple = "(" + shape.map(String.init).joined(separator: ", ") + (shape.count == 1 ? ",)" : ")")
        var text = "{'descr': '\(type)', 'fortran_order': False, 'shape': \(tuple), }"
        // The data begin at a multiple of 64.
        text += String(repeating: " ", count: (64 - (10 + text.utf8.count + 1) % 64) % 64) + "\n"
        var bytes = ByteWriter()
        bytes.append(raw: [0x93, 0x4E, 0x55, 0x4D, 0x50, 0x59, 1, 0])
        bytes.write(UInt16(text.utf8.count))
        bytes.append(raw: text.utf8)
        guard FileManager.default.createFile(atPath: path, contents: nil), let file = FileHandle(forWritingAtPath: path) else {
            throw AMAFError("numpy.unwritable", "The file cannot be written", place: path, remedy: "Check the folder and its permissions.")
        }
        self.file = file
        self.path = path
        header = bytes.bytes
        entryName = entry.map { $0 + ".npy" }
        byteCount = bytes.bytes.count + shape.reduce(itemSize, *)
        crc = crc32(0, nil, 0)
        if let entryName { try write(Self.localHeader(name: entryName, size: byteCount, crc: 0)) }
        try append(header)
    }

    private func write(_ bytes: [UInt8]) throws(AMAFError) {
        do { try file.write(contentsOf: Data(bytes)) } catch {
            throw AMAFError("numpy.unwritable", "The file cannot be written: \(error)", place: path, remedy: "Check the space on the disk.")
        }
    }

    /// The next elements, little-endian, in C order.
    package mutating func append(_ bytes: [UInt8]) throws(AMAFError) {
        written += bytes.count
        crc = bytes.withUnsafeBufferPointer { crc32(crc, $0.baseAddress, UInt32($0.count)) }
        try write(bytes)
    }

    package mutating func append<T: BitwiseNumber>(array: [T]) throws(AMAFError) {
        var writer = ByteWriter(reserving: array.count * MemoryLayout<T>.stride)
        writer.write(array: array)
        try append(writer.bytes)
    }

    /// Closes the archive. The checksum is known only now, so the entry's header is written once more.
    package mutating func finish() throws(AMAFError) {
        precondition(written == byteCount, "\(path): \(written) of \(byteCount) bytes were given")
        if let entryName {
            let checksum = UInt32(truncatingIfNeeded: crc)
            let local = Self.localHeader(name: entryName, size: byteCount, crc: checksum)
            let directory = Self.directory(name: entryName, size: byteCount, crc: checksum, offset: local.count + byteCount)
            try write(directory)
            do { try file.seek(toOffset: 0) } catch {
                throw AMAFError("numpy.unwritable", "The file cannot be rewound: \(error)", place: path, remedy: "Write to a plain file.")
            }
            try write(local)
        }
        do { try file.close() } catch {
            throw AMAFError("numpy.unwritable", "The file cannot be closed: \(error)", place: path, remedy: "Check the space on the disk.")
        }
    }

    // ZIP as in PKWARE's APPNOTE 4.3: sizes always in the ZIP64 field, so 4 GB are no border.

    private static func localHeader(name: String, size: Int, crc: UInt32) -> [UInt8] {
        var w = ByteWriter()
        w.write(UInt32(0x0403_4B50))
        w.write(UInt16(45))
        w.write(UInt16(0))
        w.write(UInt16(0))
        // No time stamp (1 January 1980), so equal matrices are equal files.
        w.write(UInt16(0))
        w.write(UInt16(33))
        w.write(crc)
        w.write(UInt32.max)
        w.write(UInt32.max)
        w.write(UInt16(name.utf8.count))
        w.write(UInt16(20))
        w.append(raw: name.utf8)
        w.write(UInt16(1))
        w.write(UInt16(16))
        w.write(UInt64(size))
        w.write(UInt64(size))
        return w.bytes
    }

    private static func directory(name: String, size: Int, crc: UInt32, offset: Int) -> [UInt8] {
        var w = ByteWriter()
        w.write(UInt32(0x0201_4B50))
        w.write(UInt16(45))
        w.write(UInt16(45))
        w.write(UInt16(0))
        w.write(UInt16(0))
        w.write(UInt16(0))
        w.write(UInt16(33))
        w.write(crc)
        w.write(UInt32.max)
        w.write(UInt32.max)
        w.write(UInt16(name.utf8.count))
        w.write(UInt16(20))
        w.write(UInt16(0))
        w.write(UInt16(0))
        w.write(UInt16(0))
        w.write(UInt32(0))
        w.write(UInt32(0))
        w.append(raw: name.utf8)
        w.write(UInt16(1))
        w.write(UInt16(16))
        w.write(UInt64(size))
        w.write(UInt64(size))
        let directorySize = w.bytes.count
        w.write(UInt32(0x0606_4B50))
        w.write(UInt64(44))
        w.write(UInt16(45))
        w.write(UInt16(45))
        w.write(UInt32(0))
        w.write(UInt32(0))
        w.write(UInt64(1))
        w.write(UInt64(1))
        w.write(UInt64(directorySize))
        w.write(UInt64(offset))
        w.write(UInt32(0x0706_4B50))
        w.write(UInt32(0))
        w.write(UInt64(offset + directorySize))
        w.write(UInt32(1))
        w.write(UInt32(0x0605_4B50))
        w.write(UInt16(0))
        w.write(UInt16(0))
        w.write(UInt16(1))
        w.write(UInt16(1))
        w.write(UInt32(directorySize))
        w.write(UInt32.max)
        w.write(UInt16(0))
        return w.bytes
    }
}

/// Reads arrays from an `.npz`: stored and deflated entries.
package enum NumPyArchive {
    /// The arrays by name, in the order of the archive's directory.
    package static func arrays(_ data: Data, place: String) throws(AMAFError) -> [(name: String, array: NumPyArray)] {
        func damaged(_ what: String) -> AMAFError {
            AMAFError("numpy.unreadable", "The archive \(what)", place: place, remedy: "Save it again with numpy.savez.")
        }
        let base = data.startIndex
        func number(_ at: Int, _ size: Int) throws(AMAFError) -> Int {
            guard at >= 0, size <= 8, at + size <= data.count else { throw damaged("ends too early") }
            return Int(truncatingIfNeeded: (0..<size).reduce(UInt64(0)) { $0 | UInt64(data[base + at + $1]) << (8 * UInt64($1)) })
        }
        var end = data.count - 22
        while end >= 0, end > data.count - 66_000, try number(end, 4) != 0x0605_4B50 { end -= 1 }
        guard end >= 0, try number(end, 4) == 0x0605_4B50 else { throw damaged("has no directory") }
        var entries = try number(end + 10, 2)
        var at = try number(end + 16, 4)
        if at == 0xFFFF_FFFF || entries == 0xFFFF, end >= 20, try number(end - 20, 4) == 0x0706_4B50 {
            let wide = try number(end - 12, 8)
            entries = try number(wide + 32, 8)
            at = try number(wide + 48, 8)
        }
        var out: [(name: String, array: NumPyArray)] = []
        for _ in 0..<entries {
            guard try number(at, 4) == 0x0201_4B50 else { throw damaged("has a damaged directory") }
            let method = try number(at + 10, 2)
            let crc = try number(at + 16, 4)
            var packed = try number(at + 20, 4)
            var size = try number(at + 24, 4)
            let nameLength = try number(at + 28, 2)
            let extraLength = try number(at + 30, 2)
            let commentLength = try number(at + 32, 2)
            var offset = try number(at + 42, 4)
            guard at + 46 + nameLength + extraLength <= data.count else { throw damaged("ends inside its directory") }
            let name = String(decoding: data[base + at + 46..<base + at + 46 + nameLength], as: UTF8.self)
            var extra = at + 46 + nameLength
            let extraEnd = extra + extraLength
            while extra + 4 <= extraEnd {
                let length = try number(extra + 2, 2)
                if try number(extra, 2) == 1 {
                    var field = extra + 4
                    if size == 0xFFFF_FFFF {
                        size = try number(field, 8)
                        field += 8
                    }
                    if packed == 0xFFFF_FFFF {
                        packed = try number(field, 8)
                        field += 8
                    }
                    if offset == 0xFFFF_FFFF { offset = try number(field, 8) }
                }
                extra += 4 + length
            }
            at = extraEnd + commentLength
            let start = try offset + 30 + number(offset + 26, 2) + number(offset + 28, 2)
            guard start >= 0, packed >= 0, size >= 0, start <= data.count, packed <= data.count - start else {
                throw damaged("cuts '\(name)' short")
            }
            let body = data[base + start..<base + start + packed]
            let content: Data
            switch method {
            case 0: content = body
            case 8:
                guard let inflated = inflate(body, size: size) else { throw damaged("holds '\(name)' in a damaged form") }
                content = inflated
            default: throw damaged("packs '\(name)' with the unknown method \(method)")
            }
            guard checksum(content) == UInt32(truncatingIfNeeded: crc) else { throw damaged("holds '\(name)' with a wrong checksum") }
            out.append((name.hasSuffix(".npy") ? String(name.dropLast(4)) : name, try NumPyArray(npy: content, place: "\(place)/\(name)")))
        }
        return out
    }

    private static func checksum(_ data: Data) -> UInt32 {
        var crc = crc32(0, nil, 0)
        data.withUnsafeBytes { raw in
            var rest = raw[...]
            while !rest.isEmpty {
                let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
                crc = crc32(crc, piece.bindMemory(to: UInt8.self).baseAddress, UInt32(piece.count))
                rest = rest.dropFirst(piece.count)
            }
        }
        return UInt32(truncatingIfNeeded: crc)
    }

    /// Raw deflate; nil when the stream is damaged or not of the promised size.
    private static func inflate(_ packed: Data, size: Int) -> Data? {
        // A promise that no deflate stream can keep is not worth the memory.
        guard packed.count < 1 << 31, size < 1 << 31, size <= packed.count * 1032 + 64 else { return nil }
        var stream = z_stream()
        guard inflateInit2_(&stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else { return nil }
        defer { inflateEnd(&stream) }
        var input = [UInt8](packed)
        var output = [UInt8](repeating: 0, count: size)
        let status = input.withUnsafeMutableBufferPointer { source in
            output.withUnsafeMutableBufferPointer { target in
                stream.next_in = source.baseAddress
                stream.avail_in = UInt32(source.count)
                stream.next_out = target.baseAddress
                stream.avail_out = UInt32(target.count)
                return CZlib.inflate(&stream, Z_FINISH)
            }
        }
        return status == Z_STREAM_END && Int(stream.total_out) == size ? Data(output) : nil
    }
}
