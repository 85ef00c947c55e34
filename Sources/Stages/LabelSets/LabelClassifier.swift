package import Models
package import Primitives

/// What a round knows of one label.
package enum LabelClassifier: Hashable, Sendable {
    /// Nobody said anything of it yet: no opinion.
    case silent
    /// All answers agree, so nothing tells images apart: (present + 1) / (answers + 2), Laplace's rule.
    case constant(Float)
    case kernel(KernelClassifier)

    /// Little-endian: kind (0, 1, 2), then the probability or the classifier.
    package func encode() -> [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .silent: writer.write(UInt8(0))
        case .constant(let p):
            writer.write(UInt8(1))
            writer.write(p)
        case .kernel(let model):
            writer.write(UInt8(2))
            writer.append(raw: model.encode())
        }
        return writer.bytes
    }

    /// Throws `artifact.truncated` or `artifact.damaged`.
    package init(decoding bytes: [UInt8]) throws(AMAFError) {
        guard bytes.first != 2 else {
            self = .kernel(try KernelClassifier(decoding: Array(bytes.dropFirst())))
            return
        }
        self = try ByteReader.reading(bytes, of: "label classifier") { (reader) throws(AMAFError) in
            switch try reader.read(UInt8.self) {
            case 0: return .silent
            case 1: return .constant(try reader.readFloat())
            default:
                throw AMAFError(
                    "artifact.damaged", "A label's classifier is of no known kind",
                    remedy: "The file is damaged or was written by another version; delete it and run again.")
            }
        }
    }
}
