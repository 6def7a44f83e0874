"""Ports every architecture of keras.applications, the chapter's models and models of many styles.

    python parity_tests/corpus.py --out docs/results/corpus

Each is built with small inputs in a process of its own, saved as a `.keras` file, ported from that
file, and certified on the seven levels in float64; the largest, whose training would need more
memory than a small machine has, on counts, shapes, outputs and the way back. The table goes to
`corpus.md`, the figures to `corpus.json`. It takes hours; with `--resume` it goes on where it was
stopped.
"""

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parents[1]
SIZES = {"Xception": 71, "InceptionV3": 75, "InceptionResNetV2": 75}  # the others take 32 or 64
LARGEST = 60_000_000  # parameters that are still trained here
HUGE = 200_000_000  # of which a small machine cannot hold the copies that the way back needs
CHAPTER = {
    "chapter: sequential": "sequential_vs_functional:build_sequential",
    "chapter: functional": "sequential_vs_functional:build",
    "chapter: question answering": "question_answering:build",
    "chapter: three outputs": "three_outputs:build",
    "chapter: shared LSTM": "shared_lstm:build",
    "chapter: shared Xception": "siamese_vision:build",
    "chapter: inception module": "inception_module:build",
    "chapter: residual, identity": "residual:build_identity",
    "chapter: residual, projection": "residual:build_projection",
    "chapter: sentiment convnet": "imdb_convnet:build",
    "chapter: batch normalisation, convolution": "batch_norm:build_conv",
    "chapter: batch normalisation, dense": "batch_norm:build_dense",
    "chapter: separable convolution": "separable_convnet:build",
    "chapter: wide and deep": "wide_and_deep:build",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/results/corpus"))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument(
        "--resume", action="store_true", help="Keep what an earlier run found equal."
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(measure(options.one)) + "\n")
        return
    rows = earlier(options.out) if options.resume else {}
    wanted = options.only or names()
    for name in wanted:
        if name not in rows:
            rows[name] = in_own_process(name)
            Console().print(as_line(rows[name]), markup=False, highlight=False)
            write([rows[n] for n in wanted if n in rows], options.out, len(wanted))
    if not all(row["equal"] for row in rows.values()):
        sys.exit("Some models were refused or differ.")


def names() -> list[str]:
    """All models; those of keras.applications first."""
    code = (
        "import keras, inspect; from parity_tests.styles import STYLES; a = keras.applications; "
        "n = [k for k, v in vars(a).items() if inspect.isfunction(v)]; print(*n, *STYLES, sep='|')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment()
    )
    return [*result.stdout.strip().split("|"), *CHAPTER]


def earlier(out: Path) -> dict[str, dict]:
    """The rows of models that an earlier run with the same libraries found equal."""
    path = out.with_suffix(".json")
    found = json.loads(path.read_text()) if path.exists() else {"versions": None, "models": []}
    same = found["versions"] == versions()
    return {row["model"]: row for row in found["models"] if same and row["equal"]}


def versions() -> dict[str, str]:
    found = {name: version(name) for name in ("torch", "keras", "tensorflow")}
    return found | {"python": platform.python_version()}


