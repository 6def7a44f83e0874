"""Recurrent layers, both ways, and recurrences of cells.

Where torch's kernels compute what Keras does, the port has them. Masks that may have holes, other
activations, a reset gate before the product, and dropout within the recurrence are those of
`torchbp.layers.recurrent_loops`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from torchbp import layers
from torchbp.layers import recurrent_cells
from torchbp.layers.recurrent_loops import Merge, merged
from torchbp.port.config import UnsupportedError
from torchbp.port.converters.masking import boolean, is_mask_given
from torchbp.port.converters.recurrent_config import (
    CELL_KINDS,
    LAYER_KINDS,
    Cell,
    CellKind,
    Run,
    inner,
    inner_config,
    read_cell,
    read_run,
)
from torchbp.port.layer_weights import Kind
from torchbp.port.registry import Layer, Weights, keras_layer
from torchbp.port.values import Value

_MERGES: dict[Any, Merge] = {
    "concat": "concat",
    "sum": "sum",
    "ave": "mean",
    "mul": "product",
    None: None,
}


@dataclass(frozen=True)
class Given:
    """What a recurrent layer is called with.

    Args:
        value: the sequence.
        mask: which steps count; None for all, or where Keras looks at none.
        states: the first states, or None for zeros.
    """

    value: Value
    mask: Any
    states: tuple[Any, ...] | None

    def flipped(self) -> "Given":
        """From the last step to the first."""
        mask = None if self.mask is None else self.mask.flip(1)
        return Given(Value(self.value.as_keras().flip(1)), mask, self.states)


def given_of(layer: Layer, x: Any, initial_state: Any, num_states: int) -> Given:
    """The sequence, its mask and the first states of a call.

    Raises:
        UnsupportedError: they are no such things.
    """
    if isinstance(x, list | tuple):  # as tf.keras has it
        x, *more = x
        initial_state = more or initial_state
    if not isinstance(x, Value):
        raise UnsupportedError("a call with something else than a tensor")
    states = None if initial_state is None else tuple(_flat(initial_state))
    if states is not None and len(states) != num_states:
        raise UnsupportedError(f"{len(states)} initial states, not {num_states}")
    mask = x.mask
    if mask is not None and states is not None and not is_mask_given(layer):
        if not all(call.shapes for call in layer.spec.calls):
            raise UnsupportedError("a mask and an initial state in a file of tf.keras 2")
        mask = None  # Keras 3 finds the mask of a tensor only where it is the one argument
    if mask is not None and mask.ndim != 2:
        raise UnsupportedError(f"a mask of {mask.ndim} axes")
    return Given(x, None if mask is None else boolean(mask), states)


def _flat(states: Any) -> list[Any]:
    if isinstance(states, Value):
        return [states.as_keras()]
    if not isinstance(states, list | tuple):
        raise UnsupportedError("an initial state that is no tensor")
    return [tensor for state in states for tensor in _flat(state)]


def results(run: Run, given: Given, outputs: Sequence[Value], states: Sequence[Value]) -> Any:
    """What the layer gives: the outputs, with the mask where they are sequences, and the states."""
    mask = given.value.mask if run.sequences else None
    found = [value.masked(mask) for value in outputs]
    if run.state:
        found += states
    return found[0] if len(found) == 1 else found


def _port_layer(kind: CellKind) -> Any:
    def port(layer: Layer, x: Any, initial_state: Any = None) -> Any:
        cell, run = read_cell(layer.config, kind), read_run(layer.config)
        given = given_of(layer, x, initial_state, cell.num_states)
        return _one_way(layer, cell, run, given)

    return port


for _name, _kind in LAYER_KINDS.items():
    keras_layer(_name, masks="own")(_port_layer(_kind))


def _one_way(layer: Layer, cell: Cell, run: Run, given: Given) -> Any:
    """A layer of one cell in one direction."""
    check_unrolled(run, given)
    _check_sequence(given)
    towards = given.flipped() if run.backwards else given
    if cell.has_kernel and given.mask is None and not cell.dropout:
        output, states = _by_kernel(layer, cell, run, towards)
    else:
        knows_states = given.mask is None or not run.state or cell.kind != "lstm"
        part, kind = _loop_part(cell, knows_states)
        rnn = layer.module(
            _loop,
            cell,
            given.value.channels,
            run.zero_masked,
            knows_states,
            weights=Weights(kind, cell.names, part=part),
        )
        output, states = rnn(towards.value.as_keras(), towards.mask, towards.states)
        output = output if run.sequences else output[:, -1]
    return results(run, given, [Value(output)], [Value(state) for state in states])


def _by_kernel(layer: Layer, cell: Cell, run: Run, given: Given) -> tuple[Any, list[Any]]:
    last_only = not (run.sequences or run.state)
    rnn = layer.module(
        _kernel,
        cell,
        given.value.channels,
        False,
        last_only,
        weights=Weights(cast(Kind, cell.kind), cell.names),
    )
    args: list[Any] = [given.value.as_keras()]
    if given.states is not None:
        parts = tuple(state.unsqueeze(0) for state in given.states)
        args.append(parts if cell.kind == "lstm" else parts[0])
    if last_only:
        return rnn(*args), []
    output, last = rnn(*args)
    states = [part[0] for part in (last if cell.kind == "lstm" else [last])]
    return output if run.sequences else states[0], states


def _kernel(
    cell: Cell, in_features: int, bidirectional: bool, last_output: bool, name: str
) -> nn.Module:
    options: dict[str, Any] = {"bidirectional": True} if bidirectional else {}
    if last_output:
        options["last_output"] = True
    return cell.kernel(in_features, name=name, **options)


def _loop_part(cell: Cell, knows_states: bool) -> tuple[str, Kind]:
    """Where `_loop` has the weights, and how."""
    if cell.has_kernel and knows_states:
        return "rnn", cell.kind
    return "cell", cast(Kind, f"{cell.kind}_cell")


def _loop(
    cell: Cell, in_features: int, zero_masked: bool, knows_states: bool, name: str | None = None
) -> Any:
    """A recurrence with masks and dropout.

    Args:
        cell: its arguments.
        in_features: of a step.
        zero_masked: whether the output of a step that does not count is zero.
        knows_states: whether the states of torch's kernel are those that are wanted.
        name: of the module.
    """
    if cell.has_kernel and knows_states:
        kernel: Any = cell.kernel(in_features)
        return layers.MaskedRNN(kernel, cell.dropout, zero_masked, name=name)
    return layers.CellRNN(cell.cell(in_features), zero_masked, name=name)


def check_unrolled(run: Run, given: Given) -> None:
    """Refuses where TensorFlow takes the mask of an unrolled loop in the wrong direction.

    Raises:
        UnsupportedError: it does.
    """
    if run.unroll and run.backwards and run.zero_masked and given.mask is not None:
        raise UnsupportedError("unroll=True backwards with zeros for masked steps")


def _check_sequence(given: Given) -> None:
    if given.value.ndim != 3:
        raise UnsupportedError(f"an input with {given.value.ndim} axes")


@keras_layer("Bidirectional", masks="own")
def _bidirectional(layer: Layer, x: Any, initial_state: Any = None) -> Any:
    mode = layer.config.get("merge_mode", "concat")
    if mode not in _MERGES:
        raise UnsupportedError(f"merge_mode={mode!r}")
    (ahead, run), (back, back_run) = _directions(layer)
    if run.backwards or not back_run.backwards:
        raise UnsupportedError("a forward layer that goes backwards")
    if (run.sequences, run.state) != (back_run.sequences, back_run.state):
        raise UnsupportedError("two layers that give different things")
    given = given_of(layer, x, initial_state, ahead.num_states + back.num_states)
    _check_sequence(given)
    if run.sequences:
        check_unrolled(Run(True, run.state, True, True, back_run.unroll), given)
    merge = _MERGES[mode]
    if ahead == back and ahead.has_kernel and given.mask is None and not ahead.dropout:
        output, states = _both_by_kernel(layer, ahead, run, given, merge)
    else:
        output, states = _both_by_loops(layer, (ahead, back), run, given, merge)
    outputs = list(output) if merge is None else [output]
    return results(run, given, [Value(y) for y in outputs], [Value(state) for state in states])


def _directions(layer: Layer) -> list[tuple[Cell, Run]]:
    """The two layers, of which the second may be that of the first turned round."""
    name, values = inner(layer, layer.config.get("layer"))
    back = layer.config.get("backward_layer", None)
    back_name, back_values = inner(layer, back) if back is not None else (name, values)
    if back is None:
        back_values = {**values, "go_backwards": not values.get("go_backwards", False)}
    found = []
    for class_name, own in ((name, values), (back_name, back_values)):
        if class_name not in LAYER_KINDS:
            raise UnsupportedError(f"a {class_name} within")
        config = inner_config(layer, own)
        found.append((read_cell(config, LAYER_KINDS[class_name]), read_run(config)))
        config.check_all_read()
    return found


def _both_by_kernel(
    layer: Layer, cell: Cell, run: Run, given: Given, merge: Merge
) -> tuple[Any, list[Any]]:
    last_only = not (run.sequences or run.state)
    kinds = (cast(Kind, cell.kind), cast(Kind, f"{cell.kind}_reverse"))
    rnn = layer.module(
        _kernel,
        cell,
        given.value.channels,
        True,
        last_only,
        weights=tuple(Weights(kind, cell.names) for kind in kinds),
    )
    args: list[Any] = [given.value.as_keras()]
    if given.states is not None:
        count = cell.num_states
        parts = [torch.stack((given.states[n], given.states[n + count])) for n in range(count)]
        args.append(tuple(parts) if cell.kind == "lstm" else parts[0])
    if last_only:
        return _merged(rnn(*args), merge), []
    output, last = rnn(*args)
    parts = list(last) if cell.kind == "lstm" else [last]  # (2, N, H) each
    states = [part[direction] for direction in (0, 1) for part in parts]
    if run.sequences:
        return _merged(output, merge), states
    return merged(parts[0][0], parts[0][1], merge), states


def _merged(output: Any, merge: Merge) -> Any:
    """The joined outputs of two directions, merged."""
    if merge == "concat":
        return output
    ahead, back = output.chunk(2, -1)
    return merged(ahead, back, merge)


def _both_by_loops(
    layer: Layer, cells: tuple[Cell, Cell], run: Run, given: Given, merge: Merge
) -> tuple[Any, list[Any]]:
    knows_states = [given.mask is None or not run.state or c.kind != "lstm" for c in cells]
    weights = []
    for cell, knows, where in zip(cells, knows_states, ("forward", "backward"), strict=True):
        part, kind = _loop_part(cell, knows)
        weights.append(Weights(kind, cell.names, part=f"{where}_rnn.{part}"))
    rnn = layer.module(
        _both,
        cells,
        given.value.channels,
        tuple(knows_states),
        merge,
        run.sequences,
        weights=tuple(weights),
    )
    output, states = rnn(given.value.as_keras(), given.mask, given.states)
    return output, states


def _both(
    cells: tuple[Cell, Cell],
    in_features: int,
    knows_states: tuple[bool, bool],
    merge: Merge,
    sequences: bool,
    name: str,
) -> nn.Module:
    """Two recurrences; Keras has zeros for masked steps where they give sequences."""
    ahead, back = (
        _loop(cell, in_features, sequences, knows)
        for cell, knows in zip(cells, knows_states, strict=True)
    )
    return layers.BidirectionalRNN(ahead, back, merge, last_output=not sequences, name=name)


@keras_layer("RNN", masks="own")
def _rnn(layer: Layer, x: Any, initial_state: Any = None) -> Any:
    """A recurrence of a cell, which is a layer like the others, or of several."""
    run = read_run(layer.config)
    class_name, values = inner(layer, layer.config.get("cell"))
    if class_name != "StackedRNNCells":
        cell = _read_inner_cell(layer, class_name, values)
        return _one_way(layer, cell, run, given_of(layer, x, initial_state, cell.num_states))
    config = inner_config(layer, values)
    config.only("reverse_state_order", False)
    items = config.get("cells")
    config.check_all_read()
    if not isinstance(items, list) or len(items) < 2:
        raise UnsupportedError("a stack of less than two cells")
    cells = tuple(_read_inner_cell(layer, *inner(layer, item)) for item in items)
    return _stack(layer, cells, run, x, initial_state)


def _read_inner_cell(layer: Layer, class_name: str, values: Mapping[str, Any]) -> Cell:
    if class_name not in CELL_KINDS:
        raise UnsupportedError(f"a {class_name} within")
    config = inner_config(layer, values)
    cell = read_cell(config, CELL_KINDS[class_name])
    config.check_all_read()
    return cell


def _stack(layer: Layer, cells: tuple[Cell, ...], run: Run, x: Any, initial_state: Any) -> Any:
    given = given_of(layer, x, initial_state, sum(cell.num_states for cell in cells))
    check_unrolled(run, given)
    _check_sequence(given)
    towards = given.flipped() if run.backwards else given
    rnn = layer.module(
        _stacked,
        cells,
        given.value.channels,
        run.zero_masked,
        weights=tuple(
            Weights(cast(Kind, f"{cell.kind}_cell"), cell.names, part=f"cell.cells.{number}")
            for number, cell in enumerate(cells)
        ),
    )
    output, states = rnn(towards.value.as_keras(), towards.mask, towards.states)
    output = output if run.sequences else output[:, -1]
    return results(run, given, [Value(output)], [Value(state) for state in states])


def _stacked(cells: tuple[Cell, ...], in_features: int, zero_masked: bool, name: str) -> nn.Module:
    sizes = [in_features, *(cell.units for cell in cells)]
    made = [cell.cell(size) for cell, size in zip(cells, sizes, strict=False)]
    stack = recurrent_cells.StackedCells(made)
    return layers.CellRNN(stack, zero_masked, name=name)
