internal import CCrypto
internal import Foundation
package import Primitives

/// The certificates of a cluster: one authority of its own, and one certificate for each machine that serves as both sides of a mutual
/// TLS connection. ECDSA over P-256 with SHA-256, X.509 version 3 (RFC 5280), names in subjectAltName (RFC 6125).
package enum Certificates {
    package static let authorityFile = "authority.pem"
    package static let authorityKeyFile = "authority.key"
    package static let hostFile = "host.pem"
    package static let hostKeyFile = "host.key"

    /// Makes `authority.pem` and `authority.key` (mode 0600) in `folder`. The key signs for every machine: it belongs on no worker.
    ///
    /// - Parameters:
    ///   - name: common name, at most 64 characters.
    ///   - validity: seconds since 1970.
    /// - Throws: `tls.exists` when an authority is there: a new one would turn away every machine of the old one.
    package static func makeAuthority(in folder: String, name: String, validity: Range<Int64>) throws(AMAFError) {
        try makePrivateFolder(folder)
        for file in [authorityFile, authorityKeyFile] where FileManager.default.fileExists(atPath: folder + "/" + file) {
            throw AMAFError(
                "tls.exists", "There is an authority already", place: folder + "/" + file,
                remedy: "Issue certificates from it with `amaf certs issue`, or name another folder.")
        }
        let key = try PrivateKey.make()
        let certificate = try CertificateBuilder(
            subject: name, names: [], validity: validity, key: key, issuer: nil, signer: key, isAuthority: true
        ).build()
        try write(try key.pem(), to: folder + "/" + authorityKeyFile, mode: 0o600)
        try write(try certificate.pem(), to: folder + "/" + authorityFile, mode: 0o644)
    }

    /// Makes `host.pem`, `host.key` (mode 0600) and a copy of `authority.pem` in `folder`, replacing what is there: all that one machine
    /// needs, and nothing that lets it sign for others.
    ///
    /// - Parameters:
    ///   - names: host names and IP addresses by which others reach the machine; the first is the common name too.
    ///   - validity: seconds since 1970; cut to the authority's own end.
    /// - Throws: `tls.bad-name`, `tls.file` for an authority that cannot be read, `tls.expired` for one that has ended.
    package static func issue(from authority: String, to folder: String, names: [String], validity: Range<Int64>) throws(AMAFError) {
        guard let first = names.first else {
            throw AMAFError("tls.bad-name", "A certificate needs at least one name", remedy: "Give the machine's host name or address.")
        }
        let entries = try names.map { (name) throws(AMAFError) in try alternativeName(name) }
        let signer = try PrivateKey(pem: try contents(authority + "/" + authorityKeyFile), place: authority + "/" + authorityKeyFile)
        let issuer = try firstCertificate(authority + "/" + authorityFile)
        let facts = issuer.facts
        guard validity.lowerBound < facts.notAfter else {
            throw AMAFError(
                "tls.expired", "The authority '\(facts.subject)' ended on \(dateText(facts.notAfter))", place: authority,
                remedy: "Make a new authority with `amaf certs init` and issue every machine's certificate again.")
        }
        try makePrivateFolder(folder)
        let key = try PrivateKey.make()
        let certificate = try CertificateBuilder(
            subject: first, names: entries.flatMap { $0 }, validity: validity.lowerBound..<min(validity.upperBound, facts.notAfter),
            key: key,
            issuer: issuer,
            signer: signer, isAuthority: false
        ).build()
        try write(try key.pem(), to: folder + "/" + hostKeyFile, mode: 0o600)
        try write(try certificate.pem(), to: folder + "/" + hostFile, mode: 0o644)
        try write(try issuer.pem(), to: folder + "/" + authorityFile, mode: 0o644)
    }

    /// What the first certificate of a PEM file says of itself.
    package static func facts(ofFile path: String) throws(AMAFError) -> CertificateFacts { try firstCertificate(path).facts }

    /// Entries of subjectAltName for one name.
    static func alternativeName(_ name: String) throws(AMAFError) -> [String] {
        var v4 = in_addr()
        var v6 = in6_addr()
        if inet_pton(AF_INET, name, &v4) == 1 || inet_pton(AF_INET6, name, &v6) == 1 {
            // mbedTLS 2.28 compares the name it dials, an address too, with DNS entries only; others read the IP entry.
            return ["IP:\(name)", "DNS:\(name)"]
        }
        let labels = name.split(separator: ".", omittingEmptySubsequences: false)
        let isName = labels.enumerated().allSatisfy { position, label in
            (position == 0 && label == "*" && labels.count > 2)
                || (!label.isEmpty && label.utf8.count <= 63 && !label.hasPrefix("-") && !label.hasSuffix("-")
                    && label.utf8.allSatisfy {
                        (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0)
                            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_")
                    })
        }
        guard isName, name.utf8.count <= 253 else {
            throw AMAFError(
                "tls.bad-name", "'\(name)' is neither a host name nor an IP address",
                remedy: "Write it as head.example.org, 10.0.0.5 or fd00::5.")
        }
        return ["DNS:\(name)"]
    }
}

