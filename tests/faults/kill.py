"""Kills runs at random moments until enough kills are done, and writes down what it comes to.

    python tests/faults/kill.py --kills 500 --out docs/results/faults.json

Every program of runs.py, with and without accumulation of gradients, is killed with SIGKILL and
started again until it has ended, over and over; each time the final weights and the history are
compared, bit for bit, with those of a run that was not killed.
"""

import argparse
import json
import platform
import random
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))
import runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    settings = [(program, accumulation) for program in runs.PROGRAMS for accumulation in (1, 2)]
    each = -(-options.kills // len(settings))
    rng = random.Random(options.seed)
    rows = [
        measure(program, accumulation, each, rng)
        for program, accumulation in track(settings, description="kill", console=Console())
    ]
    Console().print(table(rows))
    if options.out is not None:
        write(rows, options)
    if not all(row["equal"] == row["runs"] for row in rows):
        sys.exit("A run that was killed came to something else.")


def measure(program: str, accumulation: int, kills: int, rng: random.Random) -> dict:
    """Runs one program, killed, until so many kills are done."""
    row = {
        "program": program,
        "accumulation": accumulation,
        "runs": 0,
        "kills": 0,
        "kills_while_saving": 0,
        "equal": 0,
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.monotonic()
        whole = runs.uninterrupted(program, folder / "whole", accumulation=accumulation)
        longest_s = (time.monotonic() - began) / 2
        while row["kills"] < kills:
            killed, count, unfinished = runs.kill_until_done(
                program, folder / str(row["runs"]), rng, longest_s, accumulation=accumulation
            )
            row["runs"] += 1
            row["kills"] += count
            row["kills_while_saving"] += unfinished
            row["equal"] += runs.are_equal(whole, killed)
    return row


def table(rows: list[dict]) -> Table:
    result = Table(*rows[0])
    for row in rows:
        result.add_row(*map(str, row.values()))
    totals = {name: sum(row[name] for row in rows) for name in list(rows[0])[2:]}
    result.add_row("all", "", *map(str, totals.values()))
    return result


def write(rows: list[dict], options: argparse.Namespace) -> None:
    report = {
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seed": options.seed,
        "programs": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
