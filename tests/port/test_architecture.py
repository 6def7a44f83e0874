"""The descriptions of models in Keras's files, written by hand as the formats have them."""

import copy
import itertools
import json
import random
import zipfile

import pytest
from hypothesis import given, settings, strategies as st

from torchbp.errors import DataError
from torchbp.port import Source, files, read_architecture
from torchbp.port.architecture import architecture_of


def tensor(*history):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": list(history)}}


def layer(class_name, name, *calls, **config):
    nodes = [{"args": list(call), "kwargs": {}} for call in calls]
    own = {"name": name, **config}
    return {"class_name": class_name, "config": own, "name": name, "inbound_nodes": nodes}


INNER = {
    "class_name": "Sequential",
    "config": {
        "name": "inner",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 3]}},
            {"class_name": "Dense", "config": {"name": "last", "units": 2}},
        ],
    },
    "name": "inner",
    "inbound_nodes": [
        {"args": [tensor("shared", 0, 0)], "kwargs": {"mask": None}},
        {"args": [tensor("shared", 1, 0)], "kwargs": {"mask": None}},
    ],
}
# the layer that comes last stands first
GRAPH = {
    "class_name": "Functional",
    "config": {
        "name": "net",
        "layers": [
            layer("Concatenate", "both", [[tensor("inner", 0, 0), tensor("twice", 0, 0)]]),
            layer("InputLayer", "a", batch_shape=[None, 4]),
            layer("InputLayer", "b", batch_shape=[None, 4]),
            layer("Dense", "shared", [tensor("a", 0, 0)], [tensor("b", 0, 0)], units=3),
            INNER,
            layer("Multiply", "twice", [tensor("inner", 1, 0), 2.0]),
        ],
        "input_layers": {"a": ["a", 0, 0], "b": ["b", 0, 0]},
        "output_layers": [["both", 0, 0], ["inner", 0, 0]],
    },
}


def changed(change):
    graph = copy.deepcopy(GRAPH)
    change(graph["config"])
    return graph


def keras_file(folder, config):
    path = folder / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
    return path


def h5_file(folder, config):
    h5py = pytest.importorskip("h5py")
    path = folder / "model.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    return path


@pytest.mark.parametrize("write", [keras_file, h5_file])
def test_sharing_nesting_and_names_of_inputs_are_read(tmp_path, write):
    net = read_architecture(write(tmp_path, GRAPH))
    layers = {spec.name: spec for spec in net.layers}
    assert list(layers) == ["both", "a", "b", "shared", "inner", "twice"]
    assert net.inputs == {"a": Source("a", 0, 0), "b": Source("b", 0, 0)}
    assert net.outputs == [Source("both", 0, 0), Source("inner", 0, 0)]
    assert [call.args for call in layers["shared"].calls] == [
        (Source("a", 0, 0),),
        (Source("b", 0, 0),),
    ]
    assert layers["both"].calls[0].args == ([Source("inner", 0, 0), Source("twice", 0, 0)],)
    assert layers["twice"].calls[0].args == (Source("inner", 1, 0), 2.0)
    assert layers["inner"].calls[1].kwargs == {"mask": None}
    inner = layers["inner"].model
    assert [spec.name for spec in inner.layers] == ["x", "last"]
    assert inner.layers[1].calls[0].args == (inner.inputs,) == (Source("x", 0, 0),)
    assert inner.outputs == Source("last", 0, 0)


def test_each_call_finds_its_tensors_made():
    order = [(spec.name, index) for spec, index in architecture_of(GRAPH, "net").calls()]
    assert order == [
        ("shared", 0),
        ("shared", 1),
        ("inner", 0),
        ("inner", 1),
        ("twice", 0),
        ("both", 0),
    ]


def test_a_tensor_passed_by_name_counts():
    """As a mask does: it must be made before the call, and something must make it."""

    def take_by_name(config):
        config["layers"][3]["inbound_nodes"][1]["kwargs"] = {"mask": tensor("late", 0, 0)}
        config["layers"].append(layer("NotEqual", "late", [tensor("b", 0, 0), 0]))

    order = [
        (spec.name, index) for spec, index in architecture_of(changed(take_by_name), "n").calls()
    ]
    assert order.index(("late", 0)) < order.index(("shared", 1))


