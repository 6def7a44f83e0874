"""What an ejected model is: source that reads, and computes exactly what the model computes."""

import ast
import copy
import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, call, layers
from torchbp.errors import DataError
from torchbp.graph.structure import leaves
from torchbp.layers import recurrent_cells
from torchbp.port.eject import eject
from torchbp.port.eject.modules import creation
from torchbp.port.eject.text import flat

pytest.importorskip("safetensors")


def ejected(model, folder, **options):
    """The module that the files of an ejected model make."""
    eject(model, folder, **options)
    spec = importlib.util.spec_from_file_location("ejected", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load()


def source(folder):
    return (folder / "model.py").read_text()


def randomized(model):
    """With weights and statistics that hide no fault."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("var", "variance")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.is_floating_point() and "constant" not in name and "bias_hh" not in name:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / 3)
    return model


def drawn(model, batch=3, unknown=12):
    generator = torch.Generator().manual_seed(1)
    for node in model.nodes[: len(model.input_names)]:
        size = (batch, *(unknown if n is None else n for n in node.output.shape[1:]))
        if node.output.dtype.is_floating_point:
            yield torch.randn(size, generator=generator)
        else:
            yield torch.randint(0, 2, size, generator=generator).to(node.output.dtype)


def run(model, inputs, dtype, training):
    """Outputs and gradients, with the same random numbers each time."""
    model = copy.deepcopy(model).to(dtype).train(training)
    given = [t.to(dtype).requires_grad_() if t.is_floating_point() else t for t in inputs]
    torch.manual_seed(2)
    outputs = [leaf for leaf in leaves(model(*given)) if isinstance(leaf, torch.Tensor)]
    total = sum((out * torch.randn_like(out)).sum() for out in outputs if out.requires_grad)
    if isinstance(total, torch.Tensor):
        total.backward()
    return model, outputs, [t.grad for t in given if t.requires_grad]


def names_in_port(model, folder):
    """The entries of the ejected state dict, and what they are called in the model."""
    from torchbp.port.eject.source import source_of

    return source_of(model, "Network", torch.float32).keys


def check(model, folder, *, changes=()):
    """The files' module equals the model in outputs, gradients, statistics and parameters."""
    made = ejected(randomized(model), folder)
    keys = names_in_port(model, folder)
    assert sum(p.numel() for p in made.parameters()) == sum(p.numel() for p in model.parameters())
    for dtype in (torch.float32, torch.float64):
        for training in (False, True):
            inputs = list(drawn(model))
            ours, outputs, gradients = run(made, inputs, dtype, training)
            theirs, expected, expected_gradients = run(model, inputs, dtype, training)
            assert len(outputs) == len(expected)
            assert all(map(torch.equal, outputs, expected))
            assert all(map(same, gradients, expected_gradients))
            named = dict(theirs.named_parameters(remove_duplicate=False))
            for name, parameter in ours.named_parameters():
                assert same(parameter.grad, named[keys[name]].grad), name
                assert parameter.requires_grad == named[keys[name]].requires_grad, name
            state = theirs.state_dict()
            for name, tensor in ours.state_dict().items():
                assert torch.equal(tensor, state.get(keys[name], tensor)), name
    return source(folder)


def same(a, b):
    return (a is None and b is None) or torch.equal(a, b)


def of_layer(layer, *shapes, dtype=torch.float32):
    inputs = [Input(shape, dtype) for shape in shapes]
    return Model(inputs, layer(*inputs))


# a layer, the shapes of its inputs, and the source that stands for it
AS_TORCH = [
    (layers.Linear(4, 3), (4,), "nn.Linear(4, 3)"),
    (layers.Linear(4, 3, bias=False), (4,), "nn.Linear(4, 3, bias=False)"),
    (layers.Conv1d(2, 4, 3), (2, 9), "nn.Conv1d(2, 4, 3)"),
    (layers.Conv2d(2, 4, (3, 3), (2, 2)), (2, 9, 9), "nn.Conv2d(2, 4, 3, stride=2)"),
    (layers.Conv2d(2, 4, (3, 2)), (2, 9, 9), "nn.Conv2d(2, 4, (3, 2))"),
    (layers.Conv2d(2, 4, 3, padding="same"), (2, 9, 9), "nn.Conv2d(2, 4, 3, padding=1)"),
    (layers.Conv2d(20, 4, 1, 2, "same"), (20, 9, 9), "nn.Conv2d(20, 4, 1, stride=2)"),
    (layers.Conv2d(2, 4, 3, padding="same", dilation=2), (2, 9, 9), "padding=2, dilation=2"),
    (layers.DepthwiseConv2d(4, 3, multiplier=2), (4, 9, 9), "nn.Conv2d(4, 8, 3, groups=4)"),
    (layers.SeparableConv2d(4, 6, 3, padding="same"), (4, 9, 9), "nn.Sequential("),
    (layers.ConvTranspose2d(2, 4, 3, 2, "valid"), (2, 5, 5), "nn.ConvTranspose2d(2, 4, 3, stride"),
    (layers.ConvTranspose1d(2, 4, 4, 2, "same"), (2, 5), "stride=2, padding=1)"),
    (layers.BatchNorm2d(4, eps=1e-3), (4, 5, 5), "nn.BatchNorm2d(4, eps=0.001)"),
    (layers.BatchNorm1d(4, affine=False), (4,), "nn.BatchNorm1d(4, affine=False)"),
    (layers.LayerNorm(4), (4,), "nn.LayerNorm(4)"),
    (layers.LayerNorm((3, 4)), (3, 4), "nn.LayerNorm((3, 4))"),
    (layers.LayerNorm(4, bias=False), (4,), "nn.LayerNorm(4, bias=False)"),
    (layers.GroupNorm(2, 4), (4, 5), "nn.GroupNorm(2, 4)"),
    (layers.RMSNorm(4), (4,), "nn.RMSNorm(4)"),
    (layers.MaxPool2d((2, 2)), (4, 6, 6), "nn.MaxPool2d(2)"),
    (layers.AvgPool2d((3, 3), (2, 2)), (4, 7, 7), "nn.AvgPool2d(3, stride=2)"),
    (layers.AdaptiveAvgPool2d((2, 3)), (4, 7, 7), "nn.AdaptiveAvgPool2d((2, 3))"),
    (layers.Dropout(0.3), (4,), "nn.Dropout(p=0.3)"),
    (layers.PReLU(4), (4, 5), "nn.PReLU(num_parameters=4)"),
    (layers.Upsample(scale_factor=2), (4, 3), "nn.Upsample(scale_factor=2.0)"),
    (layers.LSTM(4, 3, batch_first=True), (5, 4), "nn.LSTM(4, 3, batch_first=True)"),
    (layers.GRU(4, 3, 2, bidirectional=True), (5, 4), "num_layers=2, bidirectional=True"),
    (layers.RNN(4, 3, nonlinearity="relu"), (5, 4), 'nn.RNN(4, 3, nonlinearity="relu")'),
]

AS_EXPRESSIONS = [
    (layers.ReLU(), [(4,)], "F.relu(x)"),
    (layers.LeakyReLU(0.3), [(4,)], "F.leaky_relu(x, 0.3)"),
    (layers.ELU(), [(4,)], "F.elu(x)"),
    (layers.GELU("tanh"), [(4,)], 'F.gelu(x, approximate="tanh")'),
    (layers.Softmax(dim=-1), [(4,)], "torch.softmax(x, dim=-1)"),
    (layers.Softplus(2.0), [(4,)], "F.softplus(x, beta=2.0)"),
    (layers.Flatten(), [(2, 3)], "x.flatten(1)"),
    (layers.Flatten(1, 2), [(2, 3, 4)], "x.flatten(1, 2)"),
    (layers.Transpose(1, 2), [(2, 3)], "x.transpose(1, 2)"),
    (layers.ZeroPad2d((0, 1, 2, 3)), [(2, 3, 4)], "F.pad(x, (0, 1, 2, 3))"),
    (layers.Crop2d((0, 1, 2, 0)), [(2, 6, 6)], "x[..., 2:, :-1]"),
    (layers.GlobalAvgPool2d(), [(2, 6, 6)], "x.mean((2, 3))"),
    (layers.GlobalMaxPool1d(), [(2, 6)], "x.amax(2)"),
    (layers.Add(), [(4,)] * 3, "input_1 + input_2"),
    (layers.Subtract(), [(4,)] * 2, "input - input_1"),
    (layers.Multiply(), [(4,)] * 2, "input * input_1"),
    (layers.Average(), [(4,)] * 3, "(input_1 + input_2 + input_3) / 3"),
    (layers.Maximum(), [(4,)] * 2, "torch.maximum("),
    (layers.Concat(-1), [(4,)] * 2, "dim=-1)"),
]

FORWARD = recurrent_cells.GRUCell(4, 3, reset_after=False, activation=F.relu)
AS_TORCHBP = [
    (layers.Conv2d(20, 4, 3, 2, "same"), [(20, 9, 9)], 'stride=2, padding="same"'),
    (layers.Conv2d(2, 4, 2, padding="same"), [(2, 9, 9)], "for an even kernel"),
    (layers.Conv2d(2, 4, 1, 2), [(2, 9, 9)], "oneDNN#6035"),
    (layers.Conv1d(2, 4, 3, padding="causal"), [(2, 9)], 'padding="causal"'),
    (layers.DepthwiseConv2d(4, 3, 2, "same"), [(4, 9, 9)], "layers.DepthwiseConv2d(4, 3, stride=2"),
    (layers.SeparableConv2d(4, 6, 3, 2, "same", multiplier=2), [(4, 9, 9)], "multiplier=2"),
    (layers.ConvTranspose2d(2, 4, 3, 2, "same"), [(2, 5, 5)], "layers.ConvTranspose2d("),
    (layers.ConvTranspose1d(2, 4, 4, 1, "same"), [(2, 5)], "layers.ConvTranspose1d("),
    (layers.ConvTranspose1d(2, 4, 4, 2, "same", 1), [(2, 5)], "ConvTranspose1d("),
    (layers.BatchNorm2d(4, biased_running_var=True), [(4, 5, 5)], "biased_running_var=True"),
    (layers.BatchNorm2d(4, frozen=True), [(4, 5, 5)], "frozen=True"),
    (layers.BatchNorm1d(4, scale=False), [(4,)], "layers.BatchNorm1d(4, scale=False)"),
    (layers.MaxPool2d(3, 2, "same"), [(4, 6, 6)], 'layers.MaxPool2d(3, stride=2, padding="same")'),
    (layers.AvgPool1d(3, 1, "same"), [(4, 6)], "layers.AvgPool1d("),
    (layers.LSTM(4, 3, batch_first=True, single_bias=True, last_output=True), [(5, 4)], "one"),
    (layers.Dot(1, normalize=True), [(4,), (4,)], "layers.Dot(1, normalize=True)"),
    (layers.CellRNN(FORWARD), [(5, 4)], "reset_after=False"),
    (
        layers.BidirectionalRNN(
            layers.MaskedRNN(layers.GRU(4, 3, batch_first=True), dropout=0.1),
            layers.MaskedRNN(layers.GRU(4, 3, batch_first=True), dropout=0.1),
            "sum",
        ),
        [(5, 4)],
        'merge="sum"',
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape", "expected"), AS_TORCH, ids=lambda x: str(x)[:40])
def test_layer_that_torch_has(layer, shape, expected, tmp_path):
    text = check(of_layer(copy.deepcopy(layer), shape), tmp_path)
    assert expected in text
    assert "torchbp" not in text


@pytest.mark.parametrize(("layer", "shapes", "expected"), AS_EXPRESSIONS, ids=lambda x: str(x)[:40])
def test_layer_without_weights_is_an_expression(layer, shapes, expected, tmp_path):
    inputs = [Input(shape, name=f"input_{i}") for i, shape in enumerate(shapes, 1)]
    if len(shapes) == 2:
        inputs = [Input(shapes[0], name="input"), Input(shapes[1], name="input_1")]
    text = check(Model(inputs, copy.deepcopy(layer)(*inputs)), tmp_path)
    assert expected in text
    assert "torchbp" not in text


@pytest.mark.parametrize(("layer", "shapes", "expected"), AS_TORCHBP, ids=lambda x: str(x)[:40])
def test_layer_that_torch_lacks_says_why(layer, shapes, expected, tmp_path):
    text = check(of_layer(copy.deepcopy(layer), *shapes), tmp_path)
    assert expected in text


GROUPED = {"num_kv_heads": 2, "kdim": 5, "vdim": 6, "bias": False, "gate": True}
REBUILT = [
    layers.BahdanauAttention(4, scale=False),
    layers.LuongAttention(),
    layers.Einsum("abc,cd->abd", (3, 4)),
    layers.PReLUOver((3,), 0.1),
    layers.LayerNormOver((3, 4), (1, 2), shift=False),
    layers.Standardize((3,), (1,), invert=True),
    layers.GroupedQueryAttention(8, 4, 3, **GROUPED),
    layers.GroupedQueryAttention(8, 2, 4, value_head_dim=5, out_features=3),
    layers.RandomRotation((-0.1, 0.2), "constant", value=0.5),
    layers.Resize((3, 4), "nearest"),
]


@pytest.mark.parametrize("layer", REBUILT, ids=lambda x: str(x)[:40])
def test_layer_is_made_again_from_its_attributes(layer):
    made = creation(layer)
    again = eval(flat(made.call()), {"layers": layers})
    assert repr(again) == repr(layer)
    assert again.state_dict().keys() == layer.state_dict().keys()
    assert made.why == f"{type(layer).__name__}, which torch does not have"


def test_attention_and_embedding(tmp_path):
    words = Input((None,), torch.int64, "words")
    x = layers.Embedding(10, 8)(words)
    attention = layers.MultiheadAttention(8, 2, batch_first=True)
    output, weights = attention(x, x, x)
    text = check(Model(words, [output, weights]), tmp_path)
    assert "nn.MultiheadAttention(8, 2, batch_first=True)" in text
    assert "-> list[Tensor]" in text


def test_inputs_and_outputs_have_names(tmp_path):
    user, item = Input((4,), name="user"), Input((6,), name="item")
    x = layers.Linear(10, 8, name="hidden")(layers.Concat()(user, item))
    shared = layers.Linear(8, 1, name="score")
    outputs = {"score": shared(F.relu(x)), "raw": shared(x)}
    text = check(Model([user, item], outputs, name="rating"), tmp_path)
    assert "class Rating(nn.Module):" in text
    assert "def forward(self, user: Tensor, item: Tensor) -> dict[str, Tensor]:" in text
    assert text.count("nn.Linear(8, 1)") == 1


def tower(name):
    x = Input((4,))
    return Model(x, F.relu(layers.Linear(4, 3, name="hidden")(x)), name=name)


def test_models_in_a_model_are_classes(tmp_path):
    a, b = Input((4,), name="a"), Input((4,), name="b")
    first, second = tower("first"), tower("second")
    text = check(Model([a, b], layers.Add()(first(a), second(b), first(b))), tmp_path)
    assert "class First(nn.Module):" in text
    assert "self.second = Second()" in text
    assert text.count("First()") == 1


def test_layer_in_two_models_stays_one(tmp_path):
    x = Input((4,))
    layer = layers.Linear(4, 4, name="both")
    p, q = Input((4,)), Input((4,))
    first, second = Model(p, layer(p), name="first"), Model(q, F.relu(layer(q)), name="second")
    model = Model(x, layer(second(first(x))))
    text = check(model, tmp_path)
    assert "# one layer in two places" in text
    made = ejected(model, tmp_path)
    assert made.first.both is made.second.both
    assert made.first.both is made.both


@pytest.mark.parametrize("num_values", [3, 100])
def test_constants(num_values, tmp_path):
    x = Input((num_values,))
    scale = torch.linspace(0.1, 2.0, num_values)
    offsets = torch.arange(num_values * 2).reshape(2, -1)
    y = x * scale + torch.full((num_values,), 0.3) + offsets.sum(0)
    text = check(Model(x, layers.Linear(num_values, 2)(y)), tmp_path)
    assert ("in the file of weights" in text) == (num_values > 32)
    assert "torch.full((" in text


def test_what_is_not_trained_stays_so(tmp_path):
    x = Input((4,))
    frozen, partly = layers.Linear(4, 4, name="frozen"), layers.Linear(4, 4, name="partly")
    model = Model(x, layers.Linear(4, 2)(partly(frozen(x))))
    frozen.requires_grad_(False)
    partly.bias.requires_grad_(False)
    text = check(model, tmp_path)
    assert "self.frozen = nn.Linear(4, 4).requires_grad_(False)" in text
    assert "self.partly.bias.requires_grad_(False)" in text


def test_several_values_of_a_layer(tmp_path):
    x = Input((5, 4))
    output, (_, cell) = layers.LSTM(4, 3, batch_first=True, name="lstm")(x)
    values, _ = torch.max(output, dim=1)
    text = check(Model(x, [values, cell[0], output[:, -1]]), tmp_path)
    assert "lstm" in text


def test_float64_model_is_loaded_as_one(tmp_path):
    x = Input((4,), torch.float64)
    model = Model(
        x,
        layers.Linear(4, 2, dtype=torch.float64)(
            x * torch.tensor([0.1] * 3 + [0.2], dtype=torch.float64)
        ),
    )
    made = ejected(model, tmp_path)
    assert {p.dtype for p in made.parameters()} == {torch.float64}
    inputs = torch.randn(3, 4, dtype=torch.float64)
    assert torch.equal(made(inputs), model(inputs))


def residual_net(depth=4, widths=(8, 16), gates=False):
    x = image = Input((3, 16, 16), name="image")
    x = layers.Conv2d(3, widths[0], 3, padding="same", name="stem")(x)
    for stage, width in enumerate(widths):
        for block in range(depth):
            name = f"stage{stage}_block{block}_"
            width_in = x.shape[1]
            y = layers.BatchNorm2d(width_in, biased_running_var=True, name=name + "bn")(x)
            y = layers.Conv2d(width_in, 4 * width, 1, name=name + "expand")(F.relu(y))
            if gates:
                z = layers.Linear(4 * width, width, name=name + "se_squeeze")(y.mean((2, 3)))
                z = layers.Linear(width, 4 * width, name=name + "se_excite")(F.relu(z))
                y = y * torch.sigmoid(z).unflatten(1, (4 * width, 1, 1))
            y = layers.Conv2d(4 * width, width, 3, padding="same", name=name + "project")(y)
            x = layers.Add()(x, y) if width == width_in else y
    x = layers.GlobalAvgPool2d()(x)
    return Model(image, layers.Linear(widths[-1], 2, name="scores")(x), name="small_net")


def test_repeated_blocks_are_a_class(tmp_path):
    model = residual_net()
    text = check(model, tmp_path)
    assert text.count("class ResidualBlock(nn.Module):") == 1
    assert len(text.splitlines()) < 75
    assert "*(ResidualBlock(8) for _ in range(4)),  # (N, 8, 16, 16)" in text
    check(residual_net(gates=True), tmp_path)
    assert "class Gate(nn.Module):" in source(tmp_path)
    assert "self.se = Gate(" in source(tmp_path)


def test_blocks_with_numbers_in_their_calls(tmp_path):
    x = image = Input((24,), name="vector")
    for width in (24, 12, 24, 48, 12):
        y = layers.Linear(x.shape[1], width)(x)
        y = F.relu(layers.Linear(width, width)(y))
        x = (y.unflatten(1, (width // 6, 6)).transpose(1, 2).flatten(1) + y) * 0.5
        x = layers.Linear(width, width)(x)
    text = check(Model(image, x), tmp_path)
    assert "self." in text


def test_rows_of_equal_layers_do_not_become_silly(tmp_path):
    x = image = Input((4,), name="x")
    for _ in range(3):
        x = F.relu(layers.Linear(4, 4)(x))
    text = check(Model(image, x), tmp_path)
    assert text.count("class ") == 1


@pytest.mark.parametrize("hidden", [(16, 24), (16, 36), (16, 20)])
def test_sizes_in_blocks_that_are_no_multiples(hidden, tmp_path):
    x = image = Input((8,), name="x")
    for number, (width, inner) in enumerate(zip((8, 12) * 2, hidden * 2, strict=True)):
        y = layers.Linear(x.shape[1], width, name=f"block{number}_in")(x)
        z = F.relu(layers.Linear(width, inner, name=f"block{number}_up")(y))
        z = F.relu(layers.Linear(inner, inner, name=f"block{number}_on")(z))
        x = y + layers.Linear(inner, width, name=f"block{number}_down")(z)
    assert "class ShortcutBlock(nn.Module):" in check(Model(image, x), tmp_path)


def test_runs_with_a_second_value_from_outside_are_no_blocks(tmp_path):
    x = image = Input((8,), name="x")
    for number in range(4):
        y = F.relu(layers.Linear(8, 8, name=f"block{number}_a")(x))
        y = F.relu(layers.Linear(8, 8, name=f"block{number}_b")(y * image))
        x = x + layers.Linear(8, 8, name=f"block{number}_c")(y)
    check(Model(image, x), tmp_path)


def test_runs_of_the_same_layers_that_are_wired_otherwise_are_other_blocks(tmp_path):
    x = image = Input((8,), name="x")
    for number in range(6):
        y = F.relu(layers.Linear(8, 8, name=f"block{number}_a")(x))
        z = F.relu(layers.Linear(8, 8, name=f"block{number}_b")(y))
        z = layers.Linear(8, 8, name=f"block{number}_c")(z)
        x = (x if number % 2 else y) + z
    text = check(Model(image, x), tmp_path)
    assert "class ResidualBlock(nn.Module):" in text
    assert "class ShortcutBlock(nn.Module):" in text


EXPRESSIONS = [
    "a - (b - c)", "(a - b) - c", "a / (b * c)", "(a + b) * c", "-(a**2)", "(-a) ** b", "a**-b",
    "2 ** (a + b)", "(a**b) ** c", "~a & b", "(a < b) & c", "a[:, -1]", "a[b + 1 :]",
    "a[..., None]", "a[(1,)]", "(a + b).mean((2, 3))", "f(*a)", "(a,)", "{'a': b}",
    "a @ (b @ c)", "(1).real",
]  # fmt: skip


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_text_of_an_expression_is_that_expression(text):
    tree = ast.parse(text, mode="eval").body
    assert ast.dump(ast.parse(flat(tree), mode="eval").body) == ast.dump(tree)


def everything():
    models = {"residual": residual_net(), "gated": residual_net(gates=True)}
    for layer, shape, _ in AS_TORCH:
        models[type(layer).__name__] = of_layer(copy.deepcopy(layer), shape)
    for layer, shapes, _ in AS_TORCHBP:
        models[f"own {type(layer).__name__}"] = of_layer(copy.deepcopy(layer), *shapes)
    return models


def test_files_are_formatted_and_right(tmp_path):
    ruff = pytest.importorskip("ruff")
    for number, model in enumerate(everything().values()):
        eject(model, tmp_path / str(number))
    run = [ruff.find_ruff_bin(), "format", "--isolated", "--line-length=100", "--diff", "."]
    formatted = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert formatted.returncode == 0, formatted.stdout
    rules = "--select=E,F,I,UP,B,RUF,D"
    quiet = "--ignore=D1,D203,D213"
    run = [run[0], "check", "--isolated", "--line-length=100", rules, quiet, "."]
    checked = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_its_own_test_passes_without_torchbp(tmp_path):
    x = Input((2, 8, 8), name="image")
    y = F.relu(layers.Conv2d(2, 4, 3, padding="same")(x))
    model = Model(x, layers.Linear(4, 3)(layers.GlobalAvgPool2d()(y)), name="tiny")
    eject(model, tmp_path)
    (tmp_path / "torchbp.py").write_text("raise ImportError('torchbp is not here')")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "3 passed" in result.stdout, result.stdout
    assert sorted(path.name for path in tmp_path.glob("*.*")) == [
        "model.py", "model.safetensors", "test_data.safetensors", "test_model.py", "torchbp.py",
    ]  # fmt: skip


def test_its_own_test_sees_a_fault(tmp_path):
    eject(residual_net(), tmp_path)
    text = source(tmp_path)
    (tmp_path / "model.py").write_text(text.replace("return x + ", "return x - "))
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 2 passed" in result.stdout, result.stdout


class Secret(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.linear = nn.Linear(size + 1, 2)

    def forward(self, x):
        return self.linear(F.pad(x, (0, 1)))


def test_module_that_cannot_be_written_is_named(tmp_path):
    x = Input((4,))
    with pytest.raises(DataError, match="Secret"):
        eject(Model(x, call(Secret(4), x)), tmp_path / "a")
    with pytest.raises(DataError, match=r"functions of torch, got .*squared"):
        eject(Model(x, call(squared, x)), tmp_path / "b")
    assert not list(tmp_path.iterdir())


def squared(x):
    return x * x


class Lying(nn.Module):
    def __init__(self, factor=1.0):
        super().__init__()
        self.factor, self.used = 1.0, factor

    def forward(self, x):
        return x * self.used


def test_source_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    module = type(sys)("lying")
    module.Lying = Lying
    monkeypatch.setitem(sys.modules, "lying", module)
    monkeypatch.setattr(Lying, "__module__", "lying")
    x = Input((4,))
    eject(Model(x, call(Lying(), x)), tmp_path / "a")
    with pytest.raises(DataError, match="got another output 0"):
        eject(Model(x, call(Lying(2.0), x)), tmp_path / "b")
    assert not (tmp_path / "b").exists()
