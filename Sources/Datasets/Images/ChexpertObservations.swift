/// The fourteen observations of CheXpert (Irvin et al., 2019, arXiv 1901.07031), in the order of its tables.
package enum ChexpertObservations {
    package static let names = [
        "No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
        "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
    ]
    package static let present = "present"
    package static let absent = "absent"

    package enum Value: Hashable, Sendable {
        case present, absent, uncertain
        /// Not mentioned.
        case blank
    }

    /// `1`, `1.0`, `0`, `-1`, blank; nil for anything else.
    package static func value(_ text: String) -> Value? {
        if text.isEmpty { return .blank }
        switch Double(text) {
        case 1: return .present
        case 0: return .absent
        case -1: return .uncertain
        default: return nil
        }
    }

    /// The class of a cell; nil where no label is known. A blank is no answer: reports name what is there far oftener than what is not.
    package static func label(_ text: String, uncertain: ImageRows.Uncertain) -> String? {
        switch value(text) {
        case .present: present
        case .absent: absent
        case .uncertain:
            switch uncertain {
            case .zeros: absent
            case .ones: present
            case .ignore: nil
            }
        case .blank, nil: nil
        }
    }
}
