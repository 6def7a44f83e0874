"""Several outputs: matched by name, weighed, logged one by one."""

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp.errors import DataError
from torchbp.train import Trainer

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(10, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGETS = {
    "age": X.sum(1, keepdim=True),
    "income": X[:, :3].argmax(1),
    "gender": (X[:, :1] > 0).double(),
}
LOSSES = {"age": nn.MSELoss(), "income": nn.CrossEntropyLoss(), "gender": nn.BCEWithLogitsLoss()}
WEIGHTS = {"age": 0.25, "income": 1.0, "gender": 10.0}
NAMES = tuple(TARGETS)


class Heads(nn.Module):
    """Three heads, in a dict, or in a tuple with or without names."""

    def __init__(self, form, names=None):
        super().__init__()
        torch.manual_seed(2)
        self.form = form
        self.heads = nn.ModuleDict({"age": nn.Linear(4, 1), "income": nn.Linear(4, 3)})
        self.heads["gender"] = nn.Linear(4, 1)
        self.double()
        if names:
            self.output_names = names

    def forward(self, x):
        outputs = {name: head(x) for name, head in self.heads.items()}
        return outputs if self.form == "dict" else tuple(outputs.values())


def permuted(values, order=("gender", "age", "income")):
    return {name: values[name] for name in order}


def in_order(values):
    return [values[name] for name in NAMES]


def total_by_hand(model, x, targets):
    outputs = dict(zip(NAMES, in_order(Heads.forward(model, x)), strict=True))
    return (
        0.25 * F.mse_loss(outputs["age"], targets["age"])
        + F.cross_entropy(outputs["income"], targets["income"])
        + 10 * F.binary_cross_entropy_with_logits(outputs["gender"], targets["gender"])
    )


def trained_by_hand(batch_size=4):
    model = Heads("dict")
    optimizer = make_sgd(model.parameters())
    for rows in torch.arange(10).split(batch_size):
        optimizer.zero_grad()
        total_by_hand(model, X[rows], {n: t[rows] for n, t in TARGETS.items()}).backward()
        optimizer.step()
    return model


FORMS = {
    "dict": (Heads("dict"), permuted(LOSSES), permuted(WEIGHTS), permuted(TARGETS)),
    "dict and named list": (Heads("tuple", NAMES), permuted(LOSSES), permuted(WEIGHTS), TARGETS),
    "lists and named list": (
        Heads("tuple", NAMES), in_order(LOSSES), in_order(WEIGHTS), in_order(TARGETS),
    ),
    "lists": (Heads("tuple"), in_order(LOSSES), in_order(WEIGHTS), in_order(TARGETS)),
    "mixed": (Heads("tuple", NAMES), permuted(LOSSES), in_order(WEIGHTS), permuted(TARGETS)),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_names_in_any_order_train_as_the_weighted_sum_by_hand(form):
    model, losses, weights, targets = FORMS[form]
    trainer = Trainer(model, losses, make_sgd, loss_weights=weights)
    trainer.fit(X, targets, batch_size=4, shuffle=False, progress=False)
    for got, wanted in zip(model.parameters(), trained_by_hand().parameters(), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-13, atol=1e-15)  # order of the sum


def test_logs_each_output_as_a_mean_over_samples_without_its_weight():
    model = Heads("dict")
    trainer = Trainer(model, LOSSES, loss_weights=WEIGHTS)
    result = trainer.evaluate(X, TARGETS, batch_size=4, progress=False)
    outputs = model(X)
    wanted = {f"{n}_loss": LOSSES[n](outputs[n], TARGETS[n]).item() for n in NAMES}
    assert list(result) == ["loss", "age_loss", "income_loss", "gender_loss"]
    assert {n: v for n, v in result.items() if n != "loss"} == pytest.approx(wanted, rel=1e-13)
    assert result["loss"] == pytest.approx(total_by_hand(model, X, TARGETS).item(), rel=1e-13)


def test_logs_the_metrics_of_each_output():
    def accuracy(output, target):
        return (output.argmax(1) == target).double().mean()

    model = Heads("tuple", NAMES)
    trainer = Trainer(
        model, LOSSES, make_sgd, metrics={"income": [accuracy], "age": {"mae": F.l1_loss}}
    )
    history = trainer.fit(X, TARGETS, validation_data=(X, TARGETS), progress=False)
    logged = ["loss", "age_loss", "income_loss", "gender_loss", "age_mae", "income_accuracy"]
    assert set(history) == {*logged, *(f"val_{name}" for name in logged)}
    wanted = accuracy(dict(zip(NAMES, model(X), strict=True))["income"], TARGETS["income"])
    assert history["val_income_accuracy"] == [pytest.approx(wanted.item())]


def test_outputs_without_names_are_numbered():
    trainer = Trainer(Heads("tuple"), in_order(LOSSES), metrics=[F.l1_loss, None, None])
    result = trainer.evaluate(X, in_order(TARGETS), progress=False)
    logged = ["loss", "output_0_loss", "output_1_loss", "output_2_loss", "output_0_l1_loss"]
    assert list(result) == logged


def test_a_loss_weight_that_is_not_named_is_1():
    weighted = Trainer(Heads("dict"), LOSSES, loss_weights={"age": 0.25, "gender": 10.0})
    result = weighted.evaluate(X, TARGETS, progress=False)
    wanted = total_by_hand(Heads("dict"), X, TARGETS).item()
    assert result["loss"] == pytest.approx(wanted, rel=1e-13)


def test_an_output_with_the_loss_none_needs_no_target():
    losses = LOSSES | {"gender": None}
    targets = {"age": TARGETS["age"], "income": TARGETS["income"]}
    result = Trainer(Heads("dict"), losses).evaluate(X, targets, progress=False)
    assert list(result) == ["loss", "age_loss", "income_loss"]


def test_the_one_output_of_a_named_model_takes_dicts_and_logs_without_a_prefix():
    model = nn.Sequential(nn.Linear(4, 1)).double()
    model.output_names = ("score",)
    trainer = Trainer(model, {"score": nn.MSELoss()}, metrics={"mae": F.l1_loss})
    result = trainer.evaluate({"input": X}, {"score": TARGETS["age"]}, progress=False)
    assert list(result) == ["loss", "mae"]


def test_the_names_of_a_compiled_model_are_found():
    model = torch.compile(Heads("tuple", NAMES), backend="eager")
    result = Trainer(model, LOSSES).evaluate(X, TARGETS, progress=False)
    assert result["loss"] == pytest.approx(
        Trainer(Heads("dict"), LOSSES).evaluate(X, TARGETS, progress=False)["loss"]
    )


def test_the_names_of_a_wrapped_model_are_found():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, *args, **kwargs):
            return self.module(*args, **kwargs)

    model = torch.compile(Wrapper(Heads("tuple", NAMES)), backend="eager")
    assert "income_loss" in Trainer(model, LOSSES).evaluate(X, TARGETS, progress=False)


KNOWN = r"\['age', 'income', 'gender'\]"
DICT, NAMED, LIST = ("dict",), ("tuple", NAMES), ("tuple",)
REFUSED = {
    "unknown loss": (
        DICT, LOSSES | {"sex": nn.MSELoss()}, TARGETS, {}, f"loss: .*{KNOWN}, got .'sex'.",
    ),
    "missing loss": (
        DICT, {"age": LOSSES["age"]}, TARGETS, {},
        f"loss: expected one for each of {KNOWN}, got none for .'income', 'gender'.",
    ),
    "one loss": (DICT, nn.MSELoss(), TARGETS, {}, f"loss: .*each of the outputs {KNOWN}, got one"),
    "too few losses": (
        NAMED, [nn.MSELoss()], TARGETS, {}, f"loss: expected 3, .*{KNOWN}, got 1",
    ),
    "losses by order": (DICT, in_order(LOSSES), TARGETS, {}, f"loss: expected a dict .*{KNOWN}"),
    "unknown target": (
        NAMED, LOSSES, TARGETS | {"sex": X}, {}, f"targets: .*{KNOWN}, got .'sex'.",
    ),
    "missing target": (
        NAMED, LOSSES, {"age": TARGETS["age"]}, {}, "targets: .*got none for .'income', 'gender'.",
    ),
    "targets by order": (
        DICT, LOSSES, in_order(TARGETS), {}, f"targets: expected a dict .*{KNOWN}, got a list",
    ),
    "names for nameless": (
        LIST, LOSSES, TARGETS, {}, "loss: expected a list .*3 outputs, which have no names",
    ),
    "unknown loss weight": (
        DICT, LOSSES, TARGETS, {"loss_weights": {"sex": 1.0}}, f"loss_weights: .*{KNOWN}",
    ),
    "too few loss weights": (
        NAMED, LOSSES, TARGETS, {"loss_weights": [1.0]}, "loss_weights: expected 3",
    ),
    "unknown metric output": (
        DICT, LOSSES, TARGETS, {"metrics": {"mae": F.l1_loss}}, f"metrics: .*{KNOWN}, got .'mae'.",
    ),
    "wrong output names": (
        ("tuple", ("age", "income")), LOSSES, TARGETS, {}, r"outputs: expected 2 as output_names",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_names_that_do_not_fit_before_a_step(case):
    form, losses, targets, settings, message = REFUSED[case]
    model = Heads(*form)
    before = model.heads["age"].weight.detach().clone()
    trainer = Trainer(model, losses, make_sgd, **settings)
    with pytest.raises(DataError, match=f"(?s){message}.*To mend it:"):
        trainer.fit(X, targets, progress=False)
    assert torch.equal(model.heads["age"].weight, before)


def test_refuses_outputs_that_are_no_tensors():
    class Text(nn.Module):
        def forward(self, x):
            return "text"

    with pytest.raises(DataError, match=r"outputs: expected a tensor, or a list.*got str"):
        Trainer(Text(), nn.MSELoss()).evaluate(X, X, progress=False)


def test_refuses_an_output_with_a_loss_that_is_no_tensor():
    class Pair(nn.Module):
        output_names = ("score", "state")

        def forward(self, x):
            return x, (x, x)

    losses = {"score": nn.MSELoss(), "state": nn.MSELoss()}
    with pytest.raises(DataError, match=r"output 'state': expected a tensor.*got tuple"):
        Trainer(Pair(), losses).evaluate(X, {"score": X, "state": X}, progress=False)
    losses["state"] = None
    assert Trainer(Pair(), losses).evaluate(X, {"score": X}, progress=False)["loss"] == 0
