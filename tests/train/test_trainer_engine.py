"""One argument each: precision, compilation, accumulation, memory format; data beyond memory."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from torchbp.errors import DataError
from torchbp.train import Callback, Trainer

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(22, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


def make_trainer(dtype=torch.float32, **settings):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).to(dtype)
    return Trainer(model, nn.MSELoss(), make_sgd, **settings)


def fit(trainer, inputs=X, targets=Y, **settings):
    return trainer.fit(inputs, targets, **({"shuffle": False, "progress": False} | settings))


class Types(Callback):
    def on_gradients(self, trainer):
        current = trainer.current
        self.loss, self.output = current.total_loss.dtype, current.outputs["output"].dtype
        self.gradient = trainer.model[0].weight.grad.dtype


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_precision_is_that_of_the_layers_and_losses_are_float32(precision, dtype):
    trainer, types, inside = make_trainer(precision=precision), Types(), []
    trainer.model[0].register_forward_hook(lambda m, a, output: inside.append(output.dtype))
    history = fit(trainer, epochs=30, callbacks=[types])
    assert set(inside) == {dtype}
    assert types.loss == types.output == types.gradient == torch.float32
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    trainer.evaluate(X, Y, progress=False)
    assert inside[-1] == dtype


def test_fp16_leaves_out_a_step_with_an_infinite_gradient_and_halves_the_scale():
    class Explode(Callback):
        def on_gradients(self, trainer):
            self.gradient = trainer.model[0].weight.grad.clone()

    trainer, explode = make_trainer(precision="fp16"), Explode()
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    scaler = trainer._engine.scaler
    scale = scaler.get_scale()
    fit(trainer, targets=Y * 1e15, callbacks=[explode], batch_size=22)
    assert not explode.gradient.isfinite().all()
    assert all(map(torch.equal, before, trainer.model.parameters()))
    assert scaler.get_scale() == scale / 2


def test_fp16_callbacks_see_unscaled_gradients():
    seen = {}

    class Look(Callback):
        def on_gradients(self, trainer):
            seen[len(seen)] = trainer.model[0].weight.grad.clone()

    for precision in ("fp32", "fp16"):
        fit(make_trainer(precision=precision), callbacks=[Look()], batch_size=22)
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-2, atol=1e-3)  # float16's 10 bits


@pytest.mark.parametrize("num_samples", [22, 16, 17])
def test_accumulated_batches_make_the_step_of_one_batch(num_samples):
    """Also where the last step has fewer batches, or a smaller one."""
    whole, parts = make_trainer(torch.float64), make_trainer(torch.float64, grad_accumulation=3)
    x, y = X[:num_samples].double(), Y[:num_samples].double()
    expected = fit(whole, x, y, batch_size=12, epochs=3)
    history = fit(parts, x, y, batch_size=4, epochs=3)
    for one, other in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-14)  # a few float64 roundings
    assert history["loss"] == pytest.approx(expected["loss"], rel=1e-13)


def test_accumulation_ends_with_data_of_unknown_length():
    class Steps(Callback):
        count = 0

        def on_gradients(self, trainer):
            self.count += 1

    steps = Steps()
    trainer = make_trainer(grad_accumulation=3)
    fit(trainer, ((X[i : i + 4], Y[i : i + 4]) for i in (0, 4, 8, 12)), None, callbacks=[steps])
    assert (steps.count, trainer.global_step) == (2, 4)


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.scores = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)
        self.formats = []

    def forward(self, x):
        self.formats.append(x.is_contiguous(memory_format=torch.channels_last))
        return self.scores(self.conv(x).mean((2, 3)))


def test_channels_last_is_the_format_of_kernels_and_images_and_changes_no_number():
    images, classes = torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 1, 0, 1, 0])
    histories = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        trainer = Trainer(Images(), nn.CrossEntropyLoss(), make_sgd, channels_last=channels_last)
        histories.append(fit(trainer, images, classes, epochs=3)["loss"])
        kernel = trainer.model.conv.weight
        assert kernel.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert set(trainer.model.formats) == {channels_last}
    assert histories[1] == pytest.approx(histories[0], rel=1e-5)  # another order of sums


@pytest.mark.slow
def test_compile_compiles_the_step_and_comes_to_the_same():
    histories = []
    for compile in (False, True):
        trainer = make_trainer(compile=compile)
        histories.append(fit(trainer, epochs=3, validation_data=(X, Y)))
        assert next(iter(trainer.model.state_dict())) == "0.weight"
    for name in ("loss", "val_loss"):  # fused operations round elsewhere
        assert histories[1][name] == pytest.approx(histories[0][name], rel=1e-5)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": "float16"}, r"precision: expected one of 'fp32', 'bf16', 'fp16', got 'floa"),
        ({"parallel": "dp"}, "parallel: expected one of 'ddp', 'fsdp', got 'dp'"),
        ({"grad_accumulation": 0}, "grad_accumulation: expected a positive int, got 0"),
    ],
)
def test_refuses_what_it_does_not_know(settings, message):
    with pytest.raises(DataError, match=message):
        make_trainer(**settings)


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_trains_on_a_file_mapped_into_memory_as_on_the_array(tmp_path, mode, shuffle):
    """Its float64 become the model's float32 batch by batch; the file stays as it is."""
    np.save(tmp_path / "x.npy", X.double().numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode=mode)
    losses = []
    for inputs in (X.clone(), mapped):
        trainer = make_trainer()
        trainer.model.register_forward_pre_hook(lambda m, args: args[0].add_(0.0).mul_(1.0))
        torch.manual_seed(0)
        history = fit(trainer, inputs, epochs=2, batch_size=5, shuffle=shuffle)
        losses.append(history["loss"])
    assert losses[0] == losses[1]
    assert np.array_equal(np.load(tmp_path / "x.npy"), X.double().numpy())


def test_a_mapped_file_is_not_read_into_memory(tmp_path):
    """A file of 80 GB, almost all of it a hole, is trained on without shuffling, cut short."""
    rows = 5_000_000_000
    mapped = np.memmap(tmp_path / "big", dtype="float32", mode="w+", shape=(rows, 4))
    targets = np.memmap(tmp_path / "big", dtype="float32", mode="r", shape=(rows, 1))
    history = fit(make_trainer(), mapped, targets, steps_per_epoch=3, batch_size=8)
    assert history.epochs == [0]


class Pieces(IterableDataset):
    """Rows from a source that several workers read, each its part."""

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        for index in range(worker.id, len(X), worker.num_workers):
            yield X[index], Y[index]


def test_trains_on_an_iterable_dataset_with_workers():
    seen = []

    class Look(Callback):
        def on_batch_end(self, trainer):
            seen.extend(trainer.current.inputs[:, 0].tolist())

    loader = DataLoader(Pieces(), batch_size=5, num_workers=2)
    history = fit(make_trainer(), loader, None, epochs=2, callbacks=[Look()])
    assert len(history["loss"]) == 2
    assert sorted(seen) == sorted(X[:, 0].tolist() * 2)
