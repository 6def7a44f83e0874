"""Models under the tools that read them: torch.fx, torch.compile, torch.export, ONNX, DDP."""

import copy
import socket
import warnings

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

from torchbp import Input, Model, call, layers


def text_model(name=None):
    """Ids of any length and features of any rate: two free dimensions besides the batch."""
    text = Input((None,), dtype=torch.int64, name="text")
    features = Input((None, 4), name="features")
    x = layers.Embedding(20, 8, name="words")(text).transpose(1, 2)
    x = F.relu(layers.Conv1d(8, 8, 3, padding=1, name="conv")(x))
    shared = layers.Linear(8, 4, name="shared")
    read = shared(x.amax(dim=2))
    mean = features.sum(dim=1) / features.shape[1]
    both = torch.cat([read * mean, mean - torch.full((4,), 0.5)], dim=-1)
    scores = layers.Linear(8, 3, name="scores")(shared(both).repeat(1, 2))
    return Model([text, features], {"scores": scores, "read": read}, name=name)


def data(batch=2, length=7, rate=5):
    return torch.randint(0, 20, (batch, length)), torch.randn(batch, rate, 4)


def close(first, second):
    torch.testing.assert_close(first, second)
    return True


def nested_model():
    inner = text_model(name="inner")
    text, features = Input((None,), dtype=torch.int64, name="text"), Input((None, 4), name="seen")
    outputs = inner(features=features, text=text)
    rest, (state, _) = call(Halves(), outputs["scores"], name="halves")
    return Model({"text": text, "seen": features}, [outputs["read"], rest + state])


class Halves(nn.Module):
    """A module of nested outputs."""

    def forward(self, x):
        return x * 2, (x / 2, [x])


MODELS = [text_model, nested_model]


@pytest.mark.parametrize("make", MODELS)
def test_fx_graph_computes_the_same_under_the_same_names(make):
    model = make().eval()
    traced, arguments = model.to_fx(), data()
    traced.graph.lint()
    assert isinstance(traced, torch.fx.GraphModule)
    assert close(traced(*arguments), model(*arguments))
    names = [node.name for node in traced.graph.nodes]
    assert set(names) >= {node.name for node in model.nodes}
    assert {id(weight) for weight in traced.parameters()} == {id(w) for w in model.parameters()}
    assert close(copy.deepcopy(traced)(*arguments), model(*arguments))


@pytest.mark.parametrize("make", MODELS)
def test_interpreter_gives_the_value_of_each_step(make):
    model, arguments = make().eval(), data()
    traced, values = model.to_fx(), {}

    class Keeps(torch.fx.Interpreter):
        def run_node(self, node):
            values[node.name] = super().run_node(node)
            return values[node.name]

    Keeps(traced).run(*arguments)
    for node in model.nodes:
        value = values[node.name]
        if node.kind == "module":
            args = [_valued(argument, values) for argument in node.args]
            kwargs = {name: _valued(argument, values) for name, argument in node.kwargs.items()}
            assert close(value, model.get_submodule(node.target)(*args, **kwargs))


def _valued(ref, values):
    value = values[ref.name]
    for key in ref.path:
        value = value[key]
    return value


def test_symbolic_trace_goes_through_models_and_layers():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = text_model()
            self.head = layers.Linear(3, 2)

        def forward(self, text, features):
            return self.head(self.model(text, features)["scores"])

    outer, arguments = Outer().eval(), data()
    traced = torch.fx.symbolic_trace(outer)
    assert close(traced(*arguments), outer(*arguments))


@pytest.mark.parametrize("make", MODELS)
def test_compiles_in_one_graph_with_any_sizes(make):
    model = make()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.compiler.reset()
    for sizes in ((2, 7, 5), (3, 9, 4), (6, 30, 11)):
        arguments = data(*sizes)
        outputs = compiled(*arguments)
        assert close(outputs, model(*arguments))
    assert all(p.grad is None for p in model.parameters())
    sum(leaf.sum() for leaf in _leaves(outputs)).backward()
    assert all(p.grad is not None for p in model.parameters())


def _leaves(outputs):
    return outputs.values() if isinstance(outputs, dict) else outputs


def gated():
    x, gate = Input((4,), name="x"), Input((4,), name="gate")
    shared = layers.Linear(4, 4, name="shared")
    return Model([x, gate], {"out": shared(shared(x) * torch.sigmoid(gate) + torch.ones(4))})


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True])
def test_inductor_compiles_training_in_one_graph(in_place):
    model, arguments = gated(), (torch.randn(3, 4), torch.randn(3, 4))
    expected = model(*arguments)
    expected["out"].square().sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    compiled = model if in_place else torch.compile(model, fullgraph=True)
    if in_place:
        model.compile(fullgraph=True)
    outputs = compiled(*arguments)
    outputs["out"].square().sum().backward()
    assert close(outputs, expected)
    assert close([p.grad for p in model.parameters()], gradients)
    assert close(copy.deepcopy(model)(*arguments), expected)


