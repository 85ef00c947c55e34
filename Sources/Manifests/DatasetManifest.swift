package import Datasets

/// A data set: where its bytes are, how they are cut into samples, which classes it has. A file of `configs/datasets/`, or written
/// inside a pipeline.
package struct DatasetManifest: Hashable, Sendable, Codable {
    package enum Location: Hashable, Sendable, Codable {
        /// Pulled from its public source or a mirror (`amaf dataset pull`), kept below the folder of all data.
        case published(PublicFile)
        /// The same for a data set of several files, which is the folder that they are pulled to.
        case publishedFolder([PublicFile])
        /// A file or folder of the user, resolved against the manifest.
        case local(String)
        /// Below the folder of all data, or the mirror: for data that their publisher gives out by hand only.
        case dataFolder(String)
        /// Made on the spot by `SampleGenerator`.
        case generated(SampleGenerator.Settings)
    }

    package var name: String
    /// The manifest file that described it.
    package var path: String
    package var location: Location
    /// The test split's own file where it is not in the same one.
    package var testLocation: Location?
    /// For the samples to label, splits chosen.
    package var pool: DatasetFormat
    /// For the samples that only measure the classifier; nil when there are none.
    package var test: DatasetFormat?
    /// For samples on which cuts and choices are made, so that the test split stays unseen; nil when there are none.
    package var validation: DatasetFormat?
    /// When given, labels outside of this list quarantine their row, and unlabelled data can be reviewed.
    package var classes: [String]?
    package var licence: String
    package var citation: String

    package init(
        name: String, path: String, location: Location, testLocation: Location? = nil, pool: DatasetFormat, test: DatasetFormat? = nil,
        classes: [String]? = nil, licence: String = "", citation: String = ""
    ) {
        self.name = name
        self.path = path
        self.location = location
        self.testLocation = testLocation
        self.pool = pool
        self.test = test
        self.classes = classes
        self.licence = licence
        self.citation = citation
    }
}
