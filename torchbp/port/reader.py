"""What `isolated` starts: reads a file with a function of `files`, and writes what that gives.

    python -I reader.py FUNCTION PATH BYTES_OF_MEMORY FOLDERS_OF_MODULES ...

It is a script, and imports neither torch nor the rest of torchbp, which would take seconds.
"""

import json
import sys
import types
from pathlib import Path
from typing import Any


def main(function: str, path: str, memory: int) -> None:
    """Write a line of JSON, and after it the numbers of the arrays that it names."""
    folder = Path(__file__).parent
    _without_contents("torchbp", folder.parent)
    _without_contents("torchbp.port", folder)
    from torchbp.errors import DataError
    from torchbp.port import files

    _bound_memory(memory)
    arrays: list[Any] = []
    try:
        value = plain(getattr(files, function)(path), arrays)
        found = {"value": value, "arrays": [(a.dtype.str, a.shape) for a in arrays]}
    except DataError as error:
        found, arrays = {"error": str(error)}, []
    sys.stdout.buffer.write(json.dumps(found).encode() + b"\n")
    for array in arrays:
        sys.stdout.buffer.write(array.tobytes())


def plain(value: Any, arrays: list[Any]) -> Any:
    """What JSON can have, with a number in place of each array, which goes to the list."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name), arrays) for name in value.__dataclass_fields__}
    if isinstance(value, dict):
        return {key: plain(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, arrays) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "tobytes"):
        arrays.append(value)
        return {"*array*": len(arrays) - 1}
    return value


def _without_contents(name: str, folder: Path) -> None:
    """A package whose modules can be imported, and whose __init__ is not run."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package


def _bound_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on every system
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if most == resource.RLIM_INFINITY or size < most:
        resource.setrlimit(resource.RLIMIT_AS, (size, most))


if __name__ == "__main__":
    sys.path[:] = sys.argv[4:]
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
