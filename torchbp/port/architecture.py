"""What a Keras file says of a model's layers and of how they are called, read without Keras.

A `.keras` file has it in `config.json`, a whole-model `.h5` in an attribute. Both are JSON, of
which only names, numbers and lists are taken: no class is looked up, no function is run, and code
that lies in a file stays text.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, field, replace
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from torchbp.errors import DataError
from torchbp.graph.structure import leaves, map_leaves
from torchbp.port.isolated import read_config_text

MAX_DEPTH = 100  # of models in models, and of lists in arguments
TIME_DISTRIBUTED = "TimeDistributed"  # which may apply a model to each step


@dataclass(frozen=True)
class Source:
    """A tensor in a graph: an output of a call of a layer.

    Args:
        layer: the layer's name.
        call: which of its calls, from 0 on.
        output: which of the call's outputs, from 0 on.
    """

    layer: str
    call: int
    output: int


@dataclass(frozen=True)
class Call:
    """One call of a layer; a tensor among the arguments is a `Source`, wherever it stands.

    Args:
        args: by position.
        kwargs: by name.
        shapes: of the tensors, as far as the file tells them; None where a size is unknown.
        dtypes: of the tensors, Keras's names, as far as the file tells them.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    shapes: Mapping[Source, Any] = field(default_factory=dict, compare=False, repr=False)
    dtypes: Mapping[Source, Any] = field(default_factory=dict, compare=False, repr=False)

    def sources(self) -> Iterator[Source]:
        """The tensors that the call takes, in order."""
        yield from sources_in([*self.args, self.kwargs])


@dataclass(frozen=True)
class LayerSpec:
    """A layer as the file describes it.

    Args:
        name: within its model.
        class_name: Keras's class, such as "Conv2D".
        module: where Keras has the class; None in files of tf.keras 2 and for own classes.
        registered: the name under which an own class was registered with Keras; None for Keras's.
        config: the arguments of the constructor, as the file has them.
        calls: its calls in this model, more than one if it is shared, none if it is an input.
        model: the layers of a nested model; None for a layer.
    """

    name: str
    class_name: str
    module: str | None
    config: Mapping[str, Any]
    calls: tuple[Call, ...]
    model: "Architecture | None" = None
    registered: str | None = None

    @property
    def is_input(self) -> bool:
        """Whether it stands for what the model is given."""
        return self.class_name == "InputLayer" and not self.calls


@dataclass(frozen=True)
class Architecture:
    """A model as the file describes it.

    Args:
        name: the model's.
        class_name: "Functional", "Model" or "Sequential".
        layers: in the file's order. A Sequential model has the calls of a chain.
        inputs: a `Source`, or lists and dicts of these, as the user gave them.
        outputs: in the same way.
        trainable: whether the model as a whole is.
    """

    name: str
    class_name: str
    layers: tuple[LayerSpec, ...]
    inputs: Any
    outputs: Any
    trainable: bool = True

    def calls(self) -> Iterator[tuple[LayerSpec, int]]:
        """Every call, inputs left out, in an order in which each finds its tensors made.

        Of those that can be called, the one that stands first in the file comes next.

        Yields:
            The layer, and which of its calls.
        """
        made = {(layer.name, 0) for layer in self.layers if layer.is_input}
        calls = [(layer, index) for layer in self.layers for index in range(len(layer.calls))]
        missing = [
            {(source.layer, source.call) for source in layer.calls[index].sources()} - made
            for layer, index in calls
        ]
        waiting: dict[tuple[str, int], list[int]] = {}
        for position, keys in enumerate(missing):
            for key in keys:
                waiting.setdefault(key, []).append(position)
        ready = [position for position, keys in enumerate(missing) if not keys]
        num_done = 0
        while ready:
            position = heappop(ready)
            layer, index = calls[position]
            num_done += 1
            yield layer, index
            for other in waiting.get((layer.name, index), ()):
                missing[other].discard((layer.name, index))
                if not missing[other]:
                    heappush(ready, other)
        if num_done < len(calls):
            stuck = (calls[position][0].name for position, keys in enumerate(missing) if keys)
            names = ", ".join(list(dict.fromkeys(stuck))[:5])
            raise _refused(self.name, "layers that can be called in some order", names)


