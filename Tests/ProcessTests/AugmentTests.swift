import Foundation
import Testing

/// `amaf augment` on real processes: what it makes does not depend on who made it, nor on who died meanwhile.
@Suite(.serialized) struct AugmentTests {
    /// Bars that stand and bars that lie, as IDX files.
    private func write(_ programs: Programs, count: Int) throws -> [String] {
        var images: [UInt8] = [0, 0, 8, 3, 0, 0, UInt8(count >> 8), UInt8(count & 255), 0, 0, 0, 12, 0, 0, 0, 12]
        var labels: [UInt8] = [0, 0, 8, 1, 0, 0, UInt8(count >> 8), UInt8(count & 255)]
        for i in 0..<count {
            for pixel in 0..<144 {
                let at = i % 2 == 0 ? pixel % 12 : pixel / 12
                images.append(at == i / 2 % 12 ? 220 : UInt8((i * 7 + pixel * 13) % 40))
            }
            labels.append(UInt8(i % 2))
        }
        try Data(images).write(to: URL(fileURLWithPath: "\(programs.folder)/images"))
        try Data(labels).write(to: URL(fileURLWithPath: "\(programs.folder)/labels"))
        return ["--images", "\(programs.folder)/images", "--labels", "\(programs.folder)/labels"]
    }

    @Test func sameSamplesFromOneWorkerAndFromTwoOfWhichOneIsKilled() throws {
        let programs = try Programs("augment")
        defer { programs.remove() }
        let files = try write(programs, count: 600)
        let arguments =
            ["augment", "images"] + files + [
                "--method", "interpolation", "--method", "rotation", "--samples", "200", "--epochs", "8", "--batch", "60", "--replicas",
                "3",
                "--hidden", "64", "--latent", "8", "--quiet",
            ]
        let (status, output) = try programs.run("amaf", arguments + ["--workers", "1", "--output", "\(programs.folder)/one"])
        #expect(status == 0, "\(output)")

        let process = try programs.start(
            ["\(programs.bin)/amaf"] + arguments + ["--workers", "2", "--output", "\(programs.folder)/two"], log: "two.log")
        // Killed once it has work in hand; the other finishes.
        var victim: Int32?
        let deadline = Date(timeIntervalSinceNow: 120)
        while victim == nil, Date() < deadline, process.isRunning {
            let children =
                (try? String(
                    contentsOfFile: "/proc/\(process.processIdentifier)/task/\(process.processIdentifier)/children", encoding: .utf8)) ?? ""
            let cache = "\(programs.folder)/two/state/workers/worker-1/cache"
            let made = (try? FileManager.default.subpathsOfDirectory(atPath: cache).count) ?? 0
            if made > 12 { victim = children.split(separator: " ").compactMap { Int32($0) }.first }
            usleep(5000)
        }
        if let victim { kill(victim, SIGKILL) }
        process.waitUntilExit()
        let log = (try? String(contentsOfFile: "\(programs.folder)/two.log", encoding: .utf8)) ?? ""
        #expect(victim != nil, "the run was over before anything was killed")
        #expect(process.terminationStatus == 0, "\(log)")
        for file in ["vae.safetensors", "synthetic-images-idx3-ubyte", "origins.csv", "admission.json", "sheet.png"] {
            let (a, b) = (
                try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/one/\(file)")),
                try Data(contentsOf: URL(fileURLWithPath: "\(programs.folder)/two/\(file)"))
            )
            #expect(a == b && !a.isEmpty, "\(file)")
        }
    }

    @Test func brokenFilesAreNamed() throws {
        let programs = try Programs("augment-broken")
        defer { programs.remove() }
        let files = try write(programs, count: 20)
        try Data([0, 0, 8, 1, 0, 0, 0, 19] + [UInt8](repeating: 0, count: 19)).write(to: URL(fileURLWithPath: "\(programs.folder)/labels"))
        let (status, output) = try programs.run("amaf", ["augment", "images"] + files + ["--quiet"])
        #expect(status == 1 && output.contains("cli.image-files"), "\(output)")
        let missing = try programs.run("amaf", ["augment", "texts", "\(programs.folder)/labels"])
        #expect(missing.status == 1 && missing.output.contains("amaf:"), "\(missing.output)")
    }
}
