"""The weights of Keras's files, read with h5py alone: no Keras, and nothing in a file is run.

Which file it is, its content says, not its suffix. A `.keras` file is a zip archive with an HDF5
file in it; in HDF5, Keras has two orders of things:

- the old one, of `.h5` files and of the weight files of keras.applications: a group a layer under
  the layer's name, and the attributes `layer_names` and `weight_names` that tell the order;
- the tree of Keras 3, of `.keras` and `.weights.h5`: groups under the names of classes
  (`layers/conv2d_1/vars/0`), with the layer's own name in an attribute of `vars`.

A file from elsewhere is not trusted: only what lies in it as plain numbers is read, once, within
`MAX_BYTES`. HDF5 can also name other files, and declare sizes that it does not hold.
"""

import io
import math
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from torchbp.errors import DataError, missing_extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.generic]

MAX_BYTES = 8 << 30  # of all arrays of a file together, and of the HDF5 file in a .keras file
MAX_CONFIG_BYTES = 64 << 20  # of the JSON that describes the layers
MAX_EXPANSION = 100  # declared bytes for each byte of the file; Keras compresses nothing


@dataclass(frozen=True, eq=False)
class LayerWeights:
    """The weights of one layer, in the file's order.

    Args:
        names: one name an array. In the old order it is a path without its `:0`, such as
            `block1_conv1/kernel`. Keras 3 numbers the arrays of a layer: `0`, `1`; those of a
            layer inside it have its path before the number: `cell/0`.
        arrays: numpy arrays, each a copy, in the byte order of this machine.
    """

    names: tuple[str, ...]
    arrays: "tuple[Array, ...]"


def read_weights(path: str | Path) -> dict[str, LayerWeights]:
    """The weights of every layer of a Keras file, under the layer's name.

    Layers without weights are left out, and the state of the optimizer with them. A nested model
    is one entry in the old order, and its weights' names tell its layers; in a file of Keras 3 its
    layers stand under their own names. The old order keeps the order of the model's layers, the
    tree of Keras 3 does not.

    Args:
        path: a `.h5` file of a whole model or of weights, a `.weights.h5` or a `.keras` file.

    Raises:
        DataError: the file cannot be read, is none of these, holds two layers of one name, anything
            but plain numbers, links, or more than `MAX_BYTES`, or declares more than
            `MAX_EXPANSION` times its own size.
        MissingExtraError: h5py is not installed.

    Example:
        >>> import h5py, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.weights.h5")
        >>> with h5py.File(path, "w") as file:
        ...     variables = file.create_group("layers/dense/vars")
        ...     variables.attrs["name"] = "classes"
        ...     variables["0"], variables["1"] = [[1.0], [2.0]], [0.5]
        >>> for name, layer in read_weights(path).items():
        ...     print(name, layer.names, [array.shape for array in layer.arrays])
        classes ('0', '1') [(2, 1), (1,)]
    """
    saved = read_saved(path)
    if not saved.is_tree:
        return saved.layers
    found: dict[str, LayerWeights] = {}
    for group, layer in saved.layers.items():
        name = saved.names[group]
        if name is None:
            mend = "load it in the newest Keras, which writes the layers' names, and save it again"
            raise refused(path, f"a layer's name at {group}/vars", f"{name}", mend)
        if name in found:
            raise refused(path, "different names for the layers", f"{name!r} twice")
        found[name] = layer
    return found


@dataclass(frozen=True)
class SavedWeights:
    """All weights of a file.

    Args:
        layers: in the tree of Keras 3 by the layer's group (`layers/functional/layers/dense_1`), in
            the old order by the layer's name.
        names: of a tree: the layer's own name by its group, None where the file does not tell it.
        is_tree: whether it is a tree.
    """

    layers: dict[str, LayerWeights]
    names: dict[str, str | None]
    is_tree: bool


@dataclass(frozen=True)
class SavedOptimizer:
    """The variables of the optimizer in a file.

    Args:
        name: the optimizer's own, None where the file does not tell it.
        names: of the variables: paths in the old order, numbers in a tree.
        arrays: in the optimizer's order.
    """

    name: str | None
    names: tuple[str, ...]
    arrays: "tuple[Array, ...]"


