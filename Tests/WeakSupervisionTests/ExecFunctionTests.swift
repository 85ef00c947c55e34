import Datasets
import Foundation
import Primitives
import Testing
import WeakSupervision

/// Functions that start programs: whatever the program does harms nothing but its own samples.
@Suite(.serialized) struct ExecFunctionTests {
    static let classes = ["spam", "ham"]
    static let allowed = LabelingContext(allowsExec: true)
    static let hasPython = FileManager.default.isExecutableFile(atPath: "/usr/bin/python3")

    static func samples(_ n: Int) -> [Sample?] {
        (0..<n).map {
            Sample(
                id: "s\($0)", text: $0 % 2 == 0 ? "free money \($0)" : "lunch at \($0)",
                metadata: [MetadataEntry("n", "\($0)", isJSON: true)])
        }
    }
    static let healthy = LabelingFunctionSpec(name: "healthy", kind: .keywords(KeywordRule(className: "spam", terms: ["free"])))

    /// The column of a shell script that answers samples; a healthy function beside it must not notice.
    func column(_ script: String, _ samples: [Sample?], limits: ExecLimits = ExecLimits(silentSeconds: 0.5)) throws -> VoteColumn {
        let rule = CommandRule(command: ["/bin/sh", "-c", script], limits: limits)
        let specs = [Self.healthy, LabelingFunctionSpec(name: "f", kind: .command(rule))]
        let block = try LabelingFunctionSet(specs: specs, classNames: Self.classes, context: Self.allowed).apply(
            samples: samples, firstSample: 50)
        #expect(block.columns[0].faults == nil)
        #expect(block.columns[0].votes.cells == samples.map { $0?.text.hasPrefix("free") == true ? 0 : -1 })
        #expect(try VoteBlock(decoding: block.encoded()) == block)
        return block.columns[1]
    }

    @Test func programsAnswerByNameIndexOrNull() throws {
        let script =
            #"i=0; while read -r line; do case $i in 0) echo '{"vote": "ham", "score": 0.25}';; 1) echo '{"vote": 0}';; 2) echo '{"vote": null}';; 3) echo '{"vote": -1}';; 4) case "$line" in *'"n":5'*) echo '{"vote": 1}';; esac;; esac; i=$((i+1)); done"#
        var samples = Self.samples(6)
        samples[4] = nil
        let column = try column(script, samples)
        #expect(column.votes.cells == [1, 0, -1, -1, -1, 1])
        #expect(column.faults == nil && column.scores?.first == 0.25)
    }

