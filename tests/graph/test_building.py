"""Building a graph leaves everything else as it was: modules, random numbers, torch itself."""

import subprocess
import sys
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from torchbp import Input, Model, Sequential, call, layers
from torchbp.errors import GraphError, TorchbpError


class Everything(nn.Module):
    """A module of all that keeps state, which its forward changes in every way."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.lstm = nn.LSTM(4, 4, batch_first=True, num_layers=2, dropout=0.5)
        self.dropout = nn.Dropout()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4))
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.frozen.weight
        self.register_buffer("steps", torch.zeros(()))
        self.mask = None
        self.seen = []
        self.cache = {"size": 0}

    def forward(self, x):
        if self.mask is None:
            self.mask = torch.ones(x.shape[1], 1)
        self.steps += 1
        self.seen.append(x)
        self.cache["size"] = self.cache["size"] + x.shape[0]
        self.last = x
        x = self.norm(x.transpose(1, 2)).transpose(1, 2) * self.mask + torch.rand(4)
        return self.spectral(self.tied(self.frozen(self.dropout(self.lstm(x)[0]))))


def facts(module):
    """What may not change: tensors by identity, place, version and value; all else by value."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return (
        [(n, id(t), t.data_ptr(), t._version, t.requires_grad, t.grad) for n, t in tensors],
        [(n, t.tolist()) for n, t in tensors],
        [
            (
                name,
                type(part),
                part.training,
                sorted(vars(part)),
                [id(v) for v in vars(part).values()],
            )
            for name, part in module.named_modules()
        ],
        [[id(weight) for weight in part._flat_weights] for part in [module.lstm]],
        (module.mask, list(module.seen), dict(module.cache)),
    )


@pytest.mark.parametrize("training", [True, False])
def test_module_is_the_same_afterwards(training):
    module = Everything().train(training)
    module.dropout.eval()
    before, state = facts(module), torch.get_rng_state()
    call(module, Input((5, 4)))
    assert facts(module) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_module_is_the_same_after_a_failed_build():
    module = Everything()
    before, state = facts(module), torch.get_rng_state()
    for wrong in ((5, 3), (4,), (5, 4, 4)):
        with pytest.raises(TorchbpError):
            call(module, Input(wrong))
    with pytest.raises(TorchbpError):
        call(module, Input((5, 4), dtype=torch.float64))
    assert facts(module) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_module_that_looks_at_data_is_the_same_afterwards():
    class Looks(Everything):
        def forward(self, x):
            y = super().forward(x)
            return y if y.sum() > torch.rand(()) else -y

    module = Looks()
    before, state = facts(module), torch.get_rng_state()
    assert call(module, Input((5, 4))).shape == (None, 5, 4)
    assert facts(module) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_model_as_a_layer_is_the_same_afterwards():
    x = Input((4,))
    inner = Model(x, layers.BatchNorm1d(4)(layers.Dropout()(x)) + torch.ones(4))
    counter, forward = inner.batch_norm1d.num_batches_tracked, inner.forward
    version = counter._version
    inner(Input((4,)))
    assert (counter.item(), counter._version) == (0, version)
    assert inner.forward is forward
    assert not inner.constant.is_meta


def test_modules_on_the_meta_device_are_not_touched():
    module = nn.BatchNorm1d(4, device="meta")
    versions = [tensor._version for tensor in module.state_dict().values()]
    assert call(module, Input((4,))).shape == (None, 4)
    assert [tensor._version for tensor in module.state_dict().values()] == versions


class Allocations(TorchDispatchMode):
    """Counts the bytes of results with data."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if isinstance(output, torch.Tensor) and not output.is_meta:
            is_new = function is not torch.ops.aten.detach.default
            self.bytes += output.nbytes * is_new
        return output


def test_no_weight_is_allocated_twice():
    words, dense = layers.Embedding(1000, 64), layers.Linear(64, 1000)
    with Allocations() as allocations:
        x = Input((None,), dtype=torch.int64)
        Model(x, dense(words(x)))
    assert allocations.bytes < 10_000, "less than a fiftieth of one weight"


def test_models_can_be_built_where_no_data_are():
    with torch.device("meta"):
        x = Input((3,))
        model = Model(x, layers.BatchNorm1d(4)(layers.Linear(3, 4)(x)) * torch.ones(4))
    assert all(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])
    assert model(torch.ones(2, 3, device="meta")).shape == (2, 4)
    real = model.to_empty(device="cpu")
    real.load_state_dict(real.state_dict())
    assert real(torch.ones(2, 3)).shape == (2, 4)


@pytest.mark.parametrize(
    "surroundings",
    [torch.no_grad, torch.enable_grad, torch.inference_mode, lambda: torch.autocast("cpu")],
)
def test_models_can_be_built_in_every_mode(surroundings):
    with surroundings():
        x = Input((3,))
        model = Model(x, layers.Linear(3, 2)(x * torch.ones(3)))
        assert model(torch.ones(1, 3)).shape == (1, 2)
    assert call(nn.Linear(2, 2), model(x)).dtype == torch.float32


def test_default_device_and_dtype_do_not_matter():
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        assert layers.Linear(3, 2)(Input((3,), dtype=torch.float64)).shape == (None, 2)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


UNPATCHED = """
import threading, sys, torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
import torch.fx, torch.func, torch.export
import torch._dynamo  # torch loads it at the first call on the meta device

PLACES = [torch, nn, nn.Module, nn.Linear, nn.Sequential, F, torch.Tensor, torch.linalg, torch.fx,
          torch.fx.Graph, torch.overrides, torch.autograd, torch._C, torch._C._nn]

