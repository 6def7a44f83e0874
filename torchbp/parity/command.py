"""The parity command: measure, show, write, and say by the exit status whether all is well."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchbp.parity.keras_setup import REFERENCES
from torchbp.parity.levels import LEVELS
from torchbp.parity.page import html_page
from torchbp.parity.report import BACKENDS, failures, summary, table, write_json, write_text
from torchbp.parity.suite import CASES_FILE, DTYPES, load_cases, run

if TYPE_CHECKING:
    from rich.console import Console


def parity(
    cases: Path | str = CASES_FILE,
    *,
    only: Sequence[str] = (),
    device: str = "cpu",
    dtypes: Sequence[str] = DTYPES,
    references: Sequence[str] = REFERENCES,
    json: Path | str | None = None,
    html: Path | str | None = None,
    console: Console | None = None,
) -> int:
    """Measure the cases of a file, print the table and write the reports.

    Args:
        cases: the Python file that defines CASES.
        only: names of the cases to measure; all of them if empty.
        device: where the torch halves compute.
        dtypes: "float64", "float32" or both.
        references: "keras-tensorflow", "keras-torch" or both.
        json: where to write the records, a JSON list.
        html: where to write the page.
        console: where to print.

    Returns:
        The exit status: 0 if every figure is within its tolerance, 1 if not.

    Raises:
        DataError: no such file, no cases in it, or an unknown name.
        MissingExtraError: Keras or its backend is not installed.
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else 100)
    chosen = load_cases(cases, only)
    totals = {
        reference: sum(reference in case.references for case in chosen) * len(dtypes) * len(LEVELS)
        for reference in references
    }
    with _Bars(console, totals) as bars:
        records = run(
            chosen, device=device, dtypes=dtypes, references=references, progress=bars.advance
        )
    console.print(table(records))
    for line in failures(records):
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(summary(records), style="bold", markup=False, highlight=False)
    if json is not None:
        write_json(records, json)
    if html is not None:
        notes = {case.name: case.note for case in chosen}
        write_text(html_page(records, notes), html)
    return 0 if all(record["ok"] for record in records) else 1


class _Bars:
    """A progress bar for each reference; they run at the same time."""

    def __init__(self, console: Console, totals: dict[str, int]) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.fields[backend]:20}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
            console=console,
            transient=True,
        )
        self._tasks = {
            reference: self._progress.add_task("", total=total, backend=BACKENDS[reference])
            for reference, total in totals.items()
        }

    def advance(self, reference: str, done: str) -> None:
        """Show that a reference has finished a level."""
        self._progress.update(self._tasks[reference], advance=1, description=done)

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()
