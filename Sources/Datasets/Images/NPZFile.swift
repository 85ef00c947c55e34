internal import CZlib
internal import Foundation
internal import Primitives

/// NumPy archives as MedMNIST publishes them: `train_images` (n, h, w[, 3]) and `train_labels` (n, 1) bytes, and so on for each split.
enum NPZFile {
    static func splits(_ path: String, wanted: [String]) throws(AMAFError) -> [ImageArrays] {
        let archive = try MappedFile(path)
        let members = try archive.withBytes { (bytes) throws(AMAFError) in try ZipDirectory(bytes, place: path).members }
        let found = members.map(\.name).filter { $0.hasSuffix("_images.npy") }.map { String($0.dropLast("_images.npy".count)) }
        var splits: [ImageArrays] = []
        for split in wanted.isEmpty ? found : wanted {
            guard let images = members.first(where: { $0.name == "\(split)_images.npy" }) else {
                throw AMAFError(
                    "dataset.unknown-split", "There is no split '\(split)' in the archive; there are \(found.joined(separator: ", "))",
                    place: path, remedy: "Name one of these under 'splits'.")
            }
            let file = try unpacked(images, of: archive, place: path)
            let array = try file.withBytes { (bytes) throws(AMAFError) in try NPYHeader(bytes, place: "\(path)/\(images.name)") }
            guard array.itemSize == 1, array.shape.count == 3 || (array.shape.count == 4 && (1...4).contains(array.shape[3])) else {
                throw AMAFError(
                    "dataset.damaged",
                    "'\(images.name)' has the shape \(array.shape) of \(array.itemSize)-byte items, no bytes of pictures",
                    place: path, remedy: "Images are (n, height, width) or (n, height, width, channels) of uint8.")
            }
            splits.append(
                ImageArrays(
                    split: split, name: images.name, pixels: file, firstByte: array.firstByte, count: array.shape[0],
                    height: array.shape[1], width: array.shape[2], channels: array.shape.count == 4 ? array.shape[3] : 1,
                    labels: try labels(of: split, count: array.shape[0], members, archive, place: path)))
        }
        return splits
    }

    private static func labels(
        of split: String, count: Int, _ members: [ZipDirectory.Member], _ archive: MappedFile, place: String
    ) throws(AMAFError) -> [Int]? {
        guard let member = members.first(where: { $0.name == "\(split)_labels.npy" }) else { return nil }
        let file = try unpacked(member, of: archive, place: place)
        return try file.withBytes { (bytes) throws(AMAFError) -> [Int] in
            let array = try NPYHeader(bytes, place: "\(place)/\(member.name)")
            guard array.shape.reduce(1, *) == count, [1, 2, 4, 8].contains(array.itemSize) else {
                throw AMAFError(
                    "dataset.contradiction", "'\(member.name)' has the shape \(array.shape) for \(count) images", place: place,
                    remedy: "One whole number for each image is what can be read.")
            }
            return (0..<count).map { i in
                let at = array.firstByte + i * array.itemSize
                switch array.itemSize {
                case 1: return Int(bytes[at])
                case 2: return Int(Int16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: Int16.self)))
                case 4: return Int(Int32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: Int32.self)))
                default: return Int(Int64(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: Int64.self)))
                }
            }
        }
    }

    /// The member as a file of its own, which is gone when nobody reads it any longer.
    private static func unpacked(_ member: ZipDirectory.Member, of archive: MappedFile, place: String) throws(AMAFError) -> MappedFile {
        let scratch = NSTemporaryDirectory() + "amaf-npz-\(UUID().uuidString)"
        defer { unlink(scratch) }
        let out = try FileWriter(scratch)
        try archive.withBytes { (bytes) throws(AMAFError) in try member.unpack(bytes, to: out, place: place) }
        try out.close()
        return try MappedFile(scratch)
    }
}

/// The header of a .npy file, versions 1 to 3.
private struct NPYHeader {
    var shape: [Int]
    var itemSize: Int
    var firstByte: Int

