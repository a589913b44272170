"""What the page of a model shows: all that is known of it and of its training, and what is missing, in words."""

import collections
import importlib.util
import math
import os
import platform
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_dsr._version import __version__
from keras_dsr.layers import TiedKernel
from keras_dsr.reporting.costs import uses_of
from keras_dsr.reporting.history import History, history_of_rows, rows_of_logs
from keras_dsr.reporting.kernels import Kernel, kernels_of, other_parameters
from keras_dsr.reporting.masks import mask_image
from keras_dsr.reporting.page import Chart, Page, Row
from keras_dsr.reporting.speed import measure_all
from keras_dsr.reporting.tracing import trace
from keras_dsr.selectors.language import checked_selectors, matches
from keras_dsr.weights.sparse_weights import layers_of, sparse_weights

MASKS_BY_DEFAULT = 4


class Experiment(NamedTuple):
    """What is known of a training beside the model that came out of it.

    Attributes:
        title, subtitle: strings, of the page.
        settings: what it was started with, by name.
        score: the name of the score, as `rows` have it, and its last value.
        rows: a dict of numbers for each epoch (see `history.history_of_rows`).
        target: number, of units that a reallocation is to move; None: there is none.
        masks: bool arrays by the names of the kernels; None: the model's own, or what is not zero.
        shared: int, how many values make the weights of the kernels; None: they have values of their own.
    """

    title: str
    subtitle: str
    settings: dict
    score: tuple[str, float]
    rows: list[dict[str, float]]
    target: float | None = None
    masks: dict[str, np.ndarray] | None = None
    shared: int | None = None


def page_of(
    model: keras.Model, masks, batch_sizes: tuple[int, ...], history, experiment: Experiment | None = None
) -> Page:
    """Gather what the page shows; arguments and errors as of `report`."""
    kernels = kernels_of(model, experiment.masks if experiment else None)
    chosen = _chosen(kernels, masks)
    traced = trace(model)
    uses = [uses_of(kernel, traced) for kernel in kernels]
    measured, left = measure_all([(k, u.count) for k, u in zip(kernels, uses)], batch_sizes)
    rows = [Row(kernel, use, measured.get(kernel, ())) for kernel, use in zip(kernels, uses)]
    is_sparse = any(kernel.is_sparse for kernel in kernels)
    charts, missing = _charts(_history(experiment, history, kernels), is_sparse, experiment is not None)
    kind = f"A {type(model).__name__} model, on the {keras.backend.backend()} backend"
    return Page(
        title=experiment.title if experiment else model.name,
        subtitle=experiment.subtitle if experiment else kind,
        rows=rows,
        others=other_parameters(model, kernels),
        counted=_counted(model, kernels, experiment, is_sparse),
        batch_sizes=batch_sizes if measured else (),
        not_measured=_not_measured(batch_sizes, bool(measured), left),
        machine=f"{platform.machine()}, {os.cpu_count()} CPU cores, {platform.system()}",
        score=(experiment.score[0].replace("_", " "), experiment.score[1]) if experiment else None,
        settings=experiment.settings if experiment else {},
        charts=charts,
        missing_history=missing,
        masks=[mask_image(kernel) for kernel in chosen],
        version=__version__,
    )


def _counted(model: keras.Model, kernels: list[Kernel], experiment: Experiment | None, is_sparse: bool) -> str:
    if experiment and experiment.masks is not None:
        return "Active weights are those of the masks in the checkpoint of the run; some of them may have the value 0."
    if sparse_weights(model):
        return "Active weights are those of the masks of the model; some of them may have the value 0."
    if experiment and experiment.shared is not None:
        weights = sum(kernel.size for kernel in kernels)
        return (
            f"{experiment.shared:,} shared values make the {weights:,} weights of the kernels; the model, which the "
            "table shows, has them all."
        )
    if layers_of(model, TiedKernel):
        return (
            "The kernels of tied layers are made of shared values and have no weights of their own: they are not in "
            "the table, and their values are among the other parameters."
        )
    if not is_sparse:
        return "The model has no masks, and no kernel of it has a zero: nothing is sparse."
    return (
        "The model has no masks: weights are counted as active that are not zero. An active weight whose value is 0, "
        "as one that has just grown, is not among them."
    )


