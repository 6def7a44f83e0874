"""The hyperparameters of a run in TensorBoard's table, beside the metrics that it came to."""

from collections.abc import Iterable, Mapping
from typing import Any

from torchbp.errors import DataError

Value = bool | int | float | str


def check_hyperparameters(values: Mapping[str, Value]) -> None:
    """Refuses what the table cannot show.

    Raises:
        DataError: a value that is no number, string or bool.
    """
    for name, value in values.items():
        if not isinstance(value, bool | int | float | str):
            raise DataError(
                f"TensorBoard: hyperparameters: expected numbers, strings and bools, got "
                f"{name}={value!r}, a {type(value).__name__}.\n"
                f"  To mend it: pass {name}=str(value)."
            )


def session_start(values: Mapping[str, Value]) -> Any:
    """The summary that a run has these hyperparameters."""
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo()
    for name, value in values.items():
        setattr(info.hparams[name], f"{_kind(value)}_value", value)
    return _summary(SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def session_end(has_finished: bool) -> Any:
    """The summary that a run has come to its end, or has failed."""
    from tensorboard.plugins.hparams.api_pb2 import Status
    from tensorboard.plugins.hparams.metadata import SESSION_END_INFO_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = Status.STATUS_SUCCESS if has_finished else Status.STATUS_FAILURE
    info = SessionEndInfo(status=status)
    return _summary(SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def experiment(values: Mapping[str, Value], tags: Iterable[str]) -> Any:
    """The summary of the table's columns.

    Args:
        values: the hyperparameters.
        tags: of the scalars of the same run that are its metrics.
    """
    from tensorboard.plugins.hparams.api_pb2 import DataType, Experiment
    from tensorboard.plugins.hparams.metadata import EXPERIMENT_TAG
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    types = {
        "bool": DataType.DATA_TYPE_BOOL,
        "number": DataType.DATA_TYPE_FLOAT64,
        "string": DataType.DATA_TYPE_STRING,
    }
    table = Experiment()
    for name, value in values.items():
        table.hparam_infos.add(name=name, type=types[_kind(value)])
    for tag in tags:
        table.metric_infos.add(display_name=tag.rpartition("/")[2]).name.tag = tag
    return _summary(EXPERIMENT_TAG, HParamsPluginData(experiment=table))


def _kind(value: Value) -> str:
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def _summary(tag: str, data: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams.metadata import create_summary_metadata

    return Summary(value=[Summary.Value(tag=tag, metadata=create_summary_metadata(data))])
