"""Distributions: how many units each tensor of a network begins with. Host-side, on exact integers and fractions."""

import bisect
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from keras_dsr.arguments import is_one_of
from keras_dsr.ops.initial_masks import active_units, check_sparsity
from keras_dsr.ops.units import Groups, Units

DISTRIBUTIONS = ("uniform", "erk")


def check_distribution(distribution: str, owner: str, others: str = "") -> None:
    """Raise `ValueError` if there is no such distribution.

    Args:
        distribution: a name.
        owner: who asks, in call form, for the message.
        others: what else the owner takes, likewise.
    """
    if not is_one_of(distribution, DISTRIBUTIONS):
        names = ", ".join(map(repr, DISTRIBUTIONS))
        raise ValueError(
            f"{owner}(distribution=...) must be one of {names}{others}. Received: distribution={distribution!r}"
        )


def check_sparsities(sparsity: float | Mapping[str, float], owner: str) -> None:
    """Raise `ValueError` if this is neither a sparsity nor a mapping from names to sparsities."""
    received = repr(sparsity)
    for name, value in sparsity.items() if isinstance(sparsity, Mapping) else [("", sparsity)]:
        check_sparsity(value, owner, received=received)
        if not isinstance(name, str):
            raise ValueError(
                f"{owner}(sparsity=...), as a mapping, must have names of weights, such as 'dense/kernel'. "
                f"Received: sparsity={received}"
            )


def active_counts(
    distribution: str, sparsity: float, shapes: Sequence[Sequence[int]], unit_counts: Sequence[int]
) -> list[int]:
    """The number of active units of each tensor.

    Args:
        distribution: `"uniform"` or `"erk"`.
        sparsity: float in [0, 1), of all tensors together. The total of `"erk"` is the nearest integer to
            `(1 - sparsity)` times all units; `"uniform"` is rounded in each tensor.
        shapes: the shape of each tensor.
        unit_counts: the number of units of each.

    Raises:
        ValueError: with `"erk"`, a total below the number of tensors.
    """
    if distribution == "uniform":
        return uniform(unit_counts, sparsity)
    return erdos_renyi_kernel(shapes, unit_counts, round((1 - sparsity) * sum(unit_counts)))


def numbers_of_units(
    distribution: str, sparsity: float, shapes: Sequence[Sequence[int]], made_of: Sequence[Units], owner: str
) -> list[int]:
    """As `active_counts`, of tensors that are made of these units.

    Raises:
        ValueError: with `"erk"`, groups that each have a number of their own, or a total below the number of tensors.
    """
    if distribution == "uniform":
        return [of_it.number_at(of_it.count(shape), sparsity) for of_it, shape in zip(made_of, shapes)]
    grouped = [str(of_it) for of_it in made_of if isinstance(of_it, Groups)]
    if grouped:
        raise ValueError(
            f"{owner}(distribution=...) must be 'uniform' for a pattern of {grouped[0]}: their number is fixed. "
            f"Received: distribution={distribution!r}"
        )
    return active_counts(distribution, sparsity, shapes, [of_it.count(shape) for of_it, shape in zip(made_of, shapes)])


def sparsities_by_name(
    sparsity: float | Mapping[str, float], names: Sequence[str], otherwise: float, owner: str
) -> list[float]:
    """The sparsity of each tensor, from one for all or from a mapping.

    Args:
        sparsity: float in [0, 1); or a mapping from names to such numbers.
        names: the name of each tensor.
        otherwise: float, of tensors that the mapping does not name.
        owner: who asks, in call form, for the message.

    Raises:
        ValueError: the mapping has a name that no tensor has.
    """
    if not isinstance(sparsity, Mapping):
        return [sparsity] * len(names)
    unknown = [name for name in sparsity if name not in names]
    if unknown:
        raise ValueError(
            f"{owner} has a sparsity for {unknown[0]!r}, and no sparse weight has that name. Expected names among "
            f"{', '.join(map(repr, names[:5]))}{', ...' if len(names) > 5 else ''} (`keras_dsr.sparse_weights(model)` "
            f"lists them all). Received: {len(unknown)} unknown of {len(sparsity)}."
        )
    return [sparsity.get(name, otherwise) for name in names]


