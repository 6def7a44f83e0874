"""Masks that a Keras layer takes off its inputs: which later layers find none.

Keras's MultiHeadAttention removes the masks of the very tensors that it is called on. A layer that
runs after it and is called on one of them finds no mask; one that runs before does. Where it is not
clear which of the two a layer does, or which tensors are the same, the call is refused.
"""

from collections.abc import Callable, Iterable, Iterator

from torchbp.port.architecture import Architecture, LayerSpec, Source, sources_in
from torchbp.port.config import UnsupportedError

TAKES_MASKS_OFF = "MultiHeadAttention"
# They give in evaluation the tensor that they got.
_PASS_IT_ON = {
    *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
    *("Identity", "Activation", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
}
_Call = tuple[str, int]


def check_taken_off(
    architecture: Architecture, spec: LayerSpec, index: int, masked: set[Source]
) -> None:
    """Refuses a call that takes off masks with which it is not clear what others do.

    Args:
        architecture: the model's.
        spec: the layer that takes them off.
        index: which of its calls.
        masked: the tensors with a mask that it is called on.

    Raises:
        UnsupportedError: a layer that may run before or after it is called on one of them, or on
            what is the same tensor in evaluation alone.
    """
    here = (spec.name, index)
    calls = {
        (layer.name, number): set(found.sources())
        for layer in architecture.layers
        for number, found in enumerate(layer.calls)
    }
    before, after = _before(calls, here), _after(calls, here)
    for source in _same(architecture, masked):
        users = {key for key, sources in calls.items() if source in sources} - {here} - before
        is_given = source in set(sources_in(architecture.outputs))
        unclear = users if source not in masked else users - after
        if unclear or (is_given and source not in masked):
            names = ", ".join(sorted({name for name, _ in unclear})) or "the model's outputs"
            raise UnsupportedError(
                f"the mask of {source.layer}, which Keras takes off here, and which {names} may "
                "find or not"
            )


def _same(architecture: Architecture, sources: Iterable[Source]) -> set[Source]:
    """The sources, and all that are one tensor with them in evaluation."""
    pairs = [
        (source, Source(layer.name, number, 0))
        for layer in architecture.layers
        if layer.class_name in _PASS_IT_ON
        for number, found in enumerate(layer.calls)
        for source in list(found.sources())[:1]
    ]
    known = set(sources)
    while True:
        more = {b for a, b in pairs if a in known} | {a for a, b in pairs if b in known}
        if more <= known:
            return known
        known |= more


def _before(calls: dict[_Call, set[Source]], here: _Call) -> set[_Call]:
    """All calls whose results the call depends on."""

    def needed(key: _Call) -> Iterator[_Call]:
        for source in calls.get(key, ()):
            yield source.layer, source.call

    return _reached(here, needed)


def _after(calls: dict[_Call, set[Source]], here: _Call) -> set[_Call]:
    """All calls that depend on the result of the call."""

    def users(key: _Call) -> Iterator[_Call]:
        for other, sources in calls.items():
            if any((source.layer, source.call) == key for source in sources):
                yield other

    return _reached(here, users)


def _reached(start: _Call, neighbours: Callable[[_Call], Iterator[_Call]]) -> set[_Call]:
    found: set[_Call] = set()
    waiting = [start]
    while waiting:
        for key in neighbours(waiting.pop()):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found
