"""Layers that take symbolic tensors: what `torch.nn`'s lack to be called in a graph."""

from typing import Any

from torch import Tensor, nn

from torchbp.graph.names import check_name
from torchbp.graph.record import has_symbolic, record_module


class Layer(nn.Module):
    """A module that can be called on symbolic tensors as well as on tensors.

    Mix it in before a module class of torch: `class Linear(Layer, nn.Linear)`, or derive from it
    as from `nn.Module`. A call with a symbolic tensor anywhere in its arguments is recorded and
    gives symbolic outputs; every other call is the module's own.

    Args:
        name: name of the layer in the models that it becomes part of, and of its tensor there;
            by default the class's name in snake case, numbered where it is taken.

    Raises:
        GraphError: the name cannot be a Python attribute of a module.

    Example:
        >>> from torchbp import Input
        >>> class Scale(Layer):
        ...     def forward(self, x):
        ...         return 2 * x
        >>> Scale(name="doubled")(Input((3,)))
        SymbolicTensor(name='doubled', shape=(None, 3), dtype=torch.float32)
    """

    name: str | None = None

    def __init__(self, *args: Any, name: str | None = None, **kwargs: Any) -> None:
        if name is not None:
            check_name(name, type(self).__name__)
        super().__init__(*args, **kwargs)
        self.name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call if it has symbolic arguments, else compute."""
        if len(args) == 1 and not kwargs and type(args[0]) is Tensor:
            # nn.Module.__call__ without its frame, for what it costs in small models
            if self._compiled_call_impl is None:
                return self._call_impl(*args)  # type: ignore[no-untyped-call]
        elif has_symbolic(args, kwargs):
            return record_module(self, args, kwargs)
        return super().__call__(*args, **kwargs)
