"""Names in a model's code: which ones can be, and which are still free."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable

from torch import nn

from torchbp.errors import GraphError

# What the code of a model uses under these names.
CODE_NAMES = frozenset({"self", "training", "torch", "F", "range", "slice"})


def snake_case(name: str) -> str:
    """`GlobalMaxPool1d` -> `global_max_pool1d`, `LeakyReLU` -> `leaky_relu`, `LSTM` -> `lstm`."""
    return re.sub(r"((?<=[a-z0-9])|(?<=[A-Z]{2}))(?=[A-Z][a-z])", "_", name).lower().strip("_")


def check_input_name(name: object, who: str) -> None:
    """Refuse a name that cannot be an argument in a model's code.

    Raises:
        GraphError: it is not an identifier, is private, or stands for something else there.
    """
    usable = isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name)
    if not usable or str(name).startswith("_") or name in CODE_NAMES:
        raise GraphError(
            f"{who}: expected a name that can be a Python variable, got {name!r}.\n"
            "  To mend it: use letters, digits and underscores, a letter first, and none of "
            f"{sorted(CODE_NAMES)}."
        )


def check_name(name: object, who: str) -> None:
    """Refuse a name that cannot be a variable in a model's code and a submodule's attribute.

    Raises:
        GraphError: as above, or `nn.Module` has an attribute of that name.
    """
    check_input_name(name, who)
    if hasattr(nn.Module, str(name)):
        raise GraphError(
            f"{who}: expected a name that can be an attribute of a module, got {name!r}, which "
            "every nn.Module has.\n"
            "  To mend it: give it another name."
        )


class Taken:
    """Names that are in use; `free` gives one that is not, which then is."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._next = dict.fromkeys(names, 1)  # the number to try when the name is wanted again

    def free(self, base: str, *, python: bool = True) -> str:
        """The base name, numbered where it is taken or would hide a name of `python`."""
        hides = python and (base in _PYTHONS or keyword.iskeyword(base))
        number = self._next.get(base, 1 if hides else 0)
        while (name := f"{base}_{number}" if number else base) in self._next:
            number += 1
        self._next[base] = number + 1
        self._next.setdefault(name, 1)
        return name


_PYTHONS = CODE_NAMES.union(vars(builtins))