class Doubled(layers.Linear):
    """A layer whose forward is not torch's: torch compiles none of its own alone."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize("whole", [True, False])
def test_compile_in_place_is_what_runs(whole):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    x, data = Input((4,)), torch.randn(3, 4)
    model = Model(x, Doubled(4, 2, name="doubled")(x))
    expected = model(data)
    (model if whole else model.doubled).compile(backend=backend, fullgraph=True)
    assert close(model(data), expected)
    assert graphs, "the backend compiled nothing"


def test_compiled_by_keyword_and_as_part_of_another_module():
    model, arguments = text_model(), data()
    compiled = torch.compile(nn.ModuleList([model])[0], fullgraph=True, backend="eager")
    assert close(compiled(features=arguments[1], text=arguments[0]), model(*arguments))

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, arguments):
            return self.model(arguments)["scores"] + self.model(*arguments)["scores"]

    outer = torch.compile(Outer(), fullgraph=True, backend="eager")
    assert close(outer(arguments), 2 * model(*arguments)["scores"])


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("make", MODELS)
def test_exports_with_free_batch_and_lengths(make, strict):
    model = make().eval()
    batch, length, rate = Dim("batch"), Dim("length"), Dim("rate")
    shapes = dict(zip(model.input_names, ({0: batch, 1: length}, {0: batch, 1: rate}), strict=True))
    exported = torch.export.export(model, data(), dynamic_shapes=shapes, strict=strict)
    assert list(exported.graph_signature.user_inputs) == list(model.input_names)
    for sizes in ((3, 9, 4), (1, 30, 11)):
        arguments = data(*sizes)
        assert close(exported.module()(*arguments), model(*arguments))
    assert set(exported.state_dict) == set(model.state_dict())


@pytest.mark.slow
def test_exported_onnx_runs_with_other_batches_and_lengths(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, path = text_model().eval(), tmp_path / "model.onnx"
    batch, length, rate = Dim("batch"), Dim("length"), Dim("rate")
    with warnings.catch_warnings():
        # the exporter's own: it warns of its defaults and of names in its dependencies
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            data(),
            path,
            dynamo=True,
            dynamic_shapes={"text": {0: batch, 1: length}, "features": {0: batch, 1: rate}},
            output_names=list(model.output_names),
            verbose=False,
        )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [given.name for given in session.get_inputs()] == ["text", "features"]
    for sizes in ((3, 9, 4), (1, 30, 11)):
        arguments = data(*sizes)
        fed = dict(zip(model.input_names, (t.numpy() for t in arguments), strict=True))
        for output, name in zip(session.run(None, fed), model.output_names, strict=True):
            expected = model(*arguments)[name]
            # float32: onnxruntime adds up in another order
            torch.testing.assert_close(torch.tensor(output), expected, rtol=1e-4, atol=1e-5)


def _distributed(rank, port, file):
    """One process of two: its half of the batch, its gradients to a file."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model = text_model()
    parallel = nn.parallel.DistributedDataParallel(model)
    text, features = data(batch=4)
    half = slice(2 * rank, 2 * rank + 2)
    outputs = parallel(text[half], features=features[half])
    (outputs["scores"].square().mean() + outputs["read"].mean()).backward()
    if rank == 0:
        torch.save([p.grad for p in model.parameters()], file)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_get_the_gradients_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = tmp_path / "gradients.pt"
    torch.multiprocessing.spawn(_distributed, args=(port, file), nprocs=2)
    torch.manual_seed(0)
    model = text_model()
    outputs = model(*data(batch=4))
    (outputs["scores"].square().mean() + outputs["read"].mean()).backward()
    for weight, gradient in zip(model.parameters(), torch.load(file), strict=True):
        torch.testing.assert_close(weight.grad, gradient)


def test_parts_of_an_output_take_no_layers_name_in_fx():
    x = Input((None, 3), name="x")
    _, state = layers.LSTM(3, 4, batch_first=True, name="lstm")(x)
    output, _ = layers.LSTM(3, 4, batch_first=True, name="lstm_1")(x, state)
    graph = Model(x, output).to_fx().graph
    names = [node.name for node in graph.nodes]
    assert len(set(names)) == len(names)
    assert [node.op for node in graph.nodes if node.name == "lstm_1"] == ["call_module"]