def read_saved(path: str | Path) -> SavedWeights:
    """The weights as the file has them; raises as `read_weights`, which see."""
    with _opened(path) as (file, root):
        legacy = _legacy_root(file, root)
        if legacy is not None:
            return SavedWeights(_read_legacy(file, legacy), {}, is_tree=False)
        tree = _KerasTree(file)
        tree.read(root)
        return SavedWeights(tree.found, tree.names, is_tree=True)


def read_optimizer(path: str | Path) -> SavedOptimizer | None:
    """The state of the optimizer, None if the file has none; raises as `read_weights`."""
    with _opened(path) as (file, root):
        if file.has(root, "optimizer_weights"):
            group = file.checked(file.child(root, "optimizer_weights"))
            names = _names(file, group, "weight_names")
            arrays = tuple(file.array(file.descend(group, name)) for name in names)
            return SavedOptimizer(names[0].split("/")[0] if names else None, tuple(names), arrays)
        if not file.has(root, "optimizer"):
            return None
        group = file.checked(file.child(root, "optimizer"))
        if not file.has(group, "vars"):
            return None
        variables = file.checked(file.child(group, "vars"))
        names = sorted(variables, key=_order)
        arrays = tuple(file.array(file.child(variables, name)) for name in names)
        name = variables.attrs.get("name")
        return SavedOptimizer(name if isinstance(name, str) else None, tuple(names), arrays)


def read_config_text(path: str | Path) -> str | bytes:
    """The JSON in a file that says what the model's layers are.

    Args:
        path: a `.keras` file, or a `.h5` file of a whole model.

    Raises:
        DataError: the file cannot be read, is neither, has no such text, or one of more than
            `MAX_CONFIG_BYTES`.
        MissingExtraError: h5py is not installed, which a `.h5` file needs.
    """
    text = _text(path, "model_config")
    if text is None:
        mend = "save the whole model with model.save(), not its weights alone"
        raise refused(path, "a file of a whole model", "one without model_config", mend)
    return text


def read_training_text(path: str | Path) -> str | bytes | None:
    """The JSON in a file that says how the model was compiled.

    Args:
        path: a `.keras` file, whose text is that of the whole model with "compile_config" in it,
            or a `.h5` file of a whole model, whose text is that of the training alone.

    Returns:
        The text; None if a `.h5` file has none.

    Raises:
        DataError: as `read_config_text`.
        MissingExtraError: h5py is not installed, which a `.h5` file needs.
    """
    return _text(path, "training_config")


def _text(path: str | Path, attribute: str) -> str | bytes | None:
    """The JSON of a `.keras` file, or that in an attribute of a `.h5` file if it is there."""
    with _explained(path):
        if zipfile.is_zipfile(path):
            return _unpacked(path, "config.json", MAX_CONFIG_BYTES, "description")
        h5py = _h5py()
        if not h5py.is_hdf5(path):
            Path(path).open("rb").close()  # says so if it is not there
            raise refused(path, "a .keras file or an HDF5 file", "something else")
        with h5py.File(path, "r") as root:
            text = root.attrs.get(attribute)
    if not isinstance(text, str | bytes):
        return None
    if len(text) > MAX_CONFIG_BYTES:
        raise _too_large(path, MAX_CONFIG_BYTES, f"{len(text)} in {attribute}", "description")
    return text


@contextmanager
def _opened(path: str | Path) -> "Iterator[tuple[_File, Any]]":
    """The HDF5 file and its root; what goes wrong in it is a DataError that names the file."""
    h5py = _h5py()
    with _explained(path):
        budget = min(MAX_BYTES, MAX_EXPANSION * Path(path).stat().st_size)
        with h5py.File(_hdf5(path, budget), "r") as root:
            yield _File(path, budget), root


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise missing_extra("h5py", "port") from None
    return h5py


