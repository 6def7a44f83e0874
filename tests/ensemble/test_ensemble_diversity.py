"""Measures of diversity, their warning, and the report of a test, against numpy and by hand."""

import warnings

import numpy as np
import pytest
import torch
from rich.console import Console

from tests.ensemble.ensembles import data, kept, net, nets, of_kept, probabilities
from torchbp.ensemble import Diversity, Ensemble, Member, Predictions
from torchbp.errors import DataError

X, Y = probabilities(count=200)


def diversity(x=X, y=Y, task="classification"):
    return Diversity.of(kept(x, task), {"output": torch.as_tensor(y)})


def test_pairwise_measures_are_those_of_numpy():
    measured, errors = diversity(), X - np.eye(4)[Y]
    answers = X.argmax(axis=2)
    right = answers == Y
    for i in range(3):
        for j in range(3):
            assert measured.disagreement[i, j] == (answers[i] != answers[j]).mean()
            both, neither = (right[i] & right[j]).sum(), (~right[i] & ~right[j]).sum()
            one, other = (right[i] & ~right[j]).sum(), (~right[i] & right[j]).sum()
            q = (both * neither - one * other) / (both * neither + one * other)
            assert measured.q_statistic[i, j].item() == pytest.approx(q)
    expected = np.corrcoef(errors.reshape(3, -1))
    np.testing.assert_allclose(measured.error_correlation, expected, atol=1e-12)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_error_of_the_mean_is_that_of_the_members_less_their_ambiguity(task):
    y = Y if task == "classification" else np.eye(4)[Y] * 3
    truth = np.eye(4)[Y] if task == "classification" else y
    measured = diversity(X, y, task)
    expected = ((X - truth) ** 2).sum(axis=2).mean(axis=1)
    np.testing.assert_allclose(measured.member_errors, expected)
    assert measured.ensemble_error == pytest.approx(
        ((X.mean(axis=0) - truth) ** 2).sum(axis=1).mean(), abs=1e-12
    )
    assert measured.member_errors.mean() - measured.ambiguity == pytest.approx(
        measured.ensemble_error, abs=1e-12
    )


def test_equal_members_are_not_diverse_at_all():
    measured = diversity(np.stack([X[0], X[0]]))
    assert measured.gain == measured.pairs["disagreement"] == 0
    assert measured.pairs["Q statistic"] == 1
    assert measured.pairs["error correlation"] == pytest.approx(1)


def test_numbers_have_no_disagreement():
    measured = diversity(X, X[0] * 0, "regression")
    assert measured.disagreement is measured.q_statistic is None
    assert list(measured.pairs) == ["error correlation"]


def test_members_of_one_architecture_that_err_alike_are_a_warning_with_the_figure():
    x, y = data()
    first = net()
    alike = net()
    with torch.no_grad():
        for own, other in zip(alike.parameters(), first.parameters(), strict=True):
            own.copy_(other + 0.01)
    ensemble = Ensemble({"first": first, "again": alike})
    message = r"first, again are the same architecture .* correlate by 1.00 .* about 0% of"
    for learn in (ensemble.fit_weights, ensemble.diversity):
        with pytest.warns(UserWarning, match=message):
            learn(validation=(x, y))


def test_diverse_members_of_one_architecture_are_no_warning():
    x = torch.randn(60, 6)
    y = (x.sum(dim=1) > 0).long()

    def of_a_part(columns):
        layer = torch.nn.Linear(6, 2)
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[1, columns] = 3.0
        return Member(layer, activation=torch.nn.Softmax(dim=1))

    ensemble = Ensemble({"left": of_a_part(slice(0, 3)), "right": of_a_part(slice(3, 6))})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ensemble.fit_weights(validation=(x, y))


def test_other_architectures_that_err_alike_are_no_warning():
    x, y = data()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Ensemble(nets()).diversity(validation=(x, y))


def test_forests_that_differ_in_their_seed_are_one_architecture():
    from sklearn.ensemble import RandomForestClassifier

    kinds = {Member(RandomForestClassifier(9, random_state=i)).architecture() for i in range(3)}
    assert len(kinds) == 1
    assert Member(RandomForestClassifier(8)).architecture() not in kinds


