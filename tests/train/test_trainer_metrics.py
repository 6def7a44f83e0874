"""Metrics: torchmetrics objects and functions, their names, their means."""

import functools

import pytest
import torch
import torchmetrics
from torch import nn
from torch.nn import functional as F

from torchbp.errors import DataError
from torchbp.train import Trainer

N = 11
LOGITS = torch.randn(N, 3, generator=torch.Generator().manual_seed(1))
CLASSES = torch.randint(3, (N,), generator=torch.Generator().manual_seed(2))


def accuracy(output, target):
    return (output.argmax(1) == target).double().mean()


def evaluate(metrics, model=None, **settings):
    trainer = Trainer(model or nn.Identity(), nn.CrossEntropyLoss(), metrics=metrics)
    return trainer.evaluate(LOGITS, CLASSES, batch_size=4, progress=False, **settings)


def multiclass(kind=torchmetrics.classification.MulticlassAccuracy, **settings):
    return kind(num_classes=3, **settings)


def test_a_function_is_averaged_over_samples_not_over_batches():
    assert evaluate(accuracy)["accuracy"] == pytest.approx(
        sum(LOGITS[i].argmax() == CLASSES[i] for i in range(N)).item() / N, rel=1e-14
    )


@pytest.mark.parametrize(
    "kind",
    [
        torchmetrics.classification.MulticlassAccuracy,
        torchmetrics.classification.MulticlassAUROC,
        torchmetrics.classification.MulticlassF1Score,
    ],
)
def test_an_object_of_torchmetrics_sees_all_batches(kind):
    wanted = kind(num_classes=3)(LOGITS, CLASSES).item()
    (name,) = set(evaluate(kind(num_classes=3))) - {"loss"}
    assert evaluate(kind(num_classes=3))[name] == pytest.approx(wanted, rel=1e-6)  # float32


@pytest.mark.parametrize(
    ("metrics", "names"),
    [
        (accuracy, ["accuracy"]),
        ([accuracy, F.cross_entropy], ["accuracy", "cross_entropy"]),
        ({"hit rate": accuracy}, ["hit rate"]),
        ({"output": accuracy}, ["output"]),
        ({"output": [accuracy]}, ["accuracy"]),
        ({"output": {"hits": accuracy}}, ["hits"]),
        (functools.partial(F.cross_entropy, label_smoothing=0.1), ["cross_entropy"]),
        ({"ce": lambda o, t: F.cross_entropy(o, t)}, ["ce"]),
        (multiclass(), ["multiclass_accuracy"]),
        (multiclass(torchmetrics.classification.MulticlassF1Score), ["multiclass_f1_score"]),
        (multiclass(torchmetrics.classification.MulticlassAUROC), ["multiclass_auroc"]),
        ([multiclass(), accuracy], ["accuracy", "multiclass_accuracy"]),
        (None, []),
    ],
)
def test_metrics_are_logged_by_their_names(metrics, names):
    assert list(evaluate(metrics)) == ["loss", *names]


def test_a_metric_of_the_user_is_not_touched():
    metric = multiclass(average="micro")
    metric.update(LOGITS[:1], CLASSES[:1])
    before = metric.compute()
    assert evaluate(metric)["multiclass_accuracy"] == pytest.approx(evaluate(accuracy)["accuracy"])
    assert torch.equal(metric.compute(), before)


def test_training_and_validation_do_not_mix():
    model = nn.Linear(3, 3)
    trainer = Trainer(
        model, nn.CrossEntropyLoss(), functools.partial(torch.optim.SGD, lr=0.0),
        metrics=multiclass(average="micro"),
    )  # fmt: skip
    history = trainer.fit(
        LOGITS[:6], CLASSES[:6], validation_data=(LOGITS[6:], CLASSES[6:]), epochs=2,
        batch_size=4, progress=False,
    )  # fmt: skip
    trained = accuracy(model(LOGITS[:6]), CLASSES[:6]).item()
    validated = accuracy(model(LOGITS[6:]), CLASSES[6:]).item()
    assert history["multiclass_accuracy"] == pytest.approx([trained] * 2)
    assert history["val_multiclass_accuracy"] == pytest.approx([validated] * 2)


def test_metrics_see_the_outputs_from_before_the_step_and_no_gradients():
    seen = []

    def spy(output, target):
        seen.append((output.requires_grad, torch.is_grad_enabled()))
        return output.mean()

    model = nn.Linear(3, 3)
    wanted = model(LOGITS).mean().item()
    trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.Adam, metrics=spy)
    history = trainer.fit(LOGITS, CLASSES, batch_size=N, shuffle=False, progress=False)
    assert history["spy"] == [pytest.approx(wanted, rel=1e-6)]
    assert seen == [(False, False)]


def test_metrics_are_not_weighted():
    weighted = evaluate(accuracy, sample_weight=torch.arange(N) / N)
    assert weighted["accuracy"] == evaluate(accuracy)["accuracy"]
    assert weighted["loss"] != evaluate(accuracy)["loss"]


REFUSED = {
    "lambda": (lambda o, t: o.mean(), "a name of its own for each, got '<lambda>' for a lambda"),
    "twice": ([accuracy, accuracy], "a name of its own for each, got 'accuracy' twice"),
    "class": (torchmetrics.classification.BinaryAccuracy, r"expected metric\(output, target\)"),
    "text": ("accuracy", r"expected metric\(output, target\), .*got 'accuracy'"),
    "float": ({"mean": lambda o, t: o.mean().item()}, "output metric 'mean': .*got float"),
    "rows": ({"mean": lambda o, t: o.mean(1)}, r"output metric 'mean': .*got \(4,\)"),
    "classes": (multiclass(average=None), r"metric 'multiclass_accuracy': .*got \(3,\)"),
    "unknown output": ({"gender": [accuracy]}, r"metrics: .*got \[<function accuracy"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_what_is_no_metric_with_a_name_and_one_number(case):
    metrics, message = REFUSED[case]
    with pytest.raises(DataError, match=f"(?s){message}.*To mend it:"):
        evaluate(metrics)