@contextmanager
def _explained(path: str | Path) -> Iterator[None]:
    """What goes wrong with a file becomes a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise refused(path, "a readable Keras file", error.strerror or str(error)) from error
    except _DAMAGED as error:
        raise refused(path, "an undamaged Keras file", str(error) or repr(error)) from error


# What h5py and zipfile raise on damaged files; a RecursionError, on groups without end, is a
# RuntimeError.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
)


def _hdf5(path: str | Path, budget: int) -> str | Path | io.BytesIO:
    """The HDF5 file, which in a .keras file is unpacked in memory."""
    import h5py

    if h5py.is_hdf5(path):
        return path
    if not zipfile.is_zipfile(path):
        raise refused(path, "an HDF5 file or a .keras file", "something else")
    return io.BytesIO(_unpacked(path, "model.weights.h5", budget))


def _unpacked(path: str | Path, name: str, budget: int, what: str = "weights") -> bytes:
    """A file in the archive, which is as large as it says and not too large."""
    with zipfile.ZipFile(path) as archive:
        try:
            member = archive.getinfo(name)
        except KeyError:
            got = f"an archive of {archive.namelist()[:5]}"
            raise refused(path, f"{name} in the archive", got) from None
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise refused(path, "an archive as Keras writes it", "another compression")
        if member.file_size > budget:
            raise _too_large(path, budget, f"{member.file_size} in {name}", what)
        return archive.read(member)


class _File:
    """The groups and arrays of an HDF5 file, as far as they lie in it and fit the budget."""

    def __init__(self, path: str | Path, budget: int) -> None:
        self.path, self.budget, self.declared = path, budget, 0

    def has(self, group: Any, name: str) -> bool:
        """Whether there is an entry of this name; a link is not followed."""
        return group.get(name, getlink=True) is not None

    def child(self, group: Any, name: str) -> Any:
        """What the group holds under one name, never through a link to elsewhere."""
        import h5py

        link = group.get(name, getlink=True) if name not in ("", ".", "..") else None
        if link is None:
            raise refused(self.path, f"{name!r} in {group.name}", "no such entry")
        if not isinstance(link, h5py.HardLink):
            got = f"{name!r} as a {type(link).__name__}"
            raise refused(self.path, f"only what lies in the file, in {group.name}", got)
        return group[name]

    def descend(self, group: Any, path: str) -> Any:
        """What lies below the group under a path of several names."""
        for name in path.split("/"):
            group = self.child(self.checked(group), name)
        return group

    def checked(self, group: Any) -> Any:
        """The group, which is one."""
        import h5py

        if not isinstance(group, h5py.Group):
            raise refused(self.path, f"a group at {group.name}", type(group).__name__)
        return group

    def array(self, dataset: Any) -> "Array":
        """The numbers of a dataset; bfloat16, which numpy lacks, as float32."""
        import h5py
        import numpy as np

        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise refused(self.path, f"an array at {dataset.name}", type(dataset).__name__)
        if dataset.external or dataset.is_virtual:
            kind = "in another file" if dataset.external else "a virtual dataset"
            raise refused(self.path, f"an array of the file at {dataset.name}", kind)
        is_bfloat16 = dataset.dtype == "V2" and dataset.attrs.get("dtype") == "bfloat16"
        if dataset.dtype.kind not in "biuf" and not is_bfloat16:
            raise refused(self.path, f"numbers at {dataset.name}", f"{dataset.dtype}")
        self.declared += math.prod(dataset.shape) * dataset.dtype.itemsize
        if self.declared > self.budget:
            raise _too_large(self.path, self.budget, f"{self.declared} up to {dataset.name}")
        if is_bfloat16:
            return _from_bfloat16(dataset[()])
        return np.asarray(dataset[()], dataset.dtype.newbyteorder("="))


def _from_bfloat16(array: "Array") -> "Array":
    """Float32 whose upper half is the bfloat16."""
    import numpy as np

    upper = np.frombuffer(array.tobytes(), "<u2").reshape(array.shape)
    return (upper.astype("u4") << 16).view("f4")


def _legacy_root(file: _File, root: Any) -> Any:
    """The group of an old file whose attributes name the layers, or None."""
    if file.has(root, "model_weights"):
        root = file.child(root, "model_weights")
    return root if {"layer_names", "layer_names0"} & set(root.attrs) else None


def _read_legacy(file: _File, root: Any) -> dict[str, LayerWeights]:
    """The layers that `layer_names` names, each with the weights that its `weight_names` names."""
    layers = _names(file, file.checked(root), "layer_names")
    if file.has(root, "top_level_model_weights"):  # weights of the model itself, which few have
        layers.append("top_level_model_weights")
    found = {}
    for layer in layers:
        group = file.checked(file.descend(root, layer))
        names = _names(file, group, "weight_names")
        if names:
            arrays = tuple(file.array(file.descend(group, name)) for name in names)
            found[layer] = LayerWeights(tuple(name.removesuffix(":0") for name in names), arrays)
    return found


def _names(file: _File, group: Any, attribute: str) -> list[str]:
    """Different names out of an attribute, which Keras splits into several where it is long."""
    import numpy as np

    parts = [attribute]
    if attribute not in group.attrs:
        parts = list(takewhile(group.attrs.__contains__, (f"{attribute}{n}" for n in count())))
    if not parts:
        raise refused(file.path, f"the attribute {attribute} of {group.name}", "none")
    values = [value for part in parts for value in np.atleast_1d(group.attrs[part]).tolist()]
    if not all(isinstance(value, str | bytes) for value in values):
        raise refused(file.path, f"names in {attribute} of {group.name}", f"{values[:3]}")
    names = [value.decode() if isinstance(value, bytes) else value for value in values]
    name, times = max(Counter(names).items(), key=lambda item: item[1], default=("", 1))
    if times > 1:
        got = f"{name!r} {times} times"
        raise refused(file.path, f"different names in {attribute} of {group.name}", got)
    return names


class _KerasTree:
    """The tree of Keras 3, walked once: a group reached again is a loop, or a bomb."""

    def __init__(self, file: _File) -> None:
        self.file = file
        self.found: dict[str, LayerWeights] = {}
        self.names: dict[str, str | None] = {}
        self.seen: set[int] = set()

    def read(self, root: Any) -> None:
        if not {"layers", "vars"} & set(root):
            got = f"the entries {list(root)[:5]}"
            raise refused(self.file.path, "layers and their vars, or layer_names", got)
        self.keep(root, list(self.variables(root, "")))
        self.below(root, but="optimizer")

    def layer(self, group: Any) -> None:
        """A layer with all that is inside it, or, without vars, a list of layers."""
        if self.file.has(group, "vars"):
            self.keep(group, list(self.gathered(group, "")))
        else:
            self.below(group)

    def below(self, group: Any, but: str = "") -> None:
        for name, child in self.groups(group):
            if name != but:
                self.layer(child)

    def gathered(self, group: Any, prefix: str) -> "Iterator[tuple[str, Array]]":
        """The arrays of a layer, those of layers inside it after its own."""
        yield from self.variables(group, prefix)
        for name, child in self.groups(group):
            if name == "layers":  # of a model
                self.layer(child)
            else:
                yield from self.gathered(child, f"{prefix}{name}/")

    def variables(self, group: Any, prefix: str) -> "Iterator[tuple[str, Array]]":
        if self.file.has(group, "vars"):
            variables = self.file.checked(self.file.child(group, "vars"))
            for name in sorted(variables, key=_order):
                yield prefix + name, self.file.array(self.file.child(variables, name))

    def groups(self, group: Any) -> Iterator[tuple[str, Any]]:
        """The groups in a group, but for its vars."""
        import h5py

        for name in sorted(set(group) - {"vars"}, key=_order):
            child = self.file.checked(self.file.child(group, name))
            address = h5py.h5o.get_info(child.id).addr
            if address in self.seen:
                raise refused(self.file.path, "one path to each group", f"{child.name} again")
            self.seen.add(address)
            yield name, child

    def keep(self, group: Any, weights: "list[tuple[str, Array]]") -> None:
        if not weights:
            return
        name = self.file.child(group, "vars").attrs.get("name")
        path = group.name.strip("/")
        self.names[path] = name if isinstance(name, str) else None
        names, arrays = zip(*weights, strict=True)
        self.found[path] = LayerWeights(names, arrays)


# Layers inside a layer are in alphabetical order, and Keras's get_weights is in this one.
_INSIDE = (
    *("forward_layer", "backward_layer"),
    *("query_dense", "_query_dense", "key_dense", "_key_dense", "_gate_dense"),
    *("value_dense", "_value_dense", "output_dense", "_output_dense"),
)


def _order(name: str) -> tuple[int, list[str | int]]:
    """Numbers in a name count as numbers: conv2d_10 comes after conv2d_9."""
    parts = re.split(r"(\d+)", name)
    rank = _INSIDE.index(name) if name in _INSIDE else -1
    return rank, [int(part) if number % 2 else part for number, part in enumerate(parts)]


def _too_large(path: str | Path, budget: int, got: str, what: str = "weights") -> DataError:
    return refused(path, f"at most {budget} bytes of {what}", got)


_MEND = "check the path, and that the file is what Keras saved; nothing of it was run"


def refused(path: str | Path, expected: str, got: str, mend: str = _MEND) -> DataError:
    """The error for a file that is not read."""
    return DataError(f"{path}: expected {expected}, got {got}.\n  To mend it: {mend}.")
