import ActiveLearning
import Datasets
import Foundation
import Manifests
import Primitives
import Scheduling
import Testing
import WeakSupervision

/// The files that the repository ships.
@Suite struct RepositoryFilesTests {
    @Test func defaultsFileEqualsTheCode() throws {
        #expect(try Defaults.load(repository + "/configs/defaults.yaml") == Defaults())
    }

    /// Read over values that all differ from the defaults, the file must bring every one of them back: it names every knob.
    @Test func defaultsFileNamesEveryKnob() throws {
        var other = Defaults()
        other.blockSize = 32
        other.features = FeatureSettings(buckets: 512, wordNgrams: nil, charNgrams: nil)
        other.vae = VAESettings()
        (other.vae.latent, other.vae.hidden, other.vae.beta, other.vae.epochs, other.vae.batch) = (3, 4, 5, 6, 70)
        (other.vae.learningRate, other.vae.mode, other.vae.replicas, other.vae.stepsPerRound, other.vae.seed) = (8, .synchronous, 9, 10, 11)
        other.labelModel = .majority
        other.classifier = ClassifierSettings(epochs: 77, l2: 9)
        other.acquisition = .random
        other.control = .entropy
        other.review = ReviewSettings(mode: .none, budget: .count(9), rounds: 3, initial: .count(2), errorRate: 0.4, secondsPerItem: 99)
        other.noisyReviewer = [0.3]
        other.seeds = [8, 9]
        other.checkpoints = [.count(3)]
        other.audit = .count(3)
        other.export = []
        other.numerics = .any
        other.labelModelRounds = 7
        other.priority = 3
        other.weight = 4
        other.scheduler.leaseTimeToLive = .seconds(91)
        other.scheduler.beatInterval = .seconds(92)
        other.scheduler.recoveryGrace = .seconds(93)
        other.scheduler.suspectAfter = .seconds(94)
        other.scheduler.maximumAttempts = 95
        other.scheduler.backoffBase = .seconds(96)
        other.scheduler.backoffCap = .seconds(97)
        other.scheduler.leaseTarget = .seconds(98)
        other.scheduler.tasksPerSlot = 99
        other.scheduler.maximumBlocksPerLease = 9
        other.scheduler.maximumParkedRequests = 9
        other.scheduler.parkTimeout = .seconds(9)
        other.scheduler.unparkedRequestsPerSecond = 9
        other.scheduler.forcedLeaseBlocks = 9
        other.scheduler.splitsTail = false
        other.scheduler.speculates = false
        other.scheduler.circuitBreakerFailures = 9
        other.scheduler.maximumUncommittedBytes = 9
        // A knob that is added to the code must be added here and to the file.
        let knobs = [Mirror(reflecting: other).children.count, Mirror(reflecting: other.scheduler).children.count]
        #expect(knobs == [18, 18])
        #expect(try Defaults.load(repository + "/configs/defaults.yaml", over: other) == Defaults())
    }

    @Test func pipelinesAndWhatTheyNameAreValid() throws {
        let clinc = try PipelineManifest.load(repository + "/configs/pipelines/clinc150.yaml")
        #expect(clinc.seeds == [1, 2, 3, 4, 5])
        #expect(clinc.review.budget == .share(0.2) && clinc.checkpoints == [.share(0.13)])
        #expect(clinc.review.budget.of(15_000) == 3000 && clinc.checkpoints[0].of(15_000) == 1950)
        #expect(clinc.acquisition == .margin && clinc.control == .random && clinc.noisyReviewer == [0.05])
        #expect(clinc.dataset.pool == .clinc150(splits: ["train"]) && clinc.dataset.test == .clinc150(splits: ["test"]))
        guard case .published(let file) = clinc.dataset.location else {
            Issue.record("\(clinc.dataset.location)")
            return
        }
        #expect(file.localPath(in: "data") == "data/clinc150/data_full.json")
        #expect(file.mirrorPath == "clinc150/data_full.json.gz" && file.byteCount == 2_495_390)
        let functions = try LabelingFunctionFile.load(#require(clinc.labelingFunctions))
        #expect(functions.entries.count >= 3)

        let sample = try PipelineManifest.load(repository + "/configs/pipelines/sample.yaml")
        guard case .generated(let settings) = sample.dataset.location else {
            Issue.record("\(sample.dataset.location)")
            return
        }
        let names = try SampleGenerator(settings).classNames
        _ = try LabelingFunctionSet(specs: LabelingFunctionFile.load(#require(sample.labelingFunctions)).specs, classNames: names)
    }

    @Test(arguments: ["local", "lab", "ec2"]) func clustersAreValid(name: String) throws {
        let cluster = try ClusterManifest.load(repository + "/cluster/\(name).yaml")
        #expect(cluster.name == name)
        #expect((cluster.tls == nil) == (name == "local"))
        #expect(cluster.workers.allSatisfy { $0.slots > 0 && $0.memoryBytesPerSlot != nil })
    }
}
