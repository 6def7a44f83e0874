"""Keras's own classes and functions as a file names them: a name and arguments, never code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torchbp.port.config import Config, UnsupportedError
from torchbp.port.registry import is_keras


def keras_object(found: Any, what: str) -> tuple[str, Config]:
    """The name and the arguments of one of Keras's classes, or the name of one of its functions.

    Args:
        found: a name, or a class with its configuration.
        what: what an error calls it.

    Raises:
        UnsupportedError: it is not Keras's, or no such thing.
    """
    if isinstance(found, str):
        return found, Config({})
    if not isinstance(found, Mapping) or not isinstance(found.get("class_name"), str):
        raise UnsupportedError(f"{what} {str(found)[:80]}, which is no object of Keras's")
    name, config = found["class_name"], found.get("config")
    module, registered = found.get("module"), found.get("registered_name")
    if module == "builtins" and name == "function":
        if not isinstance(config, str) or registered not in (None, "function", config):
            raise UnsupportedError(f"{what} {str(registered or config)[:80]}, of your own")
        return config, Config({})
    is_own = isinstance(module, str) and not is_keras(module)
    if is_own or registered not in (None, name) or ">" in name:
        raise UnsupportedError(f"{what} {str(registered or name)[:80]}, of your own")
    if not isinstance(config, Mapping):
        raise UnsupportedError(f"{what} {name} without a configuration")
    return name, Config(config)
