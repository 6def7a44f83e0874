"""A reference in a process of its own: Keras can load only one backend in a process.

Run as `python -m torchbp.parity.worker ARGUMENTS`, where ARGUMENTS is a JSON object. It writes
lines of JSON: a string for each level that is finished, and at the end the list of records.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torchbp.errors import DataError, TorchbpError
from torchbp.parity.case import Case


class Worker:
    """A process that measures cases against one reference, started at once.

    Args:
        cases: cases that `load_cases` gave.
        reference: the reference.
        device: where the torch halves compute.
        dtypes: in which dtypes.
        levels: at which levels.
        progress: called with the reference and a description after each level.
        threads: how many cores its torch uses.

    Raises:
        DataError: the cases were not loaded from one file.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        reference: str,
        device: str,
        dtypes: Sequence[str],
        levels: Sequence[int],
        progress: Callable[[str, str], None],
        threads: int,
    ) -> None:
        self._reference, self._progress = reference, progress
        arguments = {
            "cases": str(_common_source(cases)),
            "only": [case.name for case in cases],
            "reference": reference,
            "device": device,
            "dtypes": list(dtypes),
            "levels": list(levels),
        }
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 - stop() closes it
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "torchbp.parity.worker", json.dumps(arguments)],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(threads),
        )
        self._records: list[dict[str, Any]] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def records(self) -> list[dict[str, Any]]:
        """Wait for the process and return its records.

        Raises:
            TorchbpError: it ended without any; what it wrote to its error stream is in the text.
        """
        self._reader.join()
        status = self._process.wait()
        if self._records is None:
            self._errors.seek(0)
            raise TorchbpError(
                f"parity: the process of {self._reference} ended with status {status}:\n"
                f"{self._errors.read()[-4000:]}"
            )
        return self._records

    def stop(self) -> None:
        """End the process, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None  # it was opened as a pipe
        self._process.stdout.close()
        self._errors.close()

    def _read(self) -> None:
        assert self._process.stdout is not None  # it was opened as a pipe
        for line in self._process.stdout:
            message = json.loads(line)
            if isinstance(message, str):
                self._progress(self._reference, message)
            else:
                self._records = message


def main(arguments: dict[str, Any]) -> None:
    """Measure, and write to standard output; what others print there goes to standard error."""
    from torchbp.parity.suite import load_cases, run_here

    lines, sys.stdout = sys.stdout, sys.stderr

    def write(message: Any) -> None:
        lines.write(json.dumps(message) + "\n")
        lines.flush()

    cases = load_cases(arguments["cases"], arguments["only"], arguments["reference"])
    records = run_here(
        cases,
        arguments["reference"],
        arguments["device"],
        arguments["dtypes"],
        arguments["levels"],
        lambda reference, done: write(done),
    )
    write(records)


def _environment(threads: int) -> dict[str, str]:
    """This process's own, where torchbp is found whatever folder the process starts in."""
    package = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return {**os.environ, "OMP_NUM_THREADS": str(max(1, threads)), "PYTHONPATH": path}


def _common_source(cases: Sequence[Case]) -> Path:
    sources = {case.source for case in cases}
    if len(sources) != 1 or None in sources:
        raise DataError(
            "parity: expected cases loaded from one file, since a second reference needs a "
            f"process of its own that loads them again, got {sorted(map(str, sources))}.\n"
            "  To mend it: take the cases from load_cases(path), or run one reference."
        )
    return Path(str(sources.pop()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
