"""Reading in another process: the same values, and an end whatever the HDF5 library does."""

import struct
import sys
import time

import h5py
import numpy as np
import pytest

from torchbp.errors import DataError
from torchbp.port import files, isolated


def saved(path, array=None):
    with h5py.File(path, "w") as file:
        for name in ("dense", "dense_1"):
            variables = file.create_group(f"layers/{name}/vars")
            variables.attrs["name"] = f"my_{name}"
            variables["0"] = np.arange(6.0).reshape(2, 3) if array is None else array
            variables["1"] = np.array(3, "i8")
    return path


def legacy(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["a"]
        file.attrs["model_config"] = '{"class_name": "Säquential"}'
        group = file.create_group("a")
        group.attrs["weight_names"] = ["a/kernel"]
        group["a/kernel"] = np.ones((2, 2), "f2")
    return path


@pytest.mark.parametrize("write", [saved, legacy])
def test_it_gives_what_the_readers_give(write, tmp_path):
    path = write(tmp_path / "m.h5")
    ours, theirs = isolated.read_saved(path), files.read_saved(path)
    assert (ours.names, ours.is_tree) == (theirs.names, theirs.is_tree)
    assert ours.layers.keys() == theirs.layers.keys()
    for name, layer in theirs.layers.items():
        assert ours.layers[name].names == layer.names
        for a, b in zip(ours.layers[name].arrays, layer.arrays, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
            assert a.flags.writeable
    assert isolated.read_weights(path).keys() == files.read_weights(path).keys()


def test_text_comes_as_it_is(tmp_path):
    path = legacy(tmp_path / "m.h5")
    assert isolated.read_config_text(path) == '{"class_name": "Säquential"}'
    assert isolated.read_training_text(path) is None


def test_errors_are_those_of_the_readers(tmp_path):
    path = tmp_path / "m.h5"
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match="expected an HDF5 file") as ours:
        isolated.read_saved(path)
    with pytest.raises(DataError) as theirs:
        files.read_saved(path)
    assert str(ours.value) == str(theirs.value)
    with pytest.raises(DataError, match="No such file"):
        isolated.read_saved(tmp_path / "other.h5")


def test_a_file_on_which_the_library_goes_round_in_circles_ends(tmp_path, monkeypatch):
    path = legacy(tmp_path / "m.h5")
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")  # strings of attributes; an object of no size follows itself
    size = struct.unpack_from("<Q", content, heap + 8)[0]
    content[heap + 16 : heap + size] = bytes(size - 16)
    path.write_bytes(content)
    monkeypatch.setattr(isolated, "SECONDS", 3.0)
    began = time.monotonic()
    with pytest.raises(DataError, match=r"can be read in 3 s|undamaged"):
        isolated.read_saved(path)
    assert time.monotonic() - began < 30


def test_a_crash_is_an_error(tmp_path, monkeypatch):
    reader = tmp_path / "reader.py"
    reader.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    monkeypatch.setattr(isolated, "__file__", str(tmp_path / "isolated.py"))
    with pytest.raises(DataError, match=r"HDF5 library fails \(status -11\)"):
        isolated.read_saved(saved(tmp_path / "m.h5"))


@pytest.mark.skipif(sys.platform == "win32", reason="memory is not bounded there")
def test_memory_is_bounded(tmp_path, monkeypatch):
    path = saved(tmp_path / "m.h5", np.zeros(1 << 20, "u1"))
    monkeypatch.setattr(isolated, "SPARE_MEMORY", 0)
    with pytest.raises(DataError, match="expected an undamaged Keras file"):
        isolated.read_saved(path)


def test_only_numbers_are_taken_from_the_other_process():
    with pytest.raises(TypeError, match=r"\|O"):
        isolated._arrays([("|O", [1])], b"\0" * 8)
