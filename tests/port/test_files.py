"""Keras's files, written here with h5py: what Keras saves is read, what only looks so is not."""

import contextlib
import sys
import zipfile

import h5py
import numpy as np
import pytest

from torchbp.errors import DataError, MissingExtraError
from torchbp.port import files
from torchbp.port.files import read_weights

KERNEL = np.arange(6, dtype="f4").reshape(3, 2)
BIAS = np.array([0.5, -1], "f4")


def new(tmp_path, write, name="weights.bin"):
    """A file that `write` fills; its suffix says nothing."""
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        write(file)
    return path


def legacy_layer(group, name, weights):
    layer = group.create_group(name)
    layer.attrs["weight_names"] = [weight.encode() for weight in weights]
    for weight, array in weights.items():
        layer[weight] = array


def legacy(group):
    """As keras.applications publishes weights: names in bytes, in the model's order."""
    group.attrs["layer_names"] = [b"input_1", b"conv_10", b"conv_9"]
    legacy_layer(group, "input_1", {})
    legacy_layer(group, "conv_10", {"conv_10/kernel:0": KERNEL, "conv_10/bias:0": BIAS})
    legacy_layer(group, "conv_9", {"conv_9/kernel:0": 2 * KERNEL})


def variables(root, path, name, *arrays):
    group = root.create_group(f"{path}/vars")
    if name:
        group.attrs["name"] = name
    for number, array in enumerate(arrays):
        group[str(number)] = array
    return group


def tree(root):
    """As Keras 3 saves a compiled model."""
    variables(root, "layers/input_layer", "image")
    variables(root, "layers/dense", "hidden", KERNEL, BIAS)
    variables(root, "layers/dense_1", "classes", 2 * KERNEL)
    variables(root, "optimizer", "adam", np.int64(3), KERNEL)
    root.create_group("vars").attrs["name"] = "model"


def zipped(tmp_path, source, member="model.weights.h5", compression=zipfile.ZIP_STORED):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", "{}")
        archive.write(source, member)
    return path


def shown(weights):
    """Names and shapes."""
    return {
        layer: [(name, array.shape) for name, array in zip(found.names, found.arrays, strict=True)]
        for layer, found in weights.items()
    }


# What Keras writes


def test_a_legacy_weight_file_keeps_the_models_order(tmp_path):
    found = read_weights(new(tmp_path, legacy))
    assert list(shown(found).items()) == [
        ("conv_10", [("conv_10/kernel", (3, 2)), ("conv_10/bias", (2,))]),
        ("conv_9", [("conv_9/kernel", (3, 2))]),
    ]
    np.testing.assert_array_equal(found["conv_9"].arrays[0], 2 * KERNEL)


def test_a_legacy_model_has_the_same_in_a_group(tmp_path):
    whole = new(tmp_path, lambda file: legacy(file.create_group("model_weights")), "whole")
    assert shown(read_weights(whole)) == shown(read_weights(new(tmp_path, legacy)))


def test_legacy_names_may_be_text_and_paths(tmp_path):
    def write(file):
        file.attrs["layer_names"] = ["block/conv"]
        legacy_layer(file, "block/conv", {"model/block/conv/kernel": KERNEL})

    found = read_weights(new(tmp_path, write))
    assert shown(found) == {"block/conv": [("model/block/conv/kernel", (3, 2))]}


def test_long_legacy_attributes_are_read_from_their_parts(tmp_path):
    def write(file):
        for number, part in enumerate([[b"a", b"b"], [b"c"]]):
            file.attrs[f"layer_names{number}"] = part
        for name in "abc":
            legacy_layer(file, name, {"w": BIAS})

    assert list(read_weights(new(tmp_path, write))) == ["a", "b", "c"]


def test_weights_of_a_legacy_model_itself_are_kept(tmp_path):
    def write(file):
        file.attrs["layer_names"] = []
        legacy_layer(file, "top_level_model_weights", {"scale": BIAS})

    assert list(read_weights(new(tmp_path, write))) == ["top_level_model_weights"]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_keras_archive_holds_the_tree_and_the_optimizer_is_left_out(tmp_path, compression):
    bare = new(tmp_path, tree)
    for path in (bare, zipped(tmp_path, bare, compression=compression)):
        found = read_weights(path)
        assert shown(found) == {"hidden": [("0", (3, 2)), ("1", (2,))], "classes": [("0", (3, 2))]}
        np.testing.assert_array_equal(found["hidden"].arrays[0], KERNEL)


