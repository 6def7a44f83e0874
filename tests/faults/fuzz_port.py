"""Gives the porter spoilt Keras files until enough are done, and writes down what it comes to.

    python tests/faults/fuzz_port.py --inputs 100000 --out docs/results/fuzz.json

Small models of many layers are saved by Keras in both formats, with and without a compression of
the archive. Each input is one of these files with some bytes flipped, cut off or exchanged, or with
its description of the layers changed: a value put in place of another, a part left out, doubled,
nested, or moved elsewhere. It is ported in a process whose memory is bounded. An input may come to
a port or to an error of torchbp; everything else is a finding and is kept: another error, a crash,
more than so many seconds or bytes, another program started, code unmarshalled, a file opened that
is not the input. The HDF5 library reads in the same process here, and not in one of its own as it
does for users: an input on which it crashes or goes round in circles is counted by itself.
"""

import argparse
import copy
import io
import json
import math
import multiprocessing
import multiprocessing.connection
import os
import platform
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

SECONDS = 10  # for an input, on a machine that does other work, too
READING = 4  # for the HDF5 library on files of a few kilobytes
STARTING = 60
BYTES = 1 << 30  # of memory, above what the process has before
JUNK = [
    None, True, False, -1, 0, 1, 2, 3, 7, 1 << 31, 1 << 40, 1 << 80, -(1 << 70), 0.5, -1.5, 1e308,
    math.nan, math.inf, "", "x", "same", "../../etc/passwd", "relu", "os.system",
    "__import__('os')", "float16", "causal", [], [None], [0, 0], [1, 2, 3], [[1, 2], [3, 4]],
    [1 << 40, 1 << 40], {},
    {"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}, {"class_name": "__slice__"},
    {"class_name": "__numpy__", "config": {"value": [1.0], "dtype": "float32"}},
    {"class_name": "__keras_tensor__", "config": {"keras_history": ["x", 0, 0]}},
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--findings", type=Path, help="Folder for inputs that are findings.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        maker = multiprocessing.get_context("spawn").Process(target=save_models, args=(folder,))
        maker.start()
        maker.join()
        with Progress(console=Console(stderr=True)) as progress:
            counts, findings = fuzz(folder, options, progress)
    seconds = time.monotonic() - began
    Console().print(counts)
    for finding in findings:
        Console().print(f"FINDING {finding}", markup=False)
    if options.out is not None:
        write(counts, findings, seconds, options)
    if findings:
        sys.exit(f"{len(findings)} inputs did not end in a port or a clear error.")


# Files to spoil


def save_models(folder: Path) -> None:
    """Small models of many kinds of layers, in both formats."""
    os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    import keras

    layers = keras.layers
    image = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(0.5)(image))
    x = layers.Add()(
        [layers.BatchNormalization()(x), layers.SeparableConv2D(4, 3, padding="same")(x)]
    )
    x = layers.MaxPooling2D()(layers.ZeroPadding2D()(x))
    x = layers.Conv2DTranspose(2, 3, strides=2)(layers.DepthwiseConv2D(3)(x))
    vision = keras.Model(image, layers.Dense(3)(layers.Flatten()(x)), name="vision")
    words = keras.Input((None,), dtype="int32", name="words")
    y = layers.LayerNormalization()(layers.Embedding(9, 4)(words))
    y = layers.Concatenate()([layers.Conv1D(4, 3, padding="causal")(y), y * 2.0])
    y = layers.GlobalMaxPooling1D()(layers.Dropout(0.1)(y))
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(4), layers.LeakyReLU()], name="inner")
    outputs = {"a": layers.Dense(1)(inner(y)), "b": layers.Dense(2)(inner(y))}
    text = keras.Model({"words": words}, outputs, name="text")
    series = keras.Input((6, 2))
    z = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Masking()(series))
    z = layers.MultiHeadAttention(2, 3)(z, z)
    recurrent = keras.Model(series, layers.GRU(2)(layers.TimeDistributed(layers.Dense(2))(z)))
    for name, model in {"vision": vision, "text": text, "recurrent": recurrent}.items():
        model.save(folder / f"{name}.keras")
        model.save(folder / f"{name}.h5")


# Ways to spoil a file


def spoilt(source: Path, rng: random.Random) -> bytes:
    """The content of a file, changed."""
    content = source.read_bytes()
    if source.suffix == ".keras":
        way = rng.choice(["bytes", "config", "config", "weights", "archive"])
        if way != "bytes":
            return _archive(content, way, rng)
    elif rng.random() < 0.5:
        return _with_attribute(source, rng)
    return _bytes(content, rng)


