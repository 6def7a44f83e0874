"""Run every benchmark, print the ratios, and write them down with the machine and versions."""

import argparse
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks import build, ensemble, fit, forward, imports, loop, vision
from benchmarks.timing import Comparison
from torchbp.train.files import write_atomically


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="folder for the JSON file")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a second thread waits for its turn on a busy machine
    comparisons = [
        comparison
        for benchmark in (imports, forward, fit, loop, build, ensemble, vision)
        for comparison in benchmark.run(options.device)
    ]
    Console().print(table(comparisons))
    if options.out is not None:
        path = write(comparisons, options.out, options.device)
        print(f"written to {path}")


def table(comparisons: list[Comparison]) -> Table:
    result = Table("what", "ratio", "quartiles", "torchbp ms", "peer ms", "limit")
    for row in comparisons:
        result.add_row(
            row.name,
            f"{row.ratio:.3f}",
            f"{row.low:.3f} to {row.high:.3f}",
            f"{row.torchbp_ms:.3f}",
            f"{row.peer_ms:.3f}",
            "" if row.limit is None else f"{row.limit}",
        )
    return result


def write(comparisons: list[Comparison], folder: Path, device: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    report = {
        "machine": {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "comparisons": [asdict(comparison) for comparison in comparisons],
    }
    path = folder / f"benchmarks-{device.split(':')[0]}.json"
    text = json.dumps(report, indent=2) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


if __name__ == "__main__":
    main()
