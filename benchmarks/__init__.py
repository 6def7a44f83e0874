"""torchbp beside hand-written PyTorch, both in one run, alternated: `python -m benchmarks`."""