    init(_ bytes: UnsafeRawBufferPointer, place: String) throws(AMAFError) {
        let damaged = AMAFError("dataset.damaged", "The array is no .npy that can be read", place: place, remedy: "Get the file again.")
        guard bytes.count >= 12, bytes.starts(with: [0x93] + Array("NUMPY".utf8)) else { throw damaged }
        let long = bytes[6] > 1
        let length =
            long
            ? Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
            : Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt16.self)))
        firstByte = (long ? 12 : 10) + length
        guard firstByte <= bytes.count else { throw damaged }
        let header = String(decoding: bytes[(long ? 12 : 10)..<firstByte], as: UTF8.self)
        guard let descr = header.firstMatch(of: #/'descr':\s*'[<|]([uib])([1248])'/#), let size = Int(descr.2),
            header.contains(#/'fortran_order':\s*False/#), let list = header.firstMatch(of: #/'shape':\s*\(([0-9, ]*)\)/#)
        else { throw damaged }
        shape = list.1.split(separator: ",").compactMap { Int($0.trimmingCharacters(in: .whitespaces)) }
        itemSize = size
        let (expected, overflow) = shape.reduce((itemSize, false)) { total, size in
            let (product, over) = total.0.multipliedReportingOverflow(by: size)
            return (product, total.1 || over)
        }
        guard !shape.isEmpty, !overflow, bytes.count - firstByte >= expected else { throw damaged }
    }
}

/// The central directory of a ZIP file; stored and deflated members.
private struct ZipDirectory {
    struct Member {
        var name: String
        var method: Int
        var packed: Int
        var plain: Int
        var localHeader: Int
        var checksum: UInt32
    }
    var members: [Member] = []

    init(_ bytes: UnsafeRawBufferPointer, place: String) throws(AMAFError) {
        let damaged = AMAFError("dataset.damaged", "The archive is no ZIP that can be read", place: place, remedy: "Get the file again.")
        func half(_ at: Int) -> Int { Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self))) }
        func word(_ at: Int) -> Int { Int(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))) }
        guard bytes.count >= 22 else { throw damaged }
        // The end record lies before a comment of at most 64 KiB.
        let lowest = max(0, bytes.count - 22 - 65_535)
        guard let end = stride(from: bytes.count - 22, through: lowest, by: -1).first(where: { word($0) == 0x0605_4B50 }) else {
            throw damaged
        }
        var at = word(end + 16)
        for _ in 0..<half(end + 10) {
            guard at >= 0, at + 46 <= bytes.count, word(at) == 0x0201_4B50 else { throw damaged }
            let (name, extra, comment) = (half(at + 28), half(at + 30), half(at + 32))
            guard at + 46 + name + extra + comment <= bytes.count else { throw damaged }
            members.append(
                Member(
                    name: String(decoding: bytes[at + 46..<at + 46 + name], as: UTF8.self), method: half(at + 10), packed: word(at + 20),
                    plain: word(at + 24), localHeader: word(at + 42), checksum: UInt32(word(at + 16))))
            at += 46 + name + extra + comment
        }
    }
}

extension ZipDirectory.Member {
    func unpack(_ bytes: UnsafeRawBufferPointer, to out: FileWriter, place: String) throws(AMAFError) {
        let damaged = AMAFError("dataset.damaged", "'\(name)' in the archive is damaged", place: place, remedy: "Get the file again.")
        guard localHeader + 30 <= bytes.count else { throw damaged }
        func half(_ at: Int) -> Int { Int(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt16.self))) }
        let start = localHeader + 30 + half(localHeader + 26) + half(localHeader + 28)
        guard start + packed <= bytes.count else { throw damaged }
        let body = UnsafeRawBufferPointer(rebasing: bytes[start..<start + packed])
        switch method {
        case 0:
            guard packed == plain, UInt32(crc32(0, body.baseAddress?.assumingMemoryBound(to: UInt8.self), UInt32(packed))) == checksum
            else {
                throw damaged
            }
            try out.write(body)
        case 8: try inflate(body, to: out, damaged)
        default: throw damaged
        }
    }

    private func inflate(_ body: UnsafeRawBufferPointer, to out: FileWriter, _ damaged: AMAFError) throws(AMAFError) {
        var stream = z_stream()
        // Negative: a raw deflate stream.
        guard inflateInit2_(&stream, -15, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            preconditionFailure("zlib \(String(cString: zlibVersion())) does not fit its header")
        }
        defer { inflateEnd(&stream) }
        stream.next_in = UnsafeMutablePointer(mutating: body.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(body.count)
        var piece = [UInt8](repeating: 0, count: 1 << 18)
        var (total, sum): (Int, UInt) = (0, 0)
        while true {
            let (status, made) = piece.withUnsafeMutableBufferPointer { buffer -> (Int32, Int) in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(buffer.count)
                let status = CZlib.inflate(&stream, Z_NO_FLUSH)
                return (status, buffer.count - Int(stream.avail_out))
            }
            total += made
            // More than promised is a bomb or damage.
            guard status == Z_OK || status == Z_STREAM_END, total <= plain, made > 0 || status == Z_STREAM_END else { throw damaged }
            sum = crc32(sum, piece, UInt32(made))
            try out.write(Array(piece[0..<made]))
            if status == Z_STREAM_END { break }
        }
        guard total == plain, UInt32(sum) == checksum else { throw damaged }
    }
}