def read_architecture(path: str | Path) -> Architecture:
    """The layers of a Keras model file and their calls, without Keras and running nothing.

    Args:
        path: a `.keras` file, or a `.h5` file of a whole model, of Keras 3 or tf.keras 2.

    Raises:
        DataError: the file cannot be read, is damaged, has no architecture (weights alone, or a
            subclass of Model, whose graph is Python code), or its graph is inconsistent: two
            layers of one name, tensors that nothing makes, layers that wait for each other.
        MissingExtraError: h5py is not installed, which a `.h5` file needs.

    Example:
        >>> import json, pathlib, tempfile, zipfile
        >>> layers = [
        ...     {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 4]}},
        ...     {"class_name": "Dense", "config": {"name": "classes", "units": 10}},
        ... ]
        >>> config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
        >>> path = pathlib.Path(tempfile.mkdtemp(), "net.keras")
        >>> with zipfile.ZipFile(path, "w") as archive:
        ...     archive.writestr("config.json", json.dumps(config))
        >>> for layer in read_architecture(path).layers:
        ...     print(layer.class_name, layer.name, layer.calls)
        InputLayer x ()
        Dense classes (Call(args=(Source(layer='x', call=0, output=0),), kwargs={}),)
    """
    text = read_config_text(path)
    try:
        config = json.loads(text)
    except RecursionError as error:
        raise _too_deep(str(path)) from error
    except ValueError as error:
        raise _refused(str(path), "JSON", str(error)) from error
    return architecture_of(config, str(path))


def architecture_of(config: Any, where: str) -> Architecture:
    """The architecture that a configuration, such as `model.to_json()` gives, describes.

    Args:
        config: of the model, JSON that was read.
        where: what an error calls it.

    Raises:
        DataError: as `read_architecture` has it.
    """
    try:
        return _model(config, where, 0)
    except RecursionError as error:
        raise _too_deep(where) from error


def sources_in(value: Any) -> Iterator[Source]:
    """The tensors in an argument, or in a model's inputs or outputs."""
    return (leaf for leaf in leaves(value) if isinstance(leaf, Source))


def _model(found: Any, where: str, depth: int) -> Architecture:
    if depth > MAX_DEPTH:
        raise _refused(where, f"at most {MAX_DEPTH} models in each other", "more")
    class_name = _get(found, "class_name", str, where)
    config = found.get("config")
    if not _is_graph(found):
        got = f"{class_name}, whose graph is not in the file"
        raise _refused(where, "a Sequential or functional model", got)
    if isinstance(config, list):  # a Sequential model of the oldest files
        config = {"name": "sequential", "layers": config}
    name = config.get("name", class_name)
    where = f"{where}: {name}"
    if not isinstance(name, str):
        raise _refused(where, "a name", repr(name))
    if class_name == "Sequential":
        made = _chain(name, config, where, depth)
    else:
        found_layers = _get(config, "layers", list, where)
        layers = tuple(_layer(item, where, depth) for item in found_layers)
        inputs, outputs = (
            _ends(config.get(key), where) for key in ("input_layers", "output_layers")
        )
        trainable = config.get("trainable") is not False
        made = Architecture(name, class_name, layers, inputs, outputs, trainable)
        made = _counted_from_0(made, is_old=any(map(_is_old, found_layers)))
    _check(made, where)
    return made


def _is_old(layer: Any) -> bool:
    """Whether a layer's calls are written as tf.keras 2 writes them."""
    nodes = layer.get("inbound_nodes") if isinstance(layer, dict) else None
    return isinstance(nodes, list) and any(isinstance(node, list) for node in nodes)


