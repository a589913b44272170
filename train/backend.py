"""The backend of Keras is fixed when Keras is imported: the flag `--backend` is read before anything else."""

import importlib.util
import os
import sys
from collections.abc import Sequence

BACKENDS = ("tensorflow", "jax", "torch")


def choose_backend(arguments: Sequence[str]) -> None:
    """Have Keras, which must not be imported yet, take the backend that a command line asks for, if it asks for one.

    Args:
        arguments: the command line, such as `sys.argv`. What is wrong with `--backend` itself, the settings say.
    """
    asked = _value_of("backend", arguments)
    if asked not in BACKENDS:
        return
    if importlib.util.find_spec(asked) is None:
        sys.exit(
            f"error: --backend={asked} needs the package {asked!r}, which is not installed here. "
            f"Install it: pip install {asked}"
        )
    os.environ["KERAS_BACKEND"] = asked


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """The value of a flag, the last where it is given twice; as absl reads it, `--flag=value` or `--flag value`."""
    value = None
    for argument, following in zip(arguments, [*arguments[1:], None]):
        name, equals, given = argument.lstrip("-").partition("=")
        if argument == "--":
            break
        if argument.startswith("-") and name == flag:
            value = given if equals else following
    return value
