"""`import torchbp` beside `import torch`, each in a fresh interpreter."""

import subprocess
import sys

from benchmarks.timing import Comparison, compare


def run(device: str) -> list[Comparison]:
    return [
        compare(
            "import torchbp / import torch",
            lambda: _fresh("torchbp"),
            lambda: _fresh("torch"),
            calls=1,
            turns=3,
        )
    ]


def _fresh(module: str) -> None:
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
