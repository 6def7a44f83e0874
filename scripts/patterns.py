"""What three patterns bring: residual connections, BatchNorm, separable convolution.

One small convnet is trained with 10, 20 and 40 convolutions, with and without residual connections
and BatchNorm, and, where it has both, with separable convolutions too. The images are real, the
1,797 handwritten digits that come with scikit-learn, or those in a folder of torchvision. All else
is the same for all nets: the images kept for the test, the order of the batches, the optimizer
(Adam) and its rate. A shortcut adds its input as it is, so that it costs no weights.

How much a net needs a pattern depends on how its weights start. It is trained from Glorot's
initialisation, Keras's default, with which the mean square of a signal halves at each ReLU, and
from He's, made for ReLU. Before training the gradient of each convolution is measured, with torch's
default, too. The gradient of a weight is what arrives from the image times what comes back from the
loss. Where biases are zero, as with Glorot and He, a layer of a plain net shrinks both by the same
factor, and the product is equally small at all depths; torch's biases keep the one up, and the
gradient vanishes towards the image.

    python scripts/patterns.py
    python scripts/patterns.py --data ~/data --dataset fashion-mnist --device cuda

It writes patterns.json, patterns.md and two plots to docs/results, or to --out.
"""

import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path

import torch
import typer
from pattern_parts.images import read
from pattern_parts.measures import gradients
from pattern_parts.net import WIDTH
from pattern_parts.report import table, write
from pattern_parts.training import LR, compare
from rich.console import Console

from torchbp.errors import DataError


def main(
    data: Path | None = None,
    dataset: str = "digits",
    epochs: int = 12,
    batch_size: int = 128,
    seeds: int = 3,
    seed: int = 0,
    device: str = "cpu",
    quick: bool = False,
    out: Path | None = None,
) -> None:
    """Train all nets, print their figures and write them down."""
    torch.set_num_threads(1)  # a second one is of little use to nets as small as these
    try:
        images = read(dataset, data)
    except DataError as error:
        sys.exit(str(error))
    if quick:
        images = images._replace(x_train=images.x_train[:128], y_train=images.y_train[:128])
        epochs, seeds = 1, 1
    which, options = range(seed, seed + seeds), {"batch_size": batch_size, "device": device}
    figures = {
        "command": shlex.join(["python", "scripts/patterns.py", *sys.argv[1:]]),
        "machine": machine(device),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "images": {
            "dataset": dataset,
            "shape": list(images.x_train.shape[1:]),
            "train": len(images.y_train),
            "test": len(images.y_test),
            "most_frequent": (images.y_test.bincount().max() / len(images.y_test)).item(),
        },
        "settings": {"width": WIDTH, "lr": LR, "epochs": epochs, "batch_size": batch_size},
        "seeds": list(which),
        "nets": compare(images, which, epochs=epochs, **options),
        "gradients": gradients(images, which, **options),
    }
    Console(width=150).print(table(figures))
    folder = out or (Path(tempfile.mkdtemp()) if quick else Path("docs/results"))
    write(figures, folder)
    print(f"written to {folder}")


def machine(device: str) -> dict[str, str | int | None]:
    """What the nets were trained on."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else platform.machine()
    return {"device": name, "cores": os.cpu_count(), "threads": torch.get_num_threads()}


if __name__ == "__main__":
    typer.run(main)
