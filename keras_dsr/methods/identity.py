"""Which method it is: what is stored with a model, so that a schedule goes on where the same method left off."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

_LARGEST = 2**31 - 1


def digest(method) -> int:
    """A number in `[1, 2**31 - 1]` of a method's class and arguments, the same in every process.

    Of an argument that is a function its name alone counts, and one at its default does not: a later version may have
    more of them.

    Args:
        method: a method, or a tuple of what makes it.
    """
    return 1 + int.from_bytes(hashlib.sha256(_spelled(method).encode()).digest()[:8], "little") % _LARGEST


def _spelled(value) -> str:
    if dataclasses.is_dataclass(value):
        arguments = {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if getattr(value, field.name) != field.default
        }
        return type(value).__qualname__ + _spelled(arguments)
    if hasattr(value, "update") and not isinstance(value, Mapping):
        return type(value).__qualname__  # a method that is no dataclass
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{key}:{_spelled(entry)}" for key, entry in value.items())) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ",".join(map(_spelled, value)) + "]"
    return repr(value)
