"""The script that compares nets with and without patterns, and the images that it reads."""

import gzip
import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from torchbp.data import import_torchvision
from torchbp.errors import DataError

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from pattern_parts import findings, images, report  # noqa: E402
from pattern_parts.net import VARIANTS, Variant, convnet, started  # noqa: E402

sys.path.remove(str(SCRIPTS))

PATTERNS = [
    "plain",
    "residual",
    "BatchNorm",
    "residual + BatchNorm",
    "residual + BatchNorm + separable",
]


def run(*options):
    """The script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", SCRIPTS / "patterns.py", *map(str, options)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """What --quick prints, and the folder that it writes to."""
    folder = tmp_path_factory.mktemp("patterns")
    done = run("--quick", "--seed", "5", "--out", folder)
    assert done.returncode == 0, done.stderr
    return done.stdout, folder


@pytest.fixture(scope="module")
def figures(quick):
    return json.loads((quick[1] / "patterns.json").read_text())


def conv_sizes(depth):
    """(channels in, channels out, pixels out) of each convolution but the first, for the digits."""
    pairs = (depth - 2) // 2
    before = 2 * (pairs // 2)
    return [*[(8, 8, 64)] * before, (8, 16, 16), *[(16, 16, 16)] * (2 * pairs - before)]


def expected_costs(variant):
    """Parameters and multiply-adds, counted by hand."""
    parameters = 9 * 8 + 16 * 10 + 10
    multiply_adds = 9 * 8 * 64 + 16 * 10
    for c_in, c_out, pixels in conv_sizes(variant.depth):
        weights = 9 * c_in + c_in * c_out if variant.separable else 9 * c_in * c_out
        parameters += weights
        multiply_adds += weights * pixels
    channels = 8 + sum(c_out for _, c_out, _ in conv_sizes(variant.depth))
    return parameters + channels * (2 if variant.norm else 1), multiply_adds


@pytest.mark.slow
def test_every_variant_has_its_figures(figures):
    nets = figures["nets"]
    assert [(n["depth"], findings.variant_of(n).patterns) for n in nets] == [
        *((depth, patterns) for depth in (10, 20, 40) for patterns in PATTERNS[:4]),
        *((depth, PATTERNS[4]) for depth in (10, 20, 40)),
    ]
    assert figures["seeds"] == [5]
    for net in nets:
        assert net["step_ms"] > 0
        for name in ("accuracy", "loss"):
            assert {init: len(values) for init, values in net[name].items()} == {
                "Glorot": 1,
                "He": 1,
            }


@pytest.mark.slow
def test_parameters_and_multiply_adds_are_those_counted_by_hand(figures):
    for net in figures["nets"]:
        expected = expected_costs(findings.variant_of(net))
        assert (net["parameters"], net["multiply_adds"]) == expected, net


@pytest.mark.slow
def test_gradients_are_measured_in_each_of_forty_convolutions(figures):
    rows = figures["gradients"]
    inits = ("Glorot", "He", "torch")
    assert [(r["init"], findings.variant_of(r).patterns) for r in rows] == [
        (init, patterns) for init in inits for patterns in PATTERNS[:4]
    ]
    assert all(len(norms) == 40 and min(norms) > 0 for r in rows for norms in r["norms"])
    plain = {r["init"]: r["norms"][0] for r in rows if not (r["residual"] or r["norm"])}
    assert plain["torch"][0] < 1e-9 * plain["torch"][-1]
    assert max(plain["Glorot"]) < 1e-6 < min(plain["He"])


@pytest.mark.slow
def test_page_and_terminal_have_a_row_for_each_net_and_the_plots_are_written(quick, figures):
    printed, folder = quick
    page = (folder / "patterns.md").read_text()
    for row in report.rows(figures):
        assert f"| {' | '.join(row)} |" in page
        assert all(cell in printed for cell in row)
    assert f"scripts/patterns.py --quick --seed 5 --out {folder}" in page
    for name in ("accuracy", "gradients"):
        assert f"(patterns-{name}.svg)" in page
        assert "<svg" in (folder / f"patterns-{name}.svg").read_text()


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", [False, True])
def test_net_is_the_chain_of_its_layers(residual, norm):
    """The same as a loop over the modules, which stand in the order of their calls."""
    net = convnet(Variant(10, residual, norm), 1, 10).eval()
    first, *blocks, _, linear = net.children()
    x = torch.randn(2, 1, 8, 8)
    y = first(x)
    for block in blocks:
        steps = getattr(block, "branch", block)
        y = steps(y) + (y if residual and hasattr(block, "branch") else 0)
    torch.testing.assert_close(net(x), linear(y.relu().mean((2, 3))))
    assert sum(hasattr(block, "branch") for block in blocks) == (4 if residual else 0)


def test_shortcuts_cost_no_weights_and_a_seed_draws_the_same_ones():
    plain, residual = (started(Variant(10, has), "He", 1, 10, seed=3) for has in (False, True))
    pairs = zip(plain.parameters(), residual.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_every_convolution_counts_in_the_depth():
    for variant in VARIANTS:
        modules = convnet(variant, 1, 10).modules()
        assert sum(getattr(m, "kernel_size", 0) == (3, 3) for m in modules) == variant.depth


def net(accuracies, losses, **patterns):
    return {
        "depth": 10,
        "residual": False,
        "norm": False,
        "separable": False,
        **patterns,
        "parameters": 100,
        "multiply_adds": 1000,
        "step_ms": 2.0,
        "accuracy": {"He": accuracies},
        "loss": {"He": losses},
    }


@pytest.mark.parametrize(
    ("accuracies", "verdict"),
    [
        ([0.75, 0.8, 0.9], "higher with 10 (60.0% to 80.0%)"),
        ([0.1, 0.2, 0.45], "lower with 10 (60.0% to 20.0%)"),
        ([0.65, 0.8, 0.9], "not clearly different with 10 (60.0% to 80.0%)"),
    ],
)
def test_a_pattern_helps_only_where_the_ranges_of_the_seeds_are_apart(accuracies, verdict):
    pair = net([0.5, 0.6, 0.7], [0.1]), net(accuracies, [0.1], residual=True)
    assert findings.told([pair], "He") == verdict


def test_one_seed_gives_no_verdict():
    pair = net([0.5], [0.1]), net([0.9], [0.1], residual=True)
    assert findings.told([pair], "He") == "not clearly different with 10 (50.0% to 90.0%)"


def test_accuracies_are_told_by_median_and_range():
    assert report.spread([90.0, 74.94, 95.1]) == "90.0 (74.9-95.1)"
    assert report.spread([90.0]) == "90.0"


def test_findings_name_the_nets_that_learned_nothing_and_those_not_fitted():
    nets = [net([0.15], [2.3]), net([0.9], [0.01], residual=True)]
    data = {"nets": nets, "images": {"most_frequent": 0.1}, "settings": {"epochs": 4}}
    near_chance, not_fitted = findings.unlearned(data)
    assert near_chance.endswith("twice that: 10 convolutions, plain (He).")
    assert not_fitted.endswith("order: 10 convolutions, plain (He).")


def idx(path, values):
    """A file of the format of MNIST."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.astype(np.uint8).tobytes())


