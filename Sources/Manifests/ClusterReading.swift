package import Primitives
internal import Scheduling
internal import Yams

extension ClusterManifest {
    /// Reads and checks a file of `cluster/`. TLS files are named, not opened: workers and the head have their own.
    package static func load(_ path: String, defaults: Defaults = Defaults()) throws(AMAFError) -> ClusterManifest {
        try parse(YAMLDocument.load(path), defaults)
    }

    /// The same from text.
    package static func parse(_ text: String, path: String, defaults: Defaults = Defaults()) throws(AMAFError) -> ClusterManifest {
        try parse(YAMLDocument(text: text, path: path), defaults)
    }

    private static func parse(_ document: YAMLDocument, _ defaults: Defaults) throws(AMAFError) -> ClusterManifest {
        var map = try YAMLMapping(document.root, in: document)
        let name = try map.requiredText("name", remedy: "Give the cluster a name.")
        guard var head = try map.map("coordinator") else {
            throw map.missing("coordinator", remedy: "Give its 'control' and 'artifacts' addresses.")
        }
        var manifest = ClusterManifest(
            name: name, path: document.path, control: try head.address("control"), artifacts: try head.address("artifacts"),
            console: try head.text("console") ?? "127.0.0.1:7780",
            stateFolder: ManifestPaths.resolve(try head.text("state-folder") ?? "~/.amaf", against: document.path),
            scheduler: defaults.scheduler)
        guard manifest.console.split(separator: ":").count == 2,
            let port = manifest.console.split(separator: ":").last.flatMap({ UInt16($0) }), port > 0
        else {
            throw head.error(
                "manifest.bad-address", "'\(manifest.console)' is not host:port", at: "console", remedy: "For example '127.0.0.1:7780'.")
        }
        if manifest.control == manifest.artifacts {
            throw head.error(
                "manifest.bad-address", "Control and artifacts share one address", at: "artifacts", remedy: "Give each a port of its own.")
        }
        try head.finish()
        if var tls = try map.map("tls") {
            func file(_ key: String) throws(AMAFError) -> String {
                ManifestPaths.resolve(
                    try tls.requiredText(key, remedy: "TLS needs 'certificate', 'key' and 'authority'."), against: document.path)
            }
            manifest.tls = TLS(certificate: try file("certificate"), key: try file("key"), authority: try file("authority"))
            try tls.finish()
        }
        manifest.joinKeyFile = try map.text("join-key-file").map { ManifestPaths.resolve($0, against: document.path) }
        manifest.insecure = try map.bool("insecure") ?? false
        for (number, node) in (try map.list("workers") ?? []).enumerated() {
            var part = try YAMLMapping(node, in: document, name: "workers[\(number)]")
            manifest.workers.append(try WorkerGroup(&part))
        }
        if let twice = manifest.workers.enumerated().first(where: { i, group in manifest.workers[..<i].contains { $0.name == group.name } })
        {
            throw map.error(
                "manifest.duplicate-name", "Two worker groups are called '\(twice.element.name)'", at: "workers",
                remedy: "Rename one of them.")
        }
        if var part = try map.map("scheduler") { try manifest.scheduler.read(&part) }
        try map.finish()
        try manifest.checkTransport(map)
        return manifest
    }

    /// What leaves this machine is encrypted, unless somebody wrote down that it need not be.
    private func checkTransport(_ map: YAMLMapping) throws(AMAFError) {
        for address in [control, artifacts] {
            let isTLS = address.hasPrefix("tls+tcp://")
            if isTLS && tls == nil {
                throw map.error(
                    "manifest.no-tls-files", "'\(address)' is a TLS address without certificates", at: "coordinator",
                    remedy: "Add 'tls: {certificate: …, key: …, authority: …}'.")
            }
            if !isTLS && !Self.isLoopback(address) && !insecure {
                throw map.error(
                    "manifest.insecure-address", "'\(address)' would send data in the clear", at: "coordinator",
                    remedy: "Use 'tls+tcp://' with certificates, or write 'insecure: true' if the network itself is trusted.")
            }
        }
    }

    static func isLoopback(_ address: String) -> Bool {
        let host = address.drop { $0 != "/" }.drop { $0 == "/" }.split(separator: ":").dropLast().joined(separator: ":")
        return host == "localhost" || host.hasPrefix("127.") || host == "[::1]"
    }
}

extension YAMLMapping {
    /// `tcp://host:port` or `tls+tcp://host:port`.
    fileprivate mutating func address(_ key: String) throws(AMAFError) -> String {
        let written = try requiredText(key, remedy: "For example '\(key): tcp://127.0.0.1:\(key == "control" ? 7700 : 7701)'.")
        let rest = ["tls+tcp://", "tcp://"].first { written.hasPrefix($0) }.map { written.dropFirst($0.count) }
        guard let rest, let colon = rest.lastIndex(of: ":"), colon > rest.startIndex, let port = UInt16(rest[rest.index(after: colon)...]),
            port > 0
        else {
            throw error(
                "manifest.bad-address", "'\(written)' is not an address", at: key,
                remedy: "Write 'tcp://host:port' or 'tls+tcp://host:port'.")
        }
        return written
    }
}

extension ClusterManifest.WorkerGroup {
    fileprivate init(_ map: inout YAMLMapping) throws(AMAFError) {
        self.init(
            name: try map.requiredText("name", remedy: "Name the group, for example 'cpu'."),
            count: try map.integer("count", in: 1...10_000) ?? 1,
            tags: (try map.texts("tags") ?? ["cpu"]).sorted(), slots: try map.integer("slots", in: 1...1024) ?? 1,
            memoryBytesPerSlot: try map.byteCount("memory-per-slot"), cacheBytes: try map.byteCount("cache") ?? 2 << 30)
        try map.finish()
        if let bad = tags.first(where: { tag in
            tag.isEmpty || !tag.utf8.allSatisfy { $0 == 45 || (48...57).contains($0) || (97...122).contains($0) }
        }) {
            throw map.error("manifest.bad-name", "'\(bad)' is not a tag", at: "tags", remedy: "Use lower-case letters, digits and '-'.")
        }
    }
}
