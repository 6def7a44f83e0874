"""The package as it is installed: what it exports, what it imports, what its wheel holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import torchbp

ROOT = Path(__file__).parents[1]
EXTRAS = [
    "numpy", "rich", "typer", "keras", "tensorflow", "h5py", "safetensors", "torchmetrics",
    "tensorboard", "optuna", "scipy", "sklearn", "matplotlib", "graphviz", "onnx", "onnxruntime",
    "torchvision",
]  # fmt: skip


def test_public_names_are_these():
    assert torchbp.__all__ == [
        "Input", "Model", "Sequential", "Trainer", "call", "data", "graph", "layers", "losses",
        "models", "optim", "plot_model", "train",
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
def test_wheel_installs_beside_torch_alone(tmp_path):
    """In an environment that has torch and nothing else of ours, the import works.

    The environment sees torch, and what torch itself needs, through a .pth file: installing
    torch again would take minutes and a network.
    """
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "torchbp/py.typed" in names
    assert all(name.startswith(("torchbp/", "torchbp-")) for name in names)

    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, str(site), str(wheel)], check=True)
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {set(EXTRAS) - {'numpy'}}:\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import torchbp, torch\n"
        "x = torchbp.Input((3,))\n"
        "model = torchbp.Model(x, torchbp.layers.Linear(3, 2)(x))\n"
        "print(torchbp.__file__, model(torch.ones(1, 3)).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stdout
