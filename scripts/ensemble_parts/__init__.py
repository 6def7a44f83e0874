"""The parts of scripts/ensemble_digits.py."""
