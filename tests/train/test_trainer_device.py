"""The device is not awaited, and wrapped models train: torch.compile, DDP, CUDA."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.train import Callback, Trainer

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
CLASSES = X[:, :3].argmax(1)

READS = ["item", "tolist", "__bool__", "__float__", "__int__", "__index__", "numpy", "cpu"]


def accuracy(output, target):
    return (output.argmax(1) == target).float().mean()


@pytest.fixture
def count_reads(monkeypatch):
    """Counts what would wait for a device, on the CPU."""
    reads = []

    def patched(name, original):
        def read(tensor, *args, **kwargs):
            reads.append(name)
            return original(tensor, *args, **kwargs)

        return read

    for name in READS:
        monkeypatch.setattr(torch.Tensor, name, patched(name, getattr(torch.Tensor, name)))
    return reads


def train(num_batches, **settings):
    trainer = Trainer(nn.Linear(4, 3), nn.CrossEntropyLoss(), make_sgd, metrics=accuracy)
    x = X.repeat(num_batches // 2, 1)
    y = CLASSES.repeat(num_batches // 2)
    return trainer.fit(x, y, validation_data=(x, y), progress=False, **settings)


def test_reads_do_not_grow_with_the_steps(count_reads):
    counts = []
    for num_batches in (2, 20):
        count_reads.clear()
        train(num_batches, epochs=2, sample_weight=torch.ones(32 * num_batches))
        counts.append(len(count_reads))
    assert counts[0] == counts[1]
    assert counts[0] > 0  # the ends of epochs are seen


def test_reads_do_not_grow_with_the_steps_under_class_weights(count_reads):
    counts = []
    for num_batches in (2, 20):
        count_reads.clear()
        train(num_batches, class_weight={0: 2.0})
        counts.append(len(count_reads))
    assert counts[0] == counts[1]


def test_the_model_is_moved_only_if_a_device_is_given():
    model = nn.Linear(4, 3)
    assert Trainer(model).device == torch.device("cpu")
    trainer = Trainer(model, device="meta")
    assert trainer.device == torch.device("meta")
    assert next(trainer.model.parameters()).is_meta


def test_a_model_without_parameters_runs_on_the_cpu():
    assert Trainer(nn.Identity()).device == torch.device("cpu")


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo looks at it
def test_a_compiled_model_trains_as_the_model_does():
    histories = []
    for wrap in (lambda model: model, functools.partial(torch.compile, backend="eager")):
        torch.manual_seed(1)
        model = nn.Linear(4, 3)
        trainer = Trainer(wrap(model), nn.CrossEntropyLoss(), make_sgd)
        fitted = trainer.fit(X, CLASSES, epochs=2, shuffle=False, progress=False)
        histories.append((dict(fitted), model.weight.detach()))
    assert histories[0][0] == histories[1][0]
    assert torch.equal(histories[0][1], histories[1][1])


class Heads(nn.Module):
    output_names = ("scores", "size")

    def __init__(self):
        super().__init__()
        self.scores, self.size = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, x):
        return self.scores(x), self.size(x)


def train_replica(rank, address):
    torch.manual_seed(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(Heads())
    losses = {"size": nn.MSELoss(), "scores": nn.CrossEntropyLoss()}
    trainer = Trainer(model, losses, make_sgd)
    targets = {"scores": CLASSES, "size": X.sum(1, keepdim=True)}
    trainer.fit(X, targets, shuffle=False, batch_size=8, progress=False)
    torch.distributed.destroy_process_group()
    if rank == 0:
        torch.save(model.module.state_dict(), address.removeprefix("file://") + ".pt")


@pytest.mark.slow
def test_two_processes_train_a_model_in_ddp_as_one_does_on_both_their_batches(tmp_path):
    address = f"file://{tmp_path / 'store'}"
    torch.multiprocessing.spawn(train_replica, (address,), nprocs=2)
    replica = torch.load(tmp_path / "store.pt", weights_only=True)
    torch.manual_seed(1)
    model = Heads()
    losses = {"size": nn.MSELoss(), "scores": nn.CrossEntropyLoss()}
    targets = {"scores": CLASSES, "size": X.sum(1, keepdim=True)}
    trainer = Trainer(model, losses, make_sgd)
    trainer.fit(X, targets, shuffle=False, batch_size=16, progress=False)
    # the mean of two means of 8 is the mean of 16, up to the order of the float32 sum
    torch.testing.assert_close(replica, dict(model.state_dict()), rtol=1e-5, atol=1e-6)


class SyncForbidden(Callback):
    """After the first step of an epoch, with its checks, a wait for the device is an error."""

    steps = 0

    def on_batch_end(self, trainer):
        self.steps += 1
        is_last = trainer.current.batch + 1 == trainer.current.num_batches
        torch.cuda.set_sync_debug_mode("default" if is_last else "error")


@pytest.mark.gpu
@pytest.mark.parametrize("where", ["cpu", "cuda"])
@pytest.mark.parametrize("class_weight", [None, {0: 2.0}])
def test_no_step_waits_for_the_gpu(where, class_weight):
    from torchmetrics.classification import MulticlassAccuracy

    metrics = [accuracy, MulticlassAccuracy(3, average="micro", validate_args=False)]
    forbidden = SyncForbidden()
    trainer = Trainer(
        nn.Linear(4, 3), nn.CrossEntropyLoss(), torch.optim.Adam, metrics,
        device="cuda", callbacks=[forbidden],
    )  # fmt: skip
    x, y = X.repeat(8, 1).to(where), CLASSES.repeat(8).to(where)
    try:
        history = trainer.fit(x, y, epochs=2, class_weight=class_weight, progress=False)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert forbidden.steps == 32
    assert history["loss"][1] < history["loss"][0]


@pytest.mark.gpu
def test_the_gpu_trains_as_the_cpu_does():
    histories, models = [], [nn.Linear(4, 3), nn.Linear(4, 3)]
    models[1].load_state_dict(models[0].state_dict())
    for model, device in zip(models, ("cpu", "cuda"), strict=True):
        weighted = nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))
        trainer = Trainer(model, weighted, make_sgd, metrics=accuracy, device=device)
        torch.manual_seed(3)
        data = (X.numpy(), CLASSES.numpy())
        histories.append(trainer.fit(*data, epochs=2, validation_fraction=0.25, progress=False))
        assert trainer.predict(X, progress=False).device.type == "cpu"
    for name, values in histories[0].items():
        assert histories[1][name] == pytest.approx(values, rel=1e-4)  # float32 on two devices
    predicted = [Trainer(model).predict(X, progress=False) for model in models]
    torch.testing.assert_close(predicted[0], predicted[1], rtol=1e-4, atol=1e-5)
    wanted = F.linear(X, models[0].weight, models[0].bias).detach()
    torch.testing.assert_close(predicted[0], wanted)
