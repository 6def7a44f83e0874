"""The ensemble as a module: it exports, compiles, is batched, saved and loaded."""

import copy

import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn

from tests.ensemble.ensembles import data, net, nets
from torchbp import models
from torchbp.ensemble import (
    Ensemble,
    ExponentialMean,
    GeometricMean,
    MajorityVote,
    Median,
    Member,
    PowerMean,
    RandomSearch,
    RankMean,
    Stacking,
    load_ensemble,
)
from torchbp.errors import DataError

POOLINGS = [GeometricMean(), PowerMean(3), ExponentialMean(2.0), Median(), MajorityVote()]


def conv():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 16, 3)
    )


def flat(x):
    return x.flatten(1)


def mixed():
    softmax = nn.Softmax(dim=1)
    ensemble = Ensemble(
        {
            "conv 1": Member(conv(), activation=softmax),
            "mlp 1": Member(models.mlp(36, 3), flat),
            "conv 2": Member(conv(), activation=softmax),
            "mlp 2": Member(models.mlp(36, 3), flat),
        }
    )
    x = torch.randn(5, 1, 6, 6)
    ensemble(x)  # statistics that differ from those of the start
    ensemble.set_weights({"conv 1": 4, "mlp 1": 3, "conv 2": 2, "mlp 2": 1})
    return ensemble.eval(), x


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_forward_is_what_predict_gives(pooling):
    (x, _), ensemble = data(), Ensemble(nets(), pooling=pooling)
    torch.testing.assert_close(ensemble(x), ensemble.predict(x).float())


def test_it_exports_with_any_batch_size():
    ensemble, x = mixed()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(ensemble, (x,), dynamic_shapes={"inputs": ({0: batch},)})
    x = torch.randn(9, 1, 6, 6)
    torch.testing.assert_close(exported.module()(x), ensemble(x))


def test_a_batched_one_exports():
    ensemble, x = mixed()
    exported = torch.export.export(ensemble.batched(), (x,))
    torch.testing.assert_close(exported.module()(x), ensemble(x))


def test_it_compiles_without_a_graph_break():
    (x, _), ensemble = data(), Ensemble(nets(), pooling=Median())
    compiled = torch.compile(ensemble, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), ensemble(x))


@pytest.mark.parametrize("pooling", [RankMean, Stacking])
def test_learned_poolings_are_modules_too(pooling):
    x, y = data()
    kept = Ensemble(nets()).predictions(x)
    members = nets()
    made = pooling(kept, y) if pooling is Stacking else pooling(kept)
    ensemble = Ensemble(members, pooling=made).eval()
    torch.testing.assert_close(ensemble(x), ensemble.predict(x).float())
    exported = torch.export.export(ensemble, (x,))
    torch.testing.assert_close(exported.module()(x), ensemble(x))


@pytest.mark.gpu
def test_it_moves_to_cuda_and_computes_there():
    ensemble, x = mixed()
    expected = ensemble(x)
    for moved in (ensemble.batched().cuda(), copy.deepcopy(ensemble).cuda()):
        torch.testing.assert_close(moved(x.cuda()).cpu(), expected, rtol=1e-4, atol=1e-4)


def test_gradients_reach_all_members():
    (x, _), ensemble = data(), Ensemble(nets())
    ensemble(x)[:, 0].sum().backward()
    assert all(parameter.grad is not None for parameter in ensemble.parameters())


def test_architectures_are_batched_by_themselves():
    ensemble, x = mixed()
    batched = ensemble.batched()
    assert [group.count for group in batched.groups] == [2, 2]
    torch.testing.assert_close(batched(x), ensemble(x))


def test_equal_architectures_are_called_once():
    """In a single call for all members the module's own code runs once."""
    calls = []

    class Counted(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x).softmax(dim=1)

    ensemble = Ensemble({name: Counted(4, 3) for name in "abcde"})
    ensemble.batched()(torch.zeros(2, 4))
    assert len(calls) == 1


