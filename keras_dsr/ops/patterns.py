"""Patterns as the user names them: what is pruned and grown as a whole, and which numbers of weights belong together.

What a pattern comes to for one tensor are `ops.units.Units`.
"""

import math
import re
from typing import Any

from keras_dsr.arguments import is_list, is_one_of, is_whole

Pattern = str | tuple[int, int]

NAMES = ("element", "kernel", "fan_in")
_N_OF_M = re.compile(r"([1-9]\d*):([1-9]\d*)")


def check_pattern(pattern: Any, owner: str) -> Pattern:
    """Return the pattern (a pair as a tuple), or raise `ValueError` if there is none such.

    Args:
        pattern: what was given.
        owner: who asks, in call form (`"SparseDense"`), for the message.
    """
    if is_one_of(pattern, NAMES) or n_of_m(pattern) is not None:
        return pattern
    is_pair = is_list(pattern) and len(pattern) == 2
    if is_pair and all(is_whole(size) and size >= 1 for size in pattern):
        rows, columns = map(int, pattern)
        return "element" if (rows, columns) == (1, 1) else (rows, columns)
    raise ValueError(
        f"{owner}(pattern=...) must be 'element' (single weights), 'kernel' (k x k slices of a convolution), a pair of "
        "positive ints such as (4, 1) (blocks of 4 neighbouring inputs by 1 output), 'N:M' such as '2:4' (of 4 "
        "neighbouring inputs 2), or 'fan_in' (as many weights in each output). Received: "
        f"pattern={pattern!r}"
    )


def n_of_m(pattern: Any) -> tuple[int, int] | None:
    """The two numbers of a pattern such as `"2:4"`; None: it is another."""
    found = _N_OF_M.fullmatch(pattern) if isinstance(pattern, str) else None
    numbers = (int(found[1]), int(found[2])) if found else (1, 0)
    return numbers if numbers[0] < numbers[1] else None


def check_fits(pattern: Pattern, sparsity: Any, owner: str) -> None:
    """Raise `ValueError` if a pattern has another sparsity than is asked for: that of `"2:4"` is 0.5.

    Args:
        pattern: as `check_pattern` returned it.
        sparsity: a number, or several by name.
        owner: who asks, for the message.
    """
    numbers = n_of_m(pattern)
    for one in sparsity.values() if isinstance(sparsity, dict) else [sparsity]:
        if numbers is not None:
            check_sparsity_of_n_of_m(*numbers, one, owner)


def check_sparsity_of_n_of_m(n: int, m: int, sparsity: float, owner: str) -> None:
    """Raise `ValueError` if a sparsity is neither that of N of M weights nor 0."""
    own = 1 - n / m
    if sparsity != 0 and not math.isclose(sparsity, own, rel_tol=1e-9):
        raise ValueError(
            f"{owner}: the pattern '{n}:{m}' is of sparsity {own:g}, or 0 for a network that is pruned to it in "
            f"training. Received: sparsity={sparsity!r}"
        )
