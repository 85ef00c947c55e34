/// How the bytes of a data set are cut into rows and which part of a row is what.
package struct DatasetFormat: Hashable, Sendable, Codable {
    package enum Kind: String, Hashable, Sendable, Codable, CaseIterable {
        /// One JSON object with the keys train, val, test, oos_train, oos_val, oos_test, each a list of `[text, intent]`.
        case clinc150
        /// One JSON object a line.
        case jsonl
        /// RFC 4180 with a header line.
        case csv
        /// A folder with one text in each file; ids are the relative paths.
        case textFolder = "text-folder"
        /// One text a line.
        case textLines = "text-lines"
        /// A folder of pictures with a subfolder for each class; with splits chosen, a folder for each split above them.
        case imageFolder = "image-folder"
        /// A folder with `SPLIT-images-idx3-ubyte` and `SPLIT-labels-idx1-ubyte`, plain or gzip (MNIST and its like).
        case idx
        /// One archive with `SPLIT_images` and `SPLIT_labels` (MedMNIST).
        case npz
        /// A table with a column of paths to pictures.
        case imageCSV = "image-csv"
        /// CheXpert's folder or table: fourteen observations, 1, 0, −1 (uncertain) or blank.
        case chexpert

        package var holdsImages: Bool {
            switch self {
            case .imageFolder, .idx, .npz, .imageCSV, .chexpert: true
            case .clinc150, .jsonl, .csv, .textFolder, .textLines: false
            }
        }
    }

    /// The names of the fields (JSONL) or columns (CSV). JSONL names may be dotted paths into nested objects.
    package struct Fields: Hashable, Sendable, Codable {
        /// Without one, ids are made from the file's name and the row number: `reviews-000017`.
        package var id: String?
        package var text: String
        /// Without one, no gold label is known.
        package var label: String?
        /// The field that `DatasetFormat.splits` chooses by.
        package var split: String?
        package var image: String?
        package var sensor: String?

        package init(
            id: String? = nil, text: String = "text", label: String? = nil, split: String? = nil, image: String? = nil,
            sensor: String? = nil
        ) {
            self.id = id
            self.text = text
            self.label = label
            self.split = split
            self.image = image
            self.sensor = sensor
        }
    }

    package var kind: Kind
    package var fields: Fields
    /// Only rows of these splits, in this order for `clinc150` and in the order of the file otherwise; empty means all rows.
    package var splits: [String]
    /// Of CSV columns.
    package var delimiter: String
    /// Rows with this label belong to no class: their gold label is unknown.
    package var outOfScopeLabel: String?
    /// Of image data sets; nil is a plain `ImageRows()`.
    package var images: ImageRows?

    package init(
        _ kind: Kind, fields: Fields = Fields(), splits: [String] = [], delimiter: String = ",", outOfScopeLabel: String? = nil,
        images: ImageRows? = nil
    ) {
        self.images = images
        self.kind = kind
        self.fields = fields
        self.splits = splits
        self.delimiter = delimiter
        self.outOfScopeLabel = outOfScopeLabel
    }

    package static func clinc150(splits: [String]) -> DatasetFormat { DatasetFormat(.clinc150, splits: splits, outOfScopeLabel: "oos") }
    package static func jsonl(_ fields: Fields = Fields(), splits: [String] = []) -> DatasetFormat {
        DatasetFormat(.jsonl, fields: fields, splits: splits)
    }
    package static func csv(_ fields: Fields = Fields(), splits: [String] = [], delimiter: String = ",") -> DatasetFormat {
        DatasetFormat(.csv, fields: fields, splits: splits, delimiter: delimiter)
    }
    package static let textFolder = DatasetFormat(.textFolder)
    package static let textLines = DatasetFormat(.textLines)
    /// What `SampleGenerator` writes.
    package static func generated(splits: [String] = []) -> DatasetFormat {
        .jsonl(Fields(id: "id", text: "text", label: "label", split: "split", image: "image", sensor: "sensor"), splits: splits)
    }
}
