import ArgumentParser
import Foundation
import Primitives
import Storage

/// `amaf-coordinator backup`: a copy of a store, also of one that is being served.
struct Backup: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Copy a store into a new folder; its coordinator goes on working.",
        discussion:
            "What the coordinator had answered before the copy began is in it. The copy is a store: `restore` makes one to be served.")
    @Option(help: "Folder of the store.")
    var store: String
    @Option(help: "New folder for the copy.")
    var to: String

    func run() throws {
        try reporting {
            let made = try Store.backup(of: store, to: to)
            say("backed up \(store) to \(to): \(made.bytes >> 10) KiB, \(made.artifactFiles) artifact files", made)
        }
    }
}

/// `amaf-coordinator restore`: a store out of a backup.
struct Restore: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a store out of a backup, in a new folder, to be served in place of the original.",
        discussion: """
            The copy is checked whole. Its epoch rises, so that work leased by the original is fenced off and done again. Serve one of the two, never \
            both: stop the original for good first.
            """)
    @Option(help: "Folder of the backup.")
    var from: String
    @Option(help: "New folder for the store.")
    var store: String

    func run() throws {
        try reporting {
            let made = try Store.restore(from: from, to: store)
            say(
                "restored \(from) to \(store): \(made.bytes >> 10) KiB, \(made.artifactFiles) artifact files; the next epoch is \(made.epoch + 1)",
                made)
        }
    }
}

private func say(_ line: String, _ made: StoreCopy) {
    FileHandle.standardOutput.write(Data((line + "\n").utf8))
    guard !made.damagedFiles.isEmpty else { return }
    let list = made.damagedFiles.joined(separator: ", ")
    FileHandle.standardError.write(
        Data("amaf-coordinator: \(made.damagedFiles.count) artifact files were damaged and left out, their tasks run again: \(list)\n".utf8)
    )
}

private func reporting(_ body: () throws -> Void) throws {
    do {
        try body()
    } catch let error as AMAFError {
        FileHandle.standardError.write(Data("amaf-coordinator: \(error)\n".utf8))
        throw ExitCode(1)
    }
}