def test_layers_and_weights_count_as_numbers(tmp_path):
    def write(file):
        for number in (10, 2, 0):
            variables(file, f"layers/dense_{number}", f"d{number}", *np.arange(12.0))

    found = read_weights(new(tmp_path, write))
    assert list(found) == ["d0", "d2", "d10"]
    assert [float(array) for array in found["d2"].arrays] == list(range(12))


def test_layers_inside_a_layer_are_gathered_and_those_of_a_model_are_not(tmp_path):
    def write(file):
        variables(file, "layers/bidirectional/backward_layer/cell", "lstm_cell", 2 * BIAS)
        variables(file, "layers/bidirectional/forward_layer/cell", "lstm_cell", BIAS)
        variables(file, "layers/bidirectional", "both_ways")
        variables(file, "layers/functional/layers/dense", "inner", KERNEL)
        variables(file, "layers/functional", "base")
        variables(file, "blocks/dense", "in_a_list", KERNEL)

    assert shown(read_weights(new(tmp_path, write))) == {
        "in_a_list": [("0", (3, 2))],
        "both_ways": [("forward_layer/cell/0", (2,)), ("backward_layer/cell/0", (2,))],
        "inner": [("0", (3, 2))],
    }


def test_bfloat16_becomes_float32(tmp_path):
    from ml_dtypes import bfloat16

    exact = np.array([[1.5, -2.0, 0.0], [np.inf, 2.0**-120, -3.3895314e38]], "f4")

    def write(file):
        group = variables(file, "layers/dense", "dense", exact.astype(bfloat16))
        group["0"].attrs["dtype"] = "bfloat16"

    (array,) = read_weights(new(tmp_path, write))["dense"].arrays
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, exact)


@pytest.mark.parametrize("dtype", [">f4", "f2", "i8", "?"])
def test_numbers_come_in_the_byte_order_of_the_machine(tmp_path, dtype):
    array = np.array([[0, 1], [1, 0]], dtype)
    path = new(tmp_path, lambda file: variables(file, "layers/dense", "dense", array))
    (found,) = read_weights(path)["dense"].arrays
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, array)


# What Keras does not write


def linked(link):
    def write(file):
        tree(file)
        del file["layers/dense/vars/0"]
        file["layers/dense/vars/0"] = link

    return write


def legacy_with(**attributes):
    def write(file):
        legacy(file)
        for name, value in attributes.items():
            group = file["conv_9"] if name == "weight_names" else file
            group.attrs[name] = value

    return write


def external(file):
    group = variables(file, "layers/dense", "dense")
    group.create_dataset("0", (2,), "f4", external=[("other.bin", 0, 8)])


