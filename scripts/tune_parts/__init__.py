"""Parts of scripts/tune_digits.py."""
