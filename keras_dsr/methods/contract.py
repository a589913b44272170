"""What makes an object a method: two functions, and constants that have defaults."""

from typing import Any, NamedTuple

from keras_dsr.arguments import is_number


class Constants(NamedTuple):
    """What a method says of itself (see `View`); the defaults are those of a method that does not say it."""

    conserves: bool = False
    every_step: bool = False
    gradient_decay: float | None = None
    grows_compact: bool = False


def constants_of(method: Any) -> Constants:
    """The constants of a method; it need not define any."""
    return Constants(**{name: getattr(method, name, value) for name, value in Constants._field_defaults.items()})


def check_method(method: Any, owner: str) -> None:
    """Raise `TypeError` if this is no method, `ValueError` if one of its constants is out of range.

    Args:
        method: what was given.
        owner: who asks, in call form (`"Reallocate"`), for the message.
    """
    lacking = [name for name in ("init", "update") if not callable(getattr(method, name, None))]
    why = f" (of type {type(method).__name__}), which has no {' and no '.join(lacking)} to call"
    if isinstance(method, type):
        why = f", which is a class: make an instance of it, such as {method.__name__}()"
    if isinstance(method, type) or lacking:
        raise TypeError(
            f"{owner}(method=...) must be a method, such as keras_dsr.methods.DSR(target=600), or an object of one's "
            f"own with init(view) and update(view, state, seed). Received: method={method!r}{why}"
        )
    constants = constants_of(method)
    decay = constants.gradient_decay
    wrong = {name: "True or False" for name, value in constants._asdict().items() if not isinstance(value, bool)}
    wrong.pop("gradient_decay", None)
    if not (decay is None or (is_number(decay) and 0 <= decay < 1)):
        wrong["gradient_decay"] = "None or a float in [0, 1)"
    for name, expected in wrong.items():
        raise ValueError(
            f"{owner}(method=...) has a constant {name!r} that must be {expected}. Received: method={method!r}, of "
            f"which it is {getattr(constants, name)!r}"
        )
