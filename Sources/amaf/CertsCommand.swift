import ArgumentParser
import Foundation
import Messaging
import Primitives

/// `amaf certs`: the certificates of a cluster between boxes.
struct Certs: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the certificates with which the boxes of a cluster know each other.",
        discussion: """
            Once: `amaf certs init`. For the head and for each box: `amaf certs issue NAME …`, then copy the folder that it made to that box and \
            give it to the programs with --certs FOLDER. The authority's key stays where it was made.
            """,
        subcommands: [CertsInit.self, CertsIssue.self, CertsShow.self])
}

/// Seconds since 1970.
private func secondsNow() -> Int64 { Int64(Date().timeIntervalSince1970) }

/// A validity that begins an hour ago, for boxes whose clocks are a little behind.
private func validity(days: Int) throws -> Range<Int64> {
    guard days >= 1, days <= 36_500 else { throw ValidationError("--days must be between 1 and 36500") }
    return secondsNow() - 3600..<secondsNow() + Int64(days) * 86_400
}

struct CertsInit: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "init", abstract: "Make the authority of a new cluster (ECDSA P-256).")
    @Option(help: "Folder for authority.pem and authority.key.")
    var folder = "certs"
    @Option(help: "Name of the authority.")
    var name = "AMAF cluster authority"
    @Option(help: "Days until it ends.")
    var days = 3650
    @OptionGroup var output: OutputOptions

    func run() throws {
        try reporting(json: output.json) {
            try Certificates.makeAuthority(in: folder, name: name, validity: try validity(days: days))
            try CertsShow.print(file: folder + "/" + Certificates.authorityFile, json: output.json)
        }
    }
}

struct CertsIssue: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "issue", abstract: "Issue the certificate of one box, to serve and to dial with.",
        discussion: "Issuing again for the same names renews it: programs read it at their next start.")
    @Argument(help: "Host names and IP addresses by which others reach the box.")
    var names: [String]
    @Option(help: "Folder of the authority.")
    var authority = "certs"
    @Option(help: "Folder for authority.pem, host.pem and host.key (default: a folder of the first name beside the authority).")
    var to: String?
    @Option(help: "Days until it ends, cut to the authority's own end.")
    var days = 365
    @OptionGroup var output: OutputOptions

    func run() throws {
        try reporting(json: output.json) {
            guard let first = names.first else { throw ValidationError("give at least one name") }
            let folder = to ?? "\(authority)/\(first.replacingOccurrences(of: "*", with: "any").replacingOccurrences(of: "/", with: "_"))"
            try Certificates.issue(from: authority, to: folder, names: names, validity: try validity(days: days))
            try CertsShow.print(file: folder + "/" + Certificates.hostFile, json: output.json)
        }
    }
}

struct CertsShow: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Say whose certificate a folder holds, until when, and whether it can work.")
    @Argument(help: "Folder with authority.pem, host.pem and host.key.")
    var folder: String
    @OptionGroup var output: OutputOptions

    func run() throws {
        try reporting(json: output.json) {
            try TLSIdentity(folder: folder).check(now: secondsNow())
            try Self.print(file: folder + "/" + Certificates.hostFile, json: output.json)
        }
    }

    static func print(file: String, json: Bool) throws {
        struct Shown: Encodable {
            var file: String
            var subject: String
            var issuer: String
            var notBefore: String
            var notAfter: String
            var daysLeft: Int
        }
        let facts = try Certificates.facts(ofFile: file)
        let shown = Shown(
            file: file, subject: facts.subject, issuer: facts.issuer, notBefore: facts.notBeforeText, notAfter: facts.notAfterText,
            daysLeft: Int((facts.notAfter - secondsNow()) / 86_400))
        if json {
            try Console.json(shown)
        } else {
            Console.out("\(file): '\(shown.subject)' by '\(shown.issuer)', until \(shown.notAfter) (\(shown.daysLeft) days)")
        }
    }
}
