"""The package as it is installed: what it exports, what it imports, what its wheel holds."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import torchbp

ROOT = Path(__file__).parents[1]
EXTRAS = [
    "numpy", "rich", "typer", "keras", "tensorflow", "h5py", "safetensors", "torchmetrics",
    "tensorboard", "optuna", "scipy", "sklearn", "matplotlib", "graphviz", "onnx", "onnxruntime",
    "torchvision",
]  # fmt: skip


def test_public_names_are_these():
    assert torchbp.__all__ == [
        "Input", "Model", "Sequential", "Trainer", "blocks", "call", "callbacks", "data",
        "ensemble", "graph", "layers", "losses", "models", "optim", "plot_model", "train", "tune",
    ]  # fmt: skip
    for name in torchbp.__all__:
        assert getattr(torchbp, name) is not None


def test_import_loads_torch_and_no_extra():
    """What `import torch` loads by itself, numpy among it, is torch's business."""
    program = (
        "import sys, torch; before = set(sys.modules); import torchbp; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = set(done.stdout.split())
    assert "torchbp" in loaded
    assert loaded.isdisjoint(EXTRAS)


@pytest.mark.slow
def test_wheel_works_beside_torch_alone(tmp_path):
    """The wheel and torch, with what torch itself requires, and nothing else that is installed.

    Torch is linked into the folder: to install it again would take minutes and a network.
    """
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    assert "torchbp/py.typed" in names
    assert all(name.startswith(("torchbp/", "torchbp-")) for name in names)

    for name in required_by("torch"):
        link(name, tmp_path / "site")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})\n"
        "import torch, torchbp\n"
        "x = torchbp.Input((3,))\n"
        "model = torchbp.Model(x, torchbp.layers.Linear(3, 2)(x))\n"
        "print(torchbp.__file__, model(torch.ones(1, 3)).shape, model.summary())\n"
    )
    alone = [sys.executable, "-I", "-S", "-c", program]  # without site-packages
    done = subprocess.run(alone, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(tmp_path / "site") in done.stdout


def required_by(name, found=None):
    """A distribution and all that it requires, as names of distributions."""
    found = {} if found is None else found
    if name not in found:
        found[name] = True
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                required_by(requirement.name, found)
    return list(found)


def link(name, folder):
    """Link what a distribution has installed into another folder."""
    distribution = metadata.distribution(name)
    for top in {file.parts[0] for file in distribution.files if file.parts[0] != ".."}:
        target = Path(distribution.locate_file(top))
        if target.exists() and not (folder / top).exists():
            (folder / top).symlink_to(target)
