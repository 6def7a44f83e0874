"""Data of every form reaches the model, in the same batches."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchbp.errors import DataError
from torchbp.train import Trainer

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
NUM_SAMPLES, BATCH_SIZE = 10, 4
X = torch.randn(NUM_SAMPLES, 3, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


class Rows(Dataset):
    def __len__(self):
        return NUM_SAMPLES

    def __getitem__(self, index):
        return X[index], Y[index]


class RowStream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, Y, strict=True))


class Batches:
    """Can be read again and again, and is no iterator itself."""

    def __iter__(self):
        return batches()


def batches():
    yield from zip(X.split(BATCH_SIZE), Y.split(BATCH_SIZE), strict=True)


def endless():
    while True:
        yield from batches()


def numpy_batches():
    for x, y in batches():
        yield x.double().numpy(), y.double().numpy()


def make_model():
    torch.manual_seed(2)
    return nn.Linear(3, 1)


def train(*data, model=None, epochs=2, **settings):
    model = model or make_model()
    trainer = Trainer(model, nn.MSELoss(), make_sgd)
    settings = {"batch_size": BATCH_SIZE, "shuffle": False, "progress": False} | settings
    trainer.fit(*data, epochs=epochs, **settings)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_hand(epochs=2):
    model = make_model()
    optimizer = make_sgd(model.parameters())
    for _ in range(epochs):
        for x, y in batches():
            optimizer.zero_grad()
            F.mse_loss(model(x), y).backward()
            optimizer.step()
    return torch.cat([p.detach().flatten() for p in model.parameters()])


FORMS = {
    "tensors": (X, Y),
    "numpy float32": (X.numpy(), Y.numpy()),
    "numpy float64": (X.double().numpy(), Y.double().numpy()),
    "numpy and tensor": (X.numpy(), Y),
    "list of one": ([X], [Y]),
    "dict": ({"input": X}, Y),
    "tensor dataset": (TensorDataset(X, Y),),
    "dataset": (Rows(),),
    "iterable dataset": (RowStream(),),
    "loader": (DataLoader(Rows(), BATCH_SIZE),),
    "iterable": (Batches(),),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_trains_alike(form):
    assert torch.equal(train(*FORMS[form]), by_hand())


@pytest.mark.parametrize("make", [batches, numpy_batches])
def test_a_generator_is_read_to_its_end_in_one_epoch(make):
    assert torch.equal(train(make(), epochs=1), by_hand(epochs=1))


def test_an_endless_generator_is_cut_by_steps_per_epoch():
    assert torch.equal(train(endless(), steps_per_epoch=3), by_hand())


@pytest.mark.parametrize("form", ["dataset", "loader", "iterable", "tensors"])
def test_steps_per_epoch_runs_on_over_the_end_of_what_can_be_read_again(form):
    assert torch.equal(train(*FORMS[form], steps_per_epoch=2, epochs=3), by_hand(epochs=2))


def test_read_only_and_reversed_arrays_are_taken():
    x, y = X.flip(0).numpy()[::-1], Y.numpy().copy()
    y.setflags(write=False)
    assert torch.equal(train(x, y), by_hand())


@pytest.mark.parametrize("form", ["iterable dataset", "loader", "iterable"])
def test_what_has_an_order_of_its_own_keeps_it(form):
    assert torch.equal(train(*FORMS[form], shuffle=True), by_hand())


def test_shuffles_datasets_anew_in_each_epoch():
    seen = []

    class Spy(nn.Linear):
        def forward(self, input):
            seen.append(input[:, 0].tolist())
            return super().forward(input)

    train(Rows(), model=Spy(3, 1), shuffle=True, batch_size=NUM_SAMPLES)
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(X[:, 0].tolist())


def test_shuffled_arrays_stay_in_line_with_their_targets_and_weights():
    seen = []

    def loss(output, target, reduction="mean"):
        seen.extend(zip(output.flatten().tolist(), target.flatten().tolist(), strict=True))
        return F.mse_loss(output, target, reduction=reduction)

    x = torch.arange(20.0).unsqueeze(1)
    model = nn.Linear(1, 1)
    nn.init.ones_(model.weight)
    nn.init.zeros_(model.bias)
    trainer = Trainer(model, loss, functools.partial(torch.optim.SGD, lr=0.0))
    trainer.fit(x, 2 * x, batch_size=3, sample_weight=torch.ones(20), progress=False)
    assert all(target == 2 * output for output, target in seen)
    assert [output for output, _ in seen] != sorted(output for output, _ in seen)


def test_arrays_are_batched_as_views_when_they_are_not_shuffled():
    seen = []

    class Spy(nn.Linear):
        def forward(self, input):
            seen.append(input.untyped_storage().data_ptr())
            return super().forward(input)

    train(X.numpy(), Y.numpy(), model=Spy(3, 1), epochs=1)
    assert set(seen) == {X.untyped_storage().data_ptr()}


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, left, right):
        return self.scale * (left - 2 * right)


LEFT, RIGHT = X[:, :1], X[:, 1:2]


@pytest.mark.parametrize(
    "inputs", [(LEFT, RIGHT), [LEFT, RIGHT], {"right": RIGHT, "left": LEFT}], ids=type
)
def test_several_inputs_go_by_position_or_by_name(inputs):
    predicted = Trainer(TwoInputs()).predict(inputs, batch_size=3, progress=False)
    assert torch.equal(predicted, LEFT - 2 * RIGHT)


def test_dict_inputs_of_a_loader_go_by_name():
    class Pairs(Dataset):
        def __len__(self):
            return NUM_SAMPLES

        def __getitem__(self, index):
            return {"right": RIGHT[index], "left": LEFT[index]}, Y[index]

    trainer = Trainer(TwoInputs(), nn.MSELoss())
    loader = DataLoader(Pairs(), 3)
    assert torch.equal(trainer.predict(loader, progress=False), LEFT - 2 * RIGHT)
    wanted = F.mse_loss(LEFT - 2 * RIGHT, Y).item()
    result = trainer.evaluate(loader, progress=False)
    assert result["loss"] == pytest.approx(wanted, rel=1e-6)  # float32 means of batches


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_is_evaluated_alike(form):
    model = make_model()
    trainer = Trainer(model, nn.MSELoss())
    result = trainer.evaluate(*FORMS[form], batch_size=BATCH_SIZE, progress=False)
    assert result["loss"] == pytest.approx(F.mse_loss(model(X), Y).item(), rel=1e-6)  # float32


def test_a_generator_is_evaluated_to_its_end():
    model = make_model()
    result = Trainer(model, nn.MSELoss()).evaluate(batches(), progress=False)
    assert result["loss"] == pytest.approx(F.mse_loss(model(X), Y).item(), rel=1e-6)  # float32


def test_predict_takes_batches_without_targets():
    model = make_model()
    for inputs in (X, TensorDataset(X), iter(X.split(3)), DataLoader(X, 3)):
        predicted = Trainer(model).predict(inputs, batch_size=3, progress=False)
        assert torch.equal(predicted, torch.cat([model(x) for x in X.split(3)]).detach())


class Nested(nn.Module):
    def forward(self, x):
        return {"a": x, "pair": (x + 1, [x + 2])}


def test_predict_keeps_the_structure_of_the_outputs():
    predicted = Trainer(Nested()).predict(X, batch_size=3, progress=False)
    assert list(predicted) == ["a", "pair"]
    assert isinstance(predicted["pair"], tuple)
    assert isinstance(predicted["pair"][1], list)
    assert torch.equal(predicted["pair"][1][0], X + 2)


def test_numpy_floats_take_the_type_of_the_model_and_tensors_keep_theirs():
    seen = []

    class Spy(nn.Linear):
        def forward(self, input):
            seen.append(input.dtype)
            return super().forward(input.to(self.weight.dtype))

    model = Spy(3, 1).double()
    for x in (X.numpy(), X, X.half()):
        Trainer(model).predict(x, batch_size=NUM_SAMPLES, progress=False)
    assert seen == [torch.float64, torch.float32, torch.float16]


def test_numpy_integers_stay_integers():
    labels = np.array([0, 2, 1, 0])
    result = Trainer(nn.Identity(), nn.CrossEntropyLoss()).evaluate(
        torch.eye(4)[:, :3] * 3, labels, progress=False
    )
    wanted = F.cross_entropy(torch.eye(4)[:, :3] * 3, torch.tensor(labels)).item()
    assert result["loss"] == pytest.approx(wanted, rel=1e-6)


def test_a_generator_that_ends_within_an_epoch_says_so_and_the_epoch_is_kept():
    trainer = Trainer(make_model(), nn.MSELoss(), make_sgd)
    with pytest.warns(UserWarning, match="the data ended after 1 of 2 steps of an epoch"):
        history = trainer.fit(batches(), epochs=3, steps_per_epoch=2, progress=False)
    assert history.epochs == [0, 1]
    assert trainer.stop_reason == "the data ended"


def test_a_generator_that_ends_with_an_epoch_says_so():
    trainer = Trainer(make_model(), nn.MSELoss(), make_sgd)
    with pytest.warns(UserWarning, match="the data ended with the epochs before this one"):
        history = trainer.fit(batches(), epochs=2, steps_per_epoch=3, progress=False)
    assert history.epochs == [0]


def test_stopping_within_an_epoch_loses_no_batch_of_a_generator():
    generator = endless()
    train(generator, steps_per_epoch=1, epochs=1)
    assert torch.equal(next(generator)[0], X[BATCH_SIZE : 2 * BATCH_SIZE])


def test_a_generator_lasts_for_many_epochs():
    weights = train(endless(), steps_per_epoch=1, epochs=1500)  # no epoch adds to a call stack
    assert torch.isfinite(weights).all()


REFUSED = {
    "samples": ((X, Y[:9]), {}, r"same number of samples.*inputs 10, targets 9"),
    "named samples": (
        ({"input": X, "mask": X[:5]}, Y), {}, r"inputs\['input'\] 10, inputs\['mask'\] 5",
    ),
    "weights": ((X, Y), {"sample_weight": torch.ones(3)}, "targets 10, sample_weight 3"),
    "nothing": ((X[:0], Y[:0]), {}, "more than 0.*inputs 0, targets 0"),
    "no targets": ((X,), {}, "expected targets as a tensor, got NoneType"),
    "numbers": (([1.0, 2.0], Y), {}, r"inputs\[0\]: expected an array or a tensor, got float"),
    "text": ((np.array(["a"] * 10), Y), {}, "inputs: expected an array of numbers"),
    "a number": ((3, Y), {}, "targets: expected None beside a int"),
    "no data": ((3,), {}, "inputs: expected arrays, tensors, a Dataset.*got int"),
    "targets twice": ((Rows(), Y), {}, "targets: expected None beside a Rows"),
    "weights beside": ((Rows(),), {"sample_weight": Y}, "sample_weight: expected None beside"),
    "four parts": ((TensorDataset(X, X, X, X),), {}, "batch: expected .inputs, targets.*of 4"),
    "no batch": ((iter([]),), {"epochs": 1}, "expected at least one batch, got none"),
    "generator": ((batches(),), {}, "inputs: expected data that can be read in each of 2 epochs"),
    "validation": (
        (X, Y), {"validation_data": batches()}, "validation_data: expected data that can be read",
    ),
    "validation samples": ((X, Y), {"validation_data": (X, Y[:3])}, "inputs 10, targets 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_data_that_does_not_fit_before_a_step(case):
    data, settings, message = REFUSED[case]
    model = make_model()
    before = model.weight.detach().clone()
    with pytest.raises(DataError, match=f"(?s){message}.*To mend it:"):
        train(*data, model=model, **settings)
    assert torch.equal(model.weight, before)


def test_refuses_validation_data_that_does_not_fit_before_the_first_epoch():
    model = make_model()
    before = model.weight.detach().clone()
    with pytest.raises(DataError, match=r"expected targets \(10, 1\) like the output"):
        train(X, Y, model=model, validation_data=(X, Y.squeeze(1)), batch_size=NUM_SAMPLES)
    assert torch.equal(model.weight, before)


def test_refuses_a_batch_whose_parts_differ_in_samples():
    with pytest.raises(DataError, match=r"targets of 4 samples as the output \(4, 1\) has"):
        train(iter([(X[:4], Y[:3])]), epochs=1)
