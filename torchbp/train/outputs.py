"""The names of a model's outputs, and everything else brought under these names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from torchbp.errors import DataError


@dataclass(frozen=True)
class Outputs:
    """How a model gives its outputs.

    Args:
        names: one for each output, in its order; made up where the model has none.
        are_named: whether the names are the model's.
        come_as: "tensor", "list" or "dict".
    """

    names: tuple[str, ...]
    are_named: bool
    come_as: str

    @classmethod
    def of(cls, model: nn.Module, outputs: Any) -> "Outputs":
        """The form of the `outputs` that `model` has given.

        Raises:
            DataError: they are not tensors in one list, tuple or dict, or not as many as names.
        """
        names = _declared_names(model)
        if isinstance(outputs, Mapping):
            return cls(tuple(outputs), True, "dict")
        if isinstance(outputs, Tensor):
            return cls(names if len(names) == 1 else ("output",), len(names) == 1, "tensor")
        if not isinstance(outputs, list | tuple) or not outputs:
            raise DataError(
                f"outputs: expected a tensor, or a list, tuple or dict of tensors, got "
                f"{type(outputs).__name__}.\n"
                "  To mend it: let the model return a dict of name -> tensor."
            )
        if names and len(names) != len(outputs):
            raise DataError(
                f"outputs: expected {len(names)} as output_names {list(names)} says, got "
                f"{len(outputs)}.\n"
                "  To mend it: make output_names name each output that the model returns."
            )
        made_up = tuple(f"output_{i}" for i in range(len(outputs)))
        return cls(names or made_up, bool(names), "list")

    def by_name(self, values: Any, what: str) -> dict[str, Any]:
        """`values`, one for each output, by the outputs' names: a dict, or a list in their order.

        Raises:
            DataError: names that the outputs have not, a list for outputs that have names only,
                or too many or too few; the message lists the names.
        """
        if len(self.names) == 1 and isinstance(values, Tensor):  # the usual case, at every step
            return {self.names[0]: values}
        if isinstance(values, Mapping):
            self._check_names(values, what)
            return dict(values)
        if isinstance(values, list | tuple):
            self._check_order(values, what)
            return dict(zip(self.names, values, strict=True))
        if len(self.names) > 1:
            raise DataError(
                f"{what}: expected one for each of the outputs {list(self.names)}, got one "
                f"{type(values).__name__}.\n"
                "  To mend it: pass a dict by these names, or a list in their order."
            )
        return {self.names[0]: values}

    def _check_names(self, values: Mapping[str, Any], what: str) -> None:
        if not self.are_named and self.come_as == "list":
            raise DataError(
                f"{what}: expected a list in the order of the {len(self.names)} outputs, which "
                f"have no names, got a dict of {list(values)}.\n"
                "  To mend it: let the model return a dict, or give it output_names, a tuple."
            )
        unknown = [name for name in values if name not in self.names]
        if unknown:
            raise DataError(
                f"{what}: expected names of the outputs, {list(self.names)}, got {unknown}.\n"
                "  To mend it: use the names of the outputs."
            )

    def _check_order(self, values: list[Any] | tuple[Any, ...], what: str) -> None:
        if self.come_as == "dict" and len(self.names) > 1:
            raise DataError(
                f"{what}: expected a dict by the names of the outputs, {list(self.names)}, got a "
                f"{type(values).__name__}, which would match them by order.\n"
                "  To mend it: pass a dict by these names."
            )
        if len(values) != len(self.names):
            raise DataError(
                f"{what}: expected {len(self.names)}, one for each of the outputs "
                f"{list(self.names)}, got {len(values)}.\n"
                "  To mend it: pass one for each, None where an output has none."
            )


def label(name: str) -> str:
    """What an error calls an output; most models have one, without a name."""
    return "output" if name == "output" else f"output {name!r}"


def require_names(values: Mapping[str, Any], names: tuple[str, ...], what: str) -> None:
    """Refuses `values` that lack one of `names`.

    Raises:
        DataError: names without a value.
    """
    missing = [name for name in names if name not in values]
    if missing:
        raise DataError(
            f"{what}: expected one for each of {list(names)}, got none for {missing}.\n"
            "  To mend it: add them; a loss of None leaves an output out."
        )


def _declared_names(model: nn.Module) -> tuple[str, ...]:
    """`output_names` of the model, or of the one that torch.compile or DDP has wrapped."""
    inner: Any = model
    while inner is not None:
        names = getattr(inner, "output_names", None)
        if isinstance(names, tuple):
            return names
        inner = getattr(inner, "_orig_mod", None) or getattr(inner, "module", None)
    return ()
