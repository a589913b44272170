"""How the threshold, the moved weights and the density of each kernel went while a model was trained."""

import dataclasses
import math
import numbers
from collections.abc import Mapping, Sequence

import keras
import numpy as np

from keras_dsr.callbacks.logged import DENSITY

COUNT = "active/"  # of `train.run`


@dataclasses.dataclass(frozen=True)
class History:
    """Numbers for each epoch; NaN where there is none.

    Attributes:
        epochs: the numbers of the epochs, from 1.
        threshold: H after the last reallocation of the epoch.
        moved: K, weights pruned and grown in a reallocation, the mean of those of the epoch.
        densities: shares of positions with a weight, by the name of the kernel.
        scores: of training and test, by name, such as `"accuracy"` and `"val_accuracy"`.
        target: what K is steered to; None: not known.
    """

    epochs: tuple[int, ...]
    threshold: tuple[float, ...] = ()
    moved: tuple[float, ...] = ()
    densities: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    scores: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    target: float | None = None


def history_of_rows(
    rows: Sequence[Mapping[str, float]], sizes: Mapping[str, int], score: str | None = None, target: float | None = None
) -> History:
    """The history in rows of metrics.

    Args:
        rows: a mapping for each epoch: `epoch` from 0, and what `Reallocate` and `train.run` log.
        sizes: the numbers of positions of the kernels, by name.
        score: the name of the metric to show; None: accuracy if there is one, else the loss.
        target: what K is steered to.
    """

    def column(name: str) -> tuple[float, ...]:
        return tuple(float(row.get(name, math.nan)) for row in rows)

    present = {name for row in rows for name in row}
    score = score or next((name for name in ("accuracy", "loss") if name in present), "loss")
    moved = ()
    if {"dsr_pruned", "dsr_reallocations"} <= present:
        pairs = zip(column("dsr_pruned"), column("dsr_reallocations"))
        moved = tuple(pruned / times if times else math.nan for pruned, times in pairs)
    return History(
        epochs=tuple(int(row["epoch"]) + 1 for row in rows),
        threshold=tuple(value or math.nan for value in column("dsr_threshold")) if "dsr_threshold" in present else (),
        moved=moved,
        densities={
            name: column(DENSITY + name)
            if DENSITY + name in present
            else tuple(count / size for count in column(COUNT + name))
            for name, size in sizes.items()
            if present & {DENSITY + name, COUNT + name}
        },
        scores={name: column(name) for name in (score, f"val_{score}") if name in present},
        target=target,
    )


def rows_of_logs(history: keras.callbacks.History | Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """The rows of a `keras.callbacks.History`, or of its `history` dict.

    Raises:
        TypeError: something else.
        ValueError: it has no epochs, or something else than numbers.
    """
    logs = getattr(history, "history", history)
    if not isinstance(logs, Mapping):
        raise TypeError(
            "report(history=...) must be the keras.callbacks.History that `model.fit` returns, or its `history` dict. "
            f"Received: {type(history).__name__}"
        )
    if not all(map(_is_list_of_numbers, logs.values())):
        raise ValueError(
            "report(history=...) must have a list of numbers for each metric, one an epoch. "
            f"Received: {type(history).__name__}"
        )
    length = max((len(values) for values in logs.values()), default=0)
    if not length:
        raise ValueError(
            f"report(history=...) has no epochs: pass what `model.fit` returned. Received: {type(history).__name__}"
        )
    epochs = getattr(history, "epoch", None) or range(length)
    # A metric that is not measured in every epoch (validation_freq) has fewer values, of unknown epochs.
    whole = {name: values for name, values in logs.items() if len(values) == length}
    return [
        {**{name: values[index] for name, values in whole.items()}, "epoch": epoch}
        for index, epoch in zip(range(length), epochs)
    ]


def _is_list_of_numbers(values) -> bool:
    """Whether these are the values of a metric, one an epoch; some metrics are arrays."""
    is_list = isinstance(values, (list, tuple, np.ndarray))
    return is_list and all(isinstance(value, numbers.Real) or hasattr(value, "shape") for value in values)
