package import ArgumentParser
import Foundation
package import Manifests
package import Messaging
package import Primitives
package import WireProtocol

/// How a program reaches a cluster, from its options, a file of `cluster/` and the environment, in this order of precedence.
package struct ClusterAccess: Sendable {
    package var control: String
    package var artifacts: String
    package var joinKey: JoinKey
    package var tls: TLSIdentity?
    package var insecure: Bool
    /// The file that `--config` named.
    package var manifest: ClusterManifest?

    package init(
        control: String, artifacts: String, joinKey: JoinKey, tls: TLSIdentity? = nil, insecure: Bool = false,
        manifest: ClusterManifest? = nil
    ) {
        self.control = control
        self.artifacts = artifacts
        self.joinKey = joinKey
        self.tls = tls
        self.insecure = insecure
        self.manifest = manifest
    }

    /// The two doors and the session on them; nobody has joined yet.
    package func connection() throws(AMAFError) -> CoordinatorConnection {
        let controlDoor = try ClientDoor(.control(url: control, tls: tls, allowsInsecure: insecure))
        let artifactDoor = try ClientDoor(.artifacts(url: artifacts, tls: tls, allowsInsecure: insecure))
        return CoordinatorConnection(control: controlDoor, artifacts: artifactDoor, joinKey: joinKey, build: AMAFVersion.current)
    }
}

/// The options that every program of a cluster shares.
package struct ClusterAccessOptions: ParsableArguments {
    @Option(help: "A file of cluster/: addresses, certificates, join key. Options given beside it win.")
    package var config: String?
    @Option(help: "File with the cluster's join key; by default the environment variable AMAF_JOIN_KEY.")
    package var joinKeyFile: String?
    @Option(help: "Folder with authority.pem, host.pem and host.key, as `amaf certs issue` makes it; by default AMAF_CERTS.")
    package var certs: String?
    @Flag(help: "Allow plain tcp between machines.")
    package var insecure = false

    package init() {}

    /// - Parameters:
    ///   - control: the control door's address where the options name one.
    ///   - artifacts: as `control`; otherwise the control door's host and the next port.
    package func resolve(control: String?, artifacts: String?) throws(AMAFError) -> ClusterAccess {
        let environment = ProcessInfo.processInfo.environment
        var manifest: ClusterManifest?
        if let config { manifest = try ClusterManifest.load(config) }
        let address = control ?? manifest?.control ?? environment["AMAF_COORDINATOR"] ?? "tcp://127.0.0.1:7700"
        let bulk: String
        if let artifacts {
            bulk = artifacts
        } else if control == nil, let manifest {
            bulk = manifest.artifacts
        } else {
            bulk = try DoorAddress.artifacts(besides: address)
        }
        return ClusterAccess(
            control: address, artifacts: bulk, joinKey: try JoinKeyFile.load(joinKeyFile ?? manifest?.joinKeyFile),
            tls: try tls(manifest, isWanted: address.hasPrefix("tls+tcp://")), insecure: insecure || manifest?.insecure == true,
            manifest: manifest)
    }

    private func tls(_ manifest: ClusterManifest?, isWanted: Bool) throws(AMAFError) -> TLSIdentity? {
        guard isWanted else { return nil }
        if let folder = certs ?? (manifest?.tls == nil ? ProcessInfo.processInfo.environment["AMAF_CERTS"] : nil) {
            return try TLSIdentity.checked(
                certificate: "\(folder)/host.pem", key: "\(folder)/host.key", authority: "\(folder)/authority.pem")
        }
        guard let files = manifest?.tls else {
            throw AMAFError(
                "tls.no-certificates", "A tls+tcp address needs certificates on both sides",
                remedy: "Give --certs FOLDER; `amaf certs init` and `amaf certs issue` make one.")
        }
        return try TLSIdentity.checked(certificate: files.certificate, key: files.key, authority: files.authority)
    }
}

extension TLSIdentity {
    /// Says which file is missing before the transport says less.
    fileprivate static func checked(certificate: String, key: String, authority: String) throws(AMAFError) -> TLSIdentity {
        for file in [certificate, key, authority] where !FileManager.default.isReadableFile(atPath: file) {
            throw AMAFError(
                "tls.missing-file", "The file cannot be read", place: file,
                remedy: "`amaf certs issue` makes authority.pem, host.pem and host.key; check the path and its permissions.")
        }
        return TLSIdentity(certificateFile: certificate, keyFile: key, authorityFile: authority)
    }
}

/// The cluster's join key, from a file or from the environment variable AMAF_JOIN_KEY.
package enum JoinKeyFile {
    package static func load(_ file: String?) throws(AMAFError) -> JoinKey {
        if let file {
            guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
                throw AMAFError(
                    "cli.join-key", "The join key file cannot be read", place: file, remedy: "Check the path and its permissions.")
            }
            return try JoinKey(text)
        }
        guard let text = ProcessInfo.processInfo.environment["AMAF_JOIN_KEY"] else {
            throw AMAFError(
                "cli.join-key", "No join key was given",
                remedy: "Give --join-key-file FILE or set AMAF_JOIN_KEY, the same on head and workers; `openssl rand -hex 32` makes one.")
        }
        return try JoinKey(text)
    }
}
