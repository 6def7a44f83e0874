"""Tensors in a .npz file, by name."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from torchbp.train.files import write_atomically


def write_npz(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors where `numpy.load` reads them as arrays, whatever their names are.

    Args:
        path: where the file goes; missing folders are made.
        tensors: of any type and device; numpy has no bfloat16, which becomes float32.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    arrays = {name: as_array(tensor) for name, tensor in tensors.items()}
    write_atomically(path, lambda file: _write(file, arrays))


def as_array(tensor: Tensor) -> Any:
    """The tensor as a numpy array on the CPU."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()


def _write(file: BinaryIO, arrays: Mapping[str, Any]) -> None:
    """As `numpy.savez`, which cannot take the names of its own arguments, such as `file`."""
    import numpy as np

    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
