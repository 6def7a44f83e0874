"""What learns more than weights: stacking, soups and snapshots."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from tests.ensemble.ensembles import data, kept, net, of_kept, probabilities
from torchbp import Trainer
from torchbp.ensemble import Snapshots, Stacking, greedy_soup, out_of_fold, soup
from torchbp.errors import DataError

X, Y = probabilities(count=120)


def test_stacking_is_scikit_learns_regression_on_log_probabilities():
    features = np.log(X).transpose(1, 0, 2).reshape(120, -1)
    expected = LogisticRegression(C=0.5, max_iter=5000).fit(features, Y).predict_proba(features)
    ensemble = of_kept(X, pooling=Stacking(kept(X), Y, strength=0.5))
    np.testing.assert_allclose(ensemble.predict(kept(X)), expected, atol=1e-12)


def test_stacking_of_two_classes_is_scikit_learns():
    x, y = probabilities(classes=2)
    features = np.log(x).transpose(1, 0, 2).reshape(50, -1)
    expected = LogisticRegression(max_iter=5000).fit(features, y).predict_proba(features)
    found = of_kept(x, pooling=Stacking(kept(x), y)).predict(kept(x))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_stacking_of_numbers_is_a_ridge_regression():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(3, 40, 1)), rng.normal(size=40)
    expected = Ridge(alpha=0.5).fit(x[..., 0].T, y).predict(x[..., 0].T)
    pooling = Stacking(kept(x, "regression"), y, strength=2.0)
    found = of_kept(x, "regression", pooling).predict(kept(x, "regression"))
    np.testing.assert_allclose(found[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (Y[:9], "expected 120, as many as predictions, got 9"),
        (Y * 0, r"all of 4 classes, got \[0\]"),
    ],
)
def test_stacking_refuses_targets_that_do_not_fit(targets, message):
    with pytest.raises(DataError, match=message):
        Stacking(kept(X), targets)


def test_each_sample_is_predicted_by_a_member_that_has_not_seen_it():
    x, y = torch.arange(23.0)[:, None], torch.arange(23) % 2
    seen = []

    def make(x, y):
        seen.append(set(x[:, 0].tolist()))
        own = seen[-1]

        def answer(z):
            unseen = [float(value not in own) for value in z[:, 0].tolist()]
            return torch.tensor([[value, 1 - value] for value in unseen])

        return answer

    found = out_of_fold({"member": make}, x, y, folds=5, progress=False)
    assert found.values["output"][0, :, 0].tolist() == [1.0] * 23
    assert [len(own) for own in seen] == [18, 18, 18, 19, 19]


def test_predictions_out_of_fold_are_in_the_order_of_the_samples():
    x = torch.linspace(0, 1, 11)[:, None]
    found = out_of_fold(
        {"member": lambda x, y: lambda z: torch.cat([z, 1 - z], dim=1)}, {"x": x}["x"], x[:, 0]
    )
    torch.testing.assert_close(found.values["output"][0, :, :1], x.double())


def test_folds_that_cannot_be_are_refused():
    x, y = data(3)
    for folds in (1, 4):
        with pytest.raises(DataError, match=f"to one for each of 3 samples, got {folds}"):
            out_of_fold({"member": lambda x, y: net()}, x, y, folds=folds)


def test_a_soup_has_the_mean_weights_and_statistics():
    models = [nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)) for _ in range(3)]
    for model in models:
        model(torch.randn(8, 2))
    mixed = soup(models).state_dict()
    for name in ("0.weight", "1.running_var"):
        expected = sum(model.state_dict()[name] for model in models) / 3
        torch.testing.assert_close(mixed[name], expected)
    assert mixed["1.num_batches_tracked"] == 1


def test_a_soup_of_other_architectures_is_refused():
    with pytest.raises(DataError, match="expected models of one architecture, got another at 1"):
        soup([nn.Linear(2, 3), nn.Linear(3, 3)])
    with pytest.raises(DataError, match="expected at least one model, got none"):
        soup([])


def of_weight(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def test_a_greedy_soup_leaves_out_what_makes_it_worse():
    mixed = greedy_soup([of_weight(w) for w in (9, 1, 3)], lambda m: -abs(m.weight.item() - 2))
    assert mixed.weight.item() == 2


def test_snapshots_are_the_weights_at_the_ends_of_the_cycles():
    weights, (x, y) = [], data()

    def note(trainer):
        weights.append(trainer.model[0].bias.detach().clone())

    model = net()
    snapshots = Snapshots(cycle=2)
    trainer = Trainer(model, nn.NLLLoss(), torch.optim.SGD(model.parameters(), lr=0.5))
    history = trainer.fit(x, y, epochs=5, callbacks=[snapshots, note], progress=False)
    assert history["lr"] == [0.5, 0.25, 0.5, 0.25, 0.5]
    for snapshot, at in zip(snapshots.models, (1, 3), strict=True):
        assert torch.equal(snapshot[0].bias, weights[at])
        assert not snapshot.training
    with pytest.raises(DataError, match="a cycle of one or more epochs, got 0"):
        Snapshots(0)
