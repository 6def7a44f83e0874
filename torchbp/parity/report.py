"""Records as a table for the terminal and as JSON; the page is in `page`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from torchbp.parity.bench import LEVEL_NAMES, Record
from torchbp.train.files import write_atomically

if TYPE_CHECKING:
    from rich.console import RenderableType

BACKENDS = {"keras-tensorflow": "Keras on TensorFlow", "keras-torch": "Keras on torch"}


def table(records: list[Record]) -> RenderableType:
    """The worst figure of every case at every level, for each reference and dtype.

    Args:
        records: what `run` returned.

    Returns:
        A rich table. A cell shows the figure that is nearest to its tolerance; level 1 shows the
        number of parameters where it is the same on both sides.
    """
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("case", vertical="bottom", no_wrap=True)
    for level in levels_of(records):
        name = LEVEL_NAMES[level].replace(" ", "\n")
        grid.add_column(f"{level}\n{name}", justify="right", vertical="bottom", no_wrap=True)
    for reference, dtype in settings_of(records):
        grid.add_section()
        grid.add_row(f"[bold]{BACKENDS[reference]}, {dtype}[/]")
        for case in cases_of(records):
            cells = [cell(records, case, reference, dtype, level) for level in levels_of(records)]
            grid.add_row(case, *(_coloured(found) for found in cells))
    return grid


def failures(records: list[Record]) -> Iterator[str]:
    """A line for each figure that is out of tolerance."""
    for record in records:
        if not record["ok"]:
            layer = f" at {record['layer']}" if "layer" in record else ""
            cause = f"\n    {record['cause']}" if "cause" in record else ""
            yield (
                f"{record['case']}: level {record['level']} ({record['name']}){layer}: "
                f"{record['what']}, {BACKENDS[record['reference']]}, {record['dtype']}: "
                f"{figure(record)}, tolerance {record['tolerance']:.0e}{cause}"
            )


def summary(records: list[Record]) -> str:
    """One sentence with the verdict."""
    wrong = [record for record in records if not record["ok"]]
    cases = cases_of(records)
    whole = f"{_counted(records, 'figure')} of {_counted(cases, 'case')}"
    if not wrong:
        return f"{whole}: all within tolerance."
    named = ", ".join(cases_of(wrong))
    return f"{whole}: {len(wrong)} out of tolerance, in {named}."


def write_json(records: list[Record], path: Path | str) -> None:
    """Write the records as a JSON list, whole or not at all."""
    lines = ",\n".join(json.dumps(record) for record in records)
    write_text(f"[\n{lines}\n]\n", path)


def write_text(text: str, path: Path | str) -> None:
    """Write a file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def cell(records: list[Record], case: str, reference: str, dtype: str, level: int) -> list[Record]:
    """The records behind one cell of the table, the one nearest to its tolerance first."""
    wanted = (case, reference, dtype, level)
    keys = ("case", "reference", "dtype", "level")
    found = [record for record in records if tuple(record[key] for key in keys) == wanted]
    return sorted(found, key=strain, reverse=True)


def strain(record: Record) -> float:
    """The figure in units of its tolerance; infinity where the figure is out of it."""
    if not record["ok"]:
        return float("inf")
    return record["value"] / record["tolerance"] if record["tolerance"] else 0.0


def figure(record: Record) -> str:
    """How a record's value is written."""
    if record["value"] is None:
        return "not run"
    if "keras" in record:
        same = record["keras"] == record["torch"]
        return f"{record['keras']:,}" if same else f"{record['keras']:,} / {record['torch']:,}"
    return f"{record['value']:.1e}" if record["value"] else "0"


def cell_text(found: list[Record]) -> str:
    """What a cell of the table says: the total of level 1, else the figure nearest to trouble."""
    if not found:
        return ""
    counted = [record for record in found if record["what"] == "total"]
    exact = all(record["tolerance"] == 0 for record in found)
    if not found[0]["ok"]:
        return figure(found[0])
    if counted:
        return figure(counted[0])
    return "equal" if exact else figure(found[0])


def cases_of(records: Iterable[Record]) -> list[str]:
    """The cases, in order."""
    return list(dict.fromkeys(record["case"] for record in records))


def levels_of(records: Iterable[Record]) -> list[int]:
    """The levels, in order."""
    return sorted({record["level"] for record in records})


def settings_of(records: Iterable[Record]) -> list[tuple[str, str]]:
    """The pairs of reference and dtype, in order."""
    return list(dict.fromkeys((record["reference"], record["dtype"]) for record in records))


def _counted(things: Sized, name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _coloured(found: list[Record]) -> str:
    if not found:
        return ""
    colour = "green" if found[0]["ok"] else "bold red"
    return f"[{colour}]{cell_text(found)}[/]"