def snapshot():
    return {(i, name): value
            for i, place in enumerate(PLACES) for name, value in vars(place).items()
            if not name.startswith("__") or callable(value)}

def state():
    return (_get_current_function_mode_stack(), _get_current_dispatch_mode_stack(),
            torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype(),
            torch.get_default_device(), sys.getrecursionlimit(), threading.active_count(),
            torch.initial_seed(), torch.get_rng_state().tolist(), sys.gettrace(),
            len(nn.modules.module._global_forward_hooks))

nn.Linear(2, 2)(torch.ones(1, 2))  # what torch itself sets up at its first call
before, settings = snapshot(), state()
from torchbp import Input, Model, call, layers
x = Input((None, 4), name="x")
y = F.relu(call(nn.LSTM(4, 3, batch_first=True).eval(), x)[0])
before_layers = state()
model = Model(x, [torch.cat([y, y.abs()], dim=-1) + y.shape[1], y[:, 0]])
try:
    F.dropout(x); raise SystemExit("no error")
except ValueError:
    pass
try:
    y + Input((7,))
except ValueError:
    pass
model(torch.ones(1, 2, 4)); model.code; model.to_fx()
after = snapshot()
changed = [key for key in before if after.get(key) is not before[key]]
assert not changed, changed
assert state()[:8] == settings[:8], (state()[:8], settings[:8])
assert state()[8:] == before_layers[8:], "random numbers or traces"
"""


def test_nothing_is_patched_and_no_global_state_stays():
    run = subprocess.run([sys.executable, "-c", UNPATCHED], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_threads_build_with_one_layer_at_once():
    shared = nn.Sequential(*[nn.Linear(8, 8) for _ in range(10)])
    weights = [id(weight) for weight in shared.parameters()]
    failures, built = [], []

    def build():
        try:
            for _ in range(10):
                x = Input((8,))
                built.append(Model(x, call(shared, F.relu(call(shared, x)))))
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=build) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not failures
    assert [id(weight) for weight in shared.parameters()] == weights
    results = [model(torch.ones(1, 8)) for model in built]
    assert all(torch.equal(result, results[0]) for result in results)


def test_hooks_of_modules_are_part_of_what_they_compute():
    linear = nn.Linear(3, 2)
    linear.register_forward_hook(lambda module, args, output: torch.cat([output, output], 1))
    linear.register_forward_pre_hook(lambda module, args: (args[0][:, :3],))
    x = Input((4,))
    assert call(linear, x).shape == (None, 4)
    assert Model(x, call(linear, x))(torch.ones(1, 4)).shape == (1, 4)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weights_that_hooks_compute_keep_their_data(norm):
    linear = norm(nn.Linear(3, 2))
    weight, value = linear.weight, linear.weight.tolist()
    call(linear, Input((3,)))
    assert linear.weight is weight
    assert weight.tolist() == value


def test_compiled_modules_are_layers():
    linear = nn.Linear(3, 2)
    compiled = torch.compile(linear, backend="eager")
    x, data = Input((3,)), torch.ones(2, 3)
    assert torch.equal(Model(x, call(compiled, x))(data), linear(data))


LAZY = [
    (lambda: nn.LazyLinear(4), (None, 3), "weight", (4, 3)),
    (lambda: layers.LazyLinear(4), (3,), "weight", (4, 3)),
    (lambda: nn.LazyConv2d(4, 3), (3, None, None), "weight", (4, 3, 3, 3)),
    (lambda: nn.LazyBatchNorm2d(), (3, None, 8), "running_mean", (3,)),
    (lambda: Sequential(nn.LazyLinear(4), nn.ReLU(), nn.LazyLinear(2)), (3,), "2.weight", (2, 4)),
]


@pytest.mark.parametrize(("make", "shape", "name", "expected"), LAZY)
def test_lazy_modules_are_initialized_once_by_the_shapes(make, shape, name, expected):
    module = make()
    x = Input(shape)
    y = call(module, x)
    weight = module.state_dict(keep_vars=True)[name]
    assert weight.shape == expected
    assert not weight.is_meta
    call(module, Input(shape))
    model = Model(x, y)
    assert module.state_dict(keep_vars=True)[name] is weight
    assert model(torch.ones(2, *(size or 9 for size in shape))).shape[0] == 2


def test_lazy_module_has_the_weights_that_torch_gives_it():
    torch.manual_seed(3)
    expected = nn.LazyLinear(4)
    expected(torch.ones(1, 3))
    torch.manual_seed(3)
    lazy = nn.LazyLinear(4)
    call(lazy, Input((3,)))
    assert type(lazy) is nn.Linear
    assert torch.equal(lazy.weight, expected.weight)
    assert not lazy._forward_pre_hooks


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.LazyLinear(4), (3, None)),
        (nn.LazyConv1d(4, 3), (None, 9)),
        (nn.LazyBatchNorm1d(), (None, 9)),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), (None, 4)),
    ],
)
def test_lazy_weights_of_unknown_size_are_refused(module, shape):
    with pytest.raises(GraphError, match=r"an input that tells the shape of .*weight, got"):
        call(module, Input(shape))
    assert any(nn.parameter.is_lazy(weight) for weight in module.parameters())
    module(torch.ones(2, *(size or 9 for size in shape)))


def test_lazy_modules_stay_lazy_if_the_call_fails():
    stack = Sequential(nn.LazyLinear(4), nn.Linear(5, 5))
    with pytest.raises(TorchbpError):
        stack(Input((3,)))
    assert nn.parameter.is_lazy(stack[0].weight)
    assert isinstance(stack[0], nn.LazyLinear)