def printed(table):
    console = Console(width=140)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_table_has_each_pair_and_the_ambiguity():
    text = printed(diversity().table())
    for words in ("a, b", "a, c", "b, c", "mean of the pairs", "ambiguity", "less"):
        assert words in text


def test_the_heat_map_has_a_panel_for_each_measure_and_is_written(tmp_path):
    figure = diversity().heat_map(tmp_path / "map.svg")
    assert (tmp_path / "map.svg").read_bytes().startswith(b"<?xml")
    titles = [axes.get_title(loc="left").strip() for axes in figure.axes]
    assert titles == ["disagreement", "error correlation", "Q statistic"]
    assert sum(text.get_text().endswith("%") for text in figure.axes[0].texts) == 6
    assert len(diversity(X, X[0] * 0, "regression").heat_map().axes) == 1
    with pytest.raises(DataError, match=r"ends in .png or .svg"):
        diversity().heat_map(tmp_path / "map.gif")


def test_an_output_that_there_is_not_is_refused():
    with pytest.raises(DataError, match=r"expected an output among \['output'\], got 'age'"):
        of_kept(X).diversity(validation=(kept(X), Y), output="age")


def test_a_report_has_the_figures_of_numpy():
    ensemble = of_kept(X)
    ensemble.fit_weights(validation=(kept(X[:, :100]), Y[:100]))
    ensemble.set_weights({"a": 1, "b": 2, "c": 3})
    report = ensemble.report(test=(kept(X[:, 100:]), Y[100:]))
    x, y = X[:, 100:], Y[100:]
    rows = {"a": x[0], "uniform mean": x.mean(axis=0), "ensemble": np.average(x, 0, [1, 2, 3])}
    for name, own in rows.items():
        figures = report.figures["output"][name]
        assert figures["accuracy"].value == pytest.approx((own.argmax(axis=1) == y).mean())
        assert figures["loss"].value == pytest.approx(-np.log(own[np.arange(100), y]).mean())
    assert report.best_single == {"output": "c"}
    assert list(report.gains["output"]) == ["uniform mean", "c"]


def test_bootstrap_intervals_are_those_of_the_binomial_distribution():
    from scipy import stats

    x, y = probabilities(count=500)
    figure = of_kept(x).report(test=(kept(x), y)).figures["output"]["b"]["accuracy"]
    low, high = stats.binom.interval(0.95, 500, figure.value)
    assert figure.low == pytest.approx(low / 500, abs=0.006)
    assert figure.high == pytest.approx(high / 500, abs=0.006)


def test_gains_are_on_the_same_resamples():
    """An ensemble of one member gains nothing on it in any resample."""
    x, y = X[:1], Y
    ensemble = of_kept(x)
    gain = ensemble.report(test=(kept(x), y)).gains["output"]["uniform mean"]["accuracy"]
    assert (gain.value, gain.low, gain.high) == (0, 0, 0)


def test_a_report_says_which_member_was_the_best_on_the_validation_data():
    ensemble = of_kept(X)
    ensemble.fit_weights(validation=(kept(X[:, :100]), Y[:100]))
    text = printed(ensemble.report(test=(kept(X[:, 100:]), Y[100:])).table())
    assert "c (best on validation)" in text
    assert "ensemble minus uniform mean" in text
    assert "100 test samples" in text


def test_numbers_are_reported_as_errors():
    x = np.array([[[1.0], [3.0]]])
    report = of_kept(x, "regression").report(test=(kept(x, "regression"), np.array([1.0, 1.0])))
    figures = report.figures["output"]["ensemble"]
    assert figures["absolute error"].value == 1
    assert figures["squared error"].value == 2


def test_data_that_are_no_pair_are_refused():
    with pytest.raises(DataError, match=r"test: expected \(inputs, targets\), got Predictions"):
        of_kept(X).report(test=Predictions.of({"a": X[0]}))