def uniform(unit_counts: Sequence[int], sparsity: float) -> list[int]:
    """The same sparsity everywhere, as in Mostafa & Wang (ICML 2019, arXiv 1902.05967): `active_units` of each tensor.

    Args:
        unit_counts: the number of units (weights, or k x k slices) of each tensor.
        sparsity: float in [0, 1).

    Returns:
        The number of active units of each tensor, at least 1.

    Example:

    >>> uniform([1000, 90], sparsity=0.9)
    [100, 9]
    """
    return [active_units(units, sparsity) for units in unit_counts]


def erdos_renyi_kernel(shapes: Sequence[Sequence[int]], unit_counts: Sequence[int], total: int) -> list[int]:
    """ERK: the larger a tensor is, the sparser, with an exact total.

    The density of a tensor is epsilon * (sum of its shape) / (product of its shape), which for a matrix is that of the
    random graphs of Mocanu et al. (2018, Nature Communications 9:2383, arXiv 1707.04780); with the window of a
    convolution it is Evci et al.'s (ICML 2020, arXiv 1911.11134, section 3). A tensor whose density would be above 1 is
    dense, one that would have less than one active unit has one, and epsilon is such that the expected numbers, so
    bounded, sum to `total`. They become whole by largest remainder; ties go to the first.

    Args:
        shapes: the shape of each tensor.
        unit_counts: the number of units of each tensor, positive: weights, or k x k slices (fewer than weights).
        total: int, the active units of all tensors together.

    Returns:
        The number of active units of each tensor: at least 1, at most its units, with sum `total`.

    Raises:
        ValueError: `total` is below the number of tensors, or above the number of units.

    Example:

    >>> erdos_renyi_kernel([(784, 300), (300, 100), (100, 10)], [235_200, 30_000, 1_000], total=26_620)
    [18714, 6906, 1000]
    """
    _check_total(total, unit_counts)
    rates = [Fraction(sum(shape), math.prod(shape)) * units for shape, units in zip(shapes, unit_counts, strict=True)]

    def expected(epsilon):
        return [min(max(epsilon * rate, 1), units) for rate, units in zip(rates, unit_counts)]

    def expected_total(epsilon):
        return sum(expected(epsilon))

    # The total is a straight line from one epsilon, at which a bound begins or ceases to hold, to the next.
    bends: list[Fraction] = sorted(
        {Fraction(0), *(bound / rate for rate, units in zip(rates, unit_counts) for bound in (1, units))}
    )
    above = bisect.bisect_left(bends, total, key=expected_total)
    if above == 0:  # no more than one unit a tensor
        return expected(0)
    low, high = bends[above - 1 : above + 1]
    rise = (total - expected_total(low)) / (expected_total(high) - expected_total(low))
    return largest_remainder(expected(low + rise * (high - low)), total)


def largest_remainder(exact: list, total: int) -> list[int]:
    """Whole numbers of sum `total`, each at most 1 off from exact ones of that sum."""
    whole = [math.floor(number) for number in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: whole[index] - exact[index])
    for index in by_remainder[: total - sum(whole)]:
        whole[index] += 1
    return whole


def _check_total(total: int, unit_counts: Sequence[int]):
    if total < len(unit_counts):
        raise ValueError(
            f"The budget is too small for the number of tensors: each of the {len(unit_counts)} keeps at least one "
            f"active unit. Expected: a total of at least {len(unit_counts)}. Received: total={total}. Lower the "
            "sparsity, or leave some layers dense."
        )
    if total > sum(unit_counts):
        raise ValueError(
            f"The budget is larger than the tensors that it is for: the {len(unit_counts)} of them have "
            f"{sum(unit_counts)} units. Expected: a total of at most {sum(unit_counts)}. Received: total={total}. "
            "Lower the total, or make more layers sparse."
        )
