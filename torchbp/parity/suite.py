"""Cases in, records out: every case at every level, in each dtype, against each reference."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from torchbp.errors import DataError, missing_extra
from torchbp.parity.bench import Bench, Record
from torchbp.parity.case import Case
from torchbp.parity.keras_setup import (
    REFERENCES,
    backend_here,
    keras_dtype,
    keras_environment,
    start_keras,
)
from torchbp.parity.levels import LEVELS, measure
from torchbp.parity.rounded import rounded_constants
from torchbp.parity.worker import Worker

DTYPES = ("float64", "float32")
CASES_FILE = Path("parity_tests/cases.py")
Progress = Callable[[str, str], None]
"""Told the reference and what it has just finished."""


def load_cases(
    path: Path | str = CASES_FILE, only: Sequence[str] = (), reference: str = REFERENCES[0]
) -> list[Case]:
    """The cases that a Python file lists in CASES.

    Args:
        path: the file. The folder above its own can be imported from while it is loaded.
        only: names of the cases to take; all of them if empty.
        reference: with which backend Keras is loaded, if it is not loaded yet.

    Returns:
        The cases in the file's order.

    Raises:
        DataError: there is no such file, it has no CASES, or a name in `only` is not among them.
        MissingExtraError: Keras or its backend is not installed.
    """
    path = Path(path).resolve()
    if not path.is_file():
        raise DataError(
            f"parity: expected a Python file with cases, got {str(path)!r}, which does not exist.\n"
            "  To mend it: run from the project's folder, or pass --cases FILE."
        )
    if backend_here() is None:
        os.environ.update(keras_environment(reference))
    cases = getattr(_module(path), "CASES", None)
    if not cases:
        raise DataError(
            f"parity: expected a list CASES in {str(path)!r}, got {cases!r}.\n"
            "  To mend it: define CASES = [Case(...), ...] there."
        )
    names = [case.name for case in cases]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise DataError(
            f"parity: expected names of cases in {path.name}, got {', '.join(unknown)}.\n"
            f"  To mend it: choose from {', '.join(names)}."
        )
    return [replace(case, source=path) for case in cases if not only or case.name in only]


def run(
    cases: Sequence[Case],
    *,
    device: str = "cpu",
    dtypes: Sequence[str] = DTYPES,
    references: Sequence[str] = REFERENCES,
    levels: Iterable[int] = tuple(LEVELS),
    progress: Progress = lambda reference, done: None,
) -> list[Record]:
    """Measure cases.

    Args:
        cases: what to measure.
        device: where the torch halves compute; Keras stays on the CPU.
        dtypes: "float64", "float32" or both.
        references: "keras-tensorflow", "keras-torch" or both. One is computed in this process,
            the other in one of its own, at the same time.
        levels: numbers from 1 to 7.
        progress: called after each level with the reference and a description.

    Returns:
        A record, a dict, for each figure: case, level, name (of the level), what, dtype, device,
        reference, value (None where it could not be measured), tolerance, ok; counts also keras
        and torch; failing ones layer and module, and cause where it is known.

    Raises:
        DataError: an unknown dtype, reference or level, or a case that was not loaded from a file
            and needs another process.
        MissingExtraError: Keras or its backend is not installed.
    """
    levels = tuple(levels)
    _check_known("dtype", dtypes, DTYPES)
    _check_known("reference", references, REFERENCES)
    _check_known("level", levels, tuple(LEVELS))
    here = backend_here() or references[0]
    shares = _shares(cases, references, here)
    threads = _cores() // max(1, len(shares))
    workers = [
        Worker(own, reference, device, dtypes, levels, progress, threads)
        for reference, in_worker, own in shares
        if in_worker
    ]
    records: list[Record] = []
    try:
        with _threads(threads):
            for reference, in_worker, own in shares:
                if not in_worker:
                    records += run_here(own, reference, device, dtypes, levels, progress)
        for worker in workers:
            records += worker.records()
    finally:
        for worker in workers:
            worker.stop()
    of_reference = {reference: i for i, reference in enumerate(references)}
    of_case = {case.name: i for i, case in enumerate(cases)}
    return sorted(records, key=lambda r: (of_reference[r["reference"]], of_case[r["case"]]))


def _shares(
    cases: Sequence[Case], references: Sequence[str], here: str
) -> list[tuple[str, bool, list[Case]]]:
    """Who computes what: the reference, whether in a process of its own, and its cases.

    A process has one reference. The large networks have one to themselves, as they take as long as
    all the rest; a single case that is in no file can only be computed here.
    """
    shares = []
    for reference in references:
        own = [case for case in cases if reference in case.references]
        apart = [case for case in own if case.large and case.source is not None]
        rest = [case for case in own if case not in apart]
        if not rest:
            apart, rest = [], apart
        shares += [(reference, True, apart), (reference, reference != here, rest)]
    return [share for share in shares if share[2]]


def run_here(
    cases: Sequence[Case],
    reference: str,
    device: str,
    dtypes: Sequence[str],
    levels: Sequence[int],
    progress: Progress,
) -> list[Record]:
    """The records of one reference, computed in this process."""
    start_keras(reference)
    records = []
    for case in cases:
        for dtype in dtypes:
            with keras_dtype(dtype), plain_float32(), rounded_constants(reference, dtype):
                bench = Bench(case, reference, dtype, device)
                for level in levels:
                    records += measure(bench, level)
                    progress(reference, f"{case.name}, {dtype}, {LEVELS[level].__name__}")
    return records


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch use some of the cores: the other references use the rest."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return os.cpu_count() or 1


@contextmanager
def plain_float32() -> Iterator[None]:
    """Float32 computed in float32, not in the shorter TF32 of CUDA devices."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _module(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"torchbp_parity_{path.stem}", path)
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.parent.parent))
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name in ("keras", "tensorflow"):
            raise missing_extra("keras and tensorflow", "parity") from error
        raise
    finally:
        sys.path.remove(str(path.parent.parent))
    return module


def _check_known(what: str, given: Sequence[Any], known: Sequence[Any]) -> None:
    unknown = [item for item in given if item not in known]
    if unknown or not given:
        raise DataError(
            f"parity: expected a {what} out of {list(known)}, got {list(given)}.\n"
            "  To mend it: name at least one of them."
        )