def _history(experiment: Experiment | None, history, kernels: Sequence[Kernel]) -> History | None:
    names = collections.Counter(kernel.name for kernel in kernels)  # of two of one name, nothing is known
    sizes = {kernel.name: kernel.size for kernel in kernels if kernel.is_sparse and names[kernel.name] == 1}
    if experiment is not None:
        return history_of_rows(experiment.rows, sizes, experiment.score[0], experiment.target)
    if history is not None:
        return history_of_rows(rows_of_logs(history), sizes)
    return None


def _charts(history: History | None, is_sparse: bool, is_run: bool) -> tuple[list[Chart], list[str]]:
    """The charts of a history, and sentences on what is missing."""
    from keras_dsr.reporting.charts import density_chart, moved_chart, score_chart, threshold_chart

    if history is None:
        return [], ["No history was given. Pass what model.fit returned: report(model, path, history=history)."]
    charts, missing = [], []
    if history.scores:
        charts.append(
            Chart(
                "Score",
                score_chart(history, "test" if is_run else "validation"),
                "What the network achieves after each epoch.",
            )
        )
    if history.threshold:
        charts.append(
            Chart(
                "Threshold H",
                threshold_chart(history),
                "Active weights below H are pruned; it doubles or halves to keep K near its target.",
            )
        )
    if not all(map(math.isnan, history.moved)):
        charts.append(
            Chart(
                "Moved weights K",
                moved_chart(history),
                "Weights pruned and grown elsewhere in a reallocation. No point: none in that epoch.",
            )
        )
    if not history.threshold and not history.moved and is_sparse:
        missing.append(
            "H and K were not logged: dsr.DSRCallback logs them (dsr_threshold, dsr_pruned) where weights are moved; "
            "not every method has them."
        )
    if history.densities:
        charts.append(
            Chart(
                "Density of each kernel",
                density_chart(history),
                "The fraction of its positions that have a weight.",
            )
        )
    elif is_sparse:
        missing.append(
            "The density of each kernel over training was not logged: dsr.DSRCallback(log_layers=True) logs it."
        )
    return charts, missing


def _chosen(kernels: Sequence[Kernel], masks) -> list[Kernel]:
    """The kernels whose masks are shown."""
    sparse = [kernel for kernel in kernels if kernel.is_sparse and kernel.active]
    if masks is None:
        count = min(MASKS_BY_DEFAULT, len(sparse))
        places = sorted({round(i * (len(sparse) - 1) / max(count - 1, 1)) for i in range(count)})
        return [sparse[place] for place in places]
    chosen = []
    for selector in checked_selectors(masks, "report", "masks"):
        found = [kernel for kernel in sparse if matches(selector, kernel)]
        if not found:
            raise ValueError(
                "report(masks=...) must select sparse weights of the model, by layers, classes, names or paths. It has "
                f"{', '.join(repr(kernel.name) for kernel in sparse) or 'none'}. "
                f"Received: masks={selector!r}"
            )
        chosen += [kernel for kernel in found if kernel not in chosen]
    return chosen


def _not_measured(batch_sizes: tuple[int, ...], is_measured: bool, left: int) -> str:
    if not batch_sizes:
        return "Speed was not measured: no batch sizes were given."
    if left:
        return f"There was no time to measure {left:,} of the kernels."
    if is_measured:
        return ""
    if importlib.util.find_spec("tensorflow") is None:
        return "Speed was not measured: TensorFlow, whose CSR product is timed, is not installed."
    return "Speed was not measured: there is no sparse kernel of a Dense layer or a 1x1 convolution in float32."
