"""Members of every kind, what they may give, and that they are asked once."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.svm import LinearSVC
from torch import nn

from tests.ensemble.ensembles import data, kept, net, nets, of_kept, probabilities
from torchbp import Trainer
from torchbp.ensemble import Ensemble, Mean, Member, Predictions
from torchbp.errors import DataError


def forest(x, y, **settings):
    return RandomForestClassifier(5, random_state=0, **settings).fit(x.numpy(), y.numpy())


def test_nets_trainers_estimators_and_functions_are_averaged_together():
    x, y = data()
    model, trained, trees = net(), net((4, 5, 3)), forest(x, y)
    members = {
        "net": Member(model[0], activation=nn.Softmax(dim=1)),
        "trainer": Trainer(trained),
        "forest": trees,
        "function": lambda x: np.full((len(x), 3), 1 / 3),
    }
    parts = [model(x), trained(x), torch.tensor(trees.predict_proba(x.numpy())), torch.ones(3) / 3]
    expected = sum(part.double() for part in parts) / 4
    torch.testing.assert_close(Ensemble(members).predict(x, progress=False), expected)


def test_each_member_sees_what_its_inputs_function_gives():
    x, y = data()
    trees = forest(x[:, :2], y)
    members = {
        "forest": Member(trees, lambda x: x[:, :2]),
        "net": Member(net((2, 3)), lambda x: x[:, 2:]),
    }
    assert Ensemble(members).predict(x.numpy()).shape == (40, 3)


def test_dicts_of_inputs_reach_a_net_by_name():
    class Sum(nn.Module):
        def forward(self, left, right):
            return left + 2 * right

    x = {"left": torch.ones(3, 1), "right": torch.arange(3.0)[:, None]}
    ensemble = Ensemble({"sum": Sum()}, "regression")
    assert ensemble.predict(x).tolist() == ensemble(**x).tolist() == [[1.0], [3.0], [5.0]]


def test_nets_predict_in_evaluation_mode_and_keep_their_own():
    model = nn.Sequential(nn.Dropout(0.9), net())
    x, _ = data()
    ensemble = Ensemble({"net": model})
    torch.testing.assert_close(ensemble.predict(x), model[1](x).double())
    assert model.training


def test_several_outputs_are_pooled_by_name():
    task = {"age": "regression", "income": "classification", "gender": "binary"}

    def named(x):
        n = len(x)
        return {
            "gender": np.full(n, 0.75),
            "income": np.tile([0.5, 0.25, 0.25], (n, 1)),
            "age": np.full(n, 30.0),
        }

    def listed(x):
        return [
            np.full((len(x), 1), 40.0),
            np.tile([0, 1.0, 0], (len(x), 1)),
            np.full(len(x), 0.25),
        ]

    result = Ensemble({"a": named, "b": listed}, task).predict(np.zeros((2, 1)))
    assert {name: own[0].tolist() for name, own in result.items()} == {
        "age": [35.0],
        "income": [0.25, 0.625, 0.125],
        "gender": [0.5],
    }


def test_estimators_of_several_outputs_are_named_in_the_order_of_the_tasks():
    x, y = data()
    both = np.stack([y.numpy(), x[:, 0].numpy() > 0], axis=1)
    trees = RandomForestClassifier(3, random_state=0).fit(x.numpy(), both)
    task = {"class": "classification", "sign": "binary"}
    result = Ensemble({"forest": trees}, task).predict(x)
    np.testing.assert_allclose(result["sign"][:, 0], trees.predict_proba(x.numpy())[1][:, 1])


def test_regressors_and_nets_of_numbers_are_averaged():
    x, _ = data()
    trees = RandomForestRegressor(3, random_state=0).fit(x.numpy(), x[:, 0].numpy())
    model = nn.Linear(4, 1)
    expected = (torch.tensor(trees.predict(x.numpy()))[:, None] + model(x)) / 2
    result = Ensemble({"forest": trees, "net": model}, "regression").predict(x)
    torch.testing.assert_close(result, expected.double())


def test_columns_of_an_estimator_follow_the_labels_of_the_ensemble():
    x, y = data()
    labels = np.array(["cat", "dog", "eel"])
    trees = RandomForestClassifier(5, random_state=0).fit(x.numpy(), labels[y.numpy()])
    ensemble = Ensemble({"forest": trees}, classes=["eel", "cat", "dog"])
    expected = trees.predict_proba(x.numpy())[:, [2, 0, 1]]
    np.testing.assert_allclose(ensemble.predict(x), expected)
    ensemble.fit_weights(validation=(x, labels[y.numpy()]))
    accuracy = ensemble.validation.losses["output"].ensemble["accuracy"].mean()
    answers = np.array(["eel", "cat", "dog"])[expected.argmax(axis=1)]
    assert accuracy == (answers == labels[y.numpy()]).mean()


class Counting:
    """A member that counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return np.full((len(x), 2), 0.5)


def test_predictions_are_computed_once_for_the_same_inputs():
    member, x = Counting(), torch.arange(6.0)[:, None]
    ensemble = Ensemble({"counting": member})
    ensemble.predict(x)
    ensemble.pooled_by(Mean()).predict(x.clone().numpy())
    assert member.calls == 1
    ensemble.predict(x[:3])
    assert member.calls == 2


