"""One test for every layer: what a layer owes to models, trainers and files."""

import copy
import io
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from torchbp.graph import Input, Layer, Model, SymbolicTensor, call
from torchbp.graph.structure import leaves
from torchbp.graph.symbolic import known_shape

Shape = tuple[int | None, ...]

# Other sizes than those that stand in for unknown ones when shapes are inferred.
BATCHES = (4, 7)
UNKNOWN = (6, 11)


def check_layer(
    make: Callable[[], nn.Module],
    *input_shapes: Shape,
    dtype: torch.dtype | Sequence[torch.dtype] = torch.float32,
    train_differs: bool = False,
) -> None:
    """Test that a layer keeps what models, trainers and files rely on.

    For random data of two batch sizes: a call leaves its input as it was; in evaluation it gives
    the same result twice and draws no random numbers; training and evaluation differ only if
    that is declared; a state dict and a deep copy make an equal layer; gradients reach every
    parameter and every floating-point input; symbolic shapes and dtypes are those of real calls;
    a Model of the layer, and a Model in a Model, give what the layer gives, with the layer's
    parameters; torch.export takes it with a dynamic batch.

    Args:
        make: creates the layer; called several times, with the same settings each time.
        *input_shapes: shape of each input without the batch, None where the size is free.
        dtype: of all inputs, or one for each. Integers are drawn from 0 and 1.
        train_differs: whether training is meant to differ from evaluation, in its output or in
            what it does to the buffers.

    Raises:
        AssertionError: the layer lacks one of these; the message says which. What the layer
            itself raises keeps its type, with a note of what was tested.

    Example:
        >>> from torchbp.layers import Dropout, Linear, check_layer
        >>> check_layer(lambda: Linear(8, 3), (8,))
        >>> check_layer(Dropout, (8,), train_differs=True)
        >>> check_layer(Dropout, (8,))
        Traceback (most recent call last):
        ...
        AssertionError: Dropout: training differs from evaluation, which was not declared.
          To mend it: pass train_differs=True if it is meant to.
    """
    dtypes = [dtype] * len(input_shapes) if isinstance(dtype, torch.dtype) else list(dtype)
    case = _Case(make, input_shapes, dtypes, train_differs)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for what, check in _CHECKS.items():
            try:
                check(case)
            except AssertionError:
                raise
            except Exception as error:
                error.add_note(f"in check_layer: {what}")
                raise


@dataclass
class _Case:
    """How to make the layer and its input."""

    make: Callable[[], nn.Module]
    shapes: Sequence[Shape]
    dtypes: Sequence[torch.dtype]
    train_differs: bool

    def data(self, batch: int = 0, unknown: int = 0) -> list[Tensor]:
        """Random input; 0 and 1 are the first and the second of the sizes to try."""
        sizes = [
            (BATCHES[batch], *(UNKNOWN[unknown] if size is None else size for size in shape))
            for shape in self.shapes
        ]
        return [
            torch.randn(size, dtype=dtype)
            if dtype.is_floating_point
            else torch.randint(0, 2, size).to(dtype)
            for size, dtype in zip(sizes, self.dtypes, strict=True)
        ]

    def layer(self) -> nn.Module:
        """A new layer in evaluation mode, lazy ones with weights."""
        layer = self.make()
        layer(*self.data())
        return layer.eval()

    def symbolic(self) -> list[SymbolicTensor]:
        """Symbolic input."""
        return [Input(shape, dtype) for shape, dtype in zip(self.shapes, self.dtypes, strict=True)]

    def model(self, layer: nn.Module) -> Model:
        """A model of the layer alone; its output is the list of the layer's tensors."""
        inputs = self.symbolic()
        return Model(inputs, _connect(layer, inputs))

    def fail(self, fault: str, remedy: str) -> NoReturn:
        """Raise the error for a property that the layer lacks."""
        raise AssertionError(f"{type(self.make()).__name__}: {fault}.\n  To mend it: {remedy}.")


def _check_input_is_left_alone(case: _Case) -> None:
    for training in (False, True):
        layer, data = case.layer().train(training), case.data()
        before = copy.deepcopy(data)
        layer(*data)
        if not _equal(data, before):
            case.fail("a call changes its input in place", "compute a new tensor")


def _check_evaluation_is_repeatable(case: _Case) -> None:
    layer, data = case.layer(), case.data()
    state = torch.get_rng_state()
    first = _tensors(layer(*data))
    if not torch.equal(torch.get_rng_state(), state):
        case.fail("evaluation draws random numbers", "draw them only if self.training")
    if not _equal(first, _tensors(layer(*data))):
        case.fail("a second call in evaluation gives another output", "keep no state in evaluation")


def _check_training(case: _Case) -> None:
    layer, data = case.layer(), case.data()
    evaluated, buffers = _tensors(layer(*data)), copy.deepcopy(list(layer.buffers()))
    trained = _tensors(layer.train()(*data))
    # compared with the tolerance of the dtype: some kernels for evaluation round differently
    differs = not _close(trained, evaluated) or not _equal(list(layer.buffers()), buffers)
    if differs and not case.train_differs:
        case.fail(
            "training differs from evaluation, which was not declared",
            "pass train_differs=True if it is meant to",
        )
    if case.train_differs and not differs:
        case.fail(
            "training was declared to differ from evaluation and does not",
            "use self.training, or leave out train_differs=True",
        )


