"""The optimizers: torch's numbers with the options off, the written formulas with them on."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from torchbp.errors import DataError, DtypeError
from torchbp.optim import SGD, Adam, RMSprop, per_lookup_squares

SCALES = (1e-4, 1.0, 1e3)
LRS = [0.1 / (1 + t) for t in range(12)]


def make_params(dtype=torch.float64, device="cpu"):
    """Three weights whose gradients differ by seven orders of magnitude."""
    generator = torch.Generator().manual_seed(1)
    return [
        nn.Parameter(torch.randn(shape, generator=generator).to(device, dtype))
        for shape in ((3, 2), (4,), (2, 2, 2))
    ]


NUM_STEPS = len(LRS)


def make_grads(steps=NUM_STEPS):
    generator = np.random.default_rng(2)
    shapes = ((3, 2), (4,), (2, 2, 2))
    return [
        [generator.normal(size=shape) * scale for shape, scale in zip(shapes, SCALES, strict=True)]
        for _ in range(steps)
    ]


def train(optimizer, params, grads=None, lrs=LRS):
    for lr, step_grads in zip(lrs, grads or make_grads(), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = lr
        for param, grad in zip(params, step_grads, strict=True):
            param.grad = torch.as_tensor(grad).to(param)
        optimizer.step()
    return params


def by_formula(formula):
    """Every weight after the steps of `formula(w, g, lr, t, memory)`, in numpy."""
    weights = [param.detach().numpy().copy() for param in make_params()]
    memories = [{} for _ in weights]
    for t, (lr, grads) in enumerate(zip(LRS, make_grads(), strict=True), start=1):
        for i, grad in enumerate(grads):
            weights[i] = formula(weights[i], grad, lr, t, memories[i])
    return weights


def assert_follows(optimizer_class, options, formula):
    params = make_params()
    train(optimizer_class(params, lr=0.1, **options), params)
    for param, expected in zip(params, by_formula(formula), strict=True):
        np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-12)


SAME_AS_TORCH = [
    (SGD, {}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "dampening": 0.3}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "maximize": True}),
    (RMSprop, {}),
    (RMSprop, {"momentum": 0.9, "weight_decay": 0.1}),
    (RMSprop, {"centered": True, "alpha": 0.9, "maximize": True}),
    (Adam, {}),
    (Adam, {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    (Adam, {"amsgrad": True, "maximize": True}),
    (Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
]


@pytest.mark.parametrize(("ours", "options"), SAME_AS_TORCH)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_is_torchs_optimizer_with_the_options_off(ours, options, dtype):
    theirs = getattr(torch.optim, ours.__name__)
    params, expected = make_params(dtype), make_params(dtype)
    train(ours(params, lr=0.1, **options), params)
    train(theirs(expected, lr=0.1, foreach=True, **options), expected)
    for param, wanted in zip(params, expected, strict=True):
        torch.testing.assert_close(param, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("ours", [SGD, RMSprop, Adam])
def test_defaults_are_torchs(ours):
    theirs = getattr(torch.optim, ours.__name__)(make_params()).defaults
    assert {name: ours(make_params()).defaults[name] for name in theirs} == theirs


def sgd(momentum, nesterov):
    def formula(w, g, lr, t, memory):
        memory["m"] = momentum * memory.get("m", 0) - lr * g
        return w + (momentum * memory["m"] - lr * g if nesterov else memory["m"])

    return formula


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_keeps_the_lr_in_the_momentum(nesterov):
    options = {"momentum": 0.9, "nesterov": nesterov, "lr_in_momentum": True}
    assert_follows(SGD, options, sgd(0.9, nesterov))


def test_sgd_with_lr_in_momentum_parts_from_torch_only_when_lr_changes():
    results = {}
    for lr_in_momentum in (False, True):
        for lrs in ((0.1,) * len(LRS), tuple(LRS)):
            params = make_params()
            optimizer = SGD(params, momentum=0.9, lr_in_momentum=lr_in_momentum)
            results[lr_in_momentum, lrs[-1]] = train(optimizer, params, lrs=lrs)[1].detach()
    torch.testing.assert_close(results[True, 0.1], results[False, 0.1], rtol=1e-12, atol=0)
    assert (results[True, LRS[-1]] - results[False, LRS[-1]]).abs().max() > 0.01


def rmsprop(alpha, eps, momentum, centered):
    def formula(w, g, lr, t, memory):
        memory["v"] = alpha * memory.get("v", 0) + (1 - alpha) * g**2
        memory["a"] = alpha * memory.get("a", 0) + (1 - alpha) * g
        variance = memory["v"] - memory["a"] ** 2 if centered else memory["v"]
        memory["m"] = momentum * memory.get("m", 0) + lr * g / np.sqrt(variance + eps)
        return w - memory["m"]

    return formula


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_takes_eps_into_the_root_and_lr_into_the_momentum(momentum, centered):
    options = {"alpha": 0.9, "eps": 1e-7, "momentum": momentum, "centered": centered}
    follows = {"eps_in_sqrt": True, "lr_in_momentum": True}
    assert_follows(RMSprop, options | follows, rmsprop(0.9, 1e-7, momentum, centered))


def adam(betas, eps, amsgrad):
    def formula(w, g, lr, t, memory):
        memory["m"] = betas[0] * memory.get("m", 0) + (1 - betas[0]) * g
        memory["v"] = betas[1] * memory.get("v", 0) + (1 - betas[1]) * g**2
        memory["max"] = np.maximum(memory.get("max", 0), memory["v"])
        step_size = lr * math.sqrt(1 - betas[1] ** t) / (1 - betas[0] ** t)
        return w - step_size * memory["m"] / (np.sqrt(memory["max" if amsgrad else "v"]) + eps)

    return formula


@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_adds_eps_before_the_bias_correction(amsgrad):
    options = {"betas": (0.9, 0.99), "eps": 1e-5, "amsgrad": amsgrad}
    assert_follows(
        Adam, options | {"eps_before_correction": True}, adam((0.9, 0.99), 1e-5, amsgrad)
    )


def test_adam_with_eps_before_correction_is_torchs_with_a_scaled_eps():
    params, expected = make_params(), make_params()
    theirs = torch.optim.Adam(expected, lr=0.1)
    for t, grads in enumerate(make_grads(), start=1):
        theirs.param_groups[0]["eps"] = 1e-4 / math.sqrt(1 - 0.999**t)
        train(theirs, expected, [grads], [0.1])
    train(Adam(params, eps=1e-4, eps_before_correction=True), params, lrs=(0.1,) * len(LRS))
    for param, wanted in zip(params, expected, strict=True):
        torch.testing.assert_close(param, wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("ours", [SGD, RMSprop, Adam])
def test_decoupled_decay_shrinks_the_weight_by_lr_times_decay_before_the_update(ours):
    plain, decayed = make_params(), make_params()
    with torch.no_grad():
        for param in plain:
            param.mul_(1 - 0.1 * 0.5)
    train(ours(plain), plain, make_grads(1), [0.1])
    train(
        ours(decayed, weight_decay=0.5, decoupled_weight_decay=True), decayed, make_grads(1), [0.1]
    )
    for param, expected in zip(decayed, plain, strict=True):
        torch.testing.assert_close(param, expected, rtol=1e-12, atol=0)


EVERY_OPTION = [
    (SGD, {"momentum": 0.9, "lr_in_momentum": True, "decoupled_weight_decay": True}),
    (RMSprop, {"momentum": 0.9, "centered": True, "eps_in_sqrt": True, "lr_in_momentum": True}),
    (Adam, {"amsgrad": True, "eps_before_correction": True}),
]


@pytest.mark.parametrize(("ours", "options"), EVERY_OPTION)
@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
def test_a_saved_optimizer_goes_on_as_if_never_interrupted(ours, options, how):
    grads, whole = make_grads(), make_params()
    train(ours(whole, **options), whole, grads)
    params = make_params()
    optimizer = ours(params, **options)
    train(optimizer, params, grads[:5], LRS[:5])
    if how == "state_dict":
        params = [nn.Parameter(param.detach().clone()) for param in params]
        resumed = ours(params)
        resumed.load_state_dict(optimizer.state_dict())
    else:
        copied = copy.deepcopy if how == "deepcopy" else lambda x: pickle.loads(pickle.dumps(x))
        resumed, params = copied((optimizer, params))
    train(resumed, params, grads[5:], LRS[5:])
    for param, expected in zip(params, whole, strict=True):
        torch.testing.assert_close(param, expected, rtol=0, atol=0)


@pytest.mark.parametrize("ours", [SGD, RMSprop, Adam])
@pytest.mark.parametrize("to_torch", [False, True])
def test_state_moves_from_and_to_torchs_optimizer(ours, to_torch):
    theirs = getattr(torch.optim, ours.__name__)
    first, second = (ours, theirs) if to_torch else (theirs, ours)
    options = {} if ours is Adam else {"momentum": 0.9}
    grads, params, expected = make_grads(), make_params(), make_params()
    train(theirs(expected, **options), expected, grads)
    optimizer = first(params, **options)
    train(optimizer, params, grads[:5], LRS[:5])
    resumed = second(params, **options)
    resumed.load_state_dict(optimizer.state_dict())
    train(resumed, params, grads[5:], LRS[5:])
    for param, wanted in zip(params, expected, strict=True):
        torch.testing.assert_close(param, wanted, rtol=1e-12, atol=0)


def test_options_are_those_of_the_group():
    first, second, third = make_params()
    optimizer = Adam(
        [{"params": [first], "eps_before_correction": False}, {"params": [second]}],
        eps_before_correction=True,
    )
    optimizer.add_param_group({"params": [third]})
    assert [g["eps_before_correction"] for g in optimizer.param_groups] == [False, True, True]
    train(optimizer, [first, second, third])


@pytest.mark.parametrize("ours", [SGD, RMSprop, Adam])
def test_closure_runs_with_gradients_and_its_loss_is_returned(ours):
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer = ours([weight], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert weight.item() < 2.0


@pytest.mark.parametrize("ours", [SGD, RMSprop, Adam])
def test_a_parameter_without_gradient_stays_and_gets_no_state(ours):
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = ours([used, unused], weight_decay=0.1, decoupled_weight_decay=True)
    used.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2))
    assert unused not in optimizer.state
    assert not torch.equal(used, torch.ones(2))


def test_gradients_are_left_as_they_were():
    weight = nn.Parameter(torch.ones(2))
    optimizer = SGD([weight], momentum=0.9, nesterov=True, weight_decay=0.1, maximize=True)
    weight.grad = torch.full((2,), 3.0)
    optimizer.step()
    assert torch.equal(weight.grad, torch.full((2,), 3.0))


def test_follows_a_schedule_and_calls_hooks_once():
    torch.optim.SGD(make_params())  # creating torch's class must not add a second round of hooks
    weight = nn.Parameter(torch.zeros(1))
    optimizer = SGD([weight], lr=1.0)
    calls = []
    optimizer.register_step_post_hook(lambda *_: calls.append(1))
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    for _ in range(3):
        weight.grad = torch.ones(1)
        optimizer.step()
        schedule.step()
    assert weight.item() == -(1 + 0.5 + 0.25)
    assert len(calls) == 3


def test_a_tensor_lr_is_its_number():
    params, expected = make_params(), make_params()
    train(Adam(params), params, lrs=[torch.tensor(lr, dtype=torch.float64) for lr in LRS])
    train(Adam(expected), expected)
    assert all(torch.equal(a, b) for a, b in zip(params, expected, strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Embedding(3, 2, sparse=True)(torch.tensor([1])).sum(),
        lambda: nn.Parameter(torch.ones(2, dtype=torch.complex64)).abs().sum(),
    ],
    ids=["sparse", "complex"],
)
def test_refuses_gradients_it_has_no_formula_for(make):
    loss = make()
    leaf = loss.grad_fn.next_functions[0][0].next_functions[0][0].variable
    loss.backward()
    with pytest.raises(DtypeError, match=r"expected dense real gradients[\s\S]*sparse=False"):
        SGD([leaf]).step()


@pytest.mark.gpu
@pytest.mark.parametrize(("ours", "options"), EVERY_OPTION)
def test_steps_on_cuda_as_on_the_cpu_without_waiting_for_it(ours, options):
    params, expected = make_params(device="cuda"), make_params()
    train(ours(expected, **options), expected)
    grads = [[torch.as_tensor(g, device="cuda") for g in step] for step in make_grads()]
    torch.cuda.set_sync_debug_mode("error")
    try:
        train(ours(params, **options), params, grads)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for param, wanted in zip(params, expected, strict=True):
        torch.testing.assert_close(param.cpu(), wanted, rtol=1e-10, atol=1e-12)


# Per-look-up squares


class TwoTables(nn.Module):
    """One table called twice and shared with a second module, and another one."""

    def __init__(self):
        super().__init__()
        self.words, self.tags = nn.Embedding(5, 2), nn.Embedding(3, 2)
        self.same_words = nn.Embedding(5, 2)
        self.same_words.weight = self.words.weight
        self.double()

    def forward(self, left, right, tags):
        found = (self.words(left), self.words(right), self.same_words(left), self.tags(tags))
        return [part.tanh().sum(1) * (i + 1) for i, part in enumerate(found)]


LOOKUPS = (torch.tensor([[1, 1, 3]]), torch.tensor([[3, 0, 1]]), torch.tensor([[2, 2, 2]]))


def squares_by_hand(model):
    """One look-up after another: gradient of k * tanh(w) is k * (1 - tanh(w)**2)."""
    squares = {
        name: np.zeros(model.get_parameter(name).shape) for name in ("words.weight", "tags.weight")
    }
    left, right, tags = (ids.flatten().tolist() for ids in LOOKUPS)
    calls = [("words", left, 1), ("words", right, 2), ("words", left, 3), ("tags", tags, 4)]
    for table, ids, factor in calls:
        weight = model.get_parameter(f"{table}.weight").detach().numpy()
        for i in ids:
            squares[f"{table}.weight"][i] += (factor * (1 - np.tanh(weight[i]) ** 2)) ** 2
    return squares


def backward(model):
    sum(part.sum() for part in model(*LOOKUPS)).backward()


def test_squares_of_every_look_up_add_up_over_calls_and_shared_tables():
    model = TwoTables()
    with per_lookup_squares(model):
        backward(model)
        for name, expected in squares_by_hand(model).items():
            np.testing.assert_allclose(
                model.get_parameter(name).lookup_squares, expected, rtol=1e-12
            )


@pytest.mark.parametrize("ours", [RMSprop, Adam])
def test_second_moment_is_made_of_the_squares_and_starts_anew_at_each_step(ours):
    model, slot = TwoTables(), "square_avg" if ours is RMSprop else "exp_avg_sq"
    decay = {"alpha": 0.75} if ours is RMSprop else {"betas": (0.5, 0.75)}
    optimizer = ours(model.parameters(), lr=0.01, **decay)
    second = dict.fromkeys(("words.weight", "tags.weight"), 0.0)
    with per_lookup_squares(model):
        for _ in range(3):
            for name, squares in squares_by_hand(model).items():
                second[name] = 0.75 * second[name] + 0.25 * squares
            optimizer.zero_grad()
            backward(model)
            optimizer.step()
    for name, expected in second.items():
        moment = optimizer.state[model.get_parameter(name)][slot]
        np.testing.assert_allclose(moment.numpy(), expected, rtol=1e-12)


def test_look_ups_without_duplicates_change_nothing():
    updated = []
    for watched in (False, True):
        torch.manual_seed(0)
        table = nn.Embedding(4, 2)
        handle = per_lookup_squares(table) if watched else None
        table(torch.tensor([0, 2])).square().sum().backward()
        Adam(table.parameters()).step()
        updated.append(table.weight.detach())
        if handle:
            handle.close()
    assert torch.equal(*updated)


def test_backward_passes_before_a_step_add_up_and_zero_grad_starts_again():
    table = nn.Embedding(2, 1)
    ids = torch.tensor([1, 1])
    with per_lookup_squares(table):
        table(ids).sum().backward()
        table(ids).sum().backward()
        assert table.weight.lookup_squares[1].item() == 4
        table.zero_grad()
        table(ids).sum().backward()
        assert table.weight.lookup_squares[1].item() == 2


def test_padding_row_has_no_squares():
    table = nn.Embedding(2, 1, padding_idx=0)
    with per_lookup_squares(table):
        table(torch.tensor([0, 1])).sum().backward()
        assert table.weight.lookup_squares.flatten().tolist() == [0, 1]


def test_coupled_decay_makes_the_gradient_dense():
    table = nn.Embedding(2, 1)
    optimizer = RMSprop(table.parameters(), alpha=0.5, weight_decay=0.1)
    with per_lookup_squares(table):
        expected = 0.5 * (2 + 0.1 * table.weight[1].item()) ** 2
        table(torch.tensor([1, 1])).sum().backward()
        optimizer.step()
        assert table.weight.lookup_squares is None
    assert optimizer.state[table.weight]["square_avg"][1].item() == pytest.approx(expected)


def test_close_leaves_the_model_as_it_was():
    model = TwoTables()
    before = {name: dict(vars(module)) for name, module in model.named_modules()}
    handle = per_lookup_squares(model)
    loss = sum(part.sum() for part in model(*LOOKUPS))
    handle.close()
    loss.backward()
    assert not any(hasattr(param, "lookup_squares") for param in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(vars(module).keys() == before[name].keys() for name, module in model.named_modules())


def test_a_table_is_watched_once():
    table = nn.Embedding(2, 1)
    with per_lookup_squares(table), pytest.raises(DataError, match="open handle"):
        per_lookup_squares(nn.Sequential(table))
    with per_lookup_squares(table):
        table(input=torch.tensor([1])).sum().backward()
        assert table.weight.lookup_squares[1].item() == 1


@torch.no_grad()
def test_inference_is_not_watched():
    table = nn.Embedding(2, 1)
    with per_lookup_squares(table):
        table(torch.tensor([1]))
        assert table.weight.lookup_squares is None
