internal import Foundation
#if canImport(FoundationNetworking)
    internal import FoundationNetworking
#endif
internal import Primitives

/// One request for the rest of a file.
enum HTTPDownload {
    /// Seconds without a byte after which the connection counts as dead.
    private static let idleLimit = 60.0

    /// Appends what is missing of `url` to the file `part`, or writes it anew where the server cannot resume.
    ///
    /// - Parameter limit: the file's byte count when it is known; more is not stored.
    /// - Throws: `dataset.unreachable`, `dataset.truncated` (both transient), `dataset.not-found`, `dataset.digest-mismatch` when more bytes
    ///   come than were promised.
    static func fetch(_ url: String, appendingTo part: String, limit: Int?) throws(AMAFError) {
        guard let address = URL(string: url), address.host != nil else {
            throw AMAFError("dataset.bad-url", "'\(url)' is no web address", remedy: "Correct it in the data set's manifest.")
        }
        let sink = try PartFile(part)
        var request = URLRequest(url: address, cachePolicy: .reloadIgnoringLocalCacheData, timeoutInterval: idleLimit)
        // A compressed answer could not be resumed at a byte of the plain file.
        request.setValue("identity", forHTTPHeaderField: "Accept-Encoding")
        if sink.count > 0 { request.setValue("bytes=\(sink.count)-", forHTTPHeaderField: "Range") }
        let receiver = Receiver(sink, limit: limit, url: url)
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = 1
        let session = URLSession(configuration: .ephemeral, delegate: receiver, delegateQueue: queue)
        session.dataTask(with: request).resume()
        receiver.finished.wait()
        session.invalidateAndCancel()
        if let failure = receiver.failure { throw failure }
    }
}

/// Takes the answer as it comes.
///
/// `@unchecked Sendable`: everything is touched by the session's serial delegate queue only, until `finished` is signalled; after that by
/// the waiting thread only.
private final class Receiver: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    let finished = DispatchSemaphore(value: 0)
    private(set) var failure: AMAFError?
    private let sink: PartFile
    private let limit: Int?
    private let url: String
    /// Bytes that the answer said it would have.
    private var promised: Int64 = -1
    private var received: Int64 = 0

    init(_ sink: PartFile, limit: Int?, url: String) {
        self.sink = sink
        self.limit = limit
        self.url = url
    }

    func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping (URLSession.ResponseDisposition) -> Void
    ) {
        let answer = response as? HTTPURLResponse
        let status = answer?.statusCode ?? 0
        promised = response.expectedContentLength
        switch status {
        case 206 where startOfRange(answer) == sink.count: break
        case 200: attempt { () throws(AMAFError) in try sink.startOver() }
        case 206, 416:
            // The part is longer than the file, or the server answers something else than it was asked.
            attempt { () throws(AMAFError) in try sink.startOver() }
            fail("dataset.unreachable", "The server cannot go on where the download stopped (status \(status))", isTransient: true)
        case 408, 429, 500...599: fail("dataset.unreachable", "The server answered with status \(status)", isTransient: true)
        default: fail("dataset.not-found", "The server answered with status \(status)", isTransient: false)
        }
        completionHandler(failure == nil ? .allow : .cancel)
    }

    /// The first byte of `Content-Range: bytes 100-199/200`.
    private func startOfRange(_ answer: HTTPURLResponse?) -> Int? {
        guard let written = answer?.value(forHTTPHeaderField: "Content-Range"), written.hasPrefix("bytes ") else { return nil }
        return Int(written.dropFirst(6).prefix { $0.isNumber })
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        guard failure == nil else { return }
        received += Int64(data.count)
        if let limit, sink.count + data.count > limit {
            failure = AMAFError(
                "dataset.digest-mismatch", "The source has more than the \(limit) bytes that were promised", place: url,
                remedy: "The source has changed: compare it with the manifest.")
            dataTask.cancel()
            return
        }
        attempt { () throws(AMAFError) in try sink.append(data) }
        if failure != nil { dataTask.cancel() }
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        if failure == nil {
            if let error, received > 0 {
                fail(
                    "dataset.truncated", "The download broke off after \(sink.count) bytes: \(error.localizedDescription)",
                    isTransient: true)
            } else if let error {
                fail("dataset.unreachable", "The source cannot be reached: \(error.localizedDescription)", isTransient: true)
            } else if promised >= 0, received < promised {
                fail("dataset.truncated", "The download ended after \(received) of \(promised) bytes", isTransient: true)
            }
        }
        attempt { () throws(AMAFError) in try sink.close() }
        finished.signal()
    }

    private func fail(_ code: String, _ message: String, isTransient: Bool) {
        failure =
            failure
            ?? AMAFError(
                code, message, place: url,
                remedy: isTransient
                    ? "Check the network and run the command again: it goes on from there; or set AMAF_DATA_MIRROR to a folder with a copy."
                    : "Check the address in the data set's manifest, or set AMAF_DATA_MIRROR to a folder with a copy.",
                isTransient: isTransient)
    }

    private func attempt(_ body: () throws(AMAFError) -> Void) {
        do throws(AMAFError) { try body() } catch { failure = failure ?? error }
    }
}

/// The bytes that are here so far.
private final class PartFile {
    private let path: String
    private let handle: FileHandle
    private(set) var count: Int

    init(_ path: String) throws(AMAFError) {
        self.path = path
        if !FileManager.default.fileExists(atPath: path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        do {
            guard let handle = FileHandle(forUpdatingAtPath: path) else { throw CocoaError(.fileWriteNoPermission) }
            self.handle = handle
            count = Int(try handle.seekToEnd())
        } catch {
            throw Self.unwritable(path, error)
        }
    }

    func startOver() throws(AMAFError) {
        do {
            try handle.truncate(atOffset: 0)
            try handle.seek(toOffset: 0)
        } catch {
            throw Self.unwritable(path, error)
        }
        count = 0
    }

    func append(_ data: Data) throws(AMAFError) {
        do { try handle.write(contentsOf: data) } catch { throw Self.unwritable(path, error) }
        count += data.count
    }

    func close() throws(AMAFError) {
        do { try handle.close() } catch { throw Self.unwritable(path, error) }
    }

    private static func unwritable(_ path: String, _ error: any Error) -> AMAFError {
        AMAFError(
            "dataset.unwritable-file", "'\(path)' cannot be written: \(error.localizedDescription)",
            remedy: "Free some space or choose another folder with AMAF_DATA.")
    }
}
