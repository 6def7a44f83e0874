"""The verify command: the certificate of a port, against Keras or against what Keras once gave."""

from __future__ import annotations

import hashlib
import importlib.util
import json as json_format
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchbp.errors import DataError
from torchbp.parity import tolerances
from torchbp.parity.bench import LEVEL_NAMES, Record
from torchbp.parity.compare import relative_error
from torchbp.parity.keras_setup import REFERENCES
from torchbp.parity.page import html_page
from torchbp.parity.ported import certify, keras_outputs
from torchbp.parity.report import failures, summary, table
from torchbp.port import load
from torchbp.train.files import write_atomically

if TYPE_CHECKING:
    from rich.console import Console

LIBRARIES = ("torchbp", "torch", "keras", "tensorflow", "numpy", "h5py")


def verify(
    source: Path,
    other: str | None = None,
    *,
    outputs: Path | None = None,
    store: Path | None = None,
    json: Path | None = None,
    html: Path | None = None,
    console: Console | None = None,
    find: Callable[[str], nn.Module] | None = None,
) -> int:
    """Measure a port and write its certificate.

    Args:
        source: a `.keras` or whole-model `.h5` file.
        other: what is to equal it: a folder that `torchbp port` wrote, a `.safetensors` file of the
            port's weights, or what `find` knows; the port itself if None.
        outputs: compare with the outputs in this file, which `store` wrote, and without Keras.
        store: write inputs, and what Keras gives for them, to this file.
        json: where to write the certificate.
        html: where to write it as a page.
        console: where to print.
        find: gives the module for a name.

    Returns:
        The exit status: 0 if every figure is within its tolerance, 1 if not.
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else 100)
    for path in filter(None, (source, outputs)):
        if not path.is_file():
            raise DataError(
                f"verify: expected a file, got {path}, which is none.\n"
                "  To mend it: check the path."
            )
    module = None if other is None else _other(source, other, find)
    if store is not None:
        _store(source, store)
        console.print(f"{store}: inputs, and what Keras gives for them")
    if outputs is not None:
        records = compare_stored(source, outputs, module)
    else:
        records = certify(source, module)
    write_certificate(certificate(source, records, other), json, html)
    console.print(table(records))
    for line in failures(records):
        console.print(line, markup=False, highlight=False)
    console.print(summary(records))
    return 0 if all(record["ok"] for record in records) else 1


def certificate(source: Path, records: Sequence[Record], other: str | None = None) -> Any:
    """The records with what they are of: files by their hashes, versions, tolerances."""
    files = {source.name: file_hash(source)}
    if other is not None and Path(other).exists():
        found = Path(other)
        parts = sorted(found.glob("model.*")) if found.is_dir() else [found]
        files |= {part.name: file_hash(part) for part in parts}
    return {
        "verdict": "equal" if all(record["ok"] for record in records) else "different",
        "sha256": files,
        "versions": {"python": platform.python_version(), **_versions()},
        "tolerances": {
            name: {"float64": t.float64, "float32": t.float32, "why": t.why}
            for name, t in tolerances.table().items()
        },
        "records": list(records),
    }


def write_certificate(written: Any, json: Path | None = None, html: Path | None = None) -> None:
    """Write a certificate as JSON, as a page, or as both."""
    if json is not None:
        text = json_format.dumps(written, indent=1)
        write_atomically(json, lambda file: file.write(text.encode()))
    if html is not None:
        records = written["records"]
        page = html_page(records, {records[0]["case"]: _told(written)})
        write_atomically(html, lambda file: file.write(page.encode()))


def file_hash(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def compare_stored(source: Path, outputs: Path, module: nn.Module | None = None) -> list[Record]:
    """The outputs of a port beside those that Keras once gave: level 3, without Keras.

    Args:
        source: the file that is ported.
        outputs: what `torchbp verify --store` wrote.
        module: what is to give the outputs, channels last; the port if None.

    Raises:
        DataError: the outputs are of another file.
    """
    import numpy as np

    from torchbp.port.data import keras_flat

    with np.load(outputs, allow_pickle=False) as stored:
        arrays = dict(stored)
    expected_hash = str(arrays.pop("sha256", ""))
    if expected_hash != file_hash(source):
        raise DataError(
            f"verify: expected outputs of {source}, got {outputs}, made of a file with another "
            "SHA-256.\n  To mend it: write them again with --store, where Keras is installed."
        )
    module = load(source, "last") if module is None else module
    dtype = next(module.parameters()).dtype
    inputs = [torch.from_numpy(arrays[name]) for name in arrays if name.startswith("input/")]
    with torch.no_grad():
        found = module.eval()(*(t.to(dtype) if t.is_floating_point() else t for t in inputs))
    wanted = [torch.from_numpy(arrays[name]) for name in arrays if name.startswith("output/")]
    told = str(dtype).removeprefix("torch.")
    bound = tolerances.FORWARD.of(told)
    return [
        _stored_record(source, f"output {number}", relative_error(a, b), bound, told)
        for number, (a, b) in enumerate(zip(keras_flat(found), wanted, strict=True))
    ]


def _stored_record(source: Path, what: str, error: float, bound: float, dtype: str) -> Record:
    return {
        "case": source.stem,
        "level": 3,
        "name": LEVEL_NAMES[3],
        "what": what,
        "dtype": dtype,
        "device": "cpu",
        "reference": REFERENCES[0],
        "value": error,
        "tolerance": bound,
        "ok": error <= bound,
    }


def _store(source: Path, path: Path) -> None:
    import numpy as np

    inputs, outputs = keras_outputs(source)
    arrays = {f"input/{name}": array for name, array in inputs.items()}
    arrays |= {f"output/{number}": array for number, array in enumerate(outputs)}
    arrays["sha256"] = np.array(file_hash(source))
    write_atomically(path, lambda file: np.savez(file, **arrays))


def _other(source: Path, other: str, find: Callable[[str], nn.Module] | None) -> nn.Module:
    path = Path(other)
    if path.is_dir():
        return _ejected(path)
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        model = load(source, "last")
        model.load_state_dict(load_file(path))
        return model
    if find is None:
        raise DataError(
            f"verify: expected a folder or a .safetensors file, got {other!r}.\n"
            "  To mend it: give the folder that torchbp port wrote."
        )
    return find(other)


def _ejected(folder: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location("ejected_model", folder / "model.py")
    if spec is None or spec.loader is None or not (folder / "model.py").is_file():
        raise DataError(
            f"verify: expected model.py in {folder}, got none.\n"
            "  To mend it: give the folder that torchbp port wrote."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: nn.Module = module.load()
    return loaded


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _told(written: Any) -> str:
    return "; ".join(f"SHA-256 of {name}: {digest}" for name, digest in written["sha256"].items())
