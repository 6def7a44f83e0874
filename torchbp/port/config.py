"""A Keras layer's arguments: each is read by somebody, or the layer is refused."""

from collections.abc import Mapping
from typing import Any

from torchbp.errors import DataError

_REQUIRED = object()
# What does not change what a built layer computes, or is looked at for every layer alike.
_ASIDE = {"name", "trainable", "dtype", "batch_shape", "batch_input_shape", "seed", "sparse"}
_STARTS_AND_COSTS = ("_initializer", "_regularizer", "_constraint")


def is_telling(name: str, value: Any) -> bool:
    """Whether an argument changes what a built layer computes."""
    if value is None or name in _ASIDE:
        return False
    return name == "activity_regularizer" or not name.endswith(_STARTS_AND_COSTS)


class UnsupportedError(DataError):
    """What cannot be ported: a class, an argument, a way of calling."""


class Config:
    """The arguments of one layer.

    Args:
        values: the configuration as the file has it.

    Every argument is to be asked for; `check_all_read` refuses a layer with one that nobody knows,
    so that a Keras that has learnt something new is never misread.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self._read: set[str] = set()

    def get(self, name: str, default: Any = _REQUIRED) -> Any:
        """The argument, or the default where the file has none."""
        self._read.add(name)
        value = self._values.get(name, default)
        if value is _REQUIRED:
            raise UnsupportedError(f"no argument {name}")
        return value

    def count(self, name: str, default: Any = _REQUIRED) -> int:
        """A positive number."""
        value = self.get(name, default)
        if type(value) is not int or value < 1:
            raise UnsupportedError(f"{name}={value!r}, which is no positive int")
        return value

    def number(self, name: str, default: Any = _REQUIRED) -> float:
        """Any finite number."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value - value != 0:
            raise UnsupportedError(f"{name}={value!r}, which is no number")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or False."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise UnsupportedError(f"{name}={value!r}, which is neither True nor False")
        return value

    def word(self, name: str, *words: str, default: Any = _REQUIRED) -> str:
        """One of several words."""
        value = self.get(name, default)
        if value not in words:
            raise UnsupportedError(f"{name}={value!r}, which is none of {', '.join(words)}")
        return str(value)

    def sizes(self, name: str, num_dims: int, default: Any = _REQUIRED) -> tuple[int, ...]:
        """A positive number for each dimension, or one for all."""
        value = self.get(name, default)
        sizes = value if isinstance(value, list | tuple) else [value] * num_dims
        if len(sizes) != num_dims or any(type(n) is not int or n < 1 for n in sizes):
            raise UnsupportedError(f"{name}={value!r}, which is not {num_dims} positive ints")
        return tuple(sizes)

    def sides(self, name: str, num_dims: int) -> list[tuple[int, int]]:
        """Numbers of cells before and after each dimension."""
        value = self.get(name)
        items = value if isinstance(value, list | tuple) else [value] * num_dims
        if num_dims == 1 and len(items) == 2 and all(type(n) is int for n in items):
            items = [items]
        pairs = [item if isinstance(item, list | tuple) else [item, item] for item in items]
        flat = [n for pair in pairs for n in pair]
        if len(pairs) != num_dims or len(flat) != 2 * num_dims:
            raise UnsupportedError(f"{name}={value!r}, which is not two ints a dimension")
        if any(type(n) is not int or n < 0 for n in flat):
            raise UnsupportedError(f"{name}={value!r}, which is not two ints a dimension")
        return [(before, after) for before, after in pairs]

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses the argument where it asks for what has no counterpart."""
        value = self.get(name, allowed[0])
        if not any(value is item or value == item for item in allowed):
            raise UnsupportedError(f"{name}={value!r}")

    def check_all_read(self) -> None:
        """Refuses an argument that nobody has asked for.

        Raises:
            UnsupportedError: there is one.
        """
        for name, value in self._values.items():
            if is_telling(name, value) and name not in self._read:
                raise UnsupportedError(f"the argument {name}={value!r}")
