/// Appends fixed little-endian values: the form of our binary artifacts.
package struct ByteWriter: Sendable {
    package private(set) var bytes: [UInt8] = []

    package init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    // Inlinable: other modules would else call the unspecialised form, which costs ten times as much a field.
    @inlinable package mutating func write<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { append(memory: $0) }
    }
    @usableFromInline mutating func append(memory: UnsafeRawBufferPointer) { bytes.append(contentsOf: memory) }

    package mutating func write(_ value: Float) { write(value.bitPattern) }
    package mutating func write(_ value: Double) { write(value.bitPattern) }

    /// A 32-bit length and the bytes.
    package mutating func write(_ field: [UInt8]) {
        write(UInt32(field.count))
        bytes.append(contentsOf: field)
    }
    package mutating func write(_ text: String) {
        var text = text
        text.withUTF8 { utf8 in
            write(UInt32(utf8.count))
            append(memory: UnsafeRawBufferPointer(utf8))
        }
    }

    package mutating func append(raw: some Sequence<UInt8>) {
        if raw.withContiguousStorageIfAvailable({ append(memory: UnsafeRawBufferPointer($0)) }) == nil { bytes.append(contentsOf: raw) }
    }

    /// Numbers in memory order, which on every platform we run on is little-endian; no count is written.
    package mutating func write<T: BitwiseNumber>(array: [T]) { array.withUnsafeBytes { bytes.append(contentsOf: $0) } }
}

/// Numbers whose memory is their little-endian form.
package protocol BitwiseNumber {}
extension UInt8: BitwiseNumber {}
extension Int8: BitwiseNumber {}
extension UInt16: BitwiseNumber {}
extension Int16: BitwiseNumber {}
extension UInt32: BitwiseNumber {}
extension Int32: BitwiseNumber {}
extension UInt64: BitwiseNumber {}
extension Int64: BitwiseNumber {}
extension Float: BitwiseNumber {}
extension Double: BitwiseNumber {}

/// Reads what `ByteWriter` wrote and refuses to read past the end.
package struct ByteReader {
    private let buffer: UnsafeRawBufferPointer
    package private(set) var offset = 0
    private let what: String

    /// - Parameters:
    ///   - buffer: must stay valid while the reader is used.
    ///   - what: named in errors, for example `feature block`.
    package init(_ buffer: UnsafeRawBufferPointer, of what: String) {
        self.buffer = buffer
        self.what = what
    }

    package var remaining: Int { buffer.count - offset }

    @usableFromInline mutating func take(_ count: Int) throws(AMAFError) -> UnsafeRawBufferPointer {
        guard count >= 0, count <= remaining else {
            throw AMAFError(
                "artifact.truncated", "A \(what) ends at byte \(buffer.count) where \(count) more bytes from \(offset) were promised",
                remedy: "The file is damaged or was written by another version; delete it and run again.")
        }
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: buffer[offset..<offset + count])
    }

    package mutating func read<T: FixedWidthInteger>(_ type: T.Type = T.self) throws(AMAFError) -> T {
        let raw = try take(MemoryLayout<T>.size)
        // Loads of known width: where this is not specialised, a generic load looks its metadata up each time.
        switch raw.count {
        case 1: return T(truncatingIfNeeded: raw[0])
        case 2: return T(truncatingIfNeeded: UInt16(littleEndian: raw.loadUnaligned(as: UInt16.self)))
        case 4: return T(truncatingIfNeeded: UInt32(littleEndian: raw.loadUnaligned(as: UInt32.self)))
        case 8: return T(truncatingIfNeeded: UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)))
        default: return T(littleEndian: raw.loadUnaligned(as: T.self))
        }
    }
    package mutating func readFloat() throws(AMAFError) -> Float { Float(bitPattern: try read(UInt32.self)) }
    package mutating func readDouble() throws(AMAFError) -> Double { Double(bitPattern: try read(UInt64.self)) }

    package mutating func readBytes() throws(AMAFError) -> [UInt8] {
        let count = try read(UInt32.self)
        return [UInt8](try take(Int(count)))
    }
    package mutating func readString() throws(AMAFError) -> String {
        String(decoding: try take(Int(try read(UInt32.self))), as: UTF8.self)
    }
    package mutating func readRaw(_ count: Int) throws(AMAFError) -> UnsafeRawBufferPointer { try take(count) }

    package mutating func readArray<T: BitwiseNumber>(_ type: T.Type = T.self, count: Int) throws(AMAFError) -> [T] {
        let (size, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<T>.stride)
        let raw = try take(overflow ? .max : size)
        return [T](unsafeUninitializedCapacity: count) { out, written in
            UnsafeMutableRawBufferPointer(out).copyMemory(from: raw)
            written = count
        }
    }
}

extension ByteReader {
    /// Reads `bytes` inside `body`, where the reader cannot outlive them: the form for rooms without unsafe code.
    package static func reading<R>(
        _ bytes: [UInt8], of what: String, _ body: (inout ByteReader) throws(AMAFError) -> R
    ) throws(AMAFError) -> R {
        let result: Result<R, AMAFError> = bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer, of: what)
            do throws(AMAFError) { return .success(try body(&reader)) } catch { return .failure(error) }
        }
        return try result.get()
    }
}
