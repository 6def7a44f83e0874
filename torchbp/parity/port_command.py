"""The port command: a Keras file as PyTorch source and weights, with a test and a certificate."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from torchbp.parity.report import failures, summary
from torchbp.parity.verify import certificate, write_certificate
from torchbp.port import load, read_architecture
from torchbp.port.build import Channels
from torchbp.port.eject import eject

if TYPE_CHECKING:
    from rich.console import Console


def port(
    source: Path,
    out: Path,
    channels: Channels = "first",
    certify: bool = True,
    console: Console | None = None,
) -> int:
    """Port a file and write what is needed to go on without Keras and without the file.

    Args:
        source: a `.keras` or whole-model `.h5` file.
        out: the folder to write.
        channels: as of `torchbp.port.load`.
        certify: compare the port with Keras, if Keras is installed.
        console: where to print.

    Returns:
        The exit status: 0 if the port equals the model, or was not compared, 1 if not.
    """
    from rich.console import Console

    console = console or Console(width=None if sys.stdout.isatty() else 100)
    name = read_architecture(source).name
    with console.status(f"reading {source} ({source.stat().st_size >> 20} MiB)"):
        model = load(source, channels)
    with console.status(f"writing {out}"):
        eject(model, out, name=name)
    console.print(f"{out}: model.py, model.safetensors, test_model.py")
    if not certify:
        return 0
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec("tensorflow") is None:
        console.print("no certificate: Keras on TensorFlow is not installed here")
        return 0
    from torchbp.parity.ported import certify as measure

    with console.status("comparing with Keras on seven levels") as status:
        records = measure(source, progress=lambda _, done: status.update(f"compared: {done}"))
    written = certificate(source, records, str(out))
    write_certificate(written, out / "certificate.json", out / "certificate.html")
    for line in failures(records):
        console.print(line, markup=False, highlight=False)
    console.print(f"certificate.json, certificate.html: {summary(records)}")
    return 0 if written["verdict"] == "equal" else 1
