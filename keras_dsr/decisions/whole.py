"""Whole numbers among what users pass."""

import numbers


def is_whole(value) -> bool:
    """Whether a value is a whole number, and no bool."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def check_whole(value: int, least: int | None, owner: str, argument: str) -> int:
    """Return a value as an int, or raise `ValueError` if it is no whole number, or one below `least`.

    Args:
        value: what was given.
        least: the smallest that will do; None: any.
        owner: who asks, in call form (`"DSRCallback"`), for the message.
        argument: its name.
    """
    if is_whole(value) and (least is None or value >= least):
        return int(value)
    bound = "" if least is None else f" of at least {least}"
    raise ValueError(f"{owner}({argument}=...) must be an int{bound}. Received: {argument}={value!r}")
