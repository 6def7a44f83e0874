"""A bar over the parts of long work, where the output is a terminal."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def tracked(items: Sequence[Item], what: str, progress: bool) -> Iterator[Item]:
    """The items one by one, with a bar that says how far it is."""
    from rich.console import Console
    from rich.progress import track

    console = Console()
    if not (progress and console.is_terminal):
        yield from items
        return
    yield from track(items, what, console=console, transient=True)