def test_a_layer_that_is_never_called_makes_nothing():
    with pytest.raises(DataError, match=r"\('d', 0, 0\)"):
        architecture_of(
            changed(
                lambda c: c["layers"].extend(
                    [layer("Dense", "d"), layer("Dense", "e", [tensor("d", 0, 0)])]
                )
            ),
            "net",
        )


def test_files_of_tf_keras_2_are_read():
    """Tensors as lists, arguments of a call in their last item, no InputLayer in a chain."""
    chain = {
        "class_name": "Sequential",
        "config": [
            {"class_name": "Dense", "config": {"name": "d", "batch_input_shape": [None, 2]}}
        ],
    }
    net = architecture_of(chain, "old")
    assert [spec.class_name for spec in net.layers] == ["InputLayer", "Dense"]
    assert net.layers[0].config == {"batch_shape": [None, 2]}

    def old(name, class_name, *nodes):
        return {"class_name": class_name, "config": {}, "name": name, "inbound_nodes": list(nodes)}

    graph = {
        "class_name": "Model",
        "config": {
            "name": "old",
            "layers": [
                old("a", "InputLayer"),
                old("rnn", "LSTM", [["a", 0, 0, {"initial_state": ["a", 0, 0], "training": True}]]),
                old("sum", "Add", [["a", 0, 0, {}], ["rnn", 0, 0, {}]]),
            ],
            "input_layers": [["a", 0, 0]],
            "output_layers": [["sum", 0, 0]],
        },
    }
    _, rnn, total = architecture_of(graph, "old").layers
    assert rnn.calls[0].args == (Source("a", 0, 0),)
    assert rnn.calls[0].kwargs == {"initial_state": Source("a", 0, 0), "training": True}
    assert total.calls[0].args == ([Source("a", 0, 0), Source("rnn", 0, 0)],)


def nested(depth):
    config = INNER
    for _ in range(depth):
        config = {"class_name": "Sequential", "config": {"name": "n", "layers": [config]}}
        config["config"]["build_input_shape"] = [None, 3]
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "expected JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ("7", "'class_name' as a str"),
        ({"class_name": "Mine", "config": {"units": 3}}, "Mine, whose graph is not in the file"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "with layers, got none"),
        (
            {"class_name": "Sequential", "config": {"layers": [layer("Dense", "d")]}},
            "a model that was built",
        ),
        (nested(120), "at most 100 models in each other"),
        (changed(lambda c: c["layers"].append(layer("Dense", "a"))), "two of 'a'"),
        (changed(lambda c: c.update(output_layers=[["no", 0, 0]])), r"\('no', 0, 0\)"),
        (changed(lambda c: c.update(output_layers=[["both", 1, 0]])), r"\('both', 1, 0\)"),
        (changed(lambda c: c.update(output_layers=[["both", 0, -1]])), r"\('both', 0, -1\)"),
        (changed(lambda c: c.update(output_layers=7)), "inputs and outputs"),
        (changed(lambda c: c["layers"][5].update(inbound_nodes="x")), "a list of calls"),
        (changed(lambda c: c["layers"][5].update(inbound_nodes=["x"])), "twice: expected a call"),
        (changed(lambda c: c["layers"].append(layer("Dense", "d", [tensor("d", 0, 0)]))), "got d"),
        (changed(lambda c: c["layers"].append(layer("Dense", "d", [tensor("a", "0", 0)]))), "'0'"),
        (changed(lambda c: c["layers"].append({"class_name": "Dense"})), "Dense with a name"),
    ],
)
def test_what_makes_no_graph_is_refused(config, message, tmp_path):
    with pytest.raises(DataError, match=message) as caught:
        read_architecture(keras_file(tmp_path, config))
    assert str(caught.value).count("To mend it") == 1


