package import Foundation
package import Primitives

/// `preprocessor_config.json` as transformers writes it (sizes as numbers or maps, `crop_pct` of the ConvNeXT processor), with
/// two keys of our own, `squash` and `channel_order`, for networks from elsewhere.
extension ImagePreprocessor {
    private struct File: Codable {
        enum Size: Codable {
            case side(Int)
            case map([String: Int])
            init(from decoder: any Decoder) throws {
                let value = try decoder.singleValueContainer()
                if let side = try? value.decode(Int.self) { self = .side(side) } else { self = .map(try value.decode([String: Int].self)) }
            }
            func encode(to encoder: any Encoder) throws {
                var value = encoder.singleValueContainer()
                switch self {
                case .side(let side): try value.encode(side)
                case .map(let map): try value.encode(map)
                }
            }
            /// The shorter side, or the height of a square.
            var side: Int? {
                switch self {
                case .side(let side): side
                case .map(let map): map["shortest_edge"] ?? map["height"]
                }
            }
        }
        var size: Size?
        var crop_size: Size?
        var crop_pct: Double?
        var do_center_crop: Bool?
        var resample: Int?
        var rescale_factor: Double?
        var image_mean: [Float]?
        var image_std: [Float]?
        var squash: Bool?
        var channel_order: String?
    }

    /// timm's `pretrained_cfg` inside config.json.
    private struct Timm: Decodable {
        struct Pretrained: Decodable {
            var input_size: [Int]?
            var interpolation: String?
            var crop_pct: Double?
            var mean: [Float]?
            var std: [Float]?
        }
        var pretrained_cfg: Pretrained?
    }

    /// How images become the input of the network in a folder.
    ///
    /// - Parameter fallback: where the folder does not say.
    /// - Throws: `model.configuration`.
    package static func load(_ folder: ModelFolder, fallback: ImagePreprocessor) throws(AMAFError) -> ImagePreprocessor {
        func refuse(_ sentence: String, _ file: String) -> AMAFError {
            AMAFError("model.configuration", sentence, place: folder.file(file), remedy: "Use the model's own file.")
        }
        var made = fallback
        let name = "preprocessor_config.json"
        guard folder.has(name) else {
            guard let timm = try folder.configuration(Timm.self).pretrained_cfg else { return fallback }
            made.size = timm.input_size?.last ?? made.size
            made.resizeTo = Int((Double(made.size) / (timm.crop_pct ?? 0.875)).rounded(.down))
            made.filter = timm.interpolation == "bicubic" ? .bicubic : .bilinear
            (made.mean, made.deviation) = (timm.mean ?? made.mean, timm.std ?? made.deviation)
            try made.check { refuse($0, "config.json") }
            return made
        }
        let file: File
        do { file = try JSONDecoder().decode(File.self, from: try folder.data(name)) } catch let error as AMAFError { throw error } catch {
            throw refuse("\(name) describes no image processor", name)
        }
        if let side = file.size?.side {
            (made.size, made.resizeTo) = (side, side)
            if let share = file.crop_pct, share > 0, share < 1, side < 384 { made.resizeTo = Int(Double(side) / share) }
        }
        if file.do_center_crop != false, let side = file.crop_size?.side { made.size = side }
        switch file.resample {
        case 2?: made.filter = .bilinear
        case 3?: made.filter = .bicubic
        case nil: break
        case let other?: throw refuse("\(name) asks for the resampling filter \(other); known are bilinear (2) and bicubic (3)", name)
        }
        (made.mean, made.deviation) = (file.image_mean ?? made.mean, file.image_std ?? made.deviation)
        if let factor = file.rescale_factor, factor > 0 {
            // (v f − m) / s = (v/255 − m/(255 f)) / (s/(255 f)); the usual f = 1/255 changes nothing.
            let scale = Float(1 / (255 * factor))
            if abs(scale - 1) > 1e-6 { (made.mean, made.deviation) = (made.mean.map { $0 * scale }, made.deviation.map { $0 * scale }) }
        }
        made.squashes = file.squash ?? false
        made.isBGR = file.channel_order == "bgr"
        try made.check { refuse($0, name) }
        return made
    }

    private func check(_ refuse: (String) -> AMAFError) throws(AMAFError) {
        guard size > 0, size <= 8192, resizeTo >= size, resizeTo <= 16_384 else {
            throw refuse("Images are to be cropped to \(size) from \(resizeTo)")
        }
        guard mean.count == deviation.count, mean.count == 1 || mean.count == 3, deviation.allSatisfy({ $0 > 0 && $0.isFinite }),
            mean.allSatisfy(\.isFinite)
        else { throw refuse("Images are to be normalised by \(mean) and \(deviation)") }
    }

    /// The file that `load` reads back as this preprocessor.
    package func fileData() -> Data {
        let file = File(
            size: squashes ? .map(["height": resizeTo, "width": resizeTo]) : .map(["shortest_edge": resizeTo]),
            crop_size: .map(["height": size, "width": size]), crop_pct: nil, do_center_crop: true, resample: filter == .bicubic ? 3 : 2,
            rescale_factor: 1.0 / 255, image_mean: mean, image_std: deviation, squash: squashes ? true : nil,
            channel_order: isBGR ? "bgr" : nil)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        do { return try encoder.encode(file) } catch { preconditionFailure("a file of finite numbers: \(error)") }
    }
}