/// What a certificate says of itself.
package struct CertificateFacts: Hashable, Sendable, Codable {
    /// Common name.
    package var subject: String
    package var issuer: String
    /// Seconds since 1970.
    package var notBefore: Int64
    /// Seconds since 1970.
    package var notAfter: Int64

    /// In UTC.
    package var notBeforeText: String { dateText(notBefore) }
    /// In UTC.
    package var notAfterText: String { dateText(notAfter) }
}

extension TLSIdentity {
    /// The files of a folder that `amaf certs issue` made.
    package init(folder: String, serverName: String? = nil) {
        self.init(
            certificateFile: folder + "/" + Certificates.hostFile, keyFile: folder + "/" + Certificates.hostKeyFile,
            authorityFile: folder + "/" + Certificates.authorityFile, serverName: serverName)
    }

    /// Finds out, before the transport says only that it failed, whether these files can work.
    ///
    /// - Parameter now: seconds since 1970.
    /// - Returns: what the own certificate says.
    /// - Throws: `tls.file`, `tls.key-mismatch`, `tls.foreign` when another authority signed it, `tls.expired`, `tls.not-yet-valid`.
    @discardableResult
    package func check(now: Int64) throws(AMAFError) -> CertificateFacts {
        let certificate = try firstCertificate(certificateFile)
        let key = try PrivateKey(pem: try contents(keyFile), place: keyFile)
        guard certificate.belongs(to: key) else {
            throw AMAFError(
                "tls.key-mismatch", "The key \(keyFile) is not that of this certificate", place: certificateFile,
                remedy: "Copy host.pem and host.key together from one `amaf certs issue`.")
        }
        let authorities = try allCertificates(authorityFile)
        let facts = certificate.facts
        guard let authority = authorities.first(where: { certificate.isSigned(by: $0) }) else {
            throw AMAFError(
                "tls.foreign",
                "The certificate '\(facts.subject)' was signed by '\(facts.issuer)', not by the authority in \(authorityFile)",
                place: certificateFile, remedy: "Issue one from this cluster's authority with `amaf certs issue`.")
        }
        for (what, place, span) in [("certificate", certificateFile, facts), ("authority", authorityFile, authority.facts)] {
            guard span.notAfter > now else {
                throw AMAFError(
                    "tls.expired", "The \(what) '\(span.subject)' ended on \(dateText(span.notAfter))", place: place,
                    remedy: what == "authority" ? "Make a new one with `amaf certs init`." : "Issue a new one with `amaf certs issue`.")
            }
            guard span.notBefore <= now else {
                throw AMAFError(
                    "tls.not-yet-valid", "The \(what) '\(span.subject)' begins on \(dateText(span.notBefore))", place: place,
                    remedy: "Check this machine's clock.")
            }
        }
        return facts
    }
}

/// UTC, to the second.
func dateText(_ seconds: Int64) -> String {
    var time = time_t(seconds)
    var parts = tm()
    gmtime_r(&time, &parts)
    func two(_ value: Int32) -> String { value < 10 ? "0\(value)" : "\(value)" }
    return
        "\(parts.tm_year + 1900)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday)) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) UTC"
}

// MARK: Files

private func contents(_ path: String) throws(AMAFError) -> [UInt8] {
    guard let data = FileManager.default.contents(atPath: path) else {
        throw AMAFError("tls.file", "The file cannot be read", place: path, remedy: "Check the path and who may read it.")
    }
    return Array(data)
}

private func makePrivateFolder(_ path: String) throws(AMAFError) {
    do {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
        throw AMAFError("tls.file", "The folder cannot be made: \(error)", place: path, remedy: "Check the path and its permissions.")
    }
}

