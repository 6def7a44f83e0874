"""Predictions that were computed once and are kept, in memory or as .npy files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from torchbp.train.files import write_atomically


class Kept:
    """Columns by member, output and key, which tells the samples and the state of the member.

    Args:
        folder: where .npy files are kept, one for each member, output and key; None keeps them
            in memory alone.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = None if folder is None else Path(folder)
        self.tables: dict[tuple[str, str, str], Tensor] = {}
        self.rows: dict[str, Tensor] = {}  # by key

    def get(
        self, member: str, key: str, rows: Tensor, outputs: Iterable[str]
    ) -> dict[str, Tensor] | None:
        """The columns of each output, None if one of them is not kept."""
        found = {output: self._table(member, output, key) for output in outputs}
        self.rows[key] = rows
        complete = {name: table for name, table in found.items() if table is not None}
        return complete if len(complete) == len(found) else None

    def put(
        self, member: str, key: str, rows: Tensor, columns: dict[str, Tensor], to_file: bool
    ) -> None:
        """Keeps them; in files, too, if they can be known again there."""
        self.rows[key] = rows
        for output, table in columns.items():
            self.tables[member, output, key] = table
            path = self._path(member, output, key)
            if path is not None and to_file:
                write_atomically(path, partial(_save, table=table))

    def tables_of(self, member: str) -> list[dict[str, Any]]:
        """For each key of a member the samples, and the columns by output."""
        keys = dict.fromkeys(key for name, _, key in self.tables if name == member)
        return [
            {
                "rows": self.rows[key],
                "columns": {
                    output: table
                    for (name, output, own), table in self.tables.items()
                    if (name, own) == (member, key)
                },
            }
            for key in keys
            if key in self.rows
        ]

    def _table(self, member: str, output: str, key: str) -> Tensor | None:
        table = self.tables.get((member, output, key))
        path = self._path(member, output, key)
        if table is None and path is not None and path.exists():
            import numpy as np

            table = torch.from_numpy(np.load(path, allow_pickle=False))
            self.tables[member, output, key] = table
        return table

    def _path(self, member: str, output: str, key: str) -> Path | None:
        return None if self.folder is None else self.folder / f"{member}.{output}.{key}.npy"


def _save(file: BinaryIO, table: Tensor) -> None:
    import numpy as np

    np.save(file, table.numpy(), allow_pickle=False)
