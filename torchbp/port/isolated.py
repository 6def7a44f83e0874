"""The readers of `files` in a process of their own, which ends if a file leads them astray.

The HDF5 library is not made for files from strangers: a few flipped bits can send it into a loop
that nothing in the same process can end, or crash it. So it runs in another one, without torch and
with bounded time and memory, and gives back plain numbers and text.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from torchbp.errors import DataError, missing_extra
from torchbp.port import files
from torchbp.port.files import LayerWeights, SavedOptimizer, SavedWeights, refused

SECONDS = 60.0  # for a small file; more for a large one
BYTES_PER_SECOND = 10 << 20  # what the slowest disk reads
SPARE_MEMORY = 2 << 30  # beside three times what the file has
_KINDS = "biuf"


def read_weights(path: str | Path) -> dict[str, LayerWeights]:
    """As `files.read_weights`."""
    return _layers(_run("read_weights", path))


def read_saved(path: str | Path) -> SavedWeights:
    """As `files.read_saved`."""
    found = _run("read_saved", path)
    return SavedWeights(_layers(found["layers"]), found["names"], found["is_tree"])


def read_optimizer(path: str | Path) -> SavedOptimizer | None:
    """As `files.read_optimizer`."""
    found = _run("read_optimizer", path)
    if found is None:
        return None
    return SavedOptimizer(found["name"], tuple(found["names"]), tuple(found["arrays"]))


def read_config_text(path: str | Path) -> str:
    """As `files.read_config_text`; an archive needs no HDF5 library for it."""
    return _text("read_config_text", path) or ""


def read_training_text(path: str | Path) -> str | None:
    """As `files.read_training_text`."""
    return _text("read_training_text", path)


def _text(function: str, path: str | Path) -> str | None:
    is_archive = zipfile.is_zipfile(path)
    text = getattr(files, function)(path) if is_archive else _run(function, path)
    return text.decode(errors="replace") if isinstance(text, bytes) else text


def _layers(found: Any) -> dict[str, LayerWeights]:
    return {
        name: LayerWeights(tuple(layer["names"]), tuple(layer["arrays"]))
        for name, layer in found.items()
    }


def _run(function: str, path: str | Path) -> Any:
    """What a function of `files` gives for a path."""
    if importlib.util.find_spec("h5py") is None:
        raise missing_extra("h5py", "port")
    size = _size(path)
    reader = Path(__file__).with_name("reader.py")
    command = [sys.executable, "-I", str(reader), function, str(path)]
    command += [str(3 * size + SPARE_MEMORY), *sys.path]
    seconds = SECONDS + size / BYTES_PER_SECOND
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise refused(path, f"a file that can be read in {seconds:.0f} s", "longer") from None
    header, _, numbers = done.stdout.partition(b"\n")
    if done.returncode != 0 or not header:
        told = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        got = f"one on which the HDF5 library fails (status {done.returncode}) {told[0]}".rstrip()
        raise refused(path, "an undamaged Keras file", got)
    found = json.loads(header)
    if "error" in found:
        raise DataError(found["error"])
    return _with_arrays(found["value"], _arrays(found["arrays"], numbers))


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except OSError as error:
        got = error.strerror or str(error)
        raise refused(path, "a readable Keras file", got) from error


def _arrays(described: list[tuple[str, list[int]]], numbers: bytes) -> list[Any]:
    """Arrays that own their numbers, of kinds that hold nothing but numbers."""
    import numpy as np

    arrays, start, data = [], 0, memoryview(numbers)
    for name, shape in described:
        dtype = np.dtype(name)
        if dtype.kind not in _KINDS:
            raise TypeError(f"an array of {name}")
        count = int(np.prod(shape, dtype=np.int64))
        end = start + count * dtype.itemsize
        arrays.append(np.frombuffer(data[start:end], dtype).reshape(shape).copy())
        start = end
    return arrays


def _with_arrays(value: Any, arrays: list[Any]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"*array*"}:
        return arrays[value["*array*"]]
    return {key: _with_arrays(item, arrays) for key, item in value.items()}
