internal import ActiveLearning
internal import Datasets
internal import Primitives
internal import Scheduling
internal import WeakSupervision
internal import Yams

// Reads the knobs that pipelines and configs/defaults.yaml share. What a file does not say stays as it was.

extension Defaults {
    /// All keys but those that only a pipeline has (name, dataset, labeling-functions, stages).
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        blockSize = try map.integer("block-size", in: 16...65_536) ?? blockSize
        if var part = try map.map("features") { try features.read(&part) }
        if var part = try map.map("vae") { try vae.read(&part) }
        if let node = map.value("label-model") {
            // `label-model: auto` or `label-model: {model: log-linear, rounds: 20}`.
            labelModelRounds = nil
            if node.mapping != nil, var part = try map.map("label-model") {
                labelModel = try part.choice("model") ?? labelModel
                labelModelRounds = try part.integer("rounds", in: 1...100)
                try part.finish()
                if labelModelRounds != nil, !LabelModelRounds.kinds.contains(labelModel) {
                    throw part.error(
                        "manifest.not-in-rounds", "The label model '\(labelModel.rawValue)' is not fitted in rounds", at: "rounds",
                        remedy: "Leave 'rounds' out, or choose one of \(LabelModelRounds.kinds.map(\.rawValue).joined(separator: ", ")).")
                }
            } else {
                labelModel = try map.choice("label-model", node)
            }
        }
        if var part = try map.map("classifier") { try classifier.read(&part) }
        acquisition = try map.choice("acquisition") ?? acquisition
        if let written = try map.text("control") { control = written == "none" ? nil : try map.choice("control") }
        if var part = try map.map("review") { try review.read(&part) }
        if let rates = try map.list("noisy-reviewer") {
            noisyReviewer = []
            for node in rates { noisyReviewer.append(try map.number("noisy-reviewer", node, in: .rate)) }
        }
        if let list = try map.list("seeds") {
            seeds = []
            for node in list { seeds.append(UInt64(try map.integer("seeds", node, in: 0...Int.max))) }
            guard !seeds.isEmpty, Set(seeds).count == seeds.count else {
                throw map.error(
                    "manifest.bad-seeds", "'seeds' is empty or names a seed twice", at: "seeds", remedy: "For example 'seeds: [1, 2, 3]'.")
            }
        }
        if let list = try map.list("checkpoints") {
            checkpoints = []
            for node in list { checkpoints.append(try map.amount("checkpoints", node)) }
        }
        if let written = try map.text("audit") { audit = written == "none" ? nil : try map.amount("audit") }
        if let node = map.value("export") {
            let nodes = node.sequence.map(Array.init) ?? [node]
            export = []
            for node in nodes { export.append(try map.choice("export", node)) }
        }
        numerics = try map.choice("numerics") ?? numerics
        priority = try map.integer("priority", in: -1000...1000) ?? priority
        weight = try map.number("weight", in: .positive) ?? weight
        try checkRelations(map)
    }

    private func checkRelations(_ map: YAMLMapping) throws(AMAFError) {
        for checkpoint in checkpoints where checkpoint.exceeds(review.budget) {
            throw map.error(
                "manifest.checkpoint-beyond-budget", "A checkpoint lies beyond the review budget", at: "checkpoints",
                remedy: "Raise 'review.budget' or leave the checkpoint out.")
        }
        guard zip(checkpoints, checkpoints.dropFirst()).allSatisfy({ !$0.exceeds($1) }) else {
            throw map.error("manifest.out-of-range", "'checkpoints' do not ascend", at: "checkpoints", remedy: "Sort them.")
        }
    }
}

extension Amount {
    /// Whether this is surely more than the other; a share and a count cannot be compared before the data are read.
    func exceeds(_ other: Amount) -> Bool {
        switch (self, other) {
        case (.share(let a), .share(let b)): a > b
        case (.count(let a), .count(let b)): a > b
        case (.share, .count), (.count, .share): false
        }
    }
}

extension FeatureSettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        buckets = try map.integer("buckets", in: 256...(1 << 24)) ?? buckets
        guard buckets & (buckets - 1) == 0 else {
            throw map.error(
                "manifest.out-of-range", "'features.buckets' is \(buckets)", at: "buckets",
                remedy: "It must be a power of two, for example 65536.")
        }
        if let written = map.value("word-ngrams") { wordNgrams = written.scalar?.string == "none" ? nil : try map.ngrams("word-ngrams") }
        guard wordNgrams.map({ $0.shortest == 1 && $0.longest <= 8 }) ?? true else {
            throw map.error(
                "manifest.out-of-range", "'features.word-ngrams' must run from 1 to at most 8", at: "word-ngrams",
                remedy: "For example '[1, 2]'.")
        }
        if let written = map.value("char-ngrams") { charNgrams = written.scalar?.string == "none" ? nil : try map.ngrams("char-ngrams") }
        if var part = try map.map("images") { try images.read(&part) }
        guard wordNgrams != nil || charNgrams != nil else {
            throw map.error(
                "manifest.out-of-range", "There are no features left", at: "word-ngrams", remedy: "Keep n-grams of words or of characters.")
        }
        try map.finish()
    }
}