/// Whole or not at all, and never readable by others in between.
private func write(_ bytes: [UInt8], to path: String, mode: mode_t) throws(AMAFError) {
    let temporary = path + ".new"
    unlink(temporary)
    let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
    guard file >= 0 else {
        throw AMAFError(
            "tls.file", "The file cannot be made: errno \(errno)", place: temporary,
            remedy: "Check the folder's permissions and the space on the disk.")
    }
    let isWritten = bytes.withUnsafeBytes { Foundation.write(file, $0.baseAddress, $0.count) == $0.count } && fsync(file) == 0
    close(file)
    guard isWritten, rename(temporary, path) == 0 else {
        unlink(temporary)
        throw AMAFError(
            "tls.file", "The file cannot be written: errno \(errno)", place: path,
            remedy: "Check the folder's permissions and the space on the disk.")
    }
}

private func firstCertificate(_ path: String) throws(AMAFError) -> Certificate { try allCertificates(path)[0] }

/// All certificates of a PEM file, at least one.
private func allCertificates(_ path: String) throws(AMAFError) -> [Certificate] {
    let input = try MemoryFile(try contents(path))
    var found: [Certificate] = []
    while let certificate = PEM_read_bio_X509(input.bio, nil, nil, nil) { found.append(Certificate(certificate)) }
    ERR_clear_error()
    guard !found.isEmpty else {
        throw AMAFError(
            "tls.file", "The file holds no certificate in PEM form", place: path, remedy: "Make one with `amaf certs issue`.")
    }
    return found
}

// MARK: Owners of libcrypto's values

/// What libcrypto said last.
private func cryptoError(_ what: String) -> AMAFError {
    var text = [CChar](repeating: 0, count: 256)
    ERR_error_string_n(ERR_get_error(), &text, text.count)
    let said = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return AMAFError(
        "tls.crypto", "\(what): \(said)", remedy: "Check the certificate's and key's files, or make new ones with 'amaf certs'.")
}

private final class MemoryFile {
    let bio: OpaquePointer

    init(_ bytes: [UInt8] = []) throws(AMAFError) {
        guard let bio = BIO_new(BIO_s_mem()) else { throw cryptoError("No memory for a certificate") }
        self.bio = bio
        if !bytes.isEmpty, BIO_write(bio, bytes, Int32(bytes.count)) != Int32(bytes.count) {
            throw cryptoError("No memory for a certificate")
        }
    }

    func bytes() -> [UInt8] {
        var all: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = BIO_read(bio, &piece, Int32(piece.count))
            guard count > 0 else { return all }
            all += piece[..<Int(count)]
        }
    }

    deinit { BIO_free(bio) }
}

private final class PrivateKey {
    let pointer: OpaquePointer

    private init(_ pointer: OpaquePointer) { self.pointer = pointer }

    static func make() throws(AMAFError) -> PrivateKey {
        guard let context = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, nil) else { throw cryptoError("Making a key") }
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        guard EVP_PKEY_keygen_init(context) == 1, EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context, NID_X9_62_prime256v1) == 1,
            // Named, not spelled out: TLS knows curves by name.
            EVP_PKEY_CTX_set_ec_param_enc(context, OPENSSL_EC_NAMED_CURVE) == 1, EVP_PKEY_keygen(context, &key) == 1, let key
        else { throw cryptoError("Making a key") }
        return PrivateKey(key)
    }

    init(pem: [UInt8], place: String) throws(AMAFError) {
        let input = try MemoryFile(pem)
        guard let key = PEM_read_bio_PrivateKey(input.bio, nil, nil, nil) else {
            throw AMAFError(
                "tls.file", "The file holds no private key in PEM form without a password", place: place,
                remedy: "Make one with `amaf certs issue`.")
        }
        pointer = key
    }

    func pem() throws(AMAFError) -> [UInt8] {
        let output = try MemoryFile()
        guard PEM_write_bio_PKCS8PrivateKey(output.bio, pointer, nil, nil, 0, nil, nil) == 1 else { throw cryptoError("Writing a key") }
        return output.bytes()
    }

    deinit { EVP_PKEY_free(pointer) }
}

