"""The phases of dense-sparse-dense training: which one a run is in, and how its learning rate is scaled there."""

from collections.abc import Sequence
from typing import NamedTuple

from keras_dsr.arguments import is_list, is_whole


class Phase(NamedTuple):
    """One phase.

    Attributes:
        number: int, counted from 0. Phases of an odd number are sparse, the others dense.
        start: int, the epoch or step at which it begins.
        learning_rate_factor: float, what the learning rate is multiplied by.
    """

    number: int
    start: int
    learning_rate_factor: float

    @property
    def is_sparse(self) -> bool:
        return self.number % 2 == 1

    @property
    def round(self) -> int:
        """The round of a sparse phase, or of the dense one before it, counted from 0."""
        return self.number // 2


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


def phase_lengths(rounds: int, dense_epochs, sparse_epochs, dense_steps, sparse_steps) -> tuple[str, tuple]:
    """What phases are counted in, and the lengths of the dense and sparse phases of each round."""
    by_epoch, by_step = (dense_epochs, sparse_epochs), (dense_steps, sparse_steps)
    units = (("epochs", by_epoch), ("steps", by_step))
    given = [(unit, pair) for unit, pair in units if any(length is not None for length in pair)]
    if len(given) != 1 or any(length is None for length in given[0][1]):
        raise ValueError(
            "DSDCallback(dense_epochs=..., sparse_epochs=..., dense_steps=..., sparse_steps=...) needs the length of "
            "the first dense phase and of the sparse phase: dense_epochs and sparse_epochs, or dense_steps and "
            "sparse_steps. Received: "
            f"dense_epochs={dense_epochs!r}, sparse_epochs={sparse_epochs!r}, dense_steps={dense_steps!r}, "
            f"sparse_steps={sparse_steps!r}"
        )
    unit, pair = given[0]
    lengths = []
    for name, value, least in zip((f"dense_{unit}", f"sparse_{unit}"), pair, (0, 1)):
        values = list(value) if is_list(value) else [value] * rounds
        if len(values) != rounds or not all(is_whole(length) and length >= least for length in values):
            raise ValueError(
                f"DSDCallback({name}=...) must be an int of at least {least}, or a list of one a round (there "
                f"{'is' if rounds == 1 else 'are'} {rounds}, by `sparsity`). Received: {name}={value!r}"
            )
        lengths.append([int(length) for length in values])
    return unit, tuple(lengths)