    @Test func execMustBeAllowed() throws {
        let spec = LabelingFunctionSpec(name: "f", kind: .command(CommandRule(command: ["true"])))
        let error = #expect(throws: AMAFError.self) {
            try LabelingFunctionSet(specs: [spec], classNames: Self.classes, context: LabelingContext(allowsExec: false))
        }
        #expect(error?.code == "labeling-function.exec-not-allowed" && error?.place == "f")
    }

    @Test func unknownClassesAndNonsenseAreFaultsOfTheirSamples() throws {
        let script =
            #"read a; echo '{"vote": "eggs"}'; read a; echo '{"vote": 9}'; read a; echo nonsense; read a; echo '{"error": "no"}'; read a; echo '{"vote": 1}'"#
        let column = try column(script, Self.samples(5))
        let fault = VoteCode.fault
        #expect(column.votes.cells == [fault, fault, fault, fault, 1])
        #expect(column.faults?.count == 4 && column.faults?.firstSample == 50)
        #expect(column.faults?.firstError.code == "labeling-function.unknown-class")
    }

    @Test func aProgramThatHangsIsStoppedAndItsSampleBlamed() throws {
        // Hangs on the third sample; answers all others at once. Its own child hangs too and must go with it.
        let script = #"while read -r line; do case "$line" in *'"n":2,'*) sleep 1000 & sleep 1000;; *) echo '{"vote": 1}';; esac; done"#
        let clock = ContinuousClock()
        let start = clock.now
        let column = try column(script, Self.samples(6))
        #expect(start.duration(to: clock.now) < .seconds(60))
        #expect(column.votes.cells == [1, 1, VoteCode.fault, 1, 1, 1])
        #expect(column.faults?.firstSample == 52 && column.faults?.firstError.code == "labeling-function.time-out")
    }

    @Test func aProgramThatAlwaysHangsIsQuarantined() throws {
        let clock = ContinuousClock()
        let start = clock.now
        let column = try column("sleep 1000", Self.samples(500), limits: ExecLimits(silentSeconds: 0.2))
        #expect(start.duration(to: clock.now) < .seconds(60))
        #expect(column.faults?.count == 500 && column.faults?.firstError.code == "labeling-function.time-out")
    }

    @Test func aProgramThatCrashesIsBlamedForOneSample() throws {
        let script =
            #"while read -r line; do case "$line" in *'"n":3,'*) echo oops >&2; kill -SEGV $$;; *) echo '{"vote": 0}';; esac; done"#
        let column = try column(script, Self.samples(6))
        #expect(column.votes.cells == [0, 0, 0, VoteCode.fault, 0, 0])
        #expect(column.faults?.firstError.code == "labeling-function.crashed")
        #expect(try self.column("exit 3", Self.samples(2)).faults?.firstError.message.contains("status 3") == true)
        #expect(try self.column("exec /no/such/program", Self.samples(2)).faults?.count == 2)
    }

    @Test func aProgramThatFloodsIsStopped() throws {
        for script in ["yes", "yes | tr -d '\\n'", "yes >&2"] {
            let column = try column(script, Self.samples(3), limits: ExecLimits(silentSeconds: 5, outputBytes: 100))
            #expect(column.faults?.count == 3, "\(script)")
            #expect(
                ["labeling-function.flooded", "labeling-function.bad-answer"].contains(column.faults?.firstError.code ?? ""), "\(script)")
        }
    }

    @Test(.enabled(if: hasPython)) func aProgramThatEatsMemoryIsStopped() throws {
        let rule = CommandRule(
            command: ["python3", "-c", "x = bytearray(1 << 30); print('{\"vote\": 0}')"], limits: ExecLimits(memoryMiB: 256))
        let set = try LabelingFunctionSet(
            specs: [LabelingFunctionSpec(name: "f", kind: .command(rule))], classNames: Self.classes, context: Self.allowed)
        let faults = set.apply(samples: Self.samples(1)).columns[0].faults
        #expect(faults?.firstError.code == "labeling-function.crashed" && faults?.firstError.message.contains("MemoryError") == true)
    }

    @Test func programsDoNotSeeOurSecrets() throws {
        setenv("AMAF_TEST_SECRET", "hunter2", 1)
        defer { unsetenv("AMAF_TEST_SECRET") }
        let column = try column(
            #"read a; if [ -z "$AMAF_TEST_SECRET" ]; then echo '{"vote": 1}'; else echo '{"vote": 0}'; fi"#, Self.samples(1))
        #expect(column.votes.cells == [1])
    }

    // MARK: Snorkel

    static let module = """
        from snorkel.labeling import labeling_function, LabelingFunction
        from snorkel.preprocess import preprocessor
        import time
        print("modules may print")
        ABSTAIN, HAM, SPAM = -1, 0, 1
        calls = []

        @preprocessor(memoize=True)
        def add_length(x):
            calls.append(1)
            x.length = len(x.text)
            return x

        @labeling_function()
        def lf_free(x):
            return SPAM if "free" in x.text else ABSTAIN

        @labeling_function(name="resourceful", resources=dict(words=["lunch"]))
        def lf_words(x, words):
            return HAM if any(w in x.text for w in words) else ABSTAIN

        @labeling_function(pre=[add_length])
        def lf_long(x):
            assert "length" not in x or x.length == len(x.text)
            return SPAM if x.length > 12 and x.n >= 4 else ABSTAIN

        @labeling_function()
        def lf_fails(x):
            if x.n == 1:
                raise ValueError("not odd enough")
            return 5 if x.n == 2 else HAM

        @labeling_function()
        def lf_slow(x):
            if x.n == 1:
                time.sleep(1000)
            return SPAM

        @labeling_function()
        def lf_dies(x):
            import os
            if x.n == 2:
                os._exit(7)
            return SPAM

        made = LabelingFunction("made", lambda x: HAM)
        """

    @Test(.enabled(if: hasPython)) func snorkelFunctionsRunUnchanged() throws {
        let scratch = try Scratch()
        try scratch.write("lfs.py", Self.module)
        let names = ["lf_free", "resourceful", "lf_long", "lf_fails", "lf_slow", "lf_dies", "made", "lf_missing"]
        var specs = names.map { name in
            LabelingFunctionSpec(
                name: name,
                kind: .snorkel(
                    SnorkelRule(
                        module: FileReference(path: "lfs.py"), function: name, classNames: ["ham", "spam"],
                        limits: ExecLimits(silentSeconds: 1.5))))
        }
        for i in specs.indices { try specs[i].resolveFiles(against: scratch.path) }
        var context = Self.allowed
        context.python = "/usr/bin/python3"
        let set = try LabelingFunctionSet(specs: specs, classNames: Self.classes, context: context)
        let block = set.apply(samples: Self.samples(6))
        let (spam, ham, fault): (Int16, Int16, Int16) = (0, 1, VoteCode.fault)
        let cells = block.columns.map(\.votes.cells)
        #expect(cells[0] == [spam, -1, spam, -1, spam, -1])
        #expect(cells[1] == [-1, ham, -1, ham, -1, ham])
        #expect(cells[2] == [-1, -1, -1, -1, -1, -1])
        #expect(cells[3] == [ham, fault, fault, ham, ham, ham])
        #expect(block.columns[3].faults?.firstError.message.contains("ValueError: not odd enough") == true)
        #expect(cells[4] == [spam, fault, spam, spam, spam, spam])
        #expect(cells[5] == [spam, spam, fault, spam, spam, spam])
        #expect(block.columns[5].faults?.firstError.code == "labeling-function.crashed")
        #expect(cells[6] == Array(repeating: ham, count: 6))
        #expect(block.columns[7].faults?.firstError.message.contains("no labeling function 'lf_missing'") == true)
        // The process lives on between blocks, and a module that was changed is another function.
        #expect(set.apply(samples: Self.samples(2)).columns[0].votes.cells == [spam, -1])
        try scratch.write("lfs.py", Self.module + "\n# edited\n")
        var edited = specs[0]
        try edited.resolveFiles(against: scratch.path)
        #expect(edited.digest != specs[0].digest)
    }

    @Test(.enabled(if: hasPython)) func aModuleThatCannotBeImportedSaysWhy() throws {
        let scratch = try Scratch()
        var spec = LabelingFunctionSpec(
            name: "f",
            kind: .snorkel(SnorkelRule(module: FileReference(path: try scratch.write("bad.py", "import nothing_like_it\n")), function: "f"))
        )
        try spec.resolveFiles(against: "")
        let set = try LabelingFunctionSet(specs: [spec], classNames: Self.classes, context: Self.allowed)
        let faults = set.apply(samples: Self.samples(3)).columns[0].faults
        #expect(faults?.count == 3 && faults?.firstError.code == "labeling-function.bad-module")
        #expect(faults?.firstError.message.contains("nothing_like_it") == true)
    }
}