def _counted_from_0(model: Architecture, is_old: bool) -> Architecture:
    """The calls of models within the model counted from 0, as those of layers are.

    A functional model counts itself as its call 0. Keras 3 writes the counts so among the outputs
    alone, tf.keras 2 among the arguments, too, and of Sequential models that were built as graphs.
    """
    counts = {layer.name: len(layer.calls) for layer in model.layers if layer.model is not None}
    if is_old:
        ends = [*sources_in(model.inputs), *sources_in(model.outputs)]
        called = [s for layer in model.layers for call in layer.calls for s in call.sources()]
        from_1 = {s.layer for s in (*called, *ends) if s.call == counts.get(s.layer, -1)}
    else:
        functional = [layer for layer in model.layers if layer.model is not None]
        others = ("Sequential", TIME_DISTRIBUTED)
        from_1 = {layer.name for layer in functional if layer.class_name not in others}

    def counted(leaf: Any) -> Any:
        if isinstance(leaf, Source) and leaf.layer in from_1:
            return replace(leaf, call=leaf.call - 1)
        return leaf

    layers = model.layers
    if is_old and from_1:
        layers = tuple(
            replace(
                layer,
                calls=tuple(
                    Call(map_leaves(counted, c.args), map_leaves(counted, c.kwargs))
                    for c in layer.calls
                ),
            )
            for layer in layers
        )
    return replace(model, layers=layers, outputs=map_leaves(counted, model.outputs))


def _is_graph(found: Mapping[str, Any]) -> bool:
    """Whether it is a model whose layers stand in the file."""
    config = found.get("config")
    if found.get("class_name") == "Sequential":
        return isinstance(config, list) or (isinstance(config, dict) and "layers" in config)
    return isinstance(config, dict) and {"layers", "input_layers", "output_layers"} <= set(config)


def _chain(name: str, config: Mapping[str, Any], where: str, depth: int) -> Architecture:
    """A Sequential model, each layer called once, on what comes before it."""
    layers = [_layer(item, where, depth) for item in _get(config, "layers", list, where)]
    if not layers:
        raise _refused(where, "a Sequential model with layers", "none")
    if layers[0].class_name != "InputLayer":
        shape = config.get("build_input_shape", layers[0].config.get("batch_input_shape"))
        if not isinstance(shape, list):
            mend = "call the model once, or give it an Input, and save it again"
            raise _refused(where, "a model that was built", "one without a shape of input", mend)
        name_of_input = f"{layers[0].name}_input"  # as tf.keras calls it
        layers.insert(0, LayerSpec(name_of_input, "InputLayer", None, {"batch_shape": shape}, ()))
    chain = [layers[0]]
    for layer in layers[1:]:
        call = Call((Source(chain[-1].name, 0, 0),))
        chain.append(replace(layer, calls=(call,)))
    first, last = (Source(chain[end].name, 0, 0) for end in (0, -1))
    trainable = config.get("trainable") is not False
    return Architecture(name, "Sequential", tuple(chain), first, last, trainable)


def _layer(found: Any, where: str, depth: int) -> LayerSpec:
    class_name = _get(found, "class_name", str, where)
    config = found.get("config")
    name = found.get("name", config.get("name") if isinstance(config, dict) else None)
    module = found.get("module")
    registered = found.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None):
        raise _refused(where, f"a layer {class_name} with a name", repr(name))
    if not isinstance(registered, str | None):
        raise _refused(where, f"a layer {class_name} with a registered name", repr(registered))
    where = f"{where}: {name}"
    if not isinstance(config, dict | list):
        raise _refused(where, "a configuration", type(config).__name__)
    nodes = found.get("inbound_nodes", [])
    if not isinstance(nodes, list):
        raise _refused(where, "a list of calls", type(nodes).__name__)
    calls = tuple(_call(node, where) for node in nodes)
    inner = config.get("layer") if class_name == TIME_DISTRIBUTED else None  # type: ignore[union-attr]
    graph = inner if isinstance(inner, dict) and _is_graph(inner) else found
    model = _model(graph, where, depth + 1) if _is_graph(graph) else None
    if not isinstance(config, dict):
        config = {}
    return LayerSpec(name, class_name, module, config, calls, model, registered)


