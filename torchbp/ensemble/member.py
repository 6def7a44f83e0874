"""One member of an ensemble, whatever it is made of."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from torchbp.ensemble.tasks import Task, as_columns
from torchbp.errors import DataError
from torchbp.train import Trainer
from torchbp.train.module import call_model, float_dtype_of
from torchbp.train.outputs import Outputs
from torchbp.train.tensors import as_tensors, map_tensors


class Member(nn.Module):
    """A model of an ensemble, with what it sees of the inputs and what makes it probabilities.

    Args:
        source: an `nn.Module`; a `Trainer`, which predicts in its precision and on its device; a
            fitted estimator of scikit-learn; or a function that returns predictions.
        inputs: function of the ensemble's inputs that gives this member's, such as images as flat
            vectors for a tree. It sees all of them at once, or a batch; None passes them on.
        activation: function of each output, such as nn.Softmax(dim=1) for a net of logits.

    Raises:
        DataError: something that cannot predict.

    Example:
        >>> logits = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> member = Member(logits, activation=nn.Softmax(dim=1))
        >>> member.outputs_of(torch.zeros(2, 2, 2), {"output": "classification"})["output"].shape
        torch.Size([2, 3])

    An estimator of several outputs gives a list, which is named in the order of the ensemble's
    tasks; so is the list of a model without `output_names`.
    """

    def __init__(
        self,
        source: Any,
        inputs: Callable[[Any], Any] | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.net: nn.Module | None = _net_of(source)
        self.inputs = inputs
        self.activation = activation
        self._source = [source]  # in a list: a module of its own right is not registered twice
        if self.net is None and not (_is_estimator(source) or callable(source)):
            raise DataError(
                f"member: expected an nn.Module, a Trainer, a fitted estimator or a function, got "
                f"{type(source).__name__}.\n"
                "  To mend it: kept predictions go to Predictions.of, which needs no models."
            )

    @property
    def source(self) -> Any:
        """What the member was made of."""
        return self._source[0]

    def forward(self, given: Any) -> Any:
        """The outputs of a net, as it gives them, its activation applied; of one batch."""
        assert self.net is not None
        seen = given if self.inputs is None else self.inputs(given)
        return self.activated(call_model(self.net, seen))

    def predict(self, given: Any, task: Mapping[str, Task], batch_size: int) -> Any:
        """The outputs for all samples, of a net in evaluation mode and batch by batch."""
        seen = self._seen(given)
        if self.net is not None:
            trainer = self.source if isinstance(self.source, Trainer) else Trainer(self.net)
            return self.activated(trainer.predict(seen, batch_size, progress=False))
        if not _is_estimator(self.source):
            with torch.no_grad():
                return self.activated(as_tensors(self.source(seen), torch.float64, "predictions"))
        seen = map_tensors(lambda tensor: tensor.cpu().numpy(), seen)
        return self.activated(_estimated(self.source, seen, task))

    def activated(self, outputs: Any) -> Any:
        """The outputs with the activation applied to each."""
        return outputs if self.activation is None else map_tensors(self.activation, outputs)

    def outputs_of(self, given: Any, task: Mapping[str, Task], who: str = "member") -> Any:
        """The columns (N, C) of each output by name, of one batch of a net."""
        return self.columns(self.forward(given), task, who)

    def columns(self, outputs: Any, task: Mapping[str, Task], who: str) -> dict[str, Tensor]:
        """Outputs as they came, as columns (N, C) by the outputs' names.

        Raises:
            DataError: other outputs than the ensemble has, or shapes that their tasks have not.
        """
        named = self._named(outputs, task, who)
        return {
            name: as_columns(named[name], own, who if len(task) == 1 else f"{who}, {name!r}")
            for name, own in task.items()
        }

    def fingerprint(self) -> str | None:
        """What tells it from a member trained otherwise; None for a function, which hides it."""
        if self.net is not None:
            digest = hashlib.blake2b(digest_size=8)
            for name, tensor in self.net.state_dict().items():
                digest.update(name.encode())
                digest.update(
                    tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
                )
            return digest.hexdigest()
        if _is_estimator(self.source):
            return hashlib.blake2b(pickle.dumps(self.source), digest_size=8).hexdigest()
        return None

    def has_fingerprint(self) -> bool:
        """Whether its state can be seen: that of a function cannot."""
        return self.net is not None or _is_estimator(self.source)

    def architecture(self) -> str | None:
        """What members have in common that differ in their weights only; None if unknown."""
        if self.net is not None:
            shapes = [(name, tuple(t.shape)) for name, t in self.net.state_dict().items()]
            return f"{self.net!r}\n{getattr(self.net, 'code', '')}\n{shapes}"
        if _is_estimator(self.source):
            settings = {k: v for k, v in self.source.get_params().items() if k != "random_state"}
            return f"{type(self.source).__name__}({settings})"
        return None

    def _seen(self, given: Any) -> Any:
        if self.inputs is None:
            return given
        if self.net is not None:  # its functions are torch's, also where arrays come
            given = as_tensors(given, float_dtype_of(self.net), "inputs")
        return self.inputs(given)

    def _named(self, outputs: Any, task: Mapping[str, Task], who: str) -> dict[str, Tensor]:
        names = list(task)
        if isinstance(outputs, Tensor) and len(names) == 1:
            return {names[0]: outputs}
        found = Outputs.of(self.net if self.net is not None else nn.Identity(), outputs)
        values = list(outputs.values()) if isinstance(outputs, Mapping) else outputs
        values = values if isinstance(values, list | tuple) else [values]
        own = found.names if found.are_named else tuple(names)
        if len(values) != len(own) or not set(names) <= set(own):
            got = list(found.names) if found.are_named else f"{len(values)} without names"
            raise DataError(
                f"{who}: expected the outputs {names}, got {got}.\n"
                "  To mend it: name the outputs of all members alike in the ensemble's task, as "
                "in task={'age': 'regression', 'income': 'classification'}."
            )
        return dict(zip(own, values, strict=True))


def order_of_classes(source: Any, classes: Sequence[Any] | None, who: str) -> list[int] | None:
    """For each class of the ensemble its column in an estimator; None where they agree.

    Raises:
        DataError: the estimator has other classes.
    """
    own = getattr(source, "classes_", None)
    if own is None or isinstance(own, list):  # several outputs
        return None
    labels = [getattr(label, "item", lambda label=label: label)() for label in own]
    wanted = list(range(len(labels))) if classes is None else list(classes)
    if set(labels) != set(wanted) or len(labels) != len(wanted):
        raise DataError(
            f"{who}: expected the classes {wanted}, got {labels}.\n"
            "  To mend it: fit it on samples of all classes, or name the labels in the order of "
            "the columns with classes=[...]."
        )
    return None if labels == wanted else [labels.index(label) for label in wanted]


def _net_of(source: Any) -> nn.Module | None:
    if isinstance(source, Trainer):
        return source.model
    return source if isinstance(source, nn.Module) else None


def _is_estimator(source: Any) -> bool:
    return hasattr(source, "predict") and hasattr(source, "get_params")


def _estimated(estimator: Any, inputs: Any, task: Mapping[str, Task]) -> Any:
    """Probabilities where the task asks for them, otherwise values."""
    if set(task.values()) == {"regression"}:
        values = estimator.predict(inputs)
        several = len(task) > 1 and getattr(values, "ndim", 1) == 2
        return as_tensors(list(values.T) if several else values, torch.float64, "predictions")
    if not hasattr(estimator, "predict_proba"):
        raise DataError(
            f"{type(estimator).__name__}: expected predict_proba, which gives probabilities, got "
            "an estimator without it.\n"
            "  To mend it: sklearn.calibration.CalibratedClassifierCV gives it one."
        )
    return as_tensors(estimator.predict_proba(inputs), torch.float64, "predictions")
