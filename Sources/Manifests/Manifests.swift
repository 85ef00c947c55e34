// Manifests: see docs/ARCHITECTURE.md.