def virtual(file):
    layout = h5py.VirtualLayout((2,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (2,))
    variables(file, "layers/dense", "dense").create_virtual_dataset("0", layout)


def declares_much(file):
    group = variables(file, "layers/dense", "dense")
    group.create_dataset("0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")


def two_of_one_name(file):
    variables(file, "layers/dense", "dense", KERNEL)
    variables(file, "layers/dense_1", "dense", KERNEL)


def loop(file):
    variables(file, "layers/dense", "dense", KERNEL)
    file["layers/dense/inside"] = file["layers"]


def many_paths(file):
    group = variables(file, "layers/dense", "dense", KERNEL).parent
    for _ in range(40):
        inner = group.create_group("a")
        group["b"] = inner
        group = inner


def deep(file):
    variables(file, "layers/dense" + 2000 * "/x", "dense", KERNEL)
    variables(file, "layers/dense", "outer", KERNEL)


TEXT = np.array(["x"], dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (linked(h5py.SoftLink("/layers/dense_1/vars/0")), "'0' as a SoftLink"),
        (linked(h5py.ExternalLink("other.h5", "/x")), "'0' as a ExternalLink"),
        (external, "got in another file"),
        (virtual, "got a virtual dataset"),
        (declares_much, "expected at most .* bytes of weights"),
        (two_of_one_name, "expected different names for the layers, got 'dense' twice"),
        (loop, "expected one path to each group"),
        (many_paths, "expected one path to each group"),
        (deep, "recursion"),
        (
            lambda file: variables(file, "layers/d", "d", TEXT),
            "expected numbers at /layers/d/vars/0",
        ),
        (lambda file: variables(file, "layers/d", "d", h5py.Empty("f4")), "expected an array"),
        (lambda file: variables(file, "layers/d", "", BIAS), "expected a layer's name"),
        (lambda file: variables(file, "layers/d", "d").create_group("0"), "array .* got Group"),
        (lambda file: file.create_dataset("layers", data=BIAS), "expected a group at /layers"),
        (
            lambda file: file.create_group("images"),
            "expected layers and their vars, or layer_names",
        ),
        (legacy_with(layer_names=[b"conv_9", b"conv_9"]), "got 'conv_9' 2 times"),
        (legacy_with(layer_names=[b"conv_9", b"conv_7"]), "expected 'conv_7' in /"),
        (legacy_with(layer_names=[1, 2]), "expected names in layer_names"),
        (legacy_with(layer_names=h5py.Empty("S1")), "expected names in layer_names"),
        (legacy_with(layer_names=[b"\xff"]), "expected an undamaged Keras file"),
        (legacy_with(weight_names=[b"../conv_10/conv_10/bias:0"]), r"expected '\.\.' in /conv_9"),
        (legacy_with(weight_names=[b"/conv_10/conv_10/bias:0"]), "expected '' in /conv_9"),
        (legacy_with(weight_names=[b"conv_9"]), "expected an array at /conv_9/conv_9"),
        (legacy_with(weight_names=[b"conv_9/kernel:0/x"]), "expected a group"),
    ],
)
def test_what_keras_does_not_write_is_refused(tmp_path, write, message):
    path = new(tmp_path, write)
    with pytest.raises(DataError, match=message) as raised:
        read_weights(path)
    assert str(raised.value).startswith(f"{path}: expected ")
    assert "\n  To mend it: " in str(raised.value)


def test_a_legacy_layer_without_its_list_of_weights_is_refused(tmp_path):
    def write(file):
        legacy(file)
        del file["conv_9"].attrs["weight_names"]

    with pytest.raises(DataError, match="the attribute weight_names of /conv_9, got none"):
        read_weights(new(tmp_path, write))


def test_a_link_instead_of_the_weights_group_is_refused(tmp_path):
    def write(file):
        file["model_weights"] = h5py.ExternalLink("other.h5", "/")

    with pytest.raises(DataError, match="'model_weights' as a ExternalLink"):
        read_weights(new(tmp_path, write))


def test_the_sizes_of_all_arrays_are_bounded_together(tmp_path, monkeypatch):
    path = new(tmp_path, tree)
    monkeypatch.setattr(files, "MAX_BYTES", 56)  # two kernels and a bias
    read_weights(path)
    monkeypatch.setattr(files, "MAX_BYTES", 55)
    with pytest.raises(DataError, match="at most 55 bytes of weights, got 56"):
        read_weights(path)


def test_the_size_of_what_an_archive_unpacks_is_bounded(tmp_path):
    zeros = new(tmp_path, lambda file: variables(file, "layers/d", "d", np.zeros(1 << 20)))
    packed = zipped(tmp_path, zeros, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DataError, match=r"bytes of weights, got \d+ in model.weights.h5"):
        read_weights(packed)


def test_an_archive_without_weights_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"got an archive of \['config.json', 'other'\]"):
        read_weights(zipped(tmp_path, new(tmp_path, tree), "other"))


def test_an_archive_in_another_compression_is_refused(tmp_path):
    with pytest.raises(DataError, match="got another compression"):
        read_weights(zipped(tmp_path, new(tmp_path, tree), compression=zipfile.ZIP_LZMA))


def test_what_is_no_file_or_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match="readable Keras file, got No such file"):
        read_weights(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("weights")
    for path in (tmp_path, tmp_path / "text.h5"):
        with pytest.raises(DataError, match=r"expected an HDF5 file or a \.keras file"):
            read_weights(path)


@pytest.mark.parametrize("write", [tree, legacy])
def test_files_that_are_cut_off_or_altered_give_one_kind_of_error(tmp_path, write):
    whole = new(tmp_path, write).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "altered"
    for size in rng.integers(len(whole), size=40):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError):
            read_weights(path)
    for position in rng.integers(len(whole), size=200):
        path.write_bytes(whole[:position] + b"\xa5" + whole[position + 1 :])
        with contextlib.suppress(DataError):  # where the byte is one of an array, it is a number
            read_weights(path)


def test_without_h5py_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"torchbp\[port\]"):
        read_weights("model.h5")
