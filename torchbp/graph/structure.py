"""Nested arguments and outputs: lists, tuples, named tuples, dicts and slices."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Apply a function to every leaf of a nested structure and keep the structure.

    Args:
        function: called with each leaf.
        tree: lists, tuples, named tuples, dicts and slices of leaves; anything else is a leaf.

    Returns:
        The same structure. Named tuples keep their class; lists, other tuples and dicts are
        plain ones.
    """
    if isinstance(tree, tuple):
        return tuple_like(tree, [map_leaves(function, item) for item in tree])
    if isinstance(tree, list):
        return [map_leaves(function, item) for item in tree]
    if isinstance(tree, dict):
        return {key: map_leaves(function, value) for key, value in tree.items()}
    if isinstance(tree, slice):
        return slice(*(map_leaves(function, part) for part in (tree.start, tree.stop, tree.step)))
    return function(tree)


def leaves(tree: Any) -> Iterator[Any]:
    """Every leaf of a nested structure, in order."""
    if isinstance(tree, list | tuple):
        for item in tree:
            yield from leaves(item)
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from leaves(value)
    elif isinstance(tree, slice):
        yield from (tree.start, tree.stop, tree.step)
    else:
        yield tree


def tuple_like(pattern: tuple[Any, ...], items: Sequence[Any]) -> tuple[Any, ...]:
    """The items as a tuple with the names of the pattern's fields, if it has names."""
    if hasattr(pattern, "_fields"):
        return type(pattern)(*items)
    if hasattr(pattern, "n_sequence_fields"):  # what torch.max returns
        return type(pattern)(items)
    return tuple(items)


def field_names(tree: Any) -> Sequence[str] | None:
    """The names of a named tuple's fields; None for anything else."""
    if hasattr(tree, "n_sequence_fields"):
        return tree.__match_args__
    return getattr(tree, "_fields", None) if isinstance(tree, tuple) else None