def test_files_without_a_description_are_refused(tmp_path, monkeypatch):
    h5py = pytest.importorskip("h5py")
    with pytest.raises(DataError, match="No such file"):
        read_architecture(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("{}")
    with pytest.raises(DataError, match=r"a \.keras file or an HDF5 file, got something else"):
        read_architecture(tmp_path / "text.keras")
    h5py.File(tmp_path / "w.h5", "w").close()
    with pytest.raises(DataError, match="one without model_config"):
        read_architecture(tmp_path / "w.h5")
    monkeypatch.setattr(files, "MAX_CONFIG_BYTES", 100)
    for write in (keras_file, h5_file):
        with pytest.raises(DataError, match="at most 100 bytes of description"):
            files.read_config_text(write(tmp_path, GRAPH))


@pytest.mark.timeout(60)
def test_a_long_chain_in_the_worst_order_takes_no_long_time():
    """In the order of Keras's passes over what is left it would take 20,000 passes."""
    count = 20_000
    names = ["x", *(f"d{i}" for i in range(count))]
    chain = [layer("Dense", b, [tensor(a, 0, 0)]) for a, b in itertools.pairwise(names)]
    layers = [*reversed(chain), layer("InputLayer", "x")]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [[names[-1], 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "n", "layers": layers, **ends}}
    order = [spec.name for spec, _ in architecture_of(config, "n").calls()]
    assert order == names[1:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.sampled_from(["a", "inner", "Dense", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["class_name", "config", "name", "layers"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def spoil(value, replacement, choose):
    """The value with one place in it, any, replaced or left out."""
    places = []

    def visit(container):
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, item in items:
            places.append((container, key))
            if isinstance(item, dict | list):
                visit(item)

    visit(value)
    container, key = choose.choice(places)
    if choose.random() < 0.3:
        del container[key]
    else:
        container[key] = replacement


@settings(max_examples=400, deadline=None)
@given(JSON, st.integers(0, 10**9))
def test_a_spoilt_description_is_read_or_refused(replacement, seed):
    config = copy.deepcopy(GRAPH)
    spoil(config, replacement, random.Random(seed))
    try:
        net = architecture_of(config, "spoilt")
    except DataError:
        return
    assert len(list(net.calls())) == sum(len(spec.calls) for spec in net.layers)


def functional_within(*outputs, calls=(("a", 0), ("b", 0)), old=False):
    """A model that calls a functional model inside twice, as Keras 3 or tf.keras 2 writes it."""
    inner = copy.deepcopy(INNER) | {"class_name": "Functional"}
    first, last = inner["config"]["layers"]
    first |= {"name": "x", "inbound_nodes": []}
    last |= {"name": "last", "inbound_nodes": [{"args": [tensor("x", 0, 0)], "kwargs": {}}]}
    inner["config"] |= {"input_layers": [["x", 0, 0]], "output_layers": [["last", 0, 0]]}
    nodes = [[[name, call, 0, {}]] for name, call in calls]
    if not old:
        nodes = [{"args": [tensor(*node[0][:3])], "kwargs": {}} for node in nodes]
    inner["inbound_nodes"] = nodes
    names = [layer("InputLayer", name, batch_shape=[None, 3]) for name in "ab"]
    after = layer("ReLU", "after", [tensor("inner", 0, 0)])
    if old:
        after["inbound_nodes"] = [[["inner", 1, 0, {}]]]
    return {
        "class_name": "Functional",
        "config": {
            "name": "net",
            "layers": [*names, inner, after],
            "input_layers": [["a", 0, 0], ["b", 0, 0]],
            "output_layers": [list(output) for output in outputs],
        },
    }


@pytest.mark.parametrize("old", [False, True], ids=["Keras 3", "tf.keras 2"])
def test_calls_of_a_functional_model_within_are_counted_from_0(old):
    """Among the outputs a functional model has its own graph for its call 0."""
    described = functional_within(("inner", 2, 0), ("after", 0, 0), old=old)
    found = architecture_of(described, "net")
    assert found.outputs == [Source("inner", 1, 0), Source("after", 0, 0)]
    [after] = [layer for layer in found.layers if layer.name == "after"]
    assert list(after.calls[0].sources()) == [Source("inner", 0, 0)]


def test_the_first_call_alone_may_be_an_output():
    found = architecture_of(functional_within(("inner", 1, 0)), "net")
    assert found.outputs == [Source("inner", 0, 0)]
    with pytest.raises(DataError, match="tensors that its layers make"):
        architecture_of(functional_within(("inner", 3, 0)), "net")
