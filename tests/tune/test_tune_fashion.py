"""The files of FashionMNIST, in their real format, as `torchbp tune --data` reads them."""

import struct

import numpy as np
import torch

from torchbp.tune.digits import read_fashion_mnist


def idx(path, values):
    """A file of the format of MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def write(folder, part, count, seed):
    x = np.random.default_rng(seed).integers(0, 256, (count, 28, 28))
    idx(folder / f"FashionMNIST/raw/{part}-images-idx3-ubyte", x)
    idx(folder / f"FashionMNIST/raw/{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return torch.tensor(x).float().unsqueeze(1) / 255


def test_reads_fashion_mnist_and_cuts_a_sixth_of_its_training_images_off(tmp_path):
    x = write(tmp_path, "train", 60, seed=0)
    write(tmp_path, "t10k", 10, seed=1)
    split = read_fashion_mnist(tmp_path)
    train, validation = split.round(0)
    assert (len(train), len(validation)) == (50, 10)
    together = torch.cat([train.inputs, validation.inputs])
    labels = torch.cat([train.targets, validation.targets])
    for image, label in zip(together, labels, strict=True):
        (row,) = (x == image).flatten(1).all(1).nonzero().flatten().tolist()
        assert row % 10 == label
