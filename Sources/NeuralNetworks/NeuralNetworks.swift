// NeuralNetworks: see docs/ARCHITECTURE.md.