def environment() -> dict[str, str]:
    quiet = {
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
    return {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}


def in_own_process(name: str) -> dict:
    """The row of a model; what a model needs of memory is free again before the next."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", name]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment())
    try:
        return json.loads(result.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return {"model": name, "equal": False, "error": result.stderr.strip()[-1500:]}


def build(name: str):
    """The Keras model, its weights drawn."""
    import keras

    from parity_tests.porting import randomize
    from parity_tests.styles import STYLES

    keras.utils.set_random_seed(0)
    if name in STYLES:
        return randomize(STYLES[name]())
    if name in CHAPTER:
        import importlib

        module, function = CHAPTER[name].split(":")
        smaller = {"size": 75} if name == "chapter: shared Xception" else {}
        made = getattr(importlib.import_module(f"keras_ref.{module}"), function)(**smaller)
        return randomize(made)
    maker = getattr(keras.applications, name)
    # training with BatchNorm over the 1x1 maps of a few images is more rounding than anything else
    normalised = any(word in name for word in ("ResNet", "Mobile", "DenseNet", "Efficient"))
    size = SIZES.get(name, 64 if normalised else 32)
    return randomize(maker(weights=None, input_shape=(size, size, 3)))


def measure(name: str) -> dict:
    """Port a model from its file and certify it."""
    from torchbp.parity import certify
    from torchbp.port import load

    model = build(name)
    row = {"model": name, "layers": len(model.layers), "parameters": model.count_params()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        load_seconds = keras_seconds(path)
        with contextlib.suppress(ValueError):
            load(path)  # imports what it needs
        began = time.perf_counter()
        try:
            port = load(path)
        except ValueError as error:
            return row | {"equal": False, "error": str(error)[:1500]}
        row["port_seconds"] = round(time.perf_counter() - began, 2)
        row["keras_seconds"] = round(load_seconds, 2)
        del port, model
        levels = None if row["parameters"] <= LARGEST else [1, 2, 3, 7]
        if row["parameters"] > HUGE:
            levels = [1, 2, 3]
        records = certify(path, dtypes=["float64"], levels=levels)
    forward = [r["value"] for r in records if r["level"] == 3 and r["what"].startswith("output")]
    wrong = sorted({record["level"] for record in records if not record["ok"]})
    row["forward_error"] = max((v if v is not None else float("inf")) for v in forward)
    row["levels"] = [n for n in sorted({r["level"] for r in records}) if n not in wrong]
    row["failed"] = [
        {key: r.get(key) for key in ("level", "what", "value", "tolerance", "layer", "cause")}
        for r in records
        if not r["ok"]
    ]
    return row | {"equal": not wrong}


def keras_seconds(path: Path) -> float:
    """How long Keras takes to load the file."""
    import keras

    began = time.perf_counter()
    keras.models.load_model(path, compile=False)
    return time.perf_counter() - began


def as_line(row: dict) -> str:
    if "error" in row:
        return f"{row['model']}: {row['error'][:300]}"
    levels = " ".join(map(str, row["levels"]))
    worst = "; ".join(
        f"{f['level']} {f['what']} {f['value']} at {f['layer']}" for f in row["failed"]
    )
    return (
        f"{row['model']}: {row['layers']} layers, {row['parameters']:,} parameters, "
        f"{row['port_seconds']} s (Keras {row['keras_seconds']} s), {row['forward_error']:.1e}, "
        f"levels {levels} {worst}"
    )


def write(rows: list[dict], out: Path, total: int) -> None:
    """The table and the figures of what is measured, of so many models."""
    found = {"versions": versions(), "models": rows}
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")
    equal = sum(row["equal"] for row in rows)
    lines = [
        "# Keras models, ported",
        "",
        f"{equal} of {total} models pass every level that they were measured on, in float64 beside "
        f"Keras on TensorFlow; {total - len(rows)} are still to be measured. Made by `make "
        "corpus`; what the levels are, [porting.md](../porting.md) says. The error is max|a - b| / "
        "max|b| of the outputs in inference. Models of more than 60 million parameters are not "
        "trained here, nor are those that draw random numbers in training; of more than 200 "
        "million the way back is left out.",
        "",
        "| model | layers | parameters | port s | Keras s | forward error | levels passed |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        if "error" in row:
            lines.append(f"| {row['model']} | | | | | | refused or failed, see the JSON |")
        else:
            failed = "".join(f", not {n}" for n in sorted({f["level"] for f in row["failed"]}))
            lines.append(
                f"| {row['model']} | {row['layers']} | {row['parameters']:,} | "
                f"{row['port_seconds']:.2f} | {row['keras_seconds']:.2f} | "
                f"{row['forward_error']:.0e} | {' '.join(map(str, row['levels']))}{failed} |"
            )
    out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
