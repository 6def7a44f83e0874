"""The errors of torchbp. Each message says who, what was expected, what came, how to mend it."""


class TorchbpError(Exception):
    """Root of every error that torchbp raises on purpose."""


class ShapeError(TorchbpError, ValueError):
    """A tensor has sizes that its receiver cannot take."""


class DtypeError(TorchbpError, TypeError):
    """A tensor has an element type that its receiver cannot take."""


class GraphError(TorchbpError, ValueError):
    """A functional graph is not one: unreachable, ambiguous, or not made of symbolic tensors."""


class DataError(TorchbpError, ValueError):
    """Data, targets or predictions do not fit each other or the model."""


class MissingExtraError(TorchbpError, ImportError):
    """An optional dependency is needed and not installed."""


def missing_extra(package: str, extra: str) -> MissingExtraError:
    """The error for an optional dependency that is not installed."""
    return MissingExtraError(
        f"this needs {package}, which is not installed.\n"
        f'  To mend it: pip install "torchbp[{extra}]"'
    )
