"""The seven levels: what must agree, one function each, yielding records."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from torchbp.parity import tolerances
from torchbp.parity.bench import Bench, Halves, Record
from torchbp.parity.cause import of_momentum, of_weights
from torchbp.parity.compare import (
    Measure,
    cosine_distance,
    difference,
    difference_in_layer,
    relative_error,
    relative_error_in_layer,
    relative_l2,
)
from torchbp.parity.diverge import Parting, first_shape
from torchbp.parity.keras_setup import REFERENCES
from torchbp.parity.optimizers import OptimizerPair, rounding
from torchbp.parity.torch_side import UnpairedError

Tensors = dict[str, Tensor]
_PARTS = ("trainable", "non-trainable")


def counts(bench: Bench) -> Iterator[Record]:
    """Level 1: parameters, of the whole and layer by layer."""
    halves = bench.halves(1)
    keras, ours = halves.keras, halves.torch
    layers = []
    for pair in bench.case.pairs:
        place = {"layer": pair.keras, "module": pair.torch}
        # what a pair without a kind contains counts in the pairs inside, or as held by none
        in_torch = ours.counts(pair) if pair.kind else (0, 0)
        for part, a, b in zip(_PARTS, keras.counts(pair), in_torch, strict=True):
            if a or b:
                layers.append(_count(bench, f"{part} in {pair.keras}", a, b, place))
    for name, (trainable, frozen) in ours.unpaired().items():
        place = {"layer": name, "module": name, "cause": "weights that no pair holds"}
        layers.append(_count(bench, f"all in {name}", 0, trainable + frozen, place))
    first = next((r for r in layers if not r["ok"]), {})
    place = {key: first[key] for key in ("layer", "module", "cause") if key in first}
    totals = keras.total_counts(), ours.total_counts()
    yield _count(bench, "total", sum(totals[0]), sum(totals[1]), place)
    for part, theirs, torchs in zip(_PARTS, *totals, strict=True):
        yield _count(bench, part, theirs, torchs, place)
    yield from layers


def shapes(bench: Bench) -> Iterator[Record]:
    """Level 2: shapes of outputs and layers, symbolic and for two concrete batches."""
    halves = bench.halves(2)
    large = halves.sizes
    halves.reset()
    smaller = replace(large, batch_size=large.batch_size // 2 + 1 if large.batch_size > 2 else 1)
    if halves.keras.has_free_sizes():
        smaller = replace(smaller, length=large.length * 3 // 4)
    small_inputs, inputs = (bench.case.batches(s, 1)[0].inputs for s in (smaller, large))
    parting = first_shape(
        bench.case, halves.keras.values(small_inputs), halves.torch.values(small_inputs)[0]
    )
    yield bench.record(2, "layers", int(parting is not None), 0, **_told(parting))
    symbolic = halves.torch.symbolic_outputs()
    if symbolic is not None:
        yield _shapes(bench, "symbolic outputs", symbolic, halves.keras.symbolic_outputs(), parting)
    for batch in (small_inputs, inputs):
        outputs, expected = halves.torch.predict(batch), halves.keras.predict(batch)
        rows = len(next(iter(batch.values())))
        yield _shapes(
            bench,
            f"outputs of a batch of {rows}",
            {name: tuple(output.shape) for name, output in outputs.items()},
            {name: tuple(output.shape) for name, output in expected.items()},
            parting,
        )


def forward(bench: Bench) -> Iterator[Record]:
    """Level 3: outputs in inference; before, the weights, if both halves have their own."""
    halves = bench.halves(3)
    if bench.case.own_weights:
        tensors = halves.torch.weights(), halves.weights
        record = bench.compared(3, "weights", tensors, difference, tolerances.EXACT.of(bench.dtype))
        if "weight" in record:
            record["cause"] = of_weights(*(side[record["weight"]] for side in tensors))
        yield record
    yield from _outputs(bench, 3, halves, training=False)


def training_forward(bench: Bench) -> Iterator[Record]:
    """Level 4: outputs and moving statistics in training mode, dropout off."""
    halves = bench.halves(4)
    yield from _outputs(bench, 4, halves, training=True)
    moving = [name for name in halves.weights if "running" in name]
    if moving:
        theirs, ours = halves.keras.weights(), halves.torch.weights()
        tensors = {n: ours[n] for n in moving}, {n: theirs[n] for n in moving}
        bound = tolerances.STATISTICS.of(bench.dtype)
        record = bench.compared(4, "moving statistics", tensors, relative_error, bound)
        yield record | _momentum(halves, record)


def _momentum(halves: Halves, record: Record) -> Record:
    """The cause of a failing record of moving statistics, if it is the momentum."""
    pair = next((pair for pair in halves.case.pairs if pair.keras == record.get("layer")), None)
    module = halves.torch.module(pair) if pair else None
    if pair is None or module is None:
        return {}
    cause = of_momentum(module, halves.keras.described(pair)[0])
    return {"cause": cause} if cause else {}


def gradients(bench: Bench) -> Iterator[Record]:
    """Level 5: the loss of a batch, and its gradient for every weight."""
    halves = bench.halves(5)
    halves.reset()
    batch = halves.batches(1)[0]
    expected_loss, expected = halves.keras.gradients(batch)
    loss, ours = halves.torch.gradients(batch)
    zeros = _zero_gradients(bench, expected)
    tensors = _without(ours, zeros), _without(expected, zeros)
    if bench.case.large and bench.dtype == "float32":
        tensors = _as_one(tensors[0]), _as_one(tensors[1])
    records = [
        bench.compared(5, what, tensors, measure, bound, backward=True)
        for what, measure, bound in _gradient_measures(bench)
    ]
    if zeros:
        bound = tolerances.GRADIENT.of(bench.dtype)
        what = "gradients that are zero in theory"
        records.append(
            bench.compared(5, what, (ours, expected), difference_in_layer, bound, True, zeros)
        )
    first = next((r for r in records if not r["ok"]), {})
    error, bound = relative_error(loss, expected_loss), tolerances.LOSS.of(bench.dtype)
    place = {"layer": first.get("layer", bench.case.heads[-1].name)}
    yield bench.record(5, "loss", error, bound, **({} if error <= bound else place))
    yield from records


def training(bench: Bench) -> Iterator[Record]:
    """Level 6: every weight and the loss curve after some steps of each optimizer."""
    for optimizer in bench.case.optimizers:
        yield from _trained(bench, optimizer)


def return_trip(bench: Bench) -> Iterator[Record]:
    """Level 7: trained torch weights in the Keras model and in its file give the same outputs."""
    halves = bench.halves(7)
    halves.reset()
    batches = halves.batches(3)
    rounded = rounding(bench.reference)
    halves.torch.train(bench.case.optimizers[0], batches, (), rounded, per_lookup=False)
    trained, inputs = halves.torch.weights(), batches[0].inputs
    halves.keras.load(trained)
    reloaded = halves.keras.reloaded()
    outputs = halves.keras.predict(inputs)
    from_file = reloaded.predict(inputs)
    exact, bound = tolerances.EXACT.of(bench.dtype), tolerances.FORWARD.of(bench.dtype)
    for what, tensors in {
        "weights in Keras": (halves.keras.weights(), trained),
        "weights in its file": (reloaded.weights(), trained),
    }.items():
        yield bench.compared(7, what, tensors, difference, exact)
    # two copies of a network of any kind do not always add in the same order, with equal weights
    same = (difference, exact) if bench.case.source else (relative_error, bound)
    yield bench.compared(7, "outputs of its file", (from_file, outputs), *same)
    tensors = from_file, halves.torch.predict(inputs)
    yield bench.compared(7, "outputs of its file and of torch", tensors, relative_error, bound)


LEVELS: dict[int, Callable[[Bench], Iterator[Record]]] = {
    1: counts,
    2: shapes,
    3: forward,
    4: training_forward,
    5: gradients,
    6: training,
    7: return_trip,
}


def measure(bench: Bench, level: int) -> list[Record]:
    """The records of one level; where a model cannot be run, one that says why."""
    records: list[Record] = []
    try:
        records.extend(LEVELS[level](bench))
    except Exception as error:  # a model that cannot be run is a verdict, not the end of the run
        cause = f"{type(error).__name__}: {error}"
        place = _place_of(bench, level, error)
        records.append(bench.record(level, "run", float("inf"), 0.0, cause=cause, **place))
    return records


def _place_of(bench: Bench, level: int, error: Exception) -> Record:
    """The layer at which a model that raised an error stopped or went wrong."""
    if isinstance(error, UnpairedError):
        return {"layer": error.layer}
    if level not in (2, 3, 4):
        return {}
    try:
        halves = bench.halves(level)
        parting = halves.parting(level == 4, tolerances.FORWARD.of(bench.dtype))
    except Exception:  # nothing more can be said than what the first error says
        return {}
    return {"layer": parting.layer, "module": parting.module} if parting else {}


def _count(bench: Bench, what: str, keras: int, ours: int, place: Record) -> Record:
    more = {} if keras == ours else place
    return bench.record(1, what, abs(keras - ours), 0, keras=keras, torch=ours, **more)


def _shapes(
    bench: Bench, what: str, ours: dict[str, Any], theirs: dict[str, Any], parting: Parting | None
) -> Record:
    wrong = [name for name, shape in theirs.items() if ours[name] != shape]
    if not wrong:
        return bench.record(2, what, 0, 0)
    cause = f"expected shape {theirs[wrong[0]]}, got {ours[wrong[0]]}"
    place = parting or Parting(wrong[0], wrong[0], cause)
    return bench.record(2, what, len(wrong), 0, **_told(place))


def _outputs(bench: Bench, level: int, halves: Halves, training: bool) -> Iterator[Record]:
    halves.reset()
    inputs = halves.batches(1)[0].inputs
    theirs, ours = halves.keras.predict(inputs, training), halves.torch.predict(inputs, training)
    bound = tolerances.FORWARD.of(bench.dtype)
    parting = None
    for name, expected in theirs.items():
        error = relative_error(ours[name], expected)
        if not error <= bound:
            parting = parting or halves.parting(training, bound) or Parting(name, name)
        yield bench.record(level, f"output {name}", error, bound, **_told(parting))


def _zero_gradients(bench: Bench, gradients: Tensors) -> Collection[str]:
    """The weights whose gradient is zero in theory: as the case says, or as Keras has it."""
    if bench.case.zero_gradients is not None:
        return bench.case.zero_gradients
    sizes = {name: gradient.abs().max().item() for name, gradient in gradients.items()}
    layers: dict[str, float] = {}
    for name, size in sizes.items():
        layer = name.rpartition(".")[0]
        layers[layer] = max(layers.get(layer, 0.0), size)
    return [n for n, size in sizes.items() if 0 < size <= 1e-10 * layers[n.rpartition(".")[0]]]


def _without(gradients: Tensors, names: Collection[str]) -> Tensors:
    return {name: gradient for name, gradient in gradients.items() if name not in names}


def _as_one(gradients: Tensors) -> Tensors:
    """The gradient of the whole net as one vector: flipped relus are felt most in small tensors."""
    return {"every weight": torch.cat([gradient.flatten() for gradient in gradients.values()])}


def _gradient_measures(bench: Bench) -> list[tuple[str, Measure, float]]:
    if bench.dtype == "float64":
        return [("gradients", relative_error_in_layer, tolerances.GRADIENT.float64)]
    if bench.case.smooth:
        return [("gradients", relative_error_in_layer, tolerances.GRADIENT.float32)]
    return [
        ("gradients, length", relative_l2, tolerances.GRADIENT_LENGTH.float32),
        ("gradients, direction", cosine_distance, tolerances.GRADIENT_DIRECTION.float32),
    ]


def _trained(bench: Bench, optimizer: OptimizerPair) -> Iterator[Record]:
    halves, rounded = bench.halves(6), rounding(bench.reference)
    halves.reset()
    last = 10 if bench.case.deep and bench.dtype == "float32" else optimizer.steps
    keep = [step for step in bench.case.steps if step <= last]
    batches = halves.batches(max(keep))
    sparse = (
        optimizer.adaptive and bench.reference == REFERENCES[0] and halves.torch.has_embedding()
    )
    expected_losses, expected = halves.keras.train(optimizer, batches, keep, rounded)
    losses, ours = halves.torch.train(optimizer, batches, keep, rounded, per_lookup=sparse)
    blame: Record = {}
    for step in keep:
        what = f"{optimizer.name}, {_steps(step)}" + (", squares per look-up" if sparse else "")
        bound = tolerances.training(optimizer.adaptive, step, bench.case.smooth, bench.case.large)
        measure, tolerance = _weight_measure(bench, optimizer, step, bound.of(bench.dtype))
        tensors = ours[step], expected[step]
        only = None
        if measure is difference and bench.case.large:
            # steps bound what is trained; running statistics are those of activations
            only = [name for name in expected[step] if "running" not in name]
        weights = bench.compared(6, f"{what}: weights", tensors, measure, tolerance, only=only)
        if not weights["ok"]:
            blame = blame or {key: weights[key] for key in ("layer", "module", "weight")}
            weights |= blame
        if tolerance < inf:
            yield weights
        error = ((losses - expected_losses).abs() / expected_losses.abs())[:step].max().item()
        more = {} if error <= bound.of(bench.dtype) else blame
        yield bench.record(6, f"{what}: losses", error, bound.of(bench.dtype), **more)


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _weight_measure(
    bench: Bench, optimizer: OptimizerPair, steps: int, tolerance: float
) -> tuple[Measure, float]:
    if bench.dtype == "float32" and optimizer.adaptive:
        return difference, tolerances.adaptive_weights_float32(optimizer.lr, steps)
    if bench.dtype == "float32" and bench.case.large:
        return relative_error, inf  # flipped relus have spread; the losses tell
    return relative_error, tolerance


def _told(parting: Parting | None) -> Record:
    if parting is None:
        return {}
    told = {"layer": parting.layer, "module": parting.module, "cause": parting.cause}
    return {key: value for key, value in told.items() if value}
