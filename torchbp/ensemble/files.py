"""An ensemble as one file, which is read without running anything in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from torchbp.ensemble.ensemble import Ensemble, Validation
from torchbp.ensemble.member import Member
from torchbp.ensemble.pooling import (
    ExponentialMean,
    GeometricMean,
    MajorityVote,
    Mean,
    Median,
    Pooling,
    PowerMean,
)
from torchbp.ensemble.rank_mean import RankMean
from torchbp.ensemble.report import Scores
from torchbp.ensemble.stacking import Stacking
from torchbp.errors import DataError
from torchbp.train.files import write_atomically

_FORMAT = 1
_POOLINGS: dict[str, type[Pooling]] = {
    kind.__name__: kind
    for kind in (
        Mean,
        PowerMean,
        GeometricMean,
        ExponentialMean,
        Median,
        MajorityVote,
        RankMean,
        Stacking,
    )
}


def save_ensemble(ensemble: Ensemble, path: str | Path) -> None:
    """Writes the file of `Ensemble.save`, which says what is in it."""
    nets, kept = {}, {}
    for name, member in ensemble.members.items():
        assert isinstance(member, Member)
        if member.net is None:
            kept[name] = ensemble.kept_by_rows(name)
        else:
            nets[name] = _on_cpu(member.state_dict())
    state = {
        "format": _FORMAT,
        "names": list(ensemble.names),
        "tasks": dict(ensemble.tasks),
        "classes": None if ensemble.classes is None else list(ensemble.classes),
        "poolings": {output: _of_pooling(own) for output, own in ensemble.poolings.items()},
        "weight": ensemble.weight.cpu(),
        "nets": nets,
        "kept": kept,
        "tested": list(ensemble.tested),
        "validation": _of_validation(ensemble.validation),
    }
    write_atomically(path, lambda file: torch.save(state, file))


def load_ensemble(
    path: str | Path,
    members: Mapping[str, Any],
    *,
    pooling: Mapping[str, Pooling] | None = None,
) -> Ensemble:
    """The ensemble that `Ensemble.save` wrote.

    Args:
        path: of the file; nothing in it is run.
        members: name -> a net of the same architecture, whose weights are then replaced. Of the
            estimators and functions, which no file holds, those that you have; one that is left
            out answers for the samples whose predictions were kept, and for no others.
        pooling: by output, for poolings of your own, whose state is then replaced.

    Raises:
        DataError: a file of another kind, nets that are missing or do not fit, names that are not
            the members'.

    Example:
        >>> import tempfile
        >>> make = lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1))
        >>> ensemble, x = Ensemble({"a": make(), "b": make()}), torch.randn(5, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ensemble.save(f"{folder}/ensemble.pt")
        ...     again = load_ensemble(f"{folder}/ensemble.pt", {"a": make(), "b": make()})
        >>> torch.equal(again(x), ensemble(x))
        True

    Estimators of scikit-learn are files of pickle, which can run anything when they are loaded:
    load those only that you trust, or with skops, and pass them here.
    """
    state = _read(path)
    _check_members(members, state)
    sources = {
        name: members[name] if name in members else _AnswersFromKept(name)
        for name in state["names"]
    }
    poolings = {output: _pooling(output, own, pooling) for output, own in state["poolings"].items()}
    ensemble = Ensemble(sources, state["tasks"], poolings, classes=state["classes"])
    for name, own in state["nets"].items():
        _load_net(name, ensemble.members[name], own)
    ensemble.weight = state["weight"].double()
    ensemble.tested = list(state["tested"])
    ensemble.validation = _validation(state["validation"])
    for name, tables in state["kept"].items():
        if name not in members:
            ensemble.keep_by_rows(name, tables)
    return ensemble


class _AnswersFromKept:
    """Stands for a member that is not here; what is asked is what was not kept."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, inputs: Any) -> Any:
        raise DataError(
            f"member {self.name!r}: expected samples whose predictions were kept, got others, and "
            "the member itself is not in the file.\n"
            f"  To mend it: pass it to load_ensemble, members={{{self.name!r}: ...}}."
        )


def _read(path: str | Path) -> dict[str, Any]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != _FORMAT or "nets" not in state:
        raise DataError(
            f"load_ensemble: expected a file that Ensemble.save wrote, of format {_FORMAT}, got "
            f"{type(state).__name__} in {str(path)!r}.\n"
            "  To mend it: weights of a single net go to its load_state_dict."
        )
    return state


def _check_members(members: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    missing = [name for name in state["nets"] if name not in members]
    unknown = [name for name in members if name not in state["names"]]
    if missing or unknown:
        raise DataError(
            f"load_ensemble: expected a net for each of {list(state['nets'])} among the members "
            f"{state['names']}, got {list(members)}.\n"
            "  To mend it: pass nets of the architectures that were saved, by these names."
        )


def _load_net(name: str, member: Any, state: Mapping[str, Tensor]) -> None:
    try:
        member.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(
            f"member {name!r}: expected the architecture that was saved, got one where {error}\n"
            "  To mend it: make the net as when it was saved."
        ) from error


def _of_pooling(pooling: Any) -> dict[str, Any]:
    return {
        "kind": type(pooling).__name__,
        "settings": pooling.settings(),
        "state": _on_cpu(pooling.state_dict()),
    }


def _pooling(output: str, state: Mapping[str, Any], given: Mapping[str, Pooling] | None) -> Pooling:
    if given is not None and output in given:
        given[output].load_state_dict(state["state"])
        return given[output]
    if state["kind"] not in _POOLINGS:
        raise DataError(
            f"load_ensemble: expected to know the pooling of {output!r}, got {state['kind']!r}.\n"
            f"  To mend it: pass pooling={{{output!r}: ...}}."
        )
    return _POOLINGS[state["kind"]].rebuilt(state["settings"], state["state"])


def _of_validation(validation: Validation | None) -> dict[str, Any] | None:
    if validation is None:
        return None
    losses = {
        output: {"members": own.members, "mean": own.mean, "ensemble": own.ensemble}
        for output, own in validation.losses.items()
    }
    return {"rows": validation.rows, "losses": losses}


def _validation(state: Mapping[str, Any] | None) -> Validation | None:
    if state is None:
        return None
    losses = {output: Scores(**own) for output, own in state["losses"].items()}
    return Validation(state["rows"], losses)


def _on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}