private final class Certificate {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) { self.pointer = pointer }

    func pem() throws(AMAFError) -> [UInt8] {
        let output = try MemoryFile()
        guard PEM_write_bio_X509(output.bio, pointer) == 1 else { throw cryptoError("Writing a certificate") }
        return output.bytes()
    }

    func belongs(to key: PrivateKey) -> Bool {
        defer { ERR_clear_error() }
        return X509_check_private_key(pointer, key.pointer) == 1
    }

    func isSigned(by authority: Certificate) -> Bool {
        defer { ERR_clear_error() }
        return X509_check_issued(authority.pointer, pointer) == X509_V_OK && X509_verify(pointer, X509_get0_pubkey(authority.pointer)) == 1
    }

    var facts: CertificateFacts {
        CertificateFacts(
            subject: commonName(X509_get_subject_name(pointer)), issuer: commonName(X509_get_issuer_name(pointer)),
            notBefore: seconds(X509_get0_notBefore(pointer)), notAfter: seconds(X509_get0_notAfter(pointer)))
    }

    private func commonName(_ name: OpaquePointer?) -> String {
        var text = [CChar](repeating: 0, count: 256)
        guard X509_NAME_get_text_by_NID(name, NID_commonName, &text, Int32(text.count)) >= 0 else { return "" }
        return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
        var parts = tm()
        guard ASN1_TIME_to_tm(time, &parts) == 1 else { return 0 }
        return Int64(timegm(&parts))
    }

    deinit { X509_free(pointer) }
}

private struct CertificateBuilder {
    var subject: String
    /// Entries of subjectAltName.
    var names: [String]
    /// Seconds since 1970.
    var validity: Range<Int64>
    var key: PrivateKey
    /// Nil for one that signs itself.
    var issuer: Certificate?
    var signer: PrivateKey
    var isAuthority: Bool

    func build() throws(AMAFError) -> Certificate {
        guard let pointer = X509_new() else { throw cryptoError("Making a certificate") }
        let certificate = Certificate(pointer)
        // The encoded value: 2 is version 3. A serial number of 63 random bits, never used twice by one authority.
        var generator = SystemRandomNumberGenerator()
        guard X509_set_version(pointer, 2) == 1,
            ASN1_INTEGER_set_uint64(X509_get_serialNumber(pointer), UInt64.random(in: 1...UInt64(Int64.max), using: &generator)) == 1,
            ASN1_TIME_set(X509_getm_notBefore(pointer), time_t(validity.lowerBound)) != nil,
            ASN1_TIME_set(X509_getm_notAfter(pointer), time_t(validity.upperBound)) != nil,
            X509_set_pubkey(pointer, key.pointer) == 1
        else { throw cryptoError("Making a certificate") }
        // 0x1000 is MBSTRING_UTF8. A common name has at most 64 characters; the whole name is in subjectAltName.
        let name = Array(String(subject.prefix(64)).utf8)
        guard X509_NAME_add_entry_by_txt(X509_get_subject_name(pointer), "CN", 0x1000, name, Int32(name.count), -1, 0) == 1,
            X509_set_issuer_name(pointer, X509_get_subject_name((issuer ?? certificate).pointer)) == 1
        else { throw cryptoError("Naming a certificate '\(subject)'") }
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, (issuer ?? certificate).pointer, pointer, nil, nil, 0)
        var extensions: [(Int32, String)] = [(NID_subject_key_identifier, "hash")]
        if isAuthority {
            extensions += [(NID_basic_constraints, "critical,CA:TRUE,pathlen:0"), (NID_key_usage, "critical,keyCertSign,cRLSign")]
        } else {
            extensions += [
                (NID_basic_constraints, "critical,CA:FALSE"), (NID_key_usage, "critical,digitalSignature"),
                (NID_ext_key_usage, "serverAuth,clientAuth"), (NID_authority_key_identifier, "keyid"),
                (NID_subject_alt_name, names.joined(separator: ",")),
            ]
        }
        for (kind, value) in extensions {
            guard let made = X509V3_EXT_conf_nid(nil, &context, kind, value) else {
                throw cryptoError("Adding '\(value)' to a certificate")
            }
            defer { X509_EXTENSION_free(made) }
            guard X509_add_ext(pointer, made, -1) == 1 else { throw cryptoError("Adding '\(value)' to a certificate") }
        }
        guard X509_sign(pointer, signer.pointer, EVP_sha256()) > 0 else { throw cryptoError("Signing a certificate") }
        return certificate
    }
}