def _call(node: Any, where: str) -> Call:
    """A call: of Keras 3 with its arguments, of tf.keras 2 with a list of tensors."""
    if isinstance(node, dict):
        args, kwargs = _get(node, "args", list, where), _get(node, "kwargs", dict, where)
        found: dict[Source, dict[str, Any]] = {}
        positional = tuple(_argument(item, where, 0, found) for item in args)
        named = {name: _argument(item, where, 1, found) for name, item in kwargs.items()}
        shapes = {source: config.get("shape") for source, config in found.items()}
        dtypes = {source: config.get("dtype") for source, config in found.items()}
        return Call(positional, named, shapes, dtypes)
    if not isinstance(node, list) or not node:
        raise _refused(where, "a call", repr(node)[:80])
    entries = [node] if isinstance(node[0], str) else node  # one tensor, with no list around it
    sources, kwargs = [], {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) not in (3, 4):
            raise _refused(where, "a tensor as [layer, call, output]", repr(entry)[:80])
        sources.append(_source(entry[:3], where))
        kwargs |= _second(entry[3], where) if len(entry) == 4 else {}
    return Call((sources[0] if len(sources) == 1 else sources,), kwargs)


def _second(kwargs: Any, where: str) -> dict[str, Any]:
    """Further arguments of tf.keras 2, where a list of a name and two numbers is a tensor."""
    if not isinstance(kwargs, dict):
        raise _refused(where, "arguments by name", repr(kwargs)[:80])
    return {
        name: _source(item, where) if _is_triple(item) else _argument(item, where, 0, {})
        for name, item in kwargs.items()
    }


def _argument(value: Any, where: str, depth: int, found: dict[Source, dict[str, Any]]) -> Any:
    """An argument with a `Source` for each tensor, whose description is noted."""
    if depth > MAX_DEPTH:
        raise _refused(where, f"at most {MAX_DEPTH} lists in each other", "more")
    if isinstance(value, list):
        return [_argument(item, where, depth + 1, found) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__keras_tensor__":
        config = _get(value, "config", dict, where)
        source = _source(_get(config, "keras_history", list, where), where)
        found[source] = config
        return source
    return {name: _argument(item, where, depth + 1, found) for name, item in value.items()}


def _ends(value: Any, where: str) -> Any:
    """Inputs or outputs of a model, in the user's structure."""
    if _is_triple(value):
        return _source(value, where)
    if isinstance(value, list):
        return [_ends(item, where) for item in value]
    if isinstance(value, dict):
        return {name: _ends(item, where) for name, item in value.items()}
    raise _refused(where, "inputs and outputs as [layer, call, output]", repr(value)[:80])


def _is_triple(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and isinstance(value[0], str)
        and all(type(item) is int for item in value[1:])
    )


def _source(value: Any, where: str) -> Source:
    if not _is_triple(value):
        raise _refused(where, "a tensor as [layer, call, output]", repr(value)[:80])
    return Source(*value)


def _check(model: Architecture, where: str) -> None:
    """Every layer has a name of its own, every tensor is made, and in some order all can be."""
    by_name = {layer.name: layer for layer in model.layers}
    if len(by_name) < len(model.layers):
        [(twice, _)] = Counter(layer.name for layer in model.layers).most_common(1)
        raise _refused(where, "layers of different names", f"two of {twice!r}")
    wanted = [source for layer in model.layers for call in layer.calls for source in call.sources()]
    ends = [*sources_in(model.inputs), *sources_in(model.outputs)]
    for source in (*wanted, *ends):
        layer = by_name.get(source.layer)
        calls = 0 if layer is None else len(layer.calls) or int(layer.is_input)
        if not 0 <= source.call < calls or source.output < 0:
            raise _refused(where, "tensors that its layers make", repr(astuple(source)))
    for _ in model.calls():
        pass


def _get(found: Any, key: str, kind: type, where: str) -> Any:
    value = found.get(key) if isinstance(found, dict) else None
    if not isinstance(value, kind):
        raise _refused(where, f"{key!r} as a {kind.__name__}", repr(value)[:80])
    return value


def _too_deep(where: str) -> DataError:
    return _refused(where, "a description of some depth", "one that is nested too deeply")


_MEND = "save the model again with Keras; nothing of the file was run"


def _refused(where: str, expected: str, got: str, mend: str = _MEND) -> DataError:
    return DataError(f"{where}: expected {expected}, got {got}.\n  To mend it: {mend}.")
