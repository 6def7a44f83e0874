"""What cannot be part of a graph, and what the error says."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from torchbp import Input, Model, Sequential, call, layers
from torchbp.errors import DtypeError, GraphError, ShapeError

DATA = "needs data, and a graph has none while it is built.*use torch.where, or put"


def raises(kind, message):
    return pytest.raises(kind, match=f"(?s){message}")


def test_unreachable_output_names_the_missing_input_and_the_path():
    image, caption = Input((8,), name="image"), Input((5,), name="caption")
    read = layers.Linear(5, 8, name="reader")(caption)
    score = layers.Linear(8, 1, name="score")(F.relu(read) * image)
    message = (
        r"Model: the output 'score' cannot be computed from the inputs \['image'\]: it depends on "
        r"the input 'caption', which is not among them\."
        r"\n  The path: caption \(None, 5\) -> reader \(None, 8\) -> relu \(None, 8\) -> "
        r"mul \(None, 8\) -> score \(None, 1\)\."
        r"\n  To mend it: add 'caption' to inputs\.$"
    )
    with raises(GraphError, message):
        Model(image, [image, score])


def test_two_layers_of_one_name_are_refused():
    x = Input((3,))
    y = layers.Linear(3, 3, name="same")(layers.Linear(3, 3, name="same")(x))
    with raises(GraphError, "two different layers or inputs are named 'same'.*another name"):
        Model(x, y)


def test_layer_with_the_name_of_an_input_is_refused():
    x = Input((3,), name="same")
    with raises(GraphError, "two different layers or inputs are named 'same'"):
        Model(x, layers.Linear(3, 3, name="same")(x))


def test_function_with_the_name_of_a_layer_is_refused():
    x = Input((3,))
    y = call(torch.relu, layers.Linear(3, 3, name="same")(x), name="same")
    with raises(GraphError, "two different layers or inputs are named 'same'"):
        Model(x, y)


def test_two_inputs_of_one_name_are_refused():
    a, b = Input((3,), name="a"), Input((3,), name="a")
    with raises(GraphError, "two inputs are named 'a'"):
        Model([a, b], a + b)


def test_layer_under_two_names_is_refused():
    layer, x = nn.Linear(3, 3), Input((3,))
    y = call(layer, call(layer, x, name="first"), name="second")
    with raises(GraphError, "a layer is called under two names, 'first' and 'second'"):
        Model(x, y)


@pytest.mark.parametrize("name", ["two words", "1st", "class", "", "_hidden", "self", "F", 3])
def test_names_that_are_no_variables_are_refused(name):
    x = Input((3,))
    for use in (
        lambda: Input((3,), name=name),
        lambda: layers.Linear(3, 3, name=name),
        lambda: call(nn.ReLU(), x, name=name),
        lambda: Model({name: x}, x * 2),
    ):
        with raises(GraphError, f"expected a name that can be a Python variable, got {name!r}"):
            use()


@pytest.mark.parametrize("name", ["forward", "parameters", "half", "compile"])
def test_layers_named_as_modules_attributes_are_refused(name):
    with raises(GraphError, f"Linear: expected .* attribute of a module, got '{name}'"):
        layers.Linear(3, 3, name=name)


@pytest.mark.parametrize("name", ["nodes", "outputs", "code", "summary", "input_names", "name"])
def test_layers_named_as_models_attributes_are_refused(name):
    x = Input((3,))
    with raises(GraphError, f"a layer is named '{name}', which is an attribute of every model"):
        Model(x, layers.Linear(3, 3, name=name)(x))


def test_layers_classes_may_have_the_names_of_attributes():
    class Forward(layers.Linear):
        pass

    class Outputs(layers.Linear):
        pass

    x = Input((3,))
    model = Model(x, Outputs(3, 3)(Forward(3, 3)(x)))
    assert [name for name, _ in model.named_children()] == ["forward_1", "outputs_1"]


def test_shapes_that_do_not_fit_show_the_layer_and_the_path():
    posts = Input((None,), dtype=torch.int64, name="posts")
    x = layers.Embedding(100, 8, name="words")(posts)
    x = F.relu(layers.Linear(8, 16, name="features")(x))
    message = (
        r"conv \(Conv1d\): expected input that Conv1d\(8, 4, kernel_size=\(3,\), stride=\(1,\)\) "
        r"can take, got \(None, None, 16\) torch.float32: .*channel.*\n"
        r"  The shapes that led here: posts \(None, None\) -> words \(None, None, 8\) -> features "
        r"\(None, None, 16\) -> relu \(None, None, 16\) -> conv \(Conv1d\)\. Where a size is "
        r"unknown \(None\), 2 stands for the batch and 480 for any other\."
        r"\n  To mend it: create the layer for the sizes that come, or connect another tensor\.$"
    )
    with raises(ShapeError, message):
        layers.Conv1d(8, 4, 3, name="conv")(x)


def test_long_path_is_shortened():
    x = Input((3,), name="x")
    for _ in range(20):
        x = x + 1
    with raises(
        ShapeError, r"led here: \.\.\. -> add \(None, 3\)( -> add \(None, 3\)){6} -> linear"
    ):
        layers.Linear(4, 1)(x)


def test_shapes_of_functions_that_do_not_fit_are_told():
    a, b = Input((3,), name="a"), Input((4,), name="b")
    with raises(ShapeError, r"cat: expected .* got \(None, 3\) torch.float32, \(None, 4\)"):
        torch.cat([a, b], dim=0)
    with raises(ShapeError, r"add: expected .*broadcast"):
        a + b
    with raises(ShapeError, r"transpose: expected .*Dimension out of range"):
        a.transpose(1, 2)


def test_dtypes_that_do_not_fit_are_told():
    x = Input((3,), dtype=torch.int64, name="x")
    with raises(DtypeError, r"linear \(Linear\): .*got \(None, 3\) torch.int64: .*dtype"):
        layers.Linear(3, 2)(x)


def test_wrong_arguments_of_a_layer_are_told():
    x = Input((3,))
    with raises(GraphError, r"linear \(Linear\): expected .*positional argument"):
        layers.Linear(3, 2)(x, x)


def test_errors_of_foreign_modules_keep_their_type_and_tell_the_place():
    class Picky(nn.Module):
        def forward(self, x):
            assert x.shape[1] == 4, "four features"
            return x

    with pytest.raises(AssertionError, match="four features") as raised:
        call(Picky(), Input((3,), name="x"))
    assert raised.value.__notes__ == ["in picky (Picky); x (None, 3) -> picky (Picky)"]


def test_error_inside_a_nested_model_tells_both_places():
    x = Input((None,), name="x")
    inner = Model(x, x.unflatten(1, (4, -1)), name="inner")
    with raises(ShapeError, r"inner \(Model\): expected .* don't multiply up to the size of dim 1"):
        inner(Input((3,), name="y"))


CONTROL_FLOW = {
    "if": lambda x: 1 if x > 0 else 2,
    "while": lambda x: [1 for _ in iter(lambda: bool(x.sum() > 0), False)],
    "not": lambda x: not x,
    "in": lambda x: x in [torch.ones(3)],
    "int": lambda x: int(x.sum()),
    "float": lambda x: float(x.sum()),
    "complex": lambda x: complex(x.sum()),
    "index": lambda x: [1, 2, 3][x[0, 0].long()],
    "range": lambda x: range(x.shape[0]),
    "len": lambda x: len(x),
    "size compared": lambda x: x.shape[0] == 4,
    "size ordered": lambda x: x.shape[0] > 4,
    "max of sizes": lambda x: max(x.shape[0], 2),
    "item": lambda x: x.sum().item(),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy(),
    "data": lambda x: x.data,
    "grad": lambda x: x.grad,
    "backward": lambda x: x.sum().backward(),
    "is_cuda": lambda x: x.is_cuda,
    "device": lambda x: x.device == torch.device("cpu"),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "unique": lambda x: torch.unique(x),
}


@pytest.mark.parametrize("name", CONTROL_FLOW)
def test_what_depends_on_data_is_refused(name):
    with raises(GraphError, DATA):
        CONTROL_FLOW[name](Input((3,)))


def test_iterating_over_an_unknown_dimension_is_refused():
    x = Input((2, 3))
    for use in (list, tuple, lambda x: [*x], lambda x: [row * 2 for row in x]):
        with raises(GraphError, r"unknown in \(None, 2, 3\).*x.unbind\(dim\).*x.split"):
            use(x)
    with raises(GraphError, "takes its first dimension apart"):
        _a, _b = x


def test_numbers_of_outputs_that_depend_on_sizes_are_refused():
    with raises(GraphError, "unbind: expected the same number.*2 outputs and 3 outputs"):
        Input((3,)).unbind(0)
    with raises(GraphError, "function.*|call: expected the same number.*2 dimensions"):
        call(lambda x: x if len(x) == 2 else x.sum(), Input((3,)))


IN_PLACE = {
    "method": lambda x: x.add_(1),
    "function": lambda x: torch.relu_(x),
    "argument": lambda x: F.relu(x, inplace=True),
    "out": lambda x: torch.add(x, x, out=torch.empty(1)),
    "assignment": lambda x: x.__setitem__(0, 1.0),
    "deletion": lambda x: x.__delitem__(0),
    "into a constant": lambda x: torch.zeros(4, 3).__setitem__(0, x[0]),
    "constant +=": lambda x: torch.zeros(3).__iadd__(x[0]),
    "constant's method": lambda x: torch.zeros(3).add_(x),
    "layer": lambda x: layers.ReLU(inplace=True)(x),
    "foreign module": lambda x: call(nn.Sequential(nn.Dropout(0.5, inplace=True)), x),
    "function of the user": lambda x: call(lambda x: x.mul_(2), x),
    "requires_grad_": lambda x: x.requires_grad_(),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_works_in_place_is_refused(name):
    with raises(GraphError, "in place; .* cycle: the tensor would be made from itself.*mend it"):
        IN_PLACE[name](Input((3,)))


@pytest.mark.parametrize(
    "symbol", ["+", "-", "*", "/", "//", "%", "**", "@", "&", "|", "^", "<<", ">>"]
)
def test_augmented_assignment_is_refused(symbol):
    with raises(GraphError, f"(?s)in place.*\\(x = x {''.join(chr(92) + c for c in symbol)} y\\)"):
        exec(f"x {symbol}= 2", {"x": Input((3,))})


def test_in_place_work_inside_a_module_is_no_cycle(assert_same):
    class Inside(nn.Module):
        def forward(self, x):
            return (x + 1).mul_(2)

    assert_same(lambda x: call(Inside(), x), torch.ones(2, 3))


PLAIN = [
    nn.Linear(3, 3), nn.LSTM(3, 3), nn.Dropout(), nn.BatchNorm1d(3), nn.ReLU(), nn.Softmax(dim=1),
    nn.Flatten(), nn.MaxPool1d(1), nn.MultiheadAttention(3, 1), nn.TransformerEncoderLayer(3, 1),
]  # fmt: skip


@pytest.mark.parametrize("module", PLAIN, ids=lambda module: type(module).__name__)
def test_plain_modules_are_refused_and_both_remedies_named(module):
    x = Input((3,)) if not isinstance(module, nn.MultiheadAttention) else None
    arguments = [x] if x is not None else [Input((4, 3))] * 3
    name = type(module).__name__
    message = (
        f"^{name} is a plain module and was called on a symbolic tensor.*"
        rf"torchbp.call\(module, x\), or use torchbp.layers.{name}"
    )
    with raises(GraphError, message):
        module(*arguments)


def test_plain_sequential_of_graph_layers_is_refused():
    with raises(GraphError, "^Sequential is a plain module"):
        nn.Sequential(layers.Linear(3, 3))(Input((3,)))
    assert Sequential(nn.Linear(3, 2))(Input((3,))).shape == (None, 2)


def test_model_can_be_built_inside_a_forward():
    class BuildsLate(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = None

        def forward(self, x):
            if self.net is None:
                features = Input((x.shape[1],))
                self.net = Model(features, F.relu(layers.Linear(x.shape[1], 2)(features)))
            return self.net(x)

    assert BuildsLate()(torch.ones(4, 3)).shape == (4, 2)


def test_functions_with_a_training_flag_are_refused():
    for use in (lambda x: F.dropout(x, 0.5), lambda x: F.dropout(x, training=False)):
        with raises(GraphError, "dropout: its `training` would be fixed.*torchbp.layers"):
            use(Input((3,)))


@pytest.mark.parametrize("wrong", [object(), {1, 2}, b"x", nn.ReLU(), print])
def test_arguments_that_are_no_tensors_or_numbers_are_refused(wrong):
    x, kind = Input((3,)), type(wrong).__name__
    message = f"expected tensors, numbers and torch's own types, got {kind}"
    for use in (
        lambda: call(nn.Identity(), x, wrong),
        lambda: call(lambda *args: args[0], x, [wrong]),
        lambda: layers.Add()(x, wrong),
    ):
        with raises(GraphError, message):
            use()


def test_results_that_are_no_tensors_or_numbers_are_refused():
    for result in (object(), {1, 2}, b"x"):
        with raises(GraphError, f"as what it returns, got {type(result).__name__}"):
            call(lambda x, result=result: (x, result), Input((3,)))


def test_call_takes_modules_and_functions():
    for wrong in (3, "relu", Input((3,))):
        with raises(
            GraphError, f"call: expected a module or a function, got {type(wrong).__name__}"
        ):
            call(wrong, Input((3,)))


@pytest.mark.parametrize("shape", [64, "64", (0,), (-1,), (2.0,), (True,), ("a",), None])
def test_shapes_of_inputs_are_sizes(shape):
    with raises(GraphError, "Input: expected a sequence of sizes"):
        Input(shape)


@pytest.mark.parametrize("dtype", ["int64", int, None])
def test_dtypes_of_inputs_are_torchs(dtype):
    with raises(GraphError, "Input: expected a torch dtype, got"):
        Input((3,), dtype=dtype)
