internal import CNNG
internal import Foundation
internal import Primitives

/// What NNG said, as text.
func nngText(_ code: Int32) -> String { String(cString: nng_strerror(code)) }

/// - Throws: `messaging.nng` naming what was tried.
func check(_ code: Int32, _ what: @autoclosure () -> String) throws(AMAFError) {
    if code != 0 { throw AMAFError("messaging.nng", "\(what()): \(nngText(code))") }
}

/// The bytes of a message that we own; frees it.
func takeBytes(of message: OpaquePointer) -> [UInt8] {
    let bytes = [UInt8](UnsafeRawBufferPointer(start: nng_msg_body(message), count: nng_msg_len(message)))
    nng_msg_free(message)
    return bytes
}

/// A message with these bytes; nil without memory. Only appended to: `nng_msg_insert` of 1.5.2 corrupts bodies.
func makeMessage(_ bytes: [UInt8]) -> OpaquePointer? {
    var message: OpaquePointer?
    guard nng_msg_alloc(&message, 0) == 0, let message else { return nil }
    guard nng_msg_append(message, bytes, bytes.count) == 0 else {
        nng_msg_free(message)
        return nil
    }
    return message
}

/// The TLS settings of one side. Both sides show a certificate and both check it.
///
/// - Throws: `messaging.tls` naming the file at fault, and what `TLSIdentity.check` throws.
func makeTLS(_ identity: TLSIdentity, serverName: String?) throws(AMAFError) -> OpaquePointer {
    if identity.isCheckedFirst { try identity.check(now: Int64(time(nil))) }
    func contents(_ path: String) throws(AMAFError) -> String {
        guard let data = FileManager.default.contents(atPath: path), let text = String(data: data, encoding: .utf8) else {
            throw AMAFError("messaging.tls", "The file cannot be read", place: path, remedy: "Check the path and who may read it.")
        }
        return text
    }
    let certificate = try contents(identity.certificateFile)
    let key = try contents(identity.keyFile)
    let authority = try contents(identity.authorityFile)
    var config: OpaquePointer?
    let mode = serverName == nil ? NNG_TLS_MODE_SERVER : NNG_TLS_MODE_CLIENT
    try check(nng_tls_config_alloc(&config, mode), "Setting up TLS")
    guard let config else { throw AMAFError("messaging.tls", "NNG offers no TLS") }
    func need(_ code: Int32, _ place: String, _ what: String) throws(AMAFError) {
        guard code == 0 else {
            nng_tls_config_free(config)
            throw AMAFError("messaging.tls", "\(what) (\(nngText(code)))", place: place, remedy: "Make new ones with 'amaf certs'.")
        }
    }
    try need(nng_tls_config_auth_mode(config, NNG_TLS_AUTH_MODE_REQUIRED), identity.certificateFile, "Mutual authentication was refused")
    try need(nng_tls_config_ca_chain(config, authority, nil), identity.authorityFile, "This is no certificate of an authority")
    try need(
        nng_tls_config_own_cert(config, certificate, key, nil), identity.certificateFile,
        "This certificate and the key \(identity.keyFile) are not a pair in PEM form")
    if let serverName {
        try need(nng_tls_config_server_name(config, serverName), identity.certificateFile, "The name \(serverName) was refused")
    }
    return config
}

/// What NNG adds to a message of ours (the request number); its size limit counts that in.
let protocolHeaderAllowance = 64

/// Lets calls into NNG pass until the door closes, and lets the closing side wait for those under way.
///
/// A count instead of a lock held during the call, because NNG may run a callback before the call returns.
final class Gate: @unchecked Sendable {
    // `@unchecked Sendable`: both values are only touched with `lock` held.
    private let lock = NSLock()
    private var isClosed = false
    private var inside = 0

    func enter() -> Bool {
        lock.lock()
        defer { lock.unlock() }
        if isClosed { return false }
        inside += 1
        return true
    }

    func leave() {
        lock.lock()
        inside -= 1
        lock.unlock()
    }

    /// False when it was closed before.
    func close() -> Bool {
        lock.lock()
        let isFirst = !isClosed
        isClosed = true
        var remaining = inside
        lock.unlock()
        while remaining > 0 {
            usleep(100)
            lock.lock()
            remaining = inside
            lock.unlock()
        }
        return isFirst
    }
}