def fashion_mnist(folder):
    """Small files of FashionMNIST's names and format; the images, as they should be read."""
    rng = np.random.default_rng(0)
    written = []
    for part, count in (("train", 20), ("t10k", 10)):
        x = rng.integers(0, 256, (count, 28, 28))
        y = np.arange(count) % 10
        idx(folder / f"FashionMNIST/raw/{part}-images-idx3-ubyte", x)
        idx(folder / f"FashionMNIST/raw/{part}-labels-idx1-ubyte", y)
        written += [x[:, None], y]
    return written


def cifar10(folder):
    """Small batches of CIFAR10's format: a class of torchvision's with their sums, the data."""
    rng = np.random.default_rng(0)
    base, sums, written = folder / "cifar-10-batches-py", {}, {}
    base.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        x, y = rng.integers(0, 256, (4, 3072), dtype=np.uint8), rng.integers(0, 10, 4).tolist()
        batch = {"label_names": list("0123456789")} if "meta" in name else {"data": x, "labels": y}
        content = pickle.dumps(batch, protocol=2)
        (base / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
        written[name] = x.reshape(4, 3, 32, 32), y

    class SmallCIFAR10(import_torchvision().datasets.CIFAR10):
        train_list = [[name, sums[name]] for name in sums if name.startswith("data")]
        test_list = [["test_batch", sums["test_batch"]]]
        meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}

    x_train, y_train = zip(*(written[name] for name, _ in SmallCIFAR10.train_list), strict=True)
    train = [np.concatenate(x_train), np.concatenate(y_train)]
    return SmallCIFAR10, [*train, *written["test_batch"]]


