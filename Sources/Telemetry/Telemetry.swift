// Telemetry: see docs/ARCHITECTURE.md.