extension ImageFeatureSettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        if let node = map.value("parts") {
            parts = []
            for item in node.sequence.map(Array.init) ?? [node] { parts.append(try map.choice("parts", item)) }
        }
        side = try map.integer("side", in: 8...256) ?? side
        cell = try map.integer("cell", in: 2...128) ?? cell
        pixelWeight = try map.number("pixel-weight", in: .positive) ?? pixelWeight
        components = try map.integer("components", in: 1...1024) ?? components
        network = try map.choice("network") ?? network
        model = try map.existingPath("model") ?? model
        // The run trains a VAE of its own where none is named.
        if (network == nil) != (model == nil), network != .vae {
            throw map.error(
                "manifest.missing-key", "A network needs the folder of its model, and a model's folder the kind of network", at: "model",
                remedy: "Write both: 'network: clip' and 'model: FOLDER'.")
        }
        if var part = try map.map("zero-shot") {
            guard network == .clip else {
                throw map.error(
                    "manifest.unused-key", "Only CLIP compares pictures with sentences", at: "zero-shot",
                    remedy: "Write 'network: clip' beside it.")
            }
            let margin = try part.number("margin", in: .rate) ?? 0
            guard var listed = try part.map("prompts"), !listed.keys.isEmpty else {
                throw part.missing("prompts", remedy: "Write a sentence for each class: 'prompts: {cat: a photo of a cat}'.")
            }
            var prompts: [ZeroShot.Prompt] = []
            for name in listed.keys { prompts.append(ZeroShot.Prompt(className: name, sentence: try listed.text(name) ?? name)) }
            try listed.finish()
            try part.finish()
            zeroShot = ZeroShot(prompts: prompts, margin: margin)
        }
        guard cell.map({ side % $0 == 0 && side / $0 >= 2 }) ?? true else {
            throw map.error(
                "manifest.out-of-range", "Cells of \(cell ?? 0) pixels do not divide images of \(side)", at: "cell",
                remedy: "Choose a divisor of the side, at most half of it.")
        }
        try map.finish()
    }
}

extension YAMLMapping {
    fileprivate mutating func ngrams(_ key: String) throws(AMAFError) -> NgramRange? {
        guard let nodes = try list(key) else { return nil }
        guard nodes.count == 2 else {
            throw error(
                "manifest.wrong-type", "'\(name).\(key)' has \(nodes.count) entries", at: key,
                remedy: "Write the shortest and the longest: '[1, 2]'.")
        }
        let shortest = try integer(key, nodes[0], in: 1...16)
        let longest = try integer(key, nodes[1], in: 1...16)
        guard shortest <= longest else {
            throw error(
                "manifest.out-of-range", "'\(name).\(key)' runs from \(shortest) down to \(longest)", at: key,
                remedy: "Write the shortest first.")
        }
        return NgramRange(shortest, longest)
    }
}

extension ClassifierSettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        epochs = try map.integer("epochs", in: 1...1000) ?? epochs
        l2 = try map.number("l2", in: .positive) ?? l2
        ridge = try map.number("ridge", in: .positive) ?? ridge
        kernelWidth = try map.number("kernel-width", in: .positive) ?? kernelWidth
        landmarks = try map.integer("landmarks", in: 16...8192) ?? landmarks
        try map.finish()
    }
}

extension ReviewSettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        mode = try map.choice("mode") ?? mode
        budget = try map.amount("budget") ?? budget
        rounds = try map.integer("rounds", in: 1...10_000) ?? rounds
        initial = try map.amount("initial") ?? initial
        errorRate = try map.number("error-rate", in: .rate) ?? errorRate
        secondsPerItem = try map.number("seconds-per-item", in: .positive) ?? secondsPerItem
        try map.finish()
        if initial.exceeds(budget) {
            throw map.error(
                "manifest.initial-beyond-budget", "'review.initial' is more than 'review.budget'", at: "initial",
                remedy: "Ask fewer before the first round.")
        }
    }
}

extension SchedulerSettings {
    mutating func read(_ map: inout YAMLMapping) throws(AMAFError) {
        leaseTimeToLive = try map.duration("lease-time-to-live") ?? leaseTimeToLive
        beatInterval = try map.duration("beat-interval") ?? beatInterval
        recoveryGrace = try map.duration("recovery-grace") ?? recoveryGrace
        suspectAfter = try map.duration("suspect-after") ?? suspectAfter
        maximumAttempts = try map.integer("maximum-attempts", in: 1...1000) ?? maximumAttempts
        backoffBase = try map.duration("backoff-base") ?? backoffBase
        backoffCap = try map.duration("backoff-cap") ?? backoffCap
        leaseTarget = try map.duration("lease-target") ?? leaseTarget
        tasksPerSlot = try map.integer("tasks-per-slot", in: 1...10_000) ?? tasksPerSlot
        maximumBlocksPerLease = try map.integer("maximum-blocks-per-lease", in: 1...1_000_000) ?? maximumBlocksPerLease
        maximumParkedRequests = try map.integer("maximum-parked-requests", in: 0...4096) ?? maximumParkedRequests
        parkTimeout = try map.duration("park-timeout") ?? parkTimeout
        unparkedRequestsPerSecond = try map.integer("unparked-requests-per-second", in: 1...100_000) ?? unparkedRequestsPerSecond
        if let written = try map.text("forced-lease-blocks") {
            forcedLeaseBlocks = written == "none" ? nil : try map.integer("forced-lease-blocks", in: 1...1_000_000)
        }
        splitsTail = try map.bool("splits-tail") ?? splitsTail
        speculates = try map.bool("speculates") ?? speculates
        circuitBreakerFailures = try map.integer("circuit-breaker-failures", in: 1...1_000_000) ?? circuitBreakerFailures
        maximumUncommittedBytes = try map.byteCount("maximum-uncommitted-bytes").map { Int(clamping: $0) } ?? maximumUncommittedBytes
        try map.finish()
        guard beatInterval < leaseTimeToLive else {
            throw map.error(
                "manifest.out-of-range", "A lease dies before its first beat is due", at: "lease-time-to-live",
                remedy: "Make 'lease-time-to-live' some times longer than 'beat-interval'.")
        }
    }
}