def check(read, x_train, y_train, x_test, y_test):
    """The classes as written, and the images on the scale of the training images."""
    mean, std = (getattr(x_train, f)((0, 2, 3), keepdims=True) for f in ("mean", "std"))
    assert read.y_train.tolist() == list(y_train)
    assert read.y_test.tolist() == list(y_test)
    for x, expected in ((read.x_train, x_train), (read.x_test, x_test)):
        # std with n or n - 1 values, and float32
        np.testing.assert_allclose(x.numpy(), (expected - mean) / std, rtol=1e-3, atol=1e-3)


def test_reads_the_files_of_fashion_mnist(tmp_path):
    written = fashion_mnist(tmp_path)
    check(images.read("fashion-mnist", tmp_path), *written)


def test_reads_the_batches_of_cifar10(tmp_path):
    make, written = cifar10(tmp_path)
    check(images.from_torchvision(make, tmp_path, ""), *written)


def test_batches_of_cifar10_with_another_sum_are_not_unpickled(tmp_path):
    cifar10(tmp_path)
    with pytest.raises(DataError, match="data_batch_1 to data_batch_5, test_batch and"):
        images.read("cifar10", tmp_path)


def test_missing_files_are_named_with_their_place(tmp_path):
    fashion_mnist(tmp_path)
    path = tmp_path / "FashionMNIST/raw/t10k-labels-idx1-ubyte"
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    with pytest.raises(DataError, match=r"FashionMNIST/raw, unpacked: .*t10k-labels-idx1-ubyte"):
        images.read("fashion-mnist", tmp_path)


def test_a_cut_file_is_one_error(tmp_path):
    fashion_mnist(tmp_path)
    path = tmp_path / "FashionMNIST/raw/train-images-idx3-ubyte"
    for size in (1000, 3, 0):
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match="could not read"):
            images.read("fashion-mnist", tmp_path)


@pytest.mark.parametrize(("dataset", "folder"), [("mnist", Path()), ("cifar10", None)])
def test_data_set_without_name_or_folder_is_refused(dataset, folder):
    with pytest.raises(DataError, match="digits, or one of fashion-mnist, cifar10 with --data"):
        images.read(dataset, folder)


def test_script_ends_with_the_error_alone(tmp_path):
    done = run("--dataset", "cifar10", "--data", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("patterns: expected the files of CIFAR10")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_script_trains_on_the_users_images(tmp_path):
    fashion_mnist(tmp_path)
    options = ("--data", tmp_path, "--dataset", "fashion-mnist", "--out", tmp_path)
    done = run("--quick", "--batch-size", 10, *options)
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "patterns.json").read_text())["images"]
    assert written["shape"] == [1, 28, 28]
    assert (written["train"], written["test"]) == (20, 10)
