"""Arrays of an .npz file, lists of integers among them, without running anything it holds."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DataError
from .pickled import integer_lists

MAX_BYTES = 1 << 26  # of an array as it is unpacked; the largest of imdb.npz takes 16 million


def read_npz(
    path: str | Path, *, lists: Sequence[str], integers: Sequence[str]
) -> dict[str, list[Any]]:
    """Arrays of lists of integers, and arrays of integers, as Python lists.

    `numpy.load` refuses arrays of objects, or runs the pickle that they are stored as. Here the
    pickle is only read (`torchbp.data.pickled`).

    Args:
        path: a file as `numpy.savez` or `numpy.savez_compressed` writes it.
        lists: names of one-dimensional arrays of lists.
        integers: names of one-dimensional arrays of integers.

    Raises:
        DataError: the file is no .npz file, lacks one of the names, or holds anything else under
            it, or more than `MAX_BYTES`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name: _member(archive, path, name) for name in (*lists, *integers)}
    except DataError:
        raise
    except OSError as error:
        raise _unreadable(path, "a readable file", error.strerror or str(error)) from error
    except _DAMAGED as error:
        raise _unreadable(path, "an .npz file", str(error)) from error
    readers = dict.fromkeys(lists, _lists) | dict.fromkeys(integers, _integers)
    return {name: readers[name](members.pop(name), f"{path}: {name}") for name in list(members)}


def _member(archive: zipfile.ZipFile, path: str | Path, name: str) -> bytes:
    """The bytes of `name`.npy."""
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        known = [Path(member).stem for member in archive.namelist()]
        raise _unreadable(path, f"an array {name!r}", f"the arrays {known[:10]}") from None
    plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if not plain or info.flag_bits & _ENCRYPTED:
        raise _unreadable(path, f"{name!r} as numpy.savez stores it", "another compression")
    if info.file_size > MAX_BYTES:
        raise _unreadable(path, f"at most {MAX_BYTES} bytes of {name!r}", f"{info.file_size}")
    return archive.read(info)


def _lists(content: bytes, source: str) -> list[list[int]]:
    shape, dtype, array = _npy(content, source)
    if dtype.kind != "O":
        raise _unreadable(source, "an array of lists", f"{dtype} of shape {shape}")
    return integer_lists(array, source)


def _integers(content: bytes, source: str) -> list[int]:
    import numpy as np

    shape, dtype, array = _npy(content, source)
    if dtype.kind not in "iu" or len(shape) != 1:
        raise _unreadable(source, "one-dimensional integers", f"{dtype} of shape {shape}")
    if len(array) != shape[0] * dtype.itemsize:
        raise _unreadable(source, f"{shape[0]} integers", f"{len(array)} bytes of {dtype}")
    integers: list[int] = np.frombuffer(array, dtype).tolist()
    return integers


def _npy(content: bytes, source: str) -> tuple[tuple[int, ...], Any, bytes]:
    """Shape and dtype that a .npy file declares, and the bytes of its array."""
    from numpy.lib import format

    headers = {(1, 0): format.read_array_header_1_0, (2, 0): format.read_array_header_2_0}
    file = io.BytesIO(content)
    try:
        shape, _, dtype = headers[format.read_magic(file)](file)
    except (ValueError, KeyError, RecursionError, MemoryError) as error:
        raise _unreadable(source, "the header of a .npy file", str(error)[:80]) from error
    return shape, dtype, content[file.tell() :]


_ENCRYPTED = 0x1
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, struct.error)


def _unreadable(source: str | Path, expected: str, got: str) -> DataError:
    return DataError(
        f"{source}: expected {expected}, got {got}.\n"
        "  To mend it: check the path, and that the file is Keras's imdb.npz or made like it."
    )
