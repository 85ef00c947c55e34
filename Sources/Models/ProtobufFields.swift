/// The fields of one protobuf message, in order; stops at damage and says so.
struct ProtobufFields {
    enum Value {
        case number(UInt64)
        case fixed64(UInt64)
        case bytes([UInt8])
        case fixed32(UInt32)
    }
    private let bytes: [UInt8]
    private var at = 0
    private(set) var isDamaged = false

    init(bytes: [UInt8]) { self.bytes = bytes }

    /// The numbers of a packed repeated field; nil when they are cut off.
    static func packedNumbers(_ bytes: [UInt8]) -> [UInt64]? {
        var (reader, numbers) = (ProtobufFields(bytes: bytes), [UInt64]())
        while reader.at < bytes.count {
            guard let number = reader.varint() else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    mutating func next() -> (number: Int, value: Value)? {
        guard !isDamaged, at < bytes.count else { return nil }
        guard let key = varint() else { return damaged() }
        switch key & 7 {
        case 0:
            guard let value = varint() else { return damaged() }
            return (Int(key >> 3), .number(value))
        case 1:
            guard let value = fixed(8) else { return damaged() }
            return (Int(key >> 3), .fixed64(value))
        case 2:
            guard let length = varint(), length <= UInt64(bytes.count - at) else { return damaged() }
            defer { at += Int(length) }
            return (Int(key >> 3), .bytes(Array(bytes[at..<at + Int(length)])))
        case 5:
            guard let value = fixed(4) else { return damaged() }
            return (Int(key >> 3), .fixed32(UInt32(value)))
        default: return damaged()
        }
    }

    private mutating func damaged() -> (number: Int, value: Value)? {
        isDamaged = true
        return nil
    }
    private mutating func varint() -> UInt64? {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 64, by: 7) {
            guard at < bytes.count else { return nil }
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 127) << shift
            if byte < 128 { return value }
        }
        return nil
    }
    private mutating func fixed(_ count: Int) -> UInt64? {
        guard at + count <= bytes.count else { return nil }
        defer { at += count }
        return (0..<count).reduce(0) { $0 | UInt64(bytes[at + $1]) << (8 * UInt64($1)) }
    }
}
