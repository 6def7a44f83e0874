"""The parts of scripts/patterns.py: images, nets, their training, and what is told of it."""