def _check_symbolic_outputs(case: _Case) -> None:
    layer = case.layer()
    symbolic = _connect(layer, case.symbolic())
    told = [(known_shape(*tensor.samples), tensor.dtype) for tensor in symbolic]
    for run in (0, 1):
        got = [
            (tuple(tensor.shape), tensor.dtype) for tensor in _tensors(layer(*case.data(run, run)))
        ]
        if len(told) != len(got) or not all(map(_fits, told, got)):
            case.fail(
                f"symbolic outputs are {told}, those of a batch of {BATCHES[run]} are {got}",
                "let the output's shape follow from the input's, whatever its sizes",
            )


def _check_models(case: _Case) -> None:
    layer, data = case.layer(), case.data(1, 1)
    model, inputs = case.model(layer), case.symbolic()
    outer = Model(inputs, model(*inputs))
    for what, module in (("a model of it", model), ("a model of a model of it", outer)):
        for training in (False, True):
            alone = copy.deepcopy(layer).train(training)
            if not _equal(_seeded(module.train(training), data), _seeded(alone, data)):
                case.fail(
                    f"{what} gives another output", "let forward depend on its arguments and state"
                )
        if set(module.parameters()) != set(layer.parameters()):
            case.fail(f"{what} has other parameters", "register them as nn.Parameter")


def _check_state_dict(case: _Case) -> None:
    trained, loaded, data = _disturbed(case.layer()), case.layer(), case.data()
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    if not _equal(_tensors(loaded(*data)), _tensors(trained(*data))):
        case.fail(
            "a layer with the same state_dict gives another output",
            "register what the output depends on as a parameter or a persistent buffer",
        )


def _check_deep_copy(case: _Case) -> None:
    layer, data = _disturbed(case.layer()), case.data()
    expected = _tensors(layer(*data))
    copied = copy.deepcopy(layer)
    if not _equal(_tensors(copied(*data)), expected):
        case.fail("a deep copy gives another output", "keep all state in parameters and buffers")
    _disturbed(copied)
    if not _equal(_tensors(layer(*data)), expected):
        case.fail("a deep copy shares parameters with the layer", "do not override __deepcopy__")


def _check_gradients(case: _Case) -> None:
    layer, data = case.layer().train(), case.data()
    expecting = dict(layer.named_parameters()) | {
        f"input {i}": tensor.requires_grad_()
        for i, tensor in enumerate(data)
        if tensor.is_floating_point()
    }
    outputs = [tensor for tensor in _tensors(layer(*data)) if tensor.requires_grad]
    if outputs:
        torch.autograd.backward(outputs, [torch.randn_like(tensor) for tensor in outputs])
    for name, tensor in expecting.items():
        if not tensor.requires_grad:
            continue
        if tensor.grad is None or not tensor.grad.isfinite().all() or not tensor.grad.any():
            state = "none" if tensor.grad is None else "zero or not finite"
            case.fail(f"the gradient of {name} is {state}", "let the output depend on it smoothly")


def _check_export(case: _Case) -> None:
    model, data, other = case.model(case.layer()).eval(), case.data(), case.data(batch=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch's exporter remarks on is its own doing
        exported = torch.export.export(
            model, tuple(data), dynamic_shapes=tuple({0: torch.export.Dim.AUTO} for _ in data)
        )
    try:
        outputs = _tensors(exported.module()(*other))
    except (AssertionError, RuntimeError) as error:
        case.fail(f"exported, it has a fixed batch ({error})", "use sizes of the input as they are")
    if not _close(outputs, _tensors(model(*other))):
        case.fail("exported, it gives another output", "use torch's operations only")


_CHECKS: dict[str, Callable[[_Case], None]] = {
    "a call leaves its input alone": _check_input_is_left_alone,
    "evaluation is repeatable": _check_evaluation_is_repeatable,
    "training differs from evaluation only if declared": _check_training,
    "a state dict makes an equal layer": _check_state_dict,
    "a deep copy is equal and apart": _check_deep_copy,
    "gradients reach parameters and inputs": _check_gradients,
    "symbolic outputs are those of real calls": _check_symbolic_outputs,
    "a model, alone and nested, gives what the layer gives": _check_models,
    "torch.export takes it with a dynamic batch": _check_export,
}


def _connect(layer: nn.Module, inputs: list[SymbolicTensor]) -> list[SymbolicTensor]:
    """The symbolic tensors that a layer gives for symbolic input."""
    outputs = layer(*inputs) if isinstance(layer, Layer) else call(layer, *inputs)
    return [leaf for leaf in leaves(outputs) if isinstance(leaf, SymbolicTensor)]


def _tensors(outputs: Any) -> list[Tensor]:
    return [leaf for leaf in leaves(outputs) if isinstance(leaf, Tensor)]


def _seeded(module: nn.Module, data: list[Tensor]) -> list[Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _tensors(module(*data))


def _disturbed(layer: nn.Module) -> nn.Module:
    """The layer with parameters that no initialisation gives."""
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return layer


def _fits(told: tuple[Shape, torch.dtype], got: tuple[Shape, torch.dtype]) -> bool:
    same_rank = len(told[0]) == len(got[0])
    sizes = zip(told[0], got[0], strict=False)
    return same_rank and told[1] == got[1] and all(a is None or a == b for a, b in sizes)


def _equal(actual: list[Tensor], expected: list[Tensor]) -> bool:
    return len(actual) == len(expected) and all(map(torch.equal, actual, expected))


def _close(actual: list[Tensor], expected: list[Tensor]) -> bool:
    try:
        torch.testing.assert_close(actual, expected)
    except AssertionError:
        return False
    return True
