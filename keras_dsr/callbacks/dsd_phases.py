"""The phases of dense-sparse-dense training: which one a run is in, and how its learning rate is scaled there."""

from collections.abc import Sequence
from typing import NamedTuple


class Phase(NamedTuple):
    """One phase.

    Attributes:
        index: int, counted from 0. Phases of odd index are sparse, the others dense.
        start: int, the epoch or step at which it begins.
        learning_rate_factor: float, what the learning rate is multiplied by.
    """

    index: int  # type: ignore[assignment]  # a tuple has a method of that name
    start: int
    learning_rate_factor: float

    @property
    def is_sparse(self) -> bool:
        return self.index % 2 == 1

    @property
    def round(self) -> int:
        """The round of a sparse phase, or of the dense one before it, counted from 0."""
        return self.index // 2


def dense_sparse_dense(
    dense: Sequence[int], sparse: Sequence[int], sparse_factor: float, final_factor: float
) -> tuple[Phase, ...]:
    """The phases of one or more rounds: dense, sparse, dense, sparse, ..., dense. The last has no end.

    Each time that the cut weights are restored the learning rate is multiplied by `final_factor`, for all that follows;
    in a sparse phase by `sparse_factor` as well.

    Args:
        dense: the length of the dense phase before each sparse one, in epochs or steps, at least 0.
        sparse: the length of each sparse phase, at least 1.
        sparse_factor, final_factor: positive numbers.

    Example:

    >>> [(phase.start, phase.learning_rate_factor) for phase in dense_sparse_dense([30], [20], 1.0, 0.1)]
    [(0, 1.0), (30, 1.0), (50, 0.1)]
    """
    phases, start = [], 0
    for round, (dense_length, sparse_length) in enumerate(zip(dense, sparse, strict=True)):
        factor = final_factor**round
        phases.append(Phase(2 * round, start, factor))
        phases.append(Phase(2 * round + 1, start + dense_length, factor * sparse_factor))
        start += dense_length + sparse_length
    return (*phases, Phase(2 * len(sparse), start, final_factor ** len(sparse)))


def phase_at(phases: Sequence[Phase], time: int) -> Phase:
    """The phase that is in force at an epoch (or step)."""
    return next(phase for phase in reversed(phases) if phase.start <= time)