def _bytes(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = rng.randrange(len(data))
        match rng.randrange(5):
            case 0:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                data[place] = rng.choice([0, 0xFF, 0x7F, rng.randrange(256)])
            case 2:
                size = rng.choice([2, 4, 8])
                data[place : place + size] = rng.getrandbits(8 * size).to_bytes(size, "little")
            case 3:
                other = rng.randrange(len(data))
                size = rng.randrange(1, 64)
                data[place : place + size] = data[other : other + size]
            case 4 if rng.random() < 0.2:
                del data[max(place, 1) :]
    return bytes(data)


def _archive(content: bytes, way: str, rng: random.Random) -> bytes:
    """The archive with a changed part, whose checksums are right."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if way == "config":
        parts["config.json"] = _config(parts["config.json"], rng)
    elif way == "weights":
        parts["model.weights.h5"] = _bytes(parts["model.weights.h5"], rng)
    else:
        name = rng.choice(list(parts))
        match rng.randrange(4):
            case 0:
                del parts[name]
            case 1:
                parts[name] = b""
            case 2:
                parts[f"../{name}"] = parts[name]
            case 3:
                parts[name] = b"\x00" * (1 << 22)
    written = io.BytesIO()
    compression = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(written, "w", compression) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return written.getvalue()


def _with_attribute(source: Path, rng: random.Random) -> bytes:
    """An HDF5 file whose description of the layers is changed."""
    import h5py

    written = io.BytesIO(source.read_bytes())
    with h5py.File(written, "r+") as file:
        file.attrs["model_config"] = _config(str(file.attrs["model_config"]).encode(), rng).decode(
            errors="replace"
        )
    return written.getvalue()


def _config(text: bytes, rng: random.Random) -> bytes:
    config = json.loads(text)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        _change(config, rng)
    changed = json.dumps(config)
    if rng.random() < 0.02:
        changed = changed[: rng.randrange(len(changed))]
    if rng.random() < 0.01:
        depth = rng.choice([90, 200, 100_000])
        changed = '{"layers":' * depth + changed + "}" * depth
    return changed.encode()


def _change(config: object, rng: random.Random) -> None:
    places = list(_places(config))
    holder, key = rng.choice(places)
    match rng.randrange(7):
        case 0 | 1 | 2:
            holder[key] = copy.deepcopy(rng.choice(JUNK))
        case 3:
            other, other_key = rng.choice(places)
            holder[key] = copy.deepcopy(other[other_key])
        case 4:
            del holder[key]
        case 5 if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        case 6:
            for _ in range(rng.choice([1, 3, 150])):
                holder[key] = rng.choice([[holder[key]], {"config": holder[key]}])


def _places(value: object):
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in list(items):
        yield value, key
        yield from _places(item)


# The workers


def fuzz(folder: Path, options: argparse.Namespace, progress: Progress) -> tuple[dict, list[str]]:
    """All inputs, dealt out in shares; where a process ends, another goes on after its input."""
    each = -(-options.inputs // options.workers)
    counts: Counter = Counter()
    findings: list[str] = []
    shares = [
        _Share(folder, options.seed, first, min(first + each, options.inputs))
        for first in range(0, options.inputs, each)
    ]
    task = progress.add_task("fuzz", total=options.inputs)
    while shares:
        by_pipe = {share.pipe: share for share in shares}
        for pipe in multiprocessing.connection.wait(list(by_pipe), timeout=1.0):
            share = by_pipe[pipe]
            index, (outcome, told) = share.next_outcome()
            counts[outcome] += 1
            if outcome == "findings":
                findings.append(_kept(folder, options, index, told))
        for share in shares:
            share.end_if_it_hangs()
        shares = [share for share in shares if share.process is not None]
        progress.update(task, completed=sum(counts.values()))
    return dict(counts), findings


class _Share:
    """Inputs in a row, and the process that ports them."""

    CONTEXT = multiprocessing.get_context("forkserver")

    def __init__(self, folder: Path, seed: int, first: int, last: int) -> None:
        self.folder, self.seed, self.index, self.last = folder, seed, first, last
        self.reading = self.CONTEXT.Value("b", 0)  # whether the HDF5 library is at work
        self.start()

    def start(self) -> None:
        """A process for the inputs that are left."""
        self.pipe, theirs = self.CONTEXT.Pipe(duplex=False)
        arguments = (self.folder, self.seed, self.index, self.last, theirs, self.reading)
        self.process = self.CONTEXT.Process(target=work, args=arguments)
        self.reading.value = 0
        self.process.start()
        theirs.close()
        self.heard = time.monotonic() + STARTING

    def next_outcome(self) -> tuple[int, tuple[str, str]]:
        """What became of the next input; that it ended the process, if it did."""
        index = self.index
        self.index += 1
        self.heard = time.monotonic()
        is_last = self.index == self.last
        try:
            outcome = self.pipe.recv()
            if is_last:
                self.process = None
        except EOFError:
            self.process.join()
            in_library = self.reading.value
            told = f"exit {self.process.exitcode}"
            outcome = ("ended in the HDF5 library", "") if in_library else ("findings", told)
            self.process = None
            if not is_last:
                self.start()
        return index, outcome

    def end_if_it_hangs(self) -> None:
        """Where no signal reaches the process any more."""
        patience = READING if self.reading.value else 3 * SECONDS
        if self.process is not None and time.monotonic() - self.heard > patience:
            self.process.kill()


def _kept(folder: Path, options: argparse.Namespace, index: int, told: str) -> str:
    """The finding in words; its input goes to the folder for them."""
    source, content = input_of(folder, options.seed, index)
    if options.findings is not None:
        options.findings.mkdir(parents=True, exist_ok=True)
        (options.findings / f"{index}{source.suffix}").write_bytes(content)
    return f"input {index} ({source.name}): {told}"


def input_of(folder: Path, seed: int, index: int) -> tuple[Path, bytes]:
    """The input of a number; the same each time."""
    rng = random.Random(f"{seed}/{index}")
    source = rng.choice(sorted(folder.glob("*.keras")) + sorted(folder.glob("*.h5")))
    while True:
        try:
            return source, spoilt(source, rng)
        except (IndexError, OSError, RecursionError, ValueError):  # cannot be written
            continue


def work(folder: Path, seed: int, first: int, last: int, pipe: Connection, reading: object) -> None:
    """Ports the inputs of a share, one after the other."""
    import bz2  # noqa: F401  # what zipfile imports when it needs it
    import lzma  # noqa: F401

    import torch

    from torchbp.errors import TorchbpError
    from torchbp.port import architecture, files, load, model

    architecture.read_config_text = _noted(files.read_config_text, reading)
    model.read_saved = _noted(files.read_saved, reading)

    torch.set_num_threads(1)
    own = Path(tempfile.mkdtemp(dir=folder))
    for path in folder.glob("*.*"):
        load(path)  # imports what it needs
    watch = _Watch(own)
    limit = _memory() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _too_slow)
    for index in range(first, last):
        source, content = input_of(folder, seed, index)
        path = own / f"input{source.suffix}"
        path.write_bytes(content)
        signal.alarm(SECONDS)
        try:
            with watch:
                load(path)
            outcome, told = "ported", ""
        except TorchbpError as error:
            outcome, told = "refused", ""
            if "To mend it" not in str(error):
                outcome, told = "findings", f"an error that tells no remedy: {error}"
        except BaseException:  # a finding, whatever it is
            outcome, told = "findings", traceback.format_exc(limit=-3)
        signal.alarm(0)
        if watch.seen:
            outcome, told = "findings", f"it did {watch.seen}"
        pipe.send((outcome, told))
    shutil.rmtree(own)


def _noted(function, reading):
    """A reader of files; while it reads, that is written down where other processes see it."""

    def read(path):
        reading.value = 1
        try:
            return function(path)
        finally:
            reading.value = 0

    return read


class _Watch:
    """Notes what a reader of data has no reason to do."""

    EVENTS = {
        "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect",
        "marshal.loads", "pickle.find_class", "os.remove", "os.rename", "shutil.rmtree",
    }  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder, self.on, self.seen = str(folder), False, ""
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple) -> None:
        if self.on:
            if event == "marshal.loads" and _is_import():
                return
            is_other = event == "open" and not str(arguments[0]).startswith(
                (self.folder, sys.prefix)
            )
            if event in self.EVENTS or (
                is_other and not str(arguments[0]).endswith((".py", ".pyc"))
            ):
                self.seen = f"{event} {str(arguments)[:200]}"

    def __enter__(self) -> None:
        self.on, self.seen = True, ""

    def __exit__(self, *error: object) -> None:
        self.on = False


def _is_import() -> bool:
    """Whether an installed module is being imported."""
    return sys._getframe(2).f_code.co_filename == "<frozen importlib._bootstrap_external>"


def _memory() -> int:
    """The address space that the process has now."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _too_slow(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def write(counts: dict, findings: list[str], seconds: float, options: argparse.Namespace) -> None:
    from importlib.metadata import version

    found = {
        "inputs": options.inputs,
        "seed": options.seed,
        "outcomes": counts,
        "findings": findings,
        "seconds": round(seconds),
        "limits": {"seconds": SECONDS, "bytes": BYTES},
        "versions": {name: version(name) for name in ("torch", "h5py")}
        | {"python": platform.python_version()},
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
