"""Models as files of plain torch: source, weights, and a test of both.

`creation` reads from a module the call that makes it, and `modules` which layer of torch it is;
`steps` writes the graph as expressions, `repeats` and `blocks` find what it repeats; `forward` and
`source` write the classes, in the layout of `text`; `files` writes the folder.
"""

from torchbp.port.eject.files import eject

__all__ = ["eject"]
