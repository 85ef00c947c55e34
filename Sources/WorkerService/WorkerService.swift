// WorkerService: see docs/ARCHITECTURE.md.
