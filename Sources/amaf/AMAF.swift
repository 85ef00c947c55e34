import ArgumentParser
import Primitives

@main struct AMAF: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "amaf",
        abstract: "Labels large data sets on a cluster and asks people only where it pays.",
        discussion: """
            Start with 'amaf init FOLDER' for your own data, or 'amaf dataset pull clinc150' and 'amaf run configs/pipelines/clinc150.yaml'.

            Exit codes: 0 done, 1 failed (one line says why), 3 waiting for people's answers, 64 wrong use, 130 stopped by Ctrl-C (a rerun resumes).
            """,
        version: AMAFVersion.current,
        groupedSubcommands: [
            CommandGroup(
                name: "Annotating:", subcommands: [Init.self, Check.self, Run.self, Review.self, Export.self, Explain.self, Augment.self]),
            CommandGroup(name: "Judging labels:", subcommands: [AuditCommand.self]),
            CommandGroup(name: "Weak supervision without a cluster:", subcommands: [LabelingFunctions.self, LabelModels.self]),
            CommandGroup(name: "Data:", subcommands: [DatasetCommand.self, SampleCommand.self]),
            CommandGroup(
                name: "Networks without a cluster:",
                subcommands: [ModelsCommand.self, Embed.self, VAECommand.self, Paraphrase.self, Bench.self]),
            CommandGroup(
                name: "Operating a cluster:",
                subcommands: [
                    Submit.self, Status.self, Workers.self, Tasks.self, Story.self, ExplainTask.self, Drain.self, Undrain.self, Pause.self,
                    Resume.self, Cancel.self, Retry.self, Logs.self, Probe.self, CollectGarbage.self, Certs.self,
                ]),
        ])
}