def test_a_net_that_was_trained_on_is_asked_again():
    x, _ = data()
    model = net()
    ensemble = Ensemble({"net": model})
    before = ensemble.predict(x)
    with torch.no_grad():
        model[0].bias += torch.tensor([1.0, 0.0, 0.0])
    assert not torch.allclose(ensemble.predict(x), before)


def test_predictions_are_kept_as_npy_for_another_process(tmp_path, monkeypatch):
    x, y = data()
    members = {"net": net(), "forest": forest(x, y)}
    first = Ensemble(members, keep=tmp_path).predict(x)
    assert sorted(path.name.split(".")[0] for path in tmp_path.glob("*.npy")) == ["forest", "net"]
    again = Ensemble(members, keep=tmp_path)
    monkeypatch.setattr(Member, "predict", None)
    torch.testing.assert_close(again.predict(x), first, rtol=0, atol=0)


def test_functions_are_kept_in_memory_only(tmp_path):
    Ensemble({"function": Counting()}, keep=tmp_path).predict(torch.zeros(2, 1))
    assert list(tmp_path.iterdir()) == []


def two_classes(x):
    return np.full((len(x), 2), 0.5)


def three_classes(x):
    return np.full((len(x), 3), 1 / 3)


BAD = [
    ({}, "expected at least one member, got none"),
    ({"a": 3}, "expected an nn.Module, a Trainer, a fitted estimator or a function, got int"),
    ({"a/b": two_classes}, r"without dots and slashes, got \['a/b'\]"),
    (
        {"a": two_classes, "b": lambda x: np.ones((len(x), 3)) / 3},
        "same classes, got 'a': 2, 'b': 3",
    ),
    ({"a": two_classes, "b": lambda x: two_classes(x)[1:]}, "same samples, got 'a': 5, 'b': 4"),
    ({"a": lambda x: two_classes(x)[1:]}, "a prediction for each of 5 samples, got 4"),
    (
        {"a": lambda x: np.ones((len(x), 2))},
        r"sum to 1, got .*\n.* of logits, pass Member",
    ),
    ({"a": lambda x: np.tile([-1.0, 2.0], (len(x), 1))}, "values from -1 to 2"),
    ({"a": lambda x: np.full((len(x), 2), np.nan)}, "got NaN or infinity for 5 of 5 samples"),
    ({"a": lambda x: np.ones((len(x), 1))}, r"of two or more classes \(N, C\), got \(5, 1\)"),
    ({"a": lambda x: [two_classes(x)] * 2}, r"expected the outputs \['output'\], got 2 without"),
    ({"a": LinearSVC().fit([[0.0], [1.0]], [0, 1])}, "LinearSVC: expected predict_proba"),
]


@pytest.mark.parametrize(("members", "message"), BAD)
def test_members_that_cannot_be_pooled_get_one_clear_error(members, message):
    with pytest.raises(DataError, match=message):
        Ensemble(members).predict(torch.arange(5.0)[:, None])


def test_estimators_of_other_classes_are_refused():
    x, y = data()
    without = y != 1
    trees = forest(x[without], y[without])
    with pytest.raises(DataError, match=r"'forest': expected the classes \[0, 1\], got \[0, 2\]"):
        Ensemble({"forest": trees})
    with pytest.raises(DataError, match=r"expected the classes \[0, 1, 2\], got \[0, 2\]"):
        Ensemble({"forest": trees}, classes=[0, 1, 2])


def test_tasks_poolings_and_inputs_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="expected one of classification, binary, regression"):
        Ensemble(nets(), "ranking")
    with pytest.raises(DataError, match="expected a task for each output, got none"):
        Ensemble(nets(), {})
    with pytest.raises(DataError, match=r"one for each of the outputs \['output'\], got \['o'\]"):
        Ensemble(nets(), pooling={"o": Mean()})
    with pytest.raises(DataError, match="arrays of the same number of samples"):
        Ensemble(nets()).predict([torch.zeros(2, 4), torch.zeros(3, 4)])
    with pytest.raises(DataError, match="expected an array or a tensor, got Dataset"):
        Ensemble(nets()).predict(torch.utils.data.Dataset())


X, Y = probabilities(count=4)
TARGETS = [
    (Y[:3], "expected 4, as many as inputs, got 3"),
    (Y + 9, "expected class indices from 0 to 3, .* values from 1[0-2] to 12"),
    (Y + 0.5, "expected class indices"),
    (np.full((4, 4), 0.25), "rows that are not one-hot"),
]


@pytest.mark.parametrize(("targets", "message"), TARGETS)
def test_targets_that_do_not_fit_are_refused(targets, message):
    with pytest.raises(DataError, match=message):
        of_kept(X).fit_weights(validation=(kept(X), targets))


def test_one_hot_rows_are_class_indices():
    rows = np.eye(4)[Y]
    losses = []
    for targets in (Y, rows, Y.tolist(), Y[:, None]):
        ensemble = of_kept(X)
        ensemble.fit_weights(validation=(kept(X), targets))
        losses.append(ensemble.validation.losses["output"].loss)
    assert len(set(losses)) == 1


def test_predictions_of_other_members_are_refused():
    with pytest.raises(DataError, match=r"expected those of \['a', 'b'\]"):
        of_kept(X[:2]).predict(kept(X))
    with pytest.raises(DataError, match="expected at least one member"):
        Predictions.of({})
