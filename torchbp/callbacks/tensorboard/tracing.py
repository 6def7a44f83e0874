"""The graph of any module as TensorBoard draws it, seen in one call of it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.hooks import RemovableHandle

from torchbp.callbacks.inspection import parts, undisturbed
from torchbp.callbacks.tensorboard.graph import add_node
from torchbp.graph.names import Taken
from torchbp.train.module import call_model


def traced_graph(model: nn.Module, inputs: Any) -> Any:
    """The GraphDef of a module: a node for each layer and function that a call of it runs.

    Modules that have modules are name scopes. Layers, the modules that have none, are nodes; what
    happens inside them is not shown. It is the graph of this call: of branches that depend on
    data, the one that was taken.

    Args:
        model: is called once, in evaluation mode.
        inputs: of one sample.
    """
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.versions_pb2 import VersionDef

    trace = _Trace(GraphDef(versions=VersionDef(producer=22)), model)
    trace.add_inputs(inputs)
    handles = trace.hook_layers()
    try:
        with undisturbed(model), trace:
            call_model(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return trace.graph


class _Trace(TorchFunctionMode):
    """Follows tensors from module to module and function to function.

    Args:
        graph: the GraphDef that grows.
        model: the module that will be called.
    """

    def __init__(self, graph: Any, model: nn.Module) -> None:
        super().__init__()
        self.graph = graph
        self._model = model
        self._made_by: dict[int, str] = {}  # a tensor, by identity -> the node's output
        self._alive: list[Tensor] = []  # an identity is one only while its tensor lives
        self._scopes = [""]
        self._layers = 0  # how many layers are at work, one inside the other
        self._names = Taken()

    def add_inputs(self, inputs: Any) -> None:
        """Adds a node for each tensor that the model will be given."""
        named = inputs if isinstance(inputs, dict) else {"input": inputs}
        for key, value in named.items():
            for name, tensor in parts(value, key):
                self._add(name.replace(".", "_"), "Input", None, (), tensor)

    def hook_layers(self) -> list[RemovableHandle]:
        """Lets every module say when it begins and ends."""
        handles = []
        for path, module in self._model.named_modules():
            is_layer = next(module.children(), None) is None
            begin, end = (_layer if is_layer else _scope)(self, path)
            handles += [
                module.register_forward_pre_hook(begin),
                module.register_forward_hook(end, with_kwargs=True),
            ]
        return handles

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Runs a function of torch and, outside of layers, adds it as a node."""
        output = func(*args, **(kwargs or {}))
        if not self._layers and self._sources((args, kwargs)):
            name = _function_name(func)
            self._add(name, name, None, (args, kwargs), output)
        return output

    def _add(self, name: str, op: str, module: nn.Module | None, given: Any, output: Any) -> None:
        """Adds a node below the scope at work, if what it gives has tensors."""
        tensors = [tensor for _, tensor in parts(output, "")]
        if not tensors:
            return
        full = self._names.free(self._scopes[-1] + name, python=False)
        shapes = [tuple(tensor.shape) for tensor in tensors]
        add_node(self.graph, full, op, self._sources(given), shapes, module)
        for index, tensor in enumerate(tensors):
            self._made_by[id(tensor)] = f"{full}:{index}" if index else full
        self._alive += tensors

    def _sources(self, given: Any) -> list[str]:
        made = (self._made_by.get(id(tensor)) for _, tensor in parts(given, ""))
        return list(dict.fromkeys(name for name in made if name))

    def begin_layer(self) -> None:
        """From here on, functions are inside a layer."""
        self._layers += 1

    def end_layer(self, path: str, module: nn.Module, given: Any, output: Any) -> None:
        """Adds a layer that is complete."""
        self._layers -= 1
        if not self._layers:
            name = path.rpartition(".")[2] or type(module).__name__
            self._add(name, type(module).__name__, module, given, output)

    def begin_scope(self, path: str) -> None:
        """From here on, nodes are inside a module."""
        self._scopes.append(f"{path.replace('.', '/')}/" if path else "")

    def end_scope(self) -> None:
        """The module is complete."""
        self._scopes.pop()


def _layer(trace: _Trace, path: str) -> tuple[Any, Any]:
    def begin(module: nn.Module, args: Any) -> None:
        trace.begin_layer()

    def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        trace.end_layer(path, module, (args, kwargs), output)

    return begin, end


def _scope(trace: _Trace, path: str) -> tuple[Any, Any]:
    def begin(module: nn.Module, args: Any) -> None:
        trace.begin_scope(path)

    def end(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        trace.end_scope()

    return begin, end


def _function_name(function: Callable[..., Any]) -> str:
    """`relu`, `cat`, `add`: the last part of the name that torch has for it."""
    name = resolve_name(function) or getattr(function, "__name__", "function")
    return name.removesuffix(".__get__").rpartition(".")[2].strip("_") or "function"
