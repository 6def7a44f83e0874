"""A model is an ordinary module: files, copies, hooks, functional calls, subclasses, depth."""

import copy
import gc
import io
import pickle
import sys
import weakref

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

from torchbp import Input, Model, call, layers
from torchbp.errors import ShapeError


class ByHand(nn.Module):
    """What `functional` builds, written by hand with the same names."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.shared = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.5)
        self.scores = nn.Linear(8, 3)

    def forward(self, text):
        x = self.norm(self.conv(self.words(text).transpose(1, 2)))
        x = self.shared(F.relu(x).amax(dim=2))
        x = self.dropout(F.relu(self.shared(x)))
        return self.scores(x * torch.tensor(0.5))


def functional():
    text = Input((None,), dtype=torch.int64, name="text")
    x = layers.Embedding(20, 8, name="words")(text).transpose(1, 2)
    x = layers.Conv1d(8, 8, 3, padding=1, name="conv")(x)
    x = F.relu(layers.BatchNorm1d(8, name="norm")(x)).amax(dim=2)
    shared = layers.Linear(8, 8, name="shared")
    x = layers.Dropout(0.5, name="dropout")(F.relu(shared(shared(x))))
    return Model(text, layers.Linear(8, 3, name="scores")(x * torch.tensor(0.5)))


TEXT = torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(0))


def seeded(module, *args):
    torch.manual_seed(5)
    return module(*args)


def assert_equal(first, second):
    """Both in training and in evaluation."""
    for training in (True, False):
        outputs = [seeded(module.train(training), TEXT) for module in (first, second)]
        assert torch.equal(*outputs)


@pytest.mark.parametrize("from_hand", [True, False])
def test_state_dict_fits_a_module_written_by_hand_with_the_same_names(from_hand):
    source, target = (ByHand(), functional()) if from_hand else (functional(), ByHand())
    assert list(source.state_dict()) == list(target.state_dict())
    target.load_state_dict(source.state_dict())
    assert_equal(source, target)


def test_trains_as_the_module_written_by_hand():
    model, by_hand = functional(), ByHand()
    by_hand.load_state_dict(model.state_dict())
    for module in (model, by_hand):
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
        torch.manual_seed(1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(module(TEXT), torch.tensor([0, 1, 2, 0])).backward()
            optimizer.step()
    for ours, expected in zip(
        model.state_dict().values(), by_hand.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, expected)


def test_state_dict_goes_through_a_file_with_weights_only():
    model, other, file = functional(), functional(), io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert_equal(model, other)


def deep_copied(model):
    return copy.deepcopy(model)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [deep_copied, pickled, saved])
def test_copies_are_equal_and_apart_with_sharing_kept(copied):
    model = functional()
    model(TEXT)
    twin = copied(model)
    assert_equal(model, twin)
    assert (twin.code, twin.input_names, twin.output_names) == (
        model.code, model.input_names, model.output_names
    )  # fmt: skip
    assert twin.nodes == model.nodes
    assert len(list(twin.parameters())) == len(list(model.parameters()))
    with torch.no_grad():
        twin.shared.weight.zero_()
    assert model.shared.weight.any()
    assert not torch.equal(twin.eval()(TEXT), model.eval()(TEXT))


@pytest.mark.parametrize("copied", [deep_copied, pickled])
def test_copies_keep_layers_shared_among_nested_models(copied):
    shared, x = layers.Linear(3, 3, name="shared"), Input((3,))
    inner = Model(x, shared(x), name="inner")
    twin = copied(Model(x, inner(x) + shared(x)))
    assert twin.inner.shared is twin.shared
    with torch.no_grad():
        twin.shared.weight.zero_()
        twin.shared.bias.fill_(1.0)
    assert twin(torch.ones(1, 3)).tolist() == [[2, 2, 2]]


def test_shallow_copy_shares_the_weights():
    model = functional()
    twin = copy.copy(model)
    assert twin.scores is model.scores
    assert twin.forward.__self__ is twin
    assert_equal(model, twin)


def test_models_of_one_graph_are_copied_together():
    x = Input((3,))
    hidden = layers.Linear(3, 3, name="hidden")(x)
    pair = nn.ModuleList([Model(x, hidden), Model(x, hidden * 2)])
    twins = copy.deepcopy(pair)
    assert twins[0].hidden is twins[1].hidden
    assert twins[0].hidden is not pair[0].hidden


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_runs_in_other_precisions(dtype):
    model, by_hand = functional().to(dtype).eval(), ByHand().to(dtype).eval()
    by_hand.load_state_dict(model.state_dict())
    assert model.constant.dtype == dtype
    output = model(TEXT)
    assert output.dtype == dtype
    # the hand-written module multiplies by a number of float32 without data type of its own
    torch.testing.assert_close(output, by_hand(TEXT))


def test_runs_under_autocast():
    model, by_hand = functional().eval(), ByHand().eval()
    by_hand.load_state_dict(model.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(TEXT).dtype == torch.bfloat16
        assert torch.equal(model(TEXT), by_hand(TEXT))


def test_hooks_of_inner_layers_and_of_the_model_run():
    model, calls = functional(), []
    model.shared.register_forward_pre_hook(lambda *_: calls.append("pre"))
    model.shared.register_forward_hook(lambda *_: calls.append("forward"))
    model.shared.register_full_backward_hook(lambda *_: calls.append("backward"))
    model.register_forward_pre_hook(lambda module, args: (args[0][:2],))
    model.register_forward_hook(lambda module, args, output: {"scores": output})
    output = model(TEXT)
    assert output["scores"].shape == (2, 3)
    output["scores"].sum().backward()
    assert calls == ["pre", "forward"] * 2 + ["backward"] * 2


def test_gradients_flow_to_inputs_and_weights():
    x = Input((3,))
    model = Model(x, layers.Linear(3, 1)(x))
    data = torch.ones(2, 3, requires_grad=True)
    model(data).sum().backward()
    assert torch.equal(data.grad, model.linear.weight.detach().expand(2, 3))


def test_layers_can_be_exchanged_and_frozen():
    model = functional()
    model.scores = nn.Linear(8, 5)
    assert model(TEXT).shape == (4, 5)
    model.words.requires_grad_(False)
    model(TEXT).sum().backward()
    assert model.words.weight.grad is None


def test_functional_call_uses_the_weights_given():
    model = functional().eval()
    zeros = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    zeros["scores.bias"] = torch.tensor([1.0, 2.0, 3.0])
    assert functional_call(model, zeros, (TEXT,)).tolist() == [[1, 2, 3]] * 4
    assert functional_call(model, zeros, (), {"text": TEXT}).tolist() == [[1, 2, 3]] * 4


def test_func_transforms_take_models():
    models = [functional().eval() for _ in range(3)]
    params, buffers = stack_module_state(models)
    base = models[0].to("meta")

    def ensemble(params, buffers, text):
        return functional_call(base, (params, buffers), (text,))

    outputs = vmap(ensemble, in_dims=(0, 0, None))(params, buffers, TEXT)
    expected = functional().eval()
    second = {name: value[1] for name, value in (params | buffers).items()}
    second.pop("constant")  # is a buffer, but not saved
    expected.load_state_dict(second)
    # batched and single kernels add up in different orders
    torch.testing.assert_close(outputs[1], expected(TEXT))


def test_func_grad_takes_models():
    x = Input((3,))
    model = Model(x, layers.Linear(3, 1)(x).tanh())
    params, data = dict(model.named_parameters()), torch.randn(5, 3)

    def loss(params, sample):
        return functional_call(model, params, (sample[None],)).sum()

    by_sample = vmap(grad(loss), in_dims=(None, 0))(params, data)
    model(data).sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(by_sample[name].sum(0), weight.grad)


class Classifier(Model):
    """A model as a class of its own."""

    def __init__(self, num_classes):
        x = Input((3,), name="features")
        super().__init__(x, layers.Linear(3, num_classes, name="scores")(x))
        self.temperature = nn.Parameter(torch.tensor(2.0))

    def forward(self, features):
        return super().forward(features) / self.temperature


def test_subclasses_may_add_weights_and_override_forward():
    model = Classifier(4)
    data = torch.randn(2, 3)
    expected = model.scores(data) / 2
    assert torch.equal(model(data), expected)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin) is Classifier
        assert torch.equal(twin(data), expected)
    with pytest.raises(ShapeError, match=r"^Classifier: expected input 'features'"):
        model(torch.zeros(1, 4))


def test_models_move_and_are_put_into_other_modules():
    stack = nn.Sequential(functional(), nn.Softmax(dim=1))
    assert stack.eval()(TEXT).sum(1).sub(1).abs().max() < 1e-6
    assert next(stack.to("meta").parameters()).is_meta
    assert functional().apply(lambda module: module.eval()).norm.training is False


def test_printing_shows_the_layers():
    assert "(scores): Linear(in_features=8, out_features=3, bias=True)" in repr(functional())


def test_deleted_models_are_freed():
    model = functional()
    weight = weakref.ref(model.scores.weight)
    del model
    gc.collect()
    assert weight() is None


def test_models_keep_nothing_of_the_graph_alive():
    x = Input((3,))
    hidden = weakref.ref(y := layers.Linear(3, 3)(x))
    model = Model(x, y * 2)
    del x, y
    gc.collect()
    assert hidden() is None
    assert model(torch.ones(1, 3)).shape == (1, 3)


@pytest.mark.slow
def test_deep_graphs_need_no_deep_stack():
    layer, x = layers.Linear(4, 4), Input((4,))
    y, limit = x, sys.getrecursionlimit()
    for number in range(1500):
        y = (layer if number % 3 else layers.Linear(4, 4))(y)
    y = y + x
    sys.setrecursionlimit(250)
    try:
        model = Model(x, y)
        twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
        data = torch.ones(1, 4)
        outputs = [module(data) for module in (model, *twins)]
        del y
        assert len(list(model.children())) == 501
        assert model.code.count("\n") > 1500
    finally:
        sys.setrecursionlimit(limit)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])


def test_foreign_modules_survive_as_the_layers_do():
    x = Input((6, 4))
    encoder = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    model = Model(x, call(encoder, x, src_key_padding_mask=x[..., 0] > 5)).eval()
    twin, data = pickle.loads(pickle.dumps(model)), torch.randn(2, 6, 4)
    assert torch.equal(twin(data), encoder.eval()(data))
