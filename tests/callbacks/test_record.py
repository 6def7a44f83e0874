"""The recorders: every layer's output and every parameter's gradient, epoch by epoch, as .npz."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, Trainer, layers
from torchbp.callbacks import ClipGradients, RecordActivations, RecordGradients
from torchbp.callbacks.inspection import activations_of, undisturbed
from torchbp.errors import DataError

make_sgd = functools.partial(torch.optim.SGD, lr=0.1)
X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))
Y = X.sum(1, keepdim=True)


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.5), nn.BatchNorm1d(3), nn.Linear(3, 1))


def fit(model, *callbacks, **settings):
    trainer = Trainer(model, nn.MSELoss(), make_sgd, callbacks=callbacks)
    settings = {"batch_size": 4, "progress": False, **settings}
    trainer.fit(X, Y, **settings)
    return model


def read(path):
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file}


class TestActivations:
    def test_of_the_first_validation_sample_are_saved_each_epoch(self, tmp_path):
        model = fit(make_model(), RecordActivations(tmp_path), epochs=2, validation_data=(X, Y))
        names = ["activations_epoch_001.npz", "activations_epoch_002.npz"]
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        last = read(tmp_path / names[-1])
        model.eval()
        value = X[:1]
        for name, layer in model.named_children():
            value = layer(value)
            assert torch.equal(last[name], value), name
        assert torch.equal(last["output"], value)

    def test_of_a_given_sample_need_no_validation(self, tmp_path):
        model = fit(make_model(), RecordActivations(tmp_path, sample=X[5:6].double().numpy()))
        expected = model.eval()(X[5:6])
        assert torch.equal(read(tmp_path / "activations_epoch_001.npz")["output"], expected)

    def test_without_sample_and_validation_is_an_error_before_the_first_epoch(self, tmp_path):
        model = make_model()
        before = model[0].weight.clone()
        with pytest.raises(DataError, match=r"sample or validation data .*, got neither"):
            fit(model, RecordActivations(tmp_path))
        assert torch.equal(model[0].weight, before)

    def test_are_saved_every_so_many_epochs(self, tmp_path):
        recorder = RecordActivations(tmp_path, sample=X[:1], every=2)
        fit(make_model(), recorder, epochs=5)
        found = [path.name[-7:-4] for path in sorted(tmp_path.iterdir())]
        assert found == ["002", "004"]

    @pytest.mark.parametrize("recorder", [RecordActivations, RecordGradients])
    def test_refuse_a_frequency_of_zero(self, recorder, tmp_path):
        with pytest.raises(DataError, match=r"every: expected a positive int, got 0"):
            recorder(tmp_path, every=0)

    def test_leave_the_training_as_it_would_be(self, tmp_path):
        """Dropout draws the same numbers, and BatchNorm sees the same batches."""
        alone = fit(make_model(), epochs=3, validation_data=(X, Y)).state_dict()
        recorders = [RecordActivations(tmp_path), RecordGradients(tmp_path)]
        watched = fit(make_model(), *recorders, epochs=3, validation_data=(X, Y)).state_dict()
        assert all(torch.equal(alone[name], watched[name]) for name in alone)

    def test_restore_modes_and_random_states_of_a_model_that_draws(self):
        class Noisy(nn.Module):
            def forward(self, x):
                return x + torch.randn(x.shape) + np.random.rand()

        model = nn.Sequential(Noisy(), nn.Dropout().eval())
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()
        activations_of(model, X)
        assert [m.training for m in model.modules()] == [True, True, False]
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state[1])
        assert np.random.get_state()[2] == numpy_state[2]

    def test_leave_no_hooks_behind_even_if_the_model_fails(self):
        model = make_model()
        with pytest.raises(RuntimeError):
            activations_of(model, torch.randn(1, 5))
        assert not any(module._forward_hooks for module in model.modules())

    def test_of_a_functional_model_have_the_names_of_its_layers(self):
        left, right = Input((4,), name="left"), Input((4,), name="right")
        shared = layers.Linear(4, 3, name="shared")
        both = layers.Concat(dim=-1, name="both")(shared(left), shared(right))
        model = Model([left, right], layers.Linear(6, 1, name="score")(both))
        found = activations_of(model, {"left": X[:1], "right": X[1:2]})
        assert list(found) == ["shared", "shared.call_1", "both", "score", "output"]
        assert torch.equal(found["shared.call_1"], model.shared(X[1:2]))

    def test_of_tuples_and_dicts_are_numbered_and_named(self):
        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.lstm = nn.LSTM(4, 3)

            def forward(self, x):
                y, (h, _) = self.lstm(x)
                return {"y": y, "last": h}

        found = activations_of(Net(), X[None])
        assert list(found) == ["lstm.0", "lstm.1.0", "lstm.1.1", "output.y", "output.last"]

    def test_are_copies_that_in_place_layers_do_not_change(self):
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True))
        with undisturbed(model):
            expected = model[0](X)
        assert torch.equal(activations_of(model, X)["0"], expected)

    def test_of_any_name_and_type_reach_the_file(self, tmp_path):
        """numpy.savez has an argument `file`, and numpy no bfloat16."""
        model = nn.Sequential()
        model.add_module("file", nn.Linear(4, 2, dtype=torch.bfloat16))
        trainer = Trainer(model, lambda y, t: F.mse_loss(y, t.to(y.dtype)), make_sgd)
        recorder = RecordActivations(tmp_path, sample=X[:1].bfloat16())
        trainer.fit(X.bfloat16(), Y.bfloat16().expand(-1, 2), callbacks=[recorder], progress=False)
        found = read(tmp_path / "activations_epoch_001.npz")
        assert found["file"].dtype == torch.float32
        assert torch.equal(found["file"], model(X[:1].bfloat16()).float())


class TestGradients:
    def test_norms_of_each_step_and_the_last_gradient_are_saved(self, tmp_path):
        model = fit(nn.Linear(4, 1), RecordGradients(tmp_path), shuffle=False, epochs=2)
        found = read(tmp_path / "gradients_epoch_002.npz")
        assert list(found) == ["weight", "weight.norm", "bias", "bias.norm"]
        assert found["weight.norm"].shape == (3,)
        assert torch.equal(found["weight"], model.weight.grad)
        # one norm, computed in another order of additions
        torch.testing.assert_close(found["weight.norm"][-1], found["weight"].norm())

    def test_norms_are_those_of_each_batch(self, tmp_path):
        model = nn.Linear(4, 1)
        copy = nn.Linear(4, 1)
        copy.load_state_dict(model.state_dict())
        fit(model, RecordGradients(tmp_path), shuffle=False, batch_size=6)
        optimizer, norms = make_sgd(copy.parameters()), []
        for x, y in zip(X.split(6), Y.split(6), strict=True):
            optimizer.zero_grad()
            F.mse_loss(copy(x), y).backward()
            norms.append(copy.weight.grad.norm())
            optimizer.step()
        found = read(tmp_path / "gradients_epoch_001.npz")["weight.norm"]
        torch.testing.assert_close(found, torch.stack(norms))

    def test_behind_clipping_they_are_clipped(self, tmp_path):
        fit(nn.Linear(4, 1), ClipGradients(max_norm=1e-3), RecordGradients(tmp_path))
        found = read(tmp_path / "gradients_epoch_001.npz")
        total = (found["weight.norm"] ** 2 + found["bias.norm"] ** 2).sqrt()
        torch.testing.assert_close(total, torch.full((3,), 1e-3))

    def test_a_parameter_without_gradient_is_left_out(self, tmp_path):
        model = make_model()
        model[0].requires_grad_(False)
        fit(model, RecordGradients(tmp_path, every=2), epochs=2)
        assert not (tmp_path / "gradients_epoch_001.npz").exists()
        found = read(tmp_path / "gradients_epoch_002.npz")
        assert sorted(name for name in found if "norm" not in name) == [
            *("2.bias", "2.weight", "3.bias", "3.weight")
        ]

    def test_of_sparse_embeddings_have_norms(self, tmp_path):
        model = nn.Sequential(nn.Embedding(5, 1, sparse=True), nn.Flatten())
        trainer = Trainer(model, nn.MSELoss(), make_sgd, callbacks=[RecordGradients(tmp_path)])
        trainer.fit(torch.tensor([[1], [1], [3]]), torch.ones(3, 1), progress=False)
        found = read(tmp_path / "gradients_epoch_001.npz")
        assert found["0.weight"].shape == (2, 1)
        torch.testing.assert_close(found["0.weight.norm"][0], found["0.weight"].norm())

    def test_of_an_epoch_that_is_resumed_have_all_its_steps(self, tmp_path):
        first, second = RecordGradients(tmp_path), RecordGradients(tmp_path)
        fit(nn.Linear(4, 1), first)
        second.load_state_dict(first.state_dict())
        assert [len(norms) for norms in second._norms.values()] == [3, 3]