def test_a_batched_copy_does_not_follow_the_ensemble():
    (x, _), ensemble = data(), Ensemble(nets())
    batched = ensemble.batched()
    before = batched(x)
    with torch.no_grad():
        next(ensemble.parameters()).add_(1)
    torch.testing.assert_close(batched(x), before)
    with pytest.raises(DataError, match="expected to be used for inference"):
        batched.train()


def forest(x, y):
    return RandomForestClassifier(3, random_state=0).fit(x.numpy(), y.numpy())


def test_members_that_are_no_modules_are_named_where_a_module_is_needed():
    x, y = data()
    ensemble = Ensemble({"net": net(), "forest": forest(x, y)})
    for use in (lambda: ensemble(x), ensemble.batched):
        with pytest.raises(DataError, match=r"all nn.Modules, got others: \['forest'\]"):
            use()


@pytest.mark.parametrize("pooling", [*POOLINGS, RankMean, Stacking])
def test_a_file_brings_the_whole_ensemble_back(tmp_path, pooling):
    x, y = data()
    if isinstance(pooling, type):
        kept = Ensemble(nets()).predictions(x[:10])
        pooling = pooling(kept, y[:10]) if pooling is Stacking else pooling(kept)
    ensemble = Ensemble(nets(), pooling=pooling)
    search = RandomSearch(20) if pooling.takes_weights else None
    ensemble.fit_weights(validation=(x[:20], y[:20]), search=search)
    ensemble.save(tmp_path / "ensemble.pt")
    again = load_ensemble(tmp_path / "ensemble.pt", nets())
    assert torch.equal(again.predict(x), ensemble.predict(x))
    assert again.weights == ensemble.weights
    with pytest.raises(DataError, match="that weights were learned on"):
        again.report(test=(x[:20], y[:20]))
    report = again.report(test=(x[20:], y[20:])).as_dict()
    assert report == ensemble.report(test=(x[20:], y[20:])).as_dict()


def test_a_file_holds_the_kept_predictions_of_estimators(tmp_path):
    x, y = data()
    trees = forest(x, y)
    ensemble = Ensemble({"net": net(), "forest": trees})
    expected = ensemble.predict(x)
    ensemble.save(tmp_path / "ensemble.pt")
    torch.load(tmp_path / "ensemble.pt", weights_only=True)
    again = load_ensemble(tmp_path / "ensemble.pt", {"net": net()})
    assert torch.equal(again.predict(x), expected)
    with pytest.raises(DataError, match="'forest': expected samples whose predictions were kept"):
        again.predict(x[:3])
    whole = load_ensemble(tmp_path / "ensemble.pt", {"net": net(), "forest": trees})
    torch.testing.assert_close(whole.predict(x[:3]), expected[:3])


def test_files_and_nets_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "ensemble.pt"
    Ensemble(nets()).save(path)
    with pytest.raises(DataError, match=r"a net for each of \['a', 'b', 'c'\]"):
        load_ensemble(path, {"a": net()})
    with pytest.raises(DataError, match="member 'b': expected the architecture that was saved"):
        load_ensemble(path, {**nets(), "b": net((4, 9, 3))})
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(DataError, match=r"expected a file that Ensemble.save wrote"):
        load_ensemble(path, nets())


def test_a_pooling_of_ones_own_is_passed_to_load(tmp_path):
    class First(Median):
        def forward(self, predictions, weights):
            return predictions[0]

    (x, _), path = data(), tmp_path / "ensemble.pt"
    ensemble = Ensemble(nets(), pooling=First())
    ensemble.save(path)
    with pytest.raises(DataError, match="expected to know the pooling of 'output', got 'First'"):
        load_ensemble(path, nets())
    again = load_ensemble(path, nets(), pooling={"output": First()})
    assert torch.equal(again(x), ensemble(x))


def test_weights_are_equal_at_first():
    assert Ensemble(nets()).weights == {"output": dict.fromkeys("abc", 1 / 3)}
