"""The states of the random generators, as plain values, to go on with the same numbers later."""

import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import torch


def random_states(generators: Iterable[torch.Generator] = ()) -> dict[str, Any]:
    """The states of torch's, CUDA's, numpy's and Python's generators, and of those given."""
    version, numbers, gauss = random.getstate()
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(numbers), gauss],
        "generators": [generator.get_state() for generator in generators],
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state()
    if "numpy" in sys.modules:
        states["numpy"] = _numpy_state()
    return states


def restore_random_states(
    states: Mapping[str, Any], generators: Iterable[torch.Generator] = ()
) -> None:
    """Sets the states that `random_states` gave, of as many generators as there were."""
    torch.set_rng_state(states["torch"])
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    for generator, state in zip(generators, states["generators"], strict=True):
        generator.set_state(state)
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "numpy" in states:
        _set_numpy_state(states["numpy"])


def _numpy_state() -> dict[str, Any]:
    import numpy as np

    state: Any = np.random.get_state(legacy=True)
    _, key, position, has_gauss, gauss = state
    numbers = torch.from_numpy(key.astype("int64"))
    return {"key": numbers, "position": position, "has_gauss": has_gauss, "gauss": gauss}


def _set_numpy_state(state: Mapping[str, Any]) -> None:
    import numpy as np

    key = state["key"].numpy().astype("uint32")
    np.random.set_state(("MT19937", key, state["position"], state["has_gauss"], state["gauss"]))
