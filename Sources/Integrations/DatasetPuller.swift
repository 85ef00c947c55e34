package import Datasets
internal import Foundation
package import Primitives

/// Gets the files of public data sets, from a mirror folder or their public source, and lets nothing through that is not byte for byte
/// what the manifest promises.
package struct DatasetPuller: Sendable {
    private let dataFolder: String
    private let mirror: String?
    private let attempts: Int
    private let pause: @Sendable (Duration) -> Void
    private let report: @Sendable (String) -> Void

    /// - Parameters:
    ///   - dataFolder: files land in `dataFolder/DATASET/FILE`.
    ///   - mirror: a folder laid out as `PublicFile.mirrorPath` says; when given, the network is never asked.
    ///   - attempts: tries to download before giving up; an interrupted one goes on where it stopped.
    ///   - pause: waits between tries, 1 s, 2 s, 4 s …, at most 30 s.
    ///   - report: gets one line for each thing worth telling.
    package init(
        dataFolder: String, mirror: String? = nil, attempts: Int = 5,
        pause: @escaping @Sendable (Duration) -> Void = { Thread.sleep(forTimeInterval: $0.seconds) },
        report: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        precondition(attempts > 0, "\(attempts) attempts")
        self.dataFolder = dataFolder
        self.mirror = mirror
        self.attempts = attempts
        self.pause = pause
        self.report = report
    }

    /// Makes sure that the file is here and whole, and returns its path.
    ///
    /// - Throws: `dataset.digest-mismatch` (the wrong bytes are kept beside it as `.bad`), `dataset.truncated`, `dataset.damaged`,
    ///   `dataset.missing-file`, `dataset.not-found`, `dataset.unreachable`.
    package func pull(_ file: PublicFile) throws(AMAFError) -> String {
        let target = file.localPath(in: dataFolder)
        try makeFolder((target as NSString).deletingLastPathComponent)
        if FileManager.default.fileExists(atPath: target) {
            if try digest(target) == file.sha256 {
                report("\(target) is here already")
                return target
            }
            try setAside(target, as: target + ".bad")
            report("\(target) was not what it should be: kept as \(target).bad, pulling anew")
        }
        let part = target + ".part"
        let lock = try FileLock(part + ".lock")
        defer { lock.release() }
        if let mirror { try copy(file, from: mirror, to: part) } else { try download(file, to: part) }
        try move(part, to: target)
        report("\(target): \(size(target)) bytes, SHA-256 \(file.sha256.hex)")
        return target
    }

    // MARK: Mirror

    private func copy(_ file: PublicFile, from mirror: String, to part: String) throws(AMAFError) {
        guard let below = file.mirrorPath else {
            throw AMAFError(
                "dataset.missing-file", "The data set '\(file.dataset)' names no place in a mirror",
                remedy: "Unset AMAF_DATA_MIRROR to use its public source.")
        }
        let source = "\(mirror)/\(below)"
        guard FileManager.default.fileExists(atPath: source) else {
            throw AMAFError(
                "dataset.missing-file", "The mirror has no '\(below)'", place: mirror,
                remedy: "Check AMAF_DATA_MIRROR, or unset it to use the public source \(file.url).")
        }
        if let expected = file.mirrorSHA256 {
            let found = try digest(source)
            guard found == expected else {
                throw mismatch(source, expected: expected, found: found, remedy: "Copy the mirror's file again.")
            }
        }
        if try Gzip.isCompressed(source) {
            try Gzip.decompress(source, to: part)
        } else {
            try? FileManager.default.removeItem(atPath: part)
            do {
                try FileManager.default.copyItem(atPath: source, toPath: part)
            } catch {
                throw AMAFError(
                    "dataset.unwritable-file", "'\(part)' cannot be written: \(error.localizedDescription)",
                    remedy: "Free some space or choose another folder.")
            }
        }
        let found = try digest(part)
        guard found == file.sha256 else {
            try? FileManager.default.removeItem(atPath: part)
            throw mismatch(
                source, expected: file.sha256, found: found, remedy: "Copy the mirror's file again, or correct the digest in the manifest.")
        }
    }

    // MARK: Public source

    private func download(_ file: PublicFile, to part: String) throws(AMAFError) {
        guard !file.url.isEmpty else {
            throw AMAFError(
                "dataset.no-public-source", "'\(file.file)' of '\(file.dataset)' is published nowhere in this form",
                remedy: "Set AMAF_DATA_MIRROR to a folder that holds '\(file.mirrorPath ?? file.file)'.")
        }
        var wait = Duration.seconds(1)
        var mayStartOver = true
        var attempt = 1
        while true {
            let resumed = size(part)
            do throws(AMAFError) {
                report(
                    resumed > 0
                        ? "\(file.url): going on after \(resumed) bytes"
                        : "\(file.url)\(file.byteCount > 0 ? ": \(file.byteCount) bytes" : "")")
                try HTTPDownload.fetch(file.url, appendingTo: part, limit: file.byteCount > 0 ? file.byteCount : nil)
                try checkWhole(file, part)
                return
            } catch {
                // A part from an older version of the file cannot be continued into the right one.
                if error.code == "dataset.digest-mismatch", resumed > 0, mayStartOver {
                    mayStartOver = false
                    try? FileManager.default.removeItem(atPath: part)
                    report("\(error); starting over")
                    continue
                }
                if error.code == "dataset.digest-mismatch" { try setAside(part, as: String(part.dropLast(5)) + ".bad") }
                guard error.isTransient, attempt < attempts else { throw error }
                report("\(error); trying again in \(Int(wait.seconds)) s")
            }
            attempt += 1
            pause(wait)
            wait = min(wait * 2, .seconds(30))
        }
    }

    private func checkWhole(_ file: PublicFile, _ part: String) throws(AMAFError) {
        let count = size(part)
        if file.byteCount > 0, count < file.byteCount {
            throw AMAFError(
                "dataset.truncated", "The download ended after \(count) of \(file.byteCount) bytes", place: file.url,
                remedy: "Run the command again: it goes on from there.", isTransient: true)
        }
        if file.url.hasSuffix(".gz"), try Gzip.isCompressed(part) {
            // The digest is the plain file's: compressors differ, their contents do not.
            try Gzip.decompress(part, to: part + ".plain")
            try move(part + ".plain", to: part)
        }
        let found = try digest(part)
        guard found == file.sha256 else {
            throw mismatch(
                file.url, expected: file.sha256, found: found,
                remedy:
                    "The source has changed or something on the way has; the bytes are kept as '\((part as NSString).deletingPathExtension).bad'."
            )
        }
    }

    // MARK: Files

    private func mismatch(_ place: String, expected: Digest, found: Digest, remedy: String) -> AMAFError {
        AMAFError("dataset.digest-mismatch", "The SHA-256 is \(found.hex) where \(expected.hex) was promised", place: place, remedy: remedy)
    }

    private func digest(_ path: String) throws(AMAFError) -> Digest { Digest.of(try MappedFile(path)) }

    private func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path))?[.size].flatMap { $0 as? NSNumber }?.intValue ?? 0
    }

    private func makeFolder(_ path: String) throws(AMAFError) {
        do {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw AMAFError(
                "dataset.unwritable-file", "The folder '\(path)' cannot be made: \(error.localizedDescription)",
                remedy: "Choose another with AMAF_DATA.")
        }
    }

    private func setAside(_ path: String, as other: String) throws(AMAFError) {
        guard FileManager.default.fileExists(atPath: path) else { return }
        try move(path, to: other)
    }

    private func move(_ path: String, to other: String) throws(AMAFError) {
        guard rename(path, other) == 0 else {
            throw AMAFError(
                "dataset.unwritable-file", "'\(other)' cannot be written: \(String(cString: strerror(errno)))",
                remedy: "Check the folder's permissions.")
        }
    }
}

/// Keeps two pulls of one file apart, and vanishes with its process.
private struct FileLock {
    private let path: String
    private let descriptor: Int32

    init(_ path: String) throws(AMAFError) {
        self.path = path
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw AMAFError(
                "dataset.unwritable-file", "'\(path)' cannot be written: \(String(cString: strerror(errno)))",
                remedy: "Check the folder's permissions.")
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            close(descriptor)
            throw AMAFError(
                "dataset.busy", "Another process is pulling the same file", place: path, remedy: "Wait for it to end.", isTransient: true)
        }
    }

    func release() {
        // The file goes before the lock does, so that nobody locks a file without a name.
        unlink(path)
        // A child that is being started has the file open still.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
